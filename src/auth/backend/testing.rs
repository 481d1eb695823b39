//! An HTTP server for tests, in the same process.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::lock;
use crate::config::{BackendSettings, HttpServer, HttpUrl, WhenUnavailable};

/// A request that came in.
#[derive(Clone, Debug)]
pub(in crate::auth) struct Seen {
    /// Method, path and query.
    pub(in crate::auth) line: String,
    pub(in crate::auth) headers: HeaderMap,
    pub(in crate::auth) body: String,
    /// Counts the connections.
    pub(in crate::auth) connection: usize,
}

/// Ends with the test.
pub(in crate::auth) struct Server {
    pub(in crate::auth) port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    _tasks: JoinSet<()>,
}

type Answers = dyn Fn(&Seen) -> (u16, String) + Send + Sync;

impl Server {
    /// Answers with a status and a body. The status 0 stands for no answer at all.
    pub(in crate::auth) async fn start(
        answers: impl Fn(&Seen) -> (u16, String) + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(None, answers).await
    }

    pub(in crate::auth) async fn start_with(
        tls: Option<ServerConfig>,
        answers: impl Fn(&Seen) -> (u16, String) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let acceptor = tls.map(|tls| TlsAcceptor::from(Arc::new(tls)));
        let (answers, noted): (Arc<Answers>, _) = (Arc::new(answers), Arc::clone(&seen));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            for connection in 0.. {
                let (socket, _) = listener.accept().await.unwrap();
                let (answers, noted) = (Arc::clone(&answers), Arc::clone(&noted));
                let acceptor = acceptor.clone();
                connections.spawn(async move {
                    match acceptor {
                        None => serve(socket, connection, answers, noted).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(socket).await {
                                serve(stream, connection, answers, noted).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            port,
            seen,
            _tasks: tasks,
        }
    }

    pub(in crate::auth) fn seen(&self) -> Vec<Seen> {
        lock(&self.seen).clone()
    }

    /// How it is reached.
    pub(in crate::auth) fn settings(&self) -> HttpServer {
        server("127.0.0.1", self.port, false)
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    connection: usize,
    answers: Arc<Answers>,
    noted: Arc<Mutex<Vec<Seen>>>,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let (answers, noted) = (Arc::clone(&answers), Arc::clone(&noted));
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let seen = Seen {
                line: format!("{} {}", head.method, head.uri),
                headers: head.headers,
                body: String::from_utf8(body.to_vec()).unwrap(),
                connection,
            };
            lock(&noted).push(seen.clone());
            let (status, text) = answers(&seen);
            if status == 0 {
                std::future::pending::<()>().await;
            }
            let answer = Response::builder().status(status);
            Ok::<_, Infallible>(answer.body(Full::new(Bytes::from(text))).unwrap())
        }
    });
    let http = hyper::server::conn::http1::Builder::new();
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

pub(in crate::auth) fn server(host: &str, port: u16, is_tls: bool) -> HttpServer {
    HttpServer {
        url: HttpUrl {
            is_tls,
            host: host.into(),
            port,
            path: "/".into(),
        },
        ca: None,
        client_certificate: None,
        headers: BTreeMap::new(),
    }
}

/// A back end that is asked once and remembers nothing.
pub(in crate::auth) fn settings() -> BackendSettings {
    BackendSettings {
        timeout: Duration::from_secs(5),
        concurrency_max: 10,
        retries: 0,
        breaker_errors: 1_000,
        breaker_pause: Duration::from_secs(10),
        cache_time: Duration::ZERO,
        negative_cache_time: Duration::ZERO,
        when_unavailable: WhenUnavailable::Refuse,
    }
}
