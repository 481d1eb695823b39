//! From resources to a configuration: what is good counts, what is not is said and leaves the others alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::cache::Object;
use super::collection::{Group, Kind};
use super::listing::{OBJECT_BYTES_MAX, is_too_large};
use crate::config::{
    self, Authentication, Endpoint, KeyAlgorithm, LEFT_OUT, ListenerSettings, PortSettings,
    ResourceName, Settings,
};
use crate::import::{
    AioCluster, AioImport, AioOptions, ImportFault, ImportReport, ImportedFile, NeededObject,
    Verdict, WantedCertificate, aio_sections, aio_texts, list,
};
use crate::kubernetes::{reachable, service_name};

/// Stands among the documents where cert-manager issues certificates for them, so that it is not taken for gone at the first
/// word after a restart.
pub(super) const ISSUED: &str = "cert-manager.io";

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
    /// Listeners. A resource of the same name takes the place of one while it is there; ports and services of the others are theirs.
    pub listeners: Vec<ListenerSettings>,
    /// Names of authentications.
    pub authentications: Vec<String>,
    /// Names of authorizations.
    pub authorizations: Vec<String>,
    /// Numbers of ports that no listener has.
    pub ports: Vec<u16>,
    /// The kind of the keys of the gateway's authority.
    pub key_algorithm: KeyAlgorithm,
}

/// Everything that a plan is made from.
pub(super) struct Input<'i> {
    /// Older ones first.
    pub(super) resources: &'i [Resource],
    /// Documents that were in force, under [`Key::path`].
    pub(super) former: &'i BTreeMap<String, String>,
    /// Secrets and ConfigMaps as the cluster writes them, by kind and name.
    pub(super) objects: &'i BTreeMap<(&'static str, String), Zeroizing<String>>,
    /// Those that are known not to be there.
    pub(super) absent: &'i BTreeSet<(&'static str, String)>,
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
    /// With who wants them, one for each Secret.
    pub(super) certificates: Vec<(Vec<Key>, WantedCertificate)>,
    pub(super) fates: BTreeMap<Key, Fate>,
    /// Documents that count, under [`Key::path`]; and [`ISSUED`].
    pub(super) documents: BTreeMap<String, String>,
    /// The text, read.
    pub(super) settings: Option<Settings>,
}

/// An object that a resource names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) by: Key,
    pub(super) object: NeededObject,
}

/// Documents that clash with the file, with the reason.
type Clashing = BTreeMap<String, String>;

/// Clashes with the file up to which the rest is looked at anew as if they were not there.
const RESTARTS_MAX: usize = 32;

/// One text that is translated.
struct Candidate<'c> {
    resource: &'c Resource,
    document: String,
    fate: Fate,
}

/// Makes a plan. `Err` says why nothing can be made of the resources, though each is good by itself.
pub(super) fn make(input: &Input<'_>) -> Result<Plan, String> {
    let mut clashing = Clashing::new();
    // What clashes with the file may have been preferred to another one: that gets its turn.
    while clashing.len() < RESTARTS_MAX {
        let known = clashing.len();
        let made = make_without(input, &mut clashing);
        if clashing.len() == known {
            return made;
        }
    }
    make_without(input, &mut clashing)
}

/// As [`make`], without what clashes with the file, as far as that is known. Where more of it is found, that is added.
fn make_without(input: &Input<'_>, clashing: &mut Clashing) -> Result<Plan, String> {
    let mut candidates: Vec<Candidate<'_>> = input
        .resources
        .iter()
        .map(|resource| candidate(resource, input, clashing))
        .collect();
    let mut spoiled = Vec::new();
    // Each round takes something out or puts something older in its place, so they end.
    for _ in 0..=2 * candidates.len() + input.objects.len() {
        let counting = counting(&candidates);
        if counting.is_empty() {
            return Ok(Plan::empty(candidates).for_all_listeners());
        }
        let objects = input.objects.iter();
        let objects: Vec<_> = objects
            .filter(|(name, _)| !spoiled.contains(name))
            .collect();
        match translate(&candidates, &counting, &objects, input) {
            Ok(import) => {
                let settings = read(&import.import.text)?;
                let counts = counting.iter().filter_map(|index| candidates.get(*index));
                let keys: Vec<&Key> = counts.map(|one| &one.resource.key).collect();
                let clashes = clashes(&settings, input.taken, &keys);
                if clashes.is_empty() {
                    let plan = finish(candidates, &counting, import, settings);
                    return Ok(plan.for_all_listeners());
                }
                for candidate in &mut candidates {
                    let key = &candidate.resource.key;
                    if let Some((_, why)) = clashes.iter().find(|(one, _)| one == key) {
                        clashing.insert(candidate.document.clone(), why.clone());
                        candidate.fate = Fate::Out(why.clone());
                    }
                }
            }
            Err(ImportFault::NotUnderstood { report }) => {
                let blamed = blame(&report, &counting, &mut candidates, input, clashing);
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

fn candidate<'c>(resource: &'c Resource, input: &Input<'_>, clashing: &Clashing) -> Candidate<'c> {
    let former = input.former.get(&resource.key.path());
    let (mut fate, document) = if is_too_large(&resource.object) {
        let why = format!("it has more than {} KiB", OBJECT_BYTES_MAX >> 10);
        match former {
            Some(former) => (Fate::Former(why), former.clone()),
            None => (Fate::Out(why), resource.document()),
        }
    } else {
        (Fate::InForce(String::new()), resource.document())
    };
    if let Some(why) = clashing.get(&document) {
        fate = Fate::Out(why.clone());
    }
    Candidate {
        resource,
        document,
        fate,
    }
}

/// Resources whose translation has what is the file's, with why they cannot count. What a listener takes the place of is its own.
fn clashes(settings: &Settings, taken: &Taken, counting: &[&Key]) -> Vec<(Key, String)> {
    let mut clashes = Vec::new();
    let mut blame = |kind: Kind, why: &str, is_meant: &dyn Fn(&str) -> bool| {
        let keys = counting.iter().filter(|key| key.kind == kind);
        let keys = keys.filter(|key| is_meant(&key.name));
        let before = clashes.len();
        clashes.extend(keys.map(|key| (Key::clone(key), why.to_owned())));
        clashes.len() > before
    };
    for listener in &settings.listeners {
        if let Some(why) = clash_of_listener(listener, taken) {
            blame(Kind::Listener, &why, &|name| name == listener.name.as_str());
        }
    }
    let theirs = taken.listeners.iter().flat_map(|listener| &listener.ports);
    let metrics = settings.admin.http.map(|http| http.port());
    if metrics.is_some_and(|metrics| theirs.filter_map(number).any(|port| port == metrics)) {
        let why =
            "its metrics are at a port of a listener in the configuration file of the gateway";
        blame(Kind::Broker, why, &|_| true);
    }
    let has = |name: &ResourceName, names: &[String]| names.iter().any(|one| one == name.as_str());
    let why = |what, name| format!("the configuration file of the gateway has an {what} `{name}`");
    for section in &settings.authentications {
        let name = &section.name;
        if !has(name, &taken.authentications) {
            continue;
        }
        let why = why("authentication", name);
        let is_made_of = |resource: &str| has(name, &aio_sections(resource));
        if !blame(Kind::Authentication, &why, &is_made_of) {
            // The importer has made it because a listener names it.
            let is_named = |port: &PortSettings| matches!(&port.authentication, Authentication::Named(named) if named.name == *name);
            for listener in &settings.listeners {
                if listener.ports.iter().any(is_named) {
                    blame(Kind::Listener, &why, &|name| name == listener.name.as_str());
                }
            }
        }
    }
    for section in &settings.authorizations {
        let name = &section.name;
        if has(name, &taken.authorizations) {
            let why = why("authorization", name);
            blame(Kind::Authorization, &why, &|resource| {
                has(name, &aio_sections(resource))
            });
        }
    }
    clashes
}

/// What a listener has that belongs to another one of the file.
fn clash_of_listener(listener: &ListenerSettings, taken: &Taken) -> Option<String> {
    let others = taken.listeners.iter();
    let others: Vec<_> = others.filter(|other| other.name != listener.name).collect();
    let service = service_name(listener);
    let is_theirs = |other: &&&ListenerSettings| {
        service_name(other) == service && reachable(other).next().is_some()
    };
    if let Some(other) = others.iter().find(is_theirs) {
        let other = &other.name;
        return Some(format!(
            "the Service {service} is that of the listener `{other}` in the configuration file of the gateway"
        ));
    }
    let theirs = || others.iter().flat_map(|other| &other.ports);
    let numbers = theirs().filter_map(number);
    let numbers: Vec<u16> = numbers.chain(taken.ports.iter().copied()).collect();
    let node_ports: Vec<u16> = theirs().filter_map(|port| port.node_port).collect();
    let is_in = "is in the configuration file of the gateway";
    listener.ports.iter().find_map(|port| {
        let number = number(port).filter(|number| numbers.contains(number));
        let node_port = port.node_port.filter(|port| node_ports.contains(port));
        let number = number.map(|number| format!("port {number} {is_in}"));
        number.or_else(|| node_port.map(|number| format!("node port {number} {is_in}")))
    })
}

fn number(port: &PortSettings) -> Option<u16> {
    match port.endpoint {
        Endpoint::Tcp { port, .. } => Some(port),
        Endpoint::Unix { .. } | Endpoint::Systemd { .. } => None,
    }
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
    // One that is not there says as much as an empty one. Of one that cannot be read nothing is known.
    texts.extend(input.absent.iter().map(|(kind, name)| {
        let empty = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
        let path = PathBuf::from(kind).join(name);
        (path, Zeroizing::new(empty.to_string()))
    }));
    let options = AioOptions {
        folder: Some(input.folder.to_owned()),
        writes_files: true,
        cluster: Some(AioCluster {
            namespace: input.namespace.to_owned(),
            has_cert_manager: input.has_cert_manager,
            key_algorithm: input.taken.key_algorithm,
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
    clashing: &Clashing,
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
            (Fate::InForce(_), Some(former))
                if *former != candidate.document && !clashing.contains_key(former) =>
            {
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
    settings: Settings,
) -> Plan {
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
    let certificates = certificates.map(|wanted| {
        let keys = wanted.texts.iter().filter_map(|text| key_of(*text));
        (keys.collect(), wanted)
    });
    let mut plan = Plan {
        needed: needed.collect(),
        certificates: certificates.collect(),
        files: import.files,
        fates: BTreeMap::new(),
        documents: BTreeMap::new(),
        settings: Some(settings),
        text: String::new(),
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
    if !plan.certificates.is_empty() {
        plan.documents.insert(ISSUED.to_owned(), String::new());
    }
    plan.text = import.import.text;
    plan
}

/// The text as settings; a file that has none of its own listeners is whole with the controller on. Where metrics are is said
/// by the file, if not by a Broker.
fn read(text: &str) -> Result<Settings, String> {
    let admin = match text.lines().any(|line| line == "[admin]") {
        true => "",
        false => "[admin]\nhttp = \"off\"\n",
    };
    let whole = format!("{text}\n[kubernetes]\ncontroller = true\n{admin}");
    config::parse(&whole).map_err(|report| report.summary())
}

impl Plan {
    /// Leaves out listeners of the file that there are resources for, although they do not count: who deletes what may come in
    /// at a port is not to find the port open for others.
    fn for_all_listeners(mut self) -> Self {
        let listeners = self.settings.iter();
        let listeners = listeners.flat_map(|settings| &settings.listeners);
        let serving: Vec<&str> = listeners.map(|listener| listener.name.as_str()).collect();
        let keys = self.fates.keys().filter(|key| key.kind == Kind::Listener);
        let names = keys.map(|key| key.name.as_str());
        let names: BTreeSet<&str> = names.filter(|name| !serving.contains(name)).collect();
        if !names.is_empty() {
            self.text = format!("{LEFT_OUT} = {}\n\n{}", list(names), self.text);
        }
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
