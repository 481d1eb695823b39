//! Where the state, the runtime files and the control socket are, from options and environment.

use std::ffi::OsString;
use std::path::PathBuf;

/// State folder when neither option nor service manager names one.
pub(crate) const STATE_DIR: &str = "/var/lib/fieldgate";

/// Options that name the folders of a gateway.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct FolderArgs {
    /// Folder for everything the gateway keeps
    ///
    /// Two gateways on one machine need two folders. Default: $STATE_DIRECTORY, which systemd sets, else /var/lib/fieldgate.
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,

    /// Folder for the control socket
    ///
    /// Default: $RUNTIME_DIRECTORY, which systemd sets, else the state folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) runtime_dir: Option<PathBuf>,
}

impl FolderArgs {
    /// The state folder by option, environment, default.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.state_dir
            .clone()
            .or_else(|| from_environment("STATE_DIRECTORY"))
            .unwrap_or_else(|| PathBuf::from(STATE_DIR))
    }

    /// The folder of the control socket by option, environment, default.
    ///
    /// A state folder named by option wins over the environment: who starts a second gateway from within a service means
    /// that gateway, not the service.
    pub(crate) fn runtime_dir(&self) -> PathBuf {
        self.runtime_dir
            .clone()
            .or_else(|| self.state_dir.clone())
            .or_else(|| from_environment("RUNTIME_DIRECTORY"))
            .unwrap_or_else(|| self.state_dir())
    }
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
    fn control_socket_follows_the_named_state_folder() {
        let folders = FolderArgs {
            state_dir: Some("/s".into()),
            runtime_dir: None,
        };
        assert_eq!(folders.runtime_dir(), PathBuf::from("/s"));
    }
}
