//! Plug-ins that check users and topics: mosquitto-auth-plug, mosquitto-go-auth, dynamic security.

use std::path::{Path, PathBuf};

use super::conf::{Plugin, PluginOption};
use super::directives::switch;
use super::lines::beside;
use super::report::{ImportReport, Verdict};
use super::rules::RuleText;
use super::text::{list, quote};
use super::{dynamic_security, lines};

/// Keys of a table, in order.
pub(super) type Keys = Vec<(&'static str, String)>;

/// What becomes of a plug-in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PluginPlan {
    /// `[authentication.NAME.http]`
    pub(super) authentication_http: Option<Keys>,
    /// `[authorization.NAME.http]`
    pub(super) authorization_http: Option<Keys>,
    /// Whether users of the database are asked.
    pub(super) has_password: bool,
    /// File with rules.
    pub(super) acl_file: Option<PathBuf>,
    /// Rules that the plug-in has itself.
    pub(super) rules: Vec<RuleText>,
    /// The name of clients without one.
    pub(super) anonymous_username: Option<String>,
    /// Whether it decides about topics: what is not translated of that must stay closed.
    pub(super) restricts_topics: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    AuthPlug,
    GoAuth,
    DynamicSecurity,
    Unknown,
}

/// Translates a plug-in and reports its lines.
pub(super) fn translate(path: &Path, plugin: &Plugin, report: &mut ImportReport) -> PluginPlan {
    let kind = kind_of(plugin);
    let mut plan = PluginPlan {
        restricts_topics: true,
        ..PluginPlan::default()
    };
    let verdict = match kind {
        Kind::AuthPlug | Kind::GoAuth => {
            let is_go = kind == Kind::GoAuth;
            http_plugin(path, plugin, is_go, &mut plan, report)
        }
        Kind::DynamicSecurity => dynamic(path, plugin, &mut plan, report),
        Kind::Unknown => Verdict::NoEquivalent {
            why: "there are no plug-ins; have an HTTP server decide ([authentication.NAME.custom] or http), or put its users into \
                  the database and its rights into [authorization.NAME]. Nobody may do anything on such ports now"
                .to_owned(),
        },
    };
    report.note(plugin.spot, plugin.line.clone(), verdict);
    for option in &plugin.options {
        let verdict = option_verdict(kind, plugin, option);
        report.note(option.spot, option.line.clone(), verdict);
    }
    plan
}

fn kind_of(plugin: &Plugin) -> Kind {
    let file = Path::new(&plugin.path).file_name().unwrap_or_default();
    let file = file.to_string_lossy().to_lowercase().replace('_', "-");
    if file.contains("dynamic-security") {
        Kind::DynamicSecurity
    } else if file.contains("go-auth") {
        Kind::GoAuth
    } else if file.contains("auth-plug") {
        Kind::AuthPlug
    } else if plugin.option("http_host").is_some() {
        Kind::GoAuth
    } else if plugin.option("http_ip").is_some() || plugin.option("http_hostname").is_some() {
        Kind::AuthPlug
    } else {
        Kind::Unknown
    }
}

/// Names of back ends in the order in which they are asked.
fn backends(plugin: &Plugin) -> Vec<String> {
    let names = plugin.option("backends").unwrap_or("http");
    names
        .split(',')
        .map(|name| name.trim().to_lowercase())
        .filter(|name| !name.is_empty())
        .collect()
}

fn http_plugin(
    path: &Path,
    plugin: &Plugin,
    is_go: bool,
    plan: &mut PluginPlan,
    report: &mut ImportReport,
) -> Verdict {
    let backends = backends(plugin);
    let place = |name: &str| backends.iter().position(|known| known == name);
    let http = place("http");
    if http.is_some() {
        match http_keys(plugin, is_go) {
            Ok((authentication, authorization)) => {
                plan.authentication_http = Some(authentication);
                plan.authorization_http = authorization;
            }
            Err(why) => return Verdict::Bad { why },
        }
    }
    if place("files").is_some() {
        plan.has_password = true;
        let password = plugin
            .option("password_file")
            .or_else(|| plugin.option("files_password_path"))
            .or_else(|| plugin.option("password_path"));
        if let Some(file) = password {
            report.next(import_command(&beside(path, file)));
        }
        let acl = plugin
            .option("acl_file")
            .or_else(|| plugin.option("files_acl_path"))
            .or_else(|| plugin.option("acl_path"));
        plan.acl_file = acl.map(|file| beside(path, file));
    }
    plan.anonymous_username = plugin.option("anonusername").map(str::to_owned);
    if plugin.option("http_basic_auth_key").is_some() {
        report.next(format!(
            "write the line `Basic ` and the key of auth_opt_http_basic_auth_key into {BASIC_AUTH_FILE}, readable for the gateway alone"
        ));
    }
    let others: Vec<&str> = backends
        .iter()
        .map(String::as_str)
        .filter(|name| !matches!(*name, "http" | "files"))
        .collect();
    match (
        others.as_slice(),
        http.is_some() || place("files").is_some(),
    ) {
        ([], _) => Verdict::Translated {
            into: "the methods and rules of the ports that it is for".to_owned(),
        },
        (others, true) => Verdict::NoEquivalent {
            why: format!(
                "the back ends {} are not asked; http and files are translated",
                others.join(", ")
            ),
        },
        (others, false) => Verdict::NoEquivalent {
            why: format!(
                "there is no back end {}: put an HTTP server in front of it, or its users into the database by `fieldgate user import`",
                others.join(", ")
            ),
        },
    }
}

/// File that the header field of an HTTP server is read from, so that it stands in no configuration.
const BASIC_AUTH_FILE: &str = "/etc/fieldgate/http-authorization.header";

/// Keys of the two tables; the second is absent where topics are not asked about.
fn http_keys(plugin: &Plugin, is_go: bool) -> Result<(Keys, Option<Keys>), String> {
    let option = |name: &str| plugin.option(name).filter(|value| !value.is_empty());
    let host = option("http_hostname")
        .or_else(|| option("http_host"))
        .or_else(|| option("http_ip"))
        .ok_or("it says not where the HTTP server is: http_hostname, http_ip or http_host")?;
    let is_tls = option("http_with_tls").and_then(switch).unwrap_or(false);
    let scheme = if is_tls { "https" } else { "http" };
    let host = if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    let url = match option("http_port") {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    };
    let mut common: Keys = vec![("url", quote(&url))];
    if is_go {
        common.push(("protocol", quote("go-auth")));
        for (name, key) in [
            ("http_params_mode", "params"),
            ("http_response_mode", "response"),
        ] {
            common.extend(option(name).map(|value| (key, quote(&value.to_lowercase()))));
        }
        common.extend(option("http_method").map(|value| ("method", quote(&value.to_uppercase()))));
    } else {
        common.push(("protocol", quote("auth-plug")));
    }
    if option("http_basic_auth_key").is_some() {
        let header = format!(
            "{{ Authorization = {{ file = {} }} }}",
            quote(BASIC_AUTH_FILE)
        );
        common.push(("headers", header));
    }
    let timeout = number(option("http_timeout")).unwrap_or(if is_go { 5 } else { 10 });
    common.push(("timeout", quote(&format!("{} s", timeout.clamp(1, 60)))));
    let retries = number(option("http_retry_count").or_else(|| option("retry_count")));
    common.extend(retries.map(|retries| ("retries", retries.min(10).to_string())));
    let superusers: Keys = superuser_keys(plugin, is_go);

    let getuser = option("http_getuser_uri").ok_or("http_getuser_uri is missing")?;
    let mut authentication = common.clone();
    authentication.push(("getuser_path", quote(&path_of(getuser))));
    authentication.push(cache_key(
        plugin,
        is_go,
        "auth_cacheseconds",
        "auth_cache_seconds",
        0,
    ));
    let Some(aclcheck) = option("http_aclcheck_uri") else {
        authentication.extend(superusers);
        return Ok((authentication, None));
    };
    let mut authorization = common;
    authorization.push(("aclcheck_path", quote(&path_of(aclcheck))));
    authorization.extend(superusers);
    authorization.push(cache_key(
        plugin,
        is_go,
        "acl_cacheseconds",
        "acl_cache_seconds",
        300,
    ));
    Ok((authentication, Some(authorization)))
}

fn superuser_keys(plugin: &Plugin, is_go: bool) -> Keys {
    let option = |name: &str| plugin.option(name).filter(|value| !value.is_empty());
    let mut keys = Keys::new();
    let is_off = is_go && option("disable_superuser").and_then(switch) == Some(true);
    if !is_off && let Some(path) = option("http_superuser_uri") {
        keys.push(("superuser_path", quote(&path_of(path))));
    }
    if let Some(names) = option("superusers") {
        keys.push(("superusers", list(names.split(',').map(str::trim))));
    }
    keys
}

/// For how long answers are remembered, with the defaults of the plug-ins.
fn cache_key(
    plugin: &Plugin,
    is_go: bool,
    auth_plug: &str,
    go_auth: &str,
    default: u64,
) -> (&'static str, String) {
    let seconds = if is_go {
        let is_on = plugin.option("cache").and_then(switch).unwrap_or(false);
        if is_on {
            number(plugin.option(go_auth)).unwrap_or(30)
        } else {
            0
        }
    } else {
        let written = plugin.option(auth_plug).or_else(|| {
            let is_acl = auth_plug.starts_with("acl");
            plugin.option("cacheseconds").filter(|_| is_acl)
        });
        number(written).unwrap_or(default)
    };
    ("cache_time", quote(&format!("{} s", seconds.min(86_400))))
}

fn number(value: Option<&str>) -> Option<u64> {
    value?.parse().ok()
}

fn path_of(uri: &str) -> String {
    if uri.starts_with('/') {
        uri.to_owned()
    } else {
        format!("/{uri}")
    }
}

fn dynamic(
    path: &Path,
    plugin: &Plugin,
    plan: &mut PluginPlan,
    report: &mut ImportReport,
) -> Verdict {
    plan.has_password = true;
    let Some(file) = plugin.option("config_file") else {
        return Verdict::Bad {
            why: "plugin_opt_config_file is missing".to_owned(),
        };
    };
    let file = beside(path, file);
    report.next(import_command(&file));
    let text = match lines::read_text(&file) {
        Ok(text) => text,
        Err(error) => {
            return Verdict::Unreadable {
                why: format!(
                    "`{}`: {error}. Its roles are not among the rules: import where it is",
                    file.display()
                ),
            };
        }
    };
    match dynamic_security::translate(&text, &file, report) {
        Ok(rules) => {
            plan.rules = rules;
            Verdict::Translated {
                into: "users of the database, by the command below, and roles as rules; they are managed by `fieldgate user` and \
                       this file instead of $CONTROL topics"
                    .to_owned(),
            }
        }
        Err(error) => Verdict::Bad {
            why: format!("`{}` cannot be understood: {error}", file.display()),
        },
    }
}

/// What to say about an option.
fn option_verdict(kind: Kind, plugin: &Plugin, option: &PluginOption) -> Verdict {
    let name = option.name.as_str();
    let no_equivalent = |why: &str| Verdict::NoEquivalent {
        why: why.to_owned(),
    };
    match (kind, name) {
        (Kind::Unknown, _) => no_equivalent("it belongs to the plug-in"),
        (Kind::DynamicSecurity, "config_file") => Verdict::Translated {
            into: "users and rules".to_owned(),
        },
        (Kind::DynamicSecurity, _) => no_equivalent("it belongs to the plug-in"),
        (_, "http_verify_peer") if switch(&option.value) != Some(true) => Verdict::Differs {
            how:
                "the certificate of the server is always verified; name its authority by the key ca"
                    .to_owned(),
        },
        (_, "http_basic_auth_key") => Verdict::Translated {
            into: format!("a header field that is read from {BASIC_AUTH_FILE}"),
        },
        (_, "http_hostname" | "http_host" | "http_ip" | "http_port" | "http_with_tls") => {
            let https = if plugin.option("http_with_tls").and_then(switch) == Some(true) {
                ""
            } else {
                "; passwords travel in clear text there"
            };
            Verdict::Translated {
                into: format!("http.url{https}"),
            }
        }
        (_, "backends")
            if option.value.trim().starts_with("http") && option.value.contains("files") =>
        {
            Verdict::Differs {
                how:
                    "the database is asked first, and the server about users that it does not have"
                        .to_owned(),
            }
        }
        (_, "backends") => Verdict::Translated {
            into: "the order of the methods".to_owned(),
        },
        _ if name.ends_with("_params") => {
            no_equivalent("values of the environment are not sent; have the server know them")
        }
        _ if TRANSLATED.contains(&name) => Verdict::Translated {
            into: "the tables http of the authentication and the authorization".to_owned(),
        },
        _ if name.starts_with("log_") => Verdict::NotNeeded {
            why: "refusals are in the journal and in `fieldgate audit`".to_owned(),
        },
        _ if name.contains("jitter") => no_equivalent(
            "remembered answers end at their time; the server is asked by few connections at once",
        ),
        _ => no_equivalent("there is no such setting"),
    }
}

/// Options that become keys as they are.
const TRANSLATED: [&str; 23] = [
    "acl_cache_seconds",
    "acl_cacheseconds",
    "acl_file",
    "acl_path",
    "anonusername",
    "auth_cache_seconds",
    "auth_cacheseconds",
    "cache",
    "cacheseconds",
    "disable_superuser",
    "files_acl_path",
    "files_password_path",
    "http_aclcheck_uri",
    "http_getuser_uri",
    "http_method",
    "http_params_mode",
    "http_response_mode",
    "http_retry_count",
    "http_superuser_uri",
    "http_timeout",
    "password_file",
    "retry_count",
    "superusers",
];

/// The command that puts the users of a file into the database.
pub(super) fn import_command(file: &Path) -> String {
    format!(
        "fieldgate user import {}",
        shell_quote(&file.display().to_string())
    )
}

/// A word as a shell takes it.
pub(super) fn shell_quote(word: &str) -> String {
    let is_plain = word
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "/._-+=:@%,".contains(c));
    if is_plain && !word.is_empty() {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}
