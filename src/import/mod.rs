//! Floor 3: configurations of other brokers, read and written anew as one of ours.
//!
//! What is not taken over is reported, line by line, with what to do about it. Where a translation is not possible the
//! result is closed rather than open.

mod access;
mod acl;
mod aio;
mod conf;
mod directives;
mod dynamic_security;
mod limits;
mod lines;
mod plans;
mod plugin;
mod port;
mod report;
mod rules;
#[cfg(test)]
mod tests;
mod text;
mod unknown;

use std::io;
use std::path::{Path, PathBuf};

#[cfg(feature = "kube")]
pub(crate) use aio::aio_sections;
pub use aio::{
    AioCluster, AioExport, AioImport, AioOptions, ExportNote, ExportOptions, ImportedFile,
    NeededObject, WantedCertificate, aio, aio_texts, export_aio,
};
pub use report::{ImportCounts, ImportReport, Remark, Verdict};

use crate::config::ResourceName;
use rules::RuleText;
use text::comment;
#[cfg(feature = "kube")]
pub(crate) use text::list;

/// A translated file.
#[derive(Clone, Debug)]
pub struct Import {
    /// Configuration of the gateway.
    pub text: String,
    /// What became of each line.
    pub report: ImportReport,
}

/// Where files are that a configuration names, if not where it says.
#[derive(Clone, Debug, Default)]
pub struct MosquittoOptions {
    /// The file of users.
    pub password_file: Option<PathBuf>,
    /// The file of rules.
    pub acl_file: Option<PathBuf>,
}

/// Why a file was not translated at all.
#[derive(Debug, thiserror::Error)]
pub enum ImportFault {
    /// It cannot be read.
    #[error("cannot read `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No line of it was understood.
    #[error("`{}` is no configuration of mosquitto", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong with each line.
        report: Box<ImportReport>,
    },
    /// None of its resources is one of the cluster broker.
    #[error("no resource of the cluster broker is in `{}`", path.display())]
    NoResources {
        /// The first file.
        path: PathBuf,
        /// What is said about the others.
        report: Box<ImportReport>,
    },
    /// Something was not understood, so that what would come out could be more open than what went in.
    #[error("nothing was translated, because of what was not understood")]
    NotUnderstood {
        /// What is wrong with each field.
        report: Box<ImportReport>,
    },
}

/// Translates a whole mosquitto.conf, with the files that it includes and the rules that it names.
pub fn mosquitto(path: &Path, options: &MosquittoOptions) -> Result<Import, ImportFault> {
    let mut report = ImportReport::default();
    let lines = lines::read(path, &mut report).map_err(|source| ImportFault::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let conf = directives::interpret(path, &lines, &mut report);
    let text = port::write(path, &conf, options, &mut report);
    finish(path, text, report)
}

/// Translates an `acl_file` into the rules of `[authorization.NAME]`.
pub fn mosquitto_acl(path: &Path, name: &ResourceName) -> Result<Import, ImportFault> {
    let mut report = ImportReport::default();
    let file = report.add_file(path);
    let content = lines::read_text(path).map_err(|source| ImportFault::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let acl = acl::translate(&content, file, None, &mut report);
    let connecting = RuleText::connecting(
        &["*".to_owned()],
        "mosquitto lets everybody connect who is known",
    );
    let mut rules = vec![connecting];
    rules.extend(acl.rules);
    let plan = plans::AuthorizationPlan {
        rules,
        is_narrow: true,
        http: None,
        names_users: acl.names_users,
    };
    let mut text = comment(&format!(
        "Made from {} by `fieldgate import mosquitto-acl`.",
        path.display()
    ));
    text.push_str(&format!(
        "\n# For a file in conf.d; ports refer to it by authorization = \"{name}\".\n\n"
    ));
    text.push_str(&plan.render(name.as_str()));
    finish(path, text, report)
}

/// A file of which nothing was understood is none of mosquitto's.
fn finish(path: &Path, text: String, report: ImportReport) -> Result<Import, ImportFault> {
    let counts = report.counts();
    let understood = counts.translated + counts.differs + counts.not_needed + counts.no_equivalent;
    if counts.bad > 0 && understood == 0 {
        return Err(ImportFault::Foreign {
            path: path.to_owned(),
            report: Box::new(report),
        });
    }
    Ok(Import { text, report })
}
