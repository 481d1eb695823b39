//! Start, reload, stop and restart, seen by clients.

use std::fs;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::client::{DEADLINE, Transport};
use crate::support::command::binary;
use crate::support::{
    Bystander, Connect, Publish, TestClient, TestGateway, V3_1_1, V5, Will, free_port, property,
};

fn port(number: u16, more: &str) -> String {
    format!(
        "\n[[listener.port]]\nport = {number}\nbind = \"127.0.0.1\"\nauthentication = \"none\"\nauthorization = \"none\"\n{more}\n"
    )
}

fn config(limits: &str, ports: &[String]) -> String {
    format!(
        "[admin]\nhttp = \"127.0.0.1:0\"\n[[listener]]\nname = \"test\"\n{}\n[limits]\n{limits}\n",
        ports.concat()
    )
}

fn open(address: std::net::SocketAddr) -> TestClient {
    TestClient::new(TcpStream::connect(address).expect("connect"), V5)
}

/// SIGTERM: clients are told, the process ends well.
#[test]
fn graceful_stop_says_goodbye() {
    let Some(mut gateway) = TestGateway::with_limits("") else {
        return;
    };
    let mut five = gateway.v5("five");
    let mut three = gateway.v3("three");
    let mut watcher = gateway.v5("watcher");
    watcher.subscribe("will", 0);
    let half = gateway.open(V5);
    gateway.signal(Signal::SIGTERM);
    five.expect_disconnect(0x8B);
    three.expect_closed();
    drop(half);
    assert!(gateway.await_end().success());
}

#[test]
fn stop_is_not_held_up_by_a_client_that_does_not_read() {
    let Some(mut gateway) = TestGateway::with_limits("stop_timeout = \"1 s\"") else {
        return;
    };
    let mut stuck = gateway.v5("stuck");
    stuck.subscribe("flood", 0);
    let mut publisher = gateway.v5("publisher");
    for _ in 0..200 {
        publisher.send_publish(&Publish::new("flood", vec![0; 60_000]));
    }
    assert_eq!(publisher.ping(), []);
    gateway.signal(Signal::SIGTERM);
    assert!(gateway.await_end().success());
}

/// A restart on the same folder: the port is there again at once, and so are the clients.
#[test]
fn killed_gateway_starts_again() {
    let number = free_port();
    let Some(mut gateway) = TestGateway::configured(&config("", &[port(number, "")])) else {
        return;
    };
    for _ in 0..3 {
        let mut bystander = Bystander::new(&gateway);
        bystander.is_served();
        gateway.kill();
        gateway.run();
        assert_eq!(gateway.address().port(), number);
    }
    Bystander::new(&gateway).is_served();
}

/// One folder has one gateway.
#[test]
fn second_gateway_on_the_same_folder_is_refused() {
    let Some(gateway) = TestGateway::with_limits("") else {
        return;
    };
    let second = binary()
        .args(["serve", "--config"])
        .arg(gateway.path("gateway.toml"))
        .arg("--state-dir")
        .arg(gateway.path("state"))
        .output()
        .expect("run the second one");
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    assert!(!second.stderr.is_empty());
    assert_eq!(gateway.v5("client").ping(), []);
}

#[test]
fn bad_configuration_starts_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("bad.toml");
    fs::write(
        &file,
        "[limits]\nconections_max = 5\n[[listener]]\nname = 7\n",
    )
    .expect("write");
    for command in ["serve", "check"] {
        let mut run = binary();
        run.arg(command).arg("--config").arg(&file);
        if command == "serve" {
            run.arg("--state-dir").arg(dir.path().join("state"));
        }
        let done = run.output().expect("run it");
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(78), "{command}: {told}");
        assert!(
            told.contains("conections_max") && told.contains("connections_max"),
            "{command}: {told}"
        );
        assert!(told.contains("name"), "both faults at once: {told}");
        assert!(told.contains("bad.toml"), "{told}");
    }
}

/// Saving the file is enough; whoever is connected stays connected.
#[test]
fn changed_file_is_applied_without_disturbing_anybody() {
    let number = free_port();
    let ports = [port(number, "")];
    let Some(mut gateway) = TestGateway::configured(&config("", &ports)) else {
        return;
    };
    let mut bystander = Bystander::new(&gateway);
    let mut client = gateway.v5("client");
    gateway.write_config(&config(
        "max_packet_size = 2000",
        &[port(number, ""), port(0, "")],
    ));
    gateway.await_notification("READY=1");
    gateway.refresh_addresses();
    bystander.is_served();
    assert_eq!(client.ping(), []);
    let (_new, connack) = gateway.connect(&Connect::new(V5, "new"));
    assert_eq!(
        connack.properties.number(property::MAXIMUM_PACKET_SIZE),
        Some(2000)
    );
    let mut other = open(gateway.address_of(1));
    assert_eq!(other.connect(&Connect::new(V5, "other")).code, 0);
    other.say("bystander-not", "");

    gateway.write_config(&config("max_packet_size = 2000", &ports));
    gateway.await_notification("READY=1");
    other.expect_disconnect(0x98);
    bystander.is_served();
    assert_eq!(client.ping(), []);
}

/// A bad file changes nothing, and is told.
#[test]
fn bad_file_is_refused_whole() {
    let number = free_port();
    let good = config("max_packet_size = 3000", &[port(number, "")]);
    let Some(mut gateway) = TestGateway::configured(&good) else {
        return;
    };
    let mut bystander = Bystander::new(&gateway);
    let bad = config(
        "max_packet_size = 9",
        &[port(number, "unknown_key = 1"), port(free_port(), "")],
    );
    gateway.write_config(&bad);
    gateway.signal(Signal::SIGHUP);
    gateway.await_notification("READY=1");
    let status = gateway.control("status");
    assert_eq!(
        status["configuration"]["last_reload"]["outcome"], "refused",
        "{status}"
    );
    assert_eq!(status["ports"].as_array().map(Vec::len), Some(1));
    bystander.is_served();
    let (_client, connack) = gateway.connect(&Connect::new(V5, "client"));
    assert_eq!(
        connack.properties.number(property::MAXIMUM_PACKET_SIZE),
        Some(3000)
    );
    assert!(
        gateway.log().contains("unknown_key"),
        "the journal shows the fault"
    );
}

/// Reload after reload while messages flow: none is lost, none comes twice, nobody is disconnected.
#[test]
fn reload_under_load_loses_nothing() {
    let number = free_port();
    let text = |size: u32| config(&format!("max_packet_size = {size}"), &[port(number, "")]);
    let Some(mut gateway) = TestGateway::configured(&text(100_000)) else {
        return;
    };
    let mut subscriber = gateway.v5("subscriber");
    subscriber.subscribe("load", 1);
    let mut publisher = gateway.v5("publisher");
    for round in 0..10u16 {
        gateway.write_config(&text(100_000 + u32::from(round)));
        gateway.signal(Signal::SIGHUP);
        for number in 1..=100u16 {
            publisher.publish(&Publish::new("load", format!("{round} {number}")).qos(1, number));
        }
        gateway.await_notification("READY=1");
        for number in 1..=100u16 {
            assert_eq!(
                subscriber.take().payload_text(),
                format!("{round} {number}")
            );
        }
    }
}

#[test]
fn unix_socket_serves_mqtt() {
    let text = "[[listener]]\nname = \"local\"\n[[listener.port]]\npath = \"{dir}/mqtt.sock\"\n\
                authentication = \"none\"\nauthorization = \"none\"\n";
    let Some(gateway) = TestGateway::configured(text) else {
        return;
    };
    let stream = UnixStream::connect(gateway.path("mqtt.sock")).expect("connect");
    let mut client = TestClient::new(stream, V3_1_1);
    assert_eq!(client.connect(&Connect::new(V3_1_1, "local")).code, 0);
    client.subscribe("a", 1);
    client.send_publish(&Publish::new("a", "x").qos(1, 1));
    let mut found = [client.receive(), client.receive()];
    found.sort_by_key(|packet| matches!(packet, crate::support::Received::Publish(_)));
    assert!(
        matches!(&found[1], crate::support::Received::Publish(publish) if publish.payload_text() == "x")
    );
}

/// A mount point keeps the clients of a port in a part of the topics, and they do not notice.
#[test]
fn mount_point_keeps_ports_apart() {
    let text = config(
        "",
        &[
            port(free_port(), "mount_point = \"site/a\""),
            port(free_port(), ""),
        ],
    );
    let Some(gateway) = TestGateway::configured(&text) else {
        return;
    };
    let mut inside = open(gateway.address_of(0));
    let connect = Connect::new(V5, "inside").will(Will::new("will", "gone"));
    assert_eq!(inside.connect(&connect).code, 0);
    let mut outside = open(gateway.address_of(1));
    assert_eq!(outside.connect(&Connect::new(V5, "outside")).code, 0);
    inside.subscribe("#", 0);
    outside.subscribe("site/a/#", 0);
    inside.send_publish(&Publish::new("t", "in"));
    assert_eq!(inside.take().topic, "t");
    assert_eq!(outside.take().topic, "site/a/t");
    outside.send_publish(&Publish::new("site/a/u", "out"));
    assert_eq!(inside.take().topic, "u");
    assert_eq!(outside.take().topic, "site/a/u");
    outside.send_publish(&Publish::new("t", "elsewhere"));
    assert_eq!(outside.ping(), []);
    assert_eq!(inside.ping(), []);
    inside.cut();
    assert_eq!(outside.take().topic, "site/a/will");
}

/// A certificate that is not there yet: the port says so and opens by itself, and the other ports do not wait.
#[test]
fn port_awaits_its_certificate() {
    let tls = "tls = { mode = \"Manual\", cert = \"{dir}/tls/server.crt\", key = \"{dir}/tls/server.key\" }";
    let text = config("", &[port(free_port(), tls), port(0, "")]);
    let Some(mut gateway) = TestGateway::configured(&text) else {
        return;
    };
    assert_eq!(
        gateway.control("status")["ports"][0]["state"],
        "awaiting-certificate"
    );
    let mut plain = open(gateway.address_of(1));
    assert_eq!(plain.connect(&Connect::new(V5, "plain")).code, 0);
    let certificate = crate::clients::certificate();
    fs::create_dir(gateway.path("tls")).expect("a folder");
    fs::write(gateway.path("tls/server.key"), &certificate.key_pem).expect("write the key");
    fs::write(gateway.path("tls/server.crt"), &certificate.cert_pem)
        .expect("write the certificate");
    let end = std::time::Instant::now() + DEADLINE;
    while gateway.control("status")["ports"][0]["state"] != "listening" {
        assert!(
            std::time::Instant::now() < end,
            "the port opens by itself:\n{}",
            gateway.log()
        );
        plain.wait_at_most(Duration::from_millis(50));
    }
    gateway.refresh_addresses();
    TcpStream::connect(gateway.address_of(0))
        .expect("the port is open")
        .shut();
    assert_eq!(plain.ping(), []);
}
