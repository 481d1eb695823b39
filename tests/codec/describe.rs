//! A packet as JSON, so that vectors can say what they expect. What has the value that the standard assumes is left out.

use fieldgate::mqtt::{
    Ack, AckProperties, Auth, ConnAck, Connect, Disconnect, Packet, Publish, PublishProperties,
    ReasonCode, ReasonCodes, RetainHandling, Subscribe, SubscriptionOptions, UserProperties, Will,
};
use serde_json::{Map, Value, json};

pub(crate) fn packet(packet: &Packet<'_>) -> Value {
    match packet {
        Packet::ConnAck(body) => connack(body),
        Packet::Publish(body) => publish(body),
        Packet::PubAck(body) => ack("PUBACK", body),
        Packet::PubRec(body) => ack("PUBREC", body),
        Packet::PubRel(body) => ack("PUBREL", body),
        Packet::PubComp(body) => ack("PUBCOMP", body),
        Packet::Subscribe(body) => subscribe(body),
        Packet::SubAck(body) => {
            let id = body.packet_id.value();
            answer("SUBACK", id, &body.properties, body.reason_codes)
        }
        Packet::Unsubscribe(body) => {
            let mut fields = Fields::new("UNSUBSCRIBE");
            fields.put("packet_id", body.packet_id.value());
            fields.user_properties(body.user_properties);
            fields.put("filters", body.filters.collect::<Vec<_>>());
            fields.finish()
        }
        Packet::UnsubAck(body) => {
            let id = body.packet_id.value();
            answer("UNSUBACK", id, &body.properties, body.reason_codes)
        }
        Packet::PingReq => Fields::new("PINGREQ").finish(),
        Packet::PingResp => Fields::new("PINGRESP").finish(),
        Packet::Disconnect(body) => disconnect(body),
        Packet::Auth(body) => auth(body),
    }
}

pub(crate) fn connect(connect: &Connect<'_>) -> Value {
    let properties = &connect.properties;
    let mut fields = Fields::new("CONNECT");
    fields.put("version", connect.version.to_string());
    fields.put("client_id", connect.client_id);
    fields.flag("clean_start", connect.clean_start);
    fields.unless("keep_alive", connect.keep_alive, 0);
    fields.option("username", connect.username);
    fields.option("password", connect.password.map(hex));
    fields.option("will", connect.will.as_ref().map(will));
    fields.unless(
        "session_expiry_interval",
        properties.session_expiry_interval,
        0,
    );
    fields.unless("receive_maximum", properties.receive_maximum, u16::MAX);
    fields.option("maximum_packet_size", properties.maximum_packet_size);
    fields.unless("topic_alias_maximum", properties.topic_alias_maximum, 0);
    fields.flag(
        "request_response_information",
        properties.request_response_information,
    );
    fields.unless(
        "request_problem_information",
        properties.request_problem_information,
        true,
    );
    fields.option("authentication_method", properties.authentication_method);
    fields.option(
        "authentication_data",
        properties.authentication_data.map(hex),
    );
    fields.user_properties(properties.user_properties);
    fields.finish()
}

/// Bytes in upper-case hex without spaces.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn will(will: &Will<'_>) -> Value {
    let mut fields = Fields(Map::new());
    fields.put("topic", will.topic);
    fields.put("payload", hex(will.payload));
    fields.unless("qos", will.qos.as_u8(), 0);
    fields.flag("retain", will.retain);
    fields.unless("delay_interval", will.delay_interval, 0);
    fields.publish_properties(&will.properties);
    fields.finish()
}

fn connack(connack: &ConnAck<'_>) -> Value {
    let properties = &connack.properties;
    let mut fields = Fields::new("CONNACK");
    fields.flag("session_present", connack.session_present);
    fields.reason(connack.reason);
    fields.option(
        "session_expiry_interval",
        properties.session_expiry_interval,
    );
    fields.option("receive_maximum", properties.receive_maximum);
    fields.option("maximum_qos", properties.maximum_qos.map(|qos| qos.as_u8()));
    fields.option("retain_available", properties.retain_available);
    fields.option("maximum_packet_size", properties.maximum_packet_size);
    fields.option(
        "assigned_client_identifier",
        properties.assigned_client_identifier,
    );
    fields.option("topic_alias_maximum", properties.topic_alias_maximum);
    fields.option("reason_string", properties.reason_string);
    fields.user_properties(properties.user_properties);
    fields.option(
        "wildcard_subscription_available",
        properties.wildcard_subscription_available,
    );
    fields.option(
        "subscription_identifiers_available",
        properties.subscription_identifiers_available,
    );
    fields.option(
        "shared_subscription_available",
        properties.shared_subscription_available,
    );
    fields.option("server_keep_alive", properties.server_keep_alive);
    fields.option("response_information", properties.response_information);
    fields.option("server_reference", properties.server_reference);
    fields.option("authentication_method", properties.authentication_method);
    fields.option(
        "authentication_data",
        properties.authentication_data.map(hex),
    );
    fields.finish()
}

fn publish(publish: &Publish<'_>) -> Value {
    let mut fields = Fields::new("PUBLISH");
    fields.flag("dup", publish.dup);
    fields.unless("qos", publish.qos.as_u8(), 0);
    fields.flag("retain", publish.retain);
    fields.put("topic", publish.topic);
    fields.option("packet_id", publish.packet_id.map(|id| id.value()));
    fields.publish_properties(&publish.properties);
    fields.put("payload", hex(publish.payload));
    fields.finish()
}

fn ack(name: &str, ack: &Ack<'_>) -> Value {
    let mut fields = Fields::new(name);
    fields.put("packet_id", ack.packet_id.value());
    fields.reason(ack.reason);
    fields.ack_properties(&ack.properties);
    fields.finish()
}

fn subscribe(subscribe: &Subscribe<'_>) -> Value {
    let mut fields = Fields::new("SUBSCRIBE");
    fields.put("packet_id", subscribe.packet_id.value());
    fields.option("subscription_identifier", subscribe.subscription_identifier);
    fields.user_properties(subscribe.user_properties);
    let filters = subscribe
        .filters
        .map(|(filter, options)| subscription(filter, options));
    fields.put("filters", filters.collect::<Vec<_>>());
    fields.finish()
}

fn subscription(filter: &str, options: SubscriptionOptions) -> Value {
    let mut fields = Fields(Map::new());
    fields.put("filter", filter);
    fields.unless("qos", options.qos.as_u8(), 0);
    fields.flag("no_local", options.no_local);
    fields.flag("retain_as_published", options.retain_as_published);
    let retain_handling = match options.retain_handling {
        RetainHandling::SendAtSubscribe => 0,
        RetainHandling::SendIfNew => 1,
        RetainHandling::DoNotSend => 2,
    };
    fields.unless("retain_handling", retain_handling, 0);
    fields.finish()
}

fn answer(name: &str, id: u16, properties: &AckProperties<'_>, codes: ReasonCodes<'_>) -> Value {
    let mut fields = Fields::new(name);
    fields.put("packet_id", id);
    fields.ack_properties(properties);
    fields.put("reason_codes", codes.map(reason).collect::<Vec<_>>());
    fields.finish()
}

fn disconnect(disconnect: &Disconnect<'_>) -> Value {
    let properties = &disconnect.properties;
    let mut fields = Fields::new("DISCONNECT");
    fields.reason(disconnect.reason);
    fields.option(
        "session_expiry_interval",
        properties.session_expiry_interval,
    );
    fields.option("reason_string", properties.reason_string);
    fields.option("server_reference", properties.server_reference);
    fields.user_properties(properties.user_properties);
    fields.finish()
}

fn auth(auth: &Auth<'_>) -> Value {
    let properties = &auth.properties;
    let mut fields = Fields::new("AUTH");
    fields.reason(auth.reason);
    fields.option("authentication_method", properties.authentication_method);
    fields.option(
        "authentication_data",
        properties.authentication_data.map(hex),
    );
    fields.option("reason_string", properties.reason_string);
    fields.user_properties(properties.user_properties);
    fields.finish()
}

pub(crate) fn reason(reason: ReasonCode) -> String {
    format!("0x{:02X}", reason.as_u8())
}

struct Fields(Map<String, Value>);

impl Fields {
    fn new(name: &str) -> Self {
        let mut fields = Self(Map::new());
        fields.put("type", name);
        fields
    }

    fn put(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.to_owned(), value.into());
    }

    fn option(&mut self, key: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    fn unless<T: PartialEq + Into<Value>>(&mut self, key: &str, value: T, default: T) {
        self.option(key, Some(value).filter(|value| *value != default));
    }

    fn flag(&mut self, key: &str, value: bool) {
        self.unless(key, value, false);
    }

    fn reason(&mut self, code: ReasonCode) {
        self.unless("reason", reason(code), "0x00".to_owned());
    }

    fn user_properties(&mut self, user_properties: UserProperties<'_>) {
        let pairs: Vec<_> = user_properties
            .map(|(name, value)| json!([name, value]))
            .collect();
        assert_eq!(pairs.is_empty(), user_properties.is_empty());
        self.option(
            "user_properties",
            Some(pairs).filter(|pairs| !pairs.is_empty()),
        );
    }

    fn ack_properties(&mut self, properties: &AckProperties<'_>) {
        self.option("reason_string", properties.reason_string);
        self.user_properties(properties.user_properties);
    }

    fn publish_properties(&mut self, properties: &PublishProperties<'_>) {
        self.option(
            "message_expiry_interval",
            properties.message_expiry_interval,
        );
        self.option("topic_alias", properties.topic_alias);
        self.option(
            "payload_format_indicator",
            properties.payload_format_indicator(),
        );
        self.option("response_topic", properties.response_topic());
        self.option("correlation_data", properties.correlation_data().map(hex));
        self.option("content_type", properties.content_type());
        let identifiers: Vec<_> = properties.subscription_identifiers().collect();
        self.option(
            "subscription_identifiers",
            Some(identifiers).filter(|ids| !ids.is_empty()),
        );
        self.user_properties(properties.user_properties());
        let mut forwarded = Vec::new();
        properties.forwarded.append_to(&mut forwarded);
        assert_eq!(forwarded.len(), properties.forwarded.len());
        assert_eq!(forwarded.is_empty(), properties.forwarded.is_empty());
        self.option(
            "forwarded",
            Some(hex(&forwarded)).filter(|hex| !hex.is_empty()),
        );
    }

    fn finish(self) -> Value {
        Value::Object(self.0)
    }
}
