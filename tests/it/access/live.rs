//! Users, passwords, rules and methods change while clients are connected: it concerns only whom it concerns.

use std::fs;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::{PASSWORD, add_user, reload, with_password};
use crate::support::command::run_on;
use crate::support::{Connect, Publish, Received, TestClient, TestGateway, V3_1_1, V5};

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
    user(&gateway, &["attr", "anna", "floor="]);
    gateway.await_status(|_| gateway.log().contains("floor/1/#").then_some(()));
    bert.publish(&Publish::new("open/x", "both").qos(1, 1));
    assert_eq!(anna.take().payload_text(), "both");
    assert_eq!(bert.take().payload_text(), "both");
    assert_eq!(
        bert.publish(&Publish::new("floor/1/x", "bert").qos(1, 2)),
        0
    );
    assert_eq!(bert.take().payload_text(), "bert");
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
    assert_eq!(
        anna.publish(&Publish::new("open/x", "as before").qos(1, 1)),
        0
    );
    assert_eq!(anna.take().payload_text(), "as before");
}

/// Clients of the test below, those of them that lose their right, and messages that are sent meanwhile.
const CLIENTS: usize = 5_000;
const BANISHED: usize = 10;
const MESSAGES: usize = 40;

#[test]
fn reload_under_load_disconnects_ten_of_five_thousand_and_loses_nothing() {
    allow_descriptors(2 * CLIENTS as u64);
    let config = |rules: &str| {
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
    };
    let Some(gateway) = TestGateway::configured(&config("")) else {
        return;
    };
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let mut client = gateway.open(V3_1_1);
            client.send(Connect::new(V3_1_1, &format!("c{number}")).encode());
            client.send(crate::support::packet::subscribe(
                V3_1_1,
                1,
                None,
                &[("all", 1)],
            ));
            client
        })
        .collect();
    for client in &mut clients {
        assert_eq!(client.connack().code, 0);
        assert_eq!(client.suback().codes, [1]);
    }
    let banished: Vec<_> = (0..BANISHED).map(|n| format!("\"c{}\"", n * 499)).collect();
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
    fs::write(gateway.path("gateway.toml"), config(&deny)).expect("write the configuration");
    std::thread::scope(|scope| {
        scope.spawn(|| reload(&gateway));
        for number in MESSAGES / 4..MESSAGES {
            publish(&mut publisher, number);
        }
    });
    assert!(publisher.ping().is_empty());
    let mut gone = Vec::new();
    for (number, client) in clients.iter_mut().enumerate() {
        let mut expected = 0;
        loop {
            match client.receive_or_end() {
                Some(Received::Publish(found)) => {
                    assert_eq!(
                        found.payload_text(),
                        expected.to_string(),
                        "client {number}"
                    );
                    client.acknowledge(&found);
                    expected += 1;
                    if expected == MESSAGES {
                        break;
                    }
                }
                Some(other) => panic!("client {number}: {other:?}"),
                None => {
                    gone.push(number);
                    break;
                }
            }
        }
    }
    let wanted: Vec<_> = (0..BANISHED).map(|n| n * 499).collect();
    // Whoever had everything before the reload may still be on the way out.
    for number in wanted.iter().filter(|number| !gone.contains(number)) {
        clients[*number].expect_closed();
    }
    assert!(
        gone.iter().all(|number| wanted.contains(number)),
        "{gone:?}"
    );
    let status = gateway.await_status(|status| {
        let connections = status["broker"]["connections"].as_u64()?;
        (connections as usize == CLIENTS - BANISHED + 1).then(|| status.clone())
    });
    assert_eq!(status["broker"]["messages_dropped"], 0);
}

/// Lets this process have as many descriptors as the test needs.
fn allow_descriptors(count: u64) {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit of descriptors");
    if soft < count {
        let wanted = count.max(soft);
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted)).expect("more descriptors");
    }
}
