//! TokenReview of Kubernetes (`authentication.k8s.io/v1`), and the annotations of a service account.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::backend::{
    Fault, HttpClient, Reply, Request, Until, Verdict, body_of, json, read_secret,
};

/// Begins the annotations of a service account that are attributes of its clients.
const ANNOTATION_PREFIX: &str = "aio-broker-auth/";

const USERNAME_PREFIX: &str = "system:serviceaccount:";

/// What the API server says about a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Review {
    Accepted {
        /// `system:serviceaccount:NAMESPACE:NAME`
        username: Box<str>,
        attributes: Arc<BTreeMap<Box<str>, Box<str>>>,
        ends_at: Option<Instant>,
    },
    /// Why not.
    Refused(&'static str),
}

impl Verdict for Review {
    fn is_allowed(&self) -> bool {
        matches!(self, Self::Accepted { .. })
    }

    fn ends_at(&self) -> Option<Instant> {
        match self {
            Self::Accepted { ends_at, .. } => *ends_at,
            Self::Refused(_) => None,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Accepted {
                username,
                attributes,
                ..
            } => {
                let attributes = attributes.iter();
                let attributes = attributes.map(|(name, value)| name.len() + value.len() + 64);
                username.len() + attributes.sum::<usize>()
            }
            Self::Refused(_) => 0,
        }
    }
}

/// Asks an API server.
#[derive(Debug)]
pub(super) struct Reviewer {
    pub(super) client: HttpClient,
    /// Path that is put in front, for a server behind a gateway.
    pub(super) prefix: Box<str>,
    /// File with the token that is presented for ourselves, which is replaced before it ends.
    pub(super) own_token: PathBuf,
    pub(super) audiences: Vec<Box<str>>,
}

#[derive(Serialize)]
struct Question<'a> {
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    kind: &'static str,
    spec: QuestionSpec<'a>,
}

#[derive(Serialize)]
struct QuestionSpec<'a> {
    token: &'a str,
    audiences: &'a [Box<str>],
}

#[derive(Deserialize)]
struct Answer {
    status: Status,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    authenticated: bool,
    #[serde(default)]
    audiences: Vec<Box<str>>,
    user: Option<User>,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: Box<str>,
}

#[derive(Deserialize)]
struct ServiceAccount {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    annotations: Option<BTreeMap<Box<str>, Box<str>>>,
}

impl Reviewer {
    /// Has a token judged.
    pub(super) async fn review(&self, token: &str) -> Result<Review, Fault> {
        let question = Question {
            api_version: "authentication.k8s.io/v1",
            kind: "TokenReview",
            spec: QuestionSpec {
                token,
                audiences: &self.audiences,
            },
        };
        let path = "/apis/authentication.k8s.io/v1/tokenreviews";
        let body = body_of(json::encode(&question));
        let reply = self.send(Method::POST, path, body).await?;
        let status = match reply.status {
            StatusCode::OK | StatusCode::CREATED => read::<Answer>(&reply)?.status,
            status => return Err(Fault::Status(status.as_u16())),
        };
        let username = match self.judge(status) {
            Ok(username) => username,
            Err(sentence) => return Ok(Review::Refused(sentence)),
        };
        let ends_at = match expiry(token).map(Until::unix_seconds) {
            Some(Until::Past) => return Ok(Review::Refused("the token has expired")),
            Some(Until::At(instant)) => Some(instant),
            Some(Until::Never) | None => None,
        };
        let Some((namespace, name)) = service_account(&username) else {
            return Ok(Review::Refused(
                "the token is not that of a service account",
            ));
        };
        Ok(match self.attributes(namespace, name).await? {
            Some(attributes) => Review::Accepted {
                attributes: Arc::new(attributes),
                username,
                ends_at,
            },
            None => Review::Refused("the service account does not exist any more"),
        })
    }

    /// The user that a token belongs to, if it is good here.
    fn judge(&self, status: Status) -> Result<Box<str>, &'static str> {
        if !status.authenticated {
            return Err("the cluster does not know the token");
        }
        // A server that does not know about audiences names none; its answer is about tokens for itself.
        if !status
            .audiences
            .iter()
            .any(|audience| self.audiences.contains(audience))
        {
            return Err("the token is for another audience");
        }
        let user = status.user.map(|user| user.username);
        user.ok_or("the cluster does not say whose token it is")
    }

    /// What the annotations of a service account say; `None` if there is no such account.
    async fn attributes(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<BTreeMap<Box<str>, Box<str>>>, Fault> {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}");
        let reply = self.send(Method::GET, &path, Bytes::new()).await?;
        let annotations = match reply.status {
            StatusCode::OK => read::<ServiceAccount>(&reply)?.metadata.annotations,
            StatusCode::NOT_FOUND => return Ok(None),
            status => return Err(Fault::Status(status.as_u16())),
        };
        let annotations = annotations.unwrap_or_default().into_iter();
        let attributes = annotations.filter_map(|(name, value)| {
            let name = name.strip_prefix(ANNOTATION_PREFIX)?;
            (!name.is_empty()).then(|| (name.into(), value))
        });
        Ok(Some(attributes.collect()))
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Reply, Fault> {
        let file = self.own_token.clone();
        let token = spawn_blocking(move || read_secret(&file)).await;
        let token = token
            .map_err(|_| Fault::Setup("the gateway is stopping".into()))?
            .map_err(|text| Fault::Setup(text.into()))?;
        let bearer = Zeroizing::new(format!("Bearer {}", *token));
        let mut bearer = HeaderValue::from_str(&bearer)
            .map_err(|_| Fault::Setup("the token of the gateway is no text".into()))?;
        bearer.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, bearer);
        if !body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(json::MEDIA_TYPE));
        }
        let request = Request {
            method,
            path: format!("{}{path}", self.prefix),
            headers,
            body,
        };
        self.client.send(&request).await
    }
}

fn read<T: for<'a> Deserialize<'a>>(reply: &Reply) -> Result<T, Fault> {
    let unreadable = Fault::Answer("something that is not of the API of Kubernetes");
    serde_json::from_slice(&reply.body).map_err(|_| unreadable)
}

/// Namespace and name of a service account, fit for a path.
fn service_account(username: &str) -> Option<(&str, &str)> {
    let (namespace, name) = username.strip_prefix(USERNAME_PREFIX)?.split_once(':')?;
    let is_name = |text: &str| {
        let plain =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
        text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.bytes().all(plain)
    };
    (is_name(namespace) && is_name(name)).then_some((namespace, name))
}

/// The `exp` of a token, which is believed because the API server has accepted the token, and is used for nothing but to
/// end the connection.
fn expiry(token: &str) -> Option<i64> {
    #[derive(Deserialize)]
    struct Claims {
        exp: Option<serde_json::Number>,
    }
    let payload = token.split('.').nth(1)?.trim_end_matches('=');
    let payload = Zeroizing::new(BASE64URL_NOPAD.decode(payload.as_bytes()).ok()?);
    let exp = serde_json::from_slice::<Claims>(&payload).ok()?.exp?;
    // RFC 7519 allows fractions; whole seconds are enough.
    let whole = exp.to_string();
    exp.as_i64()
        .or_else(|| whole.split('.').next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_of_names_only() {
        let account = |username| service_account(username);
        assert_eq!(
            account("system:serviceaccount:plant-1:press.a"),
            Some(("plant-1", "press.a"))
        );
        for username in [
            "system:serviceaccount:plant",
            "system:serviceaccount:plant:",
            "system:serviceaccount::a",
            "system:serviceaccount:..:a",
            "system:serviceaccount:a:b/c",
            "system:serviceaccount:a:b:c",
            "system:serviceaccount:a:b?c",
            "system:node:a:b",
            "admin",
        ] {
            assert_eq!(account(username), None, "{username}");
        }
    }

    #[test]
    fn the_end_is_read_from_the_claims_of_a_token() {
        let token = |claims: &str| {
            let payload = BASE64URL_NOPAD.encode(claims.as_bytes());
            format!("e30.{payload}.c2ln")
        };
        assert_eq!(expiry(&token(r#"{"exp":1900000000}"#)), Some(1_900_000_000));
        assert_eq!(
            expiry(&token(r#"{"exp":1900000000.7}"#)),
            Some(1_900_000_000)
        );
        assert_eq!(expiry(&token(r#"{"exp":-5}"#)), Some(-5));
        assert_eq!(expiry(&token(r#"{"sub":"a"}"#)), None);
        assert_eq!(expiry(&token(r#"{"exp":"soon"}"#)), None);
        assert_eq!(expiry("opaque"), None);
        assert_eq!(expiry("a.!!!.c"), None);
    }
}
