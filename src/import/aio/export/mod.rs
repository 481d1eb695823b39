//! A configuration of the gateway as resources of the cluster broker.
//!
//! What the resources cannot say is noted, and where leaving it out would let more in, what it narrows is left out, too.

mod access;
mod broker;
mod listeners;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;

use serde_json::{Value, json};

use crate::config::Settings;
use crate::kubernetes;

/// The group and version that are written.
const API_VERSION: &str = "mqttbroker.iotoperations.azure.com/v1";

/// The Broker, of which there is one.
const BROKER: &str = "default";

/// How the resources are to be.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// Namespace of the cluster broker.
    pub namespace: String,
    /// Name of the issuer of certificates of the mode Automatic.
    pub issuer: String,
    /// Whether it is a ClusterIssuer.
    pub is_of_cluster: bool,
}

/// Resources, and what they do not say.
#[derive(Clone, Debug)]
pub struct AioExport {
    /// The resources as YAML.
    pub text: String,
    /// Whatever has no equivalent, in the order of the configuration.
    pub notes: Vec<ExportNote>,
}

/// Something that has no equivalent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportNote {
    /// Where it stands in the configuration.
    pub place: String,
    /// Why it is not there, and what to do instead.
    pub why: String,
}

impl fmt::Display for ExportNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n    no equivalent: {}", self.place, self.why)
    }
}

/// Translates settings.
#[must_use]
pub fn export_aio(settings: &Settings, options: &ExportOptions) -> AioExport {
    let mut export = Export {
        settings,
        options,
        notes: Vec::new(),
    };
    let mut documents = Vec::new();
    documents.extend(export.broker());
    for listener in &settings.listeners {
        documents.extend(export.listener(listener));
    }
    for authentication in &settings.authentications {
        documents.push(export.authentication(authentication));
    }
    for authorization in &settings.authorizations {
        documents.push(export.authorization(authorization));
    }
    AioExport {
        text: kubernetes::render_yaml(&documents),
        notes: export.notes,
    }
}

struct Export<'s> {
    settings: &'s Settings,
    options: &'s ExportOptions,
    notes: Vec<ExportNote>,
}

impl Export<'_> {
    fn note(&mut self, place: impl Into<String>, why: impl Into<String>) {
        self.notes.push(ExportNote {
            place: place.into(),
            why: why.into(),
        });
    }

    fn resource(&self, kind: &str, name: &str, spec: &Value) -> Value {
        json!({
            "apiVersion": API_VERSION,
            "kind": kind,
            "metadata": {"name": name, "namespace": self.options.namespace},
            "spec": spec,
        })
    }

    /// The Secret or ConfigMap that a file comes from: its name without the extension.
    fn object(&mut self, place: &str, path: &Path) -> Option<String> {
        let name = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        if super::resources::is_name(name) {
            return Some(name.to_owned());
        }
        let why = format!(
            "no Secret or ConfigMap can be named after `{}`; rename the file",
            path.display()
        );
        self.note(place, why);
        None
    }

    /// The Secret of a certificate and its key.
    fn key_pair(&mut self, place: &str, cert: &Path, key: &Path) -> Option<String> {
        if cert.file_stem() != key.file_stem() {
            let why = format!(
                "a Secret holds a certificate and its key under one name; here are `{}` and `{}`",
                cert.display(),
                key.display()
            );
            self.note(place, why);
            return None;
        }
        self.object(place, cert)
    }
}
