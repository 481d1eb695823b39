//! What the API server makes of a resource, for tests.

use serde_json::Value;

use super::crds::definitions;

/// The schema of the specification of a kind.
pub(crate) fn schema_of(kind: &str) -> Value {
    let definitions = definitions();
    let mut definitions = definitions.iter();
    let definition = definitions.find(|one| one["spec"]["names"]["kind"] == kind);
    let version = &definition.expect("a kind")["spec"]["versions"][0];
    version["schema"]["openAPIV3Schema"]["properties"]["spec"].clone()
}

/// What the API server refuses; what it stores has to be all that was written.
pub(crate) fn faults_of(kind: &str, spec: &Value) -> Vec<String> {
    let mut stored = spec.clone();
    let faults = admit(&schema_of(kind), &mut stored, "spec");
    assert_eq!(&stored, spec, "{kind}");
    faults
}

/// Admits a value as the API server does, as far as the schemas of this project go: says what is wrong with it, and drops what
/// the schema does not have.
pub(crate) fn admit(schema: &Value, value: &mut Value, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    let is_right = match schema["type"].as_str().expect("a type") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("{path}: {other}"),
    };
    if !is_right {
        return vec![format!("{path}: its type")];
    }
    let is_one_of = |words: &[&str], text: &str| words.iter().any(|w| w.eq_ignore_ascii_case(text));
    if let Some(words) = words(schema)
        && !is_one_of(&words, value.as_str().expect("a text"))
    {
        found.push(format!("{path}: {value}"));
    }
    let number = value.as_i64();
    let (min, max) = (schema["minimum"].as_i64(), schema["maximum"].as_i64());
    if number.is_some_and(|n| min.is_some_and(|min| n < min) || max.is_some_and(|max| n > max)) {
        found.push(format!("{path}: {value}"));
    }
    for required in schema["required"].as_array().into_iter().flatten() {
        if value.get(required.as_str().expect("a key")).is_none() {
            found.push(format!("{path}: {required} is missing"));
        }
    }
    if let Some(map) = value.as_object_mut() {
        let known = |key: &str| {
            let property = schema["properties"].get(key);
            property.or(schema.get("additionalProperties"))
        };
        if schema["x-kubernetes-preserve-unknown-fields"] != true {
            map.retain(|key, _| known(key).is_some());
        }
        for (key, below) in map {
            let path = format!("{path}.{key}");
            found.extend(known(key).map_or_else(Vec::new, |schema| admit(schema, below, &path)));
        }
    }
    for below in value.as_array_mut().into_iter().flatten() {
        found.extend(admit(&schema["items"], below, path));
    }
    found
}

/// The words of a schema that takes some words in letters of either case.
pub(crate) fn words(schema: &Value) -> Option<Vec<&str>> {
    let pattern = schema["pattern"].as_str()?;
    let words = pattern.strip_prefix("^(?i:")?.strip_suffix(")$")?;
    Some(words.split('|').collect())
}
