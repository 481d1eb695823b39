//! Distinguished names of certificates, compared by what they say and not by how they are written.

use std::fmt;

/// Bytes of a written name that are looked at.
const TEXT_LEN_MAX: usize = 4096;

/// Types of attributes that have a name: how it is printed, its number, and how else it is written.
const TYPES: [(&str, &str, &[&str]); 25] = [
    ("CN", "2.5.4.3", &["commonName"]),
    ("SN", "2.5.4.4", &["surname"]),
    ("serialNumber", "2.5.4.5", &[]),
    ("C", "2.5.4.6", &["countryName"]),
    ("L", "2.5.4.7", &["localityName"]),
    ("ST", "2.5.4.8", &["S", "SP", "stateOrProvinceName"]),
    ("STREET", "2.5.4.9", &["streetAddress"]),
    ("O", "2.5.4.10", &["organizationName"]),
    ("OU", "2.5.4.11", &["organizationalUnitName"]),
    ("title", "2.5.4.12", &["T"]),
    ("description", "2.5.4.13", &[]),
    ("businessCategory", "2.5.4.15", &[]),
    ("postalCode", "2.5.4.17", &[]),
    ("name", "2.5.4.41", &[]),
    ("GN", "2.5.4.42", &["givenName", "G"]),
    ("initials", "2.5.4.43", &["I"]),
    ("generationQualifier", "2.5.4.44", &[]),
    ("dnQualifier", "2.5.4.46", &[]),
    ("pseudonym", "2.5.4.65", &[]),
    ("organizationIdentifier", "2.5.4.97", &[]),
    ("DC", "0.9.2342.19200300.100.1.25", &["domainComponent"]),
    ("UID", "0.9.2342.19200300.100.1.1", &["userid"]),
    ("emailAddress", "1.2.840.113549.1.9.1", &["E", "email"]),
    ("unstructuredName", "1.2.840.113549.1.9.2", &[]),
    ("unstructuredAddress", "1.2.840.113549.1.9.8", &[]),
];

/// Number of the type of common names.
pub const COMMON_NAME: &str = "2.5.4.3";

/// The name of a subject or an issuer: sets of attributes, the widest first, as a certificate has them.
#[derive(Clone, Debug, Default)]
pub struct DistinguishedName {
    sets: Vec<Vec<NameAttribute>>,
}

/// One attribute of a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NameAttribute {
    /// Number of the type, `2.5.4.3`.
    pub kind: Box<str>,
    /// What it is.
    pub value: NameValue,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NameValue {
    /// Text, whichever of the types of text the certificate has it in.
    Text(Box<str>),
    /// Something that is no text, in DER.
    Der(Box<[u8]>),
}

impl NameValue {
    /// The value with this tag and content: text where it is text.
    #[must_use]
    pub fn of_der(tag: u8, content: &[u8]) -> Option<Box<str>> {
        match tag {
            // UTF8String
            0x0C => std::str::from_utf8(content).ok().map(Into::into),
            // NumericString, PrintableString, TeletexString and IA5String. What is beyond ASCII in the third has no one meaning.
            0x12 | 0x13 | 0x14 | 0x16 if content.is_ascii() => {
                std::str::from_utf8(content).ok().map(Into::into)
            }
            // Some tools put UTF-8 where only a part of ASCII may stand.
            0x13 => std::str::from_utf8(content).ok().map(Into::into),
            // BMPString
            0x1E => {
                let (units, rest) = content.as_chunks::<2>();
                let units = units.iter().map(|unit| u16::from_be_bytes(*unit));
                let text: Result<String, _> = char::decode_utf16(units).collect();
                text.ok().filter(|_| rest.is_empty()).map(Into::into)
            }
            _ => None,
        }
    }
}

/// Why a text is not a distinguished name.
///
/// The sentence of its `Display` continues "the subject …".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameFault {
    /// Nothing was written.
    Empty,
    /// It is longer than any name.
    TooLong,
    /// No `TYPE=` where one must stand.
    NoType {
        /// What stands there.
        found: Box<str>,
    },
    /// A type that has no meaning here.
    UnknownType {
        /// The type.
        found: Box<str>,
    },
    /// Nothing behind `=`.
    NoValue {
        /// The type.
        kind: Box<str>,
    },
    /// `"` without its end, or with something behind it.
    Quotes,
    /// `\` with nothing behind it.
    Escape,
    /// Escaped bytes that are no UTF-8, or `#` with something else than pairs of hexadecimal digits.
    Bytes,
}

impl fmt::Display for NameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("is empty"),
            Self::TooLong => write!(f, "is longer than {TEXT_LEN_MAX} bytes"),
            Self::NoType { found } => write!(
                f,
                "has `{found}` where something like `CN=` must stand; a comma that belongs to a value is written `\\,`"
            ),
            Self::UnknownType { found } => write!(
                f,
                "has the unknown type `{found}`; types without a name are written as numbers, `2.5.4.3`"
            ),
            Self::NoValue { kind } => write!(f, "has no value for `{kind}`"),
            Self::Quotes => f.write_str("has a quotation mark that does not end the value"),
            Self::Escape => f.write_str("ends with a backslash"),
            Self::Bytes => f.write_str("has escaped bytes that are no text"),
        }
    }
}

impl std::error::Error for NameFault {}

impl DistinguishedName {
    /// The name with these sets of attributes, the widest first.
    #[must_use]
    pub fn new(sets: Vec<Vec<NameAttribute>>) -> Self {
        Self { sets }
    }

    /// A name as people and programs write it: `CN=press-1,O=Plant` (RFC 4514), `O = Plant, CN = press-1` (OpenSSL), or
    /// `/O=Plant/CN=press-1`.
    ///
    /// # Errors
    ///
    /// If the text is none.
    pub fn parse(text: &str) -> Result<Self, NameFault> {
        let text = text.trim();
        if text.is_empty() {
            return Err(NameFault::Empty);
        }
        if text.len() > TEXT_LEN_MAX {
            return Err(NameFault::TooLong);
        }
        let (rest, with_slashes) = match text.strip_prefix('/') {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        Reader { rest, with_slashes }.name()
    }

    /// Whether this is another name, written in this order or from the narrowest to the widest.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        let mut reversed = other.clone();
        reversed.sets.reverse();
        self == other || *self == reversed
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// The values of all attributes of a type.
    pub fn values<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a NameValue> {
        let attributes = self.sets.iter().flatten();
        attributes
            .filter(move |attribute| *attribute.kind == *kind)
            .map(|attribute| &attribute.value)
    }
}

impl PartialEq for DistinguishedName {
    fn eq(&self, other: &Self) -> bool {
        let same = |(one, other): (&Vec<NameAttribute>, &Vec<NameAttribute>)| {
            let (mut one, mut other): (Vec<_>, Vec<_>) =
                (one.iter().collect(), other.iter().collect());
            one.sort();
            other.sort();
            one == other
        };
        self.sets.len() == other.sets.len() && self.sets.iter().zip(&other.sets).all(same)
    }
}

impl Eq for DistinguishedName {}

impl fmt::Display for DistinguishedName {
    /// As RFC 4514 writes it: the narrowest first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, set) in self.sets.iter().rev().enumerate() {
            f.write_str(if at > 0 { "," } else { "" })?;
            for (at, attribute) in set.iter().enumerate() {
                f.write_str(if at > 0 { "+" } else { "" })?;
                attribute.fmt(f)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for NameAttribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = TYPES.iter().find(|(_, number, _)| *number == &*self.kind);
        f.write_str(known.map_or(&*self.kind, |(name, _, _)| name))?;
        f.write_str("=")?;
        match &self.value {
            NameValue::Text(text) => write_escaped(f, text),
            NameValue::Der(der) => {
                f.write_str("#")?;
                der.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

fn write_escaped(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let last = text.chars().count().saturating_sub(1);
    for (at, c) in text.chars().enumerate() {
        let special = matches!(c, '"' | '+' | ',' | ';' | '<' | '>' | '\\')
            || (at == 0 && matches!(c, ' ' | '#'))
            || (at == last && c == ' ');
        match c {
            '\0' => f.write_str("\\00")?,
            c if special => write!(f, "\\{c}")?,
            c => write!(f, "{c}")?,
        }
    }
    Ok(())
}

/// Number of a type, however it is written.
fn number_of(kind: &str) -> Option<Box<str>> {
    let stripped = kind
        .get(..4)
        .filter(|begin| begin.eq_ignore_ascii_case("oid."));
    let kind = stripped.and_then(|_| kind.get(4..)).unwrap_or(kind);
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if kind.contains('.') && kind.split('.').all(is_number) {
        return Some(kind.into());
    }
    let known = TYPES.iter().find(|(name, _, others)| {
        name.eq_ignore_ascii_case(kind)
            || others.iter().any(|other| other.eq_ignore_ascii_case(kind))
    });
    known.map(|(_, number, _)| (*number).into())
}

/// The type in front of the next `=`, and what is behind that.
fn split_type(text: &str) -> Option<(&str, &str)> {
    let (kind, rest) = text.split_once('=')?;
    let kind = kind.trim();
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    (!kind.is_empty() && kind.chars().all(legal)).then_some((kind, rest))
}

/// What is not read yet.
struct Reader<'a> {
    rest: &'a str,
    with_slashes: bool,
}

/// What ended a value.
enum EndedBy {
    Plus,
    Separator,
    End,
}

impl Reader<'_> {
    fn name(mut self) -> Result<DistinguishedName, NameFault> {
        let mut sets = vec![Vec::new()];
        loop {
            let (attribute, ended_by) = self.attribute()?;
            if let Some(set) = sets.last_mut() {
                set.push(attribute);
            }
            match ended_by {
                EndedBy::Plus => {}
                EndedBy::Separator => sets.push(Vec::new()),
                EndedBy::End => return Ok(DistinguishedName { sets }),
            }
        }
    }

    fn attribute(&mut self) -> Result<(NameAttribute, EndedBy), NameFault> {
        let Some((typed, rest)) = split_type(self.rest) else {
            let found = self.rest.chars().take(40).collect::<String>();
            return Err(NameFault::NoType {
                found: found.trim().into(),
            });
        };
        let Some(kind) = number_of(typed) else {
            return Err(NameFault::UnknownType {
                found: typed.into(),
            });
        };
        self.rest = rest.trim_start();
        let value = if self.rest.starts_with('"') {
            NameValue::Text(self.quoted()?)
        } else if self.rest.starts_with('#') {
            self.hexadecimal()?
        } else {
            NameValue::Text(self.plain()?)
        };
        if matches!(&value, NameValue::Text(text) if text.is_empty()) {
            return Err(NameFault::NoValue { kind: typed.into() });
        }
        let ended_by = self.end()?;
        Ok((NameAttribute { kind, value }, ended_by))
    }

    /// Takes what separates attributes.
    fn end(&mut self) -> Result<EndedBy, NameFault> {
        self.rest = self.rest.trim_start();
        let mut chars = self.rest.chars();
        let ended_by = match chars.next() {
            None => return Ok(EndedBy::End),
            Some('+') => EndedBy::Plus,
            Some(_) if self.ends_value() => EndedBy::Separator,
            Some(_) => return Err(NameFault::Quotes),
        };
        self.rest = chars.as_str();
        Ok(ended_by)
    }

    /// Whether a value ends where the reader is.
    fn ends_value(&self) -> bool {
        let mut chars = self.rest.chars();
        let first = chars.next();
        let begins_attribute =
            || split_type(chars.as_str()).is_some_and(|(kind, _)| number_of(kind).is_some());
        match first {
            None => true,
            Some(',' | ';') => !self.with_slashes,
            // These stand in values as well, and not everybody escapes them.
            Some('/') => self.with_slashes && begins_attribute(),
            Some('+') => begins_attribute(),
            Some(_) => false,
        }
    }

    fn plain(&mut self) -> Result<Box<str>, NameFault> {
        let mut bytes = Vec::new();
        let mut len = 0;
        while !self.ends_value() {
            let mut chars = self.rest.chars();
            match chars.next() {
                Some('\\') => {
                    self.rest = chars.as_str();
                    self.escaped(&mut bytes)?;
                    len = bytes.len();
                }
                Some(c) => {
                    push(&mut bytes, c);
                    self.rest = chars.as_str();
                    // Spaces in front of a separator belong to nobody.
                    len = if c == ' ' { len } else { bytes.len() };
                }
                None => break,
            }
        }
        bytes.truncate(len);
        text(bytes)
    }

    fn quoted(&mut self) -> Result<Box<str>, NameFault> {
        let mut bytes = Vec::new();
        let mut chars = self.rest.chars();
        chars.next();
        loop {
            match chars.next() {
                Some('"') => {
                    self.rest = chars.as_str();
                    return text(bytes);
                }
                Some('\\') => {
                    self.rest = chars.as_str();
                    self.escaped(&mut bytes)?;
                    chars = self.rest.chars();
                }
                Some(c) => push(&mut bytes, c),
                None => return Err(NameFault::Quotes),
            }
        }
    }

    /// What stands behind a backslash: two hexadecimal digits, or a character.
    fn escaped(&mut self, bytes: &mut Vec<u8>) -> Result<(), NameFault> {
        if let Some((byte, rest)) = hexadecimal_pair(self.rest) {
            bytes.push(byte);
            self.rest = rest;
            return Ok(());
        }
        let mut chars = self.rest.chars();
        push(bytes, chars.next().ok_or(NameFault::Escape)?);
        self.rest = chars.as_str();
        Ok(())
    }

    /// `#` and a value in DER.
    fn hexadecimal(&mut self) -> Result<NameValue, NameFault> {
        let mut der = Vec::new();
        self.rest = self.rest.strip_prefix('#').unwrap_or(self.rest);
        while let Some((byte, rest)) = hexadecimal_pair(self.rest) {
            der.push(byte);
            self.rest = rest;
        }
        match der.as_slice() {
            // Longer ones are no names.
            [tag, len @ 0..=0x7F, content @ ..] if usize::from(*len) == content.len() => {
                let value = NameValue::of_der(*tag, content).map(NameValue::Text);
                Ok(value.unwrap_or_else(|| NameValue::Der(der.clone().into())))
            }
            _ => Err(NameFault::Bytes),
        }
    }
}

fn hexadecimal_pair(text: &str) -> Option<(u8, &str)> {
    let (pair, rest) = text.split_at_checked(2)?;
    let is_digits = pair.bytes().all(|b| b.is_ascii_hexdigit());
    let byte = u8::from_str_radix(pair, 16).ok()?;
    is_digits.then_some((byte, rest))
}

fn push(bytes: &mut Vec<u8>, c: char) {
    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

fn text(bytes: Vec<u8>) -> Result<Box<str>, NameFault> {
    let text = String::from_utf8(bytes);
    text.map(Into::into).map_err(|_| NameFault::Bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(sets: &[&[(&str, &str)]]) -> DistinguishedName {
        let attribute = |(kind, value): &(&str, &str)| NameAttribute {
            kind: number_of(kind).unwrap(),
            value: NameValue::Text((*value).into()),
        };
        DistinguishedName::new(
            sets.iter()
                .map(|set| set.iter().map(attribute).collect())
                .collect(),
        )
    }

    #[test]
    fn every_usual_notation_is_the_same_name() {
        let certificate = name(&[
            &[("C", "DE")],
            &[("O", "Plant, Inc.")],
            &[("CN", "press-1")],
        ]);
        for text in [
            "CN=press-1,O=Plant\\, Inc.,C=DE",
            "C = DE, O = \"Plant, Inc.\", CN = press-1",
            "c=DE;o=Plant\\2C Inc.;cn=press-1",
            "/C=DE/O=Plant, Inc./CN=press-1",
            "2.5.4.6=DE, oid.2.5.4.10=Plant\\, Inc. , commonName=press-1",
            "CN=#0C0770726573732D31,O=\"Plant\\, Inc.\",C=#13024445",
        ] {
            let parsed = DistinguishedName::parse(text).unwrap();
            assert!(parsed.matches(&certificate), "{text}: {parsed:?}");
        }
        assert_eq!(certificate.to_string(), "CN=press-1,O=Plant\\, Inc.,C=DE");
    }

    #[test]
    fn other_names_do_not_match() {
        let certificate = name(&[&[("O", "Plant")], &[("OU", "A")], &[("CN", "press-1")]]);
        for text in [
            "CN=press-1",
            "CN=press-1,O=Plant",
            "CN=Press-1,OU=A,O=Plant",
            "OU=A,CN=press-1,O=Plant",
            "CN=press-1+OU=A,O=Plant",
            "CN=press-1,OU=A,O=Plant,C=DE",
            "CN=press-1,OU=A,O=Plant ,",
        ] {
            let parsed = DistinguishedName::parse(text);
            assert!(
                !parsed.is_ok_and(|parsed| parsed.matches(&certificate)),
                "{text}"
            );
        }
    }

    #[test]
    fn attributes_of_one_set_have_no_order() {
        let certificate = name(&[&[("O", "Plant")], &[("UID", "7"), ("CN", "Jörg + Söhne")]]);
        for text in [
            "CN=Jörg \\+ Söhne+UID=7,O=Plant",
            "O = Plant, UID = 7 + CN = J\\C3\\B6rg + Söhne",
            "/O=Plant/CN=Jörg + Söhne+UID=7",
        ] {
            let parsed = DistinguishedName::parse(text).unwrap();
            assert!(parsed.matches(&certificate), "{text}: {parsed:?}");
        }
        assert_eq!(certificate.to_string(), "UID=7+CN=Jörg \\+ Söhne,O=Plant");
    }

    #[test]
    fn what_is_written_is_read_again() {
        for value in [
            " a ",
            "#a",
            "a\\b",
            "\"",
            "a=b",
            "<a>;",
            "x/CN=y",
            "ä\u{1F600}",
            "a\0b",
        ] {
            let written = name(&[&[("O", "x")], &[("CN", value)]]);
            let read = DistinguishedName::parse(&written.to_string()).unwrap();
            assert_eq!(read.sets.last(), written.sets.first(), "{written}");
            let mut reversed = read;
            reversed.sets.reverse();
            assert_eq!(reversed, written);
        }
    }

    #[test]
    fn what_is_no_name_is_refused_with_a_reason() {
        use NameFault::*;
        let fault = |text: &str| DistinguishedName::parse(text).unwrap_err();
        assert_eq!(fault(" "), Empty);
        assert_eq!(fault(&"x".repeat(5000)), TooLong);
        assert_eq!(
            fault("press-1"),
            NoType {
                found: "press-1".into()
            }
        );
        assert_eq!(fault("CN=a,b"), NoType { found: "b".into() });
        assert_eq!(fault("XY=a"), UnknownType { found: "XY".into() });
        assert_eq!(fault("CN=,O=x"), NoValue { kind: "CN".into() });
        assert_eq!(fault("CN=\"a"), Quotes);
        assert_eq!(fault("CN=\"a\"b"), Quotes);
        assert_eq!(fault("CN=a\\"), Escape);
        assert_eq!(fault("CN=\\ff"), Bytes);
        assert_eq!(fault("CN=#0C05"), Bytes);
        assert_eq!(fault("CN=#"), Bytes);
    }

    #[test]
    fn text_of_every_kind_is_the_same_text() {
        assert_eq!(NameValue::of_der(0x13, b"a*").as_deref(), Some("a*"));
        assert_eq!(NameValue::of_der(0x1E, &[0, 0x61]).as_deref(), Some("a"));
        assert_eq!(NameValue::of_der(0x1E, &[0, 0x61, 0]), None);
        assert_eq!(NameValue::of_der(0x14, b"\xE4"), None);
        assert_eq!(NameValue::of_der(0x0C, b"\xE4"), None);
        assert_eq!(NameValue::of_der(0x02, b"a"), None);
    }
}
