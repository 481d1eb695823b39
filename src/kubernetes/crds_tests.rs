//! The definitions as they are committed, and what they take and refuse. `import/aio` compares them with what it reads.

use super::super::admission::{faults_of, words};
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
fn what_cannot_be_meant_otherwise_is_refused() {
    for (kind, spec, words) in [
        (
            "BrokerListener",
            json!({"ports": [{"port": 0}]}),
            "spec.ports.port: 0",
        ),
        (
            "BrokerListener",
            json!({"serviceType": "Balancer", "ports": [{"port": 1}]}),
            "Balancer",
        ),
        ("BrokerListener", json!({}), "\"ports\" is missing"),
        (
            "BrokerAuthentication",
            json!({"authenticationMethods": [{"method": "Password"}]}),
            "Password",
        ),
        (
            "BrokerAuthorization",
            json!({"authorizationPolicies": {"rules": [{}]}}),
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
        let mut members = schema["enum"].as_array().into_iter().flatten();
        assert!(members.all(Value::is_string), "{path}");
        if let Some(default) = schema["default"].as_str()
            && let Some(words) = words(schema)
        {
            assert!(words.contains(&default), "{path}");
        }
        let has_both =
            schema.get("properties").is_some() && schema.get("additionalProperties").is_some();
        assert!(!has_both, "{path}");
        // Where keys were dropped, one that is misspelled would be gone before anybody could name it.
        let is_table = kind == Some("object") && schema.get("additionalProperties").is_none();
        if is_table && path.starts_with(".spec") {
            let keeps = schema["x-kubernetes-preserve-unknown-fields"] == true;
            assert!(keeps, "{path} drops keys");
        }
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
