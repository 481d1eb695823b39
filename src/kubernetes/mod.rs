//! Floor 3: the configuration of a gateway as resources of a cluster.
//!
//! The file is the one that runs on a device. What it names becomes volumes, its listeners become services, and what a pod
//! cannot do is refused before it is applied.

#[cfg(test)]
pub(crate) mod admission;
mod controller;
mod crds;
mod mounts;
mod services;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod workload;
mod yaml;

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::config::{
    Authentication, Endpoint, ListenerSettings, MethodSettings, ServiceName, Settings, TlsMode,
};
pub use crds::custom_resource_definitions;
use mounts::Mounts;
#[cfg(feature = "kube")]
pub(crate) use services::{reachable, service_name, spec as service_spec};

/// How the resources are to be.
#[derive(Clone, Debug)]
pub struct RenderOptions {
    /// Name of everything that has no other.
    pub name: String,
    /// Namespace of everything.
    pub namespace: String,
    /// Whether that namespace is there already, with others in it.
    pub is_shared: bool,
    /// Image with this program.
    pub image: String,
    /// Class of the volume; that of the cluster where absent.
    pub storage_class: Option<String>,
    /// Size of the volume, such as `4Gi`; after the bounds of the configuration where absent.
    pub storage: Option<String>,
    /// Who issues the certificates that ports have as files.
    pub issuer: Option<Issuer>,
}

/// An issuer of cert-manager.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// Its name.
    pub name: String,
    /// Whether it is a ClusterIssuer.
    pub is_of_cluster: bool,
}

/// A file of the configuration.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// Its path below the folder of the main file: `gateway.toml`, `conf.d/50-site.toml`.
    pub name: String,
    /// What it holds.
    pub text: String,
}

/// The resources.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// All of them, as YAML.
    pub text: String,
    /// What has to be in the namespace besides.
    pub required: Vec<String>,
    /// What is legal and probably not meant.
    pub notes: Vec<String>,
}

/// Why a configuration cannot run in a cluster as it is.
#[derive(Debug, thiserror::Error)]
pub enum RenderFault {
    /// A socket that only systemd passes.
    #[error("the port `systemd:{name}` gets its socket from systemd, which no pod has")]
    Systemd {
        /// Name of the socket.
        name: String,
    },
    /// A number that nobody knows beforehand.
    #[error("the listener `{listener}` has port 0, and a service leads to a number")]
    Unnumbered {
        /// The listener.
        listener: String,
    },
    /// A network interface of a machine.
    #[error(
        "port {port} accepts on the interface `{interface}`, and a pod has interfaces of its own"
    )]
    Interface {
        /// The port.
        port: u16,
        /// The interface.
        interface: String,
    },
    /// Nothing that a service could lead to.
    #[error(
        "no port accepts from outside of the pod: all are bound to 127.0.0.1 or are Unix sockets"
    )]
    Unreachable,
    /// Services of the controller would lead to no pod.
    #[error(
        "`[kubernetes]` has instance = \"{instance}\", and the name here is `{name}`: services would lead to no pod"
    )]
    Instance {
        /// The name of the deployment.
        name: String,
        /// What the configuration says.
        instance: String,
    },
    /// The controller would follow resources that are elsewhere.
    #[error(
        "`[kubernetes]` has namespace = \"{configured}\", and the namespace here is `{namespace}`: its role is for this one alone"
    )]
    Namespace {
        /// The namespace of the deployment.
        namespace: String,
        /// What the configuration says.
        configured: String,
    },
    /// A name that no service can have.
    #[error(
        "the listener `{listener}` needs a `service_name`: its own name cannot be that of a service"
    )]
    NoService {
        /// The listener.
        listener: String,
    },
    /// A name that two services would have.
    #[error("two listeners have the service name `{name}`")]
    SameService {
        /// The name.
        name: String,
    },
    /// A socket where a pod cannot write.
    #[error("the socket `{}` is where the pod cannot write; it can in /run/fieldgate, /var/lib/fieldgate and /tmp", path.display())]
    ReadOnly {
        /// The socket.
        path: PathBuf,
    },
    /// A file that no object of a cluster can be named after.
    #[error("`{}` cannot become an object of the cluster: the name of the file has letters that no name there has", path.display())]
    Unnamed {
        /// The file.
        path: PathBuf,
    },
    /// Two files that would be one.
    #[error("`{}` and `{}` would both be {object}; give one of the files another name", path.display(), other.display())]
    Twice {
        /// A file.
        path: PathBuf,
        /// The other one.
        other: PathBuf,
        /// What both would be.
        object: String,
    },
    /// Two volumes inside each other.
    #[error("files in `{}` cannot be mounted, because of the volume `{}`", path.display(), other.display())]
    Nested {
        /// The folder.
        path: PathBuf,
        /// What is mounted there already.
        other: PathBuf,
    },
    /// More text than an object of the cluster holds.
    #[error("the configuration has {bytes} bytes, and a ConfigMap holds 1 MiB")]
    TooLarge {
        /// Bytes of all files.
        bytes: usize,
    },
}

/// API group of our own resources. It is a name like that of the cluster broker's, so that what was written for one is
/// rewritten for the other by one word.
pub const BROKER_GROUP: &str = "mqttbroker.fieldgate.io";

/// The names under which pods reach a service.
#[must_use]
pub fn service_names(service: &str, namespace: &str) -> Vec<String> {
    vec![
        service.to_owned(),
        format!("{service}.{namespace}"),
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}.svc.cluster.local"),
    ]
}

/// The labels that tell the pod of a gateway from all others.
pub(crate) fn selector(instance: &str) -> Value {
    json!({"app.kubernetes.io/name": "fieldgate", "app.kubernetes.io/instance": instance})
}

/// Label of the services that a controller looks after; its value is the name of the listener.
pub const LISTENER_LABEL: &str = "mqttbroker.fieldgate.io/listener";

/// The labels of everything that is rendered.
pub(crate) fn labels(instance: &str) -> Value {
    let mut labels = selector(instance);
    labels["app.kubernetes.io/component"] = json!("mqtt-broker");
    labels
}

/// Bytes of a ConfigMap.
const CONFIG_MAP_BYTES_MAX: usize = 1 << 20;

/// Resources as YAML, in the order in which people read them.
pub(crate) fn render_yaml(documents: &[Value]) -> String {
    yaml::render(documents)
}

/// The resources of a gateway. The first file is the main one.
pub fn render(
    settings: &Settings,
    files: &[ConfigFile],
    options: &RenderOptions,
) -> Result<Rendered, RenderFault> {
    let rendering = Rendering {
        settings,
        files,
        options,
    };
    rendering.check()?;
    let mounts = Mounts::of(settings)?;
    let mut documents = Vec::new();
    if options.namespace != "default" && !options.is_shared {
        documents.push(rendering.namespace());
    }
    documents.push(rendering.service_account());
    if rendering.asks_cluster() {
        documents.extend(rendering.rights());
    }
    if settings.kubernetes.controller {
        documents.extend(rendering.controller_rights());
    }
    documents.push(rendering.config_map());
    documents.push(rendering.claim());
    documents.extend(rendering.services());
    documents.push(rendering.network_policy());
    documents.extend(rendering.certificates(&mounts));
    documents.push(rendering.deployment(&mounts));
    Ok(Rendered {
        text: yaml::render(&documents),
        required: mounts.required(),
        notes: rendering.notes(&mounts),
    })
}

struct Rendering<'r> {
    settings: &'r Settings,
    files: &'r [ConfigFile],
    options: &'r RenderOptions,
}

impl Rendering<'_> {
    fn check(&self) -> Result<(), RenderFault> {
        let bytes = self
            .files
            .iter()
            .map(|file| file.name.len() + file.text.len())
            .sum();
        if bytes > CONFIG_MAP_BYTES_MAX {
            return Err(RenderFault::TooLarge { bytes });
        }
        for port in self.settings.ports() {
            match &port.endpoint {
                Endpoint::Systemd { name } => {
                    let name = name.to_string();
                    return Err(RenderFault::Systemd { name });
                }
                Endpoint::Tcp { port: 0, .. } => {
                    let listener = port.listener.to_string();
                    return Err(RenderFault::Unnumbered { listener });
                }
                Endpoint::Tcp {
                    port,
                    interface: Some(interface),
                    ..
                } => {
                    return Err(RenderFault::Interface {
                        port: *port,
                        interface: interface.to_string(),
                    });
                }
                Endpoint::Tcp { .. } | Endpoint::Unix { .. } => {}
            }
        }
        let mut names = Vec::new();
        for listener in self.reachable() {
            let name = services::service_name(listener);
            if ServiceName::try_from(name).is_err() {
                let listener = listener.name.to_string();
                return Err(RenderFault::NoService { listener });
            }
            if names.contains(&name) {
                let name = name.to_owned();
                return Err(RenderFault::SameService { name });
            }
            names.push(name);
        }
        let controller = &self.settings.kubernetes;
        if names.is_empty() && !controller.controller {
            return Err(RenderFault::Unreachable);
        }
        if controller.controller && controller.instance.as_str() != self.options.name {
            return Err(RenderFault::Instance {
                name: self.options.name.clone(),
                instance: controller.instance.to_string(),
            });
        }
        if let Some(configured) = &controller.namespace
            && controller.controller
            && configured.as_str() != self.options.namespace
        {
            return Err(RenderFault::Namespace {
                namespace: self.options.namespace.clone(),
                configured: configured.to_string(),
            });
        }
        Ok(())
    }

    /// Listeners with a port that others than this pod reach.
    fn reachable(&self) -> impl Iterator<Item = &ListenerSettings> {
        let listeners = self.settings.listeners.iter();
        listeners.filter(|listener| services::reachable(listener).next().is_some())
    }

    fn notes(&self, mounts: &Mounts) -> Vec<String> {
        let mut notes = mounts.notes.clone();
        for listener in self.reachable() {
            for (port, number) in services::reachable(listener) {
                let Some(TlsMode::Automatic(certificate)) = port.tls.as_ref().map(|tls| &tls.mode)
                else {
                    continue;
                };
                let names = self.names(listener);
                let is_named = certificate
                    .dns
                    .iter()
                    .any(|dns| names.iter().any(|name| name == dns.as_str()));
                if !is_named {
                    let names: Vec<String> =
                        names.iter().map(|name| format!("\"{name}\"")).collect();
                    notes.push(format!(
                        "port {number}: no pod can check its certificate unless tls has dns = [{}]",
                        names.join(", ")
                    ));
                }
            }
        }
        for port in self.settings.ports() {
            if !workload::is_reachable(&port.endpoint) {
                notes.push(format!(
                    "{}: reached from inside the pod only",
                    port.endpoint
                ));
            }
        }
        notes
    }

    /// Whether a port asks the API server about tokens.
    fn asks_cluster(&self) -> bool {
        // With the controller any port may become one that does.
        let controller = self.settings.kubernetes.controller;
        controller
            || self
                .settings
                .ports()
                .any(|port| match &port.authentication {
                    Authentication::None => false,
                    Authentication::Named(named) => {
                        let mut methods = named.methods.iter();
                        methods
                            .any(|method| matches!(method, MethodSettings::ServiceAccountToken(_)))
                    }
                })
    }

    fn main_file(&self) -> &str {
        self.files.first().map_or("gateway.toml", |file| &file.name)
    }

    fn metadata(&self, name: &str) -> Value {
        json!({"name": name, "namespace": self.options.namespace, "labels": self.labels()})
    }

    fn labels(&self) -> Value {
        labels(&self.options.name)
    }

    fn selector(&self) -> Value {
        selector(&self.options.name)
    }
}
