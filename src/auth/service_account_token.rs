//! The method `service_account_token`: tokens of Kubernetes service accounts, which the API server of the cluster judges.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tokio::time::{self, Instant};

use super::backend::{Backend, BackendReport, Fault, HttpClient};
use super::token_review::{Review, Reviewer};
use super::{Acceptance, Again, Credential, Credentials, Outcome, Refused};
use crate::config::{HttpServer, HttpUrl, ServiceAccountTokenSettings, WhenUnavailable};
use crate::mqtt::ReasonCode;
use crate::policy::Principal;

/// The authentication method of MQTT 5, and the user name of clients of older versions.
const METHOD: &str = "K8S-SAT";

/// The user name of clients of version 3 whose password is a token.
pub const TOKEN_USERNAME: &str = METHOD;

/// Where every pod finds the means to ask the API server.
const FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Longest token that is passed on. Tokens of service accounts have about one kilobyte.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Asks the API server.
#[derive(Debug)]
pub(super) struct ServiceAccountToken {
    reviewer: Option<Arc<Reviewer>>,
    backend: Backend<Review>,
    when_unavailable: WhenUnavailable,
}

impl ServiceAccountToken {
    pub(super) fn new(settings: &ServiceAccountTokenSettings) -> Self {
        let server = settings.api_server.clone().or_else(server_of_pod);
        Self::with_server(settings, server)
    }

    fn with_server(settings: &ServiceAccountTokenSettings, server: Option<HttpServer>) -> Self {
        let server = server.map(with_authority);
        let own_token = settings.token_file.clone();
        let own_token = own_token.unwrap_or_else(|| Path::new(FOLDER).join("token"));
        let kind = "service_account_token";
        Self {
            backend: match &server {
                Some(server) => Backend::new(kind, server, &settings.backend),
                None => Backend::named(kind, "".into(), &settings.backend),
            },
            reviewer: server.map(|server| {
                Arc::new(Reviewer {
                    client: HttpClient::new(&server),
                    prefix: server.url.path.trim_end_matches('/').into(),
                    own_token,
                    audiences: settings.audiences.clone(),
                })
            }),
            when_unavailable: settings.backend.when_unavailable,
        }
    }

    pub(super) async fn begin(&self, credentials: &Credentials<'_>) -> Outcome {
        let token = match credentials.method {
            Some(METHOD) => credentials.data,
            None if credentials.username == Some(METHOD) => credentials.password,
            _ => return Outcome::NotMine,
        };
        let again = credentials.principal.map(|principal| Again {
            method: METHOD.into(),
            username: principal.username.clone(),
        });
        self.judge(token, again).await
    }

    pub(super) async fn resume(&self, again: Again, token: Option<&[u8]>) -> Outcome {
        self.judge(token, Some(again)).await
    }

    pub(super) fn when_unavailable(&self) -> WhenUnavailable {
        self.when_unavailable
    }

    pub(super) fn report(&self) -> BackendReport {
        self.backend.report()
    }

    async fn judge(&self, token: Option<&[u8]>, again: Option<Again>) -> Outcome {
        let token = match token.map(readable) {
            Some(Ok(token)) => token,
            Some(Err(sentence)) => return refused(sentence),
            None => return refused("there is no token"),
        };
        match (self.review(token).await, again) {
            (Ok(review), _) => review.into_outcome(),
            (Err(fault), Some(again)) => again.stay(fault.into(), self.when_unavailable),
            (Err(fault), None) => Outcome::Unavailable(fault.into()),
        }
    }

    async fn review(&self, token: &str) -> Result<Review, Fault> {
        let Some(reviewer) = &self.reviewer else {
            return Err(Fault::Setup(
                "no `api_server` is given, and this is no pod of a cluster".into(),
            ));
        };
        let key = self.backend.key(&[token.as_bytes()]);
        let reviewer = Arc::clone(reviewer);
        let token = Arc::new(zeroize::Zeroizing::new(token.to_owned()));
        let answered = self.backend.ask(key, move || {
            let (reviewer, token) = (Arc::clone(&reviewer), Arc::clone(&token));
            async move { reviewer.review(&token).await }
        });
        Ok(answered.await?.verdict)
    }
}

impl Review {
    fn into_outcome(self) -> Outcome {
        match self {
            Self::Refused(sentence) => refused(sentence),
            // The token may have ended since it was judged.
            Self::Accepted { ends_at, .. }
                if ends_at.is_some_and(|end| end <= time::Instant::now()) =>
            {
                refused("the token has expired")
            }
            Self::Accepted {
                username,
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
        }
    }
}

fn refused(sentence: &'static str) -> Outcome {
    Refused::new(ReasonCode::NotAuthorized, sentence).into()
}

/// A token as text, if it may be one: visible ASCII.
fn readable(token: &[u8]) -> Result<&str, &'static str> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err("the token is too long");
    }
    match std::str::from_utf8(token) {
        Ok("") => Err("there is no token"),
        Ok(text) if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(text),
        _ => Err("the token is no text"),
    }
}

/// How a pod talks to its cluster.
#[cfg(feature = "kube")]
pub(crate) struct ClusterMeans {
    pub(crate) server: HttpServer,
    /// File with the token that is presented for ourselves, which is replaced before it ends.
    pub(crate) token: std::path::PathBuf,
    /// File with the name of the namespace of the pod.
    pub(crate) namespace: std::path::PathBuf,
}

/// The API server and the token that are written, else those of the pod. `None` where this is no pod.
#[cfg(feature = "kube")]
pub(crate) fn cluster_means(
    server: Option<HttpServer>,
    token: Option<std::path::PathBuf>,
) -> Option<ClusterMeans> {
    Some(ClusterMeans {
        server: with_authority(server.or_else(server_of_pod)?),
        token: token.unwrap_or_else(|| Path::new(FOLDER).join("token")),
        namespace: Path::new(FOLDER).join("namespace"),
    })
}

/// A server that is trusted by the authority of the cluster, where no other is written.
fn with_authority(server: HttpServer) -> HttpServer {
    match server.url.is_tls && server.ca.is_none() {
        true => HttpServer {
            ca: Some(Path::new(FOLDER).join("ca.crt")),
            ..server
        },
        false => server,
    }
}

/// The API server, where this is a pod.
fn server_of_pod() -> Option<HttpServer> {
    let variable = |name| std::env::var(name).ok();
    in_cluster(
        variable("KUBERNETES_SERVICE_HOST"),
        variable("KUBERNETES_SERVICE_PORT"),
    )
}

/// The API server as every pod finds it.
fn in_cluster(host: Option<String>, port: Option<String>) -> Option<HttpServer> {
    Some(HttpServer {
        url: HttpUrl {
            is_tls: true,
            host: host.filter(|host| !host.is_empty())?.into(),
            port: port?.parse().ok()?,
            path: "/".into(),
        },
        ca: None,
        client_certificate: None,
        headers: BTreeMap::new(),
    })
}

#[cfg(test)]
#[path = "service_account_token_tests.rs"]
mod tests;
