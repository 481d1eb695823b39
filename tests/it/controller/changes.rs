//! Changes reach the ports that they are about, and no others.

use super::*;

#[test]
fn an_edited_listener_leaves_the_clients_of_the_others_alone() {
    let Some(mut cluster) = Cluster::start() else {
        return;
    };
    let (one, two, three) = (free_port(), free_port(), free_port());
    cluster.apply(&listener_path("one"), open("ClusterIp", one));
    cluster.apply(&listener_path("two"), open("LoadBalancer", two));
    cluster.condition(&listener_path("one"), "Ready", "True", "Listening");
    cluster.condition(&listener_path("two"), "Ready", "True", "Listening");
    let (mut stays, mut goes) = (client(one, "a"), client(two, "b"));

    // Another number is another port.
    cluster.apply(&listener_path("two"), open("LoadBalancer", three));
    let numbers = three.to_string();
    cluster.until(&listener_path("two"), "the new port", |object| {
        object["status"]["portNumbers"] == numbers.as_str()
            && object["status"]["observedGeneration"] == 2
    });
    goes.disconnect_reason();
    assert!(is_closed(two));
    ping(&mut client(three, "c"));
    ping(&mut stays);
    let service = cluster.until(
        &core_path("services", "two"),
        "the port of the service",
        |found| found["spec"]["ports"][0]["port"] == three,
    );
    assert_eq!(service["spec"]["ports"].as_array().map(Vec::len), Some(1));

    // Another name of the service: the old one goes.
    let spec =
        json!({"serviceType": "LoadBalancer", "serviceName": "edge", "ports": [{"port": three}]});
    cluster.apply(&listener_path("two"), resource("BrokerListener", spec));
    cluster.until(&core_path("services", "edge"), "the service", |_| true);
    eventually("the old service goes", || {
        cluster.object(&core_path("services", "two")).is_none()
    });

    cluster.delete(&listener_path("two"));
    eventually("the port closes", || is_closed(three));
    ping(&mut stays);
}

#[test]
fn rules_are_awaited_and_followed() {
    let Some(mut cluster) = Cluster::start() else {
        return;
    };
    let port = free_port();
    let listener = json!({"ports": [{"port": port, "authorizationRef": "rules"}]});
    let rules = |topic: &str| {
        let rule = json!({
            "principals": {"clientIds": ["a"]},
            "brokerResources": [{"method": "Connect"}, {"method": "Subscribe", "topics": [topic]}],
        });
        resource(
            "BrokerAuthorization",
            json!({"authorizationPolicies": {"rules": [rule]}}),
        )
    };
    cluster.apply(
        &listener_path("plain"),
        resource("BrokerListener", listener),
    );
    cluster.condition(
        &listener_path("plain"),
        "ResolvedRefs",
        "False",
        "RefNotFound",
    );
    assert!(is_closed(port), "nobody is let in without the rules");
    cluster.apply(&path("brokerauthorizations", "rules"), rules("plant/#"));
    cluster.condition(&listener_path("plain"), "Ready", "True", "Listening");
    cluster.condition(
        &path("brokerauthorizations", "rules"),
        "Ready",
        "True",
        "InForce",
    );
    let subscribe = |client: &mut TestClient, topic: &str| {
        let mut body = vec![0, 1, 0, 0, u8::try_from(topic.len()).unwrap()];
        body.extend(topic.bytes());
        body.push(0);
        let mut packet = vec![0x82, u8::try_from(body.len()).unwrap()];
        packet.extend(body);
        client.send(packet);
        client.suback().codes[0]
    };
    assert_eq!(subscribe(&mut client(port, "a"), "plant/x"), 0);
    assert_eq!(subscribe(&mut client(port, "a"), "hall/x"), 0x87);
    cluster.apply(&path("brokerauthorizations", "rules"), rules("hall/#"));
    cluster.until(
        &path("brokerauthorizations", "rules"),
        "the change",
        |object| object["status"]["observedGeneration"] == 2,
    );
    assert_eq!(subscribe(&mut client(port, "a"), "hall/x"), 0);
}

/// A listener of the file with ports on loopback.
fn in_file(ports: &[u16]) -> String {
    let ports = ports.iter().map(|port| {
        format!(
            "[[listener.port]]\nport = {port}\nbind = \"127.0.0.1\"\nauthentication = \"none\"\nauthorization = \"none\"\n"
        )
    });
    format!(
        "[[listener]]\nname = \"fixed\"\n{}",
        ports.collect::<String>()
    )
}

#[test]
fn the_file_and_the_cluster_stand_beside_each_other() {
    let Some(mut cluster) = Cluster::start() else {
        return;
    };
    let (port, fixed, contended) = (free_port(), free_port(), free_port());
    cluster.apply(&listener_path("plain"), open("ClusterIp", port));
    cluster.condition(&listener_path("plain"), "Ready", "True", "Listening");
    let mut stays = client(port, "a");
    cluster.configure(&in_file(&[fixed]));
    eventually("the port of the file opens", || !is_closed(fixed));
    let mut both = client(fixed, "b");
    // A resource that wants the port of the file is told so.
    cluster.apply(&listener_path("greedy"), open("NodePort", fixed));
    let accepted = cluster.condition(&listener_path("greedy"), "Accepted", "False", "Invalid");
    assert!(
        accepted["message"]
            .as_str()
            .unwrap()
            .contains("configuration file")
    );
    ping(&mut both);

    // The file wants what a resource has: the resource gives way.
    cluster.apply(&listener_path("greedy"), open("NodePort", contended));
    cluster.condition(&listener_path("greedy"), "Ready", "True", "Listening");
    cluster.configure(&in_file(&[fixed, contended]));
    cluster.condition(&listener_path("greedy"), "Accepted", "False", "Invalid");
    eventually("the port is the file's", || {
        let ports = cluster.gateway.control("status")["ports"].to_string();
        ports.contains(&format!("127.0.0.1:{contended}"))
    });
    ping(&mut both);
    ping(&mut stays);

    // Without the controller the file alone counts.
    cluster.gateway.write_config(&format!(
        "{}\n[admin]\nhttp = \"127.0.0.1:0\"\n",
        in_file(&[fixed])
    ));
    eventually("the port of the cluster closes", || is_closed(port));
    ping(&mut both);
}
