//! One value: from what was typed to what the key takes, or a complaint.
//!
//! The message of a complaint continues "`key` …", so that it can be said of any key.

use std::path::{Path, PathBuf};

use super::limit_keys::Setting;
use super::names::{NameFault, WebSocketPath};
use super::nearest::nearest;
use super::report::FaultCode;
use super::schema::{Bounds, Kind};
use super::source::quoted;
use super::tree::{Node, Value};
use super::units::{
    UnitFault, nearest_size_unit, nearest_time_unit, parse_size, parse_time, render_size,
    render_time,
};
use crate::mqtt::topic;

/// Why a key does not take a value.
#[derive(Debug)]
pub(super) struct Complaint {
    pub(super) code: FaultCode,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Complaint {
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self {
            code: FaultCode::BadValue,
            message: message.into(),
            hint: None,
        }
    }

    pub(super) fn wrong_type(takes: &str, value: &Value) -> Self {
        Self {
            code: FaultCode::WrongType,
            message: format!("takes {takes}, not {}", value.kind()),
            hint: None,
        }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    pub(super) fn maybe_hint(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }
}

/// The text of a value; `example` is shown where it is something else.
pub(super) fn text<'a>(value: &'a Value, takes: &str) -> Result<&'a str, Complaint> {
    match value {
        Value::Text(text) => Ok(text),
        Value::Integer {
            number: Some(number),
            radix: 10,
        } => Err(Complaint::wrong_type(takes, value)
            .hint(format!("write {} in quotes", quoted(&number.to_string())))),
        Value::Float(text) if !text.is_empty() => {
            let hint = format!("write {} in quotes", quoted(text));
            Err(Complaint::wrong_type(takes, value).hint(hint))
        }
        Value::List(items) => match items.as_slice() {
            [item] => {
                let hint = format!("write {} without brackets", shown(&item.value));
                Err(Complaint::wrong_type(takes, value).hint(hint))
            }
            _ => Err(Complaint::wrong_type(takes, value)),
        },
        _ => Err(Complaint::wrong_type(takes, value)),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) => quoted(text),
        Value::Integer {
            number: Some(number),
            ..
        } => number.to_string(),
        Value::Switch(on) => on.to_string(),
        _ => "it".to_owned(),
    }
}

/// A name of some kind.
pub(super) fn name<T>(value: &Value) -> Result<T, Complaint>
where
    T: for<'t> TryFrom<&'t str, Error = NameFault>,
{
    let typed = text(value, "text in quotes")?;
    T::try_from(typed).map_err(|fault| Complaint::bad(fault.to_string()))
}

/// A name of letters, digits and hyphens, for which a better one can be proposed.
pub(super) fn label<T>(value: &Value) -> Result<T, Complaint>
where
    T: for<'t> TryFrom<&'t str, Error = NameFault>,
{
    name(value).map_err(|complaint| {
        let Value::Text(typed) = value else {
            return complaint;
        };
        let better = plainer(typed);
        let works = T::try_from(better.as_str()).is_ok();
        complaint.maybe_hint(works.then(|| format!("write {}", quoted(&better))))
    })
}

/// A path of a request.
pub(super) fn websocket_path(value: &Value) -> Result<WebSocketPath, Complaint> {
    name(value).map_err(|complaint| match value {
        Value::Text(typed) if typed.starts_with(|c: char| c.is_ascii_alphanumeric()) => {
            complaint.hint(format!("write {}", quoted(&format!("/{typed}"))))
        }
        _ => complaint,
    })
}

/// A name made of lower-case letters, digits and hyphens that resembles `typed`.
fn plainer(typed: &str) -> String {
    let lower = typed.trim().to_lowercase();
    let plain: String = lower
        .chars()
        .take(64)
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    plain.trim_matches('-').to_owned()
}

/// Index of the word that was written; case does not matter.
pub(super) fn choice(value: &Value, words: &[(&'static str, &str)]) -> Result<usize, Complaint> {
    let list = words.iter().map(|(word, _)| format!("\"{word}\""));
    let list = enumerate(&list.collect::<Vec<_>>());
    let typed = text(value, &list)?;
    if let Some(found) = words
        .iter()
        .position(|(w, _)| w.eq_ignore_ascii_case(typed))
    {
        return Ok(found);
    }
    let meant = SYNONYMS
        .iter()
        .find(|(other, _)| other.eq_ignore_ascii_case(typed));
    let meant = meant.map(|(_, word)| *word);
    let meant = meant.filter(|meant| words.iter().any(|(word, _)| word == meant));
    let near = meant.or_else(|| nearest(typed, words.iter().map(|(word, _)| *word)));
    Err(
        Complaint::bad(format!("takes {list}, not {}", quoted(typed)))
            .maybe_hint(near.map(|word| format!("write \"{word}\""))),
    )
}

/// Words that other programs have for the same.
const SYNONYMS: &[(&str, &str)] = &[
    ("ws", "WebSockets"),
    ("wss", "WebSockets"),
    ("http", "WebSockets"),
    ("https", "WebSockets"),
    ("tcp", "Mqtt"),
    ("mqtts", "Mqtt"),
    ("tls", "Mqtt"),
    ("warning", "warn"),
    ("err", "error"),
    ("notice", "info"),
    ("all", "trace"),
    ("plain", "text"),
    ("pretty", "text"),
    ("journal", "journald"),
    ("tlsv1.2", "1.2"),
    ("tlsv1.3", "1.3"),
    ("tls1.2", "1.2"),
    ("tls1.3", "1.3"),
    ("1.0", "1.2"),
    ("1.1", "1.2"),
];

/// "a, b or c".
pub(super) fn enumerate(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// `true` or `false`.
pub(super) fn switch(value: &Value) -> Result<bool, Complaint> {
    let complaint = || Complaint::wrong_type("true or false", value);
    match value {
        Value::Switch(on) => Ok(*on),
        Value::Text(text) => Err(match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => complaint().hint("write true, without quotes"),
            "false" | "no" | "off" | "0" => complaint().hint("write false, without quotes"),
            _ => complaint(),
        }),
        Value::Integer {
            number: Some(0 | 1),
            ..
        } => {
            let is_on = matches!(
                value,
                Value::Integer {
                    number: Some(1),
                    ..
                }
            );
            Err(complaint().hint(format!("write {is_on}")))
        }
        _ => Err(complaint()),
    }
}

/// A number, a size, a time or a switch, as the kind of the key says.
pub(super) fn setting(value: &Value, kind: Kind) -> Result<Setting, Complaint> {
    match kind {
        Kind::Switch => switch(value).map(Setting::Switch),
        Kind::Filters => filters(value).map(Setting::Filters),
        Kind::Choice(words) => choice(value, words).map(Setting::Word),
        Kind::Count(bounds) => bounded(value, bounds, Unit::One),
        Kind::Size(bounds) => bounded(value, bounds, Unit::Bytes),
        Kind::Time(bounds) => bounded(value, bounds, Unit::Millis),
        Kind::Seconds(bounds) => bounded(value, bounds, Unit::Seconds),
        _ => Err(Complaint::bad("is not a bound")),
    }
}

/// A list of topic filters.
fn filters(value: &Value) -> Result<Vec<Box<str>>, Complaint> {
    let takes = "a list of topic filters such as [\"plant/secret/#\"]";
    let Value::List(items) = value else {
        let hint = format!("write [{}]", shown(value));
        let is_text = matches!(value, Value::Text(_));
        let complaint = Complaint::wrong_type(takes, value);
        return Err(complaint.maybe_hint(is_text.then_some(hint)));
    };
    let filter = |item: &Node| match &item.value {
        Value::Text(text) if topic::check_filter(text).is_ok() => Ok(text.as_str().into()),
        Value::Text(text) => {
            let message = format!("has {}, which is no topic filter", quoted(text));
            Err(Complaint::bad(message))
        }
        other => Err(Complaint::wrong_type(takes, other)),
    };
    items.iter().map(filter).collect()
}

/// A whole number within bounds.
pub(super) fn number(value: &Value, bounds: Bounds) -> Result<u64, Complaint> {
    match bounded(value, bounds, Unit::One)? {
        Setting::Number(Some(number)) => Ok(number),
        _ => Err(Complaint::bad("takes a number")),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    One,
    Bytes,
    Millis,
    Seconds,
}

impl Unit {
    fn noun(self) -> &'static str {
        match self {
            Self::One => "a whole number",
            Self::Bytes => "a size such as \"64 KiB\"",
            Self::Millis | Self::Seconds => "a time such as \"10 s\"",
        }
    }

    fn render(self, n: u64) -> String {
        match self {
            Self::One => n.to_string(),
            Self::Bytes if n > 1 << 20 && (n + 1).is_multiple_of(1 << 20) => {
                format!("{} less one byte", render_size(n + 1))
            }
            Self::Bytes => render_size(n),
            Self::Millis => render_time(n),
            Self::Seconds if n > 86_400 => format!("{n} s"),
            Self::Seconds => render_time(n.saturating_mul(1000)),
        }
    }
}

fn bounded(value: &Value, bounds: Bounds, unit: Unit) -> Result<Setting, Complaint> {
    if let (Value::Text(text), Some(word)) = (value, bounds.none)
        && text.trim().eq_ignore_ascii_case(word)
    {
        return Ok(Setting::Number(if bounds.zero_is_none {
            Some(0)
        } else {
            None
        }));
    }
    let number = match value {
        Value::Integer { number, .. } => whole(*number, bounds, unit)?,
        Value::Text(text) => from_text(text, bounds, unit)?,
        _ => return Err(wrong_type(value, bounds, unit)),
    };
    let allowed = bounds.min <= number && number <= bounds.max;
    if allowed || (number == 0 && bounds.zero_is_none) {
        return Ok(Setting::Number(Some(number)));
    }
    let found = match value {
        Value::Text(text) => quoted(text),
        _ => unit.render(number),
    };
    let has_unit = matches!(value, Value::Text(text) if text.contains(char::is_alphabetic));
    let hint = match unit {
        Unit::Bytes if number == bounds.max + 1 => Some(format!("write {}", bounds.max)),
        Unit::Bytes if number < bounds.min && !has_unit && number > 0 => Some(format!(
            "a number without a unit is in bytes: write \"{number} KiB\", or \"{number} MiB\""
        )),
        _ => None,
    };
    Err(out_of_bounds(&found, bounds, unit).maybe_hint(hint))
}

/// An integer in the unit of the setting. A time without a unit is in seconds.
fn whole(number: Option<i128>, bounds: Bounds, unit: Unit) -> Result<u64, Complaint> {
    let factor = if unit == Unit::Millis { 1000 } else { 1 };
    let scaled = number.and_then(|n| n.checked_mul(factor));
    scaled.and_then(|n| u64::try_from(n).ok()).ok_or_else(|| {
        let found = number.map_or("one that large".to_owned(), |n| n.to_string());
        let unlimited = number == Some(-1);
        let hint = bounds.none.filter(|_| unlimited);
        out_of_bounds(&found, bounds, unit).maybe_hint(hint.map(|w| format!("write \"{w}\"")))
    })
}

fn from_text(text: &str, bounds: Bounds, unit: Unit) -> Result<u64, Complaint> {
    let complaint = || {
        let none = or_none(bounds);
        Complaint::bad(format!("takes {}{none}, not {}", unit.noun(), quoted(text)))
    };
    match unit {
        Unit::One => {
            let plain = text.trim().replace(['_', ' '], "");
            let is_number = !plain.is_empty() && plain.bytes().all(|b| b.is_ascii_digit());
            let hint = is_number.then(|| format!("write {plain}, without quotes"));
            let (min, max, none) = (bounds.min, bounds.max, or_none(bounds));
            Err(Complaint {
                code: FaultCode::WrongType,
                message: format!(
                    "takes a whole number from {min} to {max}{none}, not text in quotes"
                ),
                hint,
            })
        }
        Unit::Bytes => parse_size(text).map_err(|fault| {
            let hint = unit_hint(text, &fault, "KiB", nearest_size_unit);
            complaint().maybe_hint(hint.or_else(|| Some(largest(bounds, unit))))
        }),
        Unit::Millis | Unit::Seconds => {
            let millis = parse_time(text).map_err(|fault| {
                let hint = unit_hint(text, &fault, "s", nearest_time_unit);
                complaint().maybe_hint(hint.or_else(|| Some(largest(bounds, unit))))
            })?;
            if unit == Unit::Seconds && !millis.is_multiple_of(1000) {
                return Err(complaint().hint("MQTT counts this time in whole seconds"));
            }
            let factor = if unit == Unit::Seconds { 1000 } else { 1 };
            Ok(millis / factor)
        }
    }
}

/// For words in place of a size or a time, which mostly mean as much as possible.
fn largest(bounds: Bounds, unit: Unit) -> String {
    match bounds.none {
        Some(word) => format!("write \"{word}\""),
        None => format!("the most is {}", unit.render(bounds.max)),
    }
}

fn unit_hint(
    text: &str,
    fault: &UnitFault,
    example: &str,
    nearest_unit: fn(&str) -> Option<&'static str>,
) -> Option<String> {
    let digits = || text.trim_end_matches(|c: char| !c.is_ascii_digit());
    Some(match fault {
        UnitFault::NoUnit { number } => format!("write the unit: \"{number} {example}\""),
        UnitFault::Unit { found } => match nearest_unit(found) {
            Some(unit) => format!("write \"{} {unit}\"", digits()),
            None if example == "s" => "the units are ms, s, min, h, d and w".to_owned(),
            None => "the units are B, KiB, MiB, GiB and TiB".to_owned(),
        },
        UnitFault::Fraction => "write a whole number of a smaller unit".to_owned(),
        UnitFault::TooLarge => "this is more than can be counted".to_owned(),
        UnitFault::NoNumber => return None,
    })
}

fn wrong_type(value: &Value, bounds: Bounds, unit: Unit) -> Complaint {
    let range = match unit {
        Unit::One => format!(" from {} to {}", bounds.min, bounds.max),
        Unit::Bytes | Unit::Millis | Unit::Seconds => String::new(),
    };
    let takes = format!("{}{range}{}", unit.noun(), or_none(bounds));
    let complaint = Complaint::wrong_type(&takes, value);
    match (value, bounds.none) {
        (Value::Switch(false), Some(word)) => complaint.hint(format!("write \"{word}\"")),
        (Value::List(_), _) => complaint.hint("write one value, without brackets"),
        (Value::Float(_), _) if unit != Unit::One => {
            complaint.hint("write a whole number of a smaller unit")
        }
        _ => complaint,
    }
}

fn or_none(bounds: Bounds) -> String {
    let word = bounds.none.map(|word| format!(" or \"{word}\""));
    word.unwrap_or_default()
}

fn out_of_bounds(found: &str, bounds: Bounds, unit: Unit) -> Complaint {
    let (min, max) = (unit.render(bounds.min), unit.render(bounds.max));
    let noun = match unit {
        Unit::One => "a number",
        Unit::Bytes => "a size",
        Unit::Millis | Unit::Seconds => "a time",
    };
    let none = bounds.none.map(|word| format!(", or \"{word}\""));
    let none = none.unwrap_or_default();
    Complaint::bad(format!(
        "takes {noun} from {min} to {max}{none}, not {found}"
    ))
}

/// An absolute path.
pub(super) fn path(value: &Value, beside: &Path) -> Result<PathBuf, Complaint> {
    let typed = text(value, "the name of a file")?;
    if typed.contains("-----BEGIN") {
        return Err(
            Complaint::bad("takes the name of a PEM file, not its content")
                .hint("save the PEM text as a file and write the name of that file here"),
        );
    }
    if typed.is_empty() {
        return Err(Complaint::bad(
            "takes the name of a file, and this is empty",
        ));
    }
    if typed.contains('\0') {
        return Err(Complaint::bad(
            "takes the name of a file, which holds no NUL",
        ));
    }
    let path = Path::new(typed);
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    let complaint = Complaint::bad(format!(
        "takes a path that begins with `/`, not {}",
        quoted(typed)
    ));
    if typed.starts_with('~') {
        return Err(complaint.hint("`~` means nothing here: write the whole path"));
    }
    if typed.contains('\\') {
        return Err(complaint.hint("folders are separated by `/`"));
    }
    let folder = if beside.is_absolute() {
        beside
    } else {
        Path::new("/etc/fieldgate")
    };
    let whole = folder.join(path.strip_prefix(".").unwrap_or(path));
    Err(complaint.hint(format!("write {}", quoted(&whole.to_string_lossy()))))
}

/// The path of a Unix socket, which the system bounds.
pub(super) fn socket_path(value: &Value, beside: &Path) -> Result<PathBuf, Complaint> {
    const BYTES_MAX: usize = 107;
    let path = path(value, beside)?;
    let bytes = path.as_os_str().len();
    if bytes > BYTES_MAX {
        return Err(Complaint::bad(format!(
            "takes a path of at most {BYTES_MAX} bytes, and this has {bytes}"
        )));
    }
    if path.as_os_str().to_string_lossy().ends_with('/') {
        return Err(Complaint::bad(
            "takes the name of a file, and this is a folder",
        ));
    }
    Ok(path)
}

/// Permission bits.
pub(super) fn mode(value: &Value) -> Result<u32, Complaint> {
    const MAX: u32 = 0o777;
    const TAKES: &str = "permission bits such as \"0660\"";
    let bits = match value {
        Value::Text(text) => {
            let digits = text.trim().trim_start_matches("0o");
            let legal = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            legal.then(|| u32::from_str_radix(digits, 8).ok()).flatten()
        }
        Value::Integer {
            number: Some(number),
            radix: 8,
        } => u32::try_from(*number).ok(),
        Value::Integer {
            number: Some(number),
            ..
        } => {
            let complaint = Complaint::bad(format!("takes {TAKES}, in octal digits"));
            return Err(complaint.hint(format!("write \"0{number}\" in quotes, or 0o{number}")));
        }
        _ => return Err(Complaint::wrong_type(TAKES, value)),
    };
    match bits {
        Some(bits) if bits <= MAX => Ok(bits),
        _ => Err(Complaint::bad(format!("takes {TAKES}, at most \"0777\""))
            .hint("write three octal digits: for the owner, the group and everybody else")),
    }
}
