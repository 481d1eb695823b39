//! Resolves how a server is reached and asked, whatever it speaks.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue as CheckedValue};

use super::access::{
    BackendSettings, HeaderValue, HttpMethod, HttpParams, HttpProtocol, HttpResponse, HttpServer,
    HttpSettings, HttpUrl, WhenUnavailable,
};
use super::conflicts::refuse;
use super::faults::{Draft, Faults};
use super::limit_keys::Setting;
use super::reader::{Scope, choose, missing, read};
use super::report::FaultCode;
use super::secrets;
use super::source::quoted;
use super::texts::{NAME_BYTES_MAX, plain, read_list};
use super::tree::{Entry, Table, Value};
use super::url::{UrlFault, is_request_path};
use super::value::{self, Complaint};

/// Header fields of one server.
const HEADERS_MAX: usize = 32;

/// Which URLs a key takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Urls {
    /// `http` and `https`.
    All,
    /// `https` alone.
    Tls,
    /// `https`, and `http` to this machine.
    TlsBeyondThisMachine,
}

/// Time, numbers and caches; what is not written is as for every server.
pub(super) fn settings(scope: &Scope<'_>, faults: &mut Faults) -> BackendSettings {
    let mut settings = BackendSettings::default();
    if scope.spec.key("aclcheck_path").is_some() {
        settings.cache_time = BackendSettings::ACL_CACHE_TIME;
    }
    for key in scope.spec.keys() {
        let name = key.name;
        if !matches!(
            name,
            "timeout"
                | "concurrency_max"
                | "retries"
                | "breaker_errors"
                | "breaker_pause"
                | "cache_time"
                | "negative_cache_time"
        ) {
            continue;
        }
        let set = read(scope, name, faults, |v, _| value::setting(v, key.kind));
        let Some(Setting::Number(Some(number))) = set else {
            continue;
        };
        let count = u32::try_from(number).unwrap_or(u32::MAX);
        let time = Duration::from_millis(number);
        match name {
            "timeout" => settings.timeout = time,
            "concurrency_max" => settings.concurrency_max = count,
            "retries" => settings.retries = count,
            "breaker_errors" => settings.breaker_errors = count,
            "breaker_pause" => settings.breaker_pause = time,
            "cache_time" => settings.cache_time = time,
            _ => settings.negative_cache_time = time,
        }
    }
    if scope.spec.key("when_unavailable").is_some() {
        settings.when_unavailable = match choose(scope, "when_unavailable", faults) {
            Some(1) => WhenUnavailable::NextMethod,
            _ => WhenUnavailable::Refuse,
        };
    }
    settings
}

/// A server that was written for one of mosquitto's plug-ins.
pub(super) fn http(scope: &Scope<'_>, faults: &mut Faults) -> Option<HttpSettings> {
    let server = server(scope, Urls::All, faults);
    if let (Some(server), Some(entry)) = (&server, scope.entry("url"))
        && server.url.has_query()
    {
        let message = "`url` has a query, and the paths below would stand behind it";
        faults.push(
            Draft::error(FaultCode::BadValue, entry.node.at, message)
                .key(scope.path_of("url"))
                .hint("write the query at the end of the paths"),
        );
    }
    let protocol = protocol(scope, faults);
    let asked = ["getuser_path", "aclcheck_path"].map(|key| {
        let is_key = scope.spec.key(key).is_some();
        if is_key && scope.entry(key).is_none() {
            missing(scope, key, faults);
        }
        is_key.then(|| read(scope, key, faults, |value, _| request_path(value)))
    });
    let superuser_path = read(scope, "superuser_path", faults, |value, _| {
        request_path(value)
    });
    let superusers = read_list(scope, "superusers", faults, |value, _| plain(value));
    let backend = settings(scope, faults);
    let [getuser_path, aclcheck_path] = asked;
    // Whichever of the two the table has must be there.
    if matches!(getuser_path, Some(None)) || matches!(aclcheck_path, Some(None)) {
        return None;
    }
    Some(HttpSettings {
        server: server?,
        protocol,
        getuser_path: getuser_path.flatten(),
        superuser_path,
        aclcheck_path: aclcheck_path.flatten(),
        superusers: superusers.unwrap_or_default(),
        backend,
    })
}

fn protocol(scope: &Scope<'_>, faults: &mut Faults) -> HttpProtocol {
    let is_go_auth = choose(scope, "protocol", faults) == Some(1);
    let params = match choose(scope, "params", faults) {
        Some(1) => HttpParams::Form,
        _ => HttpParams::Json,
    };
    let response = match choose(scope, "response", faults) {
        Some(1) => HttpResponse::Json,
        Some(2) => HttpResponse::Text,
        _ => HttpResponse::Status,
    };
    let method = match choose(scope, "method", faults) {
        Some(1) => HttpMethod::Get,
        Some(2) => HttpMethod::Put,
        _ => HttpMethod::Post,
    };
    if is_go_auth {
        return HttpProtocol::GoAuth {
            params,
            response,
            method,
        };
    }
    for key in ["params", "response", "method"] {
        refuse(scope, key, "is only for protocol = \"go-auth\"", faults);
    }
    HttpProtocol::AuthPlug
}

fn request_path(value: &Value) -> Result<Box<str>, Complaint> {
    let typed = value::text(value, "a path such as \"/auth\"")?;
    if is_request_path(typed) {
        return Ok(typed.into());
    }
    let complaint = Complaint::bad(format!(
        "takes a path of a request that begins with `/`, not {}",
        quoted(typed)
    ));
    let better = format!("/{typed}");
    let works = !typed.contains(':') && is_request_path(&better);
    let hint = match typed.contains("://") {
        true => Some("write the server as `url`, and here what follows it".to_owned()),
        false => works.then(|| format!("write {}", quoted(&better))),
    };
    Err(complaint.maybe_hint(hint))
}

/// Where a server is, how it proves who it is, and what it is told besides.
pub(super) fn server(scope: &Scope<'_>, urls: Urls, faults: &mut Faults) -> Option<HttpServer> {
    if scope.entry("url").is_none() {
        missing(scope, "url", faults);
    }
    let url = url(scope, "url", urls, faults);
    let ca = read(scope, "ca", faults, value::path);
    let client_certificate = client_certificate(scope, faults);
    if url.as_ref().is_some_and(|url| !url.is_tls) {
        for key in ["ca", "client_cert", "client_key"] {
            refuse(
                scope,
                key,
                "is only for a URL that begins with https://",
                faults,
            );
        }
    }
    let headers = headers(scope, faults);
    Some(HttpServer {
        url: url?,
        ca,
        client_certificate,
        headers,
    })
}

/// The URL of a key; a password in it never comes into the report.
pub(super) fn url(
    scope: &Scope<'_>,
    key: &str,
    urls: Urls,
    faults: &mut Faults,
) -> Option<HttpUrl> {
    if let Some(entry) = scope.entry(key)
        && matches!(&entry.node.value, Value::Text(text) if text.contains('@'))
    {
        faults.hide(entry.key_at, entry.node.at);
    }
    read(scope, key, faults, |value, _| checked_url(value, urls))
}

fn checked_url(value: &Value, urls: Urls) -> Result<HttpUrl, Complaint> {
    let takes = match urls {
        Urls::All => "a URL such as \"http://auth-server:8000\"",
        Urls::Tls | Urls::TlsBeyondThisMachine => "a URL such as \"https://auth-server:8443\"",
    };
    let typed = value::text(value, takes)?;
    let url = HttpUrl::try_from(typed).map_err(|fault| {
        // What stands in front of an `@` may be a password with signs that a URL does not have.
        let fault = match typed.contains('@') {
            true => UrlFault::Password,
            false => fault,
        };
        let complaint = Complaint::bad(format!("takes {takes}: this {fault}"));
        match fault {
            UrlFault::Password => Complaint {
                code: FaultCode::Secret,
                message: format!("takes {takes}: this {fault}, and no secret stands in this file"),
                hint: Some(secrets::HEADER_HINT.to_owned()),
            },
            UrlFault::Scheme if !typed.contains("://") => {
                let scheme = if urls == Urls::All { "http" } else { "https" };
                let better = format!("{scheme}://{typed}");
                let works = HttpUrl::try_from(better.as_str()).is_ok();
                complaint.maybe_hint(works.then(|| format!("write {}", quoted(&better))))
            }
            _ => complaint,
        }
    })?;
    let is_allowed = match urls {
        Urls::All => true,
        Urls::Tls => url.is_tls,
        Urls::TlsBeyondThisMachine => url.is_tls || url.is_loopback(),
    };
    if is_allowed {
        return Ok(url);
    }
    Err(
        Complaint::bad("takes a URL that begins with https://: what is asked there is secret")
            .hint("the server needs a certificate; name the authority that it has it from as `ca`"),
    )
}

fn client_certificate(scope: &Scope<'_>, faults: &mut Faults) -> Option<(PathBuf, PathBuf)> {
    let cert = read(scope, "client_cert", faults, value::path);
    let key = read(scope, "client_key", faults, value::path);
    for (one, other) in [("client_cert", "client_key"), ("client_key", "client_cert")] {
        if let (Some(entry), None) = (scope.entry(one), scope.entry(other)) {
            let message = format!("`{one}` needs `{other}`");
            faults.push(
                Draft::error(FaultCode::MissingKey, entry.key_at, message)
                    .key(scope.path_of(other))
                    .hint(format!("write {other} = \"…\", the name of a PEM file")),
            );
        }
    }
    cert.zip(key)
}

fn headers(scope: &Scope<'_>, faults: &mut Faults) -> BTreeMap<Box<str>, HeaderValue> {
    let mut headers = BTreeMap::new();
    let Some(entry) = scope.entry("headers") else {
        return headers;
    };
    let table = match &entry.node.value {
        Value::Table(table) if table.entries.len() <= HEADERS_MAX => table,
        other => {
            let example = "headers = { X-Site = \"7\" }";
            let complaint = match other {
                Value::Table(_) => Complaint::bad(format!("has more than {HEADERS_MAX} fields")),
                _ => Complaint::wrong_type("a table of header fields", other)
                    .hint(format!("write {example}, or whichever they are")),
            };
            faults.hide(entry.key_at, entry.node.at);
            let _: Option<()> = read(scope, "headers", faults, |_, _| Err(complaint));
            return headers;
        }
    };
    for field in &table.entries {
        let path = format!("{}.{}", scope.path_of("headers"), field.key);
        let value = header(scope, field, &path, faults);
        let name = field.key.to_ascii_lowercase();
        if headers.contains_key(name.as_str()) {
            faults.push(
                Draft::error(
                    FaultCode::Duplicate,
                    field.key_at,
                    "this header field is written twice; upper and lower case do not differ",
                )
                .key(path),
            );
        } else if let Some(value) = value {
            headers.insert(name.into(), value);
        }
    }
    headers
}

/// Header fields that the gateway writes itself.
const OWN_HEADERS: &[&str] = &[
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn header(
    scope: &Scope<'_>,
    field: &Entry,
    path: &str,
    faults: &mut Faults,
) -> Option<HeaderValue> {
    let is_secret = secrets::is_secret_header(&field.key);
    if is_secret && !matches!(field.node.value, Value::Table(_)) {
        secrets::report(field, path.to_owned(), secrets::HEADER_HINT, faults);
        return None;
    }
    let folder = scope.folder(field.node.at);
    let read = check_header_name(&field.key).and_then(|()| match &field.node.value {
        Value::Table(table) => header_file(table, folder),
        value => header_text(value),
    });
    read.map_err(|complaint| {
        let message = format!("`{}` {}", field.key, complaint.message);
        faults.push(
            Draft::error(complaint.code, field.node.at, message)
                .key(path)
                .maybe_hint(complaint.hint),
        );
    })
    .ok()
}

fn check_header_name(name: &str) -> Result<(), Complaint> {
    if name.len() > 128 || HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Err(Complaint::bad("is no name of a header field")
            .hint("write letters, digits and hyphens, such as X-Site"));
    }
    if OWN_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(name)) {
        return Err(Complaint::bad("is written by the gateway itself").hint("remove it"));
    }
    Ok(())
}

fn header_file(table: &Table, folder: &std::path::Path) -> Result<HeaderValue, Complaint> {
    let takes = "text, or { file = \"/etc/fieldgate/auth.header\" }";
    match table.entries.as_slice() {
        [only] if only.key == "file" => {
            value::path(&only.node.value, folder).map(HeaderValue::File)
        }
        _ => Err(Complaint::bad(format!("takes {takes}"))),
    }
}

fn header_text(value: &Value) -> Result<HeaderValue, Complaint> {
    let typed = value::text(value, "text, or { file = \"/etc/fieldgate/auth.header\" }")?;
    if typed.len() > NAME_BYTES_MAX {
        return Err(Complaint::bad(format!(
            "is longer than {NAME_BYTES_MAX} bytes"
        )));
    }
    let is_plain = typed
        .bytes()
        .all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if !is_plain || CheckedValue::from_str(typed).is_err() || typed.trim() != typed {
        return Err(Complaint::bad(
            "takes printable ASCII characters, with no space at either end",
        ));
    }
    Ok(HeaderValue::Text(typed.into()))
}
