//! What became of requests.

use std::sync::atomic::{AtomicU64, Ordering};

use hyper::StatusCode;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The certificates of the authority (RFC 7030, 4.1).
    CaCerts,
    /// What a request should have (4.5).
    CsrAttrs,
    /// The first certificate (4.2.1).
    SimpleEnroll,
    /// The next certificate (4.2.2).
    SimpleReenroll,
    /// The roots as text.
    CaCrt,
    /// The root in DER.
    CaDer,
    /// The revocation lists.
    CrlPem,
    /// Anything else.
    Other,
}

impl Operation {
    /// All of them, in the order of their numbers.
    const ALL: [Self; 8] = [
        Self::CaCerts,
        Self::CsrAttrs,
        Self::SimpleEnroll,
        Self::SimpleReenroll,
        Self::CaCrt,
        Self::CaDer,
        Self::CrlPem,
        Self::Other,
    ];

    /// What a path asks for.
    pub(super) fn of(path: &str) -> Self {
        match path {
            "/ca.crt" => Self::CaCrt,
            "/ca.der" => Self::CaDer,
            "/crl.pem" => Self::CrlPem,
            _ => match path.strip_prefix("/.well-known/est/") {
                Some("cacerts") => Self::CaCerts,
                Some("csrattrs") => Self::CsrAttrs,
                Some("simpleenroll") => Self::SimpleEnroll,
                Some("simplereenroll") => Self::SimpleReenroll,
                _ => Self::Other,
            },
        }
    }

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::CaCerts => "cacerts",
            Self::CsrAttrs => "csrattrs",
            Self::SimpleEnroll => "simpleenroll",
            Self::SimpleReenroll => "simplereenroll",
            Self::CaCrt => "ca.crt",
            Self::CaDer => "ca.der",
            Self::CrlPem => "crl.pem",
            Self::Other => "other",
        }
    }

    /// Whether everybody may have it without TLS: it proves itself, or is compared by whoever takes it.
    pub(super) fn is_public(self) -> bool {
        matches!(self, Self::CaCrt | Self::CaDer | Self::CrlPem)
    }

    /// Whether a certificate is asked for.
    pub(super) fn is_enrolment(self) -> bool {
        matches!(self, Self::SimpleEnroll | Self::SimpleReenroll)
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It got what it asked for.
    Done,
    /// Whoever asked is not let in, or may not have this.
    Refused,
    /// Too many have asked.
    Limited,
    /// It cannot be answered as it is.
    Invalid,
    /// It cannot be answered now.
    Unavailable,
}

impl Outcome {
    const ALL: [Self; 5] = [
        Self::Done,
        Self::Refused,
        Self::Limited,
        Self::Invalid,
        Self::Unavailable,
    ];

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Limited => "limited",
            Self::Invalid => "invalid",
            Self::Unavailable => "unavailable",
        }
    }

    fn of(status: StatusCode) -> Self {
        match status {
            status if status.is_success() => Self::Done,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Self::Refused,
            StatusCode::TOO_MANY_REQUESTS => Self::Limited,
            status if status.is_client_error() => Self::Invalid,
            _ => Self::Unavailable,
        }
    }
}

/// Counts requests.
#[derive(Debug, Default)]
pub(super) struct Counters([[AtomicU64; Outcome::ALL.len()]; Operation::ALL.len()]);

impl Counters {
    pub(super) fn note(&self, operation: Operation, status: StatusCode) {
        if let Some(count) = self.of(operation, Outcome::of(status)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Those that happened.
    pub(super) fn all(&self) -> Vec<(Operation, Outcome, u64)> {
        let mut all = Vec::new();
        for operation in Operation::ALL {
            for outcome in Outcome::ALL {
                let count = self.of(operation, outcome);
                let count = count.map_or(0, |count| count.load(Ordering::Relaxed));
                if count > 0 {
                    all.push((operation, outcome, count));
                }
            }
        }
        all
    }

    fn of(&self, operation: Operation, outcome: Outcome) -> Option<&AtomicU64> {
        let row = Operation::ALL
            .iter()
            .position(|known| *known == operation)?;
        let column = Outcome::ALL.iter().position(|known| *known == outcome)?;
        self.0.get(row)?.get(column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_without_a_label_are_known() {
        for operation in Operation::ALL {
            let path = match operation.is_public() {
                true => format!("/{}", operation.word()),
                false => format!("/.well-known/est/{}", operation.word()),
            };
            assert_eq!(Operation::of(&path), operation);
        }
        for path in [
            "/",
            "/cacerts",
            "/.well-known/est/",
            "/.well-known/est/label/cacerts",
            "/.well-known/est/cacerts/",
            "/.well-known/est/serverkeygen",
            "/ca.crt/",
        ] {
            assert_eq!(Operation::of(path), Operation::Other, "{path}");
        }
    }

    #[test]
    fn requests_are_counted_by_what_became_of_them() {
        let counters = Counters::default();
        for status in [200, 204, 401, 403, 429, 400, 413, 503, 500] {
            let status = StatusCode::from_u16(status).unwrap();
            counters.note(Operation::SimpleEnroll, status);
        }
        counters.note(Operation::CaDer, StatusCode::OK);
        let all = counters.all();
        let counts: Vec<_> = all
            .iter()
            .map(|(operation, outcome, count)| (operation.word(), outcome.word(), *count))
            .collect();
        assert_eq!(
            counts,
            [
                ("simpleenroll", "done", 2),
                ("simpleenroll", "refused", 2),
                ("simpleenroll", "limited", 1),
                ("simpleenroll", "invalid", 2),
                ("simpleenroll", "unavailable", 2),
                ("ca.der", "done", 1),
            ]
        );
    }
}
