//! The definitions of our own resources, which have the shape of those of the cluster broker.
//!
//! What `import/aio` takes in the present shape the API server stores, and so some of what it does not take: a server drops keys
//! that a definition does not have, and with a misspelled `authenticationRef` it would drop what closes a port. So every table keeps
//! the keys that nobody knows, for the importer to find and the condition `Accepted` to name. Only what cannot be meant otherwise is
//! refused at once: wrong types, numbers out of range, words that do not exist.

use serde_json::{Map, Value, json};

use super::{BROKER_GROUP, render_yaml};

/// Keys that must be there.
type Required = &'static [&'static str];

/// All of them, as YAML for `kubectl apply`.
#[must_use]
pub fn custom_resource_definitions() -> String {
    render_yaml(&definitions())
}

pub(super) fn definitions() -> Vec<Value> {
    vec![
        definition("Broker", "brokers", &broker(), &json!([])),
        definition(
            "BrokerListener",
            "brokerlisteners",
            &listener(),
            &json!([
                column("Type", ".spec.serviceType"),
                column("Service", ".status.service"),
                column("Ports", ".status.portNumbers"),
            ]),
        ),
        definition(
            "BrokerAuthentication",
            "brokerauthentications",
            &authentication(),
            &json!([]),
        ),
        definition(
            "BrokerAuthorization",
            "brokerauthorizations",
            &authorization(),
            &json!([]),
        ),
    ]
}

fn definition(kind: &str, plural: &str, spec: &Value, columns: &Value) -> Value {
    let singular = kind.to_ascii_lowercase();
    let condition = |name: &str, field: &str| {
        json!({
            "name": name,
            "type": "string",
            "jsonPath": format!(".status.conditions[?(@.type==\"Ready\")].{field}"),
        })
    };
    let mut all = vec![condition("Ready", "status"), condition("Reason", "reason")];
    all.extend(columns.as_array().into_iter().flatten().cloned());
    all.push(json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}));
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{BROKER_GROUP}")},
        "spec": {
            "group": BROKER_GROUP,
            "names": {
                "kind": kind,
                "listKind": format!("{kind}List"),
                "plural": plural,
                "singular": singular,
                "categories": ["fieldgate"],
            },
            "scope": "Namespaced",
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "subresources": {"status": {}},
                "additionalPrinterColumns": all,
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "required": ["spec"],
                    "properties": {
                        "apiVersion": {"type": "string"},
                        "kind": {"type": "string"},
                        "metadata": {"type": "object"},
                        "spec": spec,
                        "status": status(),
                    },
                }},
            }],
        },
    })
}

fn column(name: &str, path: &str) -> Value {
    json!({"name": name, "type": "string", "jsonPath": path})
}

/// A table of a specification, with whatever else is written into it.
fn object<const N: usize>(required: Required, properties: [(&str, Value); N]) -> Value {
    let mut schema = closed(required, properties);
    schema["x-kubernetes-preserve-unknown-fields"] = json!(true);
    schema
}

/// A table that loses what it does not have.
fn closed<const N: usize>(required: Required, properties: [(&str, Value); N]) -> Value {
    let properties = properties
        .into_iter()
        .map(|(name, schema)| (name.to_owned(), schema));
    let mut schema = json!({"type": "object", "properties": properties.collect::<Map<_, _>>()});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn text() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 4096})
}

/// The name of another object.
fn name() -> Value {
    json!({
        "type": "string",
        "minLength": 1,
        "maxLength": 253,
        "pattern": "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$",
    })
}

/// One of several words, in letters of either case. An `enum` would know one of the two.
fn word(words: &[&str]) -> Value {
    word_or(words, &[])
}

/// One of several words, or an older one for the same.
fn word_or(words: &[&str], older: &[&str]) -> Value {
    let all = [words, older].concat();
    json!({
        "type": "string",
        "description": words.join(", "),
        "pattern": format!("^(?i:{})$", all.join("|")),
    })
}

/// What is refused by the importer where it says nothing, and not by a server that has dropped it.
fn nullable(mut schema: Value) -> Value {
    schema["nullable"] = json!(true);
    schema
}

fn default(mut schema: Value, value: &str) -> Value {
    schema["default"] = json!(value);
    schema
}

fn number(min: i64, max: i64) -> Value {
    let mut schema = json!({"type": "integer", "format": "int64", "minimum": min});
    // The largest one is no bound, and has no exact form where numbers are floating.
    if max < i64::MAX {
        schema["maximum"] = json!(max);
    }
    schema
}

fn list(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

fn map(values: Value) -> Value {
    json!({"type": "object", "additionalProperties": values})
}

/// A part that is read and has no meaning here, so that manifests stay as they are.
fn anything() -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

fn mode() -> Value {
    word(&["Enabled", "Disabled"])
}

fn tls() -> Value {
    let issuer = object(
        &["name"],
        [
            ("name", name()),
            ("kind", text()),
            ("group", default(text(), "cert-manager.io")),
        ],
    );
    let duration = json!({"type": "string", "pattern": "^([0-9]+(h|m|s))+$"});
    let algorithms = [
        "Ec256", "Ec384", "Ec521", "Ed25519", "Rsa2048", "Rsa4096", "Rsa8192",
    ];
    let key = object(
        &[],
        [
            (
                "algorithm",
                word_or(&algorithms, &["ec-p256", "ec-p384", "ec-p521"]),
            ),
            ("rotationPolicy", word(&["Always", "Never"])),
        ],
    );
    let san = object(&[], [("dns", list(text())), ("ip", list(text()))]);
    let wishes = object(
        &[],
        [
            ("issuerRef", issuer),
            ("secretName", name()),
            ("duration", duration.clone()),
            ("renewBefore", duration),
            ("privateKey", key),
            ("san", san),
        ],
    );
    object(
        &[],
        [
            ("mode", word(&["Automatic", "Manual"])),
            ("certManagerCertificateSpec", wishes),
            ("manual", object(&["secretRef"], [("secretRef", name())])),
        ],
    )
}

fn listener() -> Value {
    let protocol = word_or(&["Mqtt", "WebSockets"], &["websocket"]);
    let port = object(
        &["port"],
        [
            ("port", number(1, 65535)),
            ("nodePort", number(0, 65535)),
            ("protocol", default(protocol, "Mqtt")),
            ("authenticationRef", nullable(name())),
            ("authorizationRef", nullable(name())),
            ("tls", nullable(tls())),
        ],
    );
    let mut ports = list(port);
    ports["minItems"] = json!(1);
    ports["maxItems"] = json!(64);
    ports["x-kubernetes-list-type"] = json!("map");
    ports["x-kubernetes-list-map-keys"] = json!(["port"]);
    let types = ["ClusterIp", "LoadBalancer", "NodePort"];
    object(
        &["ports"],
        [
            ("brokerRef", name()),
            ("serviceType", default(word(&types), "ClusterIp")),
            (
                "serviceName",
                json!({"type": "string", "maxLength": 63, "pattern": "^[a-z]([a-z0-9-]*[a-z0-9])?$"}),
            ),
            ("ports", ports),
        ],
    )
}

fn authentication() -> Value {
    let certificate = object(
        &["secretRef"],
        [("secretRef", name()), ("namespace", name())],
    );
    let custom = object(
        &["endpoint"],
        [
            (
                "endpoint",
                json!({"type": "string", "pattern": "^(?i:https)://.*$", "maxLength": 4096}),
            ),
            ("caCertConfigMap", name()),
            ("auth", object(&[], [("x509", certificate)])),
            ("headers", map(json!({"type": "string"}))),
        ],
    );
    let mut audiences = list(text());
    audiences["minItems"] = json!(1);
    let attributes = object(
        &["subject", "attributes"],
        [
            ("subject", text()),
            ("attributes", map(json!({"type": "string"}))),
        ],
    );
    let x509 = object(
        &[],
        [
            ("trustedClientCaCert", name()),
            ("authorizationAttributes", map(attributes)),
            (
                "additionalValidation",
                word(&["None", "AzureDeviceRegistry"]),
            ),
        ],
    );
    let methods = ["Custom", "ServiceAccountToken", "X509", "UsernamePassword"];
    let older = ["sat", "k8s-sat", "x509Credentials", "x509Credential"];
    let method = object(
        &[],
        [
            ("method", word_or(&methods, &older)),
            ("customSettings", custom),
            (
                "serviceAccountTokenSettings",
                object(&["audiences"], [("audiences", audiences)]),
            ),
            ("x509Settings", x509),
        ],
    );
    let mut methods = list(method);
    methods["minItems"] = json!(1);
    methods["maxItems"] = json!(16);
    object(
        &["authenticationMethods"],
        [("authenticationMethods", methods)],
    )
}

fn authorization() -> Value {
    let texts = || list(json!({"type": "string"}));
    let principals = object(
        &[],
        [
            ("usernames", texts()),
            ("clientIds", texts()),
            ("attributes", list(map(json!({"type": "string"})))),
        ],
    );
    let resource = object(
        &["method"],
        [
            ("method", word(&["Connect", "Publish", "Subscribe"])),
            ("clientIds", texts()),
            ("topics", texts()),
        ],
    );
    let keys = object(
        &[],
        [
            ("keyType", word(&["Pattern", "String", "Binary"])),
            ("keys", texts()),
            ("method", word(&["Read", "Write", "ReadWrite"])),
        ],
    );
    let rule = object(
        &["principals"],
        [
            ("principals", principals),
            ("brokerResources", list(resource)),
            ("stateStoreResources", list(keys)),
        ],
    );
    let mut rules = list(rule);
    rules["maxItems"] = json!(1000);
    let policies = object(
        &[],
        [("cache", default(mode(), "Enabled")), ("rules", rules)],
    );
    object(
        &["authorizationPolicies"],
        [("authorizationPolicies", policies)],
    )
}

fn broker() -> Value {
    let clients = object(
        &[],
        [
            ("maxSessionExpirySeconds", number(1, 4_294_967_295)),
            ("maxMessageExpirySeconds", number(1, 4_294_967_295)),
            ("maxPacketSizeBytes", number(1, 268_435_456)),
            ("maxReceiveMaximum", number(1, 65_535)),
            ("maxKeepAliveSeconds", number(0, 65_535)),
            (
                "subscriberQueueLimit",
                object(
                    &[],
                    [
                        ("length", number(1, i64::MAX)),
                        ("strategy", word(&["None", "DropOldest"])),
                    ],
                ),
            ),
        ],
    );
    let advanced = object(
        &[],
        [
            ("clients", clients),
            ("encryptInternalTraffic", mode()),
            ("internalCerts", anything()),
        ],
    );
    let chain = object(
        &[],
        [
            ("partitions", number(1, 16)),
            ("redundancyFactor", number(2, 5)),
            ("workers", number(1, 16)),
        ],
    );
    let frontend = object(
        &[],
        [("replicas", number(1, 16)), ("workers", number(1, 16))],
    );
    object(
        &[],
        [
            ("memoryProfile", word(&["Tiny", "Low", "Medium", "High"])),
            (
                "cardinality",
                object(&[], [("backendChain", chain), ("frontend", frontend)]),
            ),
            ("advanced", advanced),
            ("diskBackedMessageBuffer", anything()),
            ("persistence", anything()),
            ("diagnostics", anything()),
            ("generateResourceLimits", object(&[], [("cpu", mode())])),
        ],
    )
}

/// What the controller writes.
fn status() -> Value {
    let text = || json!({"type": "string"});
    let condition = closed(
        &["type", "status", "reason", "message", "lastTransitionTime"],
        [
            ("type", text()),
            (
                "status",
                json!({"type": "string", "enum": ["True", "False", "Unknown"]}),
            ),
            ("reason", text()),
            ("message", text()),
            ("observedGeneration", number(0, i64::MAX)),
            (
                "lastTransitionTime",
                json!({"type": "string", "format": "date-time"}),
            ),
        ],
    );
    let mut conditions = list(condition);
    conditions["x-kubernetes-list-type"] = json!("map");
    conditions["x-kubernetes-list-map-keys"] = json!(["type"]);
    let address = closed(&["type", "value"], [("type", text()), ("value", text())]);
    let port = closed(
        &["port", "state"],
        [("port", number(1, 65_535)), ("state", text())],
    );
    closed(
        &[],
        [
            ("observedGeneration", number(0, i64::MAX)),
            ("conditions", conditions),
            ("service", text()),
            ("portNumbers", text()),
            ("ports", list(port)),
            ("addresses", list(address)),
            (
                "runtimeStatus",
                closed(&[], [("status", text()), ("description", text())]),
            ),
        ],
    )
}

#[cfg(test)]
#[path = "crds_tests.rs"]
mod tests;
