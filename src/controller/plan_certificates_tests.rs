//! Certificates that cert-manager is asked for.

use super::*;

/// A listener with a port for each of these wishes.
fn issued(name: &str, wishes: &[Value]) -> Resource {
    let number = u16::try_from(name.len()).unwrap() * 1000;
    let ports = wishes.iter().zip(number..);
    let ports = ports.map(|(wishes, number)| json!({"port": number, "tls": {"mode": "Automatic", "certManagerCertificateSpec": wishes}}));
    let service_type = match name {
        "one" => "ClusterIp",
        _ => "NodePort",
    };
    let spec = json!({"serviceType": service_type, "ports": ports.collect::<Vec<_>>()});
    resource(Kind::Listener, name, spec)
}

#[test]
fn ports_with_one_secret_have_one_certificate() {
    let wishes = |more: Value| {
        let mut wishes = json!({"secretName": "shared", "duration": "240h",
            "issuerRef": {"name": "plant"}, "san": {"dns": ["mqtt.example"]}});
        for (key, value) in more.as_object().unwrap() {
            wishes[key] = value.clone();
        }
        wishes
    };
    let same = json!({"duration": "14400m", "privateKey": {"rotationPolicy": "Always"},
        "san": {"dns": ["mqtt.example", "x.example"], "ip": ["192.0.2.1"]}});
    let mut given = Given::of(vec![
        issued("one", &[wishes(json!({})), wishes(json!({}))]),
        issued("other", &[wishes(same)]),
    ]);
    given.has_cert_manager = true;
    let plan = given.plan();
    let found = ports(&plan);
    assert_eq!(found, ["*:3000", "*:3001", "*:5000"], "{:?}", plan.fates);
    let [(keys, wanted)] = &plan.certificates[..] else {
        panic!("one certificate: {:?}", plan.certificates);
    };
    let keys: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
    assert_eq!(keys, ["one", "other"]);
    for name in ["one.plant", "other.plant", "mqtt.example", "x.example"] {
        let times = wanted.dns.iter().filter(|dns| *dns == name).count();
        assert_eq!(times, 1, "{name}");
    }
    assert_eq!(wanted.ip, ["192.0.2.1"]);

    for (field, other) in [
        ("issuerRef", json!({"issuerRef": {"name": "hall"}})),
        ("duration", json!({"duration": "241h"})),
        ("renewBefore", json!({"renewBefore": "20h"})),
        ("privateKey", json!({"privateKey": {"algorithm": "Ec256"}})),
    ] {
        given.resources[1] = issued("other", &[wishes(other)]);
        let plan = given.plan();
        assert_eq!(ports(&plan), ["*:3000", "*:3001"], "the newer one is out");
        let why = why(&plan, "other");
        assert!(why.contains(field) && why.contains("shared"), "{why}");
        assert_eq!(plan.certificates.len(), 1);
    }

    // One that is out has no say.
    let wrong = json!({"issuerRef": {"name": "hall"}, "san": {"ip": ["x"]}});
    given.resources = vec![
        issued("wrong", &[wishes(wrong)]),
        issued("one", &[wishes(json!({}))]),
    ];
    let plan = given.plan();
    assert_eq!(ports(&plan), ["*:3000"]);
    assert_eq!(plan.certificates.len(), 1);
}
