//! Resources as people have them: each file of `tests/aio` holds some, and `tests/aio/expected` what becomes of them and what
//! is said.

use std::path::{Path, PathBuf};

use super::yaml::{Node, Value};
use super::*;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/aio")
}

fn samples() -> Vec<(String, String)> {
    let mut samples: Vec<(String, String)> = std::fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(&path).unwrap())
        })
        .collect();
    samples.sort();
    samples
}

fn options(writes_files: bool) -> AioOptions {
    AioOptions {
        folder: None,
        writes_files,
        cluster: None,
    }
}

fn translated(name: &str, text: &str) -> Result<AioImport, ImportFault> {
    let file = (PathBuf::from(name), Zeroizing::new(text.to_owned()));
    aio_texts(&[file], &options(true))
}

fn report_of(result: &Result<AioImport, ImportFault>) -> &ImportReport {
    match result {
        Ok(translated) => &translated.import.report,
        Err(
            ImportFault::NotUnderstood { report }
            | ImportFault::NoResources { report, .. }
            | ImportFault::Foreign { report, .. },
        ) => report,
        Err(fault @ ImportFault::Unreadable { .. }) => panic!("{fault}"),
    }
}

/// Compares a committed file with what it should hold; writes it instead where `FIELDGATE_BLESS` is set.
fn compare(file: &str, expected: Option<&str>) {
    let path = root().join("expected").join(file);
    if std::env::var_os("FIELDGATE_BLESS").is_some() {
        match expected {
            Some(expected) => std::fs::write(&path, expected).unwrap(),
            None => drop(std::fs::remove_file(&path)),
        }
        return;
    }
    let found = std::fs::read_to_string(&path).ok();
    assert_eq!(
        found.as_deref(),
        expected,
        "{file} is not what comes out; FIELDGATE_BLESS=1 cargo test --lib import::aio writes it"
    );
}

#[test]
fn every_sample_becomes_what_is_expected() {
    let samples = samples();
    assert!(samples.len() >= 40, "{}", samples.len());
    for (name, text) in samples {
        let result = translated(&name, &text);
        let stem = name.split('.').next().unwrap();
        let configuration = result.as_ref().ok().map(|done| done.import.text.as_str());
        compare(&format!("{stem}.toml"), configuration);
        compare(&format!("{stem}.txt"), Some(&report_of(&result).render()));
        if let Some(text) = configuration {
            accepted(text, false).unwrap_or_else(|report| panic!("{name}: {report}\n{text}"));
        }
    }
}

/// Paths of all single values below `spec`.
fn leaves(node: &Node, path: &str, found: &mut Vec<String>) {
    match &node.value {
        Value::Null | Value::Text(_) => found.push(path.to_owned()),
        Value::List(nodes) => {
            for (index, node) in nodes.iter().enumerate() {
                leaves(node, &format!("{path}[{index}]"), found);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                leaves(&entry.node, &format!("{path}.{}", entry.key), found);
            }
        }
    }
}

#[test]
fn every_field_is_read_or_reported() {
    let mut count = 0;
    for (name, text) in samples() {
        let result = translated(&name, &text);
        if result.is_err() {
            continue;
        }
        let remarks = report_of(&result).remarks();
        let said: Vec<&str> = remarks.iter().map(|remark| remark.text.as_str()).collect();
        let mut found = Found::default();
        let mut report = ImportReport::default();
        for document in yaml::parse(&text).unwrap_or_default() {
            found.add(&document, 0, &mut report);
        }
        for resource in &found.resources {
            let mut paths = Vec::new();
            leaves(resource.spec().node, "spec", &mut paths);
            for path in paths {
                count += 1;
                let subject = resource.subject();
                let is_said = said.iter().any(|text| {
                    let Some(above) = text.strip_prefix(&format!("{subject} ")) else {
                        return false;
                    };
                    let rest = path.strip_prefix(above);
                    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
                });
                assert!(is_said, "{name}: {subject} {path}\n{}", said.join("\n"));
            }
        }
    }
    assert!(count > 300, "{count}");
}

#[test]
fn no_secret_is_shown() {
    for (name, text) in samples() {
        for writes in [true, false] {
            let file = (PathBuf::from(&name), Zeroizing::new(text.clone()));
            let result = aio_texts(&[file], &options(writes));
            assert!(!report_of(&result).render().contains("hunter2"), "{name}");
            assert!(!format!("{result:?}").contains("hunter2"), "{name}");
            if let Ok(done) = result {
                assert!(!done.import.text.contains("hunter2"), "{name}");
            }
        }
    }
}

#[test]
fn files_hold_what_the_objects_held() {
    let text = std::fs::read_to_string(root().join("objects.yaml")).unwrap();
    let done = translated("objects.yaml", &text).unwrap();
    let mut files: Vec<(&str, bool)> = done
        .files
        .iter()
        .map(|file| (file.name.as_str(), file.is_secret))
        .collect();
    files.sort_unstable();
    assert_eq!(
        files,
        [
            ("my-client-cas.pem", false),
            ("server-tls.crt", false),
            ("server-tls.key", true)
        ]
    );
    let content = |name: &str| {
        let file = done.files.iter().find(|file| file.name == name).unwrap();
        std::str::from_utf8(&file.content).unwrap().to_owned()
    };
    assert_eq!(content("server-tls.key"), "hunter2-secret");
    assert_eq!(content("my-client-cas.pem").matches("BEGIN").count(), 2);
    let file = (PathBuf::from("x"), Zeroizing::new(text));
    let done = aio_texts(&[file], &options(false)).unwrap();
    assert!(done.files.is_empty());
    assert!(done.import.report.render().contains("--out-dir"));
}

#[test]
fn cert_manager_is_asked_in_its_own_words() {
    let certificates = |text: &str| {
        let mut options = options(false);
        options.cluster = Some(AioCluster {
            namespace: "plant".to_owned(),
            has_cert_manager: true,
            key_algorithm: KeyAlgorithm::default(),
            api_server: Vec::new(),
        });
        let file = (PathBuf::from("resources"), Zeroizing::new(text.to_owned()));
        aio_texts(&[file], &options).map(|done| done.certificates)
    };
    let text = std::fs::read_to_string(root().join("listener-sdk-case.yaml")).unwrap();
    let [wanted] = certificates(&text).unwrap().try_into().unwrap();
    assert_eq!(wanted.issuer_kind, "ClusterIssuer");
    assert_eq!(wanted.issuer_group, "cert-manager.io");
    assert_eq!(wanted.algorithm, Some("Ec256"));

    // Who issues in another group is called as that group likes.
    let issuer = "{name: issuer, kind: clusterissuer}";
    let other = "{name: issuer, kind: privateIssuer, group: pki.example}";
    let [wanted] = certificates(&text.replace(issuer, other))
        .unwrap()
        .try_into()
        .unwrap();
    assert_eq!(wanted.issuer_kind, "privateIssuer");
    assert_eq!(wanted.issuer_group, "pki.example");

    // With and without cert-manager the same is refused.
    for wrong in ["{name: issuer, kind: Isuer}", "{kind: Issuer}"] {
        let text = text.replace(issuer, wrong);
        assert!(certificates(&text).is_err(), "{wrong}");
        assert!(translated("x", &text).is_err(), "{wrong}");
    }
}

/// What values are replaced by.
const VALUES: &[&str] = &[
    "",
    "~",
    "0",
    "1",
    "65535",
    "65536",
    "-1",
    "true",
    "\"\"",
    "\"\\u0007\"",
    "none",
    "None",
    "x",
    "a.b",
    "[]",
    "{}",
    "[x]",
    "{x: y}",
    "{password: y}",
    "*",
    "a/+/#",
    "$share/a/b",
    "\"{principal.username}\"",
    "\"{\"",
    "https://x",
    "9999h",
    "99999999999999999999",
    "CN = x",
    "auth",
    "é",
];

#[test]
fn no_value_makes_a_wrong_configuration() {
    // Each line of each sample with another value: it is understood and right, or it is said what is wrong with it.
    let mut wrong = Vec::new();
    for (name, text) in samples() {
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let Some((key, _)) = line.split_once(": ") else {
                continue;
            };
            for value in VALUES.iter().skip(at % 3).step_by(3) {
                let mut changed: Vec<String> = lines.iter().map(ToString::to_string).collect();
                changed[at] = format!("{key}: {value}");
                let result = translated(&name, &changed.join("\n"));
                for remark in report_of(&result).remarks() {
                    if remark.text == "configuration" {
                        wrong.push(format!(
                            "{name}:{}: {}: {}",
                            at + 1,
                            changed[at],
                            remark.verdict
                        ));
                    }
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\n{}",
        wrong.len(),
        wrong.join("\n").chars().take(4000).collect::<String>()
    );
}

#[test]
fn no_damage_makes_it_panic() {
    // Bytes that are lost, doubled and exchanged, by a generator that is the same each time.
    let mut state: u32 = 7;
    let mut next = |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % below.max(1)
    };
    let all = samples();
    for _ in 0..2000 {
        let (name, text) = &all[next(all.len())];
        let mut characters: Vec<char> = text.chars().collect();
        for _ in 0..=next(4) {
            let at = next(characters.len());
            match next(4) {
                0 => drop(characters.drain(at..(at + 1 + next(20)).min(characters.len()))),
                1 => characters.insert(
                    at,
                    [':', '\n', '{', '[', '*', '&', '"', '-', ' ', 'é'][next(10)],
                ),
                2 => characters.truncate(at),
                _ => {
                    let (other, piece) = (next(characters.len()), next(40));
                    let piece: Vec<char> =
                        characters.iter().skip(other).take(piece).copied().collect();
                    let at = at.min(characters.len());
                    characters.splice(at..at, piece);
                }
            }
            if characters.is_empty() {
                break;
            }
        }
        let text: String = characters.into_iter().collect();
        if let Ok(done) = translated(name, &text) {
            assert!(accepted(&done.import.text, false).is_ok(), "{text}");
            let Ok(settings) = crate::config::parse(&done.import.text) else {
                continue;
            };
            let options = ExportOptions {
                namespace: "azure-iot-operations".to_owned(),
                issuer: "issuer".to_owned(),
                is_of_cluster: true,
            };
            let export = export_aio(&settings, &options);
            let back = translated("export", &export.text);
            assert!(
                export.text.is_empty() || back.is_ok(),
                "{back:?}\n{}",
                export.text
            );
        }
    }
}
