//! Tokens of service accounts, from the resources to the connection of a pod.

use std::time::SystemTime;

use data_encoding::BASE64URL_NOPAD;

use super::*;
use crate::support::property;

/// A token with an end; `name` makes it another one.
pub(super) fn token(name: &str, seconds_left: i64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = i64::try_from(now.expect("a clock").as_secs()).expect("seconds");
    let claims = json!({"exp": now + seconds_left, "name": name}).to_string();
    format!("e30.{}.c2ln", BASE64URL_NOPAD.encode(claims.as_bytes()))
}

pub(super) fn connect(client_id: &str, token: &str) -> Connect {
    Connect::new(V5, client_id)
        .with(property::AUTHENTICATION_METHOD, "K8S-SAT")
        .with(property::AUTHENTICATION_DATA, token.as_bytes())
}

/// What the API server says about a token of the account `press`.
pub(super) fn about(audience: &str) -> Value {
    json!({"username": "system:serviceaccount:plant:press", "audiences": [audience]})
}

/// A listener as the cluster broker installs it: TLS of its own authority, tokens, the name of the service.
fn install(cluster: &mut Cluster, port: u16) {
    let listener = json!({
        "brokerRef": "default",
        "serviceType": "ClusterIp",
        "serviceName": "aio-broker",
        "ports": [{"port": port, "authenticationRef": "default", "tls": {"mode": "Automatic"}}],
    });
    let authentication = json!({"authenticationMethods": [{
        "method": "ServiceAccountToken",
        "serviceAccountTokenSettings": {"audiences": ["aio-internal"]},
    }]});
    cluster.apply(
        &path("brokerauthentications", "default"),
        resource("BrokerAuthentication", authentication),
    );
    cluster.apply(
        &listener_path("default"),
        resource("BrokerListener", listener),
    );
    cluster.condition(&listener_path("default"), "Ready", "True", "Listening");
}

#[test]
fn a_pod_connects_with_its_token_and_goes_with_it() {
    let Some(mut cluster) = Cluster::start() else {
        return;
    };
    let port = free_port();
    let (good, foreign) = (token("good", 600), token("foreign", 600));
    cluster.script["tokens"] = json!({
        good.as_str(): about("aio-internal"),
        foreign.as_str(): about("elsewhere"),
    });
    cluster.script["annotations"] = json!({"plant/press": {"aio-broker-auth/floor": "1"}});
    install(&mut cluster, port);
    let root = fs::read_to_string(cluster.gateway.path("state/ca/trust.pem")).expect("a root");
    let trusting = crate::support::tls::client_config_of_pem(&root, None);
    let open = || {
        let stream = secured(port, &trusting).expect("TLS with the authority of the gateway");
        TestClient::new(stream, V5)
    };
    let mut client = open();
    assert_eq!(client.connect(&connect("pod-1", &good)).code, 0);
    ping(&mut client);
    assert_eq!(
        open().connect(&connect("pod-9", &foreign)).code,
        0x87,
        "another audience"
    );
    assert_eq!(open().connect(&connect("pod-9", "nonsense")).code, 0x87);

    // It authenticates again with a newer token, and the connection lives as long as that.
    let short = token("short", 8);
    cluster.script["tokens"][short.as_str()] = about("aio-internal");
    cluster.publish();
    let mut second = open();
    assert_eq!(second.connect(&connect("pod-2", &short)).code, 0);
    let renewed = token("renewed", 600);
    cluster.script["tokens"][renewed.as_str()] = about("aio-internal");
    cluster.publish();
    second.send(crate::backends::auth(0x19, "K8S-SAT", renewed.as_bytes()));
    let answer = second.raw_packet().expect("an answer");
    assert_eq!((answer[0], answer[2]), (0xF0, 0), "AUTH with Success");

    // One that is not renewed ends with its token, which ends after the first one of the other.
    let end = token("end", 10);
    cluster.script["tokens"][end.as_str()] = about("aio-internal");
    cluster.publish();
    let mut third = open();
    assert_eq!(third.connect(&connect("pod-3", &end)).code, 0);
    while third.receive_or_end().is_some() {}
    ping(&mut second);
    ping(&mut client);
}
