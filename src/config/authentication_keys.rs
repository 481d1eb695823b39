//! What `[authentication.NAME]` and the tables of its methods may hold.

use super::schema::{Absence, Bounds, KeySpec, Kind, TableSpec};

const ANY_ATTRIBUTES: &str = "a table of texts: `{ floor = \"1\" }`";

/// `[authentication.NAME]`
pub(super) static AUTHENTICATION: TableSpec = TableSpec {
    header: "[authentication.NAME]",
    doc: "A way to prove who a client is, under a name that ports refer to: 2 to 63 lower-case letters, digits and hyphens. \
          Its methods are asked in order. A method that does not know the kind of credential passes it on to the next; the \
          first one that knows it decides, and a client that no method knows is refused. What a method needs to know stands in \
          a table of its own, such as `[authentication.NAME.x509]`. Passwords are never written in this file: `fieldgate user \
          add` puts users into the database of the gateway.",
    own_keys: &[
        KeySpec {
            name: "methods",
            kind: Kind::Words(&[
                ("password", "users of the gateway's own database"),
                ("x509", "certificates of clients, on ports with `tls`"),
                (
                    "service_account_token",
                    "tokens of Kubernetes service accounts (`K8S-SAT`)",
                ),
                (
                    "custom",
                    "an HTTPS server that speaks the cluster broker's custom authentication",
                ),
                (
                    "http",
                    "an HTTP server that was written for mosquitto-auth-plug or mosquitto-go-auth",
                ),
                ("anonymous", "everybody who is left, under one name"),
            ]),
            absence: Absence::Fault("write methods = [\"password\"], or whichever it is"),
            doc: "Methods, in the order in which they are asked; each at most once.",
            elsewhere: &[
                "authentication_methods",
                "method",
                "allow_anonymous",
                "type",
                "backends",
                "order",
            ],
        },
        KeySpec {
            name: "client_id",
            kind: Kind::Choice(&[
                ("any", "it is free"),
                ("username", "it must be the user name"),
                (
                    "username-prefix",
                    "it must be the user name, or begin with the user name and a hyphen",
                ),
            ]),
            absence: Absence::Default("\"any\""),
            doc: "How the client identifier is bound to who the client is.",
            elsewhere: &["use_username_as_clientid", "client_id_binding", "clientid"],
        },
        KeySpec {
            name: "password",
            kind: Kind::Table(&PASSWORD),
            absence: Absence::Means("all its defaults"),
            doc: "Settings of the method `password`.",
            elsewhere: &[],
        },
        KeySpec {
            name: "x509",
            kind: Kind::Table(&X509),
            absence: Absence::Means("all its defaults"),
            doc: "Settings of the method `x509`.",
            elsewhere: &["x509_settings", "certificate", "tls"],
        },
        KeySpec {
            name: "service_account_token",
            kind: Kind::Table(&SERVICE_ACCOUNT_TOKEN),
            absence: Absence::Means("must be written where the method is used"),
            doc: "Settings of the method `service_account_token`.",
            elsewhere: &["service_account_token_settings", "sat"],
        },
        KeySpec {
            name: "custom",
            kind: Kind::Table(&CUSTOM),
            absence: Absence::Means("must be written where the method is used"),
            doc: "Settings of the method `custom`.",
            elsewhere: &["custom_settings"],
        },
        KeySpec {
            name: "http",
            kind: Kind::Table(&AUTHENTICATION_HTTP),
            absence: Absence::Means("must be written where the method is used"),
            doc: "Settings of the method `http`.",
            elsewhere: &["http_settings"],
        },
        KeySpec {
            name: "anonymous",
            kind: Kind::Table(&ANONYMOUS),
            absence: Absence::Means("all its defaults"),
            doc: "Settings of the method `anonymous`.",
            elsewhere: &["anonymous_settings"],
        },
    ],
    limits: &[],
};

/// `[authentication.NAME.password]`
pub(super) static PASSWORD: TableSpec = TableSpec {
    header: "[authentication.NAME.password]",
    doc: "User names and passwords of the database of the gateway. The users themselves are managed by `fieldgate user`; no \
          password stands in this file.",
    own_keys: &[KeySpec {
        name: "unknown_user",
        kind: Kind::Choice(&[
            (
                "refuse",
                "it is refused, after as much work as for a wrong password",
            ),
            ("next-method", "the next method is asked"),
        ]),
        absence: Absence::Default("\"refuse\""),
        doc: "What happens to a client whose user name the database does not have.",
        elsewhere: &[],
    }],
    limits: &[],
};

/// `[authentication.NAME.x509]`
pub(super) static X509: TableSpec = TableSpec {
    header: "[authentication.NAME.x509]",
    doc: "Certificates that clients present in the TLS handshake. A port that uses this method has `tls`. The connection ends \
          when the certificate expires or is revoked. Changed files are taken over without a restart.",
    own_keys: &[
        KeySpec {
            name: "trust",
            kind: Kind::Texts(
                "a list of `\"device-ca\"`, names of PEM files, and names of folders of PEM files",
            ),
            absence: Absence::Default("[\"device-ca\"]"),
            doc: "Who may have issued the certificates of clients. `\"device-ca\"` is the authority of this gateway. All \
                  certificates of a file or folder are trusted, roots and intermediates.",
            elsewhere: &[
                "trusted_client_ca_cert",
                "ca",
                "cafile",
                "ca_file",
                "cas",
                "client_ca",
                "capath",
            ],
        },
        KeySpec {
            name: "crls",
            kind: Kind::Texts("a list of names of files, and of folders of files"),
            absence: Absence::Default("[]"),
            doc: "Lists of certificates that were revoked, in PEM or DER.",
            elsewhere: &["crl", "crlfile", "crl_file"],
        },
        KeySpec {
            name: "identity",
            kind: Kind::Choice(&[
                ("common-name", "the common name of the subject"),
                ("subject", "the whole subject, such as `CN=press-1,O=Plant`"),
                ("san-dns", "the first DNS name of the alternative names"),
                ("san-uri", "the first URI of the alternative names"),
                (
                    "san-email",
                    "the first e-mail address of the alternative names",
                ),
            ]),
            absence: Absence::Default("\"common-name\""),
            doc: "What the user name of a client is. A certificate without it is refused.",
            elsewhere: &[
                "use_identity_as_username",
                "use_subject_as_username",
                "username",
            ],
        },
        KeySpec {
            name: "attributes",
            kind: Kind::Named(&SUBJECT_ATTRIBUTES),
            absence: Absence::Means("no attributes"),
            doc: "Attributes of clients by the subjects of their certificates.",
            elsewhere: &["authorization_attributes"],
        },
    ],
    limits: &[],
};

/// `[authentication.NAME.x509.attributes.ANY]`
pub(super) static SUBJECT_ATTRIBUTES: TableSpec = TableSpec {
    header: "[authentication.NAME.x509.attributes.ANY]",
    doc: "Attributes of every client in whose chain of certificates a subject is; the name of the table is for people. The \
          certificate of the client is looked at first, then those of its issuers up to the root, and the first match counts \
          alone.",
    own_keys: &[
        KeySpec {
            name: "subject",
            kind: Kind::Text("a distinguished name, such as `CN = Contoso Intermediate CA`"),
            absence: Absence::Fault("write subject = \"CN = Line 1 CA\", or whichever it is"),
            doc: "Subject of a certificate.",
            elsewhere: &["dn", "issuer"],
        },
        KeySpec {
            name: "attributes",
            kind: Kind::Pairs(ANY_ATTRIBUTES),
            absence: Absence::Fault(
                "write attributes = { floor = \"1\" }, or whatever such clients have",
            ),
            doc: "What such clients have. Rules compare it, and `{principal.attributes.floor}` stands for it.",
            elsewhere: &["attrs"],
        },
    ],
    limits: &[],
};

/// `[authentication.NAME.service_account_token]`
pub(super) static SERVICE_ACCOUNT_TOKEN: TableSpec = TableSpec {
    header: "[authentication.NAME.service_account_token]",
    doc: "Tokens of Kubernetes service accounts, which the API server of the cluster judges. A client sends its token by the \
          enhanced authentication `K8S-SAT` of MQTT 5, or as password of the user name `K8S-SAT`. The connection ends when the \
          token does.",
    own_keys: &[
        KeySpec {
            name: "audiences",
            kind: Kind::Texts("a list of audiences, such as `[\"fieldgate\"]`"),
            absence: Absence::Fault(
                "write audiences = [\"fieldgate\"], or whichever tokens are made for",
            ),
            doc: "Audiences of which a token must have one.",
            elsewhere: &["audience", "aud"],
        },
        KeySpec {
            name: "api_server",
            kind: Kind::Text("a URL such as `https://10.43.0.1:443`; `http` only for this machine"),
            absence: Absence::Means("found as every pod finds it"),
            doc: "API server of the cluster.",
            elsewhere: &["url", "server", "endpoint"],
        },
        KeySpec {
            name: "ca",
            kind: Kind::Path,
            absence: Absence::Means("that of the gateway's own service account"),
            doc: "PEM file with the authority that the API server has its certificate from.",
            elsewhere: CA_ELSEWHERE,
        },
        KeySpec {
            name: "token_file",
            kind: Kind::Path,
            absence: Absence::Means("that of the gateway's own service account"),
            doc: "File with the token that the gateway itself presents.",
            elsewhere: &[],
        },
        TIMEOUT,
        CONCURRENCY_MAX,
        RETRIES,
        BREAKER_ERRORS,
        BREAKER_PAUSE,
        CACHE_TIME,
        NEGATIVE_CACHE_TIME,
        WHEN_UNAVAILABLE,
    ],
    limits: &[],
};

/// `[authentication.NAME.custom]`
pub(super) static CUSTOM: TableSpec = TableSpec {
    header: "[authentication.NAME.custom]",
    doc: "An HTTPS server that judges every client: the custom authentication of the cluster broker, version 0.5.0. It knows \
          every kind of credential, so it stands last among the methods.",
    own_keys: &[
        KeySpec {
            name: "url",
            kind: Kind::Text("a URL that begins with `https://`"),
            absence: Absence::Fault("write url = \"https://auth-server:8443\", or wherever it is"),
            doc: "Where the server is.",
            elsewhere: URL_ELSEWHERE,
        },
        CA,
        CLIENT_CERT,
        CLIENT_KEY,
        HEADERS,
        TIMEOUT,
        CONCURRENCY_MAX,
        RETRIES,
        BREAKER_ERRORS,
        BREAKER_PAUSE,
        CACHE_TIME,
        NEGATIVE_CACHE_TIME,
        WHEN_UNAVAILABLE,
    ],
    limits: &[],
};

/// `[authentication.NAME.http]`
pub(super) static AUTHENTICATION_HTTP: TableSpec = TableSpec {
    header: "[authentication.NAME.http]",
    doc: "An HTTP server as mosquitto-auth-plug and mosquitto-go-auth ask it, which judges user names and passwords. What it \
          says about topics is asked by `[authorization.NAME.http]`.",
    own_keys: &[
        HTTP_URL,
        PROTOCOL,
        PARAMS,
        RESPONSE,
        METHOD,
        KeySpec {
            name: "getuser_path",
            kind: Kind::Text("a path that begins with `/`"),
            absence: Absence::Fault("write getuser_path = \"/auth\", or whichever the server has"),
            doc: "Path of the question whether a user has this password.",
            elsewhere: &["http_getuser_uri", "getuser_uri", "user_uri"],
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
        CACHE_TIME,
        NEGATIVE_CACHE_TIME,
        WHEN_UNAVAILABLE,
    ],
    limits: &[],
};

/// `[authentication.NAME.anonymous]`
pub(super) static ANONYMOUS: TableSpec = TableSpec {
    header: "[authentication.NAME.anonymous]",
    doc: "Accepts every client that came so far, whatever it says about itself, so it stands last among the methods.",
    own_keys: &[
        KeySpec {
            name: "username",
            kind: Kind::Text("a name"),
            absence: Absence::Default("\"anonymous\""),
            doc: "The user name of every such client, for rules and the journal.",
            elsewhere: &["user", "anonusername", "name"],
        },
        KeySpec {
            name: "attributes",
            kind: Kind::Pairs(ANY_ATTRIBUTES),
            absence: Absence::Means("no attributes"),
            doc: "What every such client has, for rules.",
            elsewhere: &["attrs"],
        },
    ],
    limits: &[],
};

const CA_ELSEWHERE: &[&str] = &[
    "cafile",
    "ca_file",
    "cacert",
    "ca_cert",
    "ca_cert_config_map",
];
const URL_ELSEWHERE: &[&str] = &["endpoint", "uri", "server", "address", "host", "hostname"];

pub(super) const HTTP_URL: KeySpec = KeySpec {
    name: "url",
    kind: Kind::Text("a URL that begins with `http://` or `https://`"),
    absence: Absence::Fault("write url = \"http://auth-server:8000\", or wherever it is"),
    doc: "Where the server is. A path in it is put in front of the paths below. `http` sends passwords in clear text.",
    elsewhere: &[
        "endpoint",
        "uri",
        "server",
        "address",
        "host",
        "http_ip",
        "http_hostname",
        "http_host",
        "port",
        "http_port",
        "http_with_tls",
        "with_tls",
    ],
};

pub(super) const PROTOCOL: KeySpec = KeySpec {
    name: "protocol",
    kind: Kind::Choice(&[
        (
            "auth-plug",
            "mosquitto-auth-plug, form posts that are answered by the status",
        ),
        ("go-auth", "mosquitto-go-auth"),
    ]),
    absence: Absence::Default("\"auth-plug\""),
    doc: "Which of the two plug-ins the server was written for.",
    elsewhere: &["plugin", "plug_in"],
};

pub(super) const PARAMS: KeySpec = KeySpec {
    name: "params",
    kind: Kind::Choice(&[
        ("json", "one JSON object"),
        ("form", "`application/x-www-form-urlencoded`"),
    ]),
    absence: Absence::Default("\"json\""),
    doc: "How questions are written. Only with `protocol = \"go-auth\"`.",
    elsewhere: &["params_mode", "http_params_mode"],
};

pub(super) const RESPONSE: KeySpec = KeySpec {
    name: "response",
    kind: Kind::Choice(&[
        ("status", "by the status alone, 2xx is yes"),
        ("json", "`{\"ok\": true}` is yes"),
        ("text", "the text `ok` is yes"),
    ]),
    absence: Absence::Default("\"status\""),
    doc: "How answers are read. Only with `protocol = \"go-auth\"`.",
    elsewhere: &["response_mode", "http_response_mode"],
};

pub(super) const METHOD: KeySpec = KeySpec {
    name: "method",
    kind: Kind::Choice(&[
        ("POST", "the question in the body"),
        (
            "GET",
            "JSON in the body as the plug-in sends it, a form in the query",
        ),
        ("PUT", "the question in the body"),
    ]),
    absence: Absence::Default("\"POST\""),
    doc: "Method of the requests. Only with `protocol = \"go-auth\"`.",
    elsewhere: &["http_method", "verb"],
};

pub(super) const SUPERUSER_PATH: KeySpec = KeySpec {
    name: "superuser_path",
    kind: Kind::Text("a path that begins with `/`"),
    absence: Absence::Means("this is not asked"),
    doc: "Path of the question whether a user may do everything.",
    elsewhere: &["http_superuser_uri", "superuser_uri"],
};

pub(super) const SUPERUSERS: KeySpec = KeySpec {
    name: "superusers",
    kind: Kind::Texts("a list of user names, in which `*` and `?` are wildcards"),
    absence: Absence::Default("[]"),
    doc: "Users that may do everything, without a question.",
    elsewhere: &["auth_opt_superusers", "admins"],
};

pub(super) const CA: KeySpec = KeySpec {
    name: "ca",
    kind: Kind::Path,
    absence: Absence::Means("the authorities of the system"),
    doc: "PEM file with the authorities that the server may have its certificate from.",
    elsewhere: CA_ELSEWHERE,
};

pub(super) const CLIENT_CERT: KeySpec = KeySpec {
    name: "client_cert",
    kind: Kind::Path,
    absence: Absence::Means("none is presented"),
    doc: "PEM file with the certificate that the gateway presents to the server, then those of its issuers.",
    elsewhere: &["certfile", "cert", "client_certificate"],
};

pub(super) const CLIENT_KEY: KeySpec = KeySpec {
    name: "client_key",
    kind: Kind::Path,
    absence: Absence::Means("none"),
    doc: "PEM file with the private key of `client_cert`.",
    elsewhere: &["keyfile", "key"],
};

pub(super) const HEADERS: KeySpec = KeySpec {
    name: "headers",
    kind: Kind::Pairs(
        "a table of header fields: `{ X-Site = \"7\", Authorization = { file = \"/etc/fieldgate/auth.header\" } }`",
    ),
    absence: Absence::Means("none"),
    doc: "Further header fields of each request. A value that is secret is named by the file whose first line it is.",
    elsewhere: &["header", "http_headers"],
};

pub(super) const TIMEOUT: KeySpec = KeySpec {
    name: "timeout",
    kind: Kind::Time(Bounds::new(100, 60_000)),
    absence: Absence::Default("\"5 s\""),
    doc: "Time for one answer, connecting included.",
    elsewhere: &["http_timeout", "request_timeout", "connect_timeout"],
};

pub(super) const CONCURRENCY_MAX: KeySpec = KeySpec {
    name: "concurrency_max",
    kind: Kind::Count(Bounds::new(1, 1024)),
    absence: Absence::Default("16"),
    doc: "Questions under way at one time; more wait within their time.",
    elsewhere: &["pool_size", "connections", "concurrency"],
};

pub(super) const RETRIES: KeySpec = KeySpec {
    name: "retries",
    kind: Kind::Count(Bounds::new(0, 10)),
    absence: Absence::Default("1"),
    doc: "Times that a question is asked again after an error.",
    elsewhere: &["retry_count", "http_retry_count"],
};

pub(super) const BREAKER_ERRORS: KeySpec = KeySpec {
    name: "breaker_errors",
    kind: Kind::Count(Bounds::new(1, 1000)),
    absence: Absence::Default("5"),
    doc: "Errors in a row after which the server is left alone for a while.",
    elsewhere: &[],
};

pub(super) const BREAKER_PAUSE: KeySpec = KeySpec {
    name: "breaker_pause",
    kind: Kind::Time(Bounds::new(100, 3_600_000)),
    absence: Absence::Default("\"10 s\""),
    doc: "That while; then one question tries whether the server is back.",
    elsewhere: &[],
};

pub(super) const CACHE_TIME: KeySpec = KeySpec {
    name: "cache_time",
    kind: Kind::Time(Bounds::new(0, 86_400_000)),
    absence: Absence::Default("\"0 s\""),
    doc: "For how long an acceptance is remembered. `\"0 s\"` asks each time, so that whoever is locked out there is locked \
          out here.",
    elsewhere: &[
        "auth_cacheseconds",
        "auth_cache_seconds",
        "cache_seconds",
        "cache_ttl",
    ],
};

pub(super) const NEGATIVE_CACHE_TIME: KeySpec = KeySpec {
    name: "negative_cache_time",
    kind: Kind::Time(Bounds::new(0, 600_000)),
    absence: Absence::Default("\"3 s\""),
    doc: "For how long a refusal is remembered, so that a client that tries again at once costs nothing.",
    elsewhere: &[],
};

pub(super) const WHEN_UNAVAILABLE: KeySpec = KeySpec {
    name: "when_unavailable",
    kind: Kind::Choice(&[
        (
            "refuse",
            "the client is told to try again: Server unavailable (0x88)",
        ),
        (
            "next-method",
            "the next method is asked; if none accepts, the client is told to try again",
        ),
    ]),
    absence: Absence::Default("\"refuse\""),
    doc: "What happens when the server cannot be asked.",
    elsewhere: &["on_error"],
};
