//! Whom a port trusts to issue certificates of clients, for as long as a ConfigMap says so.

use nix::sys::signal::Signal;

use super::*;
use crate::support::Received;

const AUTHENTICATION: &str = "machines";

/// A port that takes the certificates of an authority, and one that takes everybody.
struct Site {
    cluster: Cluster,
    authority: Authority,
    config: Arc<ClientConfig>,
    secure: u16,
    plain: u16,
}

impl Site {
    fn start() -> Option<Self> {
        let mut cluster = Cluster::start()?;
        let authority = Authority::new("plant");
        let (secure, plain) = (free_port(), free_port());
        let server = authority.server();
        let encoded = |text: &str| data_encoding::BASE64.encode(text.as_bytes());
        let secret = json!({"apiVersion": "v1", "kind": "Secret",
            "data": {"tls.crt": encoded(&server.chain_pem), "tls.key": encoded(&server.key_pem)}});
        cluster.apply(&core_path("secrets", "server-tls"), secret);
        let methods = json!([{"method": "X509"}]);
        cluster.apply(
            &path("brokerauthentications", AUTHENTICATION),
            resource(
                "BrokerAuthentication",
                json!({"authenticationMethods": methods}),
            ),
        );
        let port = json!({"port": secure, "authenticationRef": AUTHENTICATION,
            "tls": {"mode": "Manual", "manual": {"secretRef": "server-tls"}}});
        let spec = json!({"serviceType": "LoadBalancer", "ports": [port]});
        cluster.apply(&listener_path("plain"), open("ClusterIp", plain));
        cluster.apply(&listener_path("secure"), resource("BrokerListener", spec));
        let config = authority.client_config(Some(&authority.client("press-1")));
        let mut site = Self {
            cluster,
            authority,
            config,
            secure,
            plain,
        };
        site.trust();
        site.resolved("True", "Resolved");
        let cluster = &site.cluster;
        cluster.condition(&listener_path("secure"), "Ready", "True", "Listening");
        cluster.condition(&listener_path("plain"), "Ready", "True", "Listening");
        Some(site)
    }

    /// Applies the ConfigMap with the authority.
    fn trust(&mut self) {
        let pem = self.authority.pem.clone();
        self.config_map(json!({"ca.crt": pem}));
    }

    fn config_map(&mut self, data: Value) {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data});
        self.cluster
            .apply(&core_path("configmaps", "client-ca"), object);
    }

    #[track_caller]
    fn resolved(&self, status: &str, reason: &str) {
        let path = path("brokerauthentications", AUTHENTICATION);
        self.cluster
            .condition(&path, "ResolvedRefs", status, reason);
    }

    /// A client with a certificate, if that is taken.
    fn admitted(&self, client_id: &str) -> Option<TestClient> {
        let mut client = TestClient::new(secured(self.secure, &self.config)?, V5);
        client.send(Connect::new(V5, client_id).encode());
        match client.receive_or_end()? {
            Received::ConnAck(connack) => (connack.code == 0).then_some(client),
            other => panic!("expected CONNACK, found {other:?}"),
        }
    }

    fn restart(&mut self) {
        self.cluster.gateway.signal(Signal::SIGTERM);
        assert!(self.cluster.gateway.await_end().success());
        self.cluster.run();
    }
}

#[test]
fn an_authority_that_is_deleted_lets_nobody_in() {
    let Some(mut site) = Site::start() else {
        return;
    };
    assert!(site.admitted("a").is_some());

    // An API server that is away takes nobody's trust, over a start either.
    let again = site.cluster.server.take().expect("it runs").stop();
    eventually("it is missed", || {
        site.cluster.gateway.log().contains("cannot be reached")
    });
    assert!(site.admitted("a").is_some());
    site.restart();
    let mut inside = site.admitted("a").expect("the certificate is good");
    let mut stays = client(site.plain, "b");
    site.cluster.server = Some(again());

    site.cluster.delete(&core_path("configmaps", "client-ca"));
    site.resolved("False", "ConfigMapNotFound");
    assert!(site.admitted("d").is_none());
    inside.disconnect_reason();
    ping(&mut stays);
    assert!(!kept(&site.cluster).join("files/client-ca.clients").exists());

    // Nor does a start, with the cluster or without it.
    let again = site.cluster.server.take().expect("it runs").stop();
    site.restart();
    ping(&mut client(site.plain, "b"));
    assert!(site.admitted("e").is_none());

    site.cluster.server = Some(again());
    site.trust();
    site.resolved("True", "Resolved");
    assert!(site.admitted("f").is_some());
}

#[test]
fn an_authority_stays_while_it_cannot_be_read_and_goes_when_it_is_emptied() {
    let Some(mut site) = Site::start() else {
        return;
    };
    let request = "GET /api/v1/namespaces/plant/configmaps/client-ca";
    let before = site.cluster.requests(request);
    site.cluster.set("refuse", json!(request));
    site.config_map(json!({}));
    eventually("it is asked for", || {
        site.cluster.requests(request) >= before + 2
    });
    let mut inside = site.admitted("a").expect("nothing is known against it");

    site.cluster.set("refuse", json!(null));
    site.resolved("False", "ConfigMapNotFound");
    inside.disconnect_reason();
    assert!(site.admitted("b").is_none());
}
