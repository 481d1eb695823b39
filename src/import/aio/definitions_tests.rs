//! The definitions of the resources against what is read here: no key, no word and nothing required may be in the one and not in
//! the other.

use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::kubernetes::BROKER_GROUP;
use crate::kubernetes::admission::{faults_of, schema_of, words};
use crate::kubernetes::testing::parse;

type Json = serde_json::Value;

/// What the importer says is bad: paths and reasons.
fn told_by_importer(kind: &str, spec: &Json) -> Vec<(String, String)> {
    let document = json!({
        "apiVersion": format!("{BROKER_GROUP}/v1"),
        "kind": kind,
        "metadata": {"name": "plant"},
        "spec": spec,
    });
    let file = (PathBuf::from("x"), Zeroizing::new(document.to_string()));
    let report = match aio_texts(&[file], &AioOptions::default()) {
        Ok(done) => done.import.report,
        Err(ImportFault::NotUnderstood { report }) => *report,
        Err(fault) => panic!("{fault}"),
    };
    let bad = report.remarks().into_iter().filter_map(|remark| {
        let Verdict::Bad { why } = &remark.verdict else {
            return None;
        };
        let path = remark
            .text
            .split_once(" plant ")
            .map_or("", |(_, path)| path);
        Some((path.to_owned(), why.clone()))
    });
    bad.collect()
}

#[test]
fn a_misspelled_key_is_stored_and_named() {
    let spec = json!({"ports": [{"port": 1883, "authentificationRef": "devices"}]});
    assert!(faults_of("BrokerListener", &spec).is_empty());
    let told = told_by_importer("BrokerListener", &spec);
    let [(path, why)] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!(path, "spec.ports[0].authentificationRef");
    assert!(why.contains("`authenticationRef`"), "{why}");
}

#[test]
fn samples_of_the_present_shape_are_stored_whole() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/aio");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // Aliases end in the client, and an API server drops what says nothing.
        let is_seen = |name: &&str| path.ends_with(name);
        if !path.is_file() || ["aliases.yaml", "nothing-said.yaml"].iter().any(is_seen) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let file = (path.clone(), Zeroizing::new(text.clone()));
        if aio_texts(&[file], &AioOptions::default()).is_err() {
            continue;
        }
        let mut documents = parse(&text);
        while let Some(document) = documents.pop() {
            if let Some(items) = document["items"].as_array() {
                documents.extend_from_slice(items);
            }
            let (group, kind) = (document["apiVersion"].as_str(), document["kind"].as_str());
            let (Some(group), Some(kind)) = (group, kind) else {
                continue;
            };
            if !group.starts_with("mqttbroker.") || kind.ends_with("List") {
                continue;
            }
            count += 1;
            let faults = faults_of(kind, &document["spec"]);
            assert!(faults.is_empty(), "{}: {faults:?}", path.display());
        }
    }
    assert!(count > 30, "{count}");
}

/// Names that the importer knows besides, of older shapes.
const BESIDES: &[&str] = &[
    "Broker spec.authImage",
    "Broker spec.brokerImage",
    "Broker spec.brokerNodeTolerations",
    "Broker spec.encryptInternalTraffic",
    "Broker spec.healthManagerImage",
    "Broker spec.internalCerts",
    "Broker spec.mode",
    "Broker spec.cardinality.backendChain.replicas",
    "Broker spec.cardinality.backendChain.temporaryDiskTransferEnabled",
    "Broker spec.cardinality.backendChain.temporaryDiskTransferHighWatermarkPercent",
    "Broker spec.cardinality.backendChain.temporaryDiskTransferLowWatermarkPercent",
    "Broker spec.cardinality.backendChain.temporaryMaxBackendMemUsagePercent",
    "Broker spec.cardinality.frontend.temporaryResourceLimits",
    "BrokerListener spec.authenticationEnabled",
    "BrokerListener spec.authorizationEnabled",
    "BrokerListener spec.nodePort",
    "BrokerListener spec.port",
    "BrokerListener spec.protocol",
    "BrokerListener spec.tls",
    "BrokerListener spec.websocketsEnabled",
    "BrokerListener spec.ports[0].tls.certManagerCertificateSpec.secretNamespace",
    "BrokerListener spec.ports[0].tls.manual.secretNamespace",
    "BrokerAuthentication spec.brokerRef",
    "BrokerAuthentication spec.listenerRef",
    "BrokerAuthentication spec.authenticationMethods[0].usernamePassword",
    "BrokerAuthorization spec.brokerRef",
    "BrokerAuthorization spec.listenerRef",
];

/// Is in no table, and near to no key.
const UNKNOWN: &str = "zzzzzzzzzzzzzzzzzzzz";

/// A place in a specification.
struct Place<'s> {
    path: String,
    schema: &'s Json,
    /// Makes a specification of what stands at the place.
    around: &'s dyn Fn(Json) -> Json,
}

/// Visits every place of a schema.
fn visit(spot: &Place<'_>, seen: &mut dyn FnMut(&Place<'_>)) {
    seen(spot);
    let mut below = |name: &str, schema: &Json, around: &dyn Fn(Json) -> Json| {
        let path = format!("{}{name}", spot.path);
        visit(
            &Place {
                path,
                schema,
                around,
            },
            seen,
        );
    };
    for (key, schema) in spot.schema["properties"].as_object().into_iter().flatten() {
        below(&format!(".{key}"), schema, &|value| {
            let mut table = least(spot.schema);
            table[key] = value;
            (spot.around)(table)
        });
    }
    if let Some(schema) = spot.schema.get("items") {
        below("[0]", schema, &|value| (spot.around)(json!([value])));
    }
    if let Some(schema) = spot.schema.get("additionalProperties") {
        below(".name", schema, &|value| {
            (spot.around)(json!({"name": value}))
        });
    }
}

/// The least that a schema takes.
fn least(schema: &Json) -> Json {
    match schema["type"].as_str().unwrap() {
        "integer" => json!(schema["minimum"].as_i64().unwrap().max(1)),
        "array" => json!([least(&schema["items"])]),
        "object" => {
            let required = schema["required"].as_array().into_iter().flatten();
            let required = required.map(|key| key.as_str().unwrap());
            let of = |key: &str| (key.to_owned(), least(&schema["properties"][key]));
            Json::Object(required.map(of).collect())
        }
        _ => match words(schema) {
            Some(words) => json!(words[0]),
            None if schema["pattern"].to_string().contains("https") => json!("https://x"),
            None => json!("x"),
        },
    }
}

fn every_place(seen: &mut dyn FnMut(&str, &Place<'_>)) {
    for kind in [
        "Broker",
        "BrokerListener",
        "BrokerAuthentication",
        "BrokerAuthorization",
    ] {
        let spot = Place {
            path: "spec".to_owned(),
            schema: &schema_of(kind),
            around: &|spec| spec,
        };
        visit(&spot, &mut |spot| seen(kind, spot));
    }
}

/// What the importer says at a place.
fn told_at(kind: &str, path: &str, spec: &Json) -> Option<String> {
    let told = told_by_importer(kind, spec);
    let mut told = told.into_iter();
    told.find(|(at, _)| at == path).map(|(_, why)| why)
}

#[test]
fn tables_have_the_keys_that_the_importer_reads() {
    let (mut count, mut besides) = (0, Vec::new());
    every_place(&mut |kind, spot| {
        let Some(properties) = spot.schema["properties"].as_object() else {
            return;
        };
        count += properties.len();
        let mut table = least(spot.schema);
        table[UNKNOWN] = json!("x");
        let spec = (spot.around)(table);
        assert!(faults_of(kind, &spec).is_empty(), "{kind} {}", spot.path);
        let why = told_at(kind, &format!("{}.{UNKNOWN}", spot.path), &spec);
        let why = why.unwrap_or_else(|| panic!("{kind} {} is not read", spot.path));
        let names = why.split_once("there are ").expect("names").1;
        let read: BTreeSet<&str> = names.split(", ").collect();
        for key in properties.keys() {
            let is_read = read.contains(key.as_str());
            assert!(is_read, "{kind} {}.{key} is none of {names}", spot.path);
        }
        let more = read.iter().filter(|key| !properties.contains_key(**key));
        besides.extend(more.map(|key| format!("{kind} {}.{key}", spot.path)));
    });
    assert!(count > 80, "{count}");
    assert_eq!(besides, BESIDES);
}

#[test]
fn words_are_those_that_the_importer_takes_in_letters_of_either_case() {
    let mut count = 0;
    every_place(&mut |kind, spot| {
        let Some(words) = words(spot.schema) else {
            return;
        };
        let place = format!("{kind} {}", spot.path);
        let why = told_at(kind, &spot.path, &(spot.around)(json!(UNKNOWN)));
        count += 1;
        let why = why.unwrap_or_else(|| panic!("{place} takes every word"));
        let shown = spot.schema["description"].as_str().unwrap();
        match why.strip_prefix("it takes ").unwrap() {
            "true, false" => assert_eq!(shown, "Enabled, Disabled", "{place}"),
            taken => assert_eq!(shown, taken, "{place}"),
        }
        for word in words {
            for typed in [word.to_lowercase(), word.to_uppercase()] {
                let spec = (spot.around)(json!(typed));
                assert!(faults_of(kind, &spec).is_empty(), "{place}: {typed}");
                assert_eq!(told_at(kind, &spot.path, &spec), None, "{place}: {typed}");
            }
        }
    });
    assert!(count > 12, "{count}");
}

#[test]
fn numbers_that_are_not_stored_are_not_taken() {
    let mut count = 0;
    every_place(&mut |kind, spot| {
        let (min, max) = (&spot.schema["minimum"], &spot.schema["maximum"]);
        let below = min.as_i64().map(|min| min - 1);
        let above = max.as_i64().map(|max| max + 1);
        for number in [below, above].into_iter().flatten() {
            count += 1;
            let spec = (spot.around)(json!(number));
            assert!(!faults_of(kind, &spec).is_empty());
            let why = told_at(kind, &spot.path, &spec);
            assert!(why.is_some(), "{kind} {}: {number}", spot.path);
        }
    });
    assert!(count > 20, "{count}");
}

#[test]
fn nothing_has_to_be_there_that_the_importer_does_not_want() {
    let mut count = 0;
    every_place(&mut |kind, spot| {
        for key in spot.schema["required"].as_array().into_iter().flatten() {
            count += 1;
            let mut table = least(spot.schema);
            table.as_object_mut().unwrap().remove(key.as_str().unwrap());
            let told = told_by_importer(kind, &(spot.around)(table));
            assert!(!told.is_empty(), "{kind} {}: {key}", spot.path);
        }
    });
    assert!(count > 10, "{count}");
}
