//! Which configuration file a command is about.

use std::path::{Path, PathBuf};

use fieldgate::config::{self, Loaded};
use fieldgate::gateway::{CONFIG_FILE, find_config};

use super::failure::paint;
use super::table::printable;
use super::{Exit, Failure};

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

    /// The configuration that is meant; one with faults fails with all of them.
    pub(crate) fn load(&self) -> Result<Loaded, Failure> {
        let main = find_config(self.file());
        config::load(main.as_deref()).map_err(|report| {
            let file = main.as_deref().unwrap_or(Path::new(CONFIG_FILE)).display();
            let (text, file) = (report.render(paint()), printable(&file.to_string()));
            Failure::rendered(Exit::Config, format!("{}: {file}", text.trim_end()))
        })
    }
}
