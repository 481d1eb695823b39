//! Sizes and times as people write them.

/// Why a text is not a size or a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UnitFault {
    /// It does not begin with a number.
    NoNumber,
    /// A number without a unit.
    NoUnit {
        /// The number.
        number: u64,
    },
    /// A unit that is none.
    Unit {
        /// What stands in its place.
        found: String,
    },
    /// A number with a fraction.
    Fraction,
    /// More than can be counted.
    TooLarge,
}

struct Unit {
    names: &'static [&'static str],
    factor: u64,
}

/// Largest first, so that rendering takes the largest that fits.
const SIZES: &[Unit] = &[
    unit(&["TiB"], 1 << 40),
    unit(&["GiB"], 1 << 30),
    unit(&["MiB"], 1 << 20),
    unit(&["KiB"], 1 << 10),
    unit(&["TB"], 1_000_000_000_000),
    unit(&["GB"], 1_000_000_000),
    unit(&["MB"], 1_000_000),
    unit(&["kB", "KB"], 1000),
    unit(&["B", "byte", "bytes"], 1),
];

/// In milliseconds, largest first.
const TIMES: &[Unit] = &[
    unit(&["w", "week", "weeks"], 7 * 86_400_000),
    unit(&["d", "day", "days"], 86_400_000),
    unit(&["h", "hour", "hours"], 3_600_000),
    unit(&["min", "m", "minute", "minutes"], 60_000),
    unit(&["s", "sec", "second", "seconds"], 1000),
    unit(&["ms", "millisecond", "milliseconds"], 1),
];

const fn unit(names: &'static [&'static str], factor: u64) -> Unit {
    Unit { names, factor }
}

/// Bytes in a text such as `"64 KiB"`; the case of the unit does not matter.
pub(super) fn parse_size(text: &str) -> Result<u64, UnitFault> {
    let (number, rest) = split_number(text.trim())?;
    let name = rest.trim();
    if name.is_empty() {
        return Ok(number);
    }
    let is_name = |unit: &&Unit| unit.names.iter().any(|n| n.eq_ignore_ascii_case(name));
    let unit = SIZES.iter().find(is_name).ok_or(UnitFault::Unit {
        found: name.to_owned(),
    })?;
    number.checked_mul(unit.factor).ok_or(UnitFault::TooLarge)
}

/// Milliseconds in a text such as `"1h30m"` or `"10 s"`.
pub(super) fn parse_time(text: &str) -> Result<u64, UnitFault> {
    let mut rest = text.trim();
    let mut sum = 0_u64;
    loop {
        let (number, after) = split_number(rest)?;
        let after = after.trim_start();
        let end = after
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(after.len());
        let (name, after) = after.split_at(end);
        if name.is_empty() {
            return Err(match number {
                0 if after.is_empty() && sum == 0 => return Ok(0),
                number => UnitFault::NoUnit { number },
            });
        }
        let is_name = |unit: &&Unit| unit.names.contains(&name);
        let unit = TIMES.iter().find(is_name).ok_or(UnitFault::Unit {
            found: name.to_owned(),
        })?;
        let part = number.checked_mul(unit.factor);
        sum = part
            .and_then(|part| sum.checked_add(part))
            .ok_or(UnitFault::TooLarge)?;
        rest = after.trim_start();
        if rest.is_empty() {
            return Ok(sum);
        }
    }
}

fn split_number(text: &str) -> Result<(u64, &str), UnitFault> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() {
        return Err(UnitFault::NoNumber);
    }
    if rest.starts_with(['.', ',']) {
        return Err(UnitFault::Fraction);
    }
    let number = digits.parse().map_err(|_| UnitFault::TooLarge)?;
    Ok((number, rest))
}

/// The unit that was probably meant by `found`: `K` for `KiB`, `S` for `s`.
pub(super) fn nearest_size_unit(found: &str) -> Option<&'static str> {
    match found.to_ascii_lowercase().as_str() {
        "k" | "ki" => Some("KiB"),
        "m" | "mi" => Some("MiB"),
        "g" | "gi" => Some("GiB"),
        "t" | "ti" => Some("TiB"),
        _ => None,
    }
}

/// The unit that was probably meant by `found`.
pub(super) fn nearest_time_unit(found: &str) -> Option<&'static str> {
    let found = found.to_ascii_lowercase();
    let is_name = |unit: &&Unit| unit.names.contains(&found.as_str());
    let known = TIMES.iter().find(is_name);
    match found.as_str() {
        "hr" | "hrs" | "std" => Some("h"),
        "mins" => Some("min"),
        "secs" | "sek" => Some("s"),
        "tag" | "tage" => Some("d"),
        "msec" | "msecs" | "millis" => Some("ms"),
        _ => known.and_then(|unit| unit.names.first().copied()),
    }
}

/// A size as people write it; exact.
pub(super) fn render_size(bytes: u64) -> String {
    let binary = SIZES.iter().filter(|unit| unit.factor.is_power_of_two());
    let named = |bytes: u64| {
        let unit = binary
            .clone()
            .find(|unit| bytes >= unit.factor && bytes.is_multiple_of(unit.factor));
        unit.and_then(|unit| Some(format!("{} {}", bytes / unit.factor, unit.names.first()?)))
    };
    named(bytes).unwrap_or_else(|| format!("{bytes} B"))
}

/// A time as people write it, from milliseconds; exact.
pub(super) fn render_time(millis: u64) -> String {
    let whole = |unit: &&Unit| millis >= unit.factor && millis.is_multiple_of(unit.factor);
    // Weeks are read, and never written: 7 d says the same and compares with other times.
    let mut units = TIMES.iter().skip(1);
    match units.clone().find(whole).or(units.next_back()) {
        Some(unit) if millis > 0 => {
            let name = unit.names.first().unwrap_or(&"ms");
            format!("{} {name}", millis / unit.factor)
        }
        _ => "0 s".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("1048576", 1 << 20),
            ("1 MiB", 1 << 20),
            ("64KiB", 64 << 10),
            ("64 kib", 64 << 10),
            (" 2 GiB ", 2 << 30),
            ("1 kB", 1000),
            ("5 MB", 5_000_000),
            ("12 B", 12),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text:?}");
        }
        let unit = |found: &str| UnitFault::Unit {
            found: found.to_owned(),
        };
        for (text, fault) in [
            ("", UnitFault::NoNumber),
            ("MiB", UnitFault::NoNumber),
            ("-1 MiB", UnitFault::NoNumber),
            ("1.5 MiB", UnitFault::Fraction),
            ("64K", unit("K")),
            ("1 MiB 2", unit("MiB 2")),
            ("99999999999999999999", UnitFault::TooLarge),
            ("99999999999 GiB", UnitFault::TooLarge),
        ] {
            assert_eq!(parse_size(text), Err(fault), "{text:?}");
        }
    }

    #[test]
    fn times() {
        for (text, millis) in [
            ("0", 0),
            ("0 s", 0),
            ("10 s", 10_000),
            ("10s", 10_000),
            ("1h30m", 5_400_000),
            ("1 h 30 min", 5_400_000),
            ("90d", 90 * 86_400_000),
            ("500ms", 500),
            ("2 weeks", 14 * 86_400_000),
        ] {
            assert_eq!(parse_time(text), Ok(millis), "{text:?}");
        }
        let unit = |found: &str| UnitFault::Unit {
            found: found.to_owned(),
        };
        for (text, fault) in [
            ("", UnitFault::NoNumber),
            ("soon", UnitFault::NoNumber),
            ("10", UnitFault::NoUnit { number: 10 }),
            ("1h30", UnitFault::NoUnit { number: 30 }),
            ("10 S", unit("S")),
            ("1 month", unit("month")),
            ("1.5h", UnitFault::Fraction),
            ("99999999999999999 d", UnitFault::TooLarge),
        ] {
            assert_eq!(parse_time(text), Err(fault), "{text:?}");
        }
    }

    #[test]
    fn what_is_rendered_is_read_back() {
        for n in [
            0,
            1,
            999,
            1000,
            1024,
            1500,
            60_000,
            86_400_000,
            1 << 20,
            7 << 30,
        ] {
            assert_eq!(parse_size(&render_size(n)), Ok(n));
            assert_eq!(parse_time(&render_time(n)), Ok(n));
        }
        assert_eq!(render_size(64 << 20), "64 MiB");
        assert_eq!(render_time(7 * 86_400_000), "7 d");
        assert_eq!(render_time(1500), "1500 ms");
    }
}
