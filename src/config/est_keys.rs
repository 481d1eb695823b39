//! What `[est]` may hold.

use super::port_keys::TLS;
use super::schema::{Absence, Bounds, KeySpec, Kind, TableSpec};

/// `[est]`
pub(super) static EST: TableSpec = TableSpec {
    header: "[est]",
    doc: "How devices get certificates of the gateway's own authority over the network, and how clients get its root. Nothing is \
          served unless an address is written. See [est.md](est.md).",
    own_keys: &[
        KeySpec {
            name: "https",
            kind: Kind::SocketAddress,
            absence: Absence::Default("\"off\""),
            doc: "Where devices enrol by EST (RFC 7030), as `\"[::]:8443\"`. `/ca.crt`, `/ca.der` and `/crl.pem` are served there \
                  as well. One that is taken is reported and tried again.",
            elsewhere: &["bind", "address", "port", "listen", "enroll", "enrol"],
        },
        KeySpec {
            name: "http",
            kind: Kind::SocketAddress,
            absence: Absence::Default("\"off\""),
            doc: "Where `/ca.crt`, `/ca.der` and `/crl.pem` are served without TLS, and nothing else, as `\"[::]:8080\"`.",
            elsewhere: &["plain"],
        },
        KeySpec {
            name: "tls",
            kind: Kind::Table(&TLS),
            absence: Absence::Default("{ mode = \"Automatic\" }"),
            doc: "Certificate of `https`; the same keys as those of a port.",
            elsewhere: &["ssl"],
        },
        KeySpec {
            name: "users",
            kind: Kind::Switch,
            absence: Absence::Default("false"),
            doc: "Whether local users may enrol with their passwords, besides devices with a token. A user gets a certificate with \
                  the user's own name, and with the attributes that the user has then.",
            elsewhere: &["passwords", "password"],
        },
        KeySpec {
            name: "connections_max",
            kind: Kind::Count(Bounds::new(1, 1_024)),
            absence: Absence::Default("32"),
            doc: "Connections served at one time, at each of the two addresses, of which one client address has at most half. More wait.",
            elsewhere: &["max_connections"],
        },
        KeySpec {
            name: "attempts_per_address_max",
            kind: Kind::Count(Bounds::new(1, 10_000)),
            absence: Absence::Default("30"),
            doc: "Requests for a certificate of one address within a minute, whatever comes of them. More are told to wait.",
            elsewhere: &["rate_limit", "attempts_per_client_max"],
        },
        KeySpec {
            name: "attempts_max",
            kind: Kind::Count(Bounds::new(1, 10_000)),
            absence: Absence::Default("300"),
            doc: "The same of all addresses together.",
            elsewhere: &["attempts"],
        },
    ],
    limits: &[],
};
