//! Who gets a certificate.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::EstServer;
use super::counters::Operation;
use super::door::Caller;
use super::request::{Login, RequestBody, is_pkcs10, login};
use super::respond::{Denial, ask, denial};
use crate::auth::users::Verdict;
use crate::auth::{AuditKind, Ban};
use crate::ca::{Asker, CaError, CommonName, IssuedCertificate, RequestFault, SigningRequest};
use crate::clock;

/// Time for the body of a request.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Issues a certificate, in DER, to whoever may have it. What comes of it is written down.
pub(super) async fn enrol(
    server: &Arc<EstServer>,
    operation: Operation,
    head: &Parts,
    body: &mut Incoming,
    caller: &Caller,
) -> Result<Vec<u8>, Denial> {
    let kind = head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    if !kind.is_some_and(is_pkcs10) {
        return Err(Denial::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "a request for a certificate has the Content-Type application/pkcs10",
        ));
    }
    let settings = server.settings.borrow().clone();
    let noted = server
        .attempts
        .note(caller.address, &settings, clock::now());
    if let Err(wait) = noted {
        let text = "too many requests within a minute; try again later";
        return Err(Denial::new(StatusCode::TOO_MANY_REQUESTS, text).after(wait));
    }
    let body = read(body).await?;
    let enrolling = Enrolling { server, caller };
    match operation {
        Operation::SimpleReenroll => enrolling.again(body).await,
        _ => {
            // Many clients ask without a login first, to be asked for one.
            let Some(header) = head.headers.get(AUTHORIZATION) else {
                return Err(Denial::challenge());
            };
            let Some(login) = login(header.as_bytes()) else {
                let text = "the login cannot be understood";
                enrolling.note(AuditKind::EnrolmentRefused, "", text);
                return Err(Denial::challenge());
            };
            enrolling.first(login, body, settings.users).await
        }
    }
}

/// Reads the body, which is never longer than a request may be.
async fn read(incoming: &mut Incoming) -> Result<RequestBody, Denial> {
    let too_long = || denial(&CaError::Request(RequestFault::TooLong));
    let mut body = RequestBody::default();
    let reading = timeout(BODY_TIMEOUT, async {
        while let Some(frame) = incoming.frame().await {
            let frame = frame
                .map_err(|_| Denial::new(StatusCode::BAD_REQUEST, "the request ended too early"))?;
            if let Some(part) = frame.data_ref() {
                body.take(part).map_err(|_| too_long())?;
            }
        }
        Ok(())
    });
    match reading.await {
        Ok(read) => read.map(|()| body),
        Err(_) => {
            let text = "the request did not come in time";
            Err(Denial::new(StatusCode::REQUEST_TIMEOUT, text))
        }
    }
}

/// Reads the request for a certificate. Checking its signature takes a while with some kinds of keys.
async fn parse(body: RequestBody) -> Result<SigningRequest, Denial> {
    let parsed = spawn_blocking(move || body.parse());
    match parsed.await {
        Ok(parsed) => parsed.map_err(|fault| denial(&fault.into())),
        Err(error) => Err(denial(&CaError::failed(&error))),
    }
}

/// Somebody who wants a certificate.
struct Enrolling<'a> {
    server: &'a Arc<EstServer>,
    caller: &'a Caller,
}

impl Enrolling<'_> {
    /// The first certificate: for a token, or for the password of a user.
    async fn first(
        &self,
        login: Login,
        body: RequestBody,
        has_users: bool,
    ) -> Result<Vec<u8>, Denial> {
        let guard = self.server.access.guard();
        let (address, username) = (Some(self.caller.address), login.username.as_str());
        if let Err(ban) = guard.check(address, Some(username), clock::now()) {
            return Err(self.banned(username, &ban));
        }
        let request = match named(parse(body).await, username) {
            Ok(request) => request,
            Err(denial) => return Err(self.refused(username, denial)),
        };
        match self.redeem(&login, &request).await {
            Ok(made) => {
                // Nobody guesses a token, so it counts whatever happened meanwhile.
                let _ = guard.note_success(address, Some(username), clock::now());
                Ok(self.accepted(username, "by token", &made))
            }
            Err(CaError::Token) if has_users => self.by_password(&login, request).await,
            Err(CaError::Token) => Err(self.failed(username, "the token is not good").await),
            Err(fault) => Err(self.refused(username, denial(&fault))),
        }
    }

    async fn redeem(
        &self,
        login: &Login,
        request: &SigningRequest,
    ) -> Result<IssuedCertificate, CaError> {
        let (password, request) = (login.password.clone(), request.clone());
        let asker = self.asker(&login.username);
        let redeemed = ask(self.server, move |ca, reading| {
            let token = std::str::from_utf8(&password).map_err(|_| CaError::Token)?;
            ca.redeem(token, &request, reading, &asker)
        });
        redeemed.await
    }

    /// As a login to a port: the same users, failures, delays and bans.
    async fn by_password(&self, login: &Login, request: SigningRequest) -> Result<Vec<u8>, Denial> {
        let access = &self.server.access;
        let (address, username) = (Some(self.caller.address), login.username.as_str());
        let principal = match access.users().verify(username, &login.password).await {
            Verdict::Right { principal, .. } => principal,
            Verdict::UnknownUser => {
                return Err(self.failed(username, "no such user, and no token").await);
            }
            Verdict::WrongPassword => {
                return Err(self.failed(username, "the password is wrong").await);
            }
            Verdict::Disabled => return Err(self.failed(username, "the user is disabled").await),
            Verdict::Expired => {
                return Err(self.failed(username, "the time of the user is over").await);
            }
            Verdict::Unavailable(sentence) => {
                let denial = Denial::new(StatusCode::SERVICE_UNAVAILABLE, "try again later");
                self.note(AuditKind::EnrolmentRefused, username, sentence);
                return Err(denial.after(BODY_TIMEOUT));
            }
        };
        if let Err(ban) = access
            .guard()
            .note_success(address, Some(username), clock::now())
        {
            return Err(self.banned(username, &ban));
        }
        let asker = self.asker(username);
        let enrolled = ask(self.server, move |ca, reading| {
            let (username, attributes) = (&principal.username, &principal.attributes);
            ca.enrol_user(username, attributes, &request, reading, &asker)
        });
        match enrolled.await {
            Ok(made) => Ok(self.accepted(username, "by password", &made)),
            Err(fault) => Err(self.refused(username, denial(&fault))),
        }
    }

    /// The next certificate, for the one that the connection has shown.
    async fn again(&self, body: RequestBody) -> Result<Vec<u8>, Denial> {
        let Some(shown) = self.caller.certificate.clone() else {
            let text = "this takes the certificate that is to be replaced, in the TLS handshake";
            return Err(self.refused("", Denial::new(StatusCode::FORBIDDEN, text)));
        };
        let issued = self.server.access.device().ca().issued();
        let record = issued.find_certificate(&shown);
        let name = record.as_ref().map_or("", |record| &*record.name);
        let request = match parse(body).await {
            Ok(request) => request,
            Err(denial) => return Err(self.refused(name, denial)),
        };
        let asker = self.asker(name);
        let issued = ask(self.server, move |ca, reading| {
            ca.re_enrol(&shown, &request, reading, &asker)
        });
        match issued.await {
            Ok(made) => {
                let former = record.as_ref().map_or("", |record| &*record.serial);
                Ok(self.accepted(name, &format!("by certificate {former}"), &made))
            }
            Err(fault) => Err(self.refused(name, denial(&fault))),
        }
    }

    fn asker(&self, name: &str) -> Asker {
        Asker {
            name: name.into(),
            peer: self.caller.address.to_canonical().to_string().into(),
        }
    }

    fn accepted(&self, name: &str, how: &str, made: &IssuedCertificate) -> Vec<u8> {
        let detail = format!("{how}, {}", made.record.serial);
        self.note(AuditKind::EnrolmentAccepted, name, &detail);
        made.record.der.to_vec()
    }

    fn refused(&self, name: &str, denial: Denial) -> Denial {
        self.note(AuditKind::EnrolmentRefused, name, denial.text());
        denial
    }

    fn banned(&self, name: &str, ban: &Ban) -> Denial {
        let detail = format!("{} is banned", ban.subject);
        self.note(AuditKind::EnrolmentRefused, name, &detail);
        let left = ban.until.saturating_duration_since(clock::now());
        let text = "too many have failed; try again later";
        Denial::new(StatusCode::TOO_MANY_REQUESTS, text).after(left)
    }

    /// A login that failed, with its consequences. The answer is the same whatever was wrong.
    async fn failed(&self, name: &str, detail: &str) -> Denial {
        self.note(AuditKind::EnrolmentRefused, name, detail);
        let guard = self.server.access.guard();
        let failed = guard.note_failure(Some(self.caller.address), Some(name), clock::now());
        for ban in &failed.bans {
            let left = ban.until.saturating_duration_since(clock::now());
            let subject = ban.subject.to_string();
            self.note(
                AuditKind::Ban,
                &subject,
                &format!("for {} s", left.as_secs()),
            );
        }
        sleep(failed.delay).await;
        denial(&CaError::Token)
    }

    fn note(&self, kind: AuditKind, subject: &str, detail: &str) {
        self.server.note(kind, subject, self.caller.address, detail);
    }
}

/// The request, with the name of the login where it has none.
fn named(
    request: Result<SigningRequest, Denial>,
    username: &str,
) -> Result<SigningRequest, Denial> {
    let mut request = request?;
    match &request.name {
        Some(name) if name.as_str() == username => {}
        Some(_) => return Err(denial(&CaError::Request(RequestFault::OtherName))),
        None => {
            let name = CommonName::parse(username);
            let name =
                name.map_err(|fault| denial(&CaError::Request(RequestFault::Name(fault))))?;
            request.name = Some(name);
        }
    }
    Ok(request)
}
