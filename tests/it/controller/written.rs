//! What the controller writes, as it sends it: `tests/kubernetes/written.json`, which the suite `k8s` holds against the schemas.

use std::collections::BTreeMap;

use super::*;

const FILE: &str = "tests/kubernetes/written.json";

/// The ports of the file, the lowest first, which ports of this machine stand for.
const PORTS: [u16; 4] = [1883, 8080, 8883, 18883];

/// One listener of each type, with everything that becomes something in a cluster.
fn listeners(ports: &[u16]) -> [(&'static str, Value); 3] {
    let issuer = json!({"name": "plant", "kind": "ClusterIssuer", "group": "cert-manager.io"});
    let bare = json!({"mode": "Automatic", "certManagerCertificateSpec": {"issuerRef": issuer}});
    let full = json!({"mode": "Automatic", "certManagerCertificateSpec": {
        "secretName": "plant-tls",
        "issuerRef": {"name": "plant", "kind": "Issuer"},
        "duration": "2160h0m0s",
        "renewBefore": "240h",
        "privateKey": {"algorithm": "Rsa2048", "rotationPolicy": "Never"},
        "san": {"dns": ["broker.plant.example"], "ip": ["192.0.2.7", "fd00::7"]},
    }});
    let nodes = json!([
        {"port": ports[0], "nodePort": 31883},
        {"port": ports[1], "protocol": "WebSockets"},
    ]);
    let of = |service_type: &str, ports: Value| {
        resource(
            "BrokerListener",
            json!({"serviceType": service_type, "ports": ports}),
        )
    };
    // In the order of their names, so that it is all the same whether they come one by one or together.
    [
        (
            "inside",
            of("ClusterIp", json!([{"port": ports[3], "tls": bare}])),
        ),
        ("nodes", of("NodePort", nodes)),
        (
            "outside",
            of("LoadBalancer", json!([{"port": ports[2], "tls": full}])),
        ),
    ]
}

/// What was sent last for each object, by its path, with the status left out.
fn sent(cluster: &Cluster) -> BTreeMap<String, Value> {
    let log = fs::read_to_string(cluster.gateway.path("fake_cluster.log")).expect("a log");
    let mut sent = BTreeMap::new();
    for line in log.lines() {
        let Ok(request) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let (line, body) = (request["line"].as_str(), request["body"].as_str());
        let (Some((method, path)), Some(body)) = (line.and_then(|line| line.split_once(' ')), body)
        else {
            continue;
        };
        let path = path.split('?').next().unwrap_or_default();
        let Ok(body) = serde_json::from_str::<Value>(body) else {
            continue;
        };
        match (method, body["kind"].as_str()) {
            // Their names are made of what they say and when.
            ("POST", Some("Event")) => {
                let about = format!("{}-{}", body["involvedObject"]["name"], body["reason"]);
                sent.insert(format!("event {about}"), body);
            }
            ("PATCH", Some(_)) if !path.ends_with("/status") => {
                sent.insert(path.to_owned(), body);
            }
            _ => {}
        }
    }
    sent
}

/// An object without what is another one each time.
fn settled(mut object: Value) -> Value {
    let time = "2026-01-01T00:00:00Z";
    let fixed = [
        ("/involvedObject/uid", "5f0c"),
        ("/involvedObject/resourceVersion", "1"),
        ("/metadata/ownerReferences/0/uid", "5f0c"),
        ("/metadata/ownerReferences/1/uid", "5f0c"),
        ("/metadata/ownerReferences/2/uid", "5f0c"),
        ("/firstTimestamp", time),
        ("/lastTimestamp", time),
    ];
    for (pointer, value) in fixed {
        if let Some(found) = object.pointer_mut(pointer) {
            *found = json!(value);
        }
    }
    if object["kind"] == "Event" {
        let name = object["metadata"]["name"].as_str().expect("a name");
        let (about, hash) = name
            .rsplit_once('.')
            .expect("a name and what makes it another");
        assert_eq!(hash.len(), 16, "{name}");
        object["metadata"]["name"] = json!(format!("{about}.0123456789abcdef"));
    }
    object
}

#[test]
fn what_is_written_is_what_is_held_against_schemas() {
    let Some(mut cluster) = Cluster::with("", |script| {
        script["groups"] = json!([GROUP, "cert-manager.io"]);
    }) else {
        return;
    };
    let mut ports = PORTS.map(|_| free_port());
    ports.sort_unstable();
    for (name, listener) in listeners(&ports) {
        cluster.apply(&listener_path(name), listener);
    }
    cluster.condition(&listener_path("nodes"), "Ready", "True", "Listening");
    for name in ["inside", "outside"] {
        cluster.condition(&listener_path(name), "Ready", "False", "SecretNotFound");
    }
    let policy = "/apis/networking.k8s.io/v1/namespaces/plant/networkpolicies/fieldgate-listeners";
    cluster.until(policy, "all ports", |policy| {
        let open = policy["spec"]["ingress"][0]["ports"].as_array();
        open.is_some_and(|open| open.len() == PORTS.len())
    });
    // One of each type of event is enough, and these two are certain to come.
    let is_wanted = |path: &str| {
        let events = [
            "event \"nodes\"-\"Listening\"",
            "event \"inside\"-\"SecretNotFound\"",
        ];
        !path.starts_with("event ") || events.contains(&path)
    };
    eventually("everything is written", || {
        let sent = sent(&cluster);
        sent.keys().filter(|path| is_wanted(path)).count() == 8
    });
    let sent = sent(&cluster).into_iter();
    let items: Vec<Value> = sent
        .filter(|(path, _)| is_wanted(path))
        .map(|(_, object)| settled(object))
        .collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    let mut made = serde_json::to_string_pretty(&list).expect("JSON") + "\n";
    for (port, shown) in ports.iter().zip(PORTS) {
        made = made.replace(&port.to_string(), &shown.to_string());
    }
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    if std::env::var_os("FIELDGATE_BLESS").is_some() {
        fs::write(&file, &made).expect("write");
    }
    assert!(
        fs::read_to_string(&file).unwrap_or_default() == made,
        "{FILE} is not what is written; FIELDGATE_BLESS=1 cargo test --test it controller::written writes it:\n{made}"
    );
}
