//! Clients that do anything in any order, with bounds so low that they are met: the core stays alive and within its
//! bounds, and every client is sent only what the standard permits.
#![no_main]

use arbitrary::Arbitrary;
use fieldgate::limits::Limits;
use fieldgate::mqtt::encode::PublishParts;
use fieldgate::mqtt::{
    AckKind, PacketId, ProtocolVersion, QoS, ReasonCode, RetainHandling, SubscriptionOptions,
};
use fieldgate_fuzz::world::{ConnectOptions, World};
use libfuzzer_sys::fuzz_target;

const CLIENTS: usize = 4;
const TOPICS: [&str; 8] = ["a", "a/b", "a/b/c", "b", "$x", "b/", "/", "a/é"];
const FILTERS: [&str; 12] = [
    "a",
    "a/b",
    "#",
    "+",
    "a/+",
    "a/#",
    "+/b/#",
    "$share/g/a/#",
    "$share/g/a",
    "$share/h/#",
    "$x",
    "a#",
];

#[derive(Debug, Arbitrary)]
enum Operation<'a> {
    Connect {
        client: u8,
        version: u8,
        clean_start: bool,
        expiry: u8,
        receive_maximum: u8,
        small: bool,
        aliases: u8,
        keep_alive: u8,
        will: Option<Will>,
    },
    Publish {
        client: u8,
        topic: u8,
        qos: u8,
        retain: bool,
        dup: bool,
        packet_id: u8,
        length: u16,
        expiry: Option<u8>,
        alias: Option<u8>,
    },
    Subscribe {
        client: u8,
        filter: u8,
        qos: u8,
        no_local: bool,
        retain_as_published: bool,
        retain_handling: u8,
        identifier: Option<u8>,
    },
    Unsubscribe {
        client: u8,
        filter: u8,
    },
    Read {
        client: u8,
    },
    Acknowledge {
        client: u8,
        count: u8,
    },
    AcknowledgeAnything {
        client: u8,
        kind: u8,
        packet_id: u8,
        refuse: bool,
    },
    Disconnect {
        client: u8,
        with_will: bool,
        expiry: Option<u8>,
    },
    Lose {
        client: u8,
    },
    Wait {
        tenths: u16,
    },
    Send {
        client: u8,
        bytes: &'a [u8],
    },
}

#[derive(Debug, Arbitrary)]
struct Will {
    topic: u8,
    qos: u8,
    retain: bool,
    delay: u8,
}

fuzz_target!(|operations: Vec<Operation<'_>>| {
    let limits = limits();
    let mut world = World::new(limits.clone());
    for client in 0..CLIENTS {
        world.connect(&ConnectOptions::v5(&format!("c{client}")));
    }
    for operation in operations.iter().take(300) {
        apply(&mut world, operation);
        world.check_bounds(&limits);
    }
    world.settle();
    world.advance(3_600_000);
    world.check_bounds(&limits);
});

fn limits() -> Limits {
    let mut limits = Limits::default();
    // What the broker says of itself is not bounded by what clients may retain.
    limits.sys_interval = std::time::Duration::ZERO;
    limits.connections_max = 4;
    limits.sessions_max = 5;
    limits.subscriptions_max = 12;
    limits.retained_messages_max = 3;
    limits.retained_bytes_max = 4096;
    limits.queue_bytes_max = 20_000;
    limits.port.receive_maximum = 3;
    limits.port.inflight_messages_max = 3;
    limits.port.topic_alias_maximum = 2;
    limits.port.outgoing_topic_aliases_max = 2;
    limits.port.subscriptions_per_client_max = 4;
    limits.port.queue_messages_per_client_max = 8;
    limits.port.queue_bytes_per_client_max = 8_000;
    limits.port.outbox_bytes_max = 4_000;
    limits
}

fn index(client: &u8) -> usize {
    usize::from(*client) % CLIENTS
}

fn pick<'a>(texts: &[&'a str], index: u8) -> &'a str {
    texts[usize::from(index) % texts.len()]
}

fn qos(value: u8) -> QoS {
    QoS::from_u8(value % 3).unwrap_or_default()
}

fn apply(world: &mut World, operation: &Operation<'_>) {
    match operation {
        Operation::Connect { .. } => connect(world, operation),
        Operation::Publish { .. } => publish(world, operation),
        Operation::Subscribe { .. } => subscribe(world, operation),
        Operation::Unsubscribe { client, filter } => {
            world.unsubscribe(index(client), pick(&FILTERS, *filter))
        }
        Operation::Read { client } => world.read(index(client)),
        Operation::Acknowledge { client, count } => {
            world.acknowledge(index(client), usize::from(*count))
        }
        Operation::AcknowledgeAnything { .. } => acknowledge_anything(world, operation),
        Operation::Disconnect {
            client,
            with_will,
            expiry,
        } => {
            let reason = if *with_will {
                ReasonCode::DisconnectWithWillMessage
            } else {
                ReasonCode::Success
            };
            world.disconnect(index(client), reason, expiry.map(u32::from));
        }
        Operation::Lose { client } => world.close(index(client)),
        Operation::Wait { tenths } => world.advance(u64::from(*tenths) * 100),
        Operation::Send { client, bytes } => world.send(index(client), bytes),
    }
}

fn connect(world: &mut World, operation: &Operation<'_>) {
    let Operation::Connect {
        client,
        version,
        clean_start,
        expiry,
        receive_maximum,
        small,
        aliases,
        keep_alive,
        will,
    } = operation
    else {
        return;
    };
    let options = ConnectOptions {
        version: match version % 3 {
            0 => ProtocolVersion::V3_1,
            1 => ProtocolVersion::V3_1_1,
            _ => ProtocolVersion::V5,
        },
        client_id: format!("c{}", client % 8),
        clean_start: *clean_start,
        keep_alive: u16::from(*keep_alive),
        session_expiry_interval: u32::from(*expiry),
        receive_maximum: if version % 3 == 2 {
            u16::from(*receive_maximum).max(1)
        } else {
            u16::MAX
        },
        maximum_packet_size: small.then_some(60).filter(|_| version % 3 == 2),
        topic_alias_maximum: if version % 3 == 2 {
            u16::from(*aliases)
        } else {
            0
        },
        will: will.as_ref().map(|will| {
            (
                pick(&TOPICS, will.topic).to_owned(),
                qos(will.qos),
                will.retain,
                u32::from(will.delay),
            )
        }),
    };
    world.reconnect(index(client), &options);
}

fn publish(world: &mut World, operation: &Operation<'_>) {
    let Operation::Publish {
        client,
        topic,
        qos: level,
        retain,
        dup,
        packet_id,
        length,
        expiry,
        alias,
    } = operation
    else {
        return;
    };
    let payload = vec![b'p'; usize::from(*length) % 3000];
    let qos = qos(*level);
    let parts = PublishParts {
        topic: if alias.is_some() && topic % 4 == 0 {
            ""
        } else {
            pick(&TOPICS, *topic)
        },
        payload: &payload,
        qos,
        retain: *retain,
        dup: *dup && qos != QoS::AtMostOnce,
        packet_id: PacketId::new(u16::from(packet_id % 8) + 1).filter(|_| qos != QoS::AtMostOnce),
        message_expiry_interval: expiry.map(u32::from),
        topic_alias: alias.map(|alias| u16::from(alias % 4)),
        subscription_identifiers: &[],
        forwarded: &[],
    };
    world.publish_parts(index(client), &parts);
}

fn subscribe(world: &mut World, operation: &Operation<'_>) {
    let Operation::Subscribe {
        client,
        filter,
        qos: level,
        no_local,
        retain_as_published,
        retain_handling,
        identifier,
    } = operation
    else {
        return;
    };
    let options = SubscriptionOptions {
        qos: qos(*level),
        no_local: *no_local,
        retain_as_published: *retain_as_published,
        retain_handling: match retain_handling % 3 {
            0 => RetainHandling::SendAtSubscribe,
            1 => RetainHandling::SendIfNew,
            _ => RetainHandling::DoNotSend,
        },
    };
    let identifier = identifier.map(|identifier| u32::from(identifier).max(1));
    world.subscribe_with(index(client), pick(&FILTERS, *filter), identifier, options);
}

fn acknowledge_anything(world: &mut World, operation: &Operation<'_>) {
    let Operation::AcknowledgeAnything {
        client,
        kind,
        packet_id,
        refuse,
    } = operation
    else {
        return;
    };
    let kind = match kind % 4 {
        0 => AckKind::PubAck,
        1 => AckKind::PubRec,
        2 => AckKind::PubRel,
        _ => AckKind::PubComp,
    };
    let reason = match kind {
        _ if !refuse => ReasonCode::Success,
        AckKind::PubAck | AckKind::PubRec => ReasonCode::QuotaExceeded,
        AckKind::PubRel | AckKind::PubComp => ReasonCode::PacketIdentifierNotFound,
    };
    let id = PacketId::new(u16::from(packet_id % 8) + 1).unwrap_or(PacketId::MIN);
    world.acknowledge_with(index(client), kind, id, reason);
}
