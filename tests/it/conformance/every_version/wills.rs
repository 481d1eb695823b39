//! Wills.

use crate::support::{Connect, Publish, TestClient, TestGateway, Version, Will};

super::every_version! {
    will_is_published_when_the_connection_breaks,
    will_is_forgotten_at_disconnect,
    will_is_published_after_a_protocol_error,
    will_is_published_when_keep_alive_runs_out,
    will_is_published_at_takeover,
    will_keeps_its_quality,
    will_is_retained_when_it_says_so,
    will_may_be_empty,
    will_is_published_once,
    connection_without_will_leaves_nothing,
}

fn watcher(gateway: &TestGateway, version: Version) -> TestClient {
    let mut watcher = gateway.connect(&Connect::new(version, "watcher")).0;
    watcher.subscribe("will/#", 2);
    watcher
}

fn mortal(gateway: &TestGateway, version: Version, will: Will) -> TestClient {
    gateway
        .connect(&Connect::new(version, "mortal").will(will))
        .0
}

/// MQTT-3.1.2-7, MQTT-3.1.2-8, MQTT-3.1.2-14
fn will_is_published_when_the_connection_breaks(version: Version) {
    let gateway = TestGateway::start();
    let mut watcher = watcher(&gateway, version);
    mortal(&gateway, version, Will::new("will/x", "gone")).cut();
    let found = watcher.take();
    assert_eq!(
        (
            found.topic.as_str(),
            found.payload_text(),
            found.qos,
            found.retain
        ),
        ("will/x", "gone", 0, false)
    );
    watcher.subscribe("will/x", 0);
    assert_eq!(watcher.ping(), [], "not retained");
}

/// MQTT-3.1.2-10, MQTT-3.14.4-3
fn will_is_forgotten_at_disconnect(version: Version) {
    let gateway = TestGateway::start();
    let mut watcher = watcher(&gateway, version);
    mortal(&gateway, version, Will::new("will/x", "gone")).disconnect();
    assert_eq!(watcher.ping(), []);
}

/// MQTT-3.1.2-8
fn will_is_published_after_a_protocol_error(version: Version) {
    let gateway = TestGateway::start();
    let mut watcher = watcher(&gateway, version);
    let mut mortal = mortal(&gateway, version, Will::new("will/x", "gone"));
    mortal.hex("F0 01 00 00");
    while mortal.receive_or_end().is_some() {}
    assert_eq!(watcher.take().payload_text(), "gone");
}

/// MQTT-3.1.2-22
fn will_is_published_when_keep_alive_runs_out(version: Version) {
    let gateway = TestGateway::start();
    let mut watcher = watcher(&gateway, version);
    let connect = Connect::new(version, "mortal")
        .will(Will::new("will/x", "gone"))
        .keep_alive(1);
    let _mortal = gateway.connect(&connect).0;
    assert_eq!(watcher.take().payload_text(), "gone");
}

/// A connection that is taken over was not ended by its client.
fn will_is_published_at_takeover(version: Version) {
    let gateway = TestGateway::start();
    let mut watcher = watcher(&gateway, version);
    let _first = mortal(&gateway, version, Will::new("will/first", "gone"));
    let second = mortal(&gateway, version, Will::new("will/second", "gone"));
    assert_eq!(watcher.take().topic, "will/first");
    second.disconnect();
    assert_eq!(watcher.ping(), []);
}

/// MQTT-3.1.2-9, MQTT-3.1.2-12
fn will_keeps_its_quality(version: Version) {
    let gateway = TestGateway::start();
    let mut watcher = watcher(&gateway, version);
    for qos in 0..=2 {
        mortal(&gateway, version, Will::new("will/q", "gone").qos(qos)).cut();
        assert_eq!(watcher.take().qos, qos);
    }
}

/// MQTT-3.1.2-15
fn will_is_retained_when_it_says_so(version: Version) {
    let gateway = TestGateway::start();
    let mut watcher = watcher(&gateway, version);
    mortal(&gateway, version, Will::new("will/kept", "gone").retain()).cut();
    let found = watcher.take();
    assert!(!found.retain, "live copies are not marked");
    watcher.subscribe("will/kept", 0);
    let found = watcher.take();
    assert_eq!((found.payload_text(), found.retain), ("gone", true));
    mortal(&gateway, version, Will::new("will/kept", "").retain()).cut();
    assert_eq!(watcher.take().payload_text(), "");
    watcher.subscribe("will/kept", 0);
    assert_eq!(
        watcher.ping(),
        [],
        "an empty will removes the retained message"
    );
}

fn will_may_be_empty(version: Version) {
    let gateway = TestGateway::start();
    let mut watcher = watcher(&gateway, version);
    mortal(&gateway, version, Will::new("will/empty", "")).cut();
    let found = watcher.take();
    assert_eq!(
        (found.topic.as_str(), found.payload_text()),
        ("will/empty", "")
    );
}

/// MQTT-3.1.2-10
fn will_is_published_once(version: Version) {
    let gateway = TestGateway::start();
    let mut watcher = watcher(&gateway, version);
    mortal(&gateway, version, Will::new("will/once", "gone")).cut();
    assert_eq!(watcher.take().payload_text(), "gone");
    gateway
        .connect(&Connect::new(version, "mortal").resume())
        .0
        .cut();
    watcher.say("done", "");
    assert_eq!(watcher.ping(), []);
}

/// section 3.1.2.5
fn connection_without_will_leaves_nothing(version: Version) {
    let gateway = TestGateway::start();
    let mut watcher = gateway.connect(&Connect::new(version, "watcher")).0;
    watcher.subscribe("#", 0);
    gateway.connect(&Connect::new(version, "client")).0.cut();
    let mut publisher = gateway.connect(&Connect::new(version, "client")).0;
    publisher.send_publish(&Publish::new("end", ""));
    assert_eq!(watcher.take().topic, "end");
}
