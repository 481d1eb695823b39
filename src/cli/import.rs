//! `fieldgate import`: configurations of other brokers as one of ours, and ours from the boot partition.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use fieldgate::config::{self, ResourceName};
use fieldgate::import::{self, AioOptions, Import, ImportFault, ImportedFile, MosquittoOptions};

use super::boot;
use super::table::printable;
use super::{Exit, Failure, Output, failure};

/// Translate the configuration of another broker, or take one from the boot partition
///
/// A translation goes to standard output and what became of each line to standard error, so that
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
    Aio(AioArgs),
    Boot(boot::Args),
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

/// Translate resources of the cluster broker of Azure IoT Operations
///
/// Takes Broker, BrokerListener, BrokerAuthentication and BrokerAuthorization of every version, as YAML or JSON, and with
/// them the Secrets and ConfigMaps that they name. Every field is in the result or in the report. A key that does not exist
/// makes the whole translation fail, as it does in the cluster. docs/from-azure-iot-operations.md lists what becomes of each
/// field.
#[derive(Debug, clap::Args)]
struct AioArgs {
    /// Files with resources; several documents in one file are fine
    #[arg(value_name = "FILE", required = true, value_hint = clap::ValueHint::FilePath)]
    files: Vec<PathBuf>,

    /// Folder for the certificates, keys and secrets that Secrets and ConfigMaps in the files hold
    ///
    /// Without it nothing is written, and the report says how each file is made.
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    out_dir: Option<PathBuf>,

    /// Folder of these files on the gateway, if it is another one
    ///
    /// Default: the folder of --out-dir, else /etc/fieldgate/aio.
    #[arg(long, value_name = "DIR")]
    gateway_dir: Option<PathBuf>,
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
        What::Aio(args) => aio(args),
        What::Boot(args) => boot::run(args),
    }
}

fn aio(args: &AioArgs) -> Result<(), Failure> {
    let out_dir = args.out_dir.as_deref().map(|folder| {
        let absolute = std::path::absolute(folder);
        absolute.unwrap_or_else(|_| folder.to_owned())
    });
    let folder = args.gateway_dir.clone().or_else(|| out_dir.clone());
    if let Some(folder) = folder.as_ref().filter(|folder| !folder.is_absolute()) {
        let message = format!(
            "the folder on the gateway `{}` does not begin with /",
            folder.display()
        );
        return Err(Failure::rendered(Exit::Usage, format!("error: {message}")));
    }
    let options = AioOptions {
        folder,
        writes_files: out_dir.is_some(),
        cluster: None,
    };
    let translated = import::aio(&args.files, &options).map_err(failed)?;
    if let Some(folder) = &out_dir {
        fs::create_dir_all(folder).map_err(|error| unwritten(folder, error))?;
        for file in &translated.files {
            let path = folder.join(&file.name);
            write_file(&path, file).map_err(|error| unwritten(&path, error))?;
        }
    }
    print(&translated.import)
}

/// Puts a file into its place whole; what was there under this name is replaced.
fn write_file(path: &Path, file: &ImportedFile) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mode = if file.is_secret { 0o600 } else { 0o644 };
    let mut opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&new)?;
    opened.write_all(&file.content)?;
    opened.sync_all()?;
    fs::rename(&new, path)
}

fn unwritten(path: &Path, error: io::Error) -> Failure {
    Failure::runtime(
        anyhow::Error::new(error).context(format!("cannot write `{}`", path.display())),
    )
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
        ImportFault::NotUnderstood { ref report } => {
            say(&report.render());
            Failure::rendered(Exit::Config, format!("error: {fault}"))
                .hint("correct the fields that are \"not understood\"; a cluster refuses them, too")
        }
        ImportFault::Foreign { ref report, .. } | ImportFault::NoResources { ref report, .. } => {
            say(&report.render());
            Failure::rendered(Exit::Config, format!("error: {fault}"))
        }
        ImportFault::Unreadable { .. } => Failure::runtime(fault),
    }
}
