//! The definitions as they are committed, and what they take and refuse.

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
    if number.is_some_and(|n| min.is_some_and(|min| n < min) || max.is_some_and(|max| n > max)) {
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
