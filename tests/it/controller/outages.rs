//! What a real API server does now and then, and what it does not do for long.

use nix::sys::signal::Signal;

use super::*;
use crate::support::command::run_on;

#[test]
fn watches_that_break_and_pasts_that_are_forgotten_cost_nobody_anything() {
    let Some(mut cluster) = Cluster::start() else {
        return;
    };
    let port = free_port();
    cluster.apply(&listener_path("plain"), open("ClusterIp", port));
    cluster.condition(&listener_path("plain"), "Ready", "True", "Listening");
    let mut stays = client(port, "a");
    let lists = |cluster: &Cluster| {
        cluster
            .requests("GET /apis/mqttbroker.fieldgate.io/v1/namespaces/plant/brokerlisteners?limit")
    };
    assert_eq!(lists(&cluster), 1, "one list, then watches");

    cluster.set("drop", json!(1));
    let other = free_port();
    cluster.apply(&listener_path("other"), open("NodePort", other));
    cluster.condition(&listener_path("other"), "Ready", "True", "Listening");
    assert_eq!(lists(&cluster), 1, "a watch goes on where it broke off");

    cluster.set("expire", json!(1));
    eventually("the list is read anew", || lists(&cluster) >= 2);
    let third = free_port();
    cluster.apply(&listener_path("third"), open("LoadBalancer", third));
    cluster.condition(&listener_path("third"), "Ready", "True", "Listening");
    ping(&mut stays);
}

#[test]
fn conflicts_and_pauses_are_borne() {
    let Some(mut cluster) = Cluster::with("", |script| {
        script["conflict"] = json!({"count": 2, "id": 1});
        script["busy"] = json!({"match": "PATCH .*services", "count": 1, "id": 1});
    }) else {
        return;
    };
    let port = free_port();
    cluster.apply(&listener_path("plain"), open("ClusterIp", port));
    cluster.condition(&listener_path("plain"), "Ready", "True", "Listening");
    let own = "GET /apis/mqttbroker.fieldgate.io/v1/namespaces/plant/brokerlisteners/plain";
    assert!(
        cluster.requests(own) >= 1,
        "the object is read again after a conflict"
    );
    assert_eq!(
        cluster.requests("PATCH /api/v1/namespaces/plant/services/plain"),
        2,
        "once more after the pause"
    );
    eventually("each transition is announced once", || {
        cluster.reasons("plain") == ["Listening", "ServiceFailed"]
    });
}

#[test]
fn status_and_metrics_tell_how_it_gets_on_with_its_cluster() {
    let Some(mut cluster) = Cluster::start() else {
        return;
    };
    let connected = |cluster: &Cluster| cluster.gateway.control("status")["cluster"].clone();
    eventually("it is connected", || {
        connected(&cluster)["connected"] == true
    });
    let port = free_port();
    cluster.apply(&listener_path("plain"), open("ClusterIp", port));
    let misspelled = json!({"serviceType": "NodePort", "ports": [{"port": free_port(), "authentificationRef": "x"}]});
    cluster.apply(
        &listener_path("bad"),
        resource("BrokerListener", misspelled),
    );
    eventually("resources are counted", || {
        let report = connected(&cluster);
        (&report["accepted"], &report["refused"]) == (&json!(1), &json!(1))
    });
    assert_eq!(connected(&cluster)["namespace"], "plant");
    let (_, metrics) = crate::admin::get(&cluster.gateway, "/metrics");
    for line in [
        "fieldgate_cluster_connected 1",
        "fieldgate_cluster_resources{state=\"refused\"} 1",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }

    drop(cluster.server.take());
    eventually("it is told", || connected(&cluster)["connected"] == false);
    let said = run_on(&cluster.gateway.path("state"), &["status"]).stdout;
    assert!(
        said.contains(
            "cluster        not connected, namespace plant: 1 resources in force, 1 refused"
        ),
        "{said}"
    );
    assert!(said.contains("cannot be watched: the "), "{said}");
}

#[test]
fn a_token_that_is_replaced_is_read_again() {
    let Some(mut cluster) = Cluster::start() else {
        return;
    };
    let port = free_port();
    cluster.apply(&listener_path("plain"), open("ClusterIp", port));
    cluster.condition(&listener_path("plain"), "Ready", "True", "Listening");
    cluster.set("own_tokens", json!(["own-2"]));
    cluster.set("drop", json!(1));
    eventually("the token is refused", || {
        cluster.gateway.log().contains("does not know the token")
    });
    put(&cluster.gateway.path("own-token"), "own-2\n");
    let other = free_port();
    cluster.apply(&listener_path("other"), open("NodePort", other));
    cluster.condition(&listener_path("other"), "Ready", "True", "Listening");
}

#[test]
fn resources_count_as_soon_as_their_kind_exists() {
    let Some(mut cluster) = Cluster::with("", |script| script["groups"] = json!([])) else {
        return;
    };
    eventually("the kind is looked for", || {
        cluster.gateway.log().contains("are the CRDs there?")
    });
    let port = free_port();
    cluster.set("groups", json!([GROUP]));
    cluster.apply(&listener_path("plain"), open("ClusterIp", port));
    cluster.condition(&listener_path("plain"), "Ready", "True", "Listening");
    // The group of the cluster broker counts as well once it is there.
    let foreign = "mqttbroker.iotoperations.azure.com";
    let theirs = free_port();
    let path = format!("/apis/{foreign}/v1/namespaces/plant/brokerlisteners/theirs");
    let mut listener = open("nodePort", theirs);
    listener["apiVersion"] = json!(format!("{foreign}/v1"));
    cluster.apply(&path, listener);
    cluster.set("groups", json!([GROUP, foreign]));
    cluster.condition(&path, "Ready", "True", "Listening");
    ping(&mut client(theirs, "a"));
}

#[test]
fn without_its_cluster_a_gateway_serves_and_starts() {
    let Some(mut cluster) = Cluster::start() else {
        return;
    };
    let (port, secure) = (free_port(), free_port());
    let (secret, trusting) = tls_secret();
    cluster.apply(&core_path("secrets", "server-tls"), secret);
    let spec = json!({"serviceType": "LoadBalancer", "ports": [
        {"port": secure, "tls": {"mode": "Manual", "manual": {"secretRef": "server-tls"}}},
    ]});
    cluster.apply(&listener_path("secure"), resource("BrokerListener", spec));
    cluster.apply(&listener_path("plain"), open("ClusterIp", port));
    cluster.condition(&listener_path("plain"), "Ready", "True", "Listening");
    cluster.condition(&listener_path("secure"), "Ready", "True", "Listening");
    let mut stays = client(port, "a");

    let server = cluster.server.take().expect("it runs");
    let again = server.stop();
    eventually("it is missed", || {
        cluster.gateway.log().contains("cannot be reached")
    });
    ping(&mut stays);
    assert!(secured(secure, &trusting).is_some());

    // Not even a start needs it.
    cluster.gateway.signal(Signal::SIGTERM);
    assert!(cluster.gateway.await_end().success());
    assert!(kept(&cluster).join("files/server-tls.key").exists());
    cluster.run();
    ping(&mut client(port, "a"));
    assert!(secured(secure, &trusting).is_some());

    // Back again, with what has changed meanwhile.
    let other = free_port();
    cluster.script["objects"]
        .as_object_mut()
        .expect("objects")
        .remove(&listener_path("plain"));
    cluster.script["objects"][listener_path("other")] = open("NodePort", other);
    cluster.publish();
    cluster.server = Some(again());
    cluster.condition(&listener_path("other"), "Ready", "True", "Listening");
    eventually("the port closes", || is_closed(port));
    assert!(secured(secure, &trusting).is_some());
}

#[test]
fn what_the_cluster_added_does_not_keep_a_gateway_from_starting() {
    let Some(mut cluster) = Cluster::unstarted("", |_| {}) else {
        return;
    };
    let folder = kept(&cluster);
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("gateway.toml"), "[[listener]]\nnonsense = 1\n").expect("a file");
    let port = free_port();
    cluster.apply(&listener_path("plain"), open("ClusterIp", port));
    cluster.run();
    cluster.condition(&listener_path("plain"), "Ready", "True", "Listening");
    assert!(cluster.gateway.log().contains("left out"));
}

#[test]
fn a_kind_that_is_gone_for_a_moment_closes_nothing() {
    let Some(mut cluster) = Cluster::start() else {
        return;
    };
    let port = free_port();
    cluster.apply(&listener_path("plain"), open("ClusterIp", port));
    cluster.condition(&listener_path("plain"), "Ready", "True", "Listening");
    let mut stays = client(port, "a");
    // As an API server that starts: it answers, and does not know its kinds yet.
    cluster.set("groups", json!([]));
    cluster.set("drop", json!(1));
    let asked = "GET /apis/mqttbroker.fieldgate.io/v1/namespaces/plant/brokerlisteners?";
    let before = cluster.requests(asked);
    eventually("it is looked for more than once", || {
        cluster.requests(asked) >= before + 3
    });
    ping(&mut stays);
    cluster.set("groups", json!([GROUP]));
    let other = free_port();
    cluster.apply(&listener_path("other"), open("NodePort", other));
    cluster.condition(&listener_path("other"), "Ready", "True", "Listening");
    ping(&mut stays);
}
