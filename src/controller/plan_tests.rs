//! What becomes of resources, and what is said about them.

use std::sync::Arc;

use super::*;

#[path = "plan_certificates_tests.rs"]
mod certificates;

/// What a plan is made from, with defaults.
#[derive(Default)]
struct Given {
    resources: Vec<Resource>,
    former: BTreeMap<String, String>,
    objects: BTreeMap<(&'static str, String), Zeroizing<String>>,
    absent: BTreeSet<(&'static str, String)>,
    taken: Taken,
    has_cert_manager: bool,
}

impl Given {
    fn of(resources: Vec<Resource>) -> Self {
        Self {
            resources,
            ..Self::default()
        }
    }

    fn plan(&self) -> Plan {
        let input = Input {
            resources: &self.resources,
            former: &self.former,
            objects: &self.objects,
            absent: &self.absent,
            taken: &self.taken,
            namespace: "plant",
            has_cert_manager: self.has_cert_manager,
            api_server: &[],
            folder: Path::new("/files"),
        };
        make(&input).unwrap()
    }
}

fn resource(kind: Kind, name: &str, spec: Value) -> Resource {
    let object = json!({
        "apiVersion": "mqttbroker.fieldgate.io/v1",
        "kind": kind.word(),
        "metadata": {"name": name, "uid": "u", "generation": 1},
        "spec": spec,
    });
    Resource {
        key: Key {
            kind,
            group: Group::Own,
            name: name.to_owned(),
        },
        object: Arc::new(object),
    }
}

fn open(name: &str, kind: &str, port: u16) -> Resource {
    let spec = json!({"serviceType": kind, "ports": [{"port": port}]});
    resource(Kind::Listener, name, spec)
}

fn ports(plan: &Plan) -> Vec<String> {
    let settings = plan.settings.iter();
    let ports = settings.flat_map(Settings::ports);
    ports.map(|port| port.endpoint.to_string()).collect()
}

#[track_caller]
fn why(plan: &Plan, name: &str) -> String {
    let mut fates = plan.fates.iter();
    let (_, fate) = fates.find(|(key, _)| key.name == name).unwrap();
    match fate {
        Fate::Out(why) | Fate::Former(why) => why.clone(),
        Fate::InForce(_) => panic!("{name} is in force"),
    }
}

#[test]
fn a_bad_resource_leaves_the_others_alone() {
    let port = json!({"port": 1884, "authentificationRef": "x"});
    let bad = json!({"serviceType": "NodePort", "ports": [port]});
    let plan = Given::of(vec![
        open("good", "ClusterIp", 1883),
        resource(Kind::Listener, "bad", bad),
    ])
    .plan();
    assert_eq!(ports(&plan), ["*:1883"]);
    let why = why(&plan, "bad");
    assert!(why.contains("authenticationRef"), "{why}");
    assert!(why.starts_with("spec.ports[0]"), "{why}");
    assert_eq!(plan.documents.len(), 1);
}

#[test]
fn what_a_bad_resource_said_before_stays() {
    let good = open("plain", "ClusterIp", 1883);
    let mut given = Given::of(vec![good.clone()]);
    given.former = given.plan().documents;
    given.resources = vec![open("plain", "ClusterIP", 0)];
    let plan = given.plan();
    assert_eq!(ports(&plan), ["*:1883"]);
    assert!(matches!(plan.fates[&good.key], Fate::Former(_)));
    assert_eq!(plan.documents, given.former, "it stays over another change");
}

fn too_large(name: &str) -> Resource {
    let spec = json!({"text": "x".repeat(OBJECT_BYTES_MAX)});
    let mut large = resource(Kind::Listener, name, spec);
    let detail = crate::controller::client::Detail::Whole;
    let (stub, _) = crate::controller::listing::fitted((*large.object).clone(), detail);
    large.object = Arc::new(stub);
    large
}

#[test]
fn what_is_too_large_goes_on_as_it_was() {
    let large = too_large("plain");
    let mut given = Given::of(vec![large.clone()]);
    let plan = given.plan();
    assert!(ports(&plan).is_empty());
    assert!(why(&plan, "plain").contains("more than 512 KiB"));

    given.resources = vec![open("plain", "ClusterIp", 1883)];
    given.former = given.plan().documents;
    given.resources = vec![large.clone()];
    let plan = given.plan();
    assert_eq!(ports(&plan), ["*:1883"]);
    assert!(matches!(plan.fates[&large.key], Fate::Former(_)));
}

#[test]
fn a_listener_without_its_authentication_is_closed() {
    let spec = json!({"ports": [{"port": 1883, "authenticationRef": "devices"}]});
    let listener = resource(Kind::Listener, "plain", spec);
    let spec = json!({"authenticationMethods": [
        {"method": "ServiceAccountToken", "serviceAccountTokenSettings": {"audiences": ["fieldgate"]}}
    ]});
    let authentication = resource(Kind::Authentication, "devices", spec);
    let mut given = Given::of(vec![listener.clone(), authentication]);
    let plan = given.plan();
    assert_eq!(ports(&plan), ["*:1883"]);
    given.former = plan.documents;
    given.resources = vec![listener];
    let plan = given.plan();
    assert!(ports(&plan).is_empty());
    assert!(why(&plan, "plain").contains("there is no BrokerAuthentication"));
}

/// A file with a listener `inside` at 1883, whose service is `broker`, and `devices` at 8883.
fn taken() -> Taken {
    let open = "authentication = \"none\"\nauthorization = \"none\"\n";
    let text = format!(
        "[[listener]]\nname = \"inside\"\nservice_name = \"broker\"\n[[listener.port]]\nport = 1883\n{open}\
         [[listener]]\nname = \"devices\"\n[[listener.port]]\nport = 8883\n{open}"
    );
    Taken {
        listeners: config::parse(&text).unwrap().listeners,
        authentications: vec!["users".to_owned()],
        ports: vec![9600],
        ..Taken::default()
    }
}

#[test]
fn a_resource_has_nothing_of_a_listener_with_another_name() {
    let spec =
        json!({"ServiceName": "broker", "serviceType": "LoadBalancer", "ports": [{"port": 1885}]});
    let mut given = Given::of(vec![
        open("devices-2", "ClusterIp", 8883),
        open("metrics", "LoadBalancer", 9600),
        open("free", "NodePort", 9883),
        resource(Kind::Listener, "broker-2", spec),
        tokens("users"),
    ]);
    given.taken = taken();
    let plan = given.plan();
    assert_eq!(ports(&plan), ["*:9883"]);
    assert!(why(&plan, "devices-2").contains("port 8883"));
    assert!(why(&plan, "metrics").contains("port 9600"));
    assert!(why(&plan, "broker-2").contains("of the listener `inside`"));
    assert!(why(&plan, "users").contains("authentication `users`"));
}

#[test]
fn a_resource_takes_the_place_of_the_listener_of_its_name() {
    let mut given = Given::of(vec![open("inside", "ClusterIp", 1883)]);
    given.taken = taken();
    let plan = given.plan();
    assert_eq!(ports(&plan), ["*:1883"]);
    assert!(plan.fates.values().all(Fate::counts));
    // What it has no more is still nobody else's: it comes back with the listener.
    given.resources = vec![
        open("inside", "ClusterIp", 1884),
        open("other", "NodePort", 1883),
    ];
    let plan = given.plan();
    assert_eq!(ports(&plan), ["*:1884"]);
    assert!(why(&plan, "other").contains("port 1883"));
}

fn tokens(name: &str) -> Resource {
    let method = json!({"method": "ServiceAccountToken", "serviceAccountTokenSettings": {"audiences": ["plant"]}});
    let spec = json!({"authenticationMethods": [method]});
    resource(Kind::Authentication, name, spec)
}

#[test]
fn a_resource_changes_nobody_who_may_come_in_by_the_file() {
    let refers = |name: &str, kind: &str, to: &str| {
        let spec = json!({"serviceType": kind, "ports": [{"port": 1884, "authenticationRef": to}]});
        resource(Kind::Listener, name, spec)
    };
    // It is made of nothing but its name.
    let mut given = Given::of(vec![refers("mine", "ClusterIp", "default")]);
    given.taken = taken();
    let plan = given.plan();
    assert_eq!(ports(&plan), ["*:1884"]);
    given.taken.authentications = vec!["default".to_owned()];
    let plan = given.plan();
    assert!(ports(&plan).is_empty() && !plan.text.contains("[authentication"));
    assert!(why(&plan, "mine").contains("authentication `default`"));

    // Sections are not always named as resources are.
    given.taken.authentications = vec!["aio-none".to_owned()];
    given.resources = vec![tokens("none"), open("plain", "ClusterIp", 1884)];
    let plan = given.plan();
    assert_eq!(ports(&plan), ["*:1884"]);
    let none = why(&plan, "none");
    assert!(none.contains("`aio-none`"), "{none}");

    let x509 = json!({"method": "X509", "x509Settings": {"trustedClientCaCert": "ca"}});
    let methods = json!([x509, {"method": "ServiceAccountToken", "serviceAccountTokenSettings": {"audiences": ["plant"]}}]);
    let both = resource(
        Kind::Authentication,
        "both",
        json!({"authenticationMethods": methods}),
    );
    given.taken.authentications = vec!["both-without-x509".to_owned()];
    given.resources = vec![both, refers("mine", "ClusterIp", "both")];
    let plan = given.plan();
    assert!(ports(&plan).is_empty());
    assert!(why(&plan, "both").contains("`both-without-x509`"));

    let rules = json!({"authorizationPolicies": {"rules": []}});
    given.taken.authorizations = vec!["rules".to_owned()];
    given.resources = vec![resource(Kind::Authorization, "rules", rules)];
    let plan = given.plan();
    assert!(why(&plan, "rules").contains("authorization `rules`"));
}

#[test]
fn what_a_resource_becomes_counts_and_not_how_it_is_written() {
    let mut given = Given {
        taken: taken(),
        ..Given::default()
    };
    // The older shape, and what it was before it became too large.
    let older = resource(Kind::Listener, "older", json!({"port": 8883}));
    let large = open("large", "NodePort", 8883);
    given.former = BTreeMap::from([(large.key.path(), large.document())]);
    let large = too_large("large");
    given.resources = vec![older, open("free", "LoadBalancer", 1885)];
    let plan = given.plan();
    assert_eq!(ports(&plan), ["*:1885"]);
    assert!(why(&plan, "older").contains("port 8883"));
    given.resources = vec![large, open("free", "LoadBalancer", 1885)];
    let plan = given.plan();
    assert_eq!(ports(&plan), ["*:1885"]);
    assert!(why(&plan, "large").contains("port 8883"));

    let text = "[[listener]]\nname = \"outside\"\nservice_type = \"NodePort\"\n[[listener.port]]\nport = 1883\n\
         node_port = 31883\nauthentication = \"none\"\nauthorization = \"none\"\n";
    given.taken.listeners = config::parse(text).unwrap().listeners;
    let node = |name: &str| {
        let port = json!({"port": 1884, "nodePort": 31883});
        let spec = json!({"serviceType": "NodePort", "ports": [port]});
        resource(Kind::Listener, name, spec)
    };
    given.resources = vec![node("other"), open("free", "LoadBalancer", 1885)];
    let plan = given.plan();
    assert_eq!(ports(&plan), ["*:1885"]);
    assert!(why(&plan, "other").contains("node port 31883"));
    given.resources = vec![node("outside")];
    assert_eq!(ports(&given.plan()), ["*:1884"], "it is its own");
}

#[test]
fn metrics_have_a_port_of_their_own() {
    let metrics = json!({"diagnostics": {"metrics": {"prometheusPort": 8883}}});
    let mut given = Given::of(vec![
        resource(Kind::Broker, "default", metrics),
        open("free", "NodePort", 8883),
        open("plain", "ClusterIp", 1884),
    ]);
    let plan = given.plan();
    assert_eq!(ports(&plan), ["*:1884"]);
    assert!(why(&plan, "free").contains("the Broker has its metrics"));
    given.taken = taken();
    let plan = given.plan();
    assert_eq!(ports(&plan), ["*:1884"]);
    assert!(why(&plan, "default").contains("its metrics are at a port"));
    // Where the file has its metrics elsewhere, the usual port is free.
    given.taken = Taken::default();
    given.resources = vec![open("free", "NodePort", 9600)];
    assert_eq!(ports(&given.plan()), ["*:9600"]);
}

#[test]
fn a_listener_of_the_file_gives_way_to_what_does_not_count_as_well() {
    let bad = json!({"ports": [{"port": 1883, "authenticationRef": "gone"}]});
    let mut given = Given::of(vec![
        resource(Kind::Listener, "devices", bad.clone()),
        open("free", "NodePort", 1885),
    ]);
    given.taken = taken();
    let plan = given.plan();
    assert!(plan.text.starts_with("left_out = [\"devices\"]\n"));
    given.resources = vec![resource(Kind::Listener, "devices", bad)];
    assert!(given.plan().text.starts_with("left_out = [\"devices\"]\n"));
    given.resources = vec![open("devices", "NodePort", 1885)];
    assert!(!given.plan().text.contains("left_out"));
}

#[test]
fn of_two_groups_our_own_counts() {
    let own = open("plain", "ClusterIp", 1883);
    let mut foreign = open("plain", "ClusterIp", 1884);
    foreign.key.group = Group::Foreign;
    let plan = Given::of(vec![own, foreign.clone()]).plan();
    assert_eq!(ports(&plan), ["*:1883"]);
    let Fate::Out(why) = &plan.fates[&foreign.key] else {
        panic!("only one of them counts");
    };
    assert!(why.contains("twice"), "{why}");
}

#[test]
fn secrets_are_named_and_read_when_they_are_there() {
    let spec = json!({"ports": [{"port": 8883, "tls": {"mode": "Manual", "manual": {"secretRef": "server-tls"}}}]});
    let mut given = Given::of(vec![resource(Kind::Listener, "secure", spec)]);
    let plan = given.plan();
    assert_eq!(
        ports(&plan),
        ["*:8883"],
        "the port waits for its certificate"
    );
    assert!(plan.files.is_empty());
    assert!(plan.needed.iter().all(|need| !need.object.is_there));
    assert_eq!(plan.needed.len(), 2);

    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "server-tls"},
        "data": {"tls.crt": "Q0VSVA==", "tls.key": "S0VZ"}});
    let name = ("Secret", "server-tls".to_owned());
    let text = secret.to_string();
    given.objects.insert(name.clone(), Zeroizing::new(text));
    let plan = given.plan();
    let names: Vec<&str> = plan.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["server-tls.crt", "server-tls.key"]);
    assert!(plan.needed.iter().all(|need| need.object.is_there));
    assert!(plan.text.contains("/files/server-tls.crt"));

    // One that holds nonsense is as good as none.
    let broken = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "server-tls"},
        "data": {"tls.crt": "???"}});
    given
        .objects
        .insert(name, Zeroizing::new(broken.to_string()));
    let plan = given.plan();
    assert_eq!(ports(&plan), ["*:8883"]);
    assert!(plan.needed.iter().all(|need| !need.object.is_there));
}

#[test]
fn nobody_is_let_in_by_authorities_that_are_gone() {
    const CERT: &str = "-----BEGIN CERTIFICATE-----";
    let x509 = json!({"authenticationMethods": [{"method": "X509"}]});
    let mut given = Given::of(vec![resource(Kind::Authentication, "machines", x509)]);
    let name = ("ConfigMap", "client-ca".to_owned());
    let is_trusted = |plan: &Plan| {
        let [need] = &plan.needed[..] else {
            panic!("one object is named");
        };
        let (file, nobody) = ("/files/client-ca.clients", "/files/client-ca.nobody");
        let is_trusted = plan.text.contains(file);
        assert_ne!(is_trusted, plan.text.contains(nobody), "{}", plan.text);
        // What nobody names is removed.
        assert_eq!(need.object.file == "client-ca.clients", is_trusted);
        is_trusted
    };
    let plan = given.plan();
    assert!(is_trusted(&plan), "it may be there, and not be read yet");
    assert!(!plan.needed[0].object.is_there);

    let map = |data: Value| {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "client-ca"}, "data": data});
        Zeroizing::new(map.to_string())
    };
    for (data, trusted, is_there) in [
        (json!({"a": CERT}), true, true),
        (json!({"a": "", "b": CERT}), true, true),
        (
            json!({"README": "authorities of the plant", "a": "# none\n"}),
            false,
            false,
        ),
        (json!({}), false, false),
        (Value::Null, false, false),
        (json!({"a": "", "b": " \n"}), false, false),
    ] {
        given.objects.insert(name.clone(), map(data.clone()));
        let plan = given.plan();
        assert_eq!(is_trusted(&plan), trusted, "{data}");
        assert_eq!(plan.needed[0].object.is_there, is_there, "{data}");
        assert_eq!(plan.files.len(), usize::from(is_there), "{data}");
    }
    // One that is broken is a mistake.
    let broken = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "client-ca"}, "binaryData": {"a": "?"}});
    given
        .objects
        .insert(name.clone(), Zeroizing::new(broken.to_string()));
    assert!(is_trusted(&given.plan()));

    given.objects.clear();
    given.absent.insert(name);
    let plan = given.plan();
    assert!(!is_trusted(&plan));
    assert!(!plan.needed[0].object.is_there);
}

#[test]
fn a_secret_of_another_namespace_is_not_replaced_by_one_of_this() {
    let manual = |namespace: &str| {
        let manual = json!({"secretRef": "server-tls", "secretNamespace": namespace});
        let spec = json!({"ports": [{"port": 8883, "tls": {"mode": "Manual", "manual": manual}}]});
        resource(Kind::Listener, "secure", spec)
    };
    let custom = |namespace: &str| {
        let x509 = json!({"secretRef": "client-tls", "namespace": namespace});
        let settings = json!({"endpoint": "https://a.example", "auth": {"x509": x509}});
        let method = json!({"method": "Custom", "customSettings": settings});
        resource(
            Kind::Authentication,
            "asked",
            json!({"authenticationMethods": [method]}),
        )
    };
    let issued = |namespace: &str| {
        let issuer = json!({"name": "plant", "kind": "ClusterIssuer"});
        automatic(json!({"issuerRef": issuer, "secretNamespace": namespace}))
    };
    let mut given = Given {
        has_cert_manager: true,
        ..Given::default()
    };
    for make in [&manual as &dyn Fn(&str) -> Resource, &custom, &issued] {
        given.resources = vec![make("plant")];
        assert!(given.plan().fates.values().all(Fate::counts));
        given.resources = vec![make("other")];
        let plan = given.plan();
        let why = why(&plan, &given.resources[0].key.name);
        assert!(why.contains("amespace: the gateway reads Secrets"), "{why}");
        assert!(why.contains("which is plant"), "{why}");
        assert!(plan.needed.is_empty());
    }
}

#[test]
fn no_resource_changes_the_keys_of_the_authority() {
    let wishes = |algorithm: &str| automatic(json!({"privateKey": {"algorithm": algorithm}}));
    let mut given = Given::of(vec![wishes("Rsa2048")]);
    let plan = given.plan();
    let Fate::InForce(notes) = &plan.fates[&given.resources[0].key] else {
        panic!("it is in force");
    };
    assert!(notes.contains("privateKey.algorithm: left out"), "{notes}");
    assert!(notes.contains("ec-p256"), "{notes}");
    assert!(!plan.text.contains("[ca]") && !plan.text.contains("key_algorithm"));
    // A file says it with a section of its own, or with a port.
    let file = |algorithm: &str| {
        format!(
            "[admin]\nhttp = \"off\"\n[[listener]]\nname = \"fixed\"\n[[listener.port]]\nport = 8883\n\
             authentication = \"none\"\nauthorization = \"none\"\n\
             tls = {{ mode = \"Automatic\", key_algorithm = \"{algorithm}\" }}\n"
        )
    };
    config::parse(&format!("{}{}", plan.text, file("ec-p256"))).unwrap();

    given.taken.key_algorithm = KeyAlgorithm::Rsa4096;
    let plan = given.plan();
    assert!(!plan.text.contains("[ca]"));
    assert!(plan.text.contains("key_algorithm = \"rsa3072\""));
    config::parse(&format!("{}{}", plan.text, file("rsa4096"))).unwrap();
    given.resources = vec![wishes("Ec256")];
    assert!(!given.plan().text.contains("key_algorithm"));
}

fn automatic(wishes: Value) -> Resource {
    let mut tls = json!({"mode": "Automatic"});
    if !wishes.is_null() {
        tls["certManagerCertificateSpec"] = wishes;
    }
    let spec = json!({"serviceName": "broker", "ports": [{"port": 18883, "tls": tls}]});
    resource(Kind::Listener, "inside", spec)
}

#[test]
fn automatic_certificates_are_for_the_names_of_the_service() {
    let plan = Given::of(vec![automatic(Value::Null)]).plan();
    assert!(plan.certificates.is_empty());
    let text = &plan.text;
    assert!(
        text.contains("\"broker.plant.svc.cluster.local\""),
        "{text}"
    );

    let wishes = json!({"issuerRef": {"name": "plant", "kind": "ClusterIssuer"}, "duration": "240h",
        "privateKey": {"algorithm": "Rsa2048", "rotationPolicy": "Never"}, "san": {"dns": ["mqtt.example"], "ip": ["192.0.2.1"]}});
    let mut given = Given::of(vec![automatic(wishes)]);
    let plan = given.plan();
    assert!(plan.certificates.is_empty(), "there is no cert-manager");
    assert!(plan.text.contains("\"mqtt.example\"") && plan.text.contains("\"broker.plant\""));

    given.has_cert_manager = true;
    let plan = given.plan();
    let [(keys, wanted)] = &plan.certificates[..] else {
        panic!("one certificate");
    };
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].name, "inside");
    assert_eq!(wanted.secret, "inside-18883");
    assert_eq!(wanted.issuer_group, "cert-manager.io");
    assert_eq!(wanted.algorithm, Some("Rsa2048"));
    assert_eq!(wanted.times, [Some("240h".to_owned()), None]);
    assert_eq!(wanted.dns.first().map(String::as_str), Some("broker"));
    assert_eq!(wanted.dns.last().map(String::as_str), Some("mqtt.example"));
    assert_eq!(wanted.ip, ["192.0.2.1"]);
    assert!(
        plan.text.contains("/files/inside-18883.crt"),
        "{}",
        plan.text
    );
}

#[test]
fn nothing_is_a_plan_too() {
    let plan = Given::default().plan();
    assert!(plan.settings.is_none());
    assert!(plan.text.starts_with('#'));
}
