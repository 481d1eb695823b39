//! What a delivery costs the core: from the bytes of a read to the outboxes of all receivers, without sockets.
//!
//! A turn is what one read brings: some messages of one publisher, each of which goes to every subscriber.

mod rig;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fieldgate::mqtt::{ProtocolVersion, QoS};
use rig::Rig;

const TOPIC: &str = "load/0/data";

fn turns(criterion: &mut Criterion, label: &str, version: ProtocolVersion, payload: usize) {
    let mut group = criterion.benchmark_group(label);
    for (subscribers, messages) in [(1, 100), (100, 20), (1_000, 20)] {
        let mut rig = Rig::new(version);
        let publisher = rig.connect("publisher");
        for index in 0..subscribers {
            let subscriber = rig.connect(&format!("subscriber-{index}"));
            rig.subscribe(subscriber, TOPIC);
        }
        let read = rig
            .publish_bytes(TOPIC, &vec![7; payload], QoS::AtMostOnce)
            .repeat(messages);
        group.throughput(Throughput::Elements((subscribers * messages) as u64));
        group.bench_function(BenchmarkId::from_parameter(subscribers), |bencher| {
            bencher.iter(|| {
                rig.handle(publisher, &read);
                assert_ne!(rig.drain(), 0);
            });
        });
    }
}

fn fanout(criterion: &mut Criterion) {
    turns(criterion, "64 bytes", ProtocolVersion::V3_1_1, 64);
    turns(criterion, "64 bytes, version 5", ProtocolVersion::V5, 64);
    turns(criterion, "4 KiB", ProtocolVersion::V3_1_1, 4096);
}

criterion_group!(benches, fanout);
criterion_main!(benches);
