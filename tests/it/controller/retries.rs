//! What fails is tried again until it is done, and holds up nothing else.

use super::*;

/// So many requests that match are answered with a status.
fn failing(pattern: &str, count: u32, status: u16) -> Value {
    json!({"match": pattern, "count": count, "status": status})
}

const PLAIN: &str = "/namespaces/plant/brokerlisteners/plain";

#[test]
fn every_write_is_tried_again_until_it_is_done() {
    let port = free_port();
    let certificate = format!("inside-{port}");
    let Some(mut cluster) = Cluster::with("", |script| {
        script["groups"] = json!([GROUP, "cert-manager.io"]);
        let status = format!("PATCH .*{PLAIN}/status");
        script["faults"] = json!([
            failing("PATCH .*/services/inside", 2, 500),
            failing("PATCH .*/certificates/", 2, 409),
            failing("PATCH .*/networkpolicies/", 1, 502),
            failing(&status, 2, 504),
            failing("POST .*/events", 2, 500),
        ]);
    }) else {
        return;
    };
    let plain = free_port();
    cluster.apply(&listener_path("plain"), open("LoadBalancer", plain));
    let issuer = json!({"name": "plant", "kind": "ClusterIssuer", "group": "cert-manager.io"});
    let spec = json!({"ports": [{"port": port, "tls": {
        "mode": "Automatic",
        "certManagerCertificateSpec": {"issuerRef": issuer},
    }}]});
    let path = listener_path("inside");
    cluster.apply(&path, resource("BrokerListener", spec));
    let policy = "/apis/networking.k8s.io/v1/namespaces/plant/networkpolicies/fieldgate-listeners";
    let made = format!("/apis/cert-manager.io/v1/namespaces/plant/certificates/{certificate}");
    for path in [policy, &made, &core_path("services", "inside")] {
        cluster.until(path, "what is written", |_| true);
    }
    cluster.condition(&listener_path("plain"), "Ready", "True", "Listening");
    ping(&mut client(plain, "a"));
    let (secret, issued) = tls_secret();
    cluster.apply(&core_path("secrets", &certificate), secret);
    cluster.condition(&path, "Ready", "True", "Listening");
    assert!(secured(port, &issued).is_some());
    // The events as well, each of them once.
    eventually("it is announced", || {
        cluster.reasons("plain") == ["Listening"]
    });
    eventually("all of it is announced", || {
        let reasons = cluster.reasons("inside");
        let times = |word: &str| reasons.iter().filter(|reason| *reason == word).count();
        times("ServiceFailed") == 1 && times("Listening") == 1 && times("Resolved") == 1
    });
}

#[test]
fn a_pause_for_one_write_holds_up_no_other() {
    let Some(mut cluster) = Cluster::with("", |script| {
        let busy = json!({"match": "PATCH .*/services/slow", "count": 99, "status": 429, "retry_after": 45});
        script["faults"] = json!([busy]);
    }) else {
        return;
    };
    let (slow, quick) = (free_port(), free_port());
    let path = listener_path("slow");
    cluster.apply(&path, open("NodePort", slow));
    let ready = cluster.condition(&path, "Ready", "False", "ServiceFailed");
    let message = ready["message"].as_str().expect("a message");
    assert!(message.contains("asks for a pause"), "{message}");
    ping(&mut client(slow, "a"));
    // Changes come into force meanwhile, its own and those of others.
    cluster.apply(&listener_path("quick"), open("ClusterIp", quick));
    cluster.condition(&listener_path("quick"), "Ready", "True", "Listening");
    let other = free_port();
    cluster.apply(&path, open("NodePort", other));
    eventually("its port changes", || !is_closed(other) && is_closed(slow));
    let writes =
        |cluster: &Cluster| cluster.requests("PATCH /api/v1/namespaces/plant/services/slow");
    assert_eq!(writes(&cluster), 1, "the pause is made");
    cluster.set("faults", json!([]));
    cluster.condition(&path, "Ready", "True", "Listening");
    assert_eq!(writes(&cluster), 2);
}

#[test]
fn an_answer_that_is_lost_makes_nothing_twice() {
    let Some(mut cluster) = Cluster::with("", |script| {
        let status = format!("PATCH .*{PLAIN}/status");
        script["faults"] = json!([
            {"match": "POST .*/events", "count": 1},
            {"match": status, "count": 1},
            {"match": "PATCH .*/services/other", "count": 1},
        ]);
    }) else {
        return;
    };
    let port = free_port();
    cluster.apply(&listener_path("plain"), open("ClusterIp", port));
    cluster.condition(&listener_path("plain"), "Ready", "True", "Listening");
    eventually("it is announced", || !cluster.events("plain").is_empty());
    let events = "POST /api/v1/namespaces/plant/events";
    eventually("it is announced again", || cluster.requests(events) >= 2);
    let other = free_port();
    cluster.apply(&listener_path("other"), open("NodePort", other));
    cluster.condition(&listener_path("other"), "Ready", "True", "Listening");
    assert_eq!(cluster.reasons("plain"), ["Listening"]);
}

#[test]
fn a_gateway_that_starts_again_says_nothing_anew() {
    let Some(mut cluster) = Cluster::start() else {
        return;
    };
    let port = free_port();
    cluster.apply(&listener_path("plain"), open("ClusterIp", port));
    let spec = json!({"serviceType": "NodePort", "ports": [
        {"port": free_port(), "tls": {"mode": "Manual", "manual": {"secretRef": "server-tls"}}},
    ]});
    cluster.apply(&listener_path("secure"), resource("BrokerListener", spec));
    cluster.condition(&listener_path("plain"), "Ready", "True", "Listening");
    cluster.condition(&listener_path("secure"), "Ready", "False", "SecretNotFound");
    eventually("it is announced", || {
        cluster.reasons("plain") == ["Listening"] && cluster.reasons("secure") == ["SecretNotFound"]
    });
    let writes = |cluster: &Cluster| {
        let statuses = "PATCH /apis/mqttbroker.fieldgate.io/v1/namespaces/plant/brokerlisteners/";
        (cluster.requests(statuses), cluster.requests("POST "))
    };
    let before = writes(&cluster);
    cluster.gateway.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(cluster.gateway.await_end().success());
    cluster.run();
    let other = free_port();
    cluster.apply(&listener_path("other"), open("LoadBalancer", other));
    cluster.condition(&listener_path("other"), "Ready", "True", "Listening");
    eventually("the new one is announced", || {
        cluster.reasons("other") == ["Listening"]
    });
    let own = "PATCH /apis/mqttbroker.fieldgate.io/v1/namespaces/plant/brokerlisteners/other";
    let (statuses, events) = writes(&cluster);
    let of_other = cluster.requests(own);
    assert_eq!((statuses - of_other, events - 1), before);
}

#[test]
fn what_the_gateway_refuses_for_a_while_comes_into_force_later() {
    let Some(mut cluster) = Cluster::start() else {
        return;
    };
    let first = free_port();
    cluster.apply(&listener_path("first"), open("ClusterIp", first));
    cluster.condition(&listener_path("first"), "Ready", "True", "Listening");
    // Somebody is at the file, and then puts it back as it was.
    cluster.configure("nonsense = 1");
    eventually("the file is refused", || {
        cluster
            .gateway
            .log()
            .contains("the changed configuration is refused")
    });
    let port = free_port();
    cluster.apply(&listener_path("plain"), open("NodePort", port));
    let ready = cluster.condition(&listener_path("plain"), "Ready", "False", "Refused");
    assert!(ready["message"].to_string().contains("nonsense"), "{ready}");
    assert!(is_closed(port));
    let report = cluster.gateway.control("status")["cluster"].clone();
    assert!(report["fault"].to_string().contains("refused"), "{report}");
    cluster.configure("");
    cluster.condition(&listener_path("plain"), "Ready", "True", "Listening");
    ping(&mut client(port, "a"));
    ping(&mut client(first, "b"));
}

#[test]
fn a_secret_that_cannot_be_read_is_read_later() {
    let Some(mut cluster) = Cluster::with("", |script| {
        script["faults"] = json!([failing("GET .*/secrets/server-tls", 3, 500)]);
    }) else {
        return;
    };
    let port = free_port();
    let path = listener_path("secure");
    let spec = json!({"ports": [
        {"port": port, "tls": {"mode": "Manual", "manual": {"secretRef": "server-tls"}}},
    ]});
    let (secret, trusting) = tls_secret();
    cluster.apply(&core_path("secrets", "server-tls"), secret);
    cluster.apply(&path, resource("BrokerListener", spec));
    let ready = cluster.condition(&path, "Ready", "False", "SecretUnreadable");
    let message = ready["message"].as_str().expect("a message");
    assert!(message.contains("answers with 500"), "{message}");
    cluster.condition(&path, "Ready", "True", "Listening");
    assert!(secured(port, &trusting).is_some());
}

#[test]
fn names_that_nobody_may_list_hold_up_nobody() {
    let Some(mut cluster) = Cluster::unstarted("", |script| {
        script["refuse"] = json!("GET .*/secrets$");
    }) else {
        return;
    };
    let (plain, port) = (free_port(), free_port());
    let path = listener_path("secure");
    let spec = json!({"serviceType": "NodePort", "ports": [
        {"port": port, "tls": {"mode": "Manual", "manual": {"secretRef": "server-tls"}}},
    ]});
    let (secret, trusting) = tls_secret();
    cluster.apply(&core_path("secrets", "server-tls"), secret);
    cluster.apply(&path, resource("BrokerListener", spec));
    cluster.apply(&listener_path("plain"), open("ClusterIp", plain));
    cluster.run();
    cluster.condition(&listener_path("plain"), "Ready", "True", "Listening");
    // What it may not list it may read by its name.
    cluster.condition(&path, "Ready", "True", "Listening");
    assert!(secured(port, &trusting).is_some());
    let report = cluster.gateway.control("status")["cluster"].clone();
    assert!(
        report["unwatched"].to_string().contains("secrets"),
        "{report}"
    );
}

#[test]
fn an_event_that_always_fails_holds_up_no_other() {
    let Some(mut cluster) = Cluster::with("", |script| {
        let fault =
            json!({"match": "POST .*/events", "body": "stubborn", "count": 9999, "status": 500});
        script["faults"] = json!([fault]);
    }) else {
        return;
    };
    let path = listener_path("stubborn");
    cluster.apply(&path, open("NodePort", free_port()));
    cluster.condition(&path, "Ready", "True", "Listening");
    let events = "POST /api/v1/namespaces/plant/events";
    eventually("it is tried", || cluster.requests(events) >= 1);
    cluster.apply(&listener_path("plain"), open("ClusterIp", free_port()));
    eventually("the other is announced", || {
        cluster.reasons("plain") == ["Listening"]
    });
    assert!(cluster.reasons("stubborn").is_empty());
    cluster.set("faults", json!([]));
    eventually("it is announced, too", || {
        cluster.reasons("stubborn") == ["Listening"]
    });
}
