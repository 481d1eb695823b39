//! Resources of the cluster broker of Azure IoT Operations as a configuration of the gateway.
//!
//! `yaml` makes a tree of bounded size, `resources` sorts the documents, one module for each kind reads the fields, and
//! `write` puts the plans into words. `fields` sees to it that every field is either read or reported: an unknown key is a
//! fault, because a misspelled `authenticationRef` would open a port.

mod authentication;
mod authorization;
mod broker;
#[cfg(test)]
mod definitions_tests;
mod export;
mod fields;
mod listener;
mod objects;
mod resources;
mod shape;
#[cfg(test)]
mod tests;
mod tls;
mod write;
mod yaml;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

pub use export::{AioExport, ExportNote, ExportOptions, export_aio};
pub use objects::{ImportedFile, NeededObject, WantedCertificate};
#[cfg(feature = "kube")]
pub(crate) use write::aio_sections;

use self::broker::BrokerPlan;
use self::listener::Known;
use self::objects::Materials;
use self::resources::Found;
use super::report::{ImportReport, Spot, Verdict};
use super::{Import, ImportFault};
use crate::config::KeyAlgorithm;

/// Bytes of one file.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Files of one import.
const FILES_MAX: usize = 256;

/// What is said about everything of the state store.
const NO_STATE_STORE: &str =
    "there is no state store; keep such values in retained messages, or beside the gateway";

/// Where things go.
#[derive(Clone, Debug, Default)]
pub struct AioOptions {
    /// The folder on the gateway that holds what Secrets and ConfigMaps held; `/etc/fieldgate/aio` where absent.
    pub folder: Option<PathBuf>,
    /// Whether the caller writes the files.
    pub writes_files: bool,
    /// The cluster that the gateway runs in and takes the resources from; nothing is known of one where absent.
    pub cluster: Option<AioCluster>,
}

/// The cluster that resources come from, where the gateway runs in it.
#[derive(Clone, Debug)]
pub struct AioCluster {
    /// The namespace of resources and gateway.
    pub namespace: String,
    /// Whether certificates can be had from cert-manager.
    pub has_cert_manager: bool,
    /// The kind of the keys of the gateway's authority. It is there already, and no resource changes it.
    pub key_algorithm: KeyAlgorithm,
    /// How the API server is asked about tokens: `api_server`, `ca` and `token_file`, where that is not found as in every pod.
    pub api_server: Vec<(&'static str, String)>,
}

/// Translated resources.
#[derive(Debug)]
pub struct AioImport {
    /// Configuration and report.
    pub import: Import,
    /// What the configuration names, as far as the resources had it.
    pub files: Vec<ImportedFile>,
    /// Every Secret and ConfigMap that the resources name.
    pub needed: Vec<NeededObject>,
    /// Certificates that cert-manager is to issue.
    pub certificates: Vec<WantedCertificate>,
}

/// Translates resources that stand in files.
pub fn aio(paths: &[PathBuf], options: &AioOptions) -> Result<AioImport, ImportFault> {
    let mut files = Vec::new();
    for path in paths.iter().take(FILES_MAX) {
        let text = read(path).map_err(|source| ImportFault::Unreadable {
            path: path.clone(),
            source,
        })?;
        files.push((path.clone(), text));
    }
    if let Some(path) = paths.get(FILES_MAX) {
        let source = io::Error::other(format!("at most {FILES_MAX} files are read at once"));
        return Err(ImportFault::Unreadable {
            path: path.clone(),
            source,
        });
    }
    aio_texts(&files, options)
}

/// As [`aio()`], with files that were read already.
pub fn aio_texts(
    files: &[(PathBuf, Zeroizing<String>)],
    options: &AioOptions,
) -> Result<AioImport, ImportFault> {
    let mut report = ImportReport::default();
    let mut found = Found::default();
    for (path, text) in files {
        let file = report.add_file(path);
        match yaml::parse(text) {
            Ok(documents) => {
                for document in &documents {
                    found.add(document, file, &mut report);
                }
            }
            Err(fault) => {
                let spot = Spot {
                    file,
                    line: fault.line,
                };
                report.note(spot, "YAML", Verdict::Bad { why: fault.text });
            }
        }
    }
    if found.resources.is_empty() && report.counts().bad == 0 {
        let path = files
            .first()
            .map(|(path, _)| path.clone())
            .unwrap_or_default();
        return Err(ImportFault::NoResources {
            path,
            report: Box::new(report),
        });
    }
    let (text, materials) = translate(files, &mut found, options, &mut report);
    if report.counts().bad == 0
        && let Err(refused) = accepted(&text, options.cluster.is_some())
    {
        // Whatever is left that no check above has seen.
        let why = refused.render(crate::config::Paint::Plain);
        let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
        report.note(
            // Of no file in particular.
            Spot { file: 0, line: 0 },
            "configuration",
            Verdict::Bad { why },
        );
    }
    if report.counts().bad > 0 {
        return Err(ImportFault::NotUnderstood {
            report: Box::new(report),
        });
    }
    Ok(AioImport {
        import: Import { text, report },
        files: materials.files,
        needed: materials.needed,
        certificates: materials.certificates,
    })
}

/// Whether a configuration takes the text; one without a listener is a part of one.
fn accepted(text: &str, is_in_cluster: bool) -> Result<(), crate::config::Report> {
    const LISTENER: &str = "\n[[listener]]\nname = \"default\"\n[[listener.port]]\nport = 0\nauthentication = \"none\"\nauthorization = \"none\"\n";
    const NO_METRICS: &str = "\n[admin]\nhttp = \"off\"\n";
    let is_part = !text.lines().any(|line| line == "[[listener]]");
    let whole = if is_part {
        format!("{text}{LISTENER}")
    } else {
        text.to_owned()
    };
    // Where metrics are is said by the file of the gateway.
    let is_silent = is_in_cluster && !text.lines().any(|line| line == "[admin]");
    let admin = if is_silent { NO_METRICS } else { "" };
    crate::config::parse(&format!("{whole}{admin}")).map(drop)
}

fn translate(
    sources: &[(PathBuf, Zeroizing<String>)],
    found: &mut Found,
    options: &AioOptions,
    report: &mut ImportReport,
) -> (String, Materials) {
    let folder = options.folder.as_deref();
    let folder = folder.unwrap_or(objects::default_folder());
    let mut materials = Materials {
        objects: std::mem::take(&mut found.objects),
        folder: folder.to_owned(),
        writes: options.writes_files,
        cluster: options.cluster.clone(),
        files: Vec::new(),
        needed: Vec::new(),
        certificates: Vec::new(),
    };
    let mut brokers = found.of_kind("Broker");
    let mut plan = BrokerPlan::default();
    if let Some(resource) = brokers.next() {
        plan = broker::translate(resource, report);
    }
    for resource in brokers {
        let mut notes = resource.notes(report);
        notes.bad(&resource.spec(), "a cluster has one Broker");
    }
    let mut authentications = Vec::new();
    for resource in found.of_kind("BrokerAuthentication") {
        let plan = authentication::translate(resource, &mut materials, report);
        authentications.push(plan);
    }
    let authorizations: Vec<_> = found
        .of_kind("BrokerAuthorization")
        .map(|resource| authorization::translate(resource, report))
        .collect();
    let mut listeners = Vec::new();
    let cluster = options.cluster.as_ref();
    let mut chain = cluster.map(|cluster| cluster.key_algorithm);
    for resource in found.of_kind("BrokerListener") {
        let known = Known {
            authentications: &mut authentications,
            authorizations: &authorizations,
            listeners: &listeners,
            metrics: plan.metrics_port(),
            materials: &mut materials,
            chain: &mut chain,
        };
        let plan = listener::translate(resource, known, report);
        listeners.push(plan);
    }
    listeners.retain(|listener| !listener.ports.is_empty());
    for object in materials.objects.iter().filter(|object| !object.is_used) {
        let why = "no resource in the files refers to it".into();
        report.note(
            object.spot,
            format!("{} {}", object.kind, object.name),
            Verdict::NotNeeded { why },
        );
    }
    let plans = write::Plans {
        broker: &plan,
        chain: chain.filter(|_| cluster.is_none()),
        listeners: &listeners,
        authentications: &authentications,
        authorizations: &authorizations,
    };
    let names: Vec<&Path> = sources.iter().map(|(path, _)| path.as_path()).collect();
    (plans.render(&names), materials)
}

fn read(path: &Path) -> io::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other("it is larger than 4 MiB"));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is not UTF-8",
        )),
    }
}
