//! What certificates say about whose they are.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::config::CertificateIdentity;
use crate::policy::{COMMON_NAME, DistinguishedName, NameAttribute, NameValue};

/// Bytes of a user name that a certificate gives.
const USERNAME_LEN_MAX: usize = 256;

/// Characters of a subject in the journal.
const SHOWN_CHARS_MAX: usize = 256;

/// The user name of the owner of a certificate, or why it has none.
pub(super) fn username(
    certificate: &[u8],
    identity: CertificateIdentity,
) -> Result<Box<str>, &'static str> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return Err("the certificate cannot be understood");
    };
    let name = match identity {
        CertificateIdentity::CommonName => common_name(&name_of(certificate.subject()))?,
        CertificateIdentity::Subject => {
            let subject = name_of(certificate.subject());
            if subject.is_empty() {
                return Err("the certificate has no subject");
            }
            subject.to_string().into()
        }
        CertificateIdentity::SanDns => alternative_name(&certificate, |name| match name {
            GeneralName::DNSName(name) => Some(name),
            _ => None,
        })
        .ok_or("the certificate names no host")?,
        CertificateIdentity::SanUri => alternative_name(&certificate, |name| match name {
            GeneralName::URI(name) => Some(name),
            _ => None,
        })
        .ok_or("the certificate names no URI")?,
        CertificateIdentity::SanEmail => alternative_name(&certificate, |name| match name {
            GeneralName::RFC822Name(name) => Some(name),
            _ => None,
        })
        .ok_or("the certificate names no e-mail address")?,
    };
    if name.trim().is_empty() {
        return Err("the user name in the certificate is empty");
    }
    if name.len() > USERNAME_LEN_MAX {
        return Err("the user name in the certificate is longer than 256 bytes");
    }
    if name.chars().any(char::is_control) {
        return Err("the user name in the certificate has control characters");
    }
    Ok(name)
}

/// Two names would let the reader choose whom to see.
fn common_name(subject: &DistinguishedName) -> Result<Box<str>, &'static str> {
    let mut names = subject.values(COMMON_NAME);
    match (names.next(), names.next()) {
        (None, _) => Err("the certificate has no common name"),
        (Some(_), Some(_)) => Err("the certificate has several common names"),
        (Some(NameValue::Text(name)), None) => Ok(name.clone()),
        (Some(NameValue::Der(_)), None) => {
            Err("the common name of the certificate is not readable text")
        }
    }
}

fn alternative_name<'a>(
    certificate: &'a X509Certificate<'_>,
    wanted: impl Fn(&'a GeneralName<'a>) -> Option<&'a &'a str>,
) -> Option<Box<str>> {
    let names = certificate.subject_alternative_name().ok().flatten()?;
    let found = names.value.general_names.iter().find_map(wanted)?;
    Some((*found).into())
}

/// A name as it is compared.
pub(super) fn name_of(name: &X509Name<'_>) -> DistinguishedName {
    let sets = name.iter().map(|set| set.iter().map(attribute).collect());
    DistinguishedName::new(sets.collect())
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> NameAttribute {
    let value = attribute.attr_value();
    let content = value.data;
    let tag = u8::try_from(value.tag().0).ok();
    let text = tag.and_then(|tag| NameValue::of_der(tag, content));
    NameAttribute {
        kind: attribute.attr_type().to_id_string().into(),
        value: text.map_or_else(|| NameValue::Der(content.into()), NameValue::Text),
    }
}

/// A moment of a certificate.
pub(super) fn moment(time: ASN1Time) -> SystemTime {
    let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
    let moment = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    moment.unwrap_or(UNIX_EPOCH)
}

/// The subject of a certificate of anybody, for the journal.
pub(super) fn shown_subject(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(shown(&name_of(certificate.subject())))
}

/// A name of anybody, for the journal.
pub(super) fn shown(name: &DistinguishedName) -> String {
    let text = name.to_string();
    let printable = text.chars().map(|c| match c {
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    });
    printable.take(SHOWN_CHARS_MAX).collect()
}
