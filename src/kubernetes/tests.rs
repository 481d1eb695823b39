//! Configurations as they are on devices, and what becomes of them.

use serde_json::Value;

use super::*;
use crate::config;

fn options() -> RenderOptions {
    RenderOptions {
        name: "fieldgate".to_owned(),
        namespace: "fieldgate".to_owned(),
        is_shared: false,
        image: "localhost/fieldgate:test".to_owned(),
        storage_class: None,
        storage: None,
        issuer: None,
    }
}

fn rendered_with(text: &str, options: &RenderOptions) -> Result<Rendered, RenderFault> {
    let settings = config::parse(text).unwrap_or_else(|report| panic!("{report}\n{text}"));
    let file = ConfigFile {
        name: "gateway.toml".to_owned(),
        text: text.to_owned(),
    };
    render(&settings, &[file], options)
}

fn rendered(text: &str) -> Rendered {
    rendered_with(text, &options()).unwrap_or_else(|fault| panic!("{fault}"))
}

fn document<'d>(documents: &'d [Value], kind: &str, name: &str) -> &'d Value {
    let mut documents = documents.iter();
    documents
        .find(|document| document["kind"] == kind && document["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("no {kind} {name}"))
}

const OPEN: &str = "authentication = \"none\"\nauthorization = \"none\"\n";

fn port(lines: &str) -> String {
    format!("[[listener]]\nname = \"plant\"\n[[listener.port]]\n{lines}\n{OPEN}")
}

const FULL: &str = include_str!("../../tests/kubernetes/everything.toml");

#[test]
fn a_listener_becomes_a_service() {
    let documents = testing::parse(&rendered(FULL).text);
    let service = document(&documents, "Service", "mqtt");
    assert_eq!(service["spec"]["type"], "LoadBalancer");
    assert_eq!(service["spec"]["externalTrafficPolicy"], "Local");
    assert_eq!(service["spec"]["ports"][0]["name"], "mqtts-8883");
    assert_eq!(service["spec"]["ports"][1]["name"], "wss-443");
    assert_eq!(service["spec"]["ports"][1]["protocol"], "TCP");
    let service = document(&documents, "Service", "inside");
    assert_eq!(service["spec"]["type"], "ClusterIP");
    assert_eq!(service["spec"]["externalTrafficPolicy"], Value::Null);
    let service = document(&documents, "Service", "nodes");
    assert_eq!(service["spec"]["ports"][0]["nodePort"], 31884);
}

#[test]
fn the_pod_is_restricted() {
    let documents = testing::parse(&rendered(FULL).text);
    let deployment = document(&documents, "Deployment", "fieldgate");
    assert_eq!(deployment["spec"]["strategy"]["type"], "Recreate");
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(
        pod["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    assert_eq!(
        pod["securityContext"]["sysctls"][0]["value"], "0",
        "port 443"
    );
    assert_eq!(pod["automountServiceAccountToken"], true);
    let container = &pod["containers"][0];
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(
        container["securityContext"]["allowPrivilegeEscalation"],
        false
    );
    assert_eq!(
        container["securityContext"]["capabilities"]["drop"][0],
        "ALL"
    );
    assert_eq!(container["resources"]["limits"]["cpu"], Value::Null);
    assert_eq!(container["readinessProbe"]["exec"]["command"][2], "--ready");
    let namespace = document(&documents, "Namespace", "fieldgate");
    let labels = &namespace["metadata"]["labels"];
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");
}

#[test]
fn a_probe_finds_a_control_socket_that_is_elsewhere() {
    let socket = |lines: &str| {
        let documents = testing::parse(&rendered(&format!("{}{lines}", port("port = 1883"))).text);
        let deployment = document(&documents, "Deployment", "fieldgate");
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        container["livenessProbe"]["exec"]["command"][3].clone()
    };
    assert_eq!(socket(""), "--runtime-dir");
    let lines = "[admin]\ncontrol_socket = \"/tmp/x.sock\"\n";
    assert_eq!(socket(lines), "--state-dir");
}

#[test]
fn files_become_volumes() {
    let rendered = rendered(FULL);
    assert_eq!(
        rendered.required,
        [
            "Secret auth-client, key tls.crt: the file /etc/fieldgate/auth-client.crt",
            "Secret auth-client, key tls.key: the file /etc/fieldgate/auth-client.key",
            "Secret auth, key value: the file /etc/fieldgate/auth.header",
            "ConfigMap client-ca, key ca.crt: the file /etc/fieldgate/client-ca.pem",
            "ConfigMap auth-ca, key ca.crt: the file /etc/fieldgate/tls/auth-ca.pem",
            "Secret server, key tls.crt: the file /etc/fieldgate/tls/server.crt",
            "Secret server, key tls.key: the file /etc/fieldgate/tls/server.key",
            "ConfigMap trust, any keys: the folder /srv/trust",
        ]
    );
    let documents = testing::parse(&rendered.text);
    let deployment = document(&documents, "Deployment", "fieldgate");
    let pod = &deployment["spec"]["template"]["spec"];
    let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
    let paths: Vec<&str> = mounts
        .iter()
        .map(|mount| mount["mountPath"].as_str().unwrap())
        .collect();
    assert_eq!(
        paths,
        [
            "/config",
            "/var/lib/fieldgate",
            "/run/fieldgate",
            "/tmp",
            "/etc/fieldgate",
            "/srv/trust"
        ]
    );
    let volume = &pod["volumes"][4]["projected"]["sources"];
    assert_eq!(volume[5]["secret"]["items"][0]["path"], "tls/server.crt");
    assert_eq!(volume[5]["secret"]["optional"], true);
}

#[test]
fn the_configuration_is_mounted_as_it_is() {
    for text in [
        FULL.to_owned(),
        port("port = 1883"),
        port("port = 1883").replace('\n', "\r\n"),
        format!("\n\n{}  # end", port("port = 1883")),
    ] {
        let documents = testing::parse(&rendered(&text).text);
        let map = document(&documents, "ConfigMap", "fieldgate");
        assert_eq!(map["data"]["gateway.toml"], text.as_str());
    }
}

#[test]
fn a_cluster_is_asked_only_where_a_port_does() {
    let documents = testing::parse(&rendered(&port("port = 1883")).text);
    assert!(
        documents
            .iter()
            .all(|document| document["kind"] != "ClusterRoleBinding")
    );
    let documents = testing::parse(&rendered(FULL).text);
    let binding = document(
        &documents,
        "ClusterRoleBinding",
        "fieldgate-fieldgate-auth-delegator",
    );
    assert_eq!(binding["roleRef"]["name"], "system:auth-delegator");
    assert_eq!(binding["subjects"][0]["namespace"], "fieldgate");
}

#[test]
fn metrics_are_for_pods_with_a_label() {
    let documents = testing::parse(&rendered(FULL).text);
    let policy = &document(&documents, "NetworkPolicy", "fieldgate")["spec"];
    assert_eq!(policy["ingress"][0]["ports"].as_array().unwrap().len(), 4);
    let from = &policy["ingress"][1]["from"][0];
    assert_eq!(
        from["podSelector"]["matchLabels"]["fieldgate/metrics"],
        "true"
    );
    let documents = testing::parse(&rendered(&port("port = 1883")).text);
    let policy = &document(&documents, "NetworkPolicy", "fieldgate")["spec"];
    assert_eq!(policy["ingress"].as_array().unwrap().len(), 1);
}

#[test]
fn certificates_are_asked_for_by_option() {
    let asked = RenderOptions {
        issuer: Some(Issuer {
            name: "plant".to_owned(),
            is_of_cluster: true,
        }),
        namespace: "edge".to_owned(),
        storage_class: Some("local-path".to_owned()),
        storage: Some("9Gi".to_owned()),
        ..options()
    };
    let documents = testing::parse(&rendered_with(FULL, &asked).unwrap().text);
    let certificate = &document(&documents, "Certificate", "server")["spec"];
    assert_eq!(certificate["secretName"], "server");
    assert_eq!(certificate["dnsNames"][2], "mqtt.edge.svc");
    assert_eq!(certificate["issuerRef"]["kind"], "ClusterIssuer");
    let claim = &document(&documents, "PersistentVolumeClaim", "fieldgate-state")["spec"];
    assert_eq!(claim["storageClassName"], "local-path");
    assert_eq!(claim["resources"]["requests"]["storage"], "9Gi");
}

#[test]
fn what_is_probably_not_meant_is_said() {
    let notes = rendered(FULL).notes;
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(
        notes[0].contains("inside.fieldgate.svc.cluster.local"),
        "{notes:?}"
    );
    let text = FULL.replace(
        "mode = \"Automatic\" }",
        "mode = \"Automatic\", dns = [\"inside.fieldgate.svc\"] }",
    );
    assert!(rendered(&text).notes.is_empty());
    let text = format!(
        "{}[[listener.port]]\nport = 1884\nbind = \"127.0.0.1\"\n{OPEN}",
        port("port = 1883")
    );
    assert!(rendered(&text).notes[0].contains("127.0.0.1:1884"));
}

#[test]
fn what_a_pod_cannot_do_is_refused() {
    let refused = |text: &str| rendered_with(text, &options()).expect_err(text).to_string();
    for (lines, said) in [
        ("systemd = \"mqtt\"", "gets its socket from systemd"),
        ("port = 0", "port 0"),
        ("port = 1883\ninterface = \"eth0\"", "interface"),
        ("port = 1883\nbind = \"127.0.0.1\"", "no port accepts"),
        ("path = \"/srv/mqtt.sock\"", "cannot write"),
        (
            "port = 1883\ntls = { mode = \"Manual\", cert = \"/etc/über.crt\", key = \"/etc/x.key\" }",
            "no name there has",
        ),
        (
            "port = 1883\ntls = { mode = \"Manual\", cert = \"/run/fieldgate/a.crt\", key = \"/etc/x.key\" }",
            "cannot be mounted",
        ),
        (
            "port = 1883\ntls = { mode = \"Manual\", cert = \"/config/x/a.crt\", key = \"/etc/x.key\" }",
            "cannot be mounted",
        ),
    ] {
        let text = if lines.starts_with("path") {
            format!("{}[[listener.port]]\nport = 1\n{OPEN}", port(lines))
        } else {
            port(lines)
        };
        let fault = refused(&text);
        assert!(fault.contains(said), "{fault}");
    }
    let text = port("port = 1883").replace("plant", "0-plant");
    assert!(refused(&text).contains("service_name"));
    let two = "tls = { mode = \"Manual\", cert = \"/a/server.crt\", key = \"/a/server.key\" }\n";
    let text = format!(
        "{}[[listener.port]]\nport = 2\n{OPEN}{}",
        port(&format!("port = 1\n{two}")),
        two.replace("/a/", "/b/")
    );
    assert!(
        refused(&text).contains("would both be the Secret server"),
        "{}",
        refused(&text)
    );
}

#[test]
fn a_namespace_of_others_is_not_among_the_resources() {
    let shared = RenderOptions {
        is_shared: true,
        namespace: "mqtt".to_owned(),
        ..options()
    };
    let text = rendered_with(FULL, &shared).unwrap().text;
    assert!(!text.contains("kind: Namespace\n"), "{text}");
    let documents = testing::parse(&text);
    let service = document(&documents, "Service", "mqtt");
    assert_eq!(service["metadata"]["namespace"], "mqtt");
}

#[test]
fn the_controller_follows_its_own_namespace() {
    let text = "[kubernetes]\ncontroller = true\nnamespace = \"plant\"\n";
    let fault = rendered_with(text, &options()).unwrap_err();
    assert!(matches!(fault, RenderFault::Namespace { .. }), "{fault}");
    assert!(fault.to_string().contains("`fieldgate`"), "{fault}");
    let plant = RenderOptions {
        namespace: "plant".to_owned(),
        ..options()
    };
    assert!(rendered_with(text, &plant).is_ok());
    // Without the controller the key says nothing.
    let off = format!("{FULL}\n[kubernetes]\nnamespace = \"plant\"\n");
    assert!(rendered_with(&off, &options()).is_ok());
}

#[test]
fn services_of_the_file_can_be_found_by_the_controller() {
    let label = |text: &str| {
        let documents = testing::parse(&rendered(text).text);
        let service = document(&documents, "Service", "plant");
        service["metadata"]["labels"][LISTENER_LABEL].clone()
    };
    let off = port("port = 1883");
    let on = format!("{off}[kubernetes]\ncontroller = true\n");
    assert_eq!((label(&off), label(&on)), (Value::Null, "plant".into()));
}

#[test]
fn the_same_configuration_gives_the_same_text() {
    assert_eq!(rendered(FULL).text, rendered(FULL).text);
}

#[test]
fn the_controller_has_the_rights_that_it_needs_and_no_more() {
    let text = "[kubernetes]\ncontroller = true\n";
    let documents = testing::parse(&rendered(text).text);
    let role = document(&documents, "Role", "fieldgate-controller");
    let rules = role["rules"].as_array().unwrap();
    let verbs = |resource: &str| {
        let mut rules = rules.iter();
        let rule = rules.find(|rule| {
            let resources = rule["resources"].as_array().unwrap();
            resources.iter().any(|one| one == resource)
        });
        rule.unwrap()["verbs"].to_string()
    };
    assert_eq!(verbs("secrets"), r#"["get","list","watch"]"#);
    assert_eq!(verbs("brokerlisteners/status"), r#"["patch"]"#);
    assert_eq!(verbs("events"), r#"["create"]"#);
    assert!(!role.to_string().contains('*'));
    document(&documents, "RoleBinding", "fieldgate-controller");
    let deployment = document(&documents, "Deployment", "fieldgate");
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], true);
    assert_eq!(
        pod["securityContext"]["sysctls"][0]["value"], "0",
        "a listener may have any port"
    );
    let without = testing::parse(&rendered(FULL).text);
    assert!(without.iter().all(|document| document["kind"] != "Role"));

    let other = RenderOptions {
        name: "edge".to_owned(),
        ..options()
    };
    let fault = rendered_with(text, &other).unwrap_err();
    assert!(matches!(fault, RenderFault::Instance { .. }), "{fault}");
}
