//! Resolves `[authentication.NAME]`.

use std::sync::Arc;

use super::access::{
    AnonymousSettings, AuthenticationSettings, CertificateIdentity, ClientIdBinding,
    CustomSettings, HttpServer, MethodSettings, PasswordSettings, ServiceAccountTokenSettings,
    SubjectAttributes, TrustSource, UnknownUser, X509Settings,
};
use super::authentication_keys::{
    ANONYMOUS, AUTHENTICATION, AUTHENTICATION_HTTP, CUSTOM, PASSWORD, SERVICE_ACCOUNT_TOKEN,
    SUBJECT_ATTRIBUTES, X509,
};
use super::backend::{self, Urls};
use super::faults::{Draft, Faults};
use super::names::ResourceName;
use super::reader::{Scope, choose, missing, named_tables, read, unknown_keys};
use super::report::FaultCode;
use super::schema::{Kind, TableSpec};
use super::secrets;
use super::source::At;
use super::texts::{plain, read_list, read_pairs, read_words};
use super::tree::{Entry, Value};
use super::value::{self, Complaint};
use crate::policy::DistinguishedName;

/// A table under a name, with the place of the name. Ports refer to it.
pub(super) struct Section<'a, T> {
    /// As it was typed.
    pub(super) name: &'a str,
    pub(super) at: At,
    /// Absent where something in it is wrong, which is noted.
    pub(super) settings: Option<Arc<T>>,
    pub(super) scope: Scope<'a>,
}

/// Words that people and other brokers have for methods.
const SYNONYMS: &[(&str, &str)] = &[
    ("passwords", "password"),
    ("password_file", "password"),
    ("sqlite", "password"),
    ("local", "password"),
    ("certificate", "x509"),
    ("certificates", "x509"),
    ("client_certificate", "x509"),
    ("mtls", "x509"),
    ("tls", "x509"),
    ("k8s_sat", "service_account_token"),
    ("sat", "service_account_token"),
    ("token", "service_account_token"),
    ("https", "custom"),
    ("webhook", "custom"),
    ("none", "anonymous"),
];

/// Every section, in the order of the file.
pub(super) fn sections<'a>(
    root: &Scope<'a>,
    faults: &mut Faults,
) -> Vec<Section<'a, AuthenticationSettings>> {
    named_tables(root, "authentication", &AUTHENTICATION, faults)
        .into_iter()
        .map(|(entry, scope)| {
            let name = resource_name(entry, "authentication", faults);
            let settings = section(&scope, name, faults);
            Section {
                name: &entry.key,
                at: entry.key_at,
                settings: settings.map(Arc::new),
                scope,
            }
        })
        .collect()
}

/// The name of a section, if it is one.
pub(super) fn resource_name(
    entry: &Entry,
    what: &str,
    faults: &mut Faults,
) -> Option<ResourceName> {
    let typed = Value::Text(entry.key.clone());
    match value::label::<ResourceName>(&typed) {
        Ok(name) => Some(name),
        Err(complaint) => {
            let message = format!("the name of this {what} {}", complaint.message);
            faults.push(
                Draft::error(complaint.code, entry.key_at, message)
                    .key(format!("{what}.{}", entry.key))
                    .maybe_hint(complaint.hint),
            );
            None
        }
    }
}

fn section(
    scope: &Scope<'_>,
    name: Option<ResourceName>,
    faults: &mut Faults,
) -> Option<AuthenticationSettings> {
    unknown_keys(scope, faults);
    if scope.entry("methods").is_none() {
        missing(scope, "methods", faults);
    }
    let words: &'static [_] = match AUTHENTICATION.key("methods").map(|key| key.kind) {
        Some(Kind::Words(words)) => words,
        _ => &[],
    };
    let chosen = read_words(scope, "methods", words, SYNONYMS, faults);
    let client_id = match choose(scope, "client_id", faults) {
        Some(1) => ClientIdBinding::Username,
        Some(2) => ClientIdBinding::UsernamePrefix,
        _ => ClientIdBinding::Any,
    };
    let names = words.iter().map(|(word, _)| *word);
    let mut methods: Vec<Option<MethodSettings>> = names
        .enumerate()
        .map(|(index, word)| {
            let is_chosen = chosen.as_ref().map(|chosen| chosen.contains(&index));
            method(scope, word, is_chosen, faults)
        })
        .collect();
    let in_order: Option<Vec<MethodSettings>> = chosen?
        .into_iter()
        .map(|index| methods.get_mut(index).and_then(Option::take))
        .collect();
    check_order(scope, in_order.as_deref().unwrap_or_default(), faults);
    Some(AuthenticationSettings {
        name: name?,
        methods: in_order?,
        client_id,
    })
}

/// Warns of methods that are never asked.
fn check_order(scope: &Scope<'_>, methods: &[MethodSettings], faults: &mut Faults) {
    let Some(entry) = scope.entry("methods") else {
        return;
    };
    let all = |method: &MethodSettings| matches!(method, MethodSettings::Anonymous(_));
    let Some(at) = methods
        .iter()
        .position(all)
        .filter(|at| at + 1 < methods.len())
    else {
        return;
    };
    let later = methods
        .iter()
        .skip(at + 1)
        .map(|method| format!("\"{}\"", method.key()));
    let message = format!(
        "\"anonymous\" takes every client, so {} is never asked",
        value::enumerate(&later.collect::<Vec<_>>())
    );
    faults.push(
        Draft::warning(FaultCode::NoEffect, entry.node.at, message)
            .key(scope.path_of("methods"))
            .hint("write \"anonymous\" last"),
    );
}

/// The settings of one method; `None` where they are wrong or not asked for. `is_chosen` is unknown where the list of
/// methods is wrong.
fn method(
    outer: &Scope<'_>,
    word: &'static str,
    is_chosen: Option<bool>,
    faults: &mut Faults,
) -> Option<MethodSettings> {
    let entry = outer.entry(word);
    if let Some(entry) = entry
        && entry.is_scalar()
        && secrets::is_secret(word)
    {
        secrets::report(entry, outer.path_of(word), secrets::USER_HINT, faults);
        return None;
    }
    let scope = outer.table(word, spec_of(word), faults);
    if let Some(scope) = &scope {
        unknown_keys(scope, faults);
    }
    if let (Some(entry), Some(false)) = (entry, is_chosen) {
        let message = format!("`{word}` has settings, and is none of the methods");
        faults.push(
            Draft::error(FaultCode::Conflict, entry.key_at, message)
                .key(outer.path_of(word))
                .hint(format!(
                    "write \"{word}\" into methods, or remove its settings"
                )),
        );
    }
    let is_used = is_chosen == Some(true);
    match (word, &scope) {
        ("password", scope) => Some(MethodSettings::Password(password(scope.as_ref(), faults))),
        ("x509", scope) => x509(scope.as_ref(), faults).map(MethodSettings::X509),
        ("anonymous", scope) => anonymous(scope.as_ref(), faults).map(MethodSettings::Anonymous),
        (_, None) => {
            if is_used && entry.is_none() {
                settings_missing(outer, word, faults);
            }
            None
        }
        ("service_account_token", Some(scope)) => {
            service_account_token(scope, faults).map(MethodSettings::ServiceAccountToken)
        }
        ("custom", Some(scope)) => custom(scope, faults).map(MethodSettings::Custom),
        (_, Some(scope)) => backend::http(scope, faults).map(MethodSettings::Http),
    }
}

fn spec_of(word: &str) -> &'static TableSpec {
    match word {
        "password" => &PASSWORD,
        "x509" => &X509,
        "service_account_token" => &SERVICE_ACCOUNT_TOKEN,
        "custom" => &CUSTOM,
        "http" => &AUTHENTICATION_HTTP,
        _ => &ANONYMOUS,
    }
}

/// Notes a method that cannot work without settings.
fn settings_missing(outer: &Scope<'_>, word: &str, faults: &mut Faults) {
    if outer.is_meant(word) {
        return;
    }
    let Some(entry) = outer.entry("methods") else {
        return;
    };
    let path = outer.path_of(word);
    let what = match word {
        "service_account_token" => "audiences = [\"fieldgate\"]",
        "custom" => "url = \"https://auth-server:8443\"",
        _ => "url = \"http://auth-server:8000\" and getuser_path = \"/auth\"",
    };
    let message = format!("the method \"{word}\" needs settings");
    faults.push(
        Draft::error(FaultCode::MissingKey, entry.node.at, message)
            .hint(format!("write a line [{path}], and below it {what}"))
            .key(path),
    );
}

fn password(scope: Option<&Scope<'_>>, faults: &mut Faults) -> PasswordSettings {
    let unknown_user = scope.and_then(|scope| choose(scope, "unknown_user", faults));
    PasswordSettings {
        unknown_user: match unknown_user {
            Some(1) => UnknownUser::NextMethod,
            _ => UnknownUser::Refuse,
        },
    }
}

fn x509(scope: Option<&Scope<'_>>, faults: &mut Faults) -> Option<X509Settings> {
    let mut settings = X509Settings {
        trust: vec![TrustSource::DeviceCa],
        crls: Vec::new(),
        identity: CertificateIdentity::CommonName,
        attributes: Vec::new(),
    };
    let Some(scope) = scope else {
        return Some(settings);
    };
    if scope.entry("trust").is_some() {
        settings.trust = read_list(scope, "trust", faults, trust_source)?;
        if settings.trust.is_empty() {
            let complaint = Complaint::bad("is empty, so no certificate would be taken")
                .hint("write [\"device-ca\"], or the names of PEM files");
            let _: Option<()> = read(scope, "trust", faults, |value, _| match value {
                Value::List(items) if items.is_empty() => Err(complaint),
                _ => Ok(()),
            });
        }
    }
    settings.crls = read_list(scope, "crls", faults, value::path).unwrap_or_default();
    settings.identity = match choose(scope, "identity", faults) {
        Some(1) => CertificateIdentity::Subject,
        Some(2) => CertificateIdentity::SanDns,
        Some(3) => CertificateIdentity::SanUri,
        Some(4) => CertificateIdentity::SanEmail,
        _ => CertificateIdentity::CommonName,
    };
    settings.attributes = named_tables(scope, "attributes", &SUBJECT_ATTRIBUTES, faults)
        .into_iter()
        .filter_map(|(entry, scope)| subject_attributes(entry, &scope, faults))
        .collect();
    Some(settings)
}

fn trust_source(value: &Value, beside: &std::path::Path) -> Result<TrustSource, Complaint> {
    let typed = value::text(value, "\"device-ca\" or the name of a file")?;
    if super::nearest::same(typed, "device-ca") {
        return Ok(TrustSource::DeviceCa);
    }
    value::path(value, beside).map(TrustSource::Path)
}

fn subject_attributes(
    entry: &Entry,
    scope: &Scope<'_>,
    faults: &mut Faults,
) -> Option<SubjectAttributes> {
    unknown_keys(scope, faults);
    let name = Value::Text(entry.key.clone());
    if let Err(complaint) = plain(&name) {
        let message = format!("the name of this table {}", complaint.message);
        faults.push(Draft::error(complaint.code, entry.key_at, message).key(&scope.path));
    }
    for key in ["subject", "attributes"] {
        if scope.entry(key).is_none() {
            missing(scope, key, faults);
        }
    }
    let subject = read(scope, "subject", faults, |value, _| subject(value));
    let attributes = read_pairs(scope, "attributes", faults);
    Some(SubjectAttributes {
        name: entry.key.as_str().into(),
        subject: subject?,
        attributes: attributes?,
    })
}

/// A distinguished name, in any of the usual notations.
fn subject(value: &Value) -> Result<Box<str>, Complaint> {
    let typed = plain(value)?;
    let Err(fault) = DistinguishedName::parse(&typed) else {
        return Ok(typed);
    };
    if typed.contains('=') {
        return Err(Complaint::bad(fault.to_string()));
    }
    let takes = "takes a distinguished name such as \"CN = Line 1 CA, O = Plant\"";
    let complaint = Complaint::bad(format!("{takes}, not {}", super::source::quoted(&typed)));
    let hint = format!(
        "write {}",
        super::source::quoted(&format!("CN = {}", typed.trim()))
    );
    Err(complaint.maybe_hint((!typed.contains(['/', ','])).then_some(hint)))
}

fn service_account_token(
    scope: &Scope<'_>,
    faults: &mut Faults,
) -> Option<ServiceAccountTokenSettings> {
    if scope.entry("audiences").is_none() {
        missing(scope, "audiences", faults);
    }
    let audiences = read_list(scope, "audiences", faults, |value, _| plain(value));
    if audiences.as_ref().is_some_and(Vec::is_empty) {
        let _: Option<()> = read(scope, "audiences", faults, |value, _| match value {
            Value::List(items) if items.is_empty() => {
                Err(Complaint::bad("is empty, so no token would be taken")
                    .hint("write [\"fieldgate\"], or whichever tokens are made for"))
            }
            _ => Ok(()),
        });
    }
    let api_server = backend::url(scope, "api_server", Urls::TlsBeyondThisMachine, faults);
    let ca = read(scope, "ca", faults, value::path);
    if scope.entry("api_server").is_none() {
        super::conflicts::refuse(
            scope,
            "ca",
            "is only for an `api_server` that is written",
            faults,
        );
    }
    let token_file = read(scope, "token_file", faults, value::path);
    let backend = backend::settings(scope, faults);
    Some(ServiceAccountTokenSettings {
        audiences: audiences?,
        api_server: api_server.map(|url| HttpServer {
            url,
            ca,
            client_certificate: None,
            headers: std::collections::BTreeMap::new(),
        }),
        token_file,
        backend,
    })
}

fn custom(scope: &Scope<'_>, faults: &mut Faults) -> Option<CustomSettings> {
    let server = backend::server(scope, Urls::Tls, faults);
    let backend = backend::settings(scope, faults);
    Some(CustomSettings {
        server: server?,
        backend,
    })
}

fn anonymous(scope: Option<&Scope<'_>>, faults: &mut Faults) -> Option<AnonymousSettings> {
    let mut settings = AnonymousSettings {
        username: "anonymous".into(),
        attributes: std::collections::BTreeMap::new(),
    };
    let Some(scope) = scope else {
        return Some(settings);
    };
    if scope.entry("username").is_some() {
        settings.username = read(scope, "username", faults, |value, _| plain(value))?;
    }
    settings.attributes = read_pairs(scope, "attributes", faults).unwrap_or_default();
    Some(settings)
}
