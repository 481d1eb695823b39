//! What can go wrong with a request to the API server.

use std::time::Duration;

use serde_json::Value;

use crate::auth::HttpFault;

/// Longest time that the API server is believed to want to be left alone.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Letters of what the API server says that are passed on.
const MESSAGE_CHARS_MAX: usize = 512;

/// Why a request was in vain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ApiFault {
    /// There is no answer.
    #[error("{0}")]
    Unreachable(String),
    /// There is no whole answer in time.
    #[error("the API server does not answer in time")]
    Timeout,
    /// The token is not good any more.
    #[error("the API server does not know the token of the gateway")]
    Unauthorized,
    /// The role does not allow it.
    #[error("the API server refuses: {0}")]
    Forbidden(String),
    /// There is no such object, or no such kind.
    #[error("the API server knows of no such thing")]
    NotFound,
    /// Somebody else has changed the object meanwhile.
    #[error("the object has changed meanwhile")]
    Conflict,
    /// The version that a watch begins at is too old.
    #[error("what has changed since is forgotten")]
    Gone,
    /// The API server has too much to do.
    #[error("the API server asks for a pause")]
    Busy {
        /// How long, where it says so.
        retry_after: Option<Duration>,
    },
    /// Anything else.
    #[error("the API server answers with {status}: {message}")]
    Status {
        /// The status of HTTP.
        status: u16,
        /// What it says.
        message: String,
    },
    /// The answer is of no use.
    #[error("the API server answers with {0}")]
    Answer(&'static str),
    /// The answer is longer than what is read.
    #[error("the API server answers with more than the gateway reads")]
    TooLarge,
    /// There is a Service of somebody else.
    #[error(
        "one of this name is there and is not of this listener: it has other ports or another type; delete it, or give the listener another serviceName"
    )]
    Foreign,
    /// There is an object of somebody else.
    #[error(
        "one of this name is there that the gateway has not made, so it is left as it is; delete it, or have either use another name"
    )]
    OfOthers,
    /// It has not had its turn.
    #[error("it waits for its turn")]
    Postponed,
}

impl From<HttpFault> for ApiFault {
    fn from(fault: HttpFault) -> Self {
        let text = match fault {
            HttpFault::Unreachable(text) => {
                format!("the API server cannot be reached: {text}")
            }
            HttpFault::Setup(text) => format!("the API server cannot be asked: {text}"),
            HttpFault::Resting
            | HttpFault::Busy
            | HttpFault::Timeout
            | HttpFault::Status(_)
            | HttpFault::Answer(_) => fault.to_string(),
        };
        Self::Unreachable(text)
    }
}

impl ApiFault {
    /// What a status other than success means; `body` is a Status object, or a page.
    pub(super) fn of_status(status: u16, retry_after: Option<&str>, body: &[u8]) -> Self {
        match status {
            401 => Self::Unauthorized,
            403 => Self::Forbidden(message(body)),
            404 => Self::NotFound,
            409 => Self::Conflict,
            410 => Self::Gone,
            429 | 503 => Self::Busy {
                retry_after: retry_after.and_then(seconds),
            },
            500.. if retry_after.and_then(seconds).is_some() => Self::Busy {
                retry_after: retry_after.and_then(seconds),
            },
            _ => Self::Status {
                status,
                message: message(body),
            },
        }
    }

    /// What an event of the type ERROR means.
    pub(super) fn of_event(object: &Value) -> Self {
        let code = object.get("code").and_then(Value::as_u64);
        let status = code.and_then(|code| u16::try_from(code).ok());
        let text = object.get("message").and_then(Value::as_str);
        let retry_after = object.pointer("/details/retryAfterSeconds");
        let retry_after = retry_after.map(Value::to_string);
        match Self::of_status(status.unwrap_or(500), retry_after.as_deref(), b"") {
            Self::Status { status, .. } => Self::Status {
                status,
                message: shown(text.unwrap_or_default()),
            },
            fault => fault,
        }
    }

    /// Whether other requests are as good as in vain.
    pub(super) fn is_outage(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(_) | Self::Timeout | Self::Unauthorized
        )
    }

    /// Whether the same request may succeed later although nobody changes anything.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Status { status, .. } => *status >= 500,
            Self::Forbidden(_) | Self::NotFound | Self::Gone => false,
            Self::Answer(_) | Self::TooLarge | Self::Foreign | Self::OfOthers => false,
            Self::Unreachable(_) | Self::Timeout | Self::Unauthorized => true,
            Self::Conflict | Self::Busy { .. } | Self::Postponed => true,
        }
    }

    /// How long to wait at least before the next try.
    pub(super) fn pause(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after } => *retry_after,
            _ => None,
        }
    }
}

/// Seconds of `Retry-After`; dates are not used there.
fn seconds(text: &str) -> Option<Duration> {
    let seconds = text.trim().parse().ok().map(Duration::from_secs)?;
    Some(seconds.min(RETRY_AFTER_MAX))
}

/// What a Status object says, or the beginning of a page.
fn message(body: &[u8]) -> String {
    let status: Option<Value> = serde_json::from_slice(body).ok();
    let said = status
        .as_ref()
        .and_then(|status| status.get("message")?.as_str());
    match said {
        Some(said) => shown(said),
        None => shown(&String::from_utf8_lossy(body)),
    }
}

/// A text of others, of bounded length and on one line.
pub(super) fn shown(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut plain: String = plain.take(MESSAGE_CHARS_MAX).collect();
    plain.truncate(plain.trim_end().len());
    plain
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn statuses_are_told_apart() {
        let of = |status, retry, body: &str| ApiFault::of_status(status, retry, body.as_bytes());
        assert_eq!(of(410, None, ""), ApiFault::Gone);
        assert_eq!(of(404, None, "404 page not found"), ApiFault::NotFound);
        let busy = |seconds| ApiFault::Busy {
            retry_after: Some(Duration::from_secs(seconds)),
        };
        assert_eq!(of(429, Some("3"), ""), busy(3));
        assert_eq!(of(429, Some("99999"), "").pause(), Some(RETRY_AFTER_MAX));
        assert_eq!(of(429, Some("soon"), "").pause(), None);
        assert_eq!(of(504, Some("3"), ""), busy(3));
        let body = r#"{"kind":"Status","message":"no\nright"}"#;
        assert_eq!(of(403, None, body), ApiFault::Forbidden("no right".into()));
        let long = "x".repeat(10_000);
        let ApiFault::Status { message, .. } = of(500, None, &long) else {
            panic!("it is a status");
        };
        assert_eq!(message.len(), MESSAGE_CHARS_MAX);
    }

    #[test]
    fn an_event_may_say_that_the_past_is_forgotten() {
        let event = json!({"kind": "Status", "code": 410, "reason": "Expired"});
        assert_eq!(ApiFault::of_event(&event), ApiFault::Gone);
        let event = json!({"kind": "Status", "message": "x"});
        let fault = ApiFault::of_event(&event);
        assert_eq!(fault.to_string(), "the API server answers with 500: x");
        let event = json!({"code": 429, "details": {"retryAfterSeconds": 7}});
        let pause = ApiFault::of_event(&event).pause();
        assert_eq!(pause, Some(Duration::from_secs(7)));
    }
}
