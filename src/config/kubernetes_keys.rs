//! What `[kubernetes]` may hold.

use super::schema::{Absence, KeySpec, Kind, TableSpec};

/// `[kubernetes]`
pub(super) static KUBERNETES: TableSpec = TableSpec {
    header: "[kubernetes]",
    doc: "The gateway as the broker of a cluster: whether it watches the resources of its namespace and opens and closes ports as \
          they say. See [kubernetes.md](kubernetes.md#the-controller).",
    own_keys: &[
        KeySpec {
            name: "controller",
            kind: Kind::Switch,
            absence: Absence::Default("false"),
            doc: "Whether Broker, BrokerListener, BrokerAuthentication and BrokerAuthorization of the namespace count as well as \
                  this file. Then the file needs no `[[listener]]` of its own.",
            elsewhere: &["operator", "watch", "enabled"],
        },
        KeySpec {
            name: "instance",
            kind: Kind::Text("a name as pods have it, such as `fieldgate`"),
            absence: Absence::Default("\"fieldgate\""),
            doc: "Label `app.kubernetes.io/instance` of the gateway's own pod, which services lead to: what `fieldgate k8s render` \
                  was told by `--name`.",
            elsewhere: &["name", "selector"],
        },
        KeySpec {
            name: "namespace",
            kind: Kind::Text("a name as namespaces have it, such as `fieldgate`"),
            absence: Absence::Means("the namespace of the pod"),
            doc: "Where the resources are.",
            elsewhere: &[],
        },
        KeySpec {
            name: "api_server",
            kind: Kind::Text("a URL such as `https://10.43.0.1:443`; `http` only for this machine"),
            absence: Absence::Means("found as every pod finds it"),
            doc: "API server of the cluster.",
            elsewhere: &["url", "server", "endpoint"],
        },
        KeySpec {
            name: "ca",
            kind: Kind::Path,
            absence: Absence::Means("that of the gateway's own service account"),
            doc: "PEM file with the authority that the API server has its certificate from.",
            elsewhere: &["ca_file", "cafile", "ca_cert"],
        },
        KeySpec {
            name: "token_file",
            kind: Kind::Path,
            absence: Absence::Means("that of the gateway's own service account"),
            doc: "File with the token that the gateway itself presents. It is read for each request.",
            elsewhere: &["token"],
        },
    ],
    limits: &[],
};
