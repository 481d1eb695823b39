//! `/livez`, `/readyz` and `/metrics` over HTTP/1.1.
//!
//! Everything is bounded: connections, the size of a request head, the time of a connection. An address that is taken or
//! not there yet is reported and tried again, never fatal.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};

use super::{AdminReport, AdminState, Source, metrics};

/// Connections served at one time: a scraper, a probe, a person, and room.
const CONNECTIONS_MAX: usize = 32;

/// Largest request head; hyper does not go below 8 KiB.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Time to send the request head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Time of a whole connection, which serves one request.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(20);

/// Pause after a failed accept, so that a lack of descriptors does not turn into a lack of processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Pause between two attempts to listen.
const LISTEN_PAUSE: Duration = Duration::from_secs(2);

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const EXPOSITION: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
const GET_AND_HEAD: HeaderValue = HeaderValue::from_static("GET, HEAD");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Where the HTTP server stands, shared with who reports it.
#[derive(Clone, Debug)]
pub struct HttpState(Arc<Mutex<AdminReport>>);

impl Default for HttpState {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(AdminReport {
            address: None,
            state: AdminState::Off,
            detail: None,
        })))
    }
}

impl HttpState {
    /// What is the case now.
    #[must_use]
    pub fn report(&self) -> AdminReport {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, address: Option<SocketAddr>, state: AdminState, detail: Option<String>) {
        let report = AdminReport {
            address: address.map(|address| address.to_string()),
            state,
            detail,
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = report;
    }
}

/// Serves on the address that `address` holds, and on the next one whenever it changes. Ends when its sender is gone.
pub async fn serve<S: Source>(
    mut address: watch::Receiver<Option<SocketAddr>>,
    source: Arc<S>,
    state: HttpState,
) {
    loop {
        let wanted = *address.borrow_and_update();
        let changed = match wanted {
            None => {
                state.set(None, AdminState::Off, None);
                address.changed().await
            }
            Some(wanted) => tokio::select! {
                changed = address.changed() => changed,
                never = listen_and_serve(wanted, &source, &state) => match never {},
            },
        };
        if changed.is_err() {
            return;
        }
    }
}

async fn listen_and_serve<S: Source>(
    address: SocketAddr,
    source: &Arc<S>,
    state: &HttpState,
) -> Infallible {
    let listener = listen(address, state).await;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, Arc::clone(source)));
                }
                Err(error) => {
                    warn!(%error, "cannot accept on the admin address");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Tries until it succeeds; says so once per reason.
async fn listen(address: SocketAddr, state: &HttpState) -> TcpListener {
    let mut said: Option<io::ErrorKind> = None;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                let bound = listener.local_addr().unwrap_or(address);
                state.set(Some(bound), AdminState::Listening, None);
                info!("health and metrics are served on http://{bound}");
                return listener;
            }
            Err(error) => {
                state.set(
                    Some(address),
                    AdminState::AwaitingAddress,
                    Some(error.to_string()),
                );
                if said.replace(error.kind()) != Some(error.kind()) {
                    warn!(%address, %error, "health and metrics are not served yet; trying again");
                }
            }
        }
        tokio::time::sleep(LISTEN_PAUSE).await;
    }
}

async fn serve_connection<S: Source>(stream: TcpStream, source: Arc<S>) {
    let service = service_fn(move |request| {
        let source = Arc::clone(&source);
        async move { Ok::<_, Infallible>(respond(&request, &*source).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // What goes wrong here concerns the peer alone, which knows it already.
    let _ = timeout(CONNECTION_TIMEOUT, connection).await;
}

async fn respond<S: Source>(request: &Request<Incoming>, source: &S) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        response.headers_mut().insert(ALLOW, GET_AND_HEAD);
        return response;
    }
    match request.uri().path() {
        "/livez" => live(source).await,
        "/readyz" => ready(source),
        "/metrics" => {
            let mut response = text(StatusCode::OK, metrics::render(&source.status()));
            response.headers_mut().insert(CONTENT_TYPE, EXPOSITION);
            response
        }
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /livez, /readyz and /metrics\n",
        ),
    }
}

async fn live<S: Source>(source: &S) -> Response<Full<Bytes>> {
    if source.heartbeat().await {
        text(StatusCode::OK, "live\n")
    } else {
        text(
            StatusCode::SERVICE_UNAVAILABLE,
            "the broker core does not answer\n",
        )
    }
}

fn ready<S: Source>(source: &S) -> Response<Full<Bytes>> {
    let report = source.readiness();
    let (status, mut body) = if report.ready {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned())
    };
    for awaited in &report.awaiting {
        body.push_str(&format!("awaiting {awaited}\n"));
    }
    if let Some(degraded) = &report.degraded {
        body.push_str(&format!("degraded: {degraded}\n"));
    }
    text(status, body)
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    response
}
