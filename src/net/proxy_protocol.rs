//! The header that a proxy puts in front of a connection to say who is behind it: PROXY protocol, versions 1 and 2.
//!
//! Exactly the header is taken from the socket, so that whatever follows reads as if there were no proxy.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::socket::Socket;

/// Bytes of the longest header of version 1, with its line end.
const LINE_LEN_MAX: usize = 107;

/// Bytes behind the fixed part of a header of version 2 that are read at most. Addresses are 36 bytes, or 216 of a Unix
/// socket; the rest is for extensions, among them what the proxy knows of a TLS client.
const BODY_LEN_MAX: usize = 4096;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Why a header cannot be used. The connection is closed: nobody knows who it comes from.
#[derive(Debug, thiserror::Error)]
pub enum ProxyFault {
    /// The connection begins with something else.
    #[error("the connection does not begin with a PROXY protocol header")]
    Missing,
    /// The header breaks its own rules.
    #[error("the PROXY protocol header is malformed")]
    Malformed,
    /// The header is longer than is read.
    #[error("the PROXY protocol header is too long")]
    TooLong,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
}

/// Reads the header. `None` if the proxy speaks for itself, as in its health checks, or does not know the client.
pub(super) async fn read_header(socket: &Socket) -> Result<Option<SocketAddr>, ProxyFault> {
    let mut line = [0; LINE_LEN_MAX];
    let (begin, rest) = line.split_at_mut(SIGNATURE.len());
    socket.read_exact(begin).await?;
    if *begin == SIGNATURE {
        return read_binary(socket).await;
    }
    if !begin.starts_with(b"PROXY ") {
        return Err(ProxyFault::Missing);
    }
    let len = SIGNATURE.len() + read_line_end(socket, rest).await?;
    parse_line(line.get(..len).unwrap_or_default())
}

/// Reads up to and with the end of the line; returns how many bytes that were.
async fn read_line_end(socket: &Socket, line: &mut [u8]) -> Result<usize, ProxyFault> {
    let mut have = 0;
    while let room @ [_, ..] = line.get_mut(have..).unwrap_or_default() {
        let seen = socket.peek(room).await?;
        let end = room.iter().take(seen).position(|byte| *byte == b'\n');
        let take = end.map_or(seen, |end| end + 1);
        if take == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        socket
            .read_exact(room.get_mut(..take).unwrap_or_default())
            .await?;
        have += take;
        if end.is_some() {
            return Ok(have);
        }
    }
    Err(ProxyFault::TooLong)
}

fn parse_line(line: &[u8]) -> Result<Option<SocketAddr>, ProxyFault> {
    let text = line
        .strip_suffix(b"\r\n")
        .and_then(|line| std::str::from_utf8(line).ok())
        .ok_or(ProxyFault::Malformed)?;
    let mut words = text.split(' ').skip(1);
    let mut word = || words.next().ok_or(ProxyFault::Malformed);
    let family = word()?;
    if family == "UNKNOWN" {
        return Ok(None);
    }
    let (source, destination) = (word()?, word()?);
    let source_port = port(word()?)?;
    port(word()?)?;
    let (source, _): (IpAddr, IpAddr) = match family {
        "TCP4" => (
            address::<Ipv4Addr>(source)?,
            address::<Ipv4Addr>(destination)?,
        ),
        "TCP6" => (
            address::<Ipv6Addr>(source)?,
            address::<Ipv6Addr>(destination)?,
        ),
        _ => return Err(ProxyFault::Malformed),
    };
    if word().is_ok() {
        return Err(ProxyFault::Malformed);
    }
    Ok(Some(canonical(source, source_port)))
}

fn address<A: FromStr + Into<IpAddr>>(text: &str) -> Result<IpAddr, ProxyFault> {
    text.parse::<A>()
        .map(Into::into)
        .map_err(|_| ProxyFault::Malformed)
}

fn port(text: &str) -> Result<u16, ProxyFault> {
    let is_plain =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    match text.parse() {
        Ok(port) if is_plain => Ok(port),
        _ => Err(ProxyFault::Malformed),
    }
}

async fn read_binary(socket: &Socket) -> Result<Option<SocketAddr>, ProxyFault> {
    let mut fixed = [0; 4];
    socket.read_exact(&mut fixed).await?;
    let [version_and_command, family, len @ ..] = fixed;
    let len = usize::from(u16::from_be_bytes(len));
    if len > BODY_LEN_MAX {
        return Err(ProxyFault::TooLong);
    }
    let mut body = vec![0; len];
    socket.read_exact(&mut body).await?;
    parse_binary(version_and_command, family, &body)
}

fn parse_binary(
    version_and_command: u8,
    family: u8,
    body: &[u8],
) -> Result<Option<SocketAddr>, ProxyFault> {
    match (version_and_command, family) {
        // LOCAL: whatever the addresses say, they are to be ignored.
        (0x20, _) => Ok(None),
        (0x21, 0x11) => {
            let [a, b, c, d, _, _, _, _, high, low, _, _, ..] = *body else {
                return Err(ProxyFault::Malformed);
            };
            let source = Ipv4Addr::new(a, b, c, d);
            Ok(Some((source, u16::from_be_bytes([high, low])).into()))
        }
        (0x21, 0x21) => {
            let (Some((source, rest)), Some([high, low])) =
                (body.split_first_chunk::<16>(), body.get(32..34))
            else {
                return Err(ProxyFault::Malformed);
            };
            if rest.len() < 20 {
                return Err(ProxyFault::Malformed);
            }
            let source = IpAddr::V6(Ipv6Addr::from(*source));
            Ok(Some(canonical(source, u16::from_be_bytes([*high, *low]))))
        }
        // Unspecified, or a Unix socket on the machine of the proxy: no address that means anything here.
        (0x21, 0x00 | 0x31) => Ok(None),
        _ => Err(ProxyFault::Malformed),
    }
}

fn canonical(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_canonical(), port)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixStream;

    use super::*;

    /// Reads a header that is followed by `rest`, with the bytes coming in pieces, and checks that `rest` is left.
    async fn read(header: &[u8], piece: usize) -> Result<Option<SocketAddr>, ProxyFault> {
        const REST: &[u8] = b"\x10\x0c\0\x04MQTT\n";
        let (server, mut client) = UnixStream::pair().unwrap();
        let socket = Socket::Unix(server);
        let bytes = [header, REST].concat();
        let writing = tokio::spawn(async move {
            for part in bytes.chunks(piece) {
                client.write_all(part).await.unwrap();
                tokio::task::yield_now().await;
            }
            client
        });
        let outcome = read_header(&socket).await;
        if outcome.is_ok() {
            let mut rest = [0; REST.len()];
            socket.read_exact(&mut rest).await.unwrap();
            assert_eq!(rest, REST);
        }
        drop(writing.await);
        outcome
    }

    async fn source(header: &[u8]) -> Option<SocketAddr> {
        let whole = read(header, usize::MAX).await.unwrap();
        for piece in [1, 5, 13] {
            assert_eq!(read(header, piece).await.unwrap(), whole);
        }
        whole
    }

    fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut header = SIGNATURE.to_vec();
        header.extend([command, family]);
        header.extend((body.len() as u16).to_be_bytes());
        header.extend(body);
        header
    }

    #[tokio::test]
    async fn version_1_names_the_client() {
        let v4 = source(b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 1883\r\n").await;
        assert_eq!(v4, Some("192.0.2.7:56324".parse().unwrap()));
        let v6 = source(b"PROXY TCP6 2001:db8::7 2001:db8::1 1 1883\r\n").await;
        assert_eq!(v6, Some("[2001:db8::7]:1".parse().unwrap()));
        let mapped = source(b"PROXY TCP6 ::ffff:192.0.2.7 ::1 9 1883\r\n").await;
        assert_eq!(mapped, Some("192.0.2.7:9".parse().unwrap()));
        assert_eq!(source(b"PROXY UNKNOWN\r\n").await, None);
        assert_eq!(source(b"PROXY UNKNOWN ffff::1 ::2 1 2\r\n").await, None);
    }

    #[tokio::test]
    async fn version_2_names_the_client() {
        let v4 = [192, 0, 2, 7, 198, 51, 100, 1, 0xDC, 0x04, 0x07, 0x5B];
        let with_extension = [&v4[..], &[0x04, 0, 1, 0]].concat();
        for body in [&v4[..], &with_extension] {
            let client = source(&binary(0x21, 0x11, body)).await;
            assert_eq!(client, Some("192.0.2.7:56324".parse().unwrap()));
        }
        let mut v6 = [0; 36];
        v6[0] = 0x20;
        v6[15] = 7;
        v6[33] = 9;
        let client = source(&binary(0x21, 0x21, &v6)).await;
        assert_eq!(client, Some("[2000::7]:9".parse().unwrap()));
    }

    #[tokio::test]
    async fn a_proxy_that_speaks_for_itself_names_nobody() {
        assert_eq!(source(&binary(0x20, 0x00, &[])).await, None);
        assert_eq!(source(&binary(0x20, 0x11, &[1; 12])).await, None);
        assert_eq!(source(&binary(0x21, 0x00, &[])).await, None);
        assert_eq!(source(&binary(0x21, 0x31, &[0; 216])).await, None);
    }

    #[tokio::test]
    async fn a_connection_without_a_header_is_refused() {
        let outcome = read(b"\x10\x0c\0\x04MQTT", 64).await;
        assert!(matches!(outcome, Err(ProxyFault::Missing)), "{outcome:?}");
    }

    #[tokio::test]
    async fn malformed_headers_are_refused() {
        let text = [
            "PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 56324 1883 1\r\n",
            "PROXY TCP4 192.0.2.7  198.51.100.1 56324 1883\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 56324 1883\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 +56324 1883\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 056324 1883\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 70000 1883\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n",
            "PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
        ];
        for header in text {
            let outcome = read(header.as_bytes(), 64).await;
            assert!(matches!(outcome, Err(ProxyFault::Malformed)), "{header}");
        }
        let binaries = [
            binary(0x11, 0x11, &[0; 12]),
            binary(0x22, 0x11, &[0; 12]),
            binary(0x21, 0x12, &[0; 12]),
            binary(0x21, 0x11, &[0; 11]),
            binary(0x21, 0x21, &[0; 35]),
        ];
        for header in binaries {
            let outcome = read(&header, 64).await;
            assert!(matches!(outcome, Err(ProxyFault::Malformed)), "{header:x?}");
        }
    }

    #[tokio::test]
    async fn headers_have_a_bound() {
        let line = format!("PROXY TCP4 {}\r\n", "1".repeat(200));
        let outcome = read(line.as_bytes(), 64).await;
        assert!(matches!(outcome, Err(ProxyFault::TooLong)));
        let mut header = SIGNATURE.to_vec();
        header.extend([0x21, 0x11, 0xFF, 0xFF]);
        let outcome = read(&header, 64).await;
        assert!(matches!(outcome, Err(ProxyFault::TooLong)));
    }

    #[test]
    fn noise_is_no_header() {
        let line = b"PROXY TCP6 2001:db8::7 2001:db8::1 1 1883\r\n";
        for bytes in crate::net::testing::noise(&[line, b"PROXY TCP4 ", b""]) {
            assert!(parse_line(&bytes).is_err() || bytes.starts_with(b"PROXY "));
            if let [command, family, body @ ..] = &bytes[..] {
                let _ = parse_binary(*command, *family, body);
                let _ = parse_binary(0x21, *family & 0x31, body);
            }
        }
    }
}
