//! What the controller in the gateway may do in its namespace.

use serde_json::{Value, json};

use super::{BROKER_GROUP, Rendering};

/// The resources that it watches.
const RESOURCES: [&str; 4] = [
    "brokers",
    "brokerlisteners",
    "brokerauthentications",
    "brokerauthorizations",
];

/// Groups that have them.
const GROUPS: [&str; 2] = [BROKER_GROUP, "mqttbroker.iotoperations.azure.com"];

impl Rendering<'_> {
    /// A role in the namespace, and who has it. Secrets are watched by name and read only where a resource names them, which
    /// a role cannot tell apart.
    pub(super) fn controller_rights(&self) -> Vec<Value> {
        let name = format!("{}-controller", self.options.name);
        let statuses = RESOURCES.map(|resource| format!("{resource}/status"));
        let rules = json!([
            {"apiGroups": GROUPS, "resources": RESOURCES, "verbs": ["get", "list", "watch"]},
            {"apiGroups": GROUPS, "resources": statuses, "verbs": ["patch"]},
            {"apiGroups": [""], "resources": ["configmaps", "secrets"], "verbs": ["get", "list", "watch"]},
            {
                "apiGroups": [""],
                "resources": ["services"],
                "verbs": ["get", "list", "watch", "create", "patch", "delete"],
            },
            {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
            {
                "apiGroups": ["networking.k8s.io"],
                "resources": ["networkpolicies"],
                "verbs": ["get", "create", "patch"],
            },
            {
                "apiGroups": ["cert-manager.io"],
                "resources": ["certificates"],
                "verbs": ["get", "list", "create", "patch", "delete"],
            },
        ]);
        vec![
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "Role",
                "metadata": self.metadata(&name),
                "rules": rules,
            }),
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": self.metadata(&name),
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
                "subjects": [{
                    "kind": "ServiceAccount",
                    "name": self.options.name,
                    "namespace": self.options.namespace,
                }],
            }),
        ]
    }
}
