//! The method `custom`: an HTTPS server that decides, asked by version 0.5.0 of the protocol of the cluster broker.
//!
//! Every client is its business, with and without a user name. What it is sent and what its answers mean is in
//! docs/back-ends.md.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use data_encoding::BASE64;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::backend::{
    Backend, BackendReport, Fault, HttpClient, Key, Reply, Request, Until, Verdict, body_of, json,
};
use super::{Acceptance, Again, Credential, Credentials, Outcome, Refused};
use crate::config::{CustomSettings, HttpUrl, WhenUnavailable};
use crate::mqtt::{ConnAck, Disconnect, ReasonCode};
use crate::policy::Principal;

/// The version of the protocol that is spoken here.
const VERSION: &str = "0.5.0";

/// Characters of what the server says to the journal.
const MESSAGE_CHARS_MAX: usize = 200;

/// The name of a client that says nothing about itself, and that the server lets in nevertheless.
const NAMELESS: &str = "custom";

/// Asks the server.
#[derive(Debug)]
pub(super) struct Custom {
    client: HttpClient,
    backend: Backend<Decision>,
    path: Arc<str>,
    when_unavailable: WhenUnavailable,
}

/// What the server has decided.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Decision {
    Allowed {
        attributes: Arc<BTreeMap<Box<str>, Box<str>>>,
        ends_at: Option<Instant>,
    },
    Denied {
        reason: ReasonCode,
        sentence: Arc<str>,
    },
}

impl Verdict for Decision {
    fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed { .. })
    }

    fn ends_at(&self) -> Option<Instant> {
        match self {
            Self::Allowed { ends_at, .. } => *ends_at,
            Self::Denied { .. } => None,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Allowed { attributes, .. } => attributes
                .iter()
                .map(|(name, value)| name.len() + value.len() + 64)
                .sum(),
            Self::Denied { sentence, .. } => sentence.len(),
        }
    }
}

/// The body of a question.
#[derive(Serialize)]
struct Question<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certs: Option<&'a str>,
    #[serde(
        rename = "enhancedAuthentication",
        skip_serializing_if = "Option::is_none"
    )]
    enhanced: Option<Enhanced<'a>>,
}

#[derive(Serialize)]
struct Enhanced<'a> {
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
}

#[derive(Deserialize)]
struct Allowance {
    expiry: Option<Box<str>>,
    #[serde(default)]
    attributes: BTreeMap<Box<str>, Box<str>>,
}

#[derive(Deserialize)]
struct Denial {
    reason: Option<u8>,
    message: Option<Box<str>>,
}

#[derive(Deserialize)]
struct Versions {
    #[serde(rename = "supportedVersions")]
    supported: Vec<Box<str>>,
}

impl Custom {
    pub(super) fn new(settings: &CustomSettings) -> Self {
        Self {
            client: HttpClient::new(&settings.server),
            backend: Backend::new("custom", &settings.server, &settings.backend),
            path: path(&settings.server.url).into(),
            when_unavailable: settings.backend.when_unavailable,
        }
    }

    pub(super) async fn begin(&self, credentials: &Credentials<'_>) -> Outcome {
        if let (Some(principal), Some(method)) = (credentials.principal, credentials.method) {
            let again = Again {
                method: method.into(),
                username: principal.username.clone(),
            };
            return self.authenticate_again(again, credentials.data).await;
        }
        let body = connect_body(credentials);
        // The data of an exchange may be good for one time only, so its answer is nobody else's.
        let key = match credentials.method {
            Some(_) => None,
            None => self.backend.key(&[&body]),
        };
        let username = name(credentials);
        match self.ask(key, body).await {
            Ok(decision) => decision.into_outcome(username, ConnAck::may_carry),
            Err(fault) => Outcome::Unavailable(fault.into()),
        }
    }

    pub(super) async fn resume(&self, again: Again, data: Option<&[u8]>) -> Outcome {
        self.authenticate_again(again, data).await
    }

    pub(super) fn when_unavailable(&self) -> WhenUnavailable {
        self.when_unavailable
    }

    pub(super) fn report(&self) -> BackendReport {
        self.backend.report()
    }

    /// The client has been let in before; while nobody can tell it stays, and may ask again.
    async fn authenticate_again(&self, again: Again, data: Option<&[u8]>) -> Outcome {
        let body = again_body(&again.method, data);
        match self.ask(None, body).await {
            Ok(decision) => decision.into_outcome(again.username, Disconnect::server_may_carry),
            Err(fault) => again.stay(fault.into(), self.when_unavailable),
        }
    }

    async fn ask(&self, key: Option<Key>, body: Zeroizing<Vec<u8>>) -> Result<Decision, Fault> {
        let (client, path, body) = (self.client.clone(), Arc::clone(&self.path), body_of(body));
        let answered = self.backend.ask(key, move || {
            let (client, path, body) = (client.clone(), Arc::clone(&path), body.clone());
            async move { decide(&client, &path, body).await }
        });
        Ok(answered.await?.verdict)
    }
}

impl Decision {
    /// `may_carry` says which reasons the packet that ends in can have.
    fn into_outcome(self, username: Box<str>, may_carry: impl Fn(ReasonCode) -> bool) -> Outcome {
        match self {
            Self::Allowed {
                attributes,
                ends_at,
            } => Outcome::Accepted(Acceptance {
                principal: Arc::new(Principal {
                    username,
                    attributes: (*attributes).clone(),
                    is_superuser: false,
                }),
                expires_at: ends_at.map(Instant::into_std),
                data: None,
                credential: Credential::Lasting,
                method: "",
            }),
            Self::Denied { reason, sentence } => {
                let reason = match may_carry(reason) {
                    true => reason,
                    false => ReasonCode::NotAuthorized,
                };
                Refused::new(reason, sentence.to_string()).into()
            }
        }
    }
}

/// Sends a question, and once more if the server wants to hear it in the version that it was in.
async fn decide(client: &HttpClient, path: &str, body: Bytes) -> Result<Decision, Fault> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(json::MEDIA_TYPE));
    let request = Request {
        method: Method::POST,
        path: path.to_owned(),
        headers,
        body,
    };
    let reply = client.send(&request).await?;
    if reply.status != StatusCode::UNPROCESSABLE_ENTITY {
        return judge(&reply);
    }
    let versions: Versions = serde_json::from_slice(&reply.body)
        .map_err(|_| Fault::Answer("a list of versions that cannot be read"))?;
    if !versions
        .supported
        .iter()
        .any(|version| &**version == VERSION)
    {
        return Err(Fault::Answer("a list of versions without 0.5.0"));
    }
    judge(&client.send(&request).await?)
}

fn judge(reply: &Reply) -> Result<Decision, Fault> {
    match reply.status {
        StatusCode::OK => allowance(&reply.body),
        StatusCode::FORBIDDEN => Ok(denial(&reply.body)),
        status => Err(Fault::Status(status.as_u16())),
    }
}

fn allowance(body: &[u8]) -> Result<Decision, Fault> {
    let unreadable = Fault::Answer("an acceptance that cannot be read");
    let allowance: Allowance = serde_json::from_slice(body).map_err(|_| unreadable)?;
    let ends_at = match &allowance.expiry {
        None => None,
        Some(text) => {
            let expiry = OffsetDateTime::parse(text, &Rfc3339)
                .map_err(|_| Fault::Answer("an expiry that is no time of RFC 3339"))?;
            match Until::unix_seconds(expiry.unix_timestamp()) {
                Until::Past => {
                    return Ok(Decision::Denied {
                        reason: ReasonCode::NotAuthorized,
                        sentence: "the credential has expired".into(),
                    });
                }
                Until::Never => None,
                Until::At(instant) => Some(instant),
            }
        }
    };
    Ok(Decision::Allowed {
        attributes: Arc::new(allowance.attributes),
        ends_at,
    })
}

/// A refusal that cannot be read is one nevertheless.
fn denial(body: &[u8]) -> Decision {
    let denial = serde_json::from_slice::<Denial>(body).ok();
    let code = denial.as_ref().and_then(|denial| denial.reason);
    let reason = code
        .and_then(ReasonCode::from_u8)
        .filter(|reason| reason.is_error() && ConnAck::may_carry(*reason));
    let message = denial.and_then(|denial| denial.message);
    let sentence = match message {
        Some(message) => format!("the server says: {}", harmless(&message)),
        None => "the server refuses the client".to_owned(),
    };
    Decision::Denied {
        reason: reason.unwrap_or(ReasonCode::NotAuthorized),
        sentence: sentence.into(),
    }
}

/// The beginning of a text of somebody else, fit for a line of the journal.
fn harmless(text: &str) -> String {
    let chars = text.chars().take(MESSAGE_CHARS_MAX);
    chars
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// `PATH/?api-version=0.5.0`
fn path(url: &HttpUrl) -> String {
    let (path, query) = match url.path.split_once('?') {
        Some((path, query)) => (path, format!("{query}&")),
        None => (&*url.path, String::new()),
    };
    let path = path.trim_end_matches('/');
    format!("{path}/?{query}api-version={VERSION}")
}

/// The user name; without one the name in the certificate. Not the client identifier, of which the server hears nothing.
fn name(credentials: &Credentials<'_>) -> Box<str> {
    let leaf = credentials.certificates.first();
    let given = credentials.username.map(Box::from);
    let found = named(given)
        .or_else(|| named(leaf.and_then(|leaf| common_name(leaf))))
        .or_else(|| named(credentials.method.map(Box::from)));
    found.unwrap_or_else(|| NAMELESS.into())
}

fn named(name: Option<Box<str>>) -> Option<Box<str>> {
    name.filter(|name| !name.is_empty())
}

fn common_name(certificate: &[u8]) -> Option<Box<str>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let name = certificate.subject().iter_common_name().next()?;
    name.as_str().ok().map(Into::into)
}

fn connect_body(credentials: &Credentials<'_>) -> Zeroizing<Vec<u8>> {
    let password = credentials.password.map(base64);
    let data = credentials.data.map(base64);
    let certs = pem(credentials.certificates);
    json::encode(&Question {
        kind: "connect",
        username: credentials.username,
        password: password.as_ref().map(|text| text.as_str()),
        certs: certs.as_deref(),
        enhanced: credentials.method.map(|method| Enhanced {
            method,
            data: data.as_ref().map(|text| text.as_str()),
        }),
    })
}

fn again_body(method: &str, data: Option<&[u8]>) -> Zeroizing<Vec<u8>> {
    let data = data.map(base64);
    json::encode(&Question {
        kind: "auth",
        username: None,
        password: None,
        certs: None,
        enhanced: Some(Enhanced {
            method,
            data: data.as_ref().map(|text| text.as_str()),
        }),
    })
}

fn base64(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(BASE64.encode(bytes))
}

/// The chain in PEM, the certificate of the client first; `None` if there is none.
fn pem(chain: &[Box<[u8]>]) -> Option<String> {
    let mut text = String::new();
    for certificate in chain {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        // 48 bytes are a line of 64 characters.
        for line in certificate.chunks(48) {
            BASE64.encode_append(line, &mut text);
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
#[path = "custom_tests.rs"]
mod tests;
