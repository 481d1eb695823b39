//! rumqttc over TCP, TLS, WebSocket and secure WebSocket, in versions 3.1.1 and 5.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::tokio_rustls::rustls::{
    ClientConfig, RootCertStore, crypto::ring, pki_types::CertificateDer,
};
use rumqttc::{
    AsyncClient, Event, EventLoop, Incoming, MqttOptions, Packet, QoS, TlsConfiguration, Transport,
};

use crate::support::TestGateway;
use crate::support::client::DEADLINE;

/// A certificate that signs itself, for loopback.
pub(crate) struct Certificate {
    pub(crate) cert_pem: String,
    pub(crate) key_pem: String,
    der: CertificateDer<'static>,
}

pub(crate) fn certificate() -> Certificate {
    let mut names = vec!["localhost".to_owned()];
    names.extend((1..=4).map(|number| format!("127.0.0.{number}")));
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    Certificate {
        cert_pem: made.cert.pem(),
        key_pem: made.signing_key.serialize_pem(),
        der: made.cert.der().clone(),
    }
}

/// Four ports in the order of [`KINDS`].
fn gateway(certificate: &Certificate) -> Option<TestGateway> {
    let tls =
        "tls = { mode = \"Manual\", cert = \"{dir}/server.crt\", key = \"{dir}/server.key\" }\n";
    let web = "protocol = \"WebSockets\"\n";
    let mut config = "[[listener]]\nname = \"clients\"\n".to_owned();
    for (number, more) in [
        String::new(),
        tls.to_owned(),
        web.to_owned(),
        format!("{web}{tls}"),
    ]
    .iter()
    .enumerate()
    {
        // Every port has an address of its own, because port 0 gives no number to tell them apart.
        config += &format!(
            "[[listener.port]]\nport = 0\nbind = \"127.0.0.{}\"\nauthentication = \"none\"\nauthorization = \"none\"\n{more}",
            number + 1
        );
    }
    TestGateway::configured_with(&config, |dir| {
        fs::write(dir.join("server.crt"), &certificate.cert_pem).expect("write the certificate");
        fs::write(dir.join("server.key"), &certificate.key_pem).expect("write the key");
    })
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Tcp,
    Tls,
    Web,
    SecureWeb,
}

const KINDS: [Kind; 4] = [Kind::Tcp, Kind::Tls, Kind::Web, Kind::SecureWeb];

fn tls(certificate: &Certificate) -> TlsConfiguration {
    let mut roots = RootCertStore::empty();
    roots
        .add(certificate.der.clone())
        .expect("the certificate is its own root");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConfiguration::Rustls(Arc::new(config))
}

fn options(
    gateway: &TestGateway,
    certificate: &Certificate,
    kind: Kind,
    client_id: &str,
) -> MqttOptions {
    let address = gateway.address_of(kind as usize);
    let host = address.ip();
    let (host, transport) = match kind {
        Kind::Tcp => (host.to_string(), Transport::Tcp),
        Kind::Tls => (host.to_string(), Transport::Tls(tls(certificate))),
        Kind::Web => (format!("ws://{address}/mqtt"), Transport::Ws),
        Kind::SecureWeb => (
            format!("wss://{host}:{}/mqtt", address.port()),
            Transport::Wss(tls(certificate)),
        ),
    };
    let mut options = MqttOptions::new(client_id, host, address.port());
    options
        .set_transport(transport)
        .set_keep_alive(Duration::from_secs(30))
        .set_max_packet_size(2 << 20, 2 << 20);
    options
}

async fn next(events: &mut EventLoop) -> Packet {
    loop {
        let event = tokio::time::timeout(DEADLINE, events.poll())
            .await
            .expect("an event in time");
        if let Event::Incoming(packet) = event.expect("the connection stays") {
            return packet;
        }
    }
}

async fn round_trips(gateway: &TestGateway, certificate: &Certificate, kind: Kind) {
    let name = format!("rumqttc-{kind:?}");
    let (client, mut events) = AsyncClient::new(options(gateway, certificate, kind, &name), 10);
    assert!(matches!(next(&mut events).await, Incoming::ConnAck(_)));
    client
        .subscribe(format!("{name}/#"), QoS::ExactlyOnce)
        .await
        .expect("subscribe");
    assert!(matches!(next(&mut events).await, Incoming::SubAck(_)));
    for (qos, size) in [
        (QoS::AtMostOnce, 0),
        (QoS::AtLeastOnce, 1000),
        (QoS::ExactlyOnce, 500_000),
    ] {
        let topic = format!("{name}/ü/{}", qos as u8);
        client
            .publish(&topic, qos, true, vec![7u8; size])
            .await
            .expect("publish");
        let found = loop {
            if let Incoming::Publish(found) = next(&mut events).await {
                break found;
            }
        };
        assert_eq!(
            (found.topic.as_str(), found.payload.len(), found.qos),
            (topic.as_str(), size, qos)
        );
        assert!(!found.retain);
    }
    client.disconnect().await.expect("disconnect");
    while events.poll().await.is_ok() {}

    let (client, mut events) = AsyncClient::new(options(gateway, certificate, kind, &name), 10);
    client
        .subscribe(format!("{name}/#"), QoS::ExactlyOnce)
        .await
        .expect("subscribe");
    let mut retained = 0;
    while retained < 2 {
        if let Incoming::Publish(found) = next(&mut events).await {
            assert!(
                found.retain,
                "an empty payload is not kept, the two others are"
            );
            retained += 1;
        }
    }
}

#[test]
fn rumqttc_is_served_over_every_transport() {
    let certificate = certificate();
    let Some(gateway) = gateway(&certificate) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    for kind in KINDS {
        runtime.block_on(round_trips(&gateway, &certificate, kind));
    }
}
