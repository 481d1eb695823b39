//! `fieldgate ca issue`, `sign`, `renew`, `revoke` and `token`.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use fieldgate::auth::users::rfc3339;
use fieldgate::ca::{
    Attributes, CaReply, CaRequest, CommonName, DnsName, IssuedReply, Order, Purpose,
    RevocationReason, SecretKey, SystemChance, make_request, pkcs12,
};
use fieldgate::config;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use zeroize::Zeroizing;

use super::foreign;
use super::keys::read;
use super::session::{Session, SessionArgs, failed};
use super::show::{ask_status, print_one};
use crate::cli::failure::say;
use crate::cli::output::write_all;
use crate::cli::table::Table;
use crate::cli::user::attribute;
use crate::cli::{Exit, Failure, Output};

const DAY: u64 = 24 * 3600;

/// What a certificate is like.
#[derive(Debug, Default, clap::Args)]
struct OrderArgs {
    /// Attribute for rules, as NAME=VALUE; may be given several times
    #[arg(long = "attr", value_name = "NAME=VALUE", value_parser = attribute)]
    attributes: Vec<(String, String)>,

    /// Days for which the certificate is valid; a year by default
    #[arg(long, value_name = "N")]
    days: Option<u32>,

    /// Issue for a server instead of a client
    #[arg(long)]
    server: bool,

    /// DNS name to be in the certificate; may be given several times
    #[arg(long, value_name = "NAME")]
    dns: Vec<DnsName>,

    /// Address to be in the certificate; may be given several times
    #[arg(long, value_name = "ADDRESS")]
    ip: Vec<IpAddr>,
}

impl OrderArgs {
    fn order(&self, name: Option<CommonName>) -> Order {
        Order {
            name,
            purpose: if self.server {
                Purpose::Server
            } else {
                Purpose::Client
            },
            dns: self.dns.clone(),
            ip: self.ip.clone(),
            attributes: attributes(&self.attributes),
            lifetime: self.days.map(|days| u64::from(days) * DAY),
        }
    }
}

/// Where a key and its certificate go.
#[derive(Debug, Default, clap::Args)]
struct TargetArgs {
    /// Folder for `NAME.crt`, `NAME.key` and `ca.crt`; the current one by default
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath, conflicts_with = "p12")]
    out: Option<PathBuf>,

    /// One file with everything instead, as PKCS#12; its password is made and printed
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    p12: Option<PathBuf>,

    /// File with the password for the PKCS#12 file, in its first line
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, requires = "p12")]
    p12_password_file: Option<PathBuf>,

    /// Host name of the gateway in the lines that say how to use the files
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct IssueArgs {
    /// Name of the client, which is the common name of its certificate
    #[arg(value_name = "NAME")]
    name: CommonName,

    #[command(flatten)]
    order: OrderArgs,

    #[command(flatten)]
    target: TargetArgs,

    #[command(flatten)]
    session: SessionArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct SignArgs {
    /// File with the request (PKCS#10), as PEM text
    #[arg(value_name = "CSR", value_hint = clap::ValueHint::FilePath)]
    request: PathBuf,

    /// Name to issue for, where the request has none; otherwise it must be the same
    #[arg(long, value_name = "NAME")]
    name: Option<CommonName>,

    #[command(flatten)]
    order: OrderArgs,

    /// File for the certificate with its issuers, instead of standard output
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    out: Option<PathBuf>,

    #[command(flatten)]
    session: SessionArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct RenewArgs {
    /// Name, or serial number in hexadecimal digits
    #[arg(value_name = "NAME|SERIAL")]
    which: String,

    /// Days for which the new certificate is valid; as many as before by default
    #[arg(long, value_name = "N")]
    days: Option<u32>,

    /// Make a new key; without it the certificate is for the key that the client has
    #[arg(long)]
    new_key: bool,

    /// File with a request of the client for a new key
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, conflicts_with = "new_key")]
    csr: Option<PathBuf>,

    #[command(flatten)]
    target: TargetArgs,

    #[command(flatten)]
    session: SessionArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct RevokeArgs {
    /// Name, or serial number in hexadecimal digits
    #[arg(value_name = "NAME|SERIAL")]
    which: String,

    /// Why
    #[arg(long, value_name = "REASON", default_value = "unspecified", value_parser = reason)]
    reason: RevocationReason,

    #[command(flatten)]
    session: SessionArgs,

    /// Print what was revoked as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct TokenArgs {
    /// Name of the client that may enrol
    #[arg(value_name = "NAME", required_unless_present = "list")]
    name: Option<CommonName>,

    /// List the tokens that wait for their use; what makes them good is shown only once
    #[arg(long, conflicts_with_all = ["name", "remove", "attributes", "days"])]
    list: bool,

    /// Withdraw the tokens of the name, instead of making one
    #[arg(long, conflicts_with_all = ["attributes", "days"])]
    remove: bool,

    /// For how long the token is good, such as 1h
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    expires: String,

    /// Attribute for rules, as NAME=VALUE; may be given several times
    #[arg(long = "attr", value_name = "NAME=VALUE", value_parser = attribute)]
    attributes: Vec<(String, String)>,

    /// Days for which the certificate is valid; a year by default
    #[arg(long, value_name = "N")]
    days: Option<u32>,

    #[command(flatten)]
    session: SessionArgs,
}

pub(super) fn issue(args: &IssueArgs) -> Result<(), Failure> {
    let files = Targets::new(&args.target, args.name.as_str())?;
    files.check_free(true)?;
    let mut session = args.session.open_existing()?;
    let key = make_key(&mut session)?;
    let request = make_request(args.name.as_str(), &[], &[], &key).map_err(failed)?;
    let order = args.order.order(Some(args.name.clone()));
    let issued = issued(session.ask(&CaRequest::Sign { request, order })?)?;
    files.write(&issued, Some(&key))
}

pub(super) fn sign(args: &SignArgs) -> Result<(), Failure> {
    let request = read(&args.request)?.to_string();
    if let Some(file) = &args.out {
        check_free(file)?;
    }
    let order = args.order.order(args.name.clone());
    let mut session = args.session.open_existing()?;
    let issued = issued(session.ask(&CaRequest::Sign { request, order })?)?;
    match &args.out {
        None => write_all(issued.chain.as_bytes()),
        Some(file) => {
            put(file, issued.chain.as_bytes(), 0o644)?;
            let mut output = Output::default();
            print_one(&issued.report, &mut output);
            output.line(format!("Wrote `{}`", file.display()));
            output.finish()
        }
    }
}

pub(super) fn renew(args: &RenewArgs) -> Result<(), Failure> {
    if args.target.p12.is_some() && !args.new_key {
        let message = "error: a PKCS#12 file holds a key, and that of the client is not here\n";
        return Err(Failure::rendered(Exit::Usage, message)
            .hint("make a new key with `--new-key`, or leave `--p12` out"));
    }
    let mut session = args.session.open_existing()?;
    let name = name_of(&mut session, &args.which)?;
    let files = Targets::new(&args.target, &name)?;
    files.check_free(args.new_key)?;
    let key = args.new_key.then(|| make_key(&mut session)).transpose()?;
    let request = match (&key, &args.csr) {
        (Some(key), _) => Some(make_request(&name, &[], &[], key).map_err(failed)?),
        (None, Some(file)) => Some(read(file)?.to_string()),
        (None, None) => None,
    };
    let reply = session.ask(&CaRequest::Renew {
        which: args.which.clone(),
        request,
        lifetime: args.days.map(|days| u64::from(days) * DAY),
    })?;
    files.write(&*issued(reply)?, key.as_ref())
}

pub(super) fn revoke(args: &RevokeArgs) -> Result<(), Failure> {
    let reply = args.session.open_existing()?.ask(&CaRequest::Revoke {
        which: args.which.clone(),
        reason: args.reason,
    })?;
    let CaReply::Certificates { certificates, .. } = reply else {
        return Err(foreign(reply));
    };
    let mut output = Output::default();
    if args.json {
        output.json(&certificates)?;
        return output.finish();
    }
    if certificates.is_empty() {
        output.line("No certificate has that name; its enrolment tokens are withdrawn");
    }
    for report in &certificates {
        output.line(format!("Revoked {} of `{}`", report.serial, report.name));
    }
    output.finish()
}

pub(super) fn token(args: &TokenArgs) -> Result<(), Failure> {
    match &args.name {
        Some(name) if args.remove => withdraw(args, name),
        Some(name) => make_token(args, name),
        None => list_tokens(args),
    }
}

fn list_tokens(args: &TokenArgs) -> Result<(), Failure> {
    let reply = args.session.open_existing()?.ask(&CaRequest::Tokens {})?;
    let CaReply::Tokens(tokens) = reply else {
        return Err(foreign(reply));
    };
    let mut output = Output::default();
    let mut table = Table::new(["NAME", "MADE", "GOOD UNTIL"]);
    for token in tokens {
        table.row([
            token.name,
            rfc3339(token.created_at),
            rfc3339(token.expires_at),
        ]);
    }
    table.print(&mut output);
    output.finish()
}

fn withdraw(args: &TokenArgs, name: &CommonName) -> Result<(), Failure> {
    let name = name.clone();
    let mut session = args.session.open_existing()?;
    match session.ask(&CaRequest::WithdrawTokens { name })? {
        CaReply::Withdrawn(0) => Err(Failure::runtime(anyhow::Error::msg(
            "no token of that name waits for its use",
        ))
        .hint("`fieldgate ca token --list` shows all of them")),
        CaReply::Withdrawn(count) => {
            let mut output = Output::default();
            output.line(format!("Withdrew {count}"));
            output.finish()
        }
        reply => Err(foreign(reply)),
    }
}

fn make_token(args: &TokenArgs, name: &CommonName) -> Result<(), Failure> {
    let good_for = config::parse_duration(&args.expires).ok_or_else(|| {
        let message = format!("error: `{}` is no duration\n", args.expires);
        Failure::rendered(Exit::Usage, message).hint("a duration is written as 1h or 30m")
    })?;
    let reply = args.session.open_existing()?.ask(&CaRequest::Token {
        order: Order {
            name: Some(name.clone()),
            attributes: attributes(&args.attributes),
            lifetime: args.days.map(|days| u64::from(days) * DAY),
            ..Order::default()
        },
        good_for: good_for.as_secs(),
    })?;
    let CaReply::Token {
        token,
        expires_at,
        is_provisional,
    } = reply
    else {
        return Err(foreign(reply));
    };
    say(&format!(
        "good for one enrolment until {}\n",
        rfc3339(expires_at)
    ));
    if is_provisional {
        say("warning: the clock is behind, so the token may end as soon as the clock is set\n");
    }
    let mut line = Zeroizing::new(Vec::with_capacity(token.0.len() + 1));
    line.extend_from_slice(token.0.as_bytes());
    line.push(b'\n');
    write_all(&line)
}

/// A key of the kind that the authority has.
fn make_key(session: &mut Session) -> Result<SecretKey, Failure> {
    let algorithm = ask_status(session)?.algorithm;
    SecretKey::generate(algorithm, &SystemChance::default()).map_err(failed)
}

/// The name that a name or a serial number stands for.
fn name_of(session: &mut Session, which: &str) -> Result<String, Failure> {
    let which = which.to_owned();
    let reply = session.ask(&CaRequest::Show { which })?;
    let CaReply::Shown(shown) = reply else {
        return Err(foreign(reply));
    };
    let name = shown.into_iter().next().map(|(report, _)| report.name);
    Ok(name.unwrap_or_default())
}

fn issued(reply: CaReply) -> Result<Box<IssuedReply>, Failure> {
    match reply {
        CaReply::Issued(issued) => Ok(issued),
        reply => Err(foreign(reply)),
    }
}

/// The files of a client.
struct Targets<'a> {
    args: &'a TargetArgs,
    folder: PathBuf,
    stem: String,
}

impl<'a> Targets<'a> {
    fn new(args: &'a TargetArgs, name: &str) -> Result<Self, Failure> {
        let stem: String = name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') {
                    c
                } else {
                    '_'
                }
            })
            .collect();
        let folder = args.out.clone().unwrap_or_default();
        if !folder.as_os_str().is_empty() {
            std::fs::create_dir_all(&folder).map_err(|error| {
                let what = format!("cannot make `{}`", folder.display());
                Failure::runtime(anyhow::Error::new(error).context(what))
            })?;
        }
        Ok(Self {
            args,
            folder,
            // A name of dots alone leads elsewhere, and `ca.crt` is what the client is to trust.
            stem: if stem.chars().all(|c| c == '.') {
                format!("client{stem}")
            } else if stem.eq_ignore_ascii_case("ca") {
                format!("client-{stem}")
            } else {
                stem
            },
        })
    }

    fn file(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{ending}", self.stem))
    }

    /// Before anything is issued: no key is written over, and what is issued can be written.
    fn check_free(&self, with_key: bool) -> Result<(), Failure> {
        let files = match &self.args.p12 {
            Some(file) => {
                // A password that cannot be read is known before, too.
                self.password()?;
                vec![file.clone()]
            }
            None if with_key => vec![self.file("key"), self.file("crt")],
            None => Vec::new(),
        };
        files.iter().try_for_each(|file| check_free(file))
    }

    fn write(&self, issued: &IssuedReply, key: Option<&SecretKey>) -> Result<(), Failure> {
        let mut output = Output::default();
        print_one(&issued.report, &mut output);
        output.line("");
        match (&self.args.p12, key) {
            (Some(file), Some(key)) => {
                let password = self.password()?;
                let chain = CertificateDer::pem_slice_iter(issued.chain.as_bytes())
                    .map(|der| der.map(|der| der.to_vec()))
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(Failure::runtime)?;
                let chance = SystemChance::default();
                let name = &issued.report.name;
                let packed =
                    pkcs12::encode(name, key, &chain, &password, &chance).map_err(failed)?;
                put(file, &packed, 0o600)?;
                output.line(format!("Wrote `{}`", file.display()));
                if self.args.p12_password_file.is_none() {
                    output.line(format!("Its password: {}", password.as_str()));
                }
            }
            _ => {
                if let Some(key) = key {
                    put(&self.file("key"), key.pem().as_bytes(), 0o600)?;
                    output.line(format!(
                        "Wrote `{}`, for its owner alone",
                        self.file("key").display()
                    ));
                }
                put(&self.file("crt"), issued.chain.as_bytes(), 0o644)?;
                let root = self.folder.join("ca.crt");
                put(&root, issued.trust.as_bytes(), 0o644)?;
                output.line(format!(
                    "Wrote `{}` and `{}`",
                    self.file("crt").display(),
                    root.display()
                ));
            }
        }
        if issued.report.provisional {
            say(
                "note: the clock is behind, so the certificate is provisional: renew it when the clock is set\n",
            );
        }
        if issued.report.purpose == Purpose::Client.word() {
            self.say_how(&mut output);
        }
        output.finish()
    }

    fn password(&self) -> Result<Zeroizing<String>, Failure> {
        let Some(file) = &self.args.p12_password_file else {
            return pkcs12::make_password(&SystemChance::default()).map_err(failed);
        };
        let text = read(file)?;
        let line = text.lines().next().unwrap_or_default();
        if line.is_empty() {
            let what = format!("`{}` has no password in its first line", file.display());
            return Err(Failure::runtime(anyhow::Error::msg(what)));
        }
        Ok(Zeroizing::new(line.to_owned()))
    }

    /// One line for each of those who have to use it.
    fn say_how(&self, output: &mut Output) {
        let host = self.args.host.clone().unwrap_or_else(host);
        output.line("");
        if let Some(file) = &self.args.p12 {
            let file = file.display();
            output.line(format!("Windows:    certutil -user -importpfx {file}"));
            output.line(format!(
                "PEM:        openssl pkcs12 -in {file} -nodes -out client.pem"
            ));
            return;
        }
        let (crt, key, ca) = (
            self.file("crt"),
            self.file("key"),
            self.folder.join("ca.crt"),
        );
        let (crt, key, ca) = (crt.display(), key.display(), ca.display());
        output.line(format!("mosquitto:  mosquitto_sub -h {host} -p 8883 --cafile {ca} --cert {crt} --key {key} -t test"));
        output.line(format!("paho:       client.tls_set(\"{ca}\", \"{crt}\", \"{key}\"); client.connect(\"{host}\", 8883)"));
        output.line(format!("ESP-IDF:    idf_component_register(… EMBED_TXTFILES {ca} {crt} {key}) and .broker.address.uri = \"mqtts://{host}:8883\", .broker.verification.certificate, .credentials.authentication.certificate, .key"));
        output.line(format!("Windows:    certutil -user -addstore Root {ca}"));
    }
}

pub(super) fn host() -> String {
    let name = nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok());
    name.map_or_else(
        || "gateway.local".to_owned(),
        |name| format!("{name}.local"),
    )
}

/// Refuses a file that is there, or that cannot be made.
fn check_free(file: &Path) -> Result<(), Failure> {
    let fault = if file.symlink_metadata().is_ok() {
        "is there already"
    } else if file
        .parent()
        .is_some_and(|folder| !folder.as_os_str().is_empty() && !folder.is_dir())
    {
        "is in a folder that is not there"
    } else {
        return Ok(());
    };
    let what = format!("`{}` {fault}", file.display());
    Err(Failure::runtime(anyhow::Error::msg(what))
        .hint("move it away, or name another place with `--out`"))
}

/// Writes a file anew; a private one with its mode from the start, and never over another.
fn put(file: &Path, content: &[u8], mode: u32) -> Result<(), Failure> {
    let failure = |error: std::io::Error| {
        let what = format!("cannot write `{}`", file.display());
        Failure::runtime(anyhow::Error::new(error).context(what))
    };
    let is_private = mode & 0o077 == 0;
    let mut options = OpenOptions::new();
    options.write(true).mode(mode);
    if is_private {
        options.create_new(true);
    } else {
        options.create(true).truncate(true);
    }
    let mut opened = options.open(file).map_err(failure)?;
    opened
        .write_all(content)
        .and_then(|()| opened.sync_all())
        .map_err(failure)
}

fn attributes(pairs: &[(String, String)]) -> Attributes {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
        .collect()
}

fn reason(text: &str) -> Result<RevocationReason, String> {
    let found = RevocationReason::ALL
        .into_iter()
        .find(|reason| reason.word() == text);
    found.ok_or_else(|| {
        let words: Vec<_> = RevocationReason::ALL
            .iter()
            .map(|reason| reason.word())
            .collect();
        format!("reasons are {}", words.join(", "))
    })
}
