//! A cluster may have more than a gateway can hold.

use super::*;

#[test]
fn of_too_many_resources_some_are_left_out_and_that_is_said() {
    let rules = json!({"authorizationPolicies": {"rules": []}});
    let Some(mut cluster) = Cluster::unstarted("", |script| {
        for number in 0..260 {
            let path = path("brokerauthorizations", &format!("rules-{number:03}"));
            script["objects"][path] = resource("BrokerAuthorization", rules.clone());
        }
    }) else {
        return;
    };
    let port = free_port();
    cluster.apply(&listener_path("plain"), open("ClusterIp", port));
    cluster.run();
    cluster.condition(&listener_path("plain"), "Ready", "True", "Listening");
    ping(&mut client(port, "a"));
    let log = cluster.gateway.log();
    assert_eq!(log.matches("objects are left out").count(), 1, "{log}");
    let report = cluster.gateway.control("status")["cluster"].clone();
    let fault = report["fault"].to_string();
    assert!(fault.contains("more brokerauthorizations"), "{report}");
    // The others count.
    let last = path("brokerauthorizations", "rules-255");
    cluster.condition(&last, "Ready", "True", "InForce");
    let none = path("brokerauthorizations", "rules-256");
    assert!(
        cluster
            .object(&none)
            .expect("it is there")
            .get("status")
            .is_none()
    );
}

#[test]
fn a_resource_that_is_too_large_is_told_and_leaves_the_others_alone() {
    let Some(mut cluster) = Cluster::start() else {
        return;
    };
    let port = free_port();
    cluster.apply(&listener_path("plain"), open("ClusterIp", port));
    let topics: Vec<String> = (0..60_000)
        .map(|number| format!("plant/{number}"))
        .collect();
    let spec = json!({"authorizationPolicies": {"rules": [{
        "principals": {"clientIds": ["a"]},
        "brokerResources": [{"method": "Publish", "topics": topics}],
    }]}});
    let large = path("brokerauthorizations", "large");
    cluster.apply(&large, resource("BrokerAuthorization", spec));
    let accepted = cluster.condition(&large, "Accepted", "False", "Invalid");
    assert_eq!(accepted["message"], "it has more than 512 KiB");
    cluster.condition(&listener_path("plain"), "Ready", "True", "Listening");
    ping(&mut client(port, "a"));
}

#[test]
fn a_list_whose_rest_is_forgotten_is_read_anew() {
    let Some(mut cluster) = Cluster::unstarted("", |script| {
        script["page"] = json!(1);
        script["stale"] = json!({"count": 2, "id": 1});
    }) else {
        return;
    };
    let ports = [free_port(), free_port(), free_port()];
    let kinds = ["ClusterIp", "NodePort", "LoadBalancer"];
    for ((port, kind), name) in ports.iter().zip(kinds).zip(["one", "two", "three"]) {
        cluster.apply(&listener_path(name), open(kind, *port));
    }
    cluster.run();
    for name in ["one", "two", "three"] {
        cluster.condition(&listener_path(name), "Ready", "True", "Listening");
    }
    let list = "GET /apis/mqttbroker.fieldgate.io/v1/namespaces/plant/brokerlisteners?limit=250\"";
    assert_eq!(cluster.requests(list), 3, "from the beginning each time");
}
