//! Who does what is asked for: the gateway that is running, else this process.

use std::path::{Path, PathBuf};

use fieldgate::admin::client::ControlClient;
use fieldgate::ca::{
    Asker, CaError, CaReply, CaRequest, CertificateAuthority, Sealing, TrustedClock,
};
use fieldgate::config::Settings;
use fieldgate::gateway::Offline;
use fieldgate::store::Jobs;

use crate::cli::Failure;
use crate::cli::config_file::ConfigArgs;
use crate::cli::failure::say;
use crate::cli::folders::RunningArgs;
use crate::cli::user::session::{locked, refused};

/// Options that name a gateway, running or not.
#[derive(Debug, clap::Args)]
pub(super) struct SessionArgs {
    #[command(flatten)]
    gateway: RunningArgs,

    #[command(flatten)]
    config: ConfigArgs,
}

/// A way to the authority of a gateway.
pub(super) enum Session {
    /// The gateway is running.
    Running(ControlClient),
    /// It is not, and does not start meanwhile.
    Stopped {
        authority: Box<CertificateAuthority>,
        clock: Box<TrustedClock>,
        offline: Box<Offline>,
    },
}

impl SessionArgs {
    /// For what makes an authority.
    pub(super) fn open(&self) -> Result<Session, Failure> {
        match self.connect()? {
            Some(client) => Ok(Session::Running(client)),
            None => stopped(&self.gateway.state_folder()),
        }
    }

    /// The gateway that is running, if it is. A configuration with faults does not keep anybody from asking it.
    fn connect(&self) -> Result<Option<ControlClient>, Failure> {
        let configured = self
            .config
            .load()
            .ok()
            .and_then(|loaded| loaded.settings.admin.control_socket);
        self.gateway.try_connect_with(configured)
    }

    /// What the configuration says.
    pub(super) fn settings(&self) -> Result<Settings, Failure> {
        let loaded = self.config.load().map_err(|failure| {
            failure.hint("mend the configuration, or say everything by options")
        })?;
        Ok(loaded.settings)
    }

    /// For everything else.
    pub(super) fn open_existing(&self) -> Result<Session, Failure> {
        if let Some(client) = self.connect()? {
            return Ok(Session::Running(client));
        }
        let folder = self.gateway.state_folder();
        let jobs = Jobs::none(&folder);
        let authority = CertificateAuthority::new(&folder, Sealing::none(), Vec::new(), jobs);
        if authority.is_there() {
            return stopped(&folder);
        }
        let folder = folder.join("ca");
        // Who may not enter the folder does not see whether there is one.
        if let Err(error) = std::fs::metadata(folder.join("state.json"))
            && error.kind() == std::io::ErrorKind::PermissionDenied
        {
            let (path, operation) = (folder, "read");
            return Err(failed(CaError::Io {
                path,
                operation,
                error,
            }));
        }
        Err(failed(CaError::Absent { folder }))
    }

    /// The state folder, for what is read from its files.
    pub(super) fn state_folder(&self) -> PathBuf {
        self.gateway.state_folder()
    }
}

fn stopped(folder: &Path) -> Result<Session, Failure> {
    let mut offline = Offline::open(folder).map_err(locked)?;
    if let Some(complaint) = offline.condition().complaint() {
        say(&format!("warning: {complaint}\n"));
    }
    let authority = CertificateAuthority::new(
        folder,
        sealing(folder),
        offline.take_certificates(),
        offline.jobs(),
    );
    let clock = TrustedClock::open(folder, authority.newest_begin());
    Ok(Session::Stopped {
        authority: Box::new(authority),
        clock: Box::new(clock),
        offline: Box::new(offline),
    })
}

/// How keys are sealed on this machine.
pub(super) fn sealing(folder: &Path) -> Sealing {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(Into::into);
    Sealing::of_machine(folder, credentials)
}

impl Session {
    pub(super) fn ask(&mut self, request: &CaRequest) -> Result<CaReply, Failure> {
        match self {
            Self::Running(client) => client.ca(request).map_err(refused),
            Self::Stopped {
                authority,
                clock,
                offline,
            } => {
                let asker = Asker {
                    name: format!("uid {}", nix::unistd::getuid()).into(),
                    peer: "command line".into(),
                };
                let reply = authority.apply(request, clock.read(), &asker);
                offline.give_away();
                reply.map_err(failed)
            }
        }
    }
}

/// A fault of the authority with the way out.
pub(super) fn failed(fault: CaError) -> Failure {
    let hint = fault.hint();
    Failure::runtime(fault).hint(hint)
}
