//! 4.10 Request and response.

use crate::support::{Publish, TestGateway, property};

#[test]
fn request_finds_its_response() {
    let gateway = TestGateway::start();
    let mut responder = gateway.v5("responder");
    responder.subscribe("service/+", 1);
    let mut requester = gateway.v5("requester");
    requester.subscribe("answer/requester", 1);
    let correlation: Vec<u8> = (0..=255).collect();
    let request = Publish::new("service/time", "?")
        .qos(1, 1)
        .with(property::RESPONSE_TOPIC, "answer/requester")
        .with(property::CORRELATION_DATA, correlation.as_slice());
    assert_eq!(requester.publish(&request), 0);
    let asked = responder.take();
    let topic = asked
        .properties
        .text(property::RESPONSE_TOPIC)
        .expect("a response topic");
    let data = asked
        .properties
        .bytes(property::CORRELATION_DATA)
        .expect("correlation data");
    responder.publish(
        &Publish::new(topic, "noon")
            .qos(1, 1)
            .with(property::CORRELATION_DATA, data),
    );
    let answer = requester.take();
    assert_eq!(answer.payload_text(), "noon");
    assert_eq!(
        answer.properties.bytes(property::CORRELATION_DATA),
        Some(correlation.as_slice())
    );
}
