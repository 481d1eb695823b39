//! What `[[listener]]`, `[[listener.port]]` and the tables of a port may hold.

use super::limit_keys::{PORT_LIMITS, PORT_OWN_LIMITS};
use super::schema::{Absence, Bounds, KeySpec, Kind, TableSpec};

/// `[[listener]]`
pub(super) static LISTENER: TableSpec = TableSpec {
    header: "[[listener]]",
    doc: "A named group of ports. There can be several, each begun by a line `[[listener]]` of its own. On a single machine a \
          group has no effect beyond its name; in a cluster each becomes one service.",
    own_keys: &[
        KeySpec {
            name: "name",
            kind: Kind::Text(
                "3 to 63 lower-case letters, digits and hyphens, with no hyphen at either end",
            ),
            absence: Absence::Fault("write name = \"plant\", or whatever the group is for"),
            doc: "Name of the group. No two listeners share one.",
            elsewhere: &["id"],
        },
        KeySpec {
            name: "service_type",
            kind: Kind::Choice(&[
                ("ClusterIp", "reachable from inside the cluster"),
                (
                    "LoadBalancer",
                    "reachable through an address outside of the cluster",
                ),
                ("NodePort", "reachable through a port of every node"),
            ]),
            absence: Absence::Default("\"ClusterIp\""),
            doc: "How a cluster makes the ports reachable. A cluster has at most one listener of each type.",
            elsewhere: &["type"],
        },
        KeySpec {
            name: "service_name",
            kind: Kind::Text(
                "1 to 63 lower-case letters, digits and hyphens, beginning with a letter",
            ),
            absence: Absence::Means("the name of the listener"),
            doc: "Name of the service in a cluster.",
            elsewhere: &[],
        },
        KeySpec {
            name: "port",
            kind: Kind::Tables(&PORT),
            absence: Absence::Fault("add a line [[listener.port]] below it, with port = 1883"),
            doc: "The ports of the group.",
            elsewhere: &["ports"],
        },
    ],
    limits: &[],
};

/// `[[listener.port]]`
pub(super) static PORT: TableSpec = TableSpec {
    header: "[[listener.port]]",
    doc: "One place where clients connect. It belongs to the `[[listener]]` above it. Exactly one of `port`, `path` and \
          `systemd` says where. Nothing is open unless the file says so: `authentication` and `authorization` must be \
          written out.",
    own_keys: &[
        KeySpec {
            name: "port",
            kind: Kind::Count(Bounds::new(0, 65_535)),
            absence: Absence::Means("no TCP port; `path` or `systemd` is written instead"),
            doc: "TCP port number. Used once in the whole file, whatever the addresses. 0 lets the system choose a free one, \
                  another at each start, and may stand once for each address.",
            elsewhere: &["number", "tcp", "listen"],
        },
        KeySpec {
            name: "bind",
            kind: Kind::Address,
            absence: Absence::Default("\"*\""),
            doc: "The address to accept on. `\"*\"` is every address, IPv4 and IPv6; `\"0.0.0.0\"` every IPv4 address; \
                  `\"::\"` every IPv6 address; `\"127.0.0.1\"` this machine only. An address that is not up yet is waited for.",
            elsewhere: &["bind_address", "address", "host", "ip", "listen_address"],
        },
        KeySpec {
            name: "interface",
            kind: Kind::Text("the name of a network interface, such as `eth0`"),
            absence: Absence::Means("every interface"),
            doc: "Network interface to accept on. A link-local IPv6 address in `bind` needs it.",
            elsewhere: &["bind_interface", "device", "nic"],
        },
        KeySpec {
            name: "path",
            kind: Kind::Path,
            absence: Absence::Means("no Unix socket"),
            doc: "Unix socket to accept on, in place of `port`.",
            elsewhere: &["unix", "socket", "unix_socket"],
        },
        KeySpec {
            name: "mode",
            kind: Kind::Mode,
            absence: Absence::Default("\"0660\""),
            doc: "Permission bits of the Unix socket: who may connect.",
            elsewhere: &["permissions", "socket_mode"],
        },
        KeySpec {
            name: "systemd",
            kind: Kind::Text("the `FileDescriptorName=` of a socket unit"),
            absence: Absence::Means("no such socket"),
            doc: "Listening socket that systemd passes under this name, in place of `port`.",
            elsewhere: &["fd", "socket_name", "activation"],
        },
        KeySpec {
            name: "protocol",
            kind: Kind::Choice(&[
                ("Mqtt", "MQTT directly on TCP or TLS"),
                ("WebSockets", "MQTT in WebSocket frames, for browsers"),
            ]),
            absence: Absence::Default("\"Mqtt\""),
            doc: "What clients speak. Every version of MQTT is served on every port.",
            elsewhere: &["transport"],
        },
        KeySpec {
            name: "websocket_path",
            kind: Kind::Text("a path that begins with `/`"),
            absence: Absence::Means("any path"),
            doc: "Path that a WebSocket client must ask for. Only with `protocol = \"WebSockets\"`.",
            elsewhere: &["ws_path", "mqtt_path", "url_path"],
        },
        KeySpec {
            name: "authentication",
            kind: Kind::Reference("authentication"),
            absence: Absence::Fault(
                "nothing is open unless it says so: write authentication = \"none\" to serve every client without a check, \
                 or the NAME of an [authentication.NAME]",
            ),
            doc: "Who clients must prove to be. `\"none\"`: every client is served, whoever it is.",
            elsewhere: &["authentication_ref", "auth", "allow_anonymous", "authn"],
        },
        KeySpec {
            name: "authorization",
            kind: Kind::Reference("authorization"),
            absence: Absence::Fault(
                "nothing is open unless it says so: write authorization = \"none\" to let every client publish and read \
                 everything, or the NAME of an [authorization.NAME]",
            ),
            doc: "What clients may do. `\"none\"`: every client may publish and read everything.",
            elsewhere: &[
                "authorization_ref",
                "acl",
                "acl_file",
                "authorisation",
                "authz",
            ],
        },
        KeySpec {
            name: "tls",
            kind: Kind::Table(&TLS),
            absence: Absence::Means("no TLS: plain text"),
            doc: "Certificate of the port.",
            elsewhere: &["ssl"],
        },
        KeySpec {
            name: "proxy_protocol",
            kind: Kind::Switch,
            absence: Absence::Default("false"),
            doc: "Whether every connection begins with a PROXY protocol header, version 1 or 2. Only behind a load balancer that \
                  sends it; a connection without one is closed.",
            elsewhere: &["proxy", "haproxy"],
        },
        KeySpec {
            name: "mount_point",
            kind: Kind::Text("a topic without wildcards, such as `site/a`"),
            absence: Absence::Means("no prefix"),
            doc: "Topic prefix of every client of the port: a client that publishes `temp` publishes `site/a/temp`, and sees only \
                  what is below `site/a`.",
            elsewhere: &["mountpoint", "topic_prefix", "prefix"],
        },
        KeySpec {
            name: "node_port",
            kind: Kind::Count(Bounds::new(1, 65_535)),
            absence: Absence::Means("chosen by the cluster"),
            doc: "Port on the nodes of a cluster. Only with `service_type = \"NodePort\"`.",
            elsewhere: &[],
        },
        KeySpec {
            name: "limits",
            kind: Kind::Table(&PORT_LIMITS_TABLE),
            absence: Absence::Means("what `[limits]` says"),
            doc: "Bounds of this port alone.",
            elsewhere: &["limit"],
        },
    ],
    limits: &[],
};

/// The words for the kinds of keys, in the order of [`KeyAlgorithm::ALL`](super::certificate_names::KeyAlgorithm::ALL).
pub(super) const KEY_ALGORITHMS: &[(&str, &str)] = &[
    (
        "ec-p256",
        "ECDSA on P-256: small, fast, known to every client",
    ),
    ("ec-p384", "ECDSA on P-384"),
    ("ed25519", "Ed25519, which many clients do not know"),
    (
        "rsa3072",
        "RSA with 3072 bits, for old clients; slow to make",
    ),
    ("rsa4096", "RSA with 4096 bits"),
];

const DAY_MILLIS: u64 = 24 * 3_600_000;

/// `[listener.port.tls]`
pub(super) static TLS: TableSpec = TableSpec {
    header: "[listener.port.tls]",
    doc: "Certificate of a port; mostly written in one line: `tls = { mode = \"Automatic\" }`, or \
          `tls = { mode = \"Manual\", cert = \"/etc/fieldgate/tls/server.crt\", key = \"/etc/fieldgate/tls/server.key\" }`. \
          With `Automatic` the gateway issues the certificate itself ([ca.md](ca.md)): for its host name, with and without \
          `.local`, for `localhost` and for every address that the machine has, and anew when it gets another one. With \
          `Manual`, while the files are not there the port waits for them, and every other port serves. A certificate is \
          replaced without closing a connection.",
    own_keys: &[
        KeySpec {
            name: "mode",
            kind: Kind::Choice(&[
                ("Manual", "from files that you put there and renew"),
                (
                    "Automatic",
                    "from the authority of the gateway, which renews it",
                ),
            ]),
            absence: Absence::Fault(
                "write mode = \"Automatic\", or mode = \"Manual\" with `cert` and `key`",
            ),
            doc: "Where the certificate comes from.",
            elsewhere: &[],
        },
        KeySpec {
            name: "cert",
            kind: Kind::Path,
            absence: Absence::Fault(
                "write cert = \"/etc/fieldgate/tls/server.crt\", or where the certificate is",
            ),
            doc: "PEM file with the certificate of the gateway first, then those of its issuers. Only with `Manual`, which \
                  needs it.",
            elsewhere: &[
                "certfile",
                "cert_file",
                "certificate",
                "crt",
                "chain",
                "cert_chain",
            ],
        },
        KeySpec {
            name: "key",
            kind: Kind::Path,
            absence: Absence::Fault(
                "write key = \"/etc/fieldgate/tls/server.key\", or where the private key is",
            ),
            doc: "PEM file with the private key of the first certificate. Only with `Manual`, which needs it.",
            elsewhere: &["keyfile", "key_file", "private_key", "private_key_file"],
        },
        KeySpec {
            name: "min_version",
            kind: Kind::Choice(&[("1.2", "TLS 1.2 and 1.3"), ("1.3", "TLS 1.3 only")]),
            absence: Absence::Default("\"1.2\""),
            doc: "Oldest version of TLS that a client may speak.",
            elsewhere: &["tls_version", "minimum_version", "version"],
        },
        KeySpec {
            name: "dns",
            kind: Kind::Texts("a list of DNS names, such as `[\"mqtt.plant.example\"]`"),
            absence: Absence::Default("[]"),
            doc: "Names that clients call the port besides those of the machine. Only with `Automatic`, as all that follows.",
            elsewhere: &["san", "dns_names", "sans"],
        },
        KeySpec {
            name: "ip",
            kind: Kind::Texts("a list of addresses, such as `[\"203.0.113.7\"]`"),
            absence: Absence::Default("[]"),
            doc: "Addresses at which clients reach the port besides those of the machine: the one of a router in front of it.",
            elsewhere: &["ip_addresses", "addresses"],
        },
        KeySpec {
            name: "key_algorithm",
            kind: Kind::Choice(KEY_ALGORITHMS),
            absence: Absence::Means("as the authority has it"),
            doc: "The kind of the key. It has to be of the same family as those of the authority: one chain has keys of one kind.",
            elsewhere: &["algorithm", "key_type"],
        },
        KeySpec {
            name: "rotation_policy",
            kind: Kind::Choice(&[
                ("Always", "each certificate has a new key"),
                ("Never", "the key stays, for clients that know it"),
            ]),
            absence: Absence::Default("\"Always\""),
            doc: "What becomes of the key when the certificate is renewed.",
            elsewhere: &["key_rotation", "private_key_rotation_policy"],
        },
        KeySpec {
            name: "duration",
            kind: Kind::Time(Bounds::new(3_600_000, 5 * 365 * DAY_MILLIS)),
            absence: Absence::Default("\"90 d\""),
            doc: "How long a certificate is valid.",
            elsewhere: &["validity", "lifetime", "days"],
        },
        KeySpec {
            name: "renew_before",
            kind: Kind::Time(Bounds::new(60_000, 5 * 365 * DAY_MILLIS)),
            absence: Absence::Means("30 days, or a third of `duration` if that is less"),
            doc: "How long before its end a certificate is renewed.",
            elsewhere: &["renewal", "renew"],
        },
    ],
    limits: &[],
};

/// `[listener.port.limits]`
pub(super) static PORT_LIMITS_TABLE: TableSpec = TableSpec {
    header: "[listener.port.limits]",
    doc: "Bounds of one port; mostly written in one line: `limits = { max_packet_size = \"64 KiB\" }`. What is not written here \
          is as `[limits]` says.",
    own_keys: &[],
    limits: &[PORT_OWN_LIMITS, PORT_LIMITS],
};
