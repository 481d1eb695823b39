//! `fieldgate export`: the configuration for another broker.

use fieldgate::import::{ExportOptions, export_aio};

use super::config_file::ConfigArgs;
use super::failure::say;
use super::table::printable;
use super::{Failure, Output};

/// Translate the configuration for another broker
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Aio(AioArgs),
}

/// Print the resources of the cluster broker of Azure IoT Operations that say the same
///
/// What has no equivalent goes to standard error. It is left out, and so is what it narrows: a rule that allows QoS 1 only is
/// not one that allows everything. `fieldgate import aio` reads the result back.
#[derive(Debug, clap::Args)]
struct AioArgs {
    #[command(flatten)]
    config: ConfigArgs,

    /// Namespace of the cluster broker
    #[arg(long, value_name = "NAME", default_value = "azure-iot-operations")]
    namespace: String,

    /// Issuer of the certificates of ports with mode = "Automatic"
    #[arg(
        long,
        value_name = "NAME",
        default_value = "azure-iot-operations-aio-certificate-issuer"
    )]
    issuer: String,

    /// Kind of that issuer
    #[arg(long, value_enum, default_value_t = IssuerKind::ClusterIssuer)]
    issuer_kind: IssuerKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum IssuerKind {
    /// Of the whole cluster
    #[value(name = "ClusterIssuer")]
    ClusterIssuer,
    /// Of the namespace
    #[value(name = "Issuer")]
    Issuer,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let What::Aio(args) = &args.what;
    let loaded = args.config.load()?;
    let options = ExportOptions {
        namespace: args.namespace.clone(),
        issuer: args.issuer.clone(),
        is_of_cluster: args.issuer_kind == IssuerKind::ClusterIssuer,
    };
    let export = export_aio(&loaded.settings, &options);
    for note in &export.notes {
        let lines = note.to_string();
        let lines = lines.lines().map(|line| printable(line) + "\n");
        say(&lines.collect::<String>());
    }
    let mut output = Output::default();
    output.text(&export.text);
    output.finish()
}
