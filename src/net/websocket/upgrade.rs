//! The upgrade request: a little of HTTP/1.1, as much as a WebSocket needs.

use std::fmt::Write as _;
use std::io;

use data_encoding::BASE64;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::WebSocketStream;

/// Bytes of a request that are read at most: browsers send cookies along.
const REQUEST_LEN_MAX: usize = 8 * 1024;

/// Header lines of a request that are read at most.
const HEADERS_MAX: usize = 64;

/// RFC 6455, 1.3
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Subprotocols that are served, the better one first: that of the standard, and that of MQTT 3.1.
const SUBPROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// Why a request got no WebSocket.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeFault {
    /// Not HTTP/1.1, or damaged.
    #[error("the request is not HTTP/1.1")]
    NotHttp,
    /// The request is longer than is read.
    #[error("the request is too long")]
    TooLong,
    /// A request for a web page.
    #[error("the request asks for no WebSocket")]
    NoUpgrade,
    /// Another version of the WebSocket protocol.
    #[error("the request asks for another version of the WebSocket protocol")]
    Version,
    /// The key is missing or malformed.
    #[error("the Sec-WebSocket-Key of the request is missing or malformed")]
    Key,
    /// Another path than the port serves.
    #[error("the request asks for another path")]
    Path,
    /// Subprotocols were offered, and none of them is MQTT.
    #[error("the request offers no subprotocol mqtt")]
    Subprotocol,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
}

impl UpgradeFault {
    /// Status line, more header lines and text of the answer; none if nobody listens.
    fn answer(&self) -> Option<(&'static str, &'static str, &'static str)> {
        const VERSION: &str = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
        Some(match self {
            Self::NotHttp | Self::Key => ("400 Bad Request", "", "This is no WebSocket request.\n"),
            Self::TooLong => (
                "431 Request Header Fields Too Large",
                "",
                "The request is too long.\n",
            ),
            Self::NoUpgrade | Self::Version => (
                "426 Upgrade Required",
                VERSION,
                "This port speaks MQTT over WebSocket.\n",
            ),
            Self::Path => ("404 Not Found", "", "There is nothing at this path.\n"),
            Self::Subprotocol => (
                "400 Bad Request",
                "",
                "This port speaks the subprotocol mqtt.\n",
            ),
            Self::Io(_) => return None,
        })
    }
}

/// What the answer to a request depends on.
#[derive(Debug, PartialEq, Eq)]
struct Upgrade {
    accept: String,
    subprotocol: Option<&'static str>,
    len: usize,
}

impl<C: AsyncRead + AsyncWrite + Unpin> WebSocketStream<C> {
    /// Reads the upgrade request and answers it. The caller sets the deadline.
    ///
    /// A client that offers no subprotocol is served, too, as by mosquitto; one that offers only others is not.
    pub(crate) async fn accept(mut carrier: C, path: Option<&str>) -> Result<Self, UpgradeFault> {
        let mut request = Vec::new();
        let upgrade = match read_request(&mut carrier, &mut request, path).await {
            Ok(upgrade) => upgrade,
            Err(fault) => {
                refuse(&mut carrier, &fault).await;
                return Err(fault);
            }
        };
        let mut answer = String::with_capacity(192);
        answer.push_str("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ");
        answer.push_str(&upgrade.accept);
        if let Some(subprotocol) = upgrade.subprotocol {
            answer.push_str("\r\nSec-WebSocket-Protocol: ");
            answer.push_str(subprotocol);
        }
        answer.push_str("\r\n\r\n");
        carrier.write_all(answer.as_bytes()).await?;
        carrier.flush().await?;
        let early = request.get(upgrade.len..).unwrap_or_default().to_vec();
        Ok(Self::new(carrier, early))
    }
}

async fn read_request<C: AsyncRead + Unpin>(
    carrier: &mut C,
    request: &mut Vec<u8>,
    path: Option<&str>,
) -> Result<Upgrade, UpgradeFault> {
    loop {
        if request.len() >= REQUEST_LEN_MAX {
            return Err(UpgradeFault::TooLong);
        }
        request.reserve(1024);
        let mut room = carrier.take((REQUEST_LEN_MAX - request.len()) as u64);
        if room.read_buf(request).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        if let Some(upgrade) = parse(request, path)? {
            return Ok(upgrade);
        }
    }
}

/// None while the request is not whole.
fn parse(bytes: &[u8], path: Option<&str>) -> Result<Option<Upgrade>, UpgradeFault> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let len = match request.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(UpgradeFault::TooLong),
        Err(_) => return Err(UpgradeFault::NotHttp),
    };
    if request.version != Some(1) {
        return Err(UpgradeFault::NotHttp);
    }
    let has = |name, wanted: &str| {
        tokens(request.headers, name).any(|token| token.eq_ignore_ascii_case(wanted))
    };
    if request.method != Some("GET")
        || !has("Connection", "upgrade")
        || !has("Upgrade", "websocket")
    {
        return Err(UpgradeFault::NoUpgrade);
    }
    let target = request.path.unwrap_or_default();
    let asked = target.split_once('?').map_or(target, |(path, _)| path);
    if path.is_some_and(|path| path != asked) {
        return Err(UpgradeFault::Path);
    }
    if !has("Sec-WebSocket-Version", "13") {
        return Err(UpgradeFault::Version);
    }
    let key = values(request.headers, "Sec-WebSocket-Key")
        .next()
        .unwrap_or_default();
    if !BASE64.decode(key).is_ok_and(|nonce| nonce.len() == 16) {
        return Err(UpgradeFault::Key);
    }
    Ok(Some(Upgrade {
        accept: accept_key(key),
        subprotocol: subprotocol(request.headers)?,
        len,
    }))
}

fn subprotocol(headers: &[httparse::Header<'_>]) -> Result<Option<&'static str>, UpgradeFault> {
    let mut offered = tokens(headers, "Sec-WebSocket-Protocol").peekable();
    if offered.peek().is_none() {
        return Ok(None);
    }
    let offered: Vec<&str> = offered.collect();
    SUBPROTOCOLS
        .into_iter()
        .find(|ours| offered.contains(ours))
        .map(Some)
        .ok_or(UpgradeFault::Subprotocol)
}

fn values<'a>(
    headers: &'a [httparse::Header<'a>],
    name: &'a str,
) -> impl Iterator<Item = &'a [u8]> {
    headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .map(|header| header.value.trim_ascii())
}

/// The elements of a list that may stand in one header line or in several.
fn tokens<'a>(headers: &'a [httparse::Header<'a>], name: &'a str) -> impl Iterator<Item = &'a str> {
    values(headers, name)
        .filter_map(|value| std::str::from_utf8(value).ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

fn accept_key(key: &[u8]) -> String {
    let text = [key, ACCEPT_SUFFIX].concat();
    // The standard asks for SHA-1 here; it protects nothing.
    BASE64.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &text).as_ref())
}

async fn refuse<C: AsyncWrite + Unpin>(carrier: &mut C, fault: &UpgradeFault) {
    let Some((status, headers, text)) = fault.answer() else {
        return;
    };
    let mut answer = String::with_capacity(256);
    // Writing to a String cannot fail.
    let _ = write!(
        answer,
        "HTTP/1.1 {status}\r\n{headers}Connection: close\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{text}",
        text.len(),
    );
    // A peer that has gone needs no answer.
    if carrier.write_all(answer.as_bytes()).await.is_ok() {
        let _ = carrier.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = "GET /mqtt?x=1 HTTP/1.1\r\nHost: gw\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: other, mqtt\r\n\r\n";

    fn upgrade(text: &str, path: Option<&str>) -> Result<Option<Upgrade>, UpgradeFault> {
        parse(text.as_bytes(), path)
    }

    #[test]
    fn a_request_is_answered_with_the_key_of_the_standard() {
        let upgrade = upgrade(REQUEST, Some("/mqtt")).unwrap().unwrap();
        assert_eq!(upgrade.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(upgrade.subprotocol, Some("mqtt"));
        assert_eq!(upgrade.len, REQUEST.len());
    }

    #[test]
    fn a_request_is_not_judged_before_it_is_whole() {
        for len in 1..REQUEST.len() {
            assert!(matches!(upgrade(&REQUEST[..len], None), Ok(None)), "{len}");
        }
    }

    #[test]
    fn the_subprotocol_of_mqtt_3_1_and_none_at_all_are_served() {
        let old = REQUEST.replace("other, mqtt", "mqttv3.1");
        assert_eq!(
            upgrade(&old, None).unwrap().unwrap().subprotocol,
            Some("mqttv3.1")
        );
        let none = REQUEST.replace("Sec-WebSocket-Protocol: other, mqtt\r\n", "");
        assert_eq!(upgrade(&none, None).unwrap().unwrap().subprotocol, None);
    }

    #[test]
    fn every_wrong_request_has_its_fault() {
        let fault = |from: &str, to: &str| upgrade(&REQUEST.replace(from, to), Some("/mqtt"));
        assert!(matches!(fault("GET", "POST"), Err(UpgradeFault::NoUpgrade)));
        assert!(matches!(
            fault("Upgrade: WebSocket\r\n", ""),
            Err(UpgradeFault::NoUpgrade)
        ));
        assert!(matches!(fault("/mqtt", "/"), Err(UpgradeFault::Path)));
        assert!(matches!(
            fault("Version: 13", "Version: 8"),
            Err(UpgradeFault::Version)
        ));
        assert!(matches!(fault("dGhl", "dG"), Err(UpgradeFault::Key)));
        assert!(matches!(
            fault("other, mqtt", "chat"),
            Err(UpgradeFault::Subprotocol)
        ));
        assert!(matches!(
            fault("HTTP/1.1", "HTTP/1.0"),
            Err(UpgradeFault::NotHttp)
        ));
        assert!(matches!(
            upgrade("\x10\x0e\0\x04MQTT", None),
            Err(UpgradeFault::NotHttp)
        ));
        let many = REQUEST.replace("Host: gw\r\n", &"X: y\r\n".repeat(100));
        assert!(matches!(upgrade(&many, None), Err(UpgradeFault::TooLong)));
    }

    #[tokio::test]
    async fn a_browser_that_asks_for_a_page_gets_a_short_answer() {
        let (server, mut client) = tokio::io::duplex(4096);
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: gw\r\n\r\n")
            .await
            .unwrap();
        let fault = WebSocketStream::accept(server, None).await.unwrap_err();
        assert!(matches!(fault, UpgradeFault::NoUpgrade));
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 426 Upgrade Required\r\n"),
            "{answer}"
        );
        assert!(
            answer.ends_with("\r\n\r\nThis port speaks MQTT over WebSocket.\n"),
            "{answer}"
        );
    }

    #[tokio::test]
    async fn an_endless_request_ends() {
        let (server, mut client) = tokio::io::duplex(64 * 1024);
        let line = format!("GET /{} HTTP/1.1\r\n", "x".repeat(REQUEST_LEN_MAX));
        client.write_all(line.as_bytes()).await.unwrap();
        let fault = WebSocketStream::accept(server, None).await.unwrap_err();
        assert!(matches!(fault, UpgradeFault::TooLong));
    }

    #[test]
    fn noise_takes_no_more_bytes_than_there_are() {
        for bytes in crate::net::testing::noise(&[REQUEST.as_bytes(), b""]) {
            if let Ok(Some(upgrade)) = parse(&bytes, None) {
                assert!(upgrade.len <= bytes.len());
            }
        }
    }
}
