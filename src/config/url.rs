//! Addresses of HTTP servers that are asked who a client is and what it may do.

use std::fmt;
use std::net::IpAddr;

use hyper::Uri;
use hyper::http::uri::PathAndQuery;

use super::access::HttpUrl;

/// Bytes of a URL or of a path.
const BYTES_MAX: usize = 2048;

/// Why a text is not the URL of an HTTP server.
///
/// The sentence of its `Display` continues "the URL …", and never repeats the text, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlFault {
    /// It does not begin with `http://` or `https://`.
    Scheme,
    /// A user name or a password stands in front of the host.
    Password,
    /// It has no host, or one that is none.
    Host,
    /// The port is none.
    Port,
    /// It has a fragment, which no server gets.
    Fragment,
    /// It is longer than any that is meant.
    TooLong,
    /// It is no URL for another reason.
    Malformed,
}

impl fmt::Display for UrlFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "does not begin with http:// or https://",
            Self::Password => "holds a user name or a password",
            Self::Host => "has no host name or address",
            Self::Port => "has a port that is not a number from 1 to 65535",
            Self::Fragment => "has a part behind `#`, which no server gets",
            Self::TooLong => "is longer than 2048 bytes",
            Self::Malformed => "holds characters that a URL does not have",
        })
    }
}

impl std::error::Error for UrlFault {}

impl TryFrom<&str> for HttpUrl {
    type Error = UrlFault;

    fn try_from(text: &str) -> Result<Self, UrlFault> {
        if text.len() > BYTES_MAX {
            return Err(UrlFault::TooLong);
        }
        // Looked for before anything else is: whatever is wrong besides, this must be told, and the text not shown.
        if has_user_information(text) {
            return Err(UrlFault::Password);
        }
        if text.contains('#') {
            return Err(UrlFault::Fragment);
        }
        let (scheme, rest) = text.split_once("://").ok_or(UrlFault::Scheme)?;
        let is_tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(UrlFault::Scheme),
        };
        if rest.starts_with(['/', ':', '?']) || rest.is_empty() {
            return Err(UrlFault::Host);
        }
        let uri: Uri = text.parse().map_err(|_| UrlFault::Malformed)?;
        let authority = uri.authority().ok_or(UrlFault::Host)?;
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => None,
            Some(written) => Some(port(written)?),
            None => return Err(UrlFault::Host),
        };
        let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        Ok(Self {
            is_tls,
            host: host(authority.host())?,
            port: port.unwrap_or(if is_tls { 443 } else { 80 }),
            path: match path.starts_with('?') {
                true => format!("/{path}").into(),
                false => path.into(),
            },
        })
    }
}

/// As it would be written, with the port always.
impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        let (host, port, path) = (&self.host, self.port, &self.path);
        match host.contains(':') {
            true => write!(f, "{scheme}://[{host}]:{port}{path}"),
            false => write!(f, "{scheme}://{host}:{port}{path}"),
        }
    }
}

impl HttpUrl {
    /// Whether the server is on this machine, as far as the host tells.
    pub(super) fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            Err(_) => self.host.eq_ignore_ascii_case("localhost"),
        }
    }

    pub(super) fn has_query(&self) -> bool {
        self.path.contains('?')
    }
}

/// Whether something stands in front of an `@` where the host is.
pub(super) fn has_user_information(text: &str) -> bool {
    let authority = text.split_once("://").map_or(text, |(_, rest)| rest);
    let end = authority.find(['/', '?', '#']).unwrap_or(authority.len());
    authority.get(..end).is_some_and(|part| part.contains('@'))
}

fn port(written: &str) -> Result<u16, UrlFault> {
    let digits = written.strip_prefix(':').ok_or(UrlFault::Host)?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.parse().ok().filter(|port| *port != 0 && is_number);
    number.ok_or(UrlFault::Port)
}

/// The host without brackets: an address, or a name of labels that a resolver takes.
fn host(text: &str) -> Result<Box<str>, UrlFault> {
    if let Some(inner) = text.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or(UrlFault::Host)?;
        let address = inner.parse::<std::net::Ipv6Addr>();
        return match address {
            Ok(address) => Ok(address.to_string().into()),
            Err(_) => Err(UrlFault::Host),
        };
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len())
            && label.bytes().all(legal)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    // What ends with a number is an address or nothing, as in the URLs of browsers.
    let last = name.rsplit('.').next().unwrap_or(name);
    if is_number(last) && name.parse::<std::net::Ipv4Addr>().is_err() {
        return Err(UrlFault::Host);
    }
    if name.len() <= 253 && name.split('.').all(is_label) {
        Ok(name.to_ascii_lowercase().into())
    } else {
        Err(UrlFault::Host)
    }
}

/// Whether a text is a path of a request, with a query or without.
pub(super) fn is_request_path(text: &str) -> bool {
    let parsed = text.parse::<PathAndQuery>();
    text.len() <= BYTES_MAX
        && text.starts_with('/')
        && !text.contains('#')
        && parsed.is_ok_and(|path| path.as_str() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> HttpUrl {
        HttpUrl::try_from(text).unwrap_or_else(|fault| panic!("{text}: {fault}"))
    }

    #[test]
    fn url_is_taken_apart() {
        let auth = url("http://auth-server:8000");
        assert_eq!((&*auth.host, auth.port), ("auth-server", 8000));
        assert_eq!((&*auth.path, auth.is_tls), ("/", false));
        for (text, shown) in [
            ("https://auth.example.org", "https://auth.example.org:443/"),
            ("HTTP://Auth.Example.org/x", "http://auth.example.org:80/x"),
            (
                "https://[2001:db8::7]:8443/a",
                "https://[2001:db8::7]:8443/a",
            ),
            ("https://[::1]", "https://[::1]:443/"),
            ("http://192.0.2.7/a/b/", "http://192.0.2.7:80/a/b/"),
            ("http://auth?site=7", "http://auth:80/?site=7"),
            ("http://auth/x@y", "http://auth:80/x@y"),
            ("http://auth_server.local.", "http://auth_server.local:80/"),
        ] {
            assert_eq!(url(text).to_string(), shown);
        }
    }

    #[test]
    fn text_that_is_no_url_is_refused() {
        let long = format!("http://a/{}", "x".repeat(3000));
        for (text, fault) in [
            ("", UrlFault::Scheme),
            ("auth-server", UrlFault::Scheme),
            ("auth-server:8000", UrlFault::Scheme),
            ("ftp://auth", UrlFault::Scheme),
            ("://auth", UrlFault::Scheme),
            ("http://", UrlFault::Host),
            ("http:///x", UrlFault::Host),
            ("http://:80", UrlFault::Host),
            ("http://?x", UrlFault::Host),
            ("http://a..b", UrlFault::Host),
            ("http://-a", UrlFault::Host),
            ("http://192.0.2.256", UrlFault::Host),
            ("http://1", UrlFault::Host),
            ("http://a*b", UrlFault::Host),
            ("http://auth:", UrlFault::Port),
            ("http://auth:0", UrlFault::Port),
            ("http://auth:+1", UrlFault::Port),
            ("http://auth:65536", UrlFault::Port),
            ("http://auth/#x", UrlFault::Fragment),
            ("http://auth/a b", UrlFault::Malformed),
            ("http://auth\r\nHost: x", UrlFault::Malformed),
            (&long, UrlFault::TooLong),
        ] {
            assert_eq!(HttpUrl::try_from(text).unwrap_err(), fault, "{text:?}");
        }
        for refused in [
            "http://größe.example",
            "http://[::1",
            "http://[::1%eth0]",
            "http://[fe80::x]",
        ] {
            assert!(HttpUrl::try_from(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn password_is_found_whatever_is_wrong_besides() {
        for text in [
            "https://user:pw@auth",
            "https://user@auth",
            "https://:pw@auth:99999",
            "ftp://user:pw@auth",
            "user:pw@auth",
            "https://us er:p w@auth",
        ] {
            assert_eq!(HttpUrl::try_from(text).unwrap_err(), UrlFault::Password);
        }
    }

    #[test]
    fn server_of_this_machine_is_known() {
        for text in ["http://127.0.0.1:8001", "http://[::1]", "http://localhost"] {
            assert!(url(text).is_loopback(), "{text}");
        }
        for text in [
            "http://10.0.0.1",
            "http://localhost.example",
            "http://[::2]",
        ] {
            assert!(!url(text).is_loopback(), "{text}");
        }
    }

    #[test]
    fn path_of_a_request() {
        for text in ["/", "/auth", "/a/b?x=1", "/a%20b"] {
            assert!(is_request_path(text), "{text}");
        }
        for text in [
            "",
            "auth",
            "/a b",
            "/a#b",
            "/a\r\n",
            "http://a/b",
            "/ä\u{7f}",
        ] {
            assert!(!is_request_path(text), "{text}");
        }
    }
}
