//! Ports come and go with resources.

use super::*;
use crate::support::tls::client_config_of_pem;

#[test]
fn a_listener_opens_a_port_and_gets_a_service() {
    let Some(mut cluster) = Cluster::with("", |script| {
        script["balancer"] = json!("192.0.2.7");
        // Several pages of a list, to begin with.
        script["page"] = json!(1);
        for name in ["one", "two"] {
            script["objects"][core_path("secrets", name)] =
                json!({"apiVersion": "v1", "kind": "Secret", "data": {"k": "djE="}});
        }
    }) else {
        return;
    };
    let port = free_port();
    let path = listener_path("plain");
    cluster.apply(&path, open("LoadBalancer", port));
    let ready = cluster.condition(&path, "Ready", "True", "Listening");
    assert_eq!(ready["observedGeneration"], 1);
    ping(&mut client(port, "a"));

    let service = cluster
        .object(&core_path("services", "plain"))
        .expect("a service");
    assert_eq!(service["spec"]["type"], "LoadBalancer");
    assert_eq!(service["spec"]["externalTrafficPolicy"], "Local");
    assert_eq!(service["spec"]["ports"][0]["protocol"], "TCP");
    assert_eq!(
        service["spec"]["selector"]["app.kubernetes.io/instance"],
        "fieldgate"
    );
    let owner = &service["metadata"]["ownerReferences"][0];
    assert_eq!(owner["kind"], "BrokerListener");
    assert_eq!(
        owner["uid"],
        cluster.object(&path).unwrap()["metadata"]["uid"]
    );
    let policy = "/apis/networking.k8s.io/v1/namespaces/plant/networkpolicies/fieldgate-listeners";
    let policy = cluster.object(policy).expect("a policy");
    assert_eq!(policy["spec"]["ingress"][0]["ports"][0]["port"], port);

    // The address of the service stands in the status as soon as it is known.
    let found = cluster.until(&path, "an address", |object| {
        let addresses = object["status"]["addresses"].to_string();
        addresses.contains("192.0.2.7") && addresses.contains("10.43.0.")
    });
    assert_eq!(found["status"]["runtimeStatus"]["status"], "Running");
    eventually("it is announced", || {
        cluster.events("plain") == [("Normal".to_owned(), "Listening".to_owned())]
    });
    // Secrets that nobody names are not read.
    assert_eq!(
        cluster.requests("GET /api/v1/namespaces/plant/secrets/one"),
        0
    );

    cluster.delete(&path);
    eventually("the port closes", || is_closed(port));
    eventually("the service goes", || {
        cluster.object(&core_path("services", "plain")).is_none()
    });
}

#[test]
fn a_bad_resource_is_told_why_and_the_others_serve() {
    let Some(mut cluster) = Cluster::start() else {
        return;
    };
    let (good, bad) = (free_port(), free_port());
    cluster.apply(&listener_path("good"), open("ClusterIp", good));
    let misspelled =
        json!({"serviceType": "NodePort", "ports": [{"port": bad, "authentificationRef": "x"}]});
    cluster.apply(
        &listener_path("bad"),
        resource("BrokerListener", misspelled),
    );
    let accepted = cluster.condition(&listener_path("bad"), "Accepted", "False", "Invalid");
    let message = accepted["message"].as_str().expect("a text");
    assert!(message.contains("authenticationRef"), "{message}");
    let found = cluster.object(&listener_path("bad")).expect("it is there");
    assert_eq!(found["status"]["runtimeStatus"]["status"], "Failed");
    // A template that was not filled in opens nothing.
    let ports = json!([{"port": free_port(), "authenticationRef": null}]);
    let template = json!({"serviceType": "LoadBalancer", "ports": ports});
    cluster.apply(
        &listener_path("template"),
        resource("BrokerListener", template),
    );
    let accepted = cluster.condition(&listener_path("template"), "Accepted", "False", "Invalid");
    let message = accepted["message"].as_str().expect("a text");
    assert!(message.contains("authenticationRef"), "{message}");
    cluster.condition(&listener_path("good"), "Ready", "True", "Listening");
    let mut client = client(good, "a");
    assert!(is_closed(bad));
    let warning = ("Warning".to_owned(), "Invalid".to_owned());
    eventually("it is announced", || {
        cluster.events("bad").contains(&warning)
    });

    // It is mended, and nobody notices.
    cluster.apply(&listener_path("bad"), open("NodePort", bad));
    cluster.condition(&listener_path("bad"), "Ready", "True", "Listening");
    ping(&mut client);

    // It is spoiled again: what it said before stays.
    let unknown =
        json!({"serviceType": "NodePort", "ports": [{"port": bad, "authenticationRef": "nobody"}]});
    cluster.apply(&listener_path("bad"), resource("BrokerListener", unknown));
    let accepted = cluster.condition(&listener_path("bad"), "Accepted", "False", "Invalid");
    assert!(
        accepted["message"]
            .as_str()
            .unwrap()
            .contains("stays in force")
    );
    cluster.condition(
        &listener_path("bad"),
        "ResolvedRefs",
        "False",
        "RefNotFound",
    );
    ping(&mut super::client(bad, "b"));
}

#[test]
fn a_secret_that_comes_late_opens_the_port() {
    let Some(mut cluster) = Cluster::start() else {
        return;
    };
    let (port, other) = (free_port(), free_port());
    let path = listener_path("secure");
    let spec = json!({"serviceType": "LoadBalancer", "ports": [
        {"port": port, "tls": {"mode": "Manual", "manual": {"secretRef": "server-tls"}}},
        {"port": other},
    ]});
    cluster.apply(&path, resource("BrokerListener", spec));
    let ready = cluster.condition(&path, "Ready", "False", "SecretNotFound");
    assert!(ready["message"].as_str().unwrap().contains("server-tls"));
    cluster.condition(&path, "ResolvedRefs", "False", "SecretNotFound");
    assert!(
        cluster.object(&core_path("services", "secure")).is_some(),
        "the service comes before the certificate"
    );
    ping(&mut client(other, "a"));
    assert!(is_closed(port));
    let since = ready["lastTransitionTime"].clone();

    let (secret, trusting) = tls_secret();
    cluster.apply(&core_path("secrets", "server-tls"), secret);
    cluster.condition(&path, "Ready", "True", "Listening");
    assert!(since.is_string());
    let stream = secured(port, &trusting).expect("a certificate");
    let mut client = TestClient::new(stream, V5);
    assert_eq!(client.connect(&Connect::new(V5, "b")).code, 0);
    // One for each transition, not for each look.
    let expected = [
        ("Normal", "Listening"),
        ("Normal", "Resolved"),
        ("Warning", "SecretNotFound"),
    ];
    let expected = expected.map(|(kind, reason)| (kind.to_owned(), reason.to_owned()));
    eventually("it is announced", || {
        let mut events = cluster.events("secure");
        events.sort();
        events == expected
    });

    // Another certificate takes its place without a word to those who are connected.
    let (secret, renewed) = tls_secret();
    cluster.apply(&core_path("secrets", "server-tls"), secret);
    eventually("the new certificate is shown", || {
        secured(port, &renewed).is_some()
    });
    ping(&mut client);

    // Gone again: the certificate that is there stays in use.
    cluster.delete(&core_path("secrets", "server-tls"));
    cluster.condition(&path, "ResolvedRefs", "False", "SecretNotFound");
    ping(&mut client);
    assert!(secured(port, &renewed).is_some());
}

#[test]
fn certificates_come_from_cert_manager_where_it_is() {
    let Some(mut cluster) = Cluster::with("", |script| {
        script["groups"] = json!([GROUP, "cert-manager.io"]);
    }) else {
        return;
    };
    let port = free_port();
    let path = listener_path("inside");
    let spec = json!({"serviceName": "aio-broker", "ports": [{"port": port, "tls": {
        "mode": "Automatic",
        "certManagerCertificateSpec": {
            "issuerRef": {"name": "plant", "kind": "ClusterIssuer", "group": "cert-manager.io"},
            "privateKey": {"algorithm": "Ec256", "rotationPolicy": "Always"},
        },
    }}]});
    cluster.apply(&path, resource("BrokerListener", spec));
    cluster.condition(&path, "Ready", "False", "SecretNotFound");
    let name = format!("inside-{port}");
    let certificate = format!("/apis/cert-manager.io/v1/namespaces/plant/certificates/{name}");
    let certificate = cluster.object(&certificate).expect("it is asked for");
    assert_eq!(certificate["spec"]["secretName"], name.as_str());
    assert_eq!(certificate["spec"]["issuerRef"]["kind"], "ClusterIssuer");
    let names = certificate["spec"]["dnsNames"].to_string();
    assert!(
        names.contains("aio-broker.plant.svc.cluster.local"),
        "{names}"
    );

    // As cert-manager does.
    let (secret, issued) = tls_secret();
    cluster.apply(&core_path("secrets", &name), secret);
    cluster.condition(&path, "Ready", "True", "Listening");
    assert!(secured(port, &issued).is_some());
}

#[test]
fn the_authority_of_the_gateway_does_where_there_is_no_cert_manager() {
    let Some(mut cluster) = Cluster::start() else {
        return;
    };
    let port = free_port();
    let path = listener_path("inside");
    let spec = json!({"serviceName": "aio-broker", "ports": [{"port": port, "tls": {"mode": "Automatic"}}]});
    cluster.apply(&path, resource("BrokerListener", spec));
    cluster.condition(&path, "Ready", "True", "Listening");
    let root = fs::read_to_string(cluster.gateway.path("state/ca/trust.pem"));
    let trusting = client_config_of_pem(&root.expect("the root of the authority"), None);
    let presented = secured(port, &trusting).expect("a certificate");
    let presented = presented.server_certificate();
    let name = b"aio-broker.plant.svc.cluster.local";
    let is_named = presented.windows(name.len()).any(|window| window == name);
    assert!(is_named, "pods may check the name of the service");
}

#[test]
fn a_service_of_somebody_else_is_left_alone() {
    let port = free_port();
    let Some(mut cluster) = Cluster::with("", |script| {
        script["objects"][core_path("services", "plain")] =
            json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 1}]}});
    }) else {
        return;
    };
    let path = listener_path("plain");
    cluster.apply(&path, open("ClusterIp", port));
    let ready = cluster.condition(&path, "Ready", "False", "ServiceFailed");
    assert!(
        ready["message"]
            .as_str()
            .unwrap()
            .contains("not of this listener")
    );
    let service = cluster.object(&core_path("services", "plain")).unwrap();
    assert_eq!(service["spec"]["ports"][0]["port"], 1);
}
