//! What `[authorization.NAME]` and its rules may hold.

use super::authentication_keys::{
    BREAKER_ERRORS, BREAKER_PAUSE, CA, CLIENT_CERT, CLIENT_KEY, CONCURRENCY_MAX, HEADERS, HTTP_URL,
    METHOD, NEGATIVE_CACHE_TIME, PARAMS, PROTOCOL, RESPONSE, RETRIES, SUPERUSER_PATH, SUPERUSERS,
    TIMEOUT,
};
use super::schema::{Absence, Bounds, KeySpec, Kind, TableSpec};

/// `[authorization.NAME]`
pub(super) static AUTHORIZATION: TableSpec = TableSpec {
    header: "[authorization.NAME]",
    doc: "Rules of what clients may do, under a name that ports refer to: 2 to 63 lower-case letters, digits and hyphens. What \
          no rule allows is denied, to connect as well; where rules contradict each other, the one that denies wins. \
          `fieldgate authz explain` says which rule decides.",
    own_keys: &[
        KeySpec {
            name: "rule",
            kind: Kind::Tables(&RULE),
            absence: Absence::Fault(
                "add a line [[authorization.NAME.rule]], and below it principals, connect, publish and subscribe",
            ),
            doc: "The rules. May be absent where `http` is written. Rules of several files are added to each other.",
            elsewhere: &["rules", "acl", "policy", "authorization_policies"],
        },
        KeySpec {
            name: "denied_publish",
            kind: Kind::Choice(&[
                ("acknowledge", "it is acknowledged and dropped"),
                ("disconnect", "the connection is closed"),
            ]),
            absence: Absence::Default("\"acknowledge\""),
            doc: "What happens to a message that a client of MQTT 3.1 or 3.1.1 may not publish, because it cannot be told so. A \
                  client of MQTT 5 is told Not authorized (0x87).",
            elsewhere: &[],
        },
        KeySpec {
            name: "wide_subscription",
            kind: Kind::Choice(&[
                ("refuse", "it is refused"),
                (
                    "narrow",
                    "it is granted, and only messages that the client may read are delivered",
                ),
            ]),
            absence: Absence::Default("\"refuse\""),
            doc: "What happens to a subscription that is wider than what the client may read.",
            elsewhere: &[],
        },
        KeySpec {
            name: "http",
            kind: Kind::Table(&AUTHORIZATION_HTTP),
            absence: Absence::Means("nobody else is asked"),
            doc: "Server that is asked about what no rule decides.",
            elsewhere: &["http_settings"],
        },
    ],
    limits: &[],
};

/// `[[authorization.NAME.rule]]`
pub(super) static RULE: TableSpec = TableSpec {
    header: "[[authorization.NAME.rule]]",
    doc: "One rule. In topics `{principal.username}`, `{principal.clientId}` and `{principal.attributes.floor}` stand for what \
          the client is, each as the only text of its level: `plant/{principal.username}/#`. In client identifiers they may \
          stand anywhere.",
    own_keys: &[
        KeySpec {
            name: "principals",
            kind: Kind::Table(&PRINCIPALS),
            absence: Absence::Fault(
                "write principals = { usernames = [\"press-1\"] }, or principals = { everyone = true }",
            ),
            doc: "Whom the rule is about.",
            elsewhere: &["principal", "who", "clients"],
        },
        KeySpec {
            name: "effect",
            kind: Kind::Choice(&[
                ("allow", "it allows what is below"),
                ("deny", "it denies it, whatever other rules say"),
            ]),
            absence: Absence::Default("\"allow\""),
            doc: "What the rule does.",
            elsewhere: &["permission", "action", "type"],
        },
        KeySpec {
            name: "connect",
            kind: Kind::Texts("a list of client identifiers; `*` at the end stands for any rest"),
            absence: Absence::Default("[]"),
            doc: "Client identifiers to connect with.",
            elsewhere: &["connects"],
        },
        KeySpec {
            name: "publish",
            kind: Kind::Texts("a list of topic filters"),
            absence: Absence::Default("[]"),
            doc: "Topics to publish to.",
            elsewhere: &["write", "pub"],
        },
        KeySpec {
            name: "subscribe",
            kind: Kind::Texts("a list of topic filters"),
            absence: Absence::Default("[]"),
            doc: "Topics to subscribe to.",
            elsewhere: &["read", "sub"],
        },
        KeySpec {
            name: "qos",
            kind: Kind::Count(Bounds::new(0, 2)),
            absence: Absence::Default("2"),
            doc: "Highest QoS of what the rule allows.",
            elsewhere: &["max_qos", "maximum_qos"],
        },
        KeySpec {
            name: "retain",
            kind: Kind::Switch,
            absence: Absence::Default("true"),
            doc: "Whether the rule allows to publish retained messages.",
            elsewhere: &["allow_retain"],
        },
        KeySpec {
            name: "message_rate_max",
            kind: Kind::Count(Bounds::new(1, 1_000_000).or("unlimited")),
            absence: Absence::Default("\"unlimited\""),
            doc: "Messages a second that one connection may publish by the rule.",
            elsewhere: &["max_message_rate", "messages_per_second"],
        },
        KeySpec {
            name: "byte_rate_max",
            kind: Kind::Size(Bounds::new(1, 4_294_967_295).or("unlimited")),
            absence: Absence::Default("\"unlimited\""),
            doc: "Bytes of payload a second that one connection may publish by the rule.",
            elsewhere: &["max_byte_rate", "bytes_per_second"],
        },
    ],
    limits: &[],
};

/// `principals = { … }`
pub(super) static PRINCIPALS: TableSpec = TableSpec {
    header: "[authorization.NAME.rule.principals]",
    doc: "Whom a rule is about; mostly written in one line: `principals = { usernames = [\"press-1\"] }`. The three lists are \
          alternatives: one that fits is enough.",
    own_keys: &[
        KeySpec {
            name: "usernames",
            kind: Kind::Texts("a list of user names"),
            absence: Absence::Default("[]"),
            doc: "User names, exactly so. The name of the client's certificate counts as one.",
            elsewhere: &["username", "users", "user"],
        },
        KeySpec {
            name: "client_ids",
            kind: Kind::Texts("a list of client identifiers"),
            absence: Absence::Default("[]"),
            doc: "Client identifiers, exactly so. They prove nothing by themselves.",
            elsewhere: &["client_id", "clientid", "clients"],
        },
        KeySpec {
            name: "attributes",
            kind: Kind::Texts(
                "a list of tables of texts: `[{ floor = \"1\", line = \"2\" }, { role = \"service\" }]`",
            ),
            absence: Absence::Default("[]"),
            doc: "Sets of attributes. A client must have all of one set.",
            elsewhere: &["attribute", "attrs"],
        },
        KeySpec {
            name: "everyone",
            kind: Kind::Switch,
            absence: Absence::Default("false"),
            doc: "Whether the rule is about every client of the port; then the lists are not written.",
            elsewhere: &["all", "any", "anyone", "everybody"],
        },
    ],
    limits: &[],
};

/// `[authorization.NAME.http]`
pub(super) static AUTHORIZATION_HTTP: TableSpec = TableSpec {
    header: "[authorization.NAME.http]",
    doc: "An HTTP server as mosquitto-auth-plug and mosquitto-go-auth ask it, which is asked about each topic that no rule \
          decides. Its answers are remembered.",
    own_keys: &[
        HTTP_URL,
        PROTOCOL,
        PARAMS,
        RESPONSE,
        METHOD,
        KeySpec {
            name: "aclcheck_path",
            kind: Kind::Text("a path that begins with `/`"),
            absence: Absence::Fault("write aclcheck_path = \"/acl\", or whichever the server has"),
            doc: "Path of the question whether a user may read or write a topic.",
            elsewhere: &["http_aclcheck_uri", "aclcheck_uri", "acl_uri"],
        },
        SUPERUSER_PATH,
        SUPERUSERS,
        CA,
        CLIENT_CERT,
        CLIENT_KEY,
        HEADERS,
        TIMEOUT,
        CONCURRENCY_MAX,
        RETRIES,
        BREAKER_ERRORS,
        BREAKER_PAUSE,
        KeySpec {
            name: "cache_time",
            kind: Kind::Time(Bounds::new(0, 86_400_000)),
            absence: Absence::Default("\"5 min\""),
            doc: "For how long it is remembered that a client may do something. A right that ends at the server ends here this \
                  much later.",
            elsewhere: &[
                "acl_cacheseconds",
                "acl_cache_seconds",
                "cacheseconds",
                "cache_seconds",
                "cache_ttl",
            ],
        },
        NEGATIVE_CACHE_TIME,
    ],
    limits: &[],
};
