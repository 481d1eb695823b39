//! The one table of what a configuration file may hold.
//!
//! It feeds the reader (which keys there are and what they take), the hints of reports (the nearest key) and the
//! reference manual. The bounds under `limits` are in [`super::limit_keys`].

use super::limit_keys::{GATEWAY_LIMITS, LimitSpec, PORT_LIMITS, PORT_OWN_LIMITS};

/// A table of the file.
#[derive(Debug)]
pub(super) struct TableSpec {
    /// How its header is written.
    pub(super) header: &'static str,
    /// What it is for, as a paragraph of the manual.
    pub(super) doc: &'static str,
    pub(super) own_keys: &'static [KeySpec],
    pub(super) limits: &'static [&'static [LimitSpec]],
}

impl TableSpec {
    /// Every key of the table, in the order of the manual.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'static KeySpec> {
        let limits = self.limits.iter().flat_map(|group| group.iter());
        self.own_keys.iter().chain(limits.map(|limit| &limit.key))
    }

    pub(super) fn key(&self, name: &str) -> Option<&'static KeySpec> {
        self.keys().find(|key| key.name == name)
    }
}

/// A key of a table.
#[derive(Debug)]
pub(super) struct KeySpec {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) absence: Absence,
    /// What it does, as a sentence of the manual.
    pub(super) doc: &'static str,
    /// Names that other brokers have for it.
    pub(super) elsewhere: &'static [&'static str],
}

/// What holds where a key is not written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Absence {
    /// It must be written; the words say how.
    Fault(&'static str),
    /// This value, as it would be written.
    Default(&'static str),
    /// What the words say.
    Means(&'static str),
    /// The default in `limits.rs`.
    Limit,
}

/// What a key takes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// `[table]` or `{ … }`
    Table(&'static TableSpec),
    /// `[[table]]`
    Tables(&'static TableSpec),
    /// A text with rules of its own; the words say which.
    Text(&'static str),
    /// One of these words, with its meaning; case does not matter.
    Choice(&'static [(&'static str, &'static str)]),
    /// `true` or `false`.
    Switch,
    /// A list of topic filters.
    Filters,
    /// A whole number.
    Count(Bounds),
    /// Bytes: a number, or a text such as `"64 KiB"`.
    Size(Bounds),
    /// A time in milliseconds: a text such as `"1h30m"`, or a number of seconds.
    Time(Bounds),
    /// The same in whole seconds.
    Seconds(Bounds),
    /// The name of a file, absolute.
    Path,
    /// Permission bits.
    Mode,
    /// An IP address.
    Address,
    /// An IP address and a port number, or `"off"`.
    SocketAddress,
}

impl Kind {
    pub(super) fn is_table(self) -> bool {
        matches!(self, Self::Table(_) | Self::Tables(_))
    }
}

/// Smallest and largest number, and the word for "no bound".
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) min: u64,
    pub(super) max: u64,
    /// A word that may stand for the absence of a bound.
    pub(super) none: Option<&'static str>,
    /// Whether 0 means the same as that word.
    pub(super) zero_is_none: bool,
}

impl Bounds {
    pub(super) const fn new(min: u64, max: u64) -> Self {
        Self {
            min,
            max,
            none: None,
            zero_is_none: false,
        }
    }

    pub(super) const fn or(self, word: &'static str) -> Self {
        Self {
            none: Some(word),
            ..self
        }
    }

    pub(super) const fn or_zero(self, word: &'static str) -> Self {
        Self {
            none: Some(word),
            zero_is_none: true,
            ..self
        }
    }
}

/// The file as a whole.
pub(super) static ROOT: TableSpec = TableSpec {
    header: "the top level",
    doc: "",
    own_keys: &[
        KeySpec {
            name: "gateway",
            kind: Kind::Table(&GATEWAY),
            absence: Absence::Means("all its defaults"),
            doc: "What this gateway is.",
            elsewhere: &["broker", "server"],
        },
        KeySpec {
            name: "listener",
            kind: Kind::Tables(&LISTENER),
            absence: Absence::Fault(
                "add a line [[listener]] with a name, and below it [[listener.port]] with port = 1883",
            ),
            doc: "The places where clients connect.",
            elsewhere: &["listeners"],
        },
        KeySpec {
            name: "limits",
            kind: Kind::Table(&LIMITS),
            absence: Absence::Means("all its defaults"),
            doc: "The bounds of the whole gateway.",
            elsewhere: &["limit"],
        },
        KeySpec {
            name: "admin",
            kind: Kind::Table(&ADMIN),
            absence: Absence::Means("all its defaults"),
            doc: "How the gateway is watched and commanded.",
            elsewhere: &["http", "metrics", "control"],
        },
        KeySpec {
            name: "store",
            kind: Kind::Table(&STORE),
            absence: Absence::Means("all its defaults"),
            doc: "How sessions, their messages and retained messages are kept on the disk.",
            elsewhere: &["storage", "persistence", "database", "durability"],
        },
        KeySpec {
            name: "log",
            kind: Kind::Table(&LOG),
            absence: Absence::Means("all its defaults"),
            doc: "What is written down and how.",
            elsewhere: &["logging", "logs", "diagnostics"],
        },
    ],
    limits: &[],
};

/// `[gateway]`
pub(super) static GATEWAY: TableSpec = TableSpec {
    header: "[gateway]",
    doc: "What this gateway is.",
    own_keys: &[KeySpec {
        name: "name",
        kind: Kind::Text("1 to 64 letters, digits, `.`, `-` and `_`"),
        absence: Absence::Means("the host name"),
        doc: "Name of the gateway in status, logs and metrics.",
        elsewhere: &["id", "hostname", "host_name"],
    }],
    limits: &[],
};

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
            kind: Kind::Choice(&[("none", "every client is served, whoever it is")]),
            absence: Absence::Fault(
                "nothing is open unless it says so: write authentication = \"none\" to serve every client without a check",
            ),
            doc: "Who clients must prove to be.",
            elsewhere: &["authentication_ref", "auth", "allow_anonymous", "authn"],
        },
        KeySpec {
            name: "authorization",
            kind: Kind::Choice(&[("none", "every client may publish and read everything")]),
            absence: Absence::Fault(
                "nothing is open unless it says so: write authorization = \"none\" to let every client publish and read everything",
            ),
            doc: "What clients may do.",
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

/// `[listener.port.tls]`
pub(super) static TLS: TableSpec = TableSpec {
    header: "[listener.port.tls]",
    doc: "Certificate of a port; mostly written in one line: \
          `tls = { mode = \"Manual\", cert = \"/etc/fieldgate/tls/server.crt\", key = \"/etc/fieldgate/tls/server.key\" }`. \
          While the files are not there the port waits for them, and every other port serves. A changed file is taken over \
          without closing a connection.",
    own_keys: &[
        KeySpec {
            name: "mode",
            kind: Kind::Choice(&[("Manual", "from files that you put there and renew")]),
            absence: Absence::Fault("write mode = \"Manual\""),
            doc: "Where the certificate comes from.",
            elsewhere: &[],
        },
        KeySpec {
            name: "cert",
            kind: Kind::Path,
            absence: Absence::Fault(
                "write cert = \"/etc/fieldgate/tls/server.crt\", or where the certificate is",
            ),
            doc: "PEM file with the certificate of the gateway first, then those of its issuers.",
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
            doc: "PEM file with the private key of the first certificate.",
            elsewhere: &["keyfile", "key_file", "private_key", "private_key_file"],
        },
        KeySpec {
            name: "min_version",
            kind: Kind::Choice(&[("1.2", "TLS 1.2 and 1.3"), ("1.3", "TLS 1.3 only")]),
            absence: Absence::Default("\"1.2\""),
            doc: "Oldest version of TLS that a client may speak.",
            elsewhere: &["tls_version", "minimum_version", "version"],
        },
    ],
    limits: &[],
};

/// `[limits]`
pub(super) static LIMITS: TableSpec = TableSpec {
    header: "[limits]",
    doc: "Every bound of the gateway. Sizes are written as `\"64 KiB\"`, `\"1 MiB\"` or a number of bytes; times as `\"10s\"`, \
          `\"1h30m\"`, `\"7d\"` or a number of seconds. Why each default is what it is: [defaults.md](defaults.md).",
    own_keys: &[],
    limits: &[GATEWAY_LIMITS, PORT_LIMITS],
};

/// `[listener.port.limits]`
pub(super) static PORT_LIMITS_TABLE: TableSpec = TableSpec {
    header: "[listener.port.limits]",
    doc: "Bounds of one port; mostly written in one line: `limits = { max_packet_size = \"64 KiB\" }`. What is not written here \
          is as `[limits]` says.",
    own_keys: &[],
    limits: &[PORT_OWN_LIMITS, PORT_LIMITS],
};

/// `[admin]`
pub(super) static ADMIN: TableSpec = TableSpec {
    header: "[admin]",
    doc: "How the gateway is watched and commanded.",
    own_keys: &[
        KeySpec {
            name: "http",
            kind: Kind::SocketAddress,
            absence: Absence::Default("\"127.0.0.1:9600\""),
            doc: "Where `/livez`, `/readyz` and `/metrics` are served; `\"off\"` serves them nowhere. They are open to whoever \
                  reaches the address. One that is taken is reported and tried again.",
            elsewhere: &[
                "bind",
                "address",
                "port",
                "metrics",
                "listen",
                "prometheus_port",
            ],
        },
        KeySpec {
            name: "control_socket",
            kind: Kind::Path,
            absence: Absence::Means("`control.sock` in the runtime folder, or in the state folder"),
            doc: "Unix socket for `fieldgate status` and the other commands.",
            elsewhere: &["socket", "control", "path"],
        },
    ],
    limits: &[],
};

/// `[store]`
pub(super) static STORE: TableSpec = TableSpec {
    header: "[store]",
    doc: "How sessions, their messages and retained messages are kept on the disk. Whatever these keys say, what a client was \
          told to be stored is stored.",
    own_keys: &[
        KeySpec {
            name: "commit_interval",
            kind: Kind::Time(Bounds::new(0, 1_000)),
            absence: Absence::Default("\"0 ms\""),
            doc: "Time between two commits that clients wait for. `\"0 ms\"` commits as soon as the disk is free; more makes \
                  acknowledgements wait so much longer and writes less to the flash.",
            elsewhere: &["autosave_interval", "save_interval", "flush_period"],
        },
        KeySpec {
            name: "flush_interval",
            kind: Kind::Time(Bounds::new(10, 3_600_000)),
            absence: Absence::Default("\"1 s\""),
            doc: "Longest time until a change is written that no client waits for, such as the end of a delivery. A power cut \
                  within it lets such a delivery be repeated; it loses nothing.",
            elsewhere: &["sync_interval"],
        },
        KeySpec {
            name: "wal_bytes_max",
            kind: Kind::Size(Bounds::new(256 << 10, 1 << 30)),
            absence: Absence::Default("\"16 MiB\""),
            doc: "Bytes of the write-ahead log from which on it is brought into the database. More writes less to the flash, \
                  and takes longer at the start after a power cut.",
            elsewhere: &["wal_size", "journal_size_limit"],
        },
        KeySpec {
            name: "reserve_bytes",
            kind: Kind::Size(Bounds::new(0, 1 << 30)),
            absence: Absence::Default("\"32 MiB\""),
            doc: "Bytes of a file that is given up when the volume is full, so that the store can still write.",
            elsewhere: &[],
        },
        KeySpec {
            name: "free_bytes_min",
            kind: Kind::Size(Bounds::new(0, 1 << 40)),
            absence: Absence::Default("\"64 MiB\""),
            doc: "Free bytes of the volume below which nothing more is queued for clients that are away.",
            elsewhere: &["min_free_space", "disk_free_limit"],
        },
    ],
    limits: &[],
};

/// `[log]`
pub(super) static LOG: TableSpec = TableSpec {
    header: "[log]",
    doc: "What is written down and how.",
    own_keys: &[
        KeySpec {
            name: "level",
            kind: Kind::Choice(&[
                ("error", "what needs you"),
                ("warn", "and what may need you"),
                (
                    "info",
                    "and what happens: clients that come and go, their faults",
                ),
                ("debug", "and what a developer of clients wants to know"),
                ("trace", "everything"),
            ]),
            absence: Absence::Default("\"info\""),
            doc: "The least important entries that are still written.",
            elsewhere: &["log_level", "verbosity"],
        },
        KeySpec {
            name: "format",
            kind: Kind::Choice(&[
                (
                    "auto",
                    "fields of the journal under systemd, lines of text elsewhere",
                ),
                ("text", "lines of text"),
                ("json", "one JSON object per line"),
                ("journald", "fields of the journal"),
            ]),
            absence: Absence::Default("\"auto\""),
            doc: "Form of an entry.",
            elsewhere: &["log_format", "type", "style"],
        },
    ],
    limits: &[],
};

/// Every table, in the order of the manual.
pub(super) static TABLES: &[&TableSpec] = &[
    &GATEWAY,
    &LISTENER,
    &PORT,
    &TLS,
    &PORT_LIMITS_TABLE,
    &LIMITS,
    &ADMIN,
    &STORE,
    &LOG,
];
