//! The pod and what it stands on.

use serde_json::{Value, json};

use super::mounts::{CONFIG_DIR, Mounts, RUNTIME_DIR, STATE_DIR, TEMPORARY_DIR};
use super::{ConfigFile, Rendering};
use crate::config::Endpoint;

/// The user of the image.
const USER: u32 = 65532;

/// Ports below need a right, or this switch of the pod.
const PRIVILEGED_PORTS_END: u16 = 1024;

/// Memory of the process without clients and messages.
const MEMORY_BASE_BYTES: u64 = 192 << 20;

const MEBIBYTE: u64 = 1 << 20;
const GIBIBYTE: u64 = 1 << 30;

impl Rendering<'_> {
    pub(super) fn namespace(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": self.options.namespace,
                "labels": {
                    "pod-security.kubernetes.io/enforce": "restricted",
                    "pod-security.kubernetes.io/warn": "restricted",
                },
            },
        })
    }

    pub(super) fn service_account(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": self.metadata(&self.options.name),
            "automountServiceAccountToken": false,
        })
    }

    /// What the method `service_account_token` may ask: whose a token is, and which attributes it has.
    pub(super) fn rights(&self) -> Vec<Value> {
        let name = format!("{}-{}", self.options.namespace, self.options.name);
        let accounts = format!("{name}-service-accounts");
        let subjects = json!([{
            "kind": "ServiceAccount",
            "name": self.options.name,
            "namespace": self.options.namespace,
        }]);
        let binding = |binding: String, role: &str| {
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": binding, "labels": self.labels()},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": subjects,
            })
        };
        vec![
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole",
                "metadata": {"name": accounts, "labels": self.labels()},
                "rules": [{"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["get"]}],
            }),
            binding(accounts.clone(), &accounts),
            binding(format!("{name}-auth-delegator"), "system:auth-delegator"),
        ]
    }

    /// The files as they are on a device, byte for byte.
    pub(super) fn config_map(&self) -> Value {
        let data: serde_json::Map<String, Value> = self
            .files
            .iter()
            .map(|file| (key_of(file), Value::String(file.text.clone())))
            .collect();
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": self.metadata(&self.options.name),
            "data": data,
        })
    }

    /// Not that of the ConfigMap: where podman plays the resources, both become volumes by their names.
    fn claim_name(&self) -> String {
        format!("{}-state", self.options.name)
    }

    pub(super) fn claim(&self) -> Value {
        let limits = &self.settings.limits;
        let storage = self.options.storage.clone().unwrap_or_else(|| {
            // The database, once more while it is written anew, and room.
            let kept = limits
                .stored_bytes_max
                .saturating_add(limits.retained_bytes_max);
            let bytes = kept
                .saturating_mul(2)
                .saturating_add(self.settings.store.reserve_bytes);
            format!("{}Gi", bytes.div_ceil(GIBIBYTE) + 1)
        });
        let mut spec = json!({
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": storage}},
        });
        if let Some(class) = &self.options.storage_class {
            spec["storageClassName"] = json!(class);
        }
        json!({
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": self.metadata(&self.claim_name()),
            "spec": spec,
        })
    }

    pub(super) fn deployment(&self, mounts: &Mounts) -> Value {
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": self.metadata(&self.options.name),
            "spec": {
                "replicas": 1,
                "revisionHistoryLimit": 3,
                // The volume is for one gateway at a time.
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": self.selector()},
                "template": {
                    "metadata": {"labels": self.labels()},
                    "spec": self.pod(mounts),
                },
            },
        })
    }

    fn pod(&self, mounts: &Mounts) -> Value {
        let items: Vec<Value> = self
            .files
            .iter()
            .map(|file| json!({"key": key_of(file), "path": file.name}))
            .collect();
        let mut volumes = vec![
            json!({"name": "config", "configMap": {"name": self.options.name, "defaultMode": 0o444, "items": items}}),
            json!({"name": "state", "persistentVolumeClaim": {"claimName": self.claim_name()}}),
            json!({"name": "run", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}),
            json!({"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}),
        ];
        let mut volume_mounts = vec![
            json!({"name": "config", "mountPath": CONFIG_DIR, "readOnly": true}),
            json!({"name": "state", "mountPath": STATE_DIR}),
            json!({"name": "run", "mountPath": RUNTIME_DIR}),
            json!({"name": "tmp", "mountPath": TEMPORARY_DIR}),
        ];
        let (more_volumes, more_mounts) = mounts.volumes();
        volumes.extend(more_volumes);
        volume_mounts.extend(more_mounts);
        let stop = self.settings.limits.stop_timeout.as_secs();
        json!({
            "serviceAccountName": self.options.name,
            "automountServiceAccountToken": self.asks_cluster(),
            "enableServiceLinks": false,
            // The name of the gateway where the configuration gives it none.
            "hostname": self.options.name,
            "terminationGracePeriodSeconds": stop.saturating_add(25),
            "securityContext": self.security(),
            "containers": [self.container(&volume_mounts)],
            "volumes": volumes,
        })
    }

    fn security(&self) -> Value {
        let mut security = json!({
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        });
        let ports = self.ports();
        let mut numbers = ports.iter().map(|(_, number)| *number);
        // With the controller a listener may have any port.
        let is_open = self.settings.kubernetes.controller;
        if is_open || numbers.any(|number| number < PRIVILEGED_PORTS_END) {
            security["sysctls"] =
                json!([{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]);
        }
        security
    }

    fn container(&self, volume_mounts: &[Value]) -> Value {
        // The state folder says where a control socket is that the configuration has put elsewhere.
        let (option, folder) = match self.settings.admin.control_socket {
            Some(_) => ("--state-dir", STATE_DIR),
            None => ("--runtime-dir", RUNTIME_DIR),
        };
        let probe = |what: &str, period: u32, failures: u32| {
            json!({
                "exec": {"command": ["/fieldgate", "health", what, option, folder]},
                "periodSeconds": period,
                "timeoutSeconds": 5,
                "failureThreshold": failures,
            })
        };
        let mut ports: Vec<Value> = self
            .ports()
            .iter()
            .map(|(name, port)| json!({"name": name, "containerPort": port, "protocol": "TCP"}))
            .collect();
        if let Some(port) = self.metrics_port() {
            ports.push(json!({"name": "metrics", "containerPort": port, "protocol": "TCP"}));
        }
        let limits = &self.settings.limits;
        let queues = limits
            .queue_bytes_max
            .saturating_add(limits.retained_bytes_max);
        let memory = queues.saturating_add(MEMORY_BASE_BYTES).div_ceil(MEBIBYTE);
        json!({
            "name": "fieldgate",
            "image": self.options.image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["/fieldgate"],
            "args": [
                "serve",
                "--config", format!("{CONFIG_DIR}/{}", self.main_file()),
                "--state-dir", STATE_DIR,
                "--runtime-dir", RUNTIME_DIR,
            ],
            "ports": ports,
            // A start after a power cut may take minutes.
            "startupProbe": probe("--live", 2, 150),
            "readinessProbe": probe("--ready", 10, 2),
            "livenessProbe": probe("--live", 20, 3),
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            },
            // No limit of processor time: it would make messages wait.
            "resources": {
                "requests": {"cpu": "50m", "memory": "64Mi"},
                "limits": {"memory": format!("{memory}Mi")},
            },
            "volumeMounts": volume_mounts,
        })
    }

    /// The port of health and metrics, where others than this pod reach it.
    pub(super) fn metrics_port(&self) -> Option<u16> {
        let http = self.settings.admin.http?;
        (!http.ip().is_loopback() && http.port() > 0).then_some(http.port())
    }

    /// Names and numbers of the ports that services lead to.
    pub(super) fn ports(&self) -> Vec<(String, u16)> {
        let ports = self
            .settings
            .ports()
            .filter(|port| is_reachable(&port.endpoint));
        ports
            .filter_map(|port| match port.endpoint {
                Endpoint::Tcp { port: number, .. } => {
                    Some((super::services::port_name(port, number), number))
                }
                Endpoint::Unix { .. } | Endpoint::Systemd { .. } => None,
            })
            .collect()
    }
}

/// Whether a port accepts from outside of the pod.
pub(super) fn is_reachable(endpoint: &Endpoint) -> bool {
    match endpoint {
        Endpoint::Tcp { bind, .. } => !bind.is_some_and(|address| address.is_loopback()),
        Endpoint::Unix { .. } | Endpoint::Systemd { .. } => false,
    }
}

/// The key of a file: a ConfigMap has no folders.
fn key_of(file: &ConfigFile) -> String {
    file.name.replace('/', ".")
}
