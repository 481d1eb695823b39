//! `fieldgate check`: whether a configuration is right, and which ports it opens.

use std::path::Path;

use fieldgate::clock;
use fieldgate::config::{
    self, Authentication, Authorization, Fault, Loaded, MethodSettings, Paint, PortSettings,
    Protocol, Report, Severity, TlsMode, TlsSettings,
};
use fieldgate::gateway::{CONFIG_FILE, find_config};
use fieldgate::net::tls;
use serde::Serialize;

use super::config_file::ConfigArgs;
use super::table::{Table, printable};
use super::{Exit, Failure, Output, failure};

/// Check the configuration and show which ports it opens
///
/// Reports every fault at once, with its place and a hint, and ends with 78 if there is one. Warnings, and certificates that
/// are not there yet, do not make a configuration wrong. Nothing is started and no port is opened.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let main = find_config(args.config.file());
    let checked = config::load(main.as_deref());
    if args.json {
        let mut output = Output::default();
        output.json(&Outcome::new(&checked))?;
        output.finish()?;
        return checked.map(drop).map_err(|_| Failure::silent(Exit::Config));
    }
    let paint = failure::paint();
    let loaded = checked.map_err(|report| refused(&report, main.as_deref(), paint))?;
    let ports: Vec<CheckedPort> = loaded.settings.ports().map(CheckedPort::new).collect();
    failure::say(&remarks(&loaded, &ports, paint));
    let mut output = Output::default();
    print(&loaded, &ports, &mut output);
    output.finish()
}

fn refused(report: &Report, main: Option<&Path>, paint: Paint) -> Failure {
    let main = main.unwrap_or(Path::new(CONFIG_FILE)).display().to_string();
    let text = report.render(paint);
    let text = format!("{}: {}", text.trim_end(), printable(&main));
    Failure::rendered(Exit::Config, text)
}

/// Warnings, and what is to be said about certificates.
fn remarks(loaded: &Loaded, ports: &[CheckedPort], paint: Paint) -> String {
    let mut text = String::new();
    for warning in &loaded.warnings {
        text.push_str(&warning.render(paint));
        text.push('\n');
    }
    for port in ports {
        for remark in port.certificate.iter().flat_map(Certificate::remarks) {
            let (word, message, hint) = remark;
            let message = printable(&message);
            text.push_str(&format!("{word}: port {}: {message}\n", port.endpoint));
            if let Some(hint) = hint {
                text.push_str(&format!("hint: {}\n", printable(&hint)));
            }
            text.push('\n');
        }
    }
    text
}

fn print(loaded: &Loaded, ports: &[CheckedPort], output: &mut Output) {
    let sources: Vec<String> = loaded
        .sources
        .iter()
        .map(|source| printable(&source.display().to_string()))
        .collect();
    output.line(match sources.as_slice() {
        [] => format!("ok: there is no {CONFIG_FILE}, so the embedded default counts"),
        sources => format!("ok: {}", sources.join(", ")),
    });
    output.line("");
    let mut table = Table::new([
        "LISTENER",
        "PORT",
        "SPEAKS",
        "AUTHENTICATION",
        "AUTHORIZATION",
    ]);
    for port in ports {
        table.row([
            port.listener.clone(),
            port.endpoint.clone(),
            port.speaks(),
            port.asks(),
            port.allows(),
        ]);
    }
    let http = loaded.settings.admin.http.map(|http| http.to_string());
    if let Some(http) = http {
        let cells = [
            "[admin]",
            &http,
            "health and metrics over HTTP",
            "none",
            "none",
        ];
        table.row(cells.map(str::to_owned));
    }
    table.print(output);
}

/// The result for programs.
#[derive(Serialize)]
struct Outcome<'a> {
    ok: bool,
    sources: Vec<String>,
    errors: Vec<&'a Fault>,
    warnings: Vec<&'a Fault>,
    /// Faults that were found and left out.
    omitted: usize,
    ports: Vec<CheckedPort>,
    admin_http: Option<String>,
}

impl<'a> Outcome<'a> {
    fn new(checked: &'a Result<Loaded, Report>) -> Self {
        match checked {
            Ok(loaded) => Self {
                ok: true,
                sources: loaded
                    .sources
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect(),
                errors: Vec::new(),
                warnings: loaded.warnings.iter().collect(),
                omitted: 0,
                ports: loaded.settings.ports().map(CheckedPort::new).collect(),
                admin_http: loaded.settings.admin.http.map(|http| http.to_string()),
            },
            Err(report) => {
                let (errors, warnings) = report
                    .faults
                    .iter()
                    .partition(|fault| fault.severity == Severity::Error);
                Self {
                    ok: false,
                    sources: Vec::new(),
                    errors,
                    warnings,
                    omitted: report.omitted,
                    ports: Vec::new(),
                    admin_http: None,
                }
            }
        }
    }
}

/// What would be opened.
#[derive(Serialize)]
struct CheckedPort {
    listener: String,
    endpoint: String,
    protocol: &'static str,
    tls: bool,
    authentication: String,
    /// The methods of the authentication, in the order in which they are asked.
    methods: Vec<&'static str>,
    authorization: String,
    /// How many rules the authorization has; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<usize>,
    /// Whether a server is asked about what no rule decides.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    asks_server: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<Certificate>,
}

impl CheckedPort {
    fn new(port: &PortSettings) -> Self {
        Self {
            listener: port.listener.to_string(),
            endpoint: port.endpoint.to_string(),
            protocol: match port.protocol {
                Protocol::Mqtt => "Mqtt",
                Protocol::WebSockets => "WebSockets",
            },
            tls: port.tls.is_some(),
            authentication: match &port.authentication {
                Authentication::None => "none".to_owned(),
                Authentication::Named(named) => named.name.to_string(),
            },
            authorization: match &port.authorization {
                Authorization::None => "none".to_owned(),
                Authorization::Named(named) => named.name.to_string(),
            },
            methods: match &port.authentication {
                Authentication::None => Vec::new(),
                Authentication::Named(named) => {
                    named.methods.iter().map(MethodSettings::key).collect()
                }
            },
            rules: match &port.authorization {
                Authorization::None => None,
                Authorization::Named(named) => Some(named.rules.rules.len()),
            },
            asks_server: match &port.authorization {
                Authorization::None => false,
                Authorization::Named(named) => named.rules.asks,
            },
            certificate: port.tls.as_ref().map(Certificate::look_at),
        }
    }

    /// The authentication with its chain of methods.
    fn asks(&self) -> String {
        match self.methods.as_slice() {
            [] => self.authentication.clone(),
            methods => format!("{}: {}", self.authentication, methods.join(", ")),
        }
    }

    /// The authorization with the number of its rules.
    fn allows(&self) -> String {
        let rules = match self.rules {
            None => return self.authorization.clone(),
            Some(0) => String::new(),
            Some(1) => "1 rule".to_owned(),
            Some(rules) => format!("{rules} rules"),
        };
        let server = match (self.asks_server, rules.is_empty()) {
            (false, _) => "",
            (true, true) => "a server",
            (true, false) => ", then a server",
        };
        format!("{}: {rules}{server}", self.authorization)
    }

    fn speaks(&self) -> String {
        let protocol = match self.protocol {
            "WebSockets" => "MQTT over WebSocket",
            _ => "MQTT",
        };
        match (&self.certificate, self.protocol) {
            (None, _) => protocol.to_owned(),
            (Some(_), "WebSockets") => format!("{protocol} and TLS"),
            (Some(_), _) => format!("{protocol} over TLS"),
        }
    }
}

/// What the certificate files of a port hold now. They may come later, so nothing here makes a configuration wrong.
#[derive(Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
enum Certificate {
    /// The gateway makes it itself.
    Issued,
    Usable {
        subject: String,
        notes: Vec<String>,
    },
    Awaited {
        message: String,
        hint: Option<String>,
    },
    Unusable {
        message: String,
        hint: Option<String>,
    },
}

impl Certificate {
    fn look_at(settings: &TlsSettings) -> Self {
        let (cert, key) = match &settings.mode {
            TlsMode::Manual { cert, key } => (cert, key),
            TlsMode::Automatic(_) => return Self::Issued,
        };
        match tls::check(cert, key) {
            Ok(summary) => Self::Usable {
                notes: summary
                    .validity_note(clock::wall())
                    .into_iter()
                    .chain(summary.notes)
                    .collect(),
                subject: summary.subject,
            },
            Err(fault) if fault.is_missing() => Self::Awaited {
                message: fault.to_string(),
                hint: fault.hint(),
            },
            Err(fault) => Self::Unusable {
                message: fault.to_string(),
                hint: fault.hint(),
            },
        }
    }

    /// Word, message and hint of whatever is to be said.
    fn remarks(&self) -> Vec<(&'static str, String, Option<String>)> {
        match self {
            Self::Issued => Vec::new(),
            Self::Usable { notes, .. } => notes
                .iter()
                .map(|note| ("warning", note.clone(), None))
                .collect(),
            Self::Awaited { message, hint } => vec![("note", message.clone(), hint.clone())],
            Self::Unusable { message, hint } => vec![("warning", message.clone(), hint.clone())],
        }
    }
}
