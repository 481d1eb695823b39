//! The one table of what a configuration file may hold.
//!
//! It feeds the reader (which keys there are and what they take), the hints of reports (the nearest key) and the
//! reference manual. The bounds under `limits` are in [`super::limit_keys`], the tables of ports in [`super::port_keys`], and
//! those of who may connect and what they may do in [`super::authentication_keys`] and [`super::authorization_keys`].

use super::authentication_keys::{
    ANONYMOUS, AUTHENTICATION, AUTHENTICATION_HTTP, CUSTOM, PASSWORD, SERVICE_ACCOUNT_TOKEN,
    SUBJECT_ATTRIBUTES, X509,
};
use super::authorization_keys::{AUTHORIZATION, AUTHORIZATION_HTTP, PRINCIPALS, RULE};
use super::discovery::DISCOVERY;
use super::est_keys::EST;
use super::kubernetes_keys::KUBERNETES;
use super::limit_keys::{GATEWAY_LIMITS, LimitSpec, PORT_LIMITS};
use super::port_keys::{KEY_ALGORITHMS, LISTENER, PORT, PORT_LIMITS_TABLE, TLS};

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
    /// `[key.NAME]`: tables under names that are chosen freely.
    Named(&'static TableSpec),
    /// `{ NAME = "text" }`: texts under names that are chosen freely; the words say what both are.
    Pairs(&'static str),
    /// `"none"`, or the name of a table under the root key of this name.
    Reference(&'static str),
    /// A text with rules of its own; the words say which.
    Text(&'static str),
    /// One of these words, with its meaning; case does not matter.
    Choice(&'static [(&'static str, &'static str)]),
    /// An ordered list of such words, each at most once; case, `_` and `-` do not matter.
    Words(&'static [(&'static str, &'static str)]),
    /// A list of texts; the words say which.
    Texts(&'static str),
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
        matches!(
            self,
            Self::Table(_) | Self::Tables(_) | Self::Named(_) | Self::Pairs(_)
        )
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
            name: "authentication",
            kind: Kind::Named(&AUTHENTICATION),
            absence: Absence::Means("none by name"),
            doc: "Ways to prove who a client is.",
            elsewhere: &["authentications", "auth", "authn"],
        },
        KeySpec {
            name: "authorization",
            kind: Kind::Named(&AUTHORIZATION),
            absence: Absence::Means("none by name"),
            doc: "Rules of what clients may do.",
            elsewhere: &["authorizations", "authorisation", "authz", "acl", "acls"],
        },
        KeySpec {
            name: "protection",
            kind: Kind::Table(&PROTECTION),
            absence: Absence::Means("all its defaults"),
            doc: "What failed logins lead to.",
            elsewhere: &["ban", "bans", "fail2ban", "guard"],
        },
        KeySpec {
            name: "limits",
            kind: Kind::Table(&LIMITS),
            absence: Absence::Means("all its defaults"),
            doc: "The bounds of the whole gateway.",
            elsewhere: &["limit"],
        },
        KeySpec {
            name: "est",
            kind: Kind::Table(&EST),
            absence: Absence::Means("all its defaults: nobody enrols over the network"),
            doc: "How devices get certificates over the network, and clients the root.",
            elsewhere: &["enrolment", "enrollment"],
        },
        KeySpec {
            name: "discovery",
            kind: Kind::Table(&DISCOVERY),
            absence: Absence::Means("all its defaults"),
            doc: "How clients in the same network find the gateway.",
            elsewhere: &["mdns", "dns_sd", "zeroconf", "avahi", "bonjour"],
        },
        KeySpec {
            name: "ca",
            kind: Kind::Table(&CA),
            absence: Absence::Means("all its defaults"),
            doc: "The certificate authority of the gateway.",
            elsewhere: &["authority", "pki", "issuer"],
        },
        KeySpec {
            name: "kubernetes",
            kind: Kind::Table(&KUBERNETES),
            absence: Absence::Means("all its defaults: no cluster is asked about ports"),
            doc: "The gateway as the broker of a cluster.",
            elsewhere: &["k8s", "cluster", "kube"],
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

/// `[limits]`
pub(super) static LIMITS: TableSpec = TableSpec {
    header: "[limits]",
    doc: "Every bound of the gateway. Sizes are written as `\"64 KiB\"`, `\"1 MiB\"` or a number of bytes; times as `\"10s\"`, \
          `\"1h30m\"`, `\"7d\"` or a number of seconds. Why each default is what it is: [defaults.md](defaults.md).",
    own_keys: &[],
    limits: &[GATEWAY_LIMITS, PORT_LIMITS],
};

/// `[protection]`
pub(super) static PROTECTION: TableSpec = TableSpec {
    header: "[protection]",
    doc: "What failed logins lead to. A failure counts for the address that it came from and for the user name that it tried. \
          Why each default is what it is: [defaults.md](defaults.md#failed-logins).",
    own_keys: &[
        KeySpec {
            name: "failures_per_address_max",
            kind: Kind::Count(Bounds::new(1, 1_000_000)),
            absence: Absence::Default("10"),
            doc: "Failed logins of one address within `failure_window` after which the address is banned.",
            elsewhere: &["max_failures", "maxretry", "tries"],
        },
        KeySpec {
            name: "failures_per_username_max",
            kind: Kind::Count(Bounds::new(1, 1_000_000)),
            absence: Absence::Default("20"),
            doc: "Failed logins with one user name within `failure_window` after which the name is banned for addresses that \
                  it has not logged in from.",
            elsewhere: &["failures_per_user_max"],
        },
        KeySpec {
            name: "failure_window",
            kind: Kind::Time(Bounds::new(1_000, 86_400_000)),
            absence: Absence::Default("\"5 min\""),
            doc: "Time after which a failure is forgotten.",
            elsewhere: &["findtime", "window"],
        },
        KeySpec {
            name: "ban_time",
            kind: Kind::Time(Bounds::new(1_000, 86_400_000)),
            absence: Absence::Default("\"1 min\""),
            doc: "The first ban; each further one is twice as long.",
            elsewhere: &["bantime", "ban_duration"],
        },
        KeySpec {
            name: "ban_time_max",
            kind: Kind::Time(Bounds::new(1_000, 30 * 86_400_000)),
            absence: Absence::Default("\"1 h\""),
            doc: "The longest ban.",
            elsewhere: &["bantime_max"],
        },
        KeySpec {
            name: "never_banned",
            kind: Kind::Texts(
                "a list of addresses and networks, such as `[\"192.168.10.7\", \"10.0.0.0/8\"]`",
            ),
            absence: Absence::Default("[]"),
            doc: "Addresses that are never banned nor kept waiting, whatever fails there: those of a test bench, or of a proxy \
                  behind which many clients share one address. Passwords can be tried from there without end.",
            elsewhere: &["ignoreip", "allow_list", "whitelist", "trusted"],
        },
        KeySpec {
            name: "audit_rows_max",
            kind: Kind::Count(Bounds::new(100, 1_000_000)),
            absence: Absence::Default("10_000"),
            doc: "Rows of the audit log in the database; the oldest make room, half of them among what operators did and half \
                  among what clients did.",
            elsewhere: &["audit_max"],
        },
    ],
    limits: &[],
};

/// `[ca]`
pub(super) static CA: TableSpec = TableSpec {
    header: "[ca]",
    doc: "The certificate authority of the gateway, which is made when the first port asks for `tls = { mode = \"Automatic\" }`. \
          What is written here holds when it is made; an authority that is there stays as it is. See [ca.md](ca.md).",
    own_keys: &[
        KeySpec {
            name: "algorithm",
            kind: Kind::Choice(KEY_ALGORITHMS),
            absence: Absence::Default("\"ec-p256\""),
            doc: "The kind of all keys, of the authority and of the ports.",
            elsewhere: &["key_algorithm", "key_type"],
        },
        KeySpec {
            name: "permit_dns",
            kind: Kind::Texts("a list of domains, such as `[\"plant.example\", \"local\"]`"),
            absence: Absence::Means("any"),
            doc: "Domains, with everything below them, for which it may issue certificates (RFC 5280, 4.2.1.10). Clients with \
                  mbedTLS refuse every authority that is constrained.",
            elsewhere: &["permitted_dns", "name_constraints"],
        },
        KeySpec {
            name: "permit_ip",
            kind: Kind::Texts("a list of networks, such as `[\"10.0.0.0/8\"]`"),
            absence: Absence::Means("any"),
            doc: "Networks for whose addresses it may issue certificates.",
            elsewhere: &["permitted_ip"],
        },
    ],
    limits: &[],
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
    &AUTHENTICATION,
    &PASSWORD,
    &X509,
    &SUBJECT_ATTRIBUTES,
    &SERVICE_ACCOUNT_TOKEN,
    &CUSTOM,
    &AUTHENTICATION_HTTP,
    &ANONYMOUS,
    &AUTHORIZATION,
    &RULE,
    &PRINCIPALS,
    &AUTHORIZATION_HTTP,
    &PROTECTION,
    &LIMITS,
    &EST,
    &DISCOVERY,
    &CA,
    &KUBERNETES,
    &ADMIN,
    &STORE,
    &LOG,
];
