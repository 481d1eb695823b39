//! Certificates of cert-manager: one for each Secret, nobody else's, and none longer than somebody wishes for it.

use nix::sys::signal::Signal;

use super::*;

/// A cluster with cert-manager, and with more in it.
fn with_cert_manager(prepare: impl FnOnce(&mut Value)) -> Option<Cluster> {
    Cluster::with("", |script| {
        script["groups"] = json!([GROUP, "cert-manager.io"]);
        prepare(script);
    })
}

fn certificate_path(name: &str) -> String {
    format!("/apis/cert-manager.io/v1/namespaces/plant/certificates/{name}")
}

/// A listener with one port, whose certificate an issuer puts into the Secret `server-tls`.
fn issued(service_type: &str, port: u16, issuer: &str) -> Value {
    let wishes = json!({"secretName": "server-tls", "issuerRef": {"name": issuer}});
    let tls = json!({"mode": "Automatic", "certManagerCertificateSpec": wishes});
    let spec = json!({"serviceType": service_type, "ports": [{"port": port, "tls": tls}]});
    resource("BrokerListener", spec)
}

/// A listener that has a certificate which cert-manager has issued.
fn served(cluster: &mut Cluster, name: &str) -> (u16, Arc<ClientConfig>) {
    let port = free_port();
    cluster.apply(&listener_path(name), issued("ClusterIp", port, "plant"));
    cluster.until(&certificate_path("server-tls"), "the Certificate", |_| true);
    let (secret, trusting) = tls_secret();
    cluster.apply(&core_path("secrets", "server-tls"), secret);
    cluster.condition(&listener_path(name), "Ready", "True", "Listening");
    assert!(secured(port, &trusting).is_some());
    (port, trusting)
}

#[test]
fn ports_with_one_secret_have_one_certificate() {
    let (one, two) = (free_port(), free_port());
    let Some(mut cluster) = with_cert_manager(|script| {
        script["objects"][listener_path("one")] = issued("ClusterIp", one, "plant");
        script["objects"][listener_path("two")] = issued("NodePort", two, "plant");
    }) else {
        return;
    };
    let path = certificate_path("server-tls");
    let certificate = cluster.until(&path, "the Certificate", |_| true);
    let names = certificate["spec"]["dnsNames"].to_string();
    assert!(
        names.contains("\"one.plant\"") && names.contains("\"two.plant\""),
        "{names}"
    );
    let owners = certificate["metadata"]["ownerReferences"].as_array();
    assert_eq!(owners.map(Vec::len), Some(2));

    // Each renewal is another Secret, and none of them is asked for here.
    for _ in 0..3 {
        let (secret, renewed) = tls_secret();
        cluster.apply(&core_path("secrets", "server-tls"), secret);
        eventually("both ports have it", || {
            [one, two]
                .iter()
                .all(|port| secured(*port, &renewed).is_some())
        });
    }
    let writes = |cluster: &Cluster| cluster.requests(&format!("PATCH {path}"));
    assert_eq!(writes(&cluster), 1);

    // One that cannot agree with the others is refused, and they go on.
    let three = free_port();
    cluster.apply(
        &listener_path("three"),
        issued("LoadBalancer", three, "hall"),
    );
    let accepted = cluster.condition(&listener_path("three"), "Accepted", "False", "Invalid");
    let message = accepted["message"].as_str().expect("a message");
    assert!(message.contains("issuerRef"), "{message}");
    assert!(is_closed(three));
    cluster.condition(&listener_path("one"), "Ready", "True", "Listening");
    assert_eq!(writes(&cluster), 1);

    // It is the other's alone when one has gone.
    cluster.delete(&listener_path("one"));
    let left = cluster.until(&path, "one owner", |object| {
        let owners = object["metadata"]["ownerReferences"].as_array();
        owners.is_some_and(|owners| owners.len() == 1)
    });
    assert!(!left["spec"]["dnsNames"].to_string().contains("one.plant"));
}

#[test]
fn what_somebody_else_has_made_is_left_alone() {
    let policy = "/apis/networking.k8s.io/v1/namespaces/plant/networkpolicies/fieldgate-listeners";
    let certificate = certificate_path("server-tls");
    let Some(mut cluster) = with_cert_manager(|script| {
        let spec = json!({"secretName": "server-tls", "dnsNames": ["theirs.example"]});
        script["objects"][&certificate] = json!({"kind": "Certificate", "spec": spec});
        script["objects"][policy] = json!({"kind": "NetworkPolicy", "spec": {"podSelector": {}}});
    }) else {
        return;
    };
    let port = free_port();
    let path = listener_path("inside");
    cluster.apply(&path, issued("ClusterIp", port, "plant"));
    let ready = cluster.until(&path, "the reason", |object| {
        let ready = condition(object, "Ready");
        ready.is_some_and(|ready| ready["message"].to_string().contains("has not made"))
    });
    let ready = condition(&ready, "Ready").expect("it was there").clone();
    assert_eq!(ready["reason"], "SecretNotFound");
    eventually("both are named", || {
        let fault = cluster.gateway.control("status")["cluster"]["fault"].to_string();
        fault.contains("the Certificate server-tls") && fault.contains("the NetworkPolicy")
    });
    for path in [&*certificate, policy] {
        let found = cluster.object(path).expect("it is theirs");
        assert!(found["metadata"]["ownerReferences"].is_null(), "{found}");
        assert_eq!(cluster.requests(&format!("PATCH {path}")), 0);
    }

    // What they have it issued is as good.
    let (secret, theirs) = tls_secret();
    cluster.apply(&core_path("secrets", "server-tls"), secret);
    cluster.condition(&path, "Ready", "True", "Listening");
    assert!(secured(port, &theirs).is_some());
    // And it goes neither with the listener nor with the wish.
    cluster.delete(&path);
    eventually("the port closes", || is_closed(port));
    assert!(cluster.object(&certificate).is_some());
}

#[test]
fn a_certificate_that_nobody_wishes_for_any_more_is_removed() {
    let elsewhere = |labels: Value| {
        let owner = json!({"kind": "BrokerListener", "name": "x", "uid": "elsewhere"});
        json!({"kind": "Certificate", "spec": {"secretName": "x"},
            "metadata": {"labels": labels, "ownerReferences": [owner]}})
    };
    let ours = json!({"app.kubernetes.io/instance": "fieldgate", "app.kubernetes.io/managed-by": "fieldgate"});
    let Some(mut cluster) = with_cert_manager(|script| {
        script["objects"][certificate_path("unknown")] = elsewhere(ours);
        script["objects"][certificate_path("theirs")] = elsewhere(json!({}));
        // The first try fails.
        script["faults"] = json!([{"match": "DELETE .*/certificates/", "count": 1, "status": 500}]);
    }) else {
        return;
    };
    let (port, issued) = served(&mut cluster, "inside");
    // From now on the operator brings the certificate, under the same name.
    let manual = json!({"mode": "Manual", "manual": {"secretRef": "server-tls"}});
    let spec = json!({"ports": [{"port": port, "tls": manual}]});
    cluster.apply(&listener_path("inside"), resource("BrokerListener", spec));
    eventually("the Certificate goes", || {
        cluster.object(&certificate_path("server-tls")).is_none()
    });
    assert!(secured(port, &issued).is_some());
    assert!(
        cluster
            .object(&core_path("secrets", "server-tls"))
            .is_some()
    );
    for name in ["unknown", "theirs"] {
        assert!(
            cluster.object(&certificate_path(name)).is_some(),
            "{name}: its listener is not here"
        );
    }
    let deletions = cluster.requests("DELETE /apis/cert-manager.io");
    assert_eq!(deletions, 2, "one that failed, and one more");
}

#[test]
fn a_cert_manager_that_is_not_known_yet_is_waited_for() {
    let Some(mut cluster) = with_cert_manager(|_| {}) else {
        return;
    };
    let (port, issued) = served(&mut cluster, "inside");
    // After a power cut all of it starts at once, and the API server knows kinds later than it answers.
    cluster.gateway.signal(Signal::SIGTERM);
    assert!(cluster.gateway.await_end().success());
    cluster.set("groups", json!([GROUP]));
    let looks = |cluster: &Cluster| {
        let log = fs::read_to_string(cluster.gateway.path("fake_cluster.log"));
        let log = log.unwrap_or_default();
        log.matches("\"line\": \"GET /apis/cert-manager.io/v1\"")
            .count()
    };
    let before = looks(&cluster);
    cluster.run();
    eventually("it is looked for again soon", || {
        looks(&cluster) >= before + 2
    });
    assert!(secured(port, &issued).is_some());

    cluster.set("groups", json!([GROUP, "cert-manager.io"]));
    let other = free_port();
    cluster.apply(&listener_path("other"), open("NodePort", other));
    cluster.condition(&listener_path("other"), "Ready", "True", "Listening");
    assert!(secured(port, &issued).is_some());
}

#[test]
fn a_cert_manager_that_cannot_be_looked_for_costs_no_certificate() {
    let Some(mut cluster) = with_cert_manager(|_| {}) else {
        return;
    };
    let (port, issued) = served(&mut cluster, "inside");
    cluster.gateway.signal(Signal::SIGTERM);
    assert!(cluster.gateway.await_end().success());
    // It is refused from the beginning, to a gateway that knows of no time before.
    fs::remove_file(kept(&cluster).join("resources.json")).expect("what was in force");
    cluster.set("refuse", json!("GET /apis/cert-manager.io/v1$"));
    cluster.run();
    eventually("its own authority does", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok() && secured(port, &issued).is_none()
    });
    let other = free_port();
    cluster.apply(&listener_path("other"), open("NodePort", other));
    cluster.condition(&listener_path("other"), "Ready", "True", "Listening");
    assert!(cluster.object(&certificate_path("server-tls")).is_some());
    assert_eq!(cluster.requests("DELETE /apis/cert-manager.io"), 0);
}
