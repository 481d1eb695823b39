//! From requests to answers.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::warn;

use super::counters::Operation;
use super::door::Caller;
use super::{EstServer, enrol, pkcs7};
use crate::ca::{CaError, CertificateAuthority, ENROLLED_PER_NAME_MAX, Reading, RequestFault};

const TEXT: &str = "text/plain; charset=utf-8";
const CERTIFICATES: &str = "application/pkcs7-mime; smime-type=certs-only";
const REQUEST_ATTRIBUTES: &str = "application/csrattrs";

/// What phones and browsers take for a root that is to be installed.
const CA_CERTIFICATE: &str = "application/x-x509-ca-cert";
const PEM: &str = "application/x-pem-file";

const TRANSFER_ENCODING: HeaderName = HeaderName::from_static("content-transfer-encoding");
const BASE64: HeaderValue = HeaderValue::from_static("base64");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// Says all that there is to say: some clients cannot go on when a body comes with the question.
const CHALLENGE: HeaderValue =
    HeaderValue::from_static("Basic realm=\"enrolment: a name, with a token as password\"");

/// What is read of the body of a request that is refused, so that its sender gets to read why.
const DRAINED_BYTES_MAX: usize = 1 << 20;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Time after which something may work that does not work now.
const PASSING: Duration = Duration::from_secs(60);

pub(super) type Answer = Response<Full<Bytes>>;

/// An answer that gives nothing but a sentence.
#[derive(Debug)]
pub(super) struct Denial {
    status: StatusCode,
    text: String,
    retry_after: Option<Duration>,
    allow: Option<&'static str>,
}

impl Denial {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
            retry_after: None,
            allow: None,
        }
    }

    /// Asks who it is.
    pub(super) fn challenge() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "")
    }

    /// With the time after which it is worth trying again.
    pub(super) fn after(self, time: Duration) -> Self {
        Self {
            retry_after: Some(time),
            ..self
        }
    }

    /// The sentence.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    fn answer(self) -> Answer {
        let Self {
            status,
            mut text,
            retry_after,
            allow,
        } = self;
        if !text.is_empty() {
            text.push('\n');
        }
        let mut answer = answer(TEXT, text);
        *answer.status_mut() = status;
        let headers = answer.headers_mut();
        if let Some(time) = retry_after {
            let seconds = time.as_secs().saturating_add(1);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(allow) = allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, CHALLENGE);
        }
        answer
    }
}

/// Answers one request.
pub(super) async fn respond(
    server: &Arc<EstServer>,
    request: Request<Incoming>,
    caller: &Caller,
) -> Answer {
    let operation = Operation::of(request.uri().path());
    let (head, mut body) = request.into_parts();
    let answered = serve(server, operation, &head, &mut body, caller).await;
    drain(&mut body).await;
    let answer = answered.unwrap_or_else(Denial::answer);
    server.counters.note(operation, answer.status());
    answer
}

async fn serve(
    server: &Arc<EstServer>,
    operation: Operation,
    head: &Parts,
    body: &mut Incoming,
    caller: &Caller,
) -> Result<Answer, Denial> {
    if operation == Operation::Other || !(caller.is_tls || operation.is_public()) {
        let there = if caller.is_tls {
            "there are /ca.crt, /ca.der, /crl.pem, and below /.well-known/est/: cacerts, csrattrs, simpleenroll and simplereenroll; \
             labels are not used"
        } else {
            "there are /ca.crt, /ca.der and /crl.pem; enrolment is served over https alone"
        };
        return Err(Denial::new(StatusCode::NOT_FOUND, there));
    }
    let (is_right, allow) = match operation.is_enrolment() {
        true => (head.method == Method::POST, "POST"),
        false => (
            matches!(head.method, Method::GET | Method::HEAD),
            "GET, HEAD",
        ),
    };
    if !is_right {
        let text = format!("{} takes only {allow}", operation.word());
        return Err(Denial {
            allow: Some(allow),
            ..Denial::new(StatusCode::METHOD_NOT_ALLOWED, text)
        });
    }
    match operation {
        Operation::SimpleEnroll | Operation::SimpleReenroll => {
            let issued = enrol::enrol(server, operation, head, body, caller).await?;
            let der = pkcs7::certificates_only([issued.as_slice()]);
            Ok(encoded(CERTIFICATES, &der))
        }
        _ => public(server, operation)
            .await
            .map_err(|fault| denial(&fault)),
    }
}

/// What everybody may have.
async fn public(server: &EstServer, operation: Operation) -> Result<Answer, CaError> {
    let answered = ask(server, move |ca, reading| {
        Ok(match operation {
            Operation::CaCerts => {
                let published = ca.published(reading)?;
                let der = pkcs7::certificates_only(published.iter().map(Vec::as_slice));
                encoded(CERTIFICATES, &der)
            }
            Operation::CsrAttrs => {
                let der = pkcs7::request_attributes(ca.algorithm()?);
                encoded(REQUEST_ATTRIBUTES, &der)
            }
            Operation::CaDer => {
                let roots = ca.trusted_roots(reading)?;
                let first = roots.into_iter().next().unwrap_or_default();
                answer(CA_CERTIFICATE, first)
            }
            Operation::CrlPem => answer(PEM, ca.crl_pem()?),
            _ => answer(CA_CERTIFICATE, ca.trust_pem(reading)?),
        })
    });
    answered.await
}

/// Has the authority do something, on a thread that may wait.
pub(super) async fn ask<T: Send + 'static>(
    server: &EstServer,
    act: impl FnOnce(&CertificateAuthority, Reading) -> Result<T, CaError> + Send + 'static,
) -> Result<T, CaError> {
    let device = Arc::clone(server.access.device());
    let done = spawn_blocking(move || act(device.ca(), device.read()));
    done.await
        .unwrap_or_else(|error| Err(CaError::failed(&error)))
}

/// What a client is told about a fault. What is wrong inside the gateway is for its journal.
pub(super) fn denial(fault: &CaError) -> Denial {
    let forbidden = |text: &str| Denial::new(StatusCode::FORBIDDEN, text);
    match fault {
        CaError::Request(RequestFault::TooLong) => {
            Denial::new(StatusCode::PAYLOAD_TOO_LARGE, sentence(fault))
        }
        CaError::Request(RequestFault::OtherName | RequestFault::OtherAlternativeName) => {
            forbidden(&sentence(fault))
        }
        CaError::Request(_) => Denial::new(StatusCode::BAD_REQUEST, sentence(fault)),
        CaError::Token => Denial::new(
            StatusCode::UNAUTHORIZED,
            "the name or the token is wrong, the token was used, or it has expired",
        ),
        CaError::Unknown { .. } => {
            forbidden("this certificate was not issued here; enrol with a token")
        }
        CaError::Revoked { .. } => forbidden("this certificate is revoked; enrol with a token"),
        CaError::Ended { .. } => forbidden("this certificate is not valid now; enrol with a token"),
        CaError::Full { max, .. } if *max == ENROLLED_PER_NAME_MAX as u64 => forbidden(
            "there are too many certificates of this name; let those that are not used be revoked",
        ),
        CaError::Absent { .. } => Denial::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the gateway has no certificate authority yet; make one with `fieldgate ca init`",
        )
        .after(PASSING),
        _ => {
            warn!(
                hint = fault.hint(),
                "a request over the network failed: {fault}"
            );
            let text = "the gateway cannot do this now; its journal says why";
            Denial::new(StatusCode::SERVICE_UNAVAILABLE, text).after(PASSING)
        }
    }
}

fn sentence(fault: &CaError) -> String {
    format!("{fault}; {}", fault.hint())
}

fn answer(kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, NO_STORE);
    answer
}

fn encoded(kind: &'static str, der: &[u8]) -> Answer {
    let mut answer = answer(kind, pkcs7::base64(der));
    answer.headers_mut().insert(TRANSFER_ENCODING, BASE64);
    answer
}

/// Reads what is left of a body: a connection that is closed over unread bytes takes the answer with it.
async fn drain(body: &mut Incoming) {
    let drained = timeout(DRAIN_TIMEOUT, async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, Bytes::len);
            if bytes > DRAINED_BYTES_MAX {
                break;
            }
        }
    });
    // Whoever sends more or slower does not get to read it.
    let _ = drained.await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_inside_goes_outside() {
        let secret = "/var/lib/fieldgate/ca/issuing-2.key";
        let inside = [
            CaError::RootKeyAbsent,
            CaError::Chance,
            CaError::failed(secret),
            CaError::Sealed {
                file: secret.into(),
                detail: secret.to_owned(),
            },
            CaError::Absent {
                folder: secret.into(),
            },
            CaError::Full {
                what: "certificates",
                max: 20_000,
            },
        ];
        for fault in inside {
            let denial = denial(&fault);
            assert_eq!(denial.status, StatusCode::SERVICE_UNAVAILABLE);
            assert!(!denial.text.contains(secret), "{}", denial.text);
            let answer = denial.answer();
            assert_eq!(answer.headers()[RETRY_AFTER], "61");
            assert!(!answer.headers().contains_key(WWW_AUTHENTICATE));
        }
    }

    #[test]
    fn faults_of_the_client_say_what_to_do() {
        let serial = "ab".to_owned();
        let faults = [
            (CaError::Token, 401, "token"),
            (
                CaError::Request(RequestFault::Malformed),
                400,
                "openssl req",
            ),
            (CaError::Request(RequestFault::TooLong), 413, "longer"),
            (CaError::Request(RequestFault::OtherName), 403, "own name"),
            (
                CaError::Request(RequestFault::OtherAlternativeName),
                403,
                "own name",
            ),
            (
                CaError::Revoked {
                    serial: serial.clone(),
                },
                403,
                "revoked",
            ),
            (
                CaError::Ended {
                    serial: serial.clone(),
                },
                403,
                "not valid",
            ),
            (CaError::Unknown { which: serial }, 403, "not issued here"),
            (
                CaError::Full {
                    what: "x",
                    max: ENROLLED_PER_NAME_MAX as u64,
                },
                403,
                "too many",
            ),
        ];
        for (fault, status, word) in faults {
            let denial = denial(&fault);
            assert_eq!(denial.status.as_u16(), status, "{fault}");
            assert!(denial.text.contains(word), "{}", denial.text);
            let has_challenge = denial.answer().headers().contains_key(WWW_AUTHENTICATE);
            assert_eq!(has_challenge, status == 401);
        }
    }
}
