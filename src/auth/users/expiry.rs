//! When a user may log in no more, as people write it.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::request::Expiry;
use crate::config;

/// Why a text says no such time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpiryFault {
    /// It is neither a time nor a duration.
    #[error(
        "`{0}` is neither a time such as `2027-01-31T18:00:00Z`, nor a duration such as `30d`, nor `never`"
    )]
    Unknown(String),
    /// It is over already.
    #[error("`{0}` is over already")]
    Past(String),
}

/// Reads a time (RFC 3339), a duration from `wall` on (seconds since 1970), or `never`.
pub fn parse_expiry(text: &str, wall: u64) -> Result<Expiry, ExpiryFault> {
    let text = text.trim();
    if text == "never" {
        return Ok(Expiry::Never);
    }
    let unknown = || ExpiryFault::Unknown(text.to_owned());
    let at = if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
        u64::try_from(at.unix_timestamp()).unwrap_or(0)
    } else {
        let left = config::parse_duration(text).ok_or_else(unknown)?;
        wall.checked_add(left.as_secs()).ok_or_else(unknown)?
    };
    if at <= wall {
        return Err(ExpiryFault::Past(text.to_owned()));
    }
    Ok(Expiry::At(at))
}

/// Seconds since 1970 as people read them: `2027-01-31T18:00:00Z`.
#[must_use]
pub fn rfc3339(seconds: u64) -> String {
    let at = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    let text = at.and_then(|at| at.format(&Rfc3339).ok());
    text.unwrap_or_else(|| seconds.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_durations_are_understood() {
        let parse = |text| parse_expiry(text, 1_000_000);
        assert_eq!(parse("never"), Ok(Expiry::Never));
        assert_eq!(parse("30d"), Ok(Expiry::At(1_000_000 + 30 * 86_400)));
        assert_eq!(parse(" 1h30m "), Ok(Expiry::At(1_005_400)));
        assert_eq!(
            parse("2027-01-31T18:00:00+01:00"),
            Ok(Expiry::At(1_801_414_800))
        );
        assert_eq!(rfc3339(1_801_414_800), "2027-01-31T17:00:00Z");
        for text in ["", "soon", "30", "2027-01-31", "-1d"] {
            assert!(
                matches!(parse(text), Err(ExpiryFault::Unknown(_))),
                "{text}"
            );
        }
        for text in ["0s", "1970-01-01T00:00:00Z", "1969-01-01T00:00:00Z"] {
            assert!(matches!(parse(text), Err(ExpiryFault::Past(_))), "{text}");
        }
        assert_eq!(rfc3339(u64::MAX), u64::MAX.to_string());
    }
}
