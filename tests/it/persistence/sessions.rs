//! Sessions over a restart (MQTT 5, 3.1.2.11.2 and 4.1; MQTT 3.1.1, 3.1.2.4).

use super::{
    Ending, absent, begin, durable, end, gateway, message, pass, publish, restart, resume,
};
use crate::support::{Connect, V5, Version, property::SESSION_EXPIRY_INTERVAL};

use super::{restarts, restarts_v5};

restarts! {
    sessions_are_present_after_a_restart
    clean_start_removes_what_was_stored
    session_that_ends_with_the_connection_is_gone
}

restarts_v5! {
    session_that_is_ended_by_disconnect_is_gone
    session_that_is_made_durable_by_disconnect_is_kept
    session_expires_while_the_gateway_is_down
    session_expires_after_the_restart
    expiry_begins_with_the_end_of_the_connection
}

fn sessions_are_present_after_a_restart(version: Version, ending: Ending) {
    let Some(mut gateway) = gateway() else { return };
    begin(&gateway, &durable(version, "away")).disconnect();
    begin(&gateway, &durable(version, "cut")).cut();
    let there = begin(&gateway, &durable(version, "there"));
    for _ in 0..2 {
        restart(&mut gateway, ending);
        for client_id in ["away", "cut", "there"] {
            resume(&gateway, &durable(version, client_id)).disconnect();
        }
    }
    drop(there);
}

fn clean_start_removes_what_was_stored(version: Version, ending: Ending) {
    let Some(mut gateway) = gateway() else { return };
    absent(&gateway, version, "one", "a", 1);
    publish(&gateway, [message("a", "old")]);
    // Again a session that is kept, where the version has such a thing.
    let mut clean = Connect::new(version, "one");
    if version == V5 {
        clean = clean.with(SESSION_EXPIRY_INTERVAL, 3600_u32);
    }
    let held = begin(&gateway, &clean);
    restart(&mut gateway, ending);
    drop(held);
    let (mut client, connack) = gateway.connect(&durable(version, "one"));
    assert_eq!(connack.session_present, version == V5);
    publish(&gateway, [message("a", "new")]);
    assert_eq!(client.ping(), [], "nothing is left of the old session");
}

fn session_that_ends_with_the_connection_is_gone(version: Version, ending: Ending) {
    let Some(mut gateway) = gateway() else { return };
    let mut held = begin(&gateway, &Connect::new(version, "held"));
    held.subscribe("a", 1);
    begin(&gateway, &Connect::new(version, "away")).disconnect();
    restart(&mut gateway, ending);
    for client_id in ["held", "away"] {
        begin(&gateway, &durable(version, client_id)).disconnect();
    }
}

fn session_that_is_ended_by_disconnect_is_gone(ending: Ending) {
    let Some(mut gateway) = gateway() else { return };
    let client = begin(&gateway, &durable(V5, "one"));
    client.disconnect_with(0, Some((SESSION_EXPIRY_INTERVAL, 0_u32.into())));
    // DISCONNECT has no answer that could wait for the store; the answer to another client can.
    absent(&gateway, V5, "barrier", "a", 1);
    restart(&mut gateway, ending);
    begin(&gateway, &durable(V5, "one"));
}

fn session_that_is_made_durable_by_disconnect_is_kept(ending: Ending) {
    let Some(mut gateway) = gateway() else { return };
    let short = Connect::new(V5, "one").with(SESSION_EXPIRY_INTERVAL, 1_u32);
    let client = begin(&gateway, &short);
    client.disconnect_with(0, Some((SESSION_EXPIRY_INTERVAL, 3600_u32.into())));
    absent(&gateway, V5, "barrier", "a", 1);
    end(&mut gateway, ending);
    pass(1_500);
    gateway.run();
    resume(&gateway, &durable(V5, "one"));
}

fn session_expires_while_the_gateway_is_down(ending: Ending) {
    let Some(mut gateway) = gateway() else { return };
    let short = Connect::new(V5, "short").with(SESSION_EXPIRY_INTERVAL, 1_u32);
    begin(&gateway, &short).disconnect();
    absent(&gateway, V5, "long", "a", 1);
    end(&mut gateway, ending);
    pass(2_000);
    gateway.run();
    begin(&gateway, &durable(V5, "short"));
    resume(&gateway, &durable(V5, "long"));
}

fn session_expires_after_the_restart(ending: Ending) {
    let Some(mut gateway) = gateway() else { return };
    let short = Connect::new(V5, "short").with(SESSION_EXPIRY_INTERVAL, 2_u32);
    begin(&gateway, &short).disconnect();
    let held = begin(&gateway, &short_of("held"));
    restart(&mut gateway, ending);
    drop(held);
    pass(3_000);
    begin(&gateway, &durable(V5, "short"));
    begin(&gateway, &durable(V5, "held"));
}

fn expiry_begins_with_the_end_of_the_connection(ending: Ending) {
    let Some(mut gateway) = gateway() else { return };
    // Longer than a restart takes.
    let held = Connect::new(V5, "held").with(SESSION_EXPIRY_INTERVAL, 10_u32);
    let connected = begin(&gateway, &held);
    pass(11_000);
    restart(&mut gateway, ending);
    drop(connected);
    resume(&gateway, &held.resume());
}

fn short_of(client_id: &str) -> Connect {
    Connect::new(V5, client_id).with(SESSION_EXPIRY_INTERVAL, 2_u32)
}
