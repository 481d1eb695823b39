//! From resources to a configuration: what is good counts, what is not is said and leaves the others alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::cache::Object;
use super::collection::{Group, Kind};
use super::listing::{OBJECT_BYTES_MAX, is_too_large};
use crate::config::{self, Endpoint, ListenerSettings, Settings};
use crate::import::{
    AioCluster, AioImport, AioOptions, ImportFault, ImportReport, ImportedFile, NeededObject,
    Verdict, WantedCertificate, aio_texts,
};
use crate::kubernetes::{reachable, service_name};

/// Which resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// Our own group comes first, and so wins where both have a resource of one name.
    pub(super) kind: Kind,
    pub(super) group: Group,
    pub(super) name: String,
}

impl Key {
    /// Under which name it is remembered over a restart.
    pub(super) fn path(&self) -> String {
        let group = super::collection::group_name(self.group);
        format!("{group}/{}/{}", self.kind.plural(), self.name)
    }
}

/// A resource as the cluster has it.
#[derive(Clone, Debug)]
pub(super) struct Resource {
    pub(super) key: Key,
    pub(super) object: Object,
}

impl Resource {
    /// What the importer reads of it.
    fn document(&self) -> String {
        let group = super::collection::group_name(self.key.group);
        let version = self.object.get("apiVersion").and_then(Value::as_str);
        let version = version.and_then(|text| text.split_once('/'));
        let version = version.map_or("v1", |(_, version)| version);
        json!({
            "apiVersion": format!("{group}/{version}"),
            "kind": self.key.kind.word(),
            "metadata": {"name": self.key.name},
            "spec": self.object.get("spec").cloned().unwrap_or_default(),
        })
        .to_string()
    }
}

/// What the configuration file has already, so that no resource may have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Listeners. A resource of the same name takes the place of one while it counts; ports and services of the others are theirs.
    pub listeners: Vec<ListenerSettings>,
    /// Names of authentications.
    pub authentications: Vec<String>,
    /// Names of authorizations.
    pub authorizations: Vec<String>,
    /// Numbers of ports that no listener has.
    pub ports: Vec<u16>,
}

/// Everything that a plan is made from.
pub(super) struct Input<'i> {
    /// Older ones first.
    pub(super) resources: &'i [Resource],
    /// Documents that were in force, under [`Key::path`].
    pub(super) former: &'i BTreeMap<String, String>,
    /// Secrets and ConfigMaps as the cluster writes them, by kind and name.
    pub(super) objects: &'i BTreeMap<(&'static str, String), Zeroizing<String>>,
    pub(super) taken: &'i Taken,
    pub(super) namespace: &'i str,
    pub(super) has_cert_manager: bool,
    /// How the API server is asked about tokens, where that is written in the file.
    pub(super) api_server: &'i [(&'static str, String)],
    /// Where the files will be.
    pub(super) folder: &'i Path,
}

/// What has become of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It counts; the words say what is other than it says.
    InForce(String),
    /// It has faults, so what it said before counts.
    Former(String),
    /// It has faults and does not count.
    Out(String),
}

impl Fate {
    pub(super) fn counts(&self) -> bool {
        !matches!(self, Self::Out(_))
    }
}

/// A configuration made of resources.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) text: String,
    pub(super) files: Vec<ImportedFile>,
    /// What the resources name.
    pub(super) needed: Vec<Need>,
    pub(super) certificates: Vec<(Key, WantedCertificate)>,
    pub(super) fates: BTreeMap<Key, Fate>,
    /// Documents that count, under [`Key::path`].
    pub(super) documents: BTreeMap<String, String>,
    /// The text, read.
    pub(super) settings: Option<Settings>,
    /// What it was made beside.
    pub(super) taken: Taken,
}

/// An object that a resource names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) by: Key,
    pub(super) object: NeededObject,
}

/// One text that is translated.
struct Candidate<'c> {
    resource: &'c Resource,
    document: String,
    fate: Fate,
}

/// Makes a plan. `Err` says why nothing can be made of the resources, though each is good by itself.
pub(super) fn make(input: &Input<'_>) -> Result<Plan, String> {
    let mut candidates: Vec<Candidate<'_>> = input
        .resources
        .iter()
        .map(|resource| candidate(resource, input))
        .collect();
    let mut spoiled = Vec::new();
    // Each round takes something out or puts something older in its place, so they end.
    for _ in 0..=2 * candidates.len() + input.objects.len() {
        let counting = counting(&candidates);
        if counting.is_empty() {
            return Ok(Plan::empty(candidates).beside(input.taken));
        }
        let objects = input.objects.iter();
        let objects: Vec<_> = objects
            .filter(|(name, _)| !spoiled.contains(name))
            .collect();
        match translate(&candidates, &counting, &objects, input) {
            Ok(import) => {
                let plan = finish(candidates, &counting, import)?;
                return Ok(plan.beside(input.taken));
            }
            Err(ImportFault::NotUnderstood { report }) => {
                let blamed = blame(&report, &counting, &mut candidates, input);
                let bad_objects = objects
                    .iter()
                    .zip(counting.len()..)
                    .filter(|(_, text)| report.has_bad(*text));
                let before = spoiled.len();
                spoiled.extend(bad_objects.map(|((name, _), _)| *name));
                if !blamed && spoiled.len() == before {
                    return Err(words(&report, None));
                }
            }
            Err(fault) => return Err(fault.to_string()),
        }
    }
    Err("the resources cannot be told apart".to_owned())
}

fn counting(candidates: &[Candidate<'_>]) -> Vec<usize> {
    let all = candidates.iter().enumerate();
    all.filter(|(_, candidate)| candidate.fate.counts())
        .map(|(index, _)| index)
        .collect()
}

fn candidate<'c>(resource: &'c Resource, input: &Input<'_>) -> Candidate<'c> {
    let former = input.former.get(&resource.key.path());
    let (fate, document) = match collision(resource, input.taken) {
        Some(why) => (Fate::Out(why), resource.document()),
        None if is_too_large(&resource.object) => {
            let why = format!("it has more than {} KiB", OBJECT_BYTES_MAX >> 10);
            match former {
                Some(former) => (Fate::Former(why), former.clone()),
                None => (Fate::Out(why), resource.document()),
            }
        }
        None => (Fate::InForce(String::new()), resource.document()),
    };
    Candidate {
        resource,
        document,
        fate,
    }
}

/// Why a resource cannot stand beside the file.
fn collision(resource: &Resource, taken: &Taken) -> Option<String> {
    let (names, what) = match resource.key.kind {
        Kind::Broker => return None,
        Kind::Listener => return collision_of_listener(resource, taken),
        Kind::Authentication => (&taken.authentications, "authentication"),
        Kind::Authorization => (&taken.authorizations, "authorization"),
    };
    names
        .contains(&resource.key.name)
        .then(|| format!("the configuration file of the gateway has an {what} of this name"))
}

/// The same for a listener: it may take the place of the one of its name, and nothing of another.
fn collision_of_listener(resource: &Resource, taken: &Taken) -> Option<String> {
    let name = resource.key.name.as_str();
    let spec = resource.object.get("spec")?;
    let others = taken.listeners.iter();
    let others: Vec<_> = others.filter(|other| other.name.as_str() != name).collect();
    let service = field(spec, "serviceName").and_then(Value::as_str);
    let service = service.unwrap_or(name);
    let is_theirs = |other: &&&ListenerSettings| {
        service_name(other) == service && reachable(other).next().is_some()
    };
    if let Some(other) = others.iter().find(is_theirs) {
        let other = &other.name;
        return Some(format!(
            "the Service {service} is that of the listener `{other}` in the configuration file of the gateway"
        ));
    }
    let ports = others.iter().flat_map(|other| &other.ports);
    let ports = ports.filter_map(|port| match port.endpoint {
        Endpoint::Tcp { port, .. } => Some(port),
        Endpoint::Unix { .. } | Endpoint::Systemd { .. } => None,
    });
    let ports: Vec<u64> = ports
        .chain(taken.ports.iter().copied())
        .map(u64::from)
        .collect();
    let wanted = field(spec, "ports")?.as_array()?;
    let mut numbers = wanted
        .iter()
        .filter_map(|port| field(port, "port")?.as_u64());
    let number = numbers.find(|number| ports.contains(number))?;
    Some(format!(
        "port {number} is in the configuration file of the gateway"
    ))
}

/// A field of an object, however its letters are written: the importer takes either case.
fn field<'v>(object: &'v Value, name: &str) -> Option<&'v Value> {
    let mut fields = object.as_object()?.iter();
    let (_, value) = fields.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    Some(value)
}

fn translate(
    candidates: &[Candidate<'_>],
    counting: &[usize],
    objects: &[(&(&'static str, String), &Zeroizing<String>)],
    input: &Input<'_>,
) -> Result<AioImport, ImportFault> {
    let counting = counting.iter().filter_map(|index| candidates.get(*index));
    let mut texts: Vec<(PathBuf, Zeroizing<String>)> = counting
        .map(|candidate| {
            let key = &candidate.resource.key;
            let name = PathBuf::from(key.kind.word()).join(&key.name);
            (name, Zeroizing::new(candidate.document.clone()))
        })
        .collect();
    texts.extend(objects.iter().map(|((kind, name), text)| {
        let name = PathBuf::from(kind).join(name);
        (name, Zeroizing::clone(text))
    }));
    let options = AioOptions {
        folder: Some(input.folder.to_owned()),
        writes_files: true,
        cluster: Some(AioCluster {
            namespace: input.namespace.to_owned(),
            has_cert_manager: input.has_cert_manager,
            api_server: input.api_server.to_vec(),
        }),
    };
    aio_texts(&texts, &options)
}

/// Takes what was in force before in place of what has faults, or takes it out. Returns whether there was any.
fn blame(
    report: &ImportReport,
    counting: &[usize],
    candidates: &mut [Candidate<'_>],
    input: &Input<'_>,
) -> bool {
    let mut blamed = false;
    for (text, index) in counting.iter().enumerate() {
        let Some(candidate) = candidates.get_mut(*index).filter(|_| report.has_bad(text)) else {
            continue;
        };
        blamed = true;
        let said = words(report, Some(text));
        let former = input.former.get(&candidate.resource.key.path());
        candidate.fate = match (&candidate.fate, former) {
            (Fate::InForce(_), Some(former)) if *former != candidate.document => {
                candidate.document.clone_from(former);
                Fate::Former(said)
            }
            // What was said of the new one is what has to be mended.
            (Fate::Former(said), _) => Fate::Out(said.clone()),
            _ => Fate::Out(said),
        };
    }
    blamed
}

fn finish(
    candidates: Vec<Candidate<'_>>,
    counting: &[usize],
    import: AioImport,
) -> Result<Plan, String> {
    let settings = read(&import.import.text)?;
    let report = &import.import.report;
    let key_of = |text: usize| {
        let candidate = candidates.get(*counting.get(text)?)?;
        Some(candidate.resource.key.clone())
    };
    let needed = import.needed.into_iter();
    let needed = needed.filter_map(|object| {
        let by = key_of(object.text)?;
        Some(Need { by, object })
    });
    let certificates = import.certificates.into_iter();
    let certificates = certificates.filter_map(|wanted| Some((key_of(wanted.text)?, wanted)));
    let mut plan = Plan {
        needed: needed.collect(),
        certificates: certificates.collect(),
        files: import.files,
        fates: BTreeMap::new(),
        documents: BTreeMap::new(),
        settings: Some(settings),
        text: String::new(),
        taken: Taken::default(),
    };
    for (index, candidate) in candidates.into_iter().enumerate() {
        let key = candidate.resource.key.clone();
        if candidate.fate.counts() {
            plan.documents.insert(key.path(), candidate.document);
        }
        let text = counting.iter().position(|counts| *counts == index);
        let fate = match (candidate.fate, text) {
            (Fate::InForce(_), Some(text)) => Fate::InForce(notes(report, text)),
            (fate, _) => fate,
        };
        plan.fates.insert(key, fate);
    }
    plan.text = import.import.text;
    Ok(plan)
}

/// The text as settings; a file that has none of its own listeners is whole with the controller on.
fn read(text: &str) -> Result<Settings, String> {
    let whole = format!("{text}\n[kubernetes]\ncontroller = true\n");
    config::parse(&whole).map_err(|report| report.summary())
}

impl Plan {
    fn beside(mut self, taken: &Taken) -> Self {
        self.taken.clone_from(taken);
        self
    }

    /// Nothing counts.
    fn empty(candidates: Vec<Candidate<'_>>) -> Self {
        let fates = candidates.into_iter();
        Self {
            text: "# No resource of the cluster counts.\n".to_owned(),
            fates: fates
                .map(|candidate| (candidate.resource.key.clone(), candidate.fate))
                .collect(),
            ..Self::default()
        }
    }
}

/// What is wrong with one text, or with all of them together.
fn words(report: &ImportReport, text: Option<usize>) -> String {
    let remarks = report.remarks_of(text);
    let bad = remarks.iter().filter_map(|remark| match &remark.verdict {
        Verdict::Bad { why } => Some(format!("{}: {why}", path_of(&remark.text))),
        _ => None,
    });
    bad.collect::<Vec<_>>().join("; ")
}

/// What is other than a resource says.
fn notes(report: &ImportReport, text: usize) -> String {
    let remarks = report.remarks_of(Some(text));
    let differing = remarks.iter().filter_map(|remark| match &remark.verdict {
        Verdict::Differs { how: why } | Verdict::NoEquivalent { why } => {
            Some(format!("{}: {why}", path_of(&remark.text)))
        }
        Verdict::Translated { .. }
        | Verdict::NotNeeded { .. }
        | Verdict::Unreadable { .. }
        | Verdict::Bad { .. } => None,
    });
    differing.collect::<Vec<_>>().join("; ")
}

/// The field that a remark is about, without the resource, whose status it will stand in.
fn path_of(text: &str) -> &str {
    text.rsplit_once(' ').map_or(text, |(_, path)| path)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
