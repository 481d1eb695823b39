//! What a file says about who may connect and what they may do.

use std::sync::Arc;
use std::time::Duration;

use crate::config::schema::{Absence, Kind, PROTECTION};
use crate::config::{
    AnonymousSettings, Authentication, AuthenticationSettings, Authorization,
    AuthorizationSettings, BackendSettings, CertificateIdentity, ClientIdBinding, CustomSettings,
    HeaderValue, HttpMethod, HttpParams, HttpProtocol, HttpResponse, HttpServer, HttpSettings,
    HttpUrl, MethodSettings, Network, PasswordSettings, ProtectionSettings,
    ServiceAccountTokenSettings, Settings, SubjectAttributes, TrustSource, UnknownUser,
    WhenUnavailable, X509Settings, parse,
};
use crate::mqtt::QoS;
use crate::policy::{
    ClientIdPattern, DeniedPublish, Effect, FilterPattern, Principals, Rule, RuleSet,
    WideSubscription,
};

const TLS: &str = "tls = { mode = \"Manual\", cert = \"/c\", key = \"/k\" }\n";

/// A port with TLS that names both.
pub(super) fn port(number: u16, authentication: &str, authorization: &str) -> String {
    format!(
        "[[listener.port]]\nport = {number}\nauthentication = \"{authentication}\"\n\
         authorization = \"{authorization}\"\n{TLS}"
    )
}

pub(super) fn settings(more: &str) -> Settings {
    let text = format!("[[listener]]\nname = \"plant\"\n{more}");
    parse(&text).unwrap_or_else(|report| panic!("{report}"))
}

fn authentication(text: &str) -> Arc<AuthenticationSettings> {
    let settings = settings(&format!("{}{text}", port(8883, "devices", "none")));
    let [only] = settings.authentications.as_slice() else {
        panic!("there are several");
    };
    Arc::clone(only)
}

/// The one method of an authentication, with these settings.
fn method(word: &str, keys: &str) -> MethodSettings {
    let text = format!(
        "[authentication.devices]\nmethods = [\"{word}\"]\n[authentication.devices.{word}]\n{keys}"
    );
    authentication(&text).methods[0].clone()
}

fn authorization(text: &str) -> Arc<AuthorizationSettings> {
    let settings = settings(&format!("{}{text}", port(8883, "none", "rules")));
    Arc::clone(&settings.authorizations[0])
}

fn texts(texts: &[&str]) -> Vec<Box<str>> {
    texts.iter().map(|text| (*text).into()).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<Box<str>, Box<str>> {
    let boxed = pairs
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()));
    boxed.collect()
}

fn filters(texts: &[&str]) -> Vec<FilterPattern> {
    let parsed = texts.iter().map(|text| FilterPattern::parse(text));
    parsed.collect::<Result<_, _>>().unwrap()
}

fn client_ids(texts: &[&str]) -> Vec<ClientIdPattern> {
    let parsed = texts.iter().map(|text| ClientIdPattern::parse(text));
    parsed.collect::<Result<_, _>>().unwrap()
}

/// A rule about everybody that allows nothing.
fn rule(place: &str) -> Rule {
    Rule {
        effect: Effect::Allow,
        principals: Principals::Everyone,
        connect: Vec::new(),
        publish: Vec::new(),
        subscribe: Vec::new(),
        qos: QoS::ExactlyOnce,
        retain: true,
        message_rate_max: None,
        byte_rate_max: None,
        place: place.into(),
    }
}

#[test]
fn the_example_of_the_manual_works_as_written() {
    let ports = port(8883, "devices", "plant-rules");
    let text = r#"
[authentication.devices]
methods = ["x509", "password"]               # in order; settings of a method in [authentication.devices.x509] and so on

[authorization.plant-rules]
[[authorization.plant-rules.rule]]
principals = { usernames = ["press-1"], client_ids = [], attributes = [{ floor = "1" }] }
connect   = ["press-*"]                      # client ids
publish   = ["plant/{principal.username}/#"]
subscribe = ["plant/+/state"]
"#;
    let settings = settings(&format!("{ports}{text}"));
    let devices = AuthenticationSettings {
        name: "devices".try_into().unwrap(),
        methods: vec![
            MethodSettings::X509(X509Settings {
                trust: vec![TrustSource::DeviceCa],
                crls: Vec::new(),
                identity: CertificateIdentity::CommonName,
                attributes: Vec::new(),
            }),
            MethodSettings::Password(PasswordSettings::default()),
        ],
        client_id: ClientIdBinding::Any,
    };
    let rules = RuleSet {
        name: "plant-rules".into(),
        rules: vec![Rule {
            principals: Principals::Listed {
                usernames: texts(&["press-1"]),
                client_ids: Vec::new(),
                attributes: vec![pairs(&[("floor", "1")])],
            },
            connect: client_ids(&["press-*"]),
            publish: filters(&["plant/{principal.username}/#"]),
            subscribe: filters(&["plant/+/state"]),
            ..rule("gateway.toml:13")
        }],
        ..RuleSet::default()
    };
    let plant_rules = AuthorizationSettings {
        name: "plant-rules".try_into().unwrap(),
        rules: Arc::new(rules),
        http: None,
    };
    let port = settings.ports().next().unwrap();
    assert_eq!(
        port.authentication,
        Authentication::Named(Arc::new(devices))
    );
    assert_eq!(
        port.authorization,
        Authorization::Named(Arc::new(plant_rules))
    );
    assert_eq!(settings.protection, ProtectionSettings::default());
}

#[test]
fn ports_of_one_name_share_it_and_the_others_are_there_too() {
    let ports = [
        port(8883, "b", "c"),
        port(8884, "bb", "cc"),
        port(8885, "bb", "cc"),
    ]
    .concat();
    let ports = ports.replace("\"b\"", "\"aa\"").replace("\"c\"", "\"dd\"");
    let rule = "principals = { everyone = true }\nconnect = [\"*\"]\n";
    let settings = settings(&format!(
        "{ports}[authentication.bb]\nmethods = [\"password\"]\n[authentication.aa]\nmethods = [\"x509\"]\n\
         [authentication.spare]\nmethods = [\"anonymous\"]\n\
         [[authorization.dd.rule]]\n{rule}[[authorization.cc.rule]]\n{rule}"
    ));
    let names: Vec<&str> = settings
        .authentications
        .iter()
        .map(|named| named.name.as_str())
        .collect();
    assert_eq!(names, ["aa", "bb", "spare"]);
    let ports: Vec<_> = settings.ports().collect();
    let named = |at: usize| match (&ports[at].authentication, &ports[at].authorization) {
        (Authentication::Named(one), Authorization::Named(other)) => {
            (Arc::clone(one), Arc::clone(other))
        }
        _ => panic!("port {at} names nothing"),
    };
    assert_eq!(named(0).0.name.as_str(), "aa");
    assert!(Arc::ptr_eq(&named(1).0, &named(2).0) && Arc::ptr_eq(&named(1).1, &named(2).1));
    assert!(Arc::ptr_eq(&named(1).0, &settings.authentications[1]));
    assert!(!Arc::ptr_eq(&named(0).1, &named(1).1));
}

#[test]
fn the_spelling_of_methods_is_free() {
    for word in [
        "service_account_token",
        "serviceAccountToken",
        "ServiceAccountToken",
        "SERVICE-ACCOUNT-TOKEN",
    ] {
        let text = format!(
            "[authentication.devices]\nmethods = [\"X509\", \"{word}\", \"Password\"]\nclient_id = \"Username-Prefix\"\n\
             [authentication.devices.service_account_token]\naudiences = [\"fieldgate\"]\n"
        );
        let devices = authentication(&text);
        let keys: Vec<&str> = devices.methods.iter().map(MethodSettings::key).collect();
        assert_eq!(keys, ["x509", "service_account_token", "password"]);
        assert_eq!(devices.client_id, ClientIdBinding::UsernamePrefix);
    }
}

#[test]
fn every_key_of_passwords_and_anonymous_can_be_set() {
    assert_eq!(
        method("password", "unknown_user = \"next-method\""),
        MethodSettings::Password(PasswordSettings {
            unknown_user: UnknownUser::NextMethod
        })
    );
    assert_eq!(
        method("anonymous", ""),
        MethodSettings::Anonymous(AnonymousSettings {
            username: "anonymous".into(),
            attributes: pairs(&[]),
        })
    );
    assert_eq!(
        method(
            "anonymous",
            "username = \"guest\"\nattributes = { role = \"visitor\", floor = \"\" }"
        ),
        MethodSettings::Anonymous(AnonymousSettings {
            username: "guest".into(),
            attributes: pairs(&[("floor", ""), ("role", "visitor")]),
        })
    );
}

#[test]
fn every_key_of_certificates_can_be_set() {
    let keys = r#"
trust = ["Device-CA", "/path/ca.pem", "/folder"]
crls = ["/crl.pem", "/crls"]
identity = "san-uri"
[authentication.devices.x509.attributes.root]
subject = "CN = Contoso Root CA"
attributes = { organization = "contoso" }
[authentication.devices.x509.attributes.intermediate]
subject = "CN = Contoso Intermediate CA, O = Contoso"
[authentication.devices.x509.attributes.intermediate.attributes]
city = "seattle"
"foo.bar" = "baz"
"#;
    let expected = X509Settings {
        trust: vec![
            TrustSource::DeviceCa,
            TrustSource::Path("/path/ca.pem".into()),
            TrustSource::Path("/folder".into()),
        ],
        crls: vec!["/crl.pem".into(), "/crls".into()],
        identity: CertificateIdentity::SanUri,
        attributes: vec![
            SubjectAttributes {
                name: "root".into(),
                subject: "CN = Contoso Root CA".into(),
                attributes: pairs(&[("organization", "contoso")]),
            },
            SubjectAttributes {
                name: "intermediate".into(),
                subject: "CN = Contoso Intermediate CA, O = Contoso".into(),
                attributes: pairs(&[("city", "seattle"), ("foo.bar", "baz")]),
            },
        ],
    };
    assert_eq!(method("x509", keys), MethodSettings::X509(expected));
    for (word, identity) in [
        ("common-name", CertificateIdentity::CommonName),
        ("subject", CertificateIdentity::Subject),
        ("san-dns", CertificateIdentity::SanDns),
        ("san-email", CertificateIdentity::SanEmail),
    ] {
        let MethodSettings::X509(x509) = method("x509", &format!("identity = \"{word}\"")) else {
            panic!("another method");
        };
        assert_eq!(x509.identity, identity);
    }
}

const BACKEND: &str = "timeout = \"2 s\"\nconcurrency_max = 3\nretries = 4\nbreaker_errors = 6\n\
                       breaker_pause = \"7 s\"\ncache_time = \"8 min\"\nnegative_cache_time = \"9 s\"\n";

fn backend(when_unavailable: WhenUnavailable) -> BackendSettings {
    BackendSettings {
        timeout: Duration::from_secs(2),
        concurrency_max: 3,
        retries: 4,
        breaker_errors: 6,
        breaker_pause: Duration::from_secs(7),
        cache_time: Duration::from_secs(480),
        negative_cache_time: Duration::from_secs(9),
        when_unavailable,
    }
}

fn server(url: &str) -> HttpServer {
    HttpServer {
        url: HttpUrl::try_from(url).unwrap(),
        ca: None,
        client_certificate: None,
        headers: std::collections::BTreeMap::new(),
    }
}

#[test]
fn every_key_of_tokens_can_be_set() {
    let keys = format!(
        "audiences = [\"fieldgate\", \"aio-internal\"]\napi_server = \"https://10.43.0.1\"\nca = \"/ca\"\n\
         token_file = \"/token\"\nwhen_unavailable = \"next-method\"\n{BACKEND}"
    );
    assert_eq!(
        method("service_account_token", &keys),
        MethodSettings::ServiceAccountToken(ServiceAccountTokenSettings {
            audiences: texts(&["fieldgate", "aio-internal"]),
            api_server: Some(HttpServer {
                ca: Some("/ca".into()),
                ..server("https://10.43.0.1")
            }),
            token_file: Some("/token".into()),
            backend: backend(WhenUnavailable::NextMethod),
        })
    );
    assert_eq!(
        method("service_account_token", "audiences = [\"fieldgate\"]"),
        MethodSettings::ServiceAccountToken(ServiceAccountTokenSettings {
            audiences: texts(&["fieldgate"]),
            api_server: None,
            token_file: None,
            backend: BackendSettings::default(),
        })
    );
    // `kubectl proxy` serves so.
    let proxied = "audiences = [\"fieldgate\"]\napi_server = \"http://127.0.0.1:8001\"";
    method("service_account_token", proxied);
}

#[test]
fn every_key_of_the_custom_server_can_be_set() {
    let keys = format!(
        "url = \"https://auth-server:8443/x?y=1\"\nca = \"/ca\"\nclient_cert = \"/cert\"\nclient_key = \"/key\"\n\
         headers = {{ X-Site = \"7\", Authorization = {{ file = \"/etc/fieldgate/auth.header\" }} }}\n\
         when_unavailable = \"refuse\"\n{BACKEND}"
    );
    let headers = [
        (
            "authorization".into(),
            HeaderValue::File("/etc/fieldgate/auth.header".into()),
        ),
        ("x-site".into(), HeaderValue::Text("7".into())),
    ];
    assert_eq!(
        method("custom", &keys),
        MethodSettings::Custom(CustomSettings {
            server: HttpServer {
                ca: Some("/ca".into()),
                client_certificate: Some(("/cert".into(), "/key".into())),
                headers: headers.into(),
                ..server("https://auth-server:8443/x?y=1")
            },
            backend: backend(WhenUnavailable::Refuse),
        })
    );
}

#[test]
fn every_key_of_http_servers_can_be_set() {
    let keys = format!(
        "url = \"http://auth-server:8000/mqtt\"\nprotocol = \"go-auth\"\nparams = \"form\"\nresponse = \"text\"\n\
         method = \"put\"\ngetuser_path = \"/auth\"\nsuperuser_path = \"/superuser\"\nsuperusers = [\"admin*\"]\n{BACKEND}"
    );
    let expected = HttpSettings {
        server: server("http://auth-server:8000/mqtt"),
        protocol: HttpProtocol::GoAuth {
            params: HttpParams::Form,
            response: HttpResponse::Text,
            method: HttpMethod::Put,
        },
        getuser_path: Some("/auth".into()),
        superuser_path: Some("/superuser".into()),
        aclcheck_path: None,
        superusers: texts(&["admin*"]),
        backend: backend(WhenUnavailable::Refuse),
    };
    assert_eq!(method("http", &keys), MethodSettings::Http(expected));
    let least = "url = \"http://auth-server:8000\"\ngetuser_path = \"/auth\"";
    let expected = HttpSettings {
        server: server("http://auth-server:8000"),
        protocol: HttpProtocol::AuthPlug,
        getuser_path: Some("/auth".into()),
        superuser_path: None,
        aclcheck_path: None,
        superusers: Vec::new(),
        backend: BackendSettings::default(),
    };
    assert_eq!(method("http", least), MethodSettings::Http(expected));
    let go_auth = format!("{least}\nprotocol = \"go-auth\"\nresponse = \"json\"\nmethod = \"GET\"");
    let MethodSettings::Http(http) = method("http", &go_auth) else {
        panic!("another method");
    };
    let expected = HttpProtocol::GoAuth {
        params: HttpParams::Json,
        response: HttpResponse::Json,
        method: HttpMethod::Get,
    };
    assert_eq!(http.protocol, expected);
}

#[test]
fn a_server_may_decide_in_place_of_rules_and_beside_them() {
    let http = "[authorization.rules.http]\nurl = \"http://auth-server:8000\"\nsuperuser_path = \"/superuser\"\n\
                aclcheck_path = \"/acl\"\n";
    let alone = authorization(http);
    assert!(alone.rules.asks && alone.rules.rules.is_empty());
    let asked = alone.http.as_ref().unwrap();
    assert_eq!(asked.aclcheck_path.as_deref(), Some("/acl"));
    assert_eq!(asked.getuser_path, None);
    assert_eq!(asked.backend.cache_time, BackendSettings::ACL_CACHE_TIME);
    let rule =
        "[[authorization.rules.rule]]\nprincipals = { everyone = true }\nconnect = [\"*\"]\n";
    let both = authorization(&format!("{http}cache_time = \"30 s\"\n{rule}"));
    assert!(both.rules.asks);
    assert_eq!(both.rules.rules.len(), 1);
    let asked = both.http.as_ref().unwrap();
    assert_eq!(asked.backend.cache_time, Duration::from_secs(30));
    assert!(!authorization(rule).rules.asks);
}

#[test]
fn every_key_of_rules_can_be_set() {
    let text = r#"[authorization.rules]
denied_publish = "disconnect"
wide_subscription = "narrow"
[[authorization.rules.rule]]
effect = "Allow"
connect = ["*"]
publish = ["a/#"]
subscribe = ["b/+"]
qos = 1
retain = false
message_rate_max = 5
byte_rate_max = "1 KiB"
[authorization.rules.rule.principals]
client_ids = ["c"]
[[authorization.rules.rule]]
effect = "deny"
principals = { everyone = true }
publish = ["a/b"]
[[authorization.rules.rule]]
principals = { everyone = true }
publish = ["x"]
message_rate_max = "unlimited"
byte_rate_max = "unlimited"
"#;
    let set = authorization(text);
    assert_eq!(set.rules.denied_publish, DeniedPublish::Disconnect);
    assert_eq!(set.rules.wide_subscription, WideSubscription::Narrow);
    let expected = [
        Rule {
            principals: Principals::Listed {
                usernames: Vec::new(),
                client_ids: texts(&["c"]),
                attributes: Vec::new(),
            },
            connect: client_ids(&["*"]),
            publish: filters(&["a/#"]),
            subscribe: filters(&["b/+"]),
            qos: QoS::AtLeastOnce,
            retain: false,
            message_rate_max: Some(5),
            byte_rate_max: Some(1024),
            ..rule("gateway.toml:11")
        },
        Rule {
            effect: Effect::Deny,
            publish: filters(&["a/b"]),
            ..rule("gateway.toml:22")
        },
        Rule {
            publish: filters(&["x"]),
            ..rule("gateway.toml:26")
        },
    ];
    assert_eq!(set.rules.rules, expected);
}

#[test]
fn every_key_of_protection_can_be_set() {
    let text = "[protection]\nfailures_per_address_max = 3\nfailures_per_username_max = 4\nfailure_window = \"10 min\"\n\
                ban_time = \"5 s\"\nban_time_max = \"5 s\"\nnever_banned = [\"10.0.0.0/8\", \"fd00::7\"]\naudit_rows_max = 500\n";
    let settings = settings(&format!("{}{text}", port(8883, "none", "none")));
    let expected = ProtectionSettings {
        failures_per_address_max: 3,
        failures_per_username_max: 4,
        failure_window: Duration::from_secs(600),
        ban_time: Duration::from_secs(5),
        ban_time_max: Duration::from_secs(5),
        never_banned: vec![
            Network::try_from("10.0.0.0/8").unwrap(),
            Network::try_from("fd00::7").unwrap(),
        ],
        audit_rows_max: 500,
    };
    assert_eq!(settings.protection, expected);
}

/// What the manual says of a key that is not written is what the code does.
#[test]
fn defaults_of_the_manual_are_those_of_the_code() {
    let written = |table: &crate::config::schema::TableSpec| -> String {
        let keys = table
            .keys()
            .filter_map(|key| match (key.absence, key.kind) {
                (Absence::Default(_), Kind::Choice(_) | Kind::Texts(_)) if key.name == "params" => {
                    None
                }
                (Absence::Default(default), _) => Some(format!("{} = {default}\n", key.name)),
                _ => None,
            });
        keys.collect()
    };
    let protection = format!("[protection]\n{}", written(&PROTECTION));
    let text = format!("{}{protection}", port(8883, "none", "none"));
    assert_eq!(settings(&text).protection, ProtectionSettings::default());
    use crate::config::authentication_keys as keys;
    for (word, table, must) in [
        ("password", &keys::PASSWORD, ""),
        ("x509", &keys::X509, ""),
        ("anonymous", &keys::ANONYMOUS, ""),
        (
            "service_account_token",
            &keys::SERVICE_ACCOUNT_TOKEN,
            "audiences = [\"a\"]\n",
        ),
        ("custom", &keys::CUSTOM, "url = \"https://a\"\n"),
    ] {
        let explicit = method(word, &format!("{must}{}", written(table)));
        assert_eq!(explicit, method(word, must), "{word}");
    }
    let must = "[authorization.rules.http]\nurl = \"http://a\"\naclcheck_path = \"/acl\"\n";
    let table = &crate::config::authorization_keys::AUTHORIZATION_HTTP;
    let defaults: String = written(table)
        .lines()
        .filter(|line| !line.starts_with("response") && !line.starts_with("method"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(
        authorization(&format!("{must}{defaults}")),
        authorization(must)
    );
}
