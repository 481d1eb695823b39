//! What a file means.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use crate::config::{
    Authentication, Authorization, AutomaticCertificate, Endpoint, KeyAlgorithm, LogFormat,
    LogLevel, Protocol, Report, RotationPolicy, ServiceType, Settings, StoreSettings, TlsMode,
    TlsVersion, parse,
};
use crate::limits::{Limits, PortLimits, QueueOverflow};
use crate::mqtt::QoS;

/// A file with one port, which holds these lines.
fn one_port(lines: &str) -> Settings {
    let text = format!(
        "[[listener]]\nname = \"plant\"\n[[listener.port]]\n{lines}\nauthentication = \"none\"\nauthorization = \"none\"\n"
    );
    parse(&text).unwrap_or_else(|report| panic!("{report}"))
}

fn endpoint(lines: &str) -> Endpoint {
    let settings = one_port(lines);
    settings.ports().next().unwrap().endpoint.clone()
}

/// A file with one port that has such a certificate, and an authority.
fn with_tls(tls: &str, ca: &str) -> Result<Settings, Report> {
    parse(&format!(
        "[[listener]]\nname = \"plant\"\n[[listener.port]]\nport = 8883\nauthentication = \"none\"\n\
         authorization = \"none\"\ntls = {{ {tls} }}\n{ca}"
    ))
}

#[test]
fn automatic_certificate_has_defaults_for_everything() {
    let wanted = |tls: &str| {
        let settings = with_tls(tls, "").unwrap_or_else(|report| panic!("{report}"));
        assert!(settings.needs_authority());
        match &settings.ports().next().unwrap().tls.as_ref().unwrap().mode {
            TlsMode::Automatic(wanted) => wanted.clone(),
            mode => panic!("{mode:?}"),
        }
    };
    assert_eq!(
        wanted("mode = \"automatic\""),
        AutomaticCertificate::default()
    );
    let days = |days: u64| Duration::from_secs(days * 86_400);
    let short = wanted("mode = \"Automatic\", duration = \"9d\"");
    assert_eq!((short.duration, short.renew_before), (days(9), days(3)));
    let all = wanted(
        "mode = \"Automatic\", dns = [\"Mqtt.Plant.example\"], ip = [\"203.0.113.7\", \"2001:db8::1\"], \
         key_algorithm = \"ec-p256\", rotation_policy = \"Never\", duration = \"400d\", renew_before = \"100d\"",
    );
    assert_eq!(all.dns.first().unwrap().as_str(), "mqtt.plant.example");
    assert_eq!(all.ip.len(), 2);
    assert_eq!(all.key_algorithm, Some(KeyAlgorithm::EcP256));
    assert_eq!(all.rotation_policy, RotationPolicy::Never);
    assert_eq!((all.duration, all.renew_before), (days(400), days(100)));
}

#[test]
fn automatic_certificate_that_cannot_be_is_refused() {
    for (tls, ca, said) in [
        (
            "mode = \"Automatic\", cert = \"/a\"",
            "",
            "means nothing with",
        ),
        (
            "mode = \"Manual\", cert = \"/a\", key = \"/b\", dns = [\"x\"]",
            "",
            "means nothing with",
        ),
        (
            "mode = \"Automatic\", duration = \"2d\", renew_before = \"2d\"",
            "",
            "as soon as it is made",
        ),
        (
            "mode = \"Automatic\", dns = [\"192.0.2.1\"]",
            "",
            "under `ip`",
        ),
        ("mode = \"Automatic\", ip = [\"gw\"]", "", "under `dns`"),
        ("mode = \"Automatic\", duration = \"1 min\"", "", "1 h"),
        (
            "mode = \"Automatic\", key_algorithm = \"rsa3072\"",
            "[ca]\nalgorithm = \"ed25519\"",
            "keys of one kind",
        ),
        (
            "mode = \"Automatic\"",
            "[ca]\npermit_ip = [\"x\"]",
            "network",
        ),
    ] {
        let report = with_tls(tls, ca).unwrap_err().to_string();
        assert!(report.contains(said), "{report}");
    }
    let rsa = with_tls(
        "mode = \"Automatic\", key_algorithm = \"rsa4096\"",
        "[ca]\nalgorithm = \"rsa3072\"\npermit_dns = [\"local\"]\npermit_ip = [\"10.0.0.0/8\"]",
    );
    let ca = rsa.unwrap().ca;
    assert_eq!(ca.algorithm, KeyAlgorithm::Rsa3072);
    assert_eq!(ca.permit_ip[0].to_string(), "10.0.0.0/8");
}

#[test]
fn the_file_of_the_manual_means_what_it_says() {
    let text = r#"
[gateway]
name = "gw-01"

[[listener]]
name = "plant"
service_type = "LoadBalancer"      # for the k3s bundle; default ClusterIp

[[listener.port]]
port = 1883
bind = "127.0.0.1"                 # default: all addresses, IPv4 and IPv6
protocol = "Mqtt"                  # or "WebSockets"; case does not matter
authentication = "none"
authorization = "none"

[[listener.port]]
port = 8883
authentication = "none"
authorization = "none"
tls = { mode = "Manual", cert = "/etc/fieldgate/tls/server.crt", key = "/etc/fieldgate/tls/server.key" }

[limits]                           # every bound of the broker, defaults shown by `fieldgate config default`
max_packet_size = "1 MiB"
"#;
    let settings = parse(text).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(settings.gateway.name.as_str(), "gw-01");
    assert_eq!(settings.listeners.len(), 1);
    let listener = settings.listeners.first().unwrap();
    assert_eq!(listener.name.as_str(), "plant");
    assert_eq!(listener.service_type, ServiceType::LoadBalancer);
    let ports: Vec<_> = settings.ports().collect();
    assert_eq!(ports.len(), 2);
    assert_eq!(ports[0].endpoint.to_string(), "127.0.0.1:1883");
    assert_eq!(ports[0].protocol, Protocol::Mqtt);
    assert_eq!(ports[0].authentication, Authentication::None);
    assert_eq!(ports[0].authorization, Authorization::None);
    assert_eq!(ports[0].tls, None);
    assert_eq!(ports[1].endpoint.to_string(), "*:8883");
    let tls = ports[1].tls.as_ref().unwrap();
    let files = TlsMode::Manual {
        cert: PathBuf::from("/etc/fieldgate/tls/server.crt"),
        key: PathBuf::from("/etc/fieldgate/tls/server.key"),
    };
    assert_eq!(tls.mode, files);
    assert_eq!(tls.min_version, TlsVersion::V1_2);
    assert_eq!(settings.limits, Limits::default());
    assert_eq!(settings.admin, Settings::default().admin);
    assert_eq!(settings.log, Settings::default().log);
}

#[test]
fn the_case_of_words_does_not_matter() {
    let text = r#"
[[listener]]
name = "plant"
service_type = "nodePort"
[[listener.port]]
port = 8883
protocol = "websockets"
authentication = "None"
authorization = "NONE"
tls = { mode = "manual", cert = "/c", key = "/k" }
[log]
level = "DEBUG"
format = "Json"
[admin]
http = "OFF"
[limits]
max_session_expiry = "Unlimited"
max_packet_size = "64 kib"
"#;
    let settings = parse(text).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(settings.listeners[0].service_type, ServiceType::NodePort);
    assert_eq!(
        settings.listeners[0].ports[0].protocol,
        Protocol::WebSockets
    );
    assert_eq!(settings.log.level, LogLevel::Debug);
    assert_eq!(settings.log.format, LogFormat::Json);
    assert_eq!(settings.admin.http, None);
    assert_eq!(settings.limits.port.max_session_expiry, None);
    assert_eq!(settings.limits.port.max_packet_size, 65_536);
}

#[test]
fn every_kind_of_place() {
    let tcp = |port, bind: Option<IpAddr>| Endpoint::Tcp {
        port,
        bind,
        interface: None,
    };
    assert_eq!(endpoint("port = 1883"), tcp(1883, None));
    assert_eq!(endpoint("port = 1883\nbind = \"*\""), tcp(1883, None));
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    assert_eq!(endpoint("port = 1\nbind = \"0.0.0.0\""), tcp(1, Some(any)));
    let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    assert_eq!(endpoint("port = 1\nbind = \"::\""), tcp(1, Some(any)));
    let local = endpoint("port = 0x75b\nbind = \"fe80::1\"\ninterface = \"eth0\"");
    assert_eq!(local.to_string(), "[fe80::1]%eth0:1883");
    for mode in ["", "mode = \"0660\"", "mode = 0o660", "mode = \"660\""] {
        let unix = endpoint(&format!("path = \"/run/mqtt.sock\"\n{mode}"));
        assert_eq!(
            unix,
            Endpoint::Unix {
                path: "/run/mqtt.sock".into(),
                mode: 0o660
            }
        );
    }
    assert_eq!(endpoint("systemd = \"mqtt\"").to_string(), "systemd:mqtt");
}

#[test]
fn ports_of_several_addresses_may_have_a_number_of_the_systems_choice() {
    let port = |last: u8| {
        format!(
            "[[listener.port]]\nport = 0\nbind = \"127.0.0.{last}\"\nauthentication = \"none\"\nauthorization = \"none\"\n"
        )
    };
    let text = format!("[[listener]]\nname = \"plant\"\n{}{}", port(1), port(2));
    assert_eq!(parse(&text).unwrap().ports().count(), 2);
}

#[test]
fn a_port_has_the_bounds_of_the_gateway_but_for_its_own() {
    let text = r#"
[limits]
max_packet_size = "64 KiB"
receive_maximum = 10
connections_max = 100

[[listener]]
name = "plant"
[[listener.port]]
port = 1883
authentication = "none"
authorization = "none"
limits = { max_packet_size = 1000, connections_max = 7 }
"#;
    let settings = parse(text).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(settings.limits.connections_max, 100);
    assert_eq!(settings.limits.port.connections_max, None);
    assert_eq!(settings.limits.port.max_packet_size, 65_536);
    let expected = PortLimits {
        max_packet_size: 1000,
        receive_maximum: 10,
        connections_max: Some(7),
        ..PortLimits::default()
    };
    assert_eq!(settings.listeners[0].ports[0].limits, expected);
}

/// Every bound with another value than its default.
const BOUNDS: &str = r#"
[limits]
connections_max = 11
sessions_max = 12
subscriptions_max = 12_000
queue_bytes_max = "13 MiB"
retained_messages_max = 14
retained_bytes_max = "15 kB"
stored_bytes_max = "16 GiB"
sys_interval = "off"
stop_timeout = "500 ms"
maximum_qos = 1
retain_available = false
wildcard_subscription_available = false
subscription_identifiers_available = false
shared_subscription_available = false
refused_filters = ["plant/secret", "+/secret"]
max_packet_size = 1_600
receive_maximum = 17
inflight_messages_max = 18
topic_alias_maximum = 0
outgoing_topic_aliases_max = 20
max_keep_alive = "1h30m"
max_session_expiry = "90 d"
max_message_expiry = 60
subscriptions_per_client_max = 21
queue_messages_per_client_max = 22
queue_bytes_per_client_max = "23 KiB"
queue_overflow = "dropoldest"
outbox_bytes_max = "24 KiB"
connections_per_address_max = 25
connection_rate_per_address_max = 26
handshake_timeout = 27
connect_timeout = "28 s"
packet_timeout = "29 s"
send_timeout = "1 d"
"#;

#[test]
fn every_bound_can_be_set() {
    let text = format!(
        "{BOUNDS}{}",
        crate::config::DEFAULT_TEXT.replace("[limits]", "")
    );
    let settings = parse(&text).unwrap_or_else(|report| panic!("{report}"));
    let expected = Limits {
        connections_max: 11,
        sessions_max: 12,
        subscriptions_max: 12_000,
        queue_bytes_max: 13 << 20,
        retained_messages_max: 14,
        retained_bytes_max: 15_000,
        stored_bytes_max: 16 << 30,
        sys_interval: Duration::ZERO,
        stop_timeout: Duration::from_millis(500),
        port: PortLimits {
            maximum_qos: QoS::AtLeastOnce,
            retain_available: false,
            wildcard_subscription_available: false,
            subscription_identifiers_available: false,
            shared_subscription_available: false,
            refused_filters: vec!["plant/secret".into(), "+/secret".into()],
            max_packet_size: 1600,
            receive_maximum: 17,
            inflight_messages_max: 18,
            topic_alias_maximum: 0,
            outgoing_topic_aliases_max: 20,
            max_keep_alive: 5400,
            max_session_expiry: Some(Duration::from_secs(90 * 86_400)),
            max_message_expiry: Some(Duration::from_secs(60)),
            subscriptions_per_client_max: 21,
            queue_messages_per_client_max: 22,
            queue_bytes_per_client_max: 23 << 10,
            queue_overflow: QueueOverflow::DropOldest,
            outbox_bytes_max: 24 << 10,
            connections_max: None,
            connections_per_address_max: 25,
            connection_rate_per_address_max: 26,
            handshake_timeout: Duration::from_secs(27),
            connect_timeout: Duration::from_secs(28),
            packet_timeout: Duration::from_secs(29),
            send_timeout: Duration::from_secs(86_400),
        },
    };
    assert_eq!(settings.limits, expected);
}

#[test]
fn every_key_of_the_store_can_be_set() {
    let text = format!(
        "[store]\ncommit_interval = \"20 ms\"\nflush_interval = \"1 min\"\nwal_bytes_max = \"1 MiB\"\n\
         reserve_bytes = 0\nfree_bytes_min = \"1 GiB\"\n{}",
        crate::config::DEFAULT_TEXT.replace("[store]", "")
    );
    let settings = parse(&text).unwrap_or_else(|report| panic!("{report}"));
    let expected = StoreSettings {
        commit_interval: Duration::from_millis(20),
        flush_interval: Duration::from_secs(60),
        wal_bytes_max: 1 << 20,
        reserve_bytes: 0,
        free_bytes_min: 1 << 30,
    };
    assert_eq!(settings.store, expected);
}

#[test]
fn line_ends_and_marks_of_other_systems_are_read() {
    let text = crate::config::DEFAULT_TEXT.replace('\n', "\r\n");
    assert_eq!(parse(&text).unwrap(), Settings::default());
    let text = format!("\u{feff}{}", crate::config::DEFAULT_TEXT);
    assert_eq!(parse(&text).unwrap(), Settings::default());
}

#[test]
fn every_spelling_of_toml_is_the_same() {
    let text = r#"
listener = [{ name = "plant", port = [{ port = 1883, authentication = "none", authorization = "none" }] }]
limits.max_packet_size = 1000
"#;
    let settings = parse(text).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(settings.ports().count(), 1);
    assert_eq!(settings.limits.port.max_packet_size, 1000);
}

/// What an editor or a full disk may leave behind.
#[test]
fn no_part_of_a_file_is_a_reason_to_panic() {
    let text = include_str!("../../../config/examples/many-ports.toml");
    for end in (0..text.len()).step_by(5) {
        if let Some(part) = text.get(..end) {
            let _ = parse(part);
        }
    }
    for skip in (0..text.len()).step_by(17) {
        let mut mangled = text.as_bytes().to_vec();
        mangled.remove(skip);
        if let Ok(mangled) = String::from_utf8(mangled) {
            let _ = parse(&mangled).map_err(|report| report.to_string());
        }
    }
}

#[test]
fn a_flood_of_faults_is_cut() {
    let text = "x = 1\n".repeat(5000);
    let report = parse(&text).unwrap_err();
    assert!(report.faults.len() <= 100);
    let text = format!("{}\n", "<\n".repeat(5000));
    assert!(parse(&text).unwrap_err().faults.len() <= 101);
    let text: String = (0..5000).map(|n| format!("key{n} = 1\n")).collect();
    let report = parse(&text).unwrap_err();
    assert_eq!(report.faults.len(), 100);
    assert_eq!(report.omitted, 4901);
    assert!(report.to_string().contains("… and 4901 more"));
}

#[test]
fn warnings_never_hide_an_error() {
    let ports: String = (0..200)
        .map(|n| {
            format!(
                "[[listener.port]]\nport = 0\nbind = \"127.0.0.{n}\"\nauthentication = \"none\"\nauthorization = \"none\"\n"
            )
        })
        .collect();
    let report = parse(&format!(
        "[[listener]]\nname = \"plant\"\n{ports}colour = 1\n"
    ))
    .unwrap_err();
    assert_eq!(report.errors().count(), 1);
    assert_eq!(report.faults.len(), 100);
    assert_eq!(report.omitted, 101);
}

#[test]
fn refused_filters_are_topic_filters() {
    for (value, told) in [
        ("[\"plant/#/x\"]", "no topic filter"),
        ("\"plant/secret\"", "[\"plant/secret\"]"),
        ("[1]", "a list of topic filters"),
    ] {
        let text = format!(
            "limits.refused_filters = {value}\n{}",
            crate::config::DEFAULT_TEXT
        )
        .replace("\n[limits]", "");
        let report = parse(&text).unwrap_err().to_string();
        assert!(report.contains(told), "{report}");
    }
}
