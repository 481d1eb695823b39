//! 3.8 SUBSCRIBE.

use crate::support::{Publish, TestGateway};

/// MQTT-3.9.3-2: 0x80 for a filter that is refused.
#[test]
fn bad_filter_is_refused_and_the_others_are_served() {
    let gateway = TestGateway::start();
    for filter in ["", "a/#/b", "a#", "+a", "##", "$share//a", "$share/s"] {
        let mut client = gateway.v3("client");
        client.send(crate::support::packet::subscribe(
            client.version,
            1,
            None,
            &[("good", 1), (filter, 2)],
        ));
        match client.receive_or_end() {
            None => {}
            Some(crate::support::Received::SubAck(found)) => {
                assert_eq!(found.codes, [1, 0x80], "{filter}")
            }
            Some(other) => panic!("{filter}: {other:?}"),
        }
    }
}

/// The bytes of UNSUBACK: version 3.1.1 has no codes in it.
#[test]
fn acknowledgements_have_their_bytes() {
    let gateway = TestGateway::start();
    let mut client = gateway.v3("client");
    client.hex("82 [ 0102 'a' 00 'b' 01 'c' 02 ]");
    client.expect("90 [ 0102 00 01 02 ]");
    client.hex("A2 [ 0103 'a' 'b' 'never' ]");
    client.expect("B0 02 0103");
    client.hex("32 [ 'x' 0007 `p` ]");
    client.expect("40 02 0007");
    client.hex("34 [ 'x' 0008 `p` ]");
    client.expect("50 02 0008");
    client.hex("62 02 0008");
    client.expect("70 02 0008");
    client.hex("62 02 0009");
    client.expect("70 02 0009");
    client.send_publish(&Publish::new("c", "mirror"));
    client.expect("30 [ 'c' `mirror` ]");
}
