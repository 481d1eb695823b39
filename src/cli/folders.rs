//! Where the state, the runtime files and the control socket are, from options and environment.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use fieldgate::admin::client::{ClientFault, ControlClient};
use fieldgate::gateway::{CONTROL_SOCKET, LockFault, Owner, StateLock};

use super::Failure;

/// State folder when neither option nor service manager names one.
const STATE_DIR: &str = "/var/lib/fieldgate";

/// Folder in which the service keeps its control socket; looked into when nothing else is said.
const SERVICE_RUNTIME_DIR: &str = "/run/fieldgate";

/// Options that name the folders of a gateway.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct FolderArgs {
    /// Folder for everything the gateway keeps
    ///
    /// Two gateways on one machine need two folders. Default: $STATE_DIRECTORY, which systemd sets, else
    /// /var/lib/fieldgate.
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(crate) state_dir: Option<PathBuf>,

    /// Folder for the control socket
    ///
    /// Default: the folder of --state-dir if that is given, else $RUNTIME_DIRECTORY, which systemd sets, else the state
    /// folder.
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(crate) runtime_dir: Option<PathBuf>,
}

/// The option that names the state folder of a gateway, whether it is running or not.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct StateArgs {
    /// State folder of the gateway
    ///
    /// Default: $STATE_DIRECTORY, which systemd sets, else /var/lib/fieldgate.
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    state_dir: Option<PathBuf>,
}

impl StateArgs {
    /// Whether the option was given.
    pub(crate) fn is_given(&self) -> bool {
        self.state_dir.is_some()
    }

    /// The state folder by option, environment, default.
    pub(crate) fn folder(&self) -> PathBuf {
        let folders = FolderArgs {
            state_dir: self.state_dir.clone(),
            runtime_dir: None,
        };
        folders.state_dir()
    }
}

/// Holds the state folder of a gateway that has to be stopped, so that it does not start meanwhile.
pub(crate) fn lock_stopped(folder: &Path) -> Result<StateLock, Failure> {
    StateLock::acquire(folder).map_err(|fault| {
        let is_taken = matches!(fault, LockFault::Taken { .. });
        let failure = Failure::runtime(fault);
        if is_taken {
            failure.hint("stop the gateway first: systemctl stop fieldgate")
        } else {
            failure.hint("run as root, or as the user that the gateway runs as")
        }
    })
}

/// Options that name a running gateway.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct RunningArgs {
    /// State folder of the gateway to ask
    ///
    /// Default: the gateway that runs as a service.
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    state_dir: Option<PathBuf>,

    /// Folder of its control socket, when the state folder cannot be read
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    runtime_dir: Option<PathBuf>,
}

impl FolderArgs {
    /// The state folder by option, environment, default.
    pub(crate) fn state_dir(&self) -> PathBuf {
        let folder = self
            .state_dir
            .clone()
            .or_else(|| from_environment("STATE_DIRECTORY"))
            .unwrap_or_else(|| PathBuf::from(STATE_DIR));
        absolute(folder)
    }

    /// The folder of the control socket by option, environment, default.
    ///
    /// A state folder named by option wins over the environment: who starts a second gateway from within a service means
    /// that gateway, not the service.
    pub(crate) fn runtime_dir(&self) -> PathBuf {
        let folder = self
            .runtime_dir
            .clone()
            .or_else(|| self.state_dir.clone())
            .or_else(|| from_environment("RUNTIME_DIRECTORY"))
            .unwrap_or_else(|| self.state_dir());
        absolute(folder)
    }
}

impl RunningArgs {
    /// Connects to the gateway that the options name.
    pub(crate) fn connect(&self) -> Result<ControlClient, Failure> {
        if let Some(client) = self.try_connect()? {
            return Ok(client);
        }
        let tried: Vec<String> = self
            .sockets()
            .iter()
            .map(|socket| format!("`{}`", socket.display()))
            .collect();
        let message = format!("no gateway listens on {}", tried.join(" or "));
        Err(Failure::runtime(anyhow::Error::msg(message))
            .hint("name the state folder of a running gateway with `--state-dir`"))
    }

    /// Connects to the gateway that the options name; `None` if it is not running.
    pub(crate) fn try_connect(&self) -> Result<Option<ControlClient>, Failure> {
        self.try_connect_with(None)
    }

    /// The same with the socket that a configuration names, where no option says otherwise.
    pub(crate) fn try_connect_with(
        &self,
        configured: Option<PathBuf>,
    ) -> Result<Option<ControlClient>, Failure> {
        let is_named = self.state_dir.is_some() || self.runtime_dir.is_some();
        let configured = configured.filter(|_| !is_named);
        let mut denied = None;
        for socket in configured.iter().chain(&self.sockets()) {
            match ControlClient::connect(socket) {
                Ok(client) => return Ok(Some(client)),
                Err(fault @ ClientFault::Denied { .. }) => denied = Some(fault),
                Err(_) => {}
            }
        }
        match denied {
            None => Ok(None),
            Some(fault) => Err(Failure::runtime(fault)
                .hint("run as root, or as a member of the group that the gateway runs as")),
        }
    }

    /// The state folder of the gateway, for when it is not running.
    pub(crate) fn state_folder(&self) -> PathBuf {
        let folders = FolderArgs {
            state_dir: self.state_dir.clone(),
            runtime_dir: None,
        };
        folders.state_dir()
    }

    /// Control sockets that may be meant, the likeliest first.
    fn sockets(&self) -> Vec<PathBuf> {
        if let Some(folder) = &self.runtime_dir {
            return vec![folder.join(CONTROL_SOCKET)];
        }
        if let Some(folder) = &self.state_dir {
            return vec![socket_of(folder)];
        }
        let mut sockets = Vec::new();
        sockets.extend(
            from_environment("RUNTIME_DIRECTORY").map(|folder| folder.join(CONTROL_SOCKET)),
        );
        sockets.extend(from_environment("STATE_DIRECTORY").map(|folder| socket_of(&folder)));
        sockets.push(Path::new(SERVICE_RUNTIME_DIR).join(CONTROL_SOCKET));
        sockets.push(socket_of(Path::new(STATE_DIR)));
        sockets.dedup();
        sockets
    }
}

/// The control socket that the owner of a state folder wrote down, else the one that it would use by default.
fn socket_of(state_dir: &Path) -> PathBuf {
    Owner::of(state_dir)
        .and_then(|owner| owner.control_socket)
        .unwrap_or_else(|| state_dir.join(CONTROL_SOCKET))
}

/// The path from the root: it is written down for commands that run elsewhere.
fn absolute(folder: PathBuf) -> PathBuf {
    std::path::absolute(&folder).unwrap_or(folder)
}

/// First folder of a variable in which systemd puts folders with `:` between them.
fn from_environment(variable: &str) -> Option<PathBuf> {
    first_folder(std::env::var_os(variable)?)
}

fn first_folder(value: OsString) -> Option<PathBuf> {
    std::env::split_paths(&value).find(|path| !path.as_os_str().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_of_several_folders_is_used() {
        assert_eq!(first_folder("/a:/b".into()), Some("/a".into()));
        assert_eq!(first_folder("".into()), None);
    }

    #[test]
    fn folders_are_named_from_the_root() {
        let folders = FolderArgs {
            state_dir: Some("var".into()),
            runtime_dir: None,
        };
        assert_eq!(
            folders.state_dir(),
            std::env::current_dir().unwrap().join("var")
        );
    }

    #[test]
    fn control_socket_follows_the_named_state_folder() {
        let folders = FolderArgs {
            state_dir: Some("/s".into()),
            runtime_dir: None,
        };
        assert_eq!(folders.runtime_dir(), PathBuf::from("/s"));
    }

    #[test]
    fn named_folders_are_asked_alone() {
        let args = RunningArgs {
            state_dir: Some("/s".into()),
            runtime_dir: None,
        };
        assert_eq!(args.sockets(), [PathBuf::from("/s/control.sock")]);
        let args = RunningArgs {
            state_dir: Some("/s".into()),
            runtime_dir: Some("/r".into()),
        };
        assert_eq!(args.sockets(), [PathBuf::from("/r/control.sock")]);
    }
}
