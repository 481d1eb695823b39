//! Secrets and ConfigMaps that resources name, and the files that they become on the gateway.

use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use zeroize::Zeroizing;

use super::AioCluster;
use super::fields::{At, Notes};
use super::resources::is_name;
use super::yaml::{Node, Value};
use crate::import::report::Spot;

/// A file that an import makes of a Secret or a ConfigMap.
pub struct ImportedFile {
    /// Its name, without a folder.
    pub name: String,
    /// What it holds.
    pub content: Zeroizing<Vec<u8>>,
    /// Whether only the gateway may read it.
    pub is_secret: bool,
}

impl std::fmt::Debug for ImportedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("ImportedFile");
        shown.field("name", &self.name);
        shown.finish_non_exhaustive()
    }
}

/// A Secret or a ConfigMap that a resource names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeededObject {
    /// `Secret` or `ConfigMap`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Which value of it; any where absent.
    pub key: Option<&'static str>,
    /// Number of the text that names it, from 0, in the order in which they were given.
    pub text: usize,
    /// The file that the value becomes.
    pub file: String,
    /// Whether the object and the value were there.
    pub is_there: bool,
}

/// A certificate that cert-manager is to issue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedCertificate {
    /// Numbers of the texts that want it, from 0.
    pub texts: Vec<usize>,
    /// Name of the Secret that it comes in. No two have the same one.
    pub secret: String,
    /// Name of the issuer.
    pub issuer: String,
    /// `Issuer` or `ClusterIssuer`, or what an issuer of another group is called.
    pub issuer_kind: String,
    /// Group of the issuer.
    pub issuer_group: String,
    /// DNS names.
    pub dns: Vec<String>,
    /// Addresses.
    pub ip: Vec<String>,
    /// `spec.duration` and `spec.renewBefore` as they were written.
    pub times: [Option<String>; 2],
    /// `Ec256`, `Rsa2048` and so on.
    pub algorithm: Option<&'static str>,
    /// `Always` or `Never`.
    pub rotation_policy: Option<&'static str>,
}

/// Stands for the key where all values count.
const ANY_KEY: &str = "any value";

/// One value that a resource names.
struct Wanted<'w> {
    kind: &'static str,
    object: &'w str,
    key: &'static str,
    /// The file that it becomes.
    file: &'w str,
    /// How an operator gets it there.
    command: String,
}

/// Values under their keys.
type Values = Vec<(String, Zeroizing<Vec<u8>>)>;

/// A Secret or a ConfigMap.
pub(super) struct Object {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) spot: Spot,
    pub(super) is_used: bool,
    values: Result<Values, String>,
}

impl Object {
    pub(super) fn new(node: &Node, kind: &str, name: &str, spot: Spot) -> Self {
        let kind = if kind == "Secret" {
            "Secret"
        } else {
            "ConfigMap"
        };
        Self {
            kind,
            name: name.to_owned(),
            spot,
            is_used: false,
            values: values(node, kind),
        }
    }

    fn value(&self, key: &str) -> Option<&Zeroizing<Vec<u8>>> {
        let mut values = self.values.iter().flatten();
        values.find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// All values, one after the other, where there is a certificate in any of them, whole or not.
    fn certificates(&self) -> Option<Zeroizing<Vec<u8>>> {
        let mut all = Zeroizing::new(Vec::new());
        for (_, value) in self.values.iter().flatten() {
            all.extend_from_slice(value);
            if !value.ends_with(b"\n") {
                all.push(b'\n');
            }
        }
        let mark: &[u8] = b"-----BEGIN CERTIFICATE-----";
        Some(all).filter(|all| all.windows(mark.len()).any(|part| part == mark))
    }
}

/// Every value under its key.
fn values(node: &Node, kind: &str) -> Result<Values, String> {
    let Value::Map(entries) = &node.value else {
        return Ok(Vec::new());
    };
    let mut values = Vec::new();
    for entry in entries {
        let is_encoded = match (kind, entry.key.as_str()) {
            ("Secret", "data") | ("ConfigMap", "binaryData") => true,
            ("Secret", "stringData") | ("ConfigMap", "data") => false,
            _ => continue,
        };
        let Value::Map(entries) = &entry.node.value else {
            continue;
        };
        for entry in entries {
            let Value::Text(text) = &entry.node.value else {
                continue;
            };
            let value = if is_encoded {
                decode(text).ok_or_else(|| {
                    format!(
                        "its value `{}` is not base64",
                        super::yaml::shown_key(&entry.key)
                    )
                })?
            } else {
                Zeroizing::new(text.as_bytes().to_vec())
            };
            values.push((entry.key.clone(), value));
        }
    }
    Ok(values)
}

fn decode(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let bytes = text.bytes().filter(|byte| !byte.is_ascii_whitespace());
    let packed = Zeroizing::new(bytes.collect::<Vec<u8>>());
    BASE64.decode(&packed).ok().map(Zeroizing::new)
}

/// Every Secret and ConfigMap of the files.
#[derive(Default)]
pub(super) struct Objects(Vec<Object>);

impl Objects {
    pub(super) fn add(&mut self, object: Object) -> Result<(), String> {
        if let Err(why) = &object.values {
            return Err(why.clone());
        }
        if self.find(object.kind, &object.name).is_some() {
            return Err("it is there twice".to_owned());
        }
        self.0.push(object);
        Ok(())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Object> {
        self.0.iter()
    }

    fn find(&mut self, kind: &str, name: &str) -> Option<&mut Object> {
        let mut objects = self.0.iter_mut();
        objects.find(|object| object.kind == kind && object.name == name)
    }

    /// Looks an object up because a resource names it.
    fn used(&mut self, kind: &str, name: &str) -> Option<&Object> {
        let object = self.find(kind, name)?;
        object.is_used = true;
        Some(object)
    }
}

/// Whose certificates authorities issue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AuthoritiesOf {
    /// Clients, which they let in.
    Clients,
    /// A server that is asked.
    Server,
}

/// What resources name, where it goes on the gateway, and how it comes there.
pub(super) struct Materials {
    pub(super) objects: Objects,
    /// The folder on the gateway.
    pub(super) folder: PathBuf,
    /// Whether the files are written.
    pub(super) writes: bool,
    /// The cluster that the gateway runs in.
    pub(super) cluster: Option<AioCluster>,
    pub(super) files: Vec<ImportedFile>,
    pub(super) needed: Vec<NeededObject>,
    pub(super) certificates: Vec<WantedCertificate>,
}

impl Materials {
    /// The certificate and the key of a Secret.
    pub(super) fn key_pair(
        &mut self,
        notes: &mut Notes<'_>,
        at: &At<'_>,
        namespace: Option<&str>,
    ) -> Option<(String, String)> {
        let secret = object_name(notes, at)?;
        Some(self.key_pair_of(notes, at, secret, namespace))
    }

    /// As [`Self::key_pair`], where the name is known to be one.
    pub(super) fn key_pair_of(
        &mut self,
        notes: &mut Notes<'_>,
        at: &At<'_>,
        secret: &str,
        namespace: Option<&str>,
    ) -> (String, String) {
        let names = [format!("{secret}.crt"), format!("{secret}.key")];
        for (key, name) in ["tls.crt", "tls.key"].into_iter().zip(&names) {
            let is_secret = key == "tls.key";
            let found = self.objects.used("Secret", secret);
            let content = found.map(|object| object.value(key).cloned());
            let wanted = Wanted {
                kind: "Secret",
                object: secret,
                key,
                file: name,
                command: kubectl(namespace, "secret", secret, key, &self.path(name)),
            };
            self.take(notes, at, wanted, content, is_secret);
        }
        let [cert, key] = names.map(|name| self.path(&name));
        notes.translated(at, format!("the files {cert} and {key}"));
        (cert, key)
    }

    /// Reads the namespace of a Secret. A gateway in a cluster has no right in another one, and the Secret of that name in its
    /// own is not what is meant.
    pub(super) fn secret_namespace(&self, notes: &mut Notes<'_>, at: &At<'_>) -> Option<String> {
        let named = object_name(notes, at)?;
        match &self.cluster {
            Some(cluster) if cluster.namespace != named => {
                let why = format!(
                    "the gateway reads Secrets of its own namespace alone, which is {}; copy the Secret there",
                    cluster.namespace
                );
                notes.bad(at, why);
            }
            Some(_) | None => notes.not_needed(at, "the certificate becomes a file"),
        }
        Some(named.to_owned())
    }

    /// The certificates of a ConfigMap, whatever their keys.
    ///
    /// Those that let clients in are, in a cluster, in a file that nothing else has a use for, so that it is gone once nobody trusts
    /// them; and where there are none, the file is one that never comes and that nothing was read from yet: of the other one the
    /// gateway would keep what it held.
    pub(super) fn authorities(
        &mut self,
        notes: &mut Notes<'_>,
        at: &At<'_>,
        config_map: &str,
        namespace: Option<&str>,
        of: AuthoritiesOf,
    ) -> String {
        let found = self.objects.used("ConfigMap", config_map);
        let content = found.map(Object::certificates);
        let ending = match (of, &self.cluster, &content) {
            (AuthoritiesOf::Clients, Some(_), Some(None)) => "nobody",
            (AuthoritiesOf::Clients, Some(_), _) => "clients",
            (AuthoritiesOf::Clients, None, _) | (AuthoritiesOf::Server, ..) => "pem",
        };
        let name = format!("{config_map}.{ending}");
        let path = self.path(&name);
        let command = format!(
            "kubectl get configmap {config_map}{} -o go-template='{{{{range .data}}}}{{{{.}}}}{{{{\"\\n\"}}}}{{{{end}}}}' > {}",
            of_namespace(namespace),
            shell(&path)
        );
        let wanted = Wanted {
            kind: "ConfigMap",
            object: config_map,
            key: ANY_KEY,
            file: &name,
            command,
        };
        self.take(notes, at, wanted, content, false);
        path
    }

    /// One value of a Secret.
    pub(super) fn secret_file(
        &mut self,
        notes: &mut Notes<'_>,
        at: &At<'_>,
        (secret, key): (&str, &'static str),
        namespace: Option<&str>,
    ) -> String {
        let name = format!("{secret}.{key}");
        let path = self.path(&name);
        let found = self.objects.used("Secret", secret);
        let content = found.map(|object| object.value(key).cloned());
        let wanted = Wanted {
            kind: "Secret",
            object: secret,
            key,
            file: &name,
            command: kubectl(namespace, "secret", secret, key, &path),
        };
        self.take(notes, at, wanted, content, true);
        path
    }

    /// The text of one value of a Secret, where the files have it.
    pub(super) fn secret_text(&mut self, secret: &str, key: &str) -> Option<Zeroizing<String>> {
        let object = self.objects.used("Secret", secret)?;
        let bytes = object.value(key)?;
        let text = std::str::from_utf8(bytes).ok()?;
        Some(Zeroizing::new(text.to_owned()))
    }

    /// A secret that the resource itself holds.
    pub(super) fn own_secret(
        &mut self,
        notes: &mut Notes<'_>,
        name: String,
        content: &str,
    ) -> String {
        let path = self.path(&name);
        if self.writes {
            self.add(name, Zeroizing::new(content.as_bytes().to_vec()), true);
        } else {
            notes.next(format!(
                "write the value of the header field into {}",
                shell(&path)
            ));
        }
        path
    }

    /// Takes a value over, or says how it comes to its place.
    fn take(
        &mut self,
        notes: &mut Notes<'_>,
        at: &At<'_>,
        wanted: Wanted<'_>,
        content: Option<Option<Zeroizing<Vec<u8>>>>,
        is_secret: bool,
    ) {
        let Wanted {
            kind,
            object,
            key,
            file,
            command,
        } = wanted;
        self.needed.push(NeededObject {
            kind,
            name: object.to_owned(),
            key: Some(key).filter(|key| *key != ANY_KEY),
            text: notes.file(),
            file: file.to_owned(),
            is_there: matches!(content, Some(Some(_))),
        });
        if self.cluster.is_some() && !matches!(content, Some(Some(_))) {
            // It is awaited, and whoever runs this says so.
            return;
        }
        match content {
            Some(Some(content)) if self.writes => self.add(file.to_owned(), content, is_secret),
            Some(Some(_)) => notes.next(
                "run this again with `--out-dir DIR`, which writes the files that it names"
                    .to_owned(),
            ),
            Some(None) => notes.unreadable(at, format!("it has no `{key}`")),
            None => notes.next(command),
        }
    }

    fn add(&mut self, name: String, content: Zeroizing<Vec<u8>>, is_secret: bool) {
        if !self.files.iter().any(|file| file.name == name) {
            self.files.push(ImportedFile {
                name,
                content,
                is_secret,
            });
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

/// The name of a Secret or ConfigMap.
pub(super) fn object_name<'n>(notes: &mut Notes<'_>, at: &At<'n>) -> Option<&'n str> {
    let name = notes.text(at)?;
    if is_name(name) {
        return Some(name);
    }
    notes.bad(at, "this is no name that a cluster takes");
    None
}

fn kubectl(namespace: Option<&str>, kind: &str, name: &str, key: &str, path: &str) -> String {
    let key = key.replace('.', "\\.");
    format!(
        "kubectl get {kind} {name}{} -o jsonpath='{{.data.{key}}}' | base64 -d > {}",
        of_namespace(namespace),
        shell(path)
    )
}

fn of_namespace(namespace: Option<&str>) -> String {
    namespace.map_or_else(String::new, |namespace| format!(" -n {namespace}"))
}

/// A path as a shell takes it.
pub(super) fn shell(path: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if !path.is_empty() && path.chars().all(is_plain) {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', "'\\''"))
    }
}

/// Where files of an import go on the gateway if nothing else is said.
pub(super) fn default_folder() -> &'static Path {
    Path::new("/etc/fieldgate/aio")
}
