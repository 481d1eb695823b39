//! Which configuration file a command is about.

use std::path::{Path, PathBuf};

/// The option that names the configuration file.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ConfigArgs {
    /// Configuration file; `conf.d/*.toml` beside it is merged after it
    ///
    /// Default: /etc/fieldgate/gateway.toml if there is one, else the text of `fieldgate config default`, which serves on
    /// loopback only.
    #[arg(
        long,
        short,
        value_name = "FILE",
        env = "FIELDGATE_CONFIG",
        hide_env_values = true,
        value_hint = clap::ValueHint::FilePath
    )]
    config: Option<PathBuf>,
}

impl ConfigArgs {
    /// The file that was named by option or environment; an empty variable names none.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.config
            .as_deref()
            .filter(|path| !path.as_os_str().is_empty())
    }
}
