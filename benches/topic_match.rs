//! What it costs to find the receiver of a message among many topic filters.
//!
//! Each message matches one filter. `one topic` is what a sensor does that publishes again and again, `many topics` is
//! a plant of 10,000 sensors, more than any cache of routes holds.

mod rig;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fieldgate::mqtt::{ProtocolVersion, QoS, topic};
use rig::Rig;

const CLIENTS: usize = 100;
const TOPICS_MAX: usize = 10_000;

fn filter(index: usize) -> String {
    format!("plant/{}/+/dev{index}/+/temp", index % 100)
}

fn name(index: usize) -> String {
    format!("plant/{}/line1/dev{index}/a/temp", index % 100)
}

fn routes(criterion: &mut Criterion) {
    for filters in [100, 1_000, 10_000, 100_000] {
        let mut rig = Rig::new(ProtocolVersion::V3_1_1);
        let publisher = rig.connect("publisher");
        let clients: Vec<_> = (0..CLIENTS)
            .map(|index| rig.connect(&format!("subscriber-{index}")))
            .collect();
        for index in 0..filters {
            rig.subscribe(clients[index % CLIENTS], &filter(index));
        }
        let topics = filters.min(TOPICS_MAX);
        let packets: Vec<Vec<u8>> = (0..topics)
            // Not in the order of the subscriptions, in which the memory would lie.
            .map(|index| index * 7919 % topics * (filters / topics))
            .map(|index| rig.publish_bytes(&name(index), &[0; 64], QoS::AtMostOnce))
            .collect();
        for (label, packets) in [("one topic", &packets[..1]), ("many topics", &packets[..])] {
            let mut group = criterion.benchmark_group(label);
            group.throughput(Throughput::Elements(1));
            let mut next = 0;
            group.bench_function(BenchmarkId::from_parameter(filters), |bencher| {
                bencher.iter(|| {
                    rig.handle(publisher, &packets[next]);
                    next = (next + 1) % packets.len();
                    assert_ne!(rig.drain(), 0);
                });
            });
        }
    }
}

fn one_filter(criterion: &mut Criterion) {
    let (filter, name) = (filter(42), name(42));
    criterion.bench_function("match of one filter and one name", |bencher| {
        bencher.iter(|| topic::matches(std::hint::black_box(&filter), std::hint::black_box(&name)));
    });
}

criterion_group!(benches, routes, one_filter);
criterion_main!(benches);
