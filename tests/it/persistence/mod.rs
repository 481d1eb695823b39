//! What is there again after the gateway was stopped, and after it was killed.

mod inflight;
mod queues;
mod retained;
mod sessions;
mod storage;
mod subscriptions;
mod wills;

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::{
    Connect, Publish, TestClient, TestGateway, V5, Version, property::SESSION_EXPIRY_INTERVAL,
};

/// How a gateway comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Stopped,
    Killed,
}

/// Runs each function in both versions of the protocol, over a stop and over a kill.
macro_rules! restarts {
    ($($name:ident)*) => {$(
        mod $name {
            use crate::persistence::Ending;
            use crate::support::{V3_1_1, V5};

            #[test]
            fn v5_stopped() {
                super::$name(V5, Ending::Stopped);
            }

            #[test]
            fn v5_killed() {
                super::$name(V5, Ending::Killed);
            }

            #[test]
            fn v3_1_1_stopped() {
                super::$name(V3_1_1, Ending::Stopped);
            }

            #[test]
            fn v3_1_1_killed() {
                super::$name(V3_1_1, Ending::Killed);
            }
        }
    )*};
}

/// As [`restarts`], for what only version 5 has.
macro_rules! restarts_v5 {
    ($($name:ident)*) => {$(
        mod $name {
            use crate::persistence::Ending;

            #[test]
            fn stopped() {
                super::$name(Ending::Stopped);
            }

            #[test]
            fn killed() {
                super::$name(Ending::Killed);
            }
        }
    )*};
}

use {restarts, restarts_v5};

/// A gateway that is to be restarted; `None` when another broker is under test.
#[track_caller]
fn gateway() -> Option<TestGateway> {
    TestGateway::with_limits("stop_timeout = \"1 s\"")
}

#[track_caller]
fn end(gateway: &mut TestGateway, ending: Ending) {
    match ending {
        Ending::Stopped => {
            gateway.signal(Signal::SIGTERM);
            assert!(gateway.await_end().success());
        }
        Ending::Killed => gateway.kill(),
    }
}

#[track_caller]
fn restart(gateway: &mut TestGateway, ending: Ending) {
    end(gateway, ending);
    gateway.run();
}

/// Lets time pass that the gateway has to count.
fn pass(milliseconds: u64) {
    let end = std::time::Instant::now() + Duration::from_millis(milliseconds);
    while let Some(left) = end.checked_duration_since(std::time::Instant::now()) {
        std::thread::park_timeout(left);
    }
}

/// Continues or begins a session that outlives its connection.
fn durable(version: Version, client_id: &str) -> Connect {
    let connect = Connect::new(version, client_id).resume();
    if version == V5 {
        connect.with(SESSION_EXPIRY_INTERVAL, 3600_u32)
    } else {
        connect
    }
}

/// Connects where there must be no session yet.
#[track_caller]
fn begin(gateway: &TestGateway, connect: &Connect) -> TestClient {
    let (client, connack) = gateway.connect(connect);
    assert!(!connack.session_present, "there is no session yet");
    client
}

/// Connects where the session must be there.
#[track_caller]
fn resume(gateway: &TestGateway, connect: &Connect) -> TestClient {
    let (client, connack) = gateway.connect(connect);
    assert!(connack.session_present, "the session is there");
    client
}

/// A durable session with one subscription, its client away.
#[track_caller]
fn absent(gateway: &TestGateway, version: Version, client_id: &str, filter: &str, qos: u8) {
    let mut client = begin(gateway, &durable(version, client_id));
    assert_eq!(client.subscribe(filter, qos), qos);
    client.disconnect();
}

/// Publishes by a client without a session that is kept; returns when it is acknowledged.
#[track_caller]
fn publish(gateway: &TestGateway, messages: impl IntoIterator<Item = Publish>) {
    let mut client = gateway.v5("other-publisher");
    for mut message in messages {
        if message.qos > 0 {
            message.packet_id = client.packet_id();
        }
        assert!(client.publish(&message) < 0x80, "the message is taken");
    }
    client.disconnect();
}

/// A message of QoS 1, which gets its identifier when it is published.
fn message(topic: &str, payload: &str) -> Publish {
    Publish::new(topic, payload).qos(1, 1)
}
