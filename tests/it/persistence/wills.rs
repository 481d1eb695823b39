//! Wills whose delay a restart falls into (MQTT 5, 3.1.3.2.2).

use super::{Ending, absent, durable, end, gateway, message, pass, publish, restart, resume};
use crate::support::{
    Connect, TestClient, TestGateway, V5, Version, Will,
    property::{CONTENT_TYPE, SESSION_EXPIRY_INTERVAL, WILL_DELAY_INTERVAL},
};

restarts! {
    will_that_was_published_is_kept
}

restarts_v5! {
    delayed_will_is_published_after_the_restart
    delay_passes_while_the_gateway_is_down
    client_that_is_back_in_time_has_no_will
    will_of_a_client_that_the_gateway_lost_is_delayed
    will_is_published_when_the_session_expires
    will_is_gone_with_disconnect
}

use super::{restarts, restarts_v5};

fn with_will(delay: u32, expiry: u32) -> Connect {
    let will = Will::new("will", "gone")
        .qos(1)
        .with(WILL_DELAY_INTERVAL, delay)
        .with(CONTENT_TYPE, "text/plain");
    Connect::new(V5, "mortal")
        .resume()
        .with(SESSION_EXPIRY_INTERVAL, expiry)
        .will(will)
}

/// A gateway with a watcher that is away, and a client that has a will.
#[track_caller]
fn mortal(connect: &Connect) -> Option<(TestGateway, TestClient)> {
    let gateway = gateway()?;
    absent(&gateway, V5, "watcher", "will", 1);
    let (client, _) = gateway.connect(connect);
    Some((gateway, client))
}

#[track_caller]
fn watch(gateway: &TestGateway) -> TestClient {
    resume(gateway, &durable(V5, "watcher"))
}

#[track_caller]
fn assert_published(watcher: &mut TestClient) {
    let found = watcher.take();
    assert_eq!(
        (found.topic.as_str(), found.payload_text()),
        ("will", "gone")
    );
    assert_eq!(found.properties.text(CONTENT_TYPE), Some("text/plain"));
    // The acknowledgement has arrived: a stop that overtakes it makes the gateway send the message again.
    assert_eq!(watcher.ping(), []);
}

/// Waits until the gateway has noticed that the client is gone.
#[track_caller]
fn await_absence(gateway: &TestGateway) {
    gateway.await_status(|status| (status["broker"]["connections"] == 0).then_some(()));
}

fn will_that_was_published_is_kept(version: Version, ending: Ending) {
    let Some(mut gateway) = gateway() else { return };
    absent(&gateway, version, "watcher", "will", 1);
    let will = Will::new("will", "gone").qos(1);
    let (client, _) = gateway.connect(&Connect::new(version, "mortal").will(will));
    client.cut();
    // Another will, which is awaited, and a message behind it: what was routed before is stored by then.
    let mut other = gateway.v5("other");
    other.subscribe("will", 0);
    publish(&gateway, [message("will", "behind")]);
    while other.take().payload_text() != "behind" {}
    restart(&mut gateway, ending);
    let mut watcher = resume(&gateway, &durable(version, "watcher"));
    let mut found = vec![watcher.take().payload_text().to_owned()];
    if found == ["behind"] {
        // The gateway noticed the end of the connection later than it took the other message.
        assert_eq!(ending, Ending::Stopped, "{}", gateway.log());
    }
    if !found.contains(&"gone".to_owned()) || !found.contains(&"behind".to_owned()) {
        found.push(watcher.take().payload_text().to_owned());
    }
    found.sort();
    assert_eq!(found, ["behind", "gone"]);
}

fn delayed_will_is_published_after_the_restart(ending: Ending) {
    let Some((mut gateway, client)) = mortal(&with_will(10, 3600)) else {
        return;
    };
    client.cut();
    restart(&mut gateway, ending);
    let mut watcher = watch(&gateway);
    assert_eq!(watcher.ping(), [], "the delay has not passed");
    assert_published(&mut watcher);
    // Once.
    restart(&mut gateway, Ending::Stopped);
    let mut watcher = watch(&gateway);
    publish(&gateway, [message("will", "behind")]);
    assert_eq!(watcher.take().payload_text(), "behind");
}

fn delay_passes_while_the_gateway_is_down(ending: Ending) {
    let Some((mut gateway, client)) = mortal(&with_will(1, 3600)) else {
        return;
    };
    client.cut();
    end(&mut gateway, ending);
    pass(1_500);
    gateway.run();
    assert_published(&mut watch(&gateway));
}

fn client_that_is_back_in_time_has_no_will(ending: Ending) {
    let Some((mut gateway, client)) = mortal(&with_will(10, 3600)) else {
        return;
    };
    client.cut();
    restart(&mut gateway, ending);
    let back = Connect::new(V5, "mortal")
        .resume()
        .with(SESSION_EXPIRY_INTERVAL, 3600_u32);
    let held = resume(&gateway, &back);
    pass(11_000);
    let mut watcher = watch(&gateway);
    publish(&gateway, [message("will", "behind")]);
    assert_eq!(watcher.take().payload_text(), "behind");
    drop(held);
}

/// The end of the gateway is the end of the connection.
fn will_of_a_client_that_the_gateway_lost_is_delayed(ending: Ending) {
    let Some((mut gateway, client)) = mortal(&with_will(2, 3600)) else {
        return;
    };
    restart(&mut gateway, ending);
    drop(client);
    assert_published(&mut watch(&gateway));
}

fn will_is_published_when_the_session_expires(ending: Ending) {
    let Some((mut gateway, client)) = mortal(&with_will(1_000, 1)) else {
        return;
    };
    client.cut();
    end(&mut gateway, ending);
    pass(1_500);
    gateway.run();
    assert_published(&mut watch(&gateway));
}

fn will_is_gone_with_disconnect(ending: Ending) {
    let Some((mut gateway, client)) = mortal(&with_will(1, 3600)) else {
        return;
    };
    client.disconnect();
    await_absence(&gateway);
    // What waits for the store is stored behind this.
    absent(&gateway, V5, "barrier", "a", 1);
    end(&mut gateway, ending);
    pass(1_500);
    gateway.run();
    let mut watcher = watch(&gateway);
    publish(&gateway, [message("will", "behind")]);
    assert_eq!(watcher.take().payload_text(), "behind");
}
