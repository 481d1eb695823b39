//! `fieldgate ca init`, `import`, `root-key`, `rollover` and `seal`.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use fieldgate::ca::{CaReply, CaRequest, DnsName, KeyAlgorithm, Plan, SecretText, export_root_key};
use fieldgate::config::Settings;
use zeroize::Zeroizing;

use super::foreign;
use super::session::{Session, SessionArgs, failed, sealing};
use super::show::ask_status;
use crate::cli::failure::say;
use crate::cli::{Exit, Failure, Output};

/// Bytes of a file with certificates or a key that are read at most.
const FILE_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, clap::Args)]
pub(super) struct InitArgs {
    /// Kind of all keys
    ///
    /// RSA takes seconds to make, on small boards minutes. Default: `ca.algorithm` of the configuration, else ec-p256.
    #[arg(long, value_enum)]
    algorithm: Option<Algorithm>,

    /// Issue DNS names of this domain only, and those below it; may be given several times
    ///
    /// Some clients on microcontrollers refuse every authority that is constrained.
    #[arg(long = "permit-dns", value_name = "DOMAIN")]
    permit_dns: Vec<DnsName>,

    /// Issue addresses of this network only, such as 10.0.0.0/8; may be given several times
    #[arg(long = "permit-ip", value_name = "NETWORK")]
    permit_ip: Vec<String>,

    /// Name of the gateway, which goes into the name of its authority
    ///
    /// Default: `gateway.name` of the configuration.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    #[command(flatten)]
    session: SessionArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Algorithm {
    /// ECDSA on P-256
    #[value(name = "ec-p256")]
    EcP256,
    /// ECDSA on P-384
    #[value(name = "ec-p384")]
    EcP384,
    /// Ed25519, which some clients do not know
    Ed25519,
    /// RSA with 3072 bits
    Rsa3072,
    /// RSA with 4096 bits
    Rsa4096,
}

impl From<Algorithm> for KeyAlgorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::EcP256 => Self::EcP256,
            Algorithm::EcP384 => Self::EcP384,
            Algorithm::Ed25519 => Self::Ed25519,
            Algorithm::Rsa3072 => Self::Rsa3072,
            Algorithm::Rsa4096 => Self::Rsa4096,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// File with the intermediate and all its issuers up to the root, as PEM text
    #[arg(value_name = "CHAIN", value_hint = clap::ValueHint::FilePath)]
    chain: PathBuf,

    /// File with the key of the intermediate, as PEM text
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    key: PathBuf,

    /// Name of the gateway, which goes into the name of its authority
    ///
    /// Default: `gateway.name` of the configuration.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    #[command(flatten)]
    session: SessionArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct RootKeyArgs {
    #[command(subcommand)]
    what: RootKey,
}

#[derive(Debug, clap::Subcommand)]
enum RootKey {
    /// Write the key of the newest root into a file that only its owner may read
    ///
    /// Keep it where no network is. Issuing goes on without it; a new issuer, every few years, needs it.
    Export(RootKeyFileArgs),
    /// Remove the keys of all roots from this device
    Remove(RemoveArgs),
    /// Bring the key of a root back to this device
    Restore(RootKeyFileArgs),
}

#[derive(Debug, clap::Args)]
struct RootKeyFileArgs {
    /// The file
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,

    #[command(flatten)]
    session: SessionArgs,
}

#[derive(Debug, clap::Args)]
struct RemoveArgs {
    /// Confirm that the key was exported: without it no issuer can be made any more
    #[arg(long)]
    exported: bool,

    #[command(flatten)]
    session: SessionArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct PlainArgs {
    #[command(flatten)]
    session: SessionArgs,
}

impl InitArgs {
    /// What is said by options, and the rest by the configuration.
    fn plan(&self) -> Result<Plan, Failure> {
        let settings = match (&self.name, self.algorithm) {
            // Everything that has to be known is known.
            (Some(_), Some(_)) => Settings::default(),
            // A name alone is enough where the configuration cannot be read.
            (Some(_), None) => self.session.settings().unwrap_or_default(),
            (None, _) => self.session.settings()?,
        };
        let mut plan = Plan::of(&settings);
        if let Some(name) = &self.name {
            plan.name.clone_from(name);
        }
        if let Some(algorithm) = self.algorithm {
            plan.algorithm = algorithm.into();
        }
        if !self.permit_dns.is_empty() {
            plan.constraints.dns.clone_from(&self.permit_dns);
        }
        if !self.permit_ip.is_empty() {
            plan.constraints.ip.clone_from(&self.permit_ip);
        }
        Ok(plan)
    }
}

pub(super) fn init(args: &InitArgs) -> Result<(), Failure> {
    let plan = args.plan()?;
    let mut session = args.session.open()?;
    if matches!(
        plan.algorithm,
        KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096
    ) {
        say("making RSA keys, which takes a while\n");
    }
    let reply = session.ask(&CaRequest::Init {
        name: plan.name,
        algorithm: plan.algorithm,
        constraints: plan.constraints,
    })?;
    if reply != CaReply::Done {
        return Err(foreign(reply));
    }
    let status = ask_status(&mut session)?;
    let mut output = Output::default();
    output.line(format!(
        "Made the certificate authority `{} ({})`",
        status.name, status.id
    ));
    output.line(format!(
        "Clients have to trust `{}`",
        status.trust_file.display()
    ));
    if let Some(root) = status.certificates.first() {
        output.line(format!("SHA-256 of the root: {}", root.fingerprint));
        let how = root.key.word();
        output.line(format!(
            "Its key is kept on this device ({how}); `fieldgate ca root-key` takes it off"
        ));
    }
    output.finish()
}

pub(super) fn import(args: &ImportArgs) -> Result<(), Failure> {
    let name = match &args.name {
        Some(name) => name.clone(),
        None => args.session.settings()?.gateway.name.to_string(),
    };
    let (chain, key) = (read(&args.chain)?, read(&args.key)?);
    let reply = args.session.open()?.ask(&CaRequest::Import {
        chain: chain.to_string(),
        chain_file: args.chain.clone(),
        key: SecretText(key),
        key_file: args.key.clone(),
        name,
    })?;
    done(reply, "The imported intermediate issues from here on")
}

pub(super) fn root_key(args: &RootKeyArgs) -> Result<(), Failure> {
    match &args.what {
        RootKey::Export(args) => export(args),
        RootKey::Remove(args) => remove(args),
        RootKey::Restore(args) => {
            let reply = args
                .session
                .open_existing()?
                .ask(&CaRequest::RestoreRootKey {
                    key: SecretText(read(&args.file)?),
                    file: args.file.clone(),
                })?;
            done(reply, "The key of the root is on this device again")
        }
    }
}

/// Read from the files, whether the gateway is running or not: the key goes over no socket.
fn export(args: &RootKeyFileArgs) -> Result<(), Failure> {
    let folder = args.session.state_folder();
    let key = export_root_key(&folder, &sealing(&folder)).map_err(failed)?;
    let failure = |error: std::io::Error| {
        let is_there = error.kind() == std::io::ErrorKind::AlreadyExists;
        let what = format!("cannot write `{}`", args.file.display());
        let failure = Failure::runtime(anyhow::Error::new(error).context(what));
        if is_there {
            failure.hint("name a file that is not there yet")
        } else {
            failure
        }
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&args.file)
        .map_err(failure)?;
    file.write_all(key.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failure)?;
    let mut output = Output::default();
    output.line(format!(
        "Wrote the key of the root to `{}`",
        args.file.display()
    ));
    output.line("Keep a copy in another place, then remove it here: fieldgate ca root-key remove --exported");
    output.finish()
}

fn remove(args: &RemoveArgs) -> Result<(), Failure> {
    if !args.exported {
        let message = "error: without the key of the root no issuer can be made any more\n";
        return Err(Failure::rendered(Exit::Usage, message).hint(
            "export it first with `fieldgate ca root-key export FILE`, then say `--exported`",
        ));
    }
    let reply = args
        .session
        .open_existing()?
        .ask(&CaRequest::RemoveRootKey {})?;
    done(
        reply,
        "The keys of the roots are not on this device any more",
    )
}

pub(super) fn roll_over(args: &PlainArgs) -> Result<(), Failure> {
    let reply = args.session.open_existing()?.ask(&CaRequest::Rollover {})?;
    done(
        reply,
        "A new root is published beside the old one; see `fieldgate ca status` for when it issues",
    )
}

pub(super) fn seal(args: &PlainArgs) -> Result<(), Failure> {
    let mut session = args.session.open_existing()?;
    if let Session::Running(_) = session {
        let owner = fs::metadata(args.session.state_folder()).map_or(0, |folder| folder.uid());
        if owner != 0 && nix::unistd::geteuid().is_root() {
            let text = "a gateway that does not run as root cannot seal its keys";
            return Err(Failure::runtime(anyhow::Error::msg(text)).hint(
                "stop it first: systemctl stop fieldgate && fieldgate ca seal; it is started again when systemd has been told of the keys",
            ));
        }
    }
    let reply = session.ask(&CaRequest::Seal {})?;
    let CaReply::Sealed(count) = reply else {
        return Err(foreign(reply));
    };
    let folder = ask_status(&mut session)?.folder.join("sealed");
    let mut output = Output::default();
    output.line(format!("Sealed {count} keys in `{}`", folder.display()));
    output.line("A gateway that does not run as root gets them from systemd:");
    let drop_in = "/etc/systemd/system/fieldgate.service.d";
    output.line(format!("  mkdir -p {drop_in}"));
    output.line(format!(
        "  printf '[Service]\\nLoadCredentialEncrypted=fieldgate-ca:{}\\n' > {drop_in}/ca.conf",
        folder.display()
    ));
    output.line("  systemctl daemon-reload && systemctl start fieldgate");
    output.finish()
}

fn done(reply: CaReply, sentence: &str) -> Result<(), Failure> {
    if reply != CaReply::Done {
        return Err(foreign(reply));
    }
    let mut output = Output::default();
    output.line(sentence);
    output.finish()
}

/// A file of PEM text, which may be a key.
pub(super) fn read(file: &Path) -> Result<Zeroizing<String>, Failure> {
    let failure = |error: std::io::Error| {
        let what = format!("cannot read `{}`", file.display());
        Failure::runtime(anyhow::Error::new(error).context(what))
    };
    let opened = fs::File::open(file).map_err(failure)?;
    // What comes in has no length that could be asked for, as with a pipe.
    let mut text = Zeroizing::new(String::new());
    opened
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(failure)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        let what = format!("`{}` is longer than any certificate or key", file.display());
        return Err(Failure::runtime(anyhow::Error::msg(what)));
    }
    Ok(text)
}
