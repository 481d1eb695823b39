//! There and back again.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::*;
use crate::config;
use crate::import::{AioOptions, aio_texts};

fn options() -> ExportOptions {
    ExportOptions {
        namespace: "azure-iot-operations".to_owned(),
        issuer: "issuer".to_owned(),
        is_of_cluster: true,
    }
}

fn exported(text: &str) -> AioExport {
    let settings = config::parse(text).unwrap_or_else(|report| panic!("{report}\n{text}"));
    export_aio(&settings, &options())
}

fn imported(yaml: &str) -> Settings {
    let file = (PathBuf::from("x.yaml"), Zeroizing::new(yaml.to_owned()));
    let import = aio_texts(&[file], &AioOptions::default())
        .unwrap_or_else(|fault| panic!("{fault}\n{yaml}"));
    config::parse(&import.import.text).unwrap_or_else(|report| panic!("{report}"))
}

/// Settings without what only says where they are written; attributes by subject have no order in a resource.
fn plain(mut settings: Settings) -> Settings {
    for authentication in &mut settings.authentications {
        let authentication = std::sync::Arc::make_mut(authentication);
        for method in &mut authentication.methods {
            if let config::MethodSettings::X509(x509) = method {
                x509.attributes
                    .sort_by(|one, other| one.name.cmp(&other.name));
            }
        }
    }
    for authorization in &mut settings.authorizations {
        let authorization = std::sync::Arc::make_mut(authorization);
        for rule in &mut std::sync::Arc::make_mut(&mut authorization.rules).rules {
            rule.place = "".into();
        }
    }
    let (authentications, authorizations) = (&settings.authentications, &settings.authorizations);
    for port in settings
        .listeners
        .iter_mut()
        .flat_map(|listener| &mut listener.ports)
    {
        if let config::Authorization::Named(one) = &mut port.authorization {
            let found = authorizations.iter().find(|other| other.name == one.name);
            *one = found.expect("it is named").clone();
        }
        if let config::Authentication::Named(one) = &mut port.authentication {
            let found = authentications.iter().find(|other| other.name == one.name);
            *one = found.expect("it is named").clone();
        }
    }
    settings
}

#[test]
fn what_was_imported_comes_back_the_same() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/aio/expected");
    let (mut count, mut lossless) = (0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let Ok(settings) = config::parse(&text) else {
            continue;
        };
        let export = export_aio(&settings, &options());
        count += 1;
        if !export.notes.is_empty() {
            continue;
        }
        lossless += 1;
        let back = imported(&export.text);
        assert_eq!(
            plain(back),
            plain(settings),
            "{}\n{}",
            path.display(),
            export.text
        );
    }
    assert!(lossless >= 20 && lossless < count, "{lossless} of {count}");
}

#[test]
fn whatever_is_said_is_there_or_noted() {
    // Every file that there is: the export can be imported again, and ports that are not there are noted.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["config/examples", "tests/kubernetes", "k3s"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let settings = config::parse(&text).unwrap();
            let export = export_aio(&settings, &options());
            assert!(!export.notes.is_empty(), "{}", path.display());
            if export.text.is_empty() {
                continue;
            }
            let file = (path.clone(), Zeroizing::new(export.text.clone()));
            let back = aio_texts(&[file], &AioOptions::default());
            assert!(
                back.is_ok(),
                "{}: {back:?}\n{}",
                path.display(),
                export.text
            );
        }
    }
}

#[test]
fn what_cannot_be_said_lets_nobody_in() {
    let head = "[[listener]]\nname = \"plant\"\n[[listener.port]]\nport = 8883\nauthentication = \"devices\"\n\
                authorization = \"rules\"\ntls = { mode = \"Automatic\" }\n";
    let rule = "[[authorization.rules.rule]]\nprincipals = { usernames = [\"a\"] }\nconnect = [\"*\"]\npublish = [\"a/#\"]\n";
    let export = |authentication: &str, rules: &str| {
        exported(&format!(
            "{head}[authentication.devices]\n{authentication}\n{rules}"
        ))
    };
    let token = "methods = [\"service_account_token\"]\n[authentication.devices.service_account_token]\naudiences = [\"a\"]\n";
    let done = export(token, rule);
    assert!(done.notes.is_empty(), "{:?}", done.notes);
    for narrowed in [
        "qos = 1\n",
        "retain = false\n",
        "message_rate_max = 1\n",
        "effect = \"deny\"\n",
    ] {
        let done = export(token, &format!("{rule}{narrowed}"));
        assert!(!done.text.contains("a/#"), "{narrowed}: {}", done.text);
    }
    let denying = format!("{rule}{}effect = \"deny\"\n", rule.replace("a/#", "a/b"));
    let done = export(token, &denying);
    assert!(
        done.text.contains("rules: []") && done.notes.len() == 1,
        "{done:?}"
    );
    let done = export("methods = [\"password\", \"anonymous\"]", rule);
    assert!(
        done.text.contains("authenticationMethods: []"),
        "{}",
        done.text
    );
    assert_eq!(done.notes.len(), 3, "{:?}", done.notes);
    let x509 = "methods = [\"x509\"]\n[authentication.devices.x509]\ntrust = [\"/a/b.pem\"]\n";
    assert!(export(x509, rule).text.contains("trustedClientCaCert: b"));
    for narrowed in ["crls = [\"/a/c.crl\"]\n", "identity = \"subject\"\n"] {
        let done = export(&format!("{x509}{narrowed}"), rule);
        assert!(!done.text.contains("X509"), "{}", done.text);
    }
}
