//! `fieldgate import`: configurations of other brokers as one of ours.

use std::path::PathBuf;

use fieldgate::config::{self, ResourceName};
use fieldgate::import::{self, Import, ImportFault, MosquittoOptions};

use super::table::printable;
use super::{Exit, Failure, Output, failure};

/// Translate the configuration of another broker
///
/// The translation goes to standard output and what became of each line to standard error, so that
/// `fieldgate import mosquitto mosquitto.conf > gateway.toml` writes the one and shows the other. Nothing else is changed.
/// What has no equivalent is left out and told; where that concerns who may come in, the result is closed rather than open.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Mosquitto(MosquittoArgs),
    MosquittoAcl(AclArgs),
}

/// Translate a mosquitto.conf, with the files that it includes and its rules
///
/// Users are not part of a configuration: the report ends with the command that imports them. docs/from-mosquitto.md lists
/// what becomes of each directive.
#[derive(Debug, clap::Args)]
struct MosquittoArgs {
    /// The file, mostly /etc/mosquitto/mosquitto.conf
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,

    /// The file of users, if it is not where the configuration says
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    password_file: Option<PathBuf>,

    /// The file of rules, if it is not where the configuration says
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    acl_file: Option<PathBuf>,
}

/// Translate an acl_file of mosquitto into rules
#[derive(Debug, clap::Args)]
struct AclArgs {
    /// The file
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,

    /// Name of the authorization, which ports refer to
    #[arg(long, default_value = "mosquitto", value_parser = resource_name)]
    name: ResourceName,
}

fn resource_name(text: &str) -> Result<ResourceName, String> {
    ResourceName::try_from(text).map_err(|fault| format!("the name {fault}"))
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.what {
        What::Mosquitto(args) => {
            let options = MosquittoOptions {
                password_file: args.password_file.clone(),
                acl_file: args.acl_file.clone(),
            };
            let import = import::mosquitto(&args.file, &options).map_err(failed)?;
            let refused = config::parse(&import.text).err();
            print(&import)?;
            match refused {
                None => Ok(()),
                Some(report) => Err(Failure::rendered(
                    Exit::Runtime,
                    report.render(failure::paint()),
                )
                .hint("the translation has to be corrected by hand before it can be used")),
            }
        }
        What::MosquittoAcl(args) => {
            print(&import::mosquitto_acl(&args.file, &args.name).map_err(failed)?)
        }
    }
}

fn print(import: &Import) -> Result<(), Failure> {
    say(&import.report.render());
    let mut output = Output::default();
    output.text(&import.text);
    output.finish()
}

/// The report; it quotes a file that anybody may have written.
fn say(report: &str) {
    let lines = report.lines().map(|line| printable(line) + "\n");
    failure::say(&lines.collect::<String>());
}

fn failed(fault: ImportFault) -> Failure {
    match fault {
        ImportFault::Foreign { ref report, .. } => {
            say(&report.render());
            Failure::rendered(Exit::Config, format!("error: {fault}"))
        }
        ImportFault::Unreadable { .. } => Failure::runtime(fault),
    }
}
