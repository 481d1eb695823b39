//! One HTTP server, with its connections. Redirects are not followed: who follows one takes its answer from a stranger.

use std::error::Error;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::task::spawn_blocking;
use tracing::warn;
use zeroize::Zeroizing;

use super::{Fault, lock, tls};
use crate::config::{HeaderValue as Configured, HttpServer, HttpUrl};
use crate::limits::{BACKEND_ANSWER_BYTES_MAX, BACKEND_IDLE_CONNECTIONS_MAX, BACKEND_IDLE_TIMEOUT};

const USER_AGENT: &str = concat!("fieldgate/", env!("CARGO_PKG_VERSION"));

/// A question as it is sent.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What came back.
pub(in crate::auth) struct Reply {
    pub(in crate::auth) status: StatusCode,
    pub(in crate::auth) body: Bytes,
}

/// A body that is wiped when it has been sent. What the libraries below copy of it is not.
pub(in crate::auth) fn body_of(secret: Zeroizing<Vec<u8>>) -> Bytes {
    Bytes::from_owner(secret)
}

/// A server. Its files are looked at again before each question.
#[derive(Clone)]
pub(crate) struct HttpClient(Arc<Shared>);

struct Shared {
    server: HttpServer,
    origin: String,
    made: Mutex<Option<Made>>,
}

type Connections = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Connections, and the files that they were made from.
struct Made {
    connections: Connections,
    files: Stamps,
    /// Files that were tried later and are of no use.
    refused: Option<Stamps>,
}

type Stamps = Vec<Option<Stamp>>;

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HttpClient").field(&self.0.origin).finish()
    }
}

impl HttpClient {
    pub(crate) fn new(server: &HttpServer) -> Self {
        Self(Arc::new(Shared {
            server: server.clone(),
            origin: origin(&server.url),
            made: Mutex::new(None),
        }))
    }

    /// Sends a question and reads the answer. A status of 500 and above is a fault; what others mean, the caller knows.
    pub(in crate::auth) async fn send(&self, request: &Request) -> Result<Reply, Fault> {
        let (head, body) = self.open(request).await?.into_parts();
        if head.status.is_server_error() {
            return Err(Fault::Status(head.status.as_u16()));
        }
        let body = Limited::new(body, BACKEND_ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(
            |error| match error.is::<http_body_util::LengthLimitError>() {
                true => Fault::Answer("more than 64 KiB"),
                false => unreachable(&*error),
            },
        )?;
        Ok(Reply {
            status: head.status,
            body: body.to_bytes(),
        })
    }

    /// Sends a question; the answer is left to whoever asks, whatever its status.
    pub(crate) async fn open(&self, request: &Request) -> Result<Response<Incoming>, Fault> {
        let shared = Arc::clone(&self.0);
        let ready = spawn_blocking(move || shared.prepare()).await;
        let (connections, headers) = ready
            .map_err(|_| Fault::Setup("the gateway is stopping".into()))?
            .map_err(|text| Fault::Setup(text.into()))?;
        let response = match connections.request(self.build(request, &headers)?).await {
            // The server has closed a connection that we kept, before it read anything: that says nothing about it.
            Err(error) if is_cut_short(&error) => {
                connections.request(self.build(request, &headers)?).await
            }
            response => response,
        };
        response.map_err(|error| unreachable(&error))
    }

    fn build(
        &self,
        request: &Request,
        headers: &HeaderMap,
    ) -> Result<hyper::Request<Full<Bytes>>, Fault> {
        let mut built = hyper::Request::builder()
            .method(request.method.clone())
            .uri(format!("{}{}", self.0.origin, request.path))
            .body(Full::new(request.body.clone()))
            .map_err(|error| Fault::Setup(error.to_string().into()))?;
        let fields = built.headers_mut();
        fields.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        fields.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        // What the operator has written comes last, and holds.
        for (name, value) in request.headers.iter().chain(headers) {
            fields.insert(name, value.clone());
        }
        Ok(built)
    }
}

impl Shared {
    /// The connections, made anew where a file has changed, and the header fields of the settings. Reads files.
    fn prepare(&self) -> Result<(Connections, HeaderMap), String> {
        let files = tls::files(&self.server);
        let files: Stamps = files.iter().map(|file| Stamp::of(file)).collect();
        let mut made = lock(&self.made);
        let connections = match &mut *made {
            Some(made) if made.files == files || made.refused.as_ref() == Some(&files) => {
                made.connections.clone()
            }
            made => match (connect(&self.server), made) {
                (Ok(connections), made) => {
                    *made = Some(Made {
                        connections: connections.clone(),
                        files,
                        refused: None,
                    });
                    connections
                }
                // A change that is of no use leaves what worked before it.
                (Err(text), Some(made)) => {
                    warn!(server = self.origin, "Changed files are not used: {text}");
                    made.refused = Some(files);
                    made.connections.clone()
                }
                (Err(text), None) => return Err(text),
            },
        };
        drop(made);
        Ok((connections, headers(&self.server)?))
    }
}

/// Connections are made as they are needed.
fn connect(server: &HttpServer) -> Result<Connections, String> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(BACKEND_IDLE_TIMEOUT)
        .pool_max_idle_per_host(BACKEND_IDLE_CONNECTIONS_MAX)
        .http1_max_buf_size(2 * BACKEND_ANSWER_BYTES_MAX);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls::client_config(server)?)
        .https_or_http()
        .enable_http1();
    Ok(builder.build(connector.wrap_connector(http)))
}

/// The header fields of the settings, with what stands in files now.
fn headers(server: &HttpServer) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in &server.headers {
        let fault = || format!("the header field {name} is not one");
        let mut value = match value {
            Configured::Text(text) => HeaderValue::from_str(text),
            Configured::File(path) => HeaderValue::from_bytes(read_secret(path)?.as_bytes()),
        }
        .map_err(|_| fault())?;
        value.set_sensitive(true);
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| fault())?;
        headers.insert(name, value);
    }
    Ok(headers)
}

/// The first line of a file.
pub(crate) fn read_secret(path: &Path) -> Result<Zeroizing<String>, String> {
    let bytes = tls::read(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| format!("{} is no text", path.display()))?;
    match text.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => Ok(Zeroizing::new(line.to_owned())),
        _ => Err(format!("{} is empty", path.display())),
    }
}

/// Scheme, host and port of a URL.
pub(super) fn origin(url: &HttpUrl) -> String {
    let scheme = if url.is_tls { "https" } else { "http" };
    let (host, port) = (&url.host, url.port);
    match host.contains(':') {
        true => format!("{scheme}://[{host}]:{port}"),
        false => format!("{scheme}://{host}:{port}"),
    }
}

/// Tells one content of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    changed: (i64, i64),
}

impl Stamp {
    /// `None` for a file that is not there.
    fn of(path: &Path) -> Option<Self> {
        let about = path.metadata().ok()?;
        Some(Self {
            device: about.dev(),
            inode: about.ino(),
            len: about.size(),
            changed: (about.mtime(), about.mtime_nsec()),
        })
    }
}

fn is_cut_short(error: &hyper_util::client::legacy::Error) -> bool {
    let inner = error
        .source()
        .and_then(<dyn Error>::downcast_ref::<hyper::Error>);
    inner.is_some_and(hyper::Error::is_incomplete_message)
}

/// What went wrong, with what was behind it.
fn unreachable(error: &(dyn Error + 'static)) -> Fault {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    Fault::Unreachable(text.into())
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
