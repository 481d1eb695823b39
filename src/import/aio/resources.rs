//! From documents to resources: which are the broker's, which are what they name, and which are none of ours.

use std::rc::Rc;

use super::fields::{At, Fields, Notes, Word};
use super::objects::{Object, Objects};
use super::yaml::{Node, Value};
use crate::config::ListenerName;
use crate::import::report::{ImportReport, Spot, Verdict};

/// API groups of the broker, the newest first.
const GROUPS: &[&str] = &[
    "mqttbroker.iotoperations.azure.com",
    crate::kubernetes::BROKER_GROUP,
    "mq.iotoperations.azure.com",
    "az-edge.com",
];

/// End of the groups of everything that is deployed beside the broker.
const FAMILY: &str = "iotoperations.azure.com";

/// Lists inside lists.
const LIST_DEPTH_MAX: usize = 4;

/// Bytes of a name of the cluster.
const NAME_BYTES_MAX: usize = 253;

const KINDS: &[Word] = &[
    ("Broker", &[]),
    ("BrokerListener", &[]),
    ("BrokerAuthentication", &[]),
    ("BrokerAuthorization", &[]),
];

/// Kinds of the cluster itself that resources name.
const OBJECTS: &[&str] = &["Secret", "ConfigMap", "ServiceAccount"];

/// A resource of the broker.
pub(super) struct Resource {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) namespace: Option<String>,
    pub(super) file: usize,
    /// The document.
    pub(super) root: Rc<Node>,
    /// The line of its `spec`.
    spec_line: usize,
    /// Index of the `spec` among the fields of the document.
    spec: Option<usize>,
}

impl Resource {
    /// Kind and name.
    pub(super) fn subject(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }

    pub(super) fn notes<'r>(&self, report: &'r mut ImportReport) -> Notes<'r> {
        Notes::new(report, self.file, self.subject())
    }

    pub(super) fn spec(&self) -> At<'_> {
        let node = match (&self.root.value, self.spec) {
            (Value::Map(entries), Some(index)) => entries.get(index).map(|entry| &*entry.node),
            _ => None,
        };
        At {
            node: node.unwrap_or(&self.root),
            path: "spec".to_owned(),
            line: self.spec_line,
        }
    }
}

/// Everything that the files hold.
#[derive(Default)]
pub(super) struct Found {
    pub(super) resources: Vec<Resource>,
    pub(super) objects: Objects,
}

impl Found {
    pub(super) fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Resource> {
        self.resources
            .iter()
            .filter(move |resource| resource.kind == kind)
    }

    /// Takes a document in, and says what becomes of it where that is nothing.
    pub(super) fn add(&mut self, node: &Rc<Node>, file: usize, report: &mut ImportReport) {
        self.add_document(node, file, report, 0);
    }

    fn add_document(
        &mut self,
        node: &Rc<Node>,
        file: usize,
        report: &mut ImportReport,
        depth: usize,
    ) {
        let spot = Spot {
            file,
            line: node.line,
        };
        let Some(head) = Head::of(node) else {
            let why = "it is no resource of a cluster: it has no `apiVersion` and `kind`".into();
            report.note(spot, "document", Verdict::Bad { why });
            return;
        };
        if head.is_list() {
            match items(node) {
                Ok(items) if depth < LIST_DEPTH_MAX => {
                    for item in items {
                        self.add_document(item, file, report, depth + 1);
                    }
                }
                Ok(_) => {
                    let why = format!("more than {LIST_DEPTH_MAX} lists are inside each other");
                    report.note(spot, head.shown_kind(), Verdict::Bad { why });
                }
                Err(why) => report.note(spot, head.shown_kind(), Verdict::Bad { why }),
            }
            return;
        }
        let subject = format!("{} {}", head.shown_kind(), head.shown_name());
        let subject = subject.trim_end().to_owned();
        let mut note = |verdict| report.note(spot, subject.clone(), verdict);
        let group = head.group();
        if group.is_empty() && head.is_object() {
            if !is_name(head.name) {
                let why = "it has no `metadata.name` that a cluster takes".into();
                note(Verdict::Bad { why });
            } else if head.kind == "ServiceAccount" {
                let why =
                    "the gateway reads the annotations of a service account when a client logs in"
                        .into();
                note(Verdict::NotNeeded { why });
            } else if let Err(why) = self
                .objects
                .add(Object::new(node, head.kind, head.name, spot))
            {
                note(Verdict::Bad { why });
            }
        } else if GROUPS.contains(&group) {
            match self.resource(node, &head, file, spot, report) {
                Ok(Some(resource)) => self.resources.push(resource),
                Ok(None) => {}
                Err(verdict) => report.note(spot, subject, verdict),
            }
        } else {
            note(foreign(group, &head));
        }
    }

    fn resource(
        &self,
        node: &Rc<Node>,
        head: &Head<'_>,
        file: usize,
        spot: Spot,
        report: &mut ImportReport,
    ) -> Result<Option<Resource>, Verdict> {
        let bad = |why: String| Verdict::Bad { why };
        let version = head
            .api_version
            .split_once('/')
            .map_or("", |(_, version)| version);
        if !is_version(version) {
            return Err(bad(
                "its version is none: there are v1, v1beta1 and older ones".into(),
            ));
        }
        let Some((kind, _)) = KINDS
            .iter()
            .find(|(kind, _)| kind.eq_ignore_ascii_case(head.kind))
        else {
            let names = KINDS.iter().map(|(kind, _)| *kind);
            return Err(match crate::config::nearest(head.kind, names) {
                Some(meant) => bad(format!("there is no such kind; write `{meant}`")),
                None => {
                    let why = "only Broker, BrokerListener, BrokerAuthentication and BrokerAuthorization are translated";
                    Verdict::NoEquivalent { why: why.into() }
                }
            });
        };
        if let Err(fault) = ListenerName::try_from(head.name) {
            return Err(bad(format!("its `metadata.name` {fault}")));
        }
        if !head.namespace.is_none_or(is_name) {
            return Err(bad(
                "its `metadata.namespace` is none that a cluster takes".into()
            ));
        }
        let twice = |other: &Resource| other.kind == *kind && other.name == head.name;
        if self.resources.iter().any(twice) {
            return Err(bad("it is there twice".into()));
        }
        let subject = format!("{kind} {}", head.name);
        let mut notes = Notes::new(report, file, subject);
        let root = At {
            node,
            path: String::new(),
            line: spot.line,
        };
        let keys = &["apiVersion", "kind", "metadata", "spec", "status"];
        let Some(fields) = notes.fields(&root, keys) else {
            return Ok(None);
        };
        let Some((index, line)) = spec(node, &fields) else {
            notes.missing(&fields, "spec");
            return Ok(None);
        };
        Ok(Some(Resource {
            kind,
            name: head.name.to_owned(),
            namespace: head.namespace.map(ToOwned::to_owned),
            file,
            root: Rc::clone(node),
            spec_line: line,
            spec: Some(index),
        }))
    }
}

/// Whether the broker has such a kind.
fn is_kind(text: &str) -> bool {
    KINDS
        .iter()
        .any(|(kind, _)| kind.eq_ignore_ascii_case(text))
}

fn spec(node: &Node, fields: &Fields<'_>) -> Option<(usize, usize)> {
    let at = fields.get("spec")?;
    let Value::Map(entries) = &node.value else {
        return None;
    };
    let index = entries
        .iter()
        .position(|entry| std::ptr::eq(&raw const *entry.node, at.node) && entry.line == at.line)?;
    Some((index, at.line))
}

fn foreign(group: &str, head: &Head<'_>) -> Verdict {
    let kind = head.kind.strip_suffix("List").unwrap_or(head.kind);
    if is_kind(kind)
        && let Some(meant) = crate::config::nearest(group, GROUPS.iter().copied())
    {
        let why = format!("there is no such group; write `{meant}`");
        return Verdict::Bad { why };
    }
    if group.ends_with(FAMILY) {
        let why = "it belongs to another part of the platform; the gateway is its broker only";
        return Verdict::NoEquivalent { why: why.into() };
    }
    let why = "it is none of the broker's resources";
    Verdict::NotNeeded { why: why.into() }
}

/// The resources of a list, which the API server writes as `null` where there are none.
fn items(node: &Node) -> Result<&[Rc<Node>], String> {
    match value_of(node, "items").map(|node| &node.value) {
        Some(Value::List(items)) => Ok(items),
        Some(Value::Null) => Ok(&[]),
        Some(other) => Err(format!("its `items` take a list, not {}", other.what())),
        None => Err("it has no `items`".to_owned()),
    }
}

fn value_of<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    match &node.value {
        Value::Map(entries) => {
            let mut entries = entries.iter();
            entries
                .find(|entry| entry.key == key)
                .map(|entry| &*entry.node)
        }
        _ => None,
    }
}

fn text_of<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    match &value_of(node, key)?.value {
        Value::Text(text) => Some(text.as_str()),
        _ => None,
    }
}

/// What every resource says of itself.
struct Head<'n> {
    api_version: &'n str,
    kind: &'n str,
    name: &'n str,
    namespace: Option<&'n str>,
}

impl<'n> Head<'n> {
    fn of(node: &'n Node) -> Option<Self> {
        let metadata = value_of(node, "metadata");
        let of_metadata = |key| metadata.and_then(|metadata| text_of(metadata, key));
        Some(Self {
            api_version: text_of(node, "apiVersion")?,
            kind: text_of(node, "kind")?,
            name: of_metadata("name").unwrap_or_default(),
            namespace: of_metadata("namespace"),
        })
    }

    fn group(&self) -> &'n str {
        let parts = self.api_version.split_once('/');
        parts.map_or("", |(group, _)| group)
    }

    fn is_object(&self) -> bool {
        OBJECTS.contains(&self.kind)
    }

    /// Whether it is a list of any kind, or of one that is read. What others call a list is theirs.
    fn is_list(&self) -> bool {
        let Some(kind) = self.kind.strip_suffix("List") else {
            return false;
        };
        match self.group() {
            "" => kind.is_empty() || OBJECTS.contains(&kind),
            group => GROUPS.contains(&group) && is_kind(kind),
        }
    }

    fn shown_kind(&self) -> String {
        super::yaml::shown_key(self.kind)
    }

    fn shown_name(&self) -> String {
        super::yaml::shown_key(self.name)
    }
}

/// Whether a text is a name of the cluster, and so may stand in a path and in a command.
pub(super) fn is_name(text: &str) -> bool {
    let is_end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= NAME_BYTES_MAX
        && text.starts_with(is_end)
        && text.ends_with(is_end)
        && text.chars().all(|c| is_end(c) || c == '-' || c == '.')
        && !text.contains("..")
}

/// `v1`, `v1beta1`
fn is_version(text: &str) -> bool {
    let is_number =
        |text: &str| !text.is_empty() && text.len() < 4 && text.chars().all(|c| c.is_ascii_digit());
    let Some(rest) = text.strip_prefix('v') else {
        return false;
    };
    let parts = rest.split_once("alpha").or_else(|| rest.split_once("beta"));
    parts.map_or_else(
        || is_number(rest),
        |(one, other)| is_number(one) && is_number(other),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_cluster_are_harmless() {
        for name in ["a", "client-ca", "x.y", "0-9"] {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "",
            "-a",
            "a-",
            "A",
            "a/b",
            "..",
            "a..b",
            "a b",
            "$(x)",
            &"a".repeat(254),
        ] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn versions() {
        for version in ["v1", "v1beta1", "v1alpha4", "v2beta1"] {
            assert!(is_version(version), "{version}");
        }
        for version in ["", "1", "v", "vbeta1", "v1beta", "v1gamma1", "v1 "] {
            assert!(!is_version(version), "{version}");
        }
    }
}
