//! `fieldgate ca status`, `list` and `show`.

use fieldgate::auth::users::rfc3339;
use fieldgate::ca::{
    AuthorityCertificate, CaReply, CaRequest, CaStatus, CertificateReport, ClockTrust,
};

use super::foreign;
use super::session::{Session, SessionArgs};
use crate::cli::table::{Table, printable};
use crate::cli::{Failure, Output};

#[derive(Debug, clap::Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    session: SessionArgs,

    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// List what is revoked or has ended as well
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    session: SessionArgs,

    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// Name, or serial number in hexadecimal digits
    #[arg(value_name = "NAME|SERIAL")]
    which: String,

    /// Print the certificate alone, as PEM text
    #[arg(long, conflicts_with = "json")]
    pem: bool,

    #[command(flatten)]
    session: SessionArgs,

    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn status(args: &StatusArgs) -> Result<(), Failure> {
    let status = ask_status(&mut args.session.open_existing()?)?;
    let mut output = Output::default();
    if args.json {
        output.json(&status)?;
    } else {
        print_status(&status, &mut output);
    }
    output.finish()
}

pub(super) fn ask_status(session: &mut Session) -> Result<Box<CaStatus>, Failure> {
    match session.ask(&CaRequest::Status {})? {
        CaReply::Status(status) => Ok(status),
        reply => Err(foreign(reply)),
    }
}

fn print_status(status: &CaStatus, output: &mut Output) {
    let mut line = |name: &str, value: &str| {
        output.line(format!("{name:<12} {}", printable(value)).trim_end());
    };
    line("authority", &format!("{} ({})", status.name, status.id));
    line("keys", status.algorithm.word());
    line("folder", &status.folder.display().to_string());
    line("trust", &status.trust_file.display().to_string());
    line(
        "issued",
        &format!(
            "{} certificates, {} revoked, {} provisional",
            status.issued, status.revoked, status.provisional
        ),
    );
    line(
        "time",
        &format!("{}, {}", rfc3339(status.now), trust(status.clock)),
    );
    if let Some(next) = &status.next {
        let when = match next.at {
            0 => "when the clock is set".to_owned(),
            at => rfc3339(at),
        };
        line("next", &format!("{when}: {}", next.what));
    }
    for (index, problem) in status.problems.iter().enumerate() {
        line(if index == 0 { "problems" } else { "" }, problem);
    }
    output.line("");
    let mut table = Table::new(["ROLE", "NUMBER", "STATE", "DAYS", "UNTIL", "KEY", "SUBJECT"]);
    for certificate in &status.certificates {
        table.row([
            certificate.role.word().to_owned(),
            certificate.number.to_string(),
            state_of(certificate, status.now),
            certificate.days_left.to_string(),
            rfc3339(certificate.validity.not_after),
            certificate.key.word().to_owned(),
            certificate.subject.clone(),
        ]);
    }
    table.print(output);
    if status.ports.is_empty() {
        return;
    }
    output.line("");
    let mut table = Table::new(["PORT", "DAYS", "UNTIL", "RENEWED", "NAMES"]);
    for port in &status.ports {
        table.row([
            port.port.clone(),
            port.days_left.to_string(),
            rfc3339(port.validity.not_after),
            port.renewal.map(rfc3339).unwrap_or_default(),
            port.names.join(" "),
        ]);
    }
    table.print(output);
}

fn trust(clock: ClockTrust) -> &'static str {
    match clock {
        ClockTrust::Behind => "the least that it can be: the clock is behind",
        ClockTrust::New => {
            "believed for now: the clock was set, or the gateway has started, not long ago"
        }
        ClockTrust::Settled => "believed",
    }
}

fn state_of(certificate: &AuthorityCertificate, now: u64) -> String {
    let mut words = Vec::new();
    if certificate.validity.not_after < now {
        words.push("expired".to_owned());
    } else if let Some(since) = certificate.since {
        words.push(format!("from {}", rfc3339(since)));
    } else if certificate.is_current {
        words.push("current".to_owned());
    } else {
        words.push("former".to_owned());
    }
    if certificate.is_provisional {
        words.push("provisional".to_owned());
    }
    if certificate.is_imported {
        words.push("imported".to_owned());
    }
    words.join(", ")
}

pub(super) fn list(args: &ListArgs) -> Result<(), Failure> {
    let mut session = args.session.open_existing()?;
    let mut found: Vec<CertificateReport> = Vec::new();
    loop {
        let skip = found.len();
        let reply = session.ask(&CaRequest::List { skip })?;
        let CaReply::Certificates {
            certificates,
            total,
        } = reply
        else {
            return Err(foreign(reply));
        };
        let is_last = certificates.is_empty();
        found.extend(certificates);
        if is_last || found.len() >= total {
            break;
        }
    }
    if !args.all {
        found.retain(|report| report.revoked_at.is_none() && report.days_left >= 0);
    }
    let mut output = Output::default();
    if args.json {
        output.json(&found)?;
        return output.finish();
    }
    let mut table = Table::new([
        "NAME",
        "PURPOSE",
        "STATE",
        "DAYS",
        "UNTIL",
        "ATTRIBUTES",
        "SERIAL",
    ]);
    for report in &found {
        table.row([
            report.name.clone(),
            report.purpose.clone(),
            state(report),
            report.days_left.to_string(),
            rfc3339(report.not_after),
            attributes(report).join(" "),
            report.serial.clone(),
        ]);
    }
    table.print(&mut output);
    output.finish()
}

fn state(report: &CertificateReport) -> String {
    match (&report.reason, report.provisional) {
        (Some(reason), _) => format!("revoked: {reason}"),
        (None, _) if report.days_left < 0 => "expired".to_owned(),
        (None, true) => "provisional".to_owned(),
        (None, false) => "valid".to_owned(),
    }
}

fn attributes(report: &CertificateReport) -> Vec<String> {
    let attributes = report.attributes.iter();
    attributes
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

pub(super) fn show(args: &ShowArgs) -> Result<(), Failure> {
    let which = args.which.clone();
    let reply = args
        .session
        .open_existing()?
        .ask(&CaRequest::Show { which })?;
    let CaReply::Shown(shown) = reply else {
        return Err(foreign(reply));
    };
    let mut output = Output::default();
    if args.json {
        output.json(&shown.iter().map(|(report, _)| report).collect::<Vec<_>>())?;
        return output.finish();
    }
    for (index, (report, pem)) in shown.iter().enumerate() {
        if args.pem {
            output.text(pem);
            continue;
        }
        if index > 0 {
            output.line("");
        }
        print_one(report, &mut output);
    }
    output.finish()
}

pub(super) fn print_one(report: &CertificateReport, output: &mut Output) {
    let mut line = |name: &str, value: &str| {
        output.line(format!("{name:<11} {}", printable(value)).trim_end());
    };
    line("name", &report.name);
    line("serial", &report.serial);
    line("purpose", &report.purpose);
    line("state", &state(report));
    line("valid from", &rfc3339(report.not_before));
    line(
        "until",
        &format!("{} ({} days)", rfc3339(report.not_after), report.days_left),
    );
    line(
        "issued",
        &format!("{}, {}", rfc3339(report.issued_at), report.origin),
    );
    if let Some(at) = report.revoked_at {
        line("revoked", &rfc3339(at));
    }
    for (index, attribute) in attributes(report).iter().enumerate() {
        line(if index == 0 { "attributes" } else { "" }, attribute);
    }
}
