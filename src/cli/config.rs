//! `fieldgate config`: what a configuration file may hold.

use fieldgate::config;

use super::{Failure, Output};

/// Print the commented default configuration
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Print the default configuration, with every key, its default and what it does
    Default,
    /// Print docs/configuration.md
    #[command(hide = true)]
    Reference,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut output = Output::default();
    match args.what {
        What::Default => output.text(config::DEFAULT_TEXT),
        What::Reference => output.text(config::reference()),
    }
    output.finish()
}
