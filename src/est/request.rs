//! What clients send: who they say they are, and their requests for certificates. Pure.

use data_encoding::BASE64;
use zeroize::Zeroizing;

use crate::ca::{REQUEST_BYTES_MAX, RequestFault, SigningRequest};

/// Bytes of a `Basic` header that are looked at.
const BASIC_BYTES_MAX: usize = 4096;

/// The media type of requests (RFC 5967).
const PKCS10: &str = "application/pkcs10";

/// A user name with a password, or with an enrolment token in its place.
pub struct Login {
    /// The user name.
    pub username: String,
    /// The password. It is erased when it is dropped.
    pub password: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Login {
    /// Without the password: this ends in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// Reads the header `Authorization` (RFC 7617). `None` for any other scheme and for what cannot be read.
#[must_use]
pub fn login(header: &[u8]) -> Option<Login> {
    if header.len() > BASIC_BYTES_MAX {
        return None;
    }
    let (scheme, rest) = header.split_at_checked("Basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let pair = Zeroizing::new(BASE64.decode(rest.trim_ascii()).ok()?);
    let colon = pair.iter().position(|byte| *byte == b':')?;
    let (username, password) = pair.split_at_checked(colon)?;
    let username = std::str::from_utf8(username).ok()?;
    let password = password.get(1..)?;
    if username.is_empty() || password.is_empty() || username.chars().any(char::is_control) {
        return None;
    }
    Some(Login {
        username: username.to_owned(),
        password: Zeroizing::new(password.to_vec()),
    })
}

/// Whether a header `Content-Type` says that a request for a certificate comes.
#[must_use]
pub fn is_pkcs10(header: &[u8]) -> bool {
    let kind = header.split(|byte| *byte == b';').next();
    let kind = kind.unwrap_or_default().trim_ascii();
    kind.eq_ignore_ascii_case(PKCS10.as_bytes())
}

/// The body of a request, gathered as it comes and never longer than a request may be.
#[derive(Debug, Default)]
pub struct RequestBody(Vec<u8>);

impl RequestBody {
    /// Takes what has come.
    ///
    /// # Errors
    ///
    /// If it is too much with what came before.
    pub fn take(&mut self, part: &[u8]) -> Result<(), RequestFault> {
        if self.0.len().saturating_add(part.len()) > REQUEST_BYTES_MAX {
            return Err(RequestFault::TooLong);
        }
        self.0.extend_from_slice(part);
        Ok(())
    }

    /// Reads it: Base64 with or without line breaks as RFC 8951 has it, PEM, or DER.
    ///
    /// # Errors
    ///
    /// If it is no request that can be granted.
    pub fn parse(&self) -> Result<SigningRequest, RequestFault> {
        SigningRequest::parse(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(pair: &[u8]) -> Vec<u8> {
        format!("Basic {}", BASE64.encode(pair)).into_bytes()
    }

    #[test]
    fn login_is_read_as_every_client_writes_it() {
        for (pair, username, password) in [
            (&b"pump-7:abc"[..], "pump-7", &b"abc"[..]),
            (b"pump-7:a:b:", "pump-7", b"a:b:"),
            ("ü:\u{1F511}".as_bytes(), "ü", "\u{1F511}".as_bytes()),
            (b"a:\xff\x00", "a", b"\xff\x00"),
        ] {
            let found = login(&basic(pair)).unwrap();
            assert_eq!((&*found.username, &**found.password), (username, password));
        }
        let text = String::from_utf8(basic(b"a:b")).unwrap();
        login(text.replace("Basic", "bASIC").as_bytes()).unwrap();
        login(text.replace("Basic ", "Basic  ").as_bytes()).unwrap();
        let shown = format!("{:?}", login(&basic(b"pump:secret")).unwrap());
        assert!(
            shown.contains("pump") && !shown.contains("secret"),
            "{shown}"
        );
    }

    #[test]
    fn what_is_no_login_is_none() {
        for header in [
            &b""[..],
            b"Basic",
            b"Basic ",
            b"Basic *",
            b"Digest dXNlcjpwYXNz",
            b"Bearer dXNlcjpwYXNz",
            b"BasicdXNlcjpwYXNz",
        ] {
            assert!(login(header).is_none(), "{header:?}");
        }
        for pair in [&b"pump"[..], b":abc", b"pump:", b":", b"\xff:a", b"a\n:b"] {
            assert!(login(&basic(pair)).is_none(), "{pair:?}");
        }
        assert!(login(&basic(&[b"a:".as_slice(), &[b'x'; 3000]].concat())).is_some());
        assert!(login(&basic(&[b"a:".as_slice(), &[b'x'; 4000]].concat())).is_none());
    }

    #[test]
    fn media_type_may_have_parameters() {
        for header in [
            "application/pkcs10",
            "Application/PKCS10",
            " application/pkcs10 ; charset=x",
        ] {
            assert!(is_pkcs10(header.as_bytes()), "{header}");
        }
        for header in [
            "",
            "application/pkcs7-mime",
            "application/pkcs10x",
            "pkcs10",
        ] {
            assert!(!is_pkcs10(header.as_bytes()), "{header}");
        }
    }

    #[test]
    fn body_is_never_longer_than_a_request() {
        let mut body = RequestBody::default();
        body.take(&[b'A'; REQUEST_BYTES_MAX - 1]).unwrap();
        body.take(b"A").unwrap();
        assert_eq!(body.take(b"A"), Err(RequestFault::TooLong));
        assert_eq!(body.parse().unwrap_err(), RequestFault::Malformed);
    }
}
