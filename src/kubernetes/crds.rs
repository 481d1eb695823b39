//! The definitions of our own resources, which have the shape of those of the cluster broker.
//!
//! What `import/aio` reads is more lenient: letters of either case and names of older versions. Here is what is written anew;
//! the API server refuses everything else before it is stored.

use serde_json::{Map, Value, json};

use super::{BROKER_GROUP, render_yaml};

/// Keys that must be there.
type Required = &'static [&'static str];

/// All of them, as YAML for `kubectl apply`.
#[must_use]
pub fn custom_resource_definitions() -> String {
    render_yaml(&definitions())
}

fn definitions() -> Vec<Value> {
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

fn object<const N: usize>(required: Required, properties: [(&str, Value); N]) -> Value {
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

fn word(words: &[&str]) -> Value {
    json!({"type": "string", "enum": words})
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

fn listener() -> Value {
    let issuer = object(
        &["name", "kind"],
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
        &["algorithm", "rotationPolicy"],
        [
            ("algorithm", word(&algorithms)),
            ("rotationPolicy", word(&["Always", "Never"])),
        ],
    );
    let san = object(&[], [("dns", list(text())), ("ip", list(text()))]);
    let wishes = object(
        &["issuerRef"],
        [
            ("issuerRef", issuer),
            ("secretName", name()),
            ("duration", duration.clone()),
            ("renewBefore", duration),
            ("privateKey", key),
            ("san", san),
        ],
    );
    let tls = object(
        &["mode"],
        [
            ("mode", word(&["Automatic", "Manual"])),
            ("certManagerCertificateSpec", wishes),
            ("manual", object(&["secretRef"], [("secretRef", name())])),
        ],
    );
    let port = object(
        &["port"],
        [
            ("port", number(1, 65535)),
            ("nodePort", number(0, 65535)),
            ("protocol", default(word(&["Mqtt", "WebSockets"]), "Mqtt")),
            ("authenticationRef", name()),
            ("authorizationRef", name()),
            ("tls", tls),
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
                json!({"type": "string", "pattern": "^https://.*$", "maxLength": 4096}),
            ),
            ("caCertConfigMap", name()),
            ("auth", object(&["x509"], [("x509", certificate)])),
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
    let method = object(
        &["method"],
        [
            ("method", word(&["Custom", "ServiceAccountToken", "X509"])),
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
        &["keyType", "keys", "method"],
        [
            ("keyType", word(&["Pattern", "String", "Binary"])),
            ("keys", texts()),
            ("method", word(&["Read", "Write", "ReadWrite"])),
        ],
    );
    let rule = object(
        &["principals", "brokerResources"],
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
            ("redundancyFactor", number(1, 5)),
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
    let condition = object(
        &["type", "status", "reason", "message", "lastTransitionTime"],
        [
            ("type", text()),
            ("status", word(&["True", "False", "Unknown"])),
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
    let address = object(&["type", "value"], [("type", text()), ("value", text())]);
    let port = object(
        &["port", "state"],
        [("port", number(1, 65_535)), ("state", text())],
    );
    object(
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
                object(&[], [("status", text()), ("description", text())]),
            ),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_definitions_are_these() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/k3s/crds.yaml");
        let text = format!(
            "# Made by `fieldgate k8s crds`; a test compares it.\n{}",
            custom_resource_definitions()
        );
        if std::env::var_os("FIELDGATE_BLESS").is_some() {
            std::fs::write(path, text).unwrap();
            return;
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            found == text,
            "k3s/crds.yaml is old; FIELDGATE_BLESS=1 cargo test --lib kubernetes::crds writes it"
        );
    }

    /// Checks a value as the API server does, as far as these schemas go.
    fn faults(schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
        let is_right = match schema["type"].as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            other => panic!("{path}: {other}"),
        };
        if !is_right {
            found.push(format!("{path}: its type"));
            return;
        }
        if let Some(words) = schema["enum"].as_array()
            && !words.contains(value)
        {
            found.push(format!("{path}: {value}"));
        }
        let number = value.as_i64();
        let (min, max) = (schema["minimum"].as_i64(), schema["maximum"].as_i64());
        if number.is_some_and(|n| min.is_some_and(|min| n < min) || max.is_some_and(|max| n > max))
        {
            found.push(format!("{path}: {value}"));
        }
        for required in schema["required"].as_array().into_iter().flatten() {
            if value.get(required.as_str().unwrap()).is_none() {
                found.push(format!("{path}: {required} is missing"));
            }
        }
        for (key, below) in value.as_object().into_iter().flatten() {
            let path = format!("{path}.{key}");
            let known = schema["properties"].get(key);
            match known.or(schema.get("additionalProperties")) {
                Some(schema) => faults(schema, below, &path, found),
                None if schema["x-kubernetes-preserve-unknown-fields"] == true => {}
                None => found.push(format!("{path}: there is no such field")),
            }
        }
        for below in value.as_array().into_iter().flatten() {
            faults(&schema["items"], below, path, found);
        }
    }

    fn faults_of(kind: &str, spec: &Value) -> Vec<String> {
        let definitions = definitions();
        let mut definitions = definitions.iter();
        let definition = definitions.find(|one| one["spec"]["names"]["kind"] == kind);
        let version = &definition.unwrap()["spec"]["versions"][0];
        let schema = &version["schema"]["openAPIV3Schema"]["properties"]["spec"];
        let mut found = Vec::new();
        faults(schema, spec, "spec", &mut found);
        found
    }

    #[test]
    fn resources_as_they_are_written_are_taken() {
        let listener = json!({
            "brokerRef": "default", "serviceName": "aio-broker", "serviceType": "ClusterIp",
            "ports": [{"port": 18883, "authenticationRef": "default", "protocol": "Mqtt", "tls": {
                "mode": "Automatic",
                "certManagerCertificateSpec": {
                    "issuerRef": {"group": "cert-manager.io", "kind": "ClusterIssuer", "name": "plant"},
                    "privateKey": {"algorithm": "Ec256", "rotationPolicy": "Always"},
                    "duration": "720h", "san": {"dns": ["a"], "ip": ["192.0.2.1"]},
                },
            }}],
        });
        assert!(faults_of("BrokerListener", &listener).is_empty());
        let authentication = json!({"authenticationMethods": [
            {"method": "X509", "x509Settings": {"trustedClientCaCert": "client-ca", "authorizationAttributes": {
                "root": {"subject": "CN = a", "attributes": {"b": "c"}},
            }}},
            {"method": "Custom", "customSettings": {"endpoint": "https://a", "headers": {"b": "c"},
                "auth": {"x509": {"secretRef": "x"}}}},
        ]});
        assert!(faults_of("BrokerAuthentication", &authentication).is_empty());
        let authorization = json!({"authorizationPolicies": {"cache": "Enabled", "rules": [{
            "principals": {"attributes": [{"a": "b"}]},
            "brokerResources": [{"method": "Publish", "topics": ["a/#"]}],
        }]}});
        assert!(faults_of("BrokerAuthorization", &authorization).is_empty());
        let broker = json!({"memoryProfile": "Low", "diagnostics": {"logs": {"level": "info"}},
            "advanced": {"clients": {"maxPacketSizeBytes": 1024}}});
        assert!(faults_of("Broker", &broker).is_empty());
    }

    #[test]
    fn what_is_misspelled_or_out_of_range_is_refused() {
        for (kind, spec, words) in [
            (
                "BrokerListener",
                json!({"ports": [{"port": 0}]}),
                "spec.ports.port: 0",
            ),
            (
                "BrokerListener",
                json!({"ports": [{"port": 1, "authRef": "a"}]}),
                "no such field",
            ),
            (
                "BrokerListener",
                json!({"serviceType": "ClusterIP", "ports": [{"port": 1}]}),
                "ClusterIP",
            ),
            ("BrokerListener", json!({}), "\"ports\" is missing"),
            (
                "BrokerAuthentication",
                json!({"authenticationMethods": [{"method": "Password"}]}),
                "Password",
            ),
            (
                "BrokerAuthorization",
                json!({"authorizationPolicies": {"rules": [{"principals": {}}]}}),
                "missing",
            ),
            ("Broker", json!({"memoryProfile": 1}), "its type"),
        ] {
            let found = faults_of(kind, &spec).join("; ");
            assert!(found.contains(words), "{found}");
        }
    }

    /// What the API server asks of a structural schema.
    #[test]
    fn schemas_are_structural() {
        fn check(schema: &Value, path: &str) {
            let kind = schema["type"].as_str();
            assert!(kind.is_some(), "{path} has no type");
            let words = schema["enum"].as_array().into_iter().flatten();
            assert!(words.clone().all(Value::is_string), "{path}");
            if let Some(default) = schema.get("default") {
                assert!(words.count() == 0 || schema["enum"].as_array().unwrap().contains(default));
            }
            let has_both =
                schema.get("properties").is_some() && schema.get("additionalProperties").is_some();
            assert!(!has_both, "{path}");
            for (key, below) in schema["properties"].as_object().into_iter().flatten() {
                check(below, &format!("{path}.{key}"));
            }
            for key in ["items", "additionalProperties"] {
                if let Some(below) = schema.get(key) {
                    check(below, &format!("{path}[]"));
                }
            }
        }
        for definition in definitions() {
            let version = &definition["spec"]["versions"][0];
            check(&version["schema"]["openAPIV3Schema"], "");
            let name = definition["metadata"]["name"].as_str().unwrap();
            assert!(name.ends_with(BROKER_GROUP));
        }
    }
}
