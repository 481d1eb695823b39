//! Users, passwords, rules and methods change while clients are connected: it concerns only whom it concerns.

use std::fs;

use super::{PASSWORD, add_user, reload, with_password};
use crate::support::command::run_on;
use crate::support::packet::subscribe;
use crate::support::{
    Connect, Publish, Received, TestClient, TestGateway, V3_1_1, V5, Will, allow_descriptors,
};

const PORT: &str = r#"
[[listener]]
name = "site"
[[listener.port]]
port = 0
bind = "127.0.0.1"
authentication = "people"
authorization = "rules"
[authentication.people]
methods = ["password"]
[protection]
never_banned = ["127.0.0.0/8"]
"#;

const RULES: &str = r#"
[[authorization.rules.rule]]
principals = { everyone = true }
connect = ["*"]
publish = ["open/#"]
subscribe = ["open/#"]
[[authorization.rules.rule]]
principals = { attributes = [{ floor = "1" }] }
publish = ["floor/1/#"]
subscribe = ["floor/1/#"]
"#;

fn gateway(users: &[&str]) -> Option<TestGateway> {
    let mut gateway = TestGateway::unstarted(&format!("{PORT}{RULES}"))?;
    for name in users {
        add_user(&gateway.path("state"), name, &["--attr", "floor=1"]);
    }
    gateway.run();
    Some(gateway)
}

fn connect(gateway: &TestGateway, name: &str) -> TestClient {
    let connect = Connect::new(V5, name).username(name);
    gateway.connect(&connect.password(PASSWORD.as_bytes())).0
}

#[track_caller]
fn user(gateway: &TestGateway, args: &[&str]) {
    let args: Vec<_> = ["user"].iter().chain(args).copied().collect();
    let said = run_on(&gateway.path("state"), &args);
    assert_eq!(said.code, 0, "{said:?}");
}

/// Publishes to a topic that the client has subscribed to, and takes its own message: the two answers come in any order.
#[track_caller]
fn publish_to_itself(client: &mut TestClient, topic: &str, text: &str) {
    client.send_publish(&Publish::new(topic, text).qos(1, 9));
    let (mut is_acknowledged, mut is_received) = (false, false);
    while !(is_acknowledged && is_received) {
        match client.receive() {
            Received::PubAck(ack) => {
                assert_eq!(ack.reason, 0);
                is_acknowledged = true;
            }
            Received::Publish(found) => {
                assert_eq!(found.payload_text(), text);
                client.acknowledge(&found);
                is_received = true;
            }
            other => panic!("expected PUBACK and PUBLISH, found {other:?}"),
        }
    }
}

#[test]
fn user_that_is_disabled_removed_or_has_another_password_is_disconnected_and_nobody_else() {
    let Some(gateway) = gateway(&["disabled", "removed", "changed", "same", "stays"]) else {
        return;
    };
    let [mut disabled, mut removed, mut changed, mut same, mut stays] =
        ["disabled", "removed", "changed", "same", "stays"].map(|name| connect(&gateway, name));
    let state = gateway.path("state");

    user(&gateway, &["disable", "disabled"]);
    disabled.expect_disconnect(0x87);
    user(&gateway, &["remove", "removed"]);
    removed.expect_disconnect(0x87);
    let said = with_password(
        &state,
        &["user", "passwd", "changed", "--stdin"],
        &[],
        "another one",
    );
    assert_eq!(said.code, 0, "{said:?}");
    changed.expect_disconnect(0x87);

    for client in [&mut same, &mut stays] {
        assert!(client.ping().is_empty());
        assert_eq!(client.publish(&Publish::new("open/x", "x").qos(1, 1)), 0x10);
    }
    let again = Connect::new(V5, "changed").username("changed");
    let (mut changed, _) = gateway.connect(&again.password(b"another one"));
    assert!(changed.ping().is_empty());
}

#[test]
fn attribute_that_is_taken_away_takes_the_subscription_and_leaves_the_connection() {
    let Some(gateway) = gateway(&["anna", "bert"]) else {
        return;
    };
    let mut anna = connect(&gateway, "anna");
    let mut bert = connect(&gateway, "bert");
    for client in [&mut anna, &mut bert] {
        assert_eq!(client.subscribe("floor/1/#", 1), 1);
        assert_eq!(client.subscribe("open/#", 1), 1);
    }
    user(&gateway, &["set", "anna", "--no-attr", "floor"]);
    gateway.await_status(|_| gateway.log().contains("floor/1/#").then_some(()));
    publish_to_itself(&mut bert, "open/x", "both");
    assert_eq!(anna.take().payload_text(), "both");
    publish_to_itself(&mut bert, "floor/1/x", "bert");
    assert!(anna.ping().is_empty(), "anna reads the floor no more");
    assert_eq!(
        anna.publish(&Publish::new("floor/1/x", "x").qos(1, 3)),
        0x87
    );
}

#[test]
fn method_that_a_port_takes_no_more_ends_the_connections_that_used_it() {
    let Some(gateway) = gateway(&["anna"]) else {
        return;
    };
    let mut anna = connect(&gateway, "anna");
    let guests = format!("{PORT}{RULES}").replace("\"password\"", "\"anonymous\"");
    gateway.write_config(&format!("{guests}\n[admin]\nhttp = \"127.0.0.1:0\"\n"));
    reload(&gateway);
    anna.expect_disconnect(0x87);
    let (mut guest, _) = gateway.connect(&Connect::new(V5, "guest"));
    assert!(guest.ping().is_empty());
}

/// Whoever keeps a connection open and silent must not be judged by what held when it was opened.
#[test]
fn connection_that_was_opened_before_a_reload_logs_in_by_what_holds_now() {
    let open = format!("{PORT}{RULES}").replace("\"password\"", "\"anonymous\"");
    let Some(gateway) =
        TestGateway::configured(&format!("{open}\n[admin]\nhttp = \"127.0.0.1:0\"\n"))
    else {
        return;
    };
    let mut early = gateway.open(V5);
    gateway.connect(&Connect::new(V5, "guest")).0.disconnect();
    gateway.write_config(&format!("{PORT}{RULES}\n[admin]\nhttp = \"127.0.0.1:0\"\n"));
    reload(&gateway);
    early.send(Connect::new(V5, "early").encode());
    early.expect_refused(0x87);
}

#[test]
fn user_whose_time_is_cut_short_is_disconnected_when_it_is_over() {
    let Some(gateway) = gateway(&["anna", "bert"]) else {
        return;
    };
    let mut anna = connect(&gateway, "anna");
    let mut bert = connect(&gateway, "bert");
    user(&gateway, &["set", "anna", "--expires", "8s"]);
    assert!(anna.ping().is_empty(), "not before");
    anna.expect_disconnect(0x87);
    assert!(bert.ping().is_empty());
}

#[test]
fn will_of_a_user_that_is_disabled_is_not_published() {
    let Some(gateway) = gateway(&["anna", "bert"]) else {
        return;
    };
    let mut bert = connect(&gateway, "bert");
    assert_eq!(bert.subscribe("open/#", 1), 1);
    let anna = Connect::new(V5, "anna").username("anna");
    let anna = anna.password(PASSWORD.as_bytes());
    let anna = anna.will(Will::new("open/will", "stop").qos(1));
    let (mut anna, _) = gateway.connect(&anna);
    user(&gateway, &["disable", "anna"]);
    anna.expect_disconnect(0x87);
    assert!(bert.ping().is_empty(), "nothing of anna");
}

#[test]
fn bad_rules_change_nothing() {
    let Some(gateway) = gateway(&["anna"]) else {
        return;
    };
    let mut anna = connect(&gateway, "anna");
    assert_eq!(anna.subscribe("open/#", 1), 1);
    let bad = format!("{PORT}{RULES}").replace("open/#", "open/{principal.nobody}");
    gateway.write_config(&format!("{bad}\n[admin]\nhttp = \"127.0.0.1:0\"\n"));
    assert_eq!(run_on(&gateway.path("state"), &["reload"]).code, 78);
    publish_to_itself(&mut anna, "open/x", "as before");
}

/// Clients of the test below, those of them that lose their right, and messages that are sent meanwhile.
const CLIENTS: usize = 5_000;
const BANISHED: usize = 10;
const MESSAGES: usize = 40;

/// A port that everybody may use, with more rules in front.
fn open_to_all(rules: &str) -> String {
    format!(
        r#"
[[listener]]
name = "site"
[[listener.port]]
port = 0
bind = "127.0.0.1"
authentication = "all"
authorization = "rules"
[authentication.all]
methods = ["anonymous"]
{rules}
[[authorization.rules.rule]]
principals = {{ everyone = true }}
connect = ["*"]
publish = ["all"]
subscribe = ["all"]
[admin]
http = "127.0.0.1:0"
"#
    )
}

#[test]
fn reload_under_load_disconnects_ten_of_five_thousand_and_loses_nothing() {
    allow_descriptors(2 * CLIENTS as u64);
    let Some(gateway) = TestGateway::configured(&open_to_all("")) else {
        return;
    };
    let mut clients = subscribers(&gateway);
    let wanted: Vec<_> = (0..BANISHED).map(|n| n * 499).collect();
    let banished: Vec<_> = wanted.iter().map(|n| format!("\"c{n}\"")).collect();
    let deny = format!(
        "[[authorization.rules.rule]]\neffect = \"deny\"\nconnect = [\"*\"]\n\
         principals = {{ client_ids = [{}] }}\n",
        banished.join(", ")
    );
    let mut publisher = gateway.v5("publisher");
    let publish = |publisher: &mut TestClient, number: usize| {
        let publish = Publish::new("all", number.to_string());
        publisher.publish(&publish.qos(1, number as u16 + 1));
    };
    for number in 0..MESSAGES / 4 {
        publish(&mut publisher, number);
    }
    fs::write(gateway.path("gateway.toml"), open_to_all(&deny)).expect("write the configuration");
    std::thread::scope(|scope| {
        scope.spawn(|| reload(&gateway));
        for number in MESSAGES / 4..MESSAGES {
            publish(&mut publisher, number);
        }
    });
    assert!(publisher.ping().is_empty());
    let clients_of = clients.iter_mut().enumerate();
    let gone: Vec<_> = clients_of
        .filter_map(|(number, client)| (!takes_all(client)).then_some(number))
        .collect();
    // Whoever had everything before the reload may still be on the way out.
    for number in wanted.iter().filter(|number| !gone.contains(number)) {
        clients[*number].expect_closed();
    }
    let is_wanted = |number: &usize| wanted.contains(number);
    assert!(gone.iter().all(is_wanted), "{gone:?}");
    let status = gateway.await_status(|status| {
        let connections = status["broker"]["connections"].as_u64()?;
        (connections as usize == CLIENTS - BANISHED + 1).then(|| status.clone())
    });
    assert_eq!(status["broker"]["messages_dropped"], 0);
}

fn subscribers(gateway: &TestGateway) -> Vec<TestClient> {
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let mut client = gateway.open(V3_1_1);
            client.send(Connect::new(V3_1_1, &format!("c{number}")).encode());
            let filters = [("all", 1)];
            client.send(subscribe(V3_1_1, 1, None, &filters));
            client
        })
        .collect();
    for client in &mut clients {
        assert_eq!(client.connack().code, 0);
        assert_eq!(client.suback().codes, [1]);
    }
    clients
}

/// Takes all messages, in order and none twice; false if the connection is closed before.
#[track_caller]
fn takes_all(client: &mut TestClient) -> bool {
    for expected in 0..MESSAGES {
        match client.receive_or_end() {
            Some(Received::Publish(found)) => {
                assert_eq!(found.payload_text(), expected.to_string());
                client.acknowledge(&found);
            }
            Some(other) => panic!("expected PUBLISH {expected}, found {other:?}"),
            None => return false,
        }
    }
    true
}
