//! The files that a configuration names, as volumes of a pod.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::RenderFault;
use crate::config::{
    AuthenticationSettings, AuthorizationSettings, Endpoint, HeaderValue, HttpServer,
    MethodSettings, Settings, TlsMode, TrustSource,
};

/// Where the configuration is mounted.
pub(super) const CONFIG_DIR: &str = "/config";

/// The state folder, a volume that stays.
pub(super) const STATE_DIR: &str = "/var/lib/fieldgate";

/// The folder of the control socket.
pub(super) const RUNTIME_DIR: &str = "/run/fieldgate";

/// Temporary files.
pub(super) const TEMPORARY_DIR: &str = "/tmp";

/// What every pod has of its service account.
const ACCOUNT_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Names in a cluster are not longer.
const NAME_BYTES_MAX: usize = 253;

/// An object of the cluster that has to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Secret,
    ConfigMap,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        }
    }
}

/// One file: which key of which object it is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    kind: Kind,
    object: String,
    key: &'static str,
}

/// A certificate and its key, which one Secret holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    /// Name of the Secret.
    pub(super) secret: String,
    cert: PathBuf,
    key: PathBuf,
}

/// Every file of a configuration.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    files: BTreeMap<PathBuf, Source>,
    folders: BTreeMap<PathBuf, String>,
    pub(super) pairs: Vec<Pair>,
    /// What is to be said about files that are not mounted.
    pub(super) notes: Vec<String>,
}

impl Mounts {
    pub(super) fn of(settings: &Settings) -> Result<Self, RenderFault> {
        let mut mounts = Self::default();
        for port in settings.ports() {
            if let Some(TlsMode::Manual { cert, key }) = port.tls.as_ref().map(|tls| &tls.mode) {
                mounts.pair(cert, key)?;
            }
            if let Endpoint::Unix { path, .. } = &port.endpoint {
                writable(path)?;
            }
        }
        if let Some(socket) = &settings.admin.control_socket {
            writable(socket)?;
        }
        if let Some(server) = &settings.kubernetes.api_server {
            mounts.server(server)?;
        }
        if let Some(token) = &settings.kubernetes.token_file {
            mounts.file(token, Kind::Secret, "token")?;
        }
        for settings in &settings.authentications {
            mounts.authentication(settings)?;
        }
        for settings in &settings.authorizations {
            mounts.authorization(settings)?;
        }
        mounts.check()?;
        Ok(mounts)
    }

    /// The Secret of the certificate of a port.
    pub(super) fn secret_of(&self, cert: &Path) -> Option<&str> {
        let mut pairs = self.pairs.iter();
        pairs
            .find(|pair| pair.cert == cert)
            .map(|pair| pair.secret.as_str())
    }

    fn authentication(&mut self, settings: &AuthenticationSettings) -> Result<(), RenderFault> {
        for method in &settings.methods {
            match method {
                MethodSettings::X509(x509) => {
                    for source in &x509.trust {
                        if let TrustSource::Path(path) = source {
                            self.public(path, "ca.crt")?;
                        }
                    }
                    for path in &x509.crls {
                        self.public(path, "ca.crl")?;
                    }
                }
                MethodSettings::ServiceAccountToken(token) => {
                    if let Some(server) = &token.api_server {
                        self.server(server)?;
                    }
                    if let Some(path) = &token.token_file {
                        self.file(path, Kind::Secret, "token")?;
                    }
                }
                MethodSettings::Custom(custom) => self.server(&custom.server)?,
                MethodSettings::Http(http) => self.server(&http.server)?,
                MethodSettings::Password(_) | MethodSettings::Anonymous(_) => {}
            }
        }
        Ok(())
    }

    fn authorization(&mut self, settings: &AuthorizationSettings) -> Result<(), RenderFault> {
        match &settings.http {
            Some(http) => self.server(&http.server),
            None => Ok(()),
        }
    }

    fn server(&mut self, server: &HttpServer) -> Result<(), RenderFault> {
        if let Some(ca) = &server.ca {
            self.public(ca, "ca.crt")?;
        }
        if let Some((cert, key)) = &server.client_certificate {
            self.pair(cert, key)?;
        }
        for value in server.headers.values() {
            if let HeaderValue::File(path) = value {
                self.file(path, Kind::Secret, "value")?;
            }
        }
        Ok(())
    }

    fn pair(&mut self, cert: &Path, key: &Path) -> Result<(), RenderFault> {
        if self.is_elsewhere(cert) && self.is_elsewhere(key) {
            return Ok(());
        }
        let secret = object_name(cert)?;
        self.add(cert, Kind::Secret, &secret, "tls.crt")?;
        self.add(key, Kind::Secret, &secret, "tls.key")?;
        let pair = Pair {
            secret,
            cert: cert.to_owned(),
            key: key.to_owned(),
        };
        if !self.pairs.contains(&pair) {
            self.pairs.push(pair);
        }
        Ok(())
    }

    /// A file or folder that everybody may read. What has no extension is a folder.
    fn public(&mut self, path: &Path, key: &'static str) -> Result<(), RenderFault> {
        if path.extension().is_some() {
            return self.file(path, Kind::ConfigMap, key);
        }
        if !self.is_elsewhere(path) {
            self.folders.insert(path.to_owned(), object_name(path)?);
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, kind: Kind, key: &'static str) -> Result<(), RenderFault> {
        if self.is_elsewhere(path) {
            return Ok(());
        }
        let object = object_name(path)?;
        self.add(path, kind, &object, key)
    }

    fn add(
        &mut self,
        path: &Path,
        kind: Kind,
        object: &str,
        key: &'static str,
    ) -> Result<(), RenderFault> {
        let source = Source {
            kind,
            object: object.to_owned(),
            key,
        };
        let mut files = self.files.iter();
        // Two files of one key, or two keys of one file.
        let clash = files.find(|(other, known)| (**known == source) != (other.as_path() == path));
        if let Some((other, _)) = clash {
            return Err(RenderFault::Twice {
                path: path.to_owned(),
                other: other.clone(),
                object: format!("the {} {object}", kind.word()),
            });
        }
        self.files.insert(path.to_owned(), source);
        Ok(())
    }

    /// Whether a file is in a volume that is there anyway; if it is the state folder, that is noted.
    fn is_elsewhere(&mut self, path: &Path) -> bool {
        if path.starts_with(ACCOUNT_DIR) {
            return true;
        }
        let is_kept = path.starts_with(STATE_DIR);
        let note = format!(
            "`{}` is in the volume of the state folder; put it there yourself",
            path.display()
        );
        if is_kept && !self.notes.contains(&note) {
            self.notes.push(note);
        }
        is_kept
    }

    /// The folders at which something is mounted, each with the files below it.
    fn roots(&self) -> Vec<PathBuf> {
        let parents = self.files.keys().filter_map(|path| path.parent());
        let mut roots: Vec<PathBuf> = Vec::new();
        // In the order of the paths a folder comes before what is below it.
        let sorted: std::collections::BTreeSet<&Path> = parents.collect();
        for parent in sorted {
            if !roots.iter().any(|root| parent.starts_with(root)) {
                roots.push(parent.to_owned());
            }
        }
        roots
    }

    fn check(&self) -> Result<(), RenderFault> {
        let roots = self.roots();
        let own = [
            CONFIG_DIR,
            STATE_DIR,
            RUNTIME_DIR,
            TEMPORARY_DIR,
            ACCOUNT_DIR,
            "/dev",
            "/proc",
            "/sys",
        ]
        .map(PathBuf::from);
        let mut all: Vec<&PathBuf> = own
            .iter()
            .chain(&roots)
            .chain(self.folders.keys())
            .collect();
        all.sort();
        for path in roots.iter().chain(self.folders.keys()) {
            let clashes = |other: &&&PathBuf| {
                **other != path && (path.starts_with(other) || other.starts_with(path))
            };
            if let Some(other) = all.iter().find(clashes) {
                return Err(RenderFault::Nested {
                    path: path.clone(),
                    other: (*other).clone(),
                });
            }
            if own.contains(path) {
                return Err(RenderFault::Nested {
                    path: path.clone(),
                    other: path.clone(),
                });
            }
        }
        Ok(())
    }

    /// `volumes` and `volumeMounts`.
    pub(super) fn volumes(&self) -> (Vec<Value>, Vec<Value>) {
        let (mut volumes, mut mounts) = (Vec::new(), Vec::new());
        for (index, root) in self.roots().iter().enumerate() {
            let name = format!("files-{index}");
            let sources: Vec<Value> = self
                .files
                .iter()
                .filter_map(|(path, source)| {
                    let below = path.strip_prefix(root).ok()?.to_str()?;
                    let kind = match source.kind {
                        Kind::Secret => "secret",
                        Kind::ConfigMap => "configMap",
                    };
                    // The gateway waits for what is not there yet.
                    Some(json!({kind: {
                        "name": source.object,
                        "optional": true,
                        "items": [{"key": source.key, "path": below}],
                    }}))
                })
                .collect();
            volumes.push(json!({
                "name": name,
                "projected": {"defaultMode": 0o440, "sources": sources},
            }));
            mounts.push(json!({"name": name, "mountPath": root.to_str(), "readOnly": true}));
        }
        for (index, (path, object)) in self.folders.iter().enumerate() {
            let name = format!("folder-{index}");
            volumes.push(json!({
                "name": name,
                "configMap": {"name": object, "optional": true, "defaultMode": 0o444},
            }));
            mounts.push(json!({"name": name, "mountPath": path.to_str(), "readOnly": true}));
        }
        (volumes, mounts)
    }

    /// What has to be in the namespace, one line for each.
    pub(super) fn required(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .files
            .iter()
            .map(|(path, source)| {
                let Source { kind, object, key } = source;
                format!(
                    "{} {object}, key {key}: the file {}",
                    kind.word(),
                    path.display()
                )
            })
            .collect();
        lines.extend(self.folders.iter().map(|(path, object)| {
            format!(
                "ConfigMap {object}, any keys: the folder {}",
                path.display()
            )
        }));
        lines
    }
}

/// Sockets can be made only where the pod may write.
fn writable(path: &Path) -> Result<(), RenderFault> {
    let folders = [RUNTIME_DIR, STATE_DIR, TEMPORARY_DIR];
    if folders.iter().any(|folder| path.starts_with(folder)) {
        return Ok(());
    }
    Err(RenderFault::ReadOnly {
        path: path.to_owned(),
    })
}

/// The object that a file comes from: its name without the extension.
fn object_name(path: &Path) -> Result<String, RenderFault> {
    let stem = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    let name = stem.to_ascii_lowercase().replace('_', "-");
    let is_end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_right = name.len() <= NAME_BYTES_MAX
        && name.starts_with(is_end)
        && name.ends_with(is_end)
        && name.chars().all(|c| is_end(c) || c == '-' || c == '.')
        && !name.contains("..");
    if !is_right || path.to_str().is_none() {
        return Err(RenderFault::Unnamed {
            path: path.to_owned(),
        });
    }
    Ok(name)
}
