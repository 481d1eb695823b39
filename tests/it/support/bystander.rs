//! A witness to whatever else a test does.

use super::{Publish, TestClient, TestGateway};

/// Two clients that must be served whatever the others do.
pub(crate) struct Bystander {
    subscriber: TestClient,
    publisher: TestClient,
    count: u32,
}

impl Bystander {
    pub(crate) fn new(gateway: &TestGateway) -> Self {
        let mut subscriber = gateway.v5("bystander-in");
        subscriber.subscribe("bystander", 1);
        Self {
            subscriber,
            publisher: gateway.v3("bystander-out"),
            count: 0,
        }
    }

    /// Is served as if nothing had happened.
    #[track_caller]
    pub(crate) fn is_served(&mut self) {
        self.count += 1;
        let payload = self.count.to_string();
        self.publisher
            .publish(&Publish::new("bystander", &payload).qos(1, 1));
        assert_eq!(self.subscriber.take().payload_text(), payload);
    }
}
