//! `fieldgate ca export-root` and `fieldgate ca crl`.

use std::path::{Path, PathBuf};

use fieldgate::ca::{CaReply, CaRequest};
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::foreign;
use super::session::SessionArgs;
use crate::cli::output::write_all;
use crate::cli::{Failure, Output};

#[derive(Debug, clap::Args)]
pub(super) struct ExportRootArgs {
    /// File to write instead of standard output
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: Option<PathBuf>,

    /// Write all trusted roots as PEM text; this is the default
    #[arg(long, group = "form")]
    pem: bool,

    /// Write the current root alone, in DER
    #[arg(long, group = "form")]
    der: bool,

    /// Show the current root as a QR code for a camera
    #[arg(long, group = "form", conflicts_with = "file")]
    qr: bool,

    #[command(flatten)]
    session: SessionArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct CrlArgs {
    /// File to write instead of standard output
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: Option<PathBuf>,

    #[command(flatten)]
    session: SessionArgs,
}

pub(super) fn root(args: &ExportRootArgs) -> Result<(), Failure> {
    let text = ask(&args.session, &CaRequest::Trust {})?;
    if !args.der && !args.qr {
        write(args.file.as_ref(), text.as_bytes())?;
        return args.file.as_deref().map_or(Ok(()), say_how);
    }
    let first = CertificateDer::from_pem_slice(text.as_bytes()).map_err(Failure::runtime)?;
    if args.der {
        return write(args.file.as_ref(), &first);
    }
    let code = qr(&text).ok_or_else(|| {
        Failure::runtime(anyhow::Error::msg("the root does not fit into a QR code"))
            .hint("write it into a file, without `--qr`")
    })?;
    let mut output = Output::default();
    output.line(code);
    output.finish()
}

/// The first certificate of a text as something that a camera reads.
pub(in crate::cli) fn qr(text: &str) -> Option<String> {
    let end = text
        .match_indices("-----END CERTIFICATE-----\n")
        .next()
        .map_or(text.len(), |(at, end)| at + end.len());
    let code = QrCode::with_error_correction_level(text.get(..end)?, EcLevel::L).ok()?;
    Some(code.render::<Dense1x2>().build())
}

/// One line for each of those who have to trust it.
fn say_how(file: &Path) -> Result<(), Failure> {
    let (host, file) = (super::issue::host(), file.display());
    let mut output = Output::default();
    for line in [
        format!("mosquitto:  mosquitto_sub -h {host} -p 8883 --cafile {file} -t test"),
        format!("paho:       client.tls_set(\"{file}\"); client.connect(\"{host}\", 8883)"),
        format!(
            "ESP-IDF:    idf_component_register(… EMBED_TXTFILES {file}) and .broker.address.uri = \"mqtts://{host}:8883\", .broker.verification.certificate"
        ),
        format!("Windows:    certutil -user -addstore Root {file}"),
    ] {
        output.line(line);
    }
    output.finish()
}

pub(super) fn crl(args: &CrlArgs) -> Result<(), Failure> {
    let text = ask(&args.session, &CaRequest::Crl {})?;
    write(args.file.as_ref(), text.as_bytes())
}

fn ask(session: &SessionArgs, request: &CaRequest) -> Result<String, Failure> {
    match session.open_existing()?.ask(request)? {
        CaReply::Text(text) => Ok(text),
        reply => Err(foreign(reply)),
    }
}

fn write(file: Option<&PathBuf>, content: &[u8]) -> Result<(), Failure> {
    let Some(file) = file else {
        return write_all(content);
    };
    std::fs::write(file, content).map_err(|error| {
        let what = format!("cannot write `{}`", file.display());
        Failure::runtime(anyhow::Error::new(error).context(what))
    })
}
