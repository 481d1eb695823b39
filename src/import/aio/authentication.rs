//! `BrokerAuthentication`: methods that are tried in order.

use super::AioCluster;
use super::authorization::{is_plain, listener_refs};
use super::fields::{At, Fields, Notes, Word};
use super::objects::{AuthoritiesOf, Materials};
use super::resources::Resource;
use super::yaml::{Value, shown_key};
use crate::import::report::ImportReport;
use crate::import::text::{comment, key, list, pairs, quote};

/// Methods, with the names that older resources have for them. Each is one of ours.
const METHODS: &[Word] = &[
    ("Custom", &[]),
    ("ServiceAccountToken", &["sat", "k8s-sat"]),
    ("X509", &["x509Credentials", "x509Credential"]),
    ("UsernamePassword", &[]),
];

/// Audience that the cluster broker takes where it is installed without a word about it.
const DEFAULT_AUDIENCE: &str = "aio-internal";

/// Bytes of the value of a header field.
const HEADER_BYTES_MAX: usize = 4096;

/// `[authentication.NAME]`
#[derive(Default)]
pub(super) struct AuthenticationPlan {
    /// Name of the resource.
    pub(super) resource: String,
    /// Listeners that it names itself, in the older shape.
    pub(super) listeners: Vec<String>,
    pub(super) methods: Vec<MethodPlan>,
    pub(super) notes: Vec<String>,
}

/// A method and its table.
pub(super) struct MethodPlan {
    /// The word of the configuration.
    pub(super) key: &'static str,
    /// Lines of its table, without the header.
    pub(super) settings: Vec<(String, String)>,
    pub(super) comments: Vec<String>,
    /// Tables below its own: their names and lines.
    pub(super) tables: Vec<(String, Vec<(String, String)>)>,
}

impl MethodPlan {
    pub(super) fn new(key: &'static str) -> Self {
        Self {
            key,
            settings: Vec::new(),
            comments: Vec::new(),
            tables: Vec::new(),
        }
    }

    pub(super) fn set(&mut self, key: &str, value: String) {
        self.settings.push((key.to_owned(), value));
    }
}

impl AuthenticationPlan {
    /// What the cluster broker installs under the name `default`.
    pub(super) fn installed(cluster: Option<&AioCluster>) -> Self {
        let mut method = MethodPlan::new("service_account_token");
        method.set("audiences", list([DEFAULT_AUDIENCE]));
        for (key, value) in cluster.iter().flat_map(|cluster| &cluster.api_server) {
            method.set(key, quote(value));
        }
        Self {
            resource: "default".to_owned(),
            methods: vec![method],
            notes: vec!["As the cluster broker installs it.".to_owned()],
            ..Self::default()
        }
    }

    /// Whether clients may present certificates, which needs TLS.
    pub(super) fn asks_certificates(&self) -> bool {
        self.methods.iter().any(|method| method.key == "x509")
    }

    /// The section; without the method `x509` where `has_tls` is not so.
    pub(super) fn render(&self, name: &str, has_tls: bool) -> String {
        let methods = || {
            let methods = self.methods.iter();
            methods.filter(move |method| has_tls || method.key != "x509")
        };
        let mut text = String::new();
        for note in &self.notes {
            text.push_str(&format!("{}\n", comment(note)));
        }
        text.push_str(&format!(
            "[authentication.{name}]\nmethods = {}\n\n",
            list(methods().map(|method| method.key))
        ));
        for method in methods() {
            if method.settings.is_empty() && method.tables.is_empty() {
                continue;
            }
            text.push_str(&format!("[authentication.{name}.{}]\n", method.key));
            for note in &method.comments {
                text.push_str(&format!("{}\n", comment(note)));
            }
            push_lines(&mut text, &method.settings);
            for (table, lines) in &method.tables {
                let table = key(table);
                text.push_str(&format!(
                    "[authentication.{name}.{}.attributes.{table}]\n",
                    method.key
                ));
                push_lines(&mut text, lines);
            }
        }
        text
    }
}

fn push_lines(text: &mut String, lines: &[(String, String)]) {
    for (key, value) in lines {
        text.push_str(&format!("{key} = {value}\n"));
    }
    text.push('\n');
}

pub(super) fn translate(
    resource: &Resource,
    materials: &mut Materials,
    report: &mut ImportReport,
) -> AuthenticationPlan {
    let mut reading = Reading {
        notes: resource.notes(report),
        materials,
        namespace: resource.namespace.as_deref(),
        resource: &resource.name,
        plan: AuthenticationPlan {
            resource: resource.name.clone(),
            ..AuthenticationPlan::default()
        },
    };
    reading.spec(&resource.spec());
    let mut plan = reading.plan;
    if plan.methods.is_empty() {
        plan.methods.push(MethodPlan::new("password"));
        let note = "No method could be taken over, so nobody comes in until there are users: `fieldgate user add NAME`.";
        plan.notes.push(note.to_owned());
    }
    plan
}

pub(super) struct Reading<'r> {
    pub(super) notes: Notes<'r>,
    pub(super) materials: &'r mut Materials,
    pub(super) namespace: Option<&'r str>,
    pub(super) resource: &'r str,
    plan: AuthenticationPlan,
}

impl Reading<'_> {
    fn spec(&mut self, spec: &At<'_>) {
        let keys = &["authenticationMethods", "listenerRef", "brokerRef"];
        let Some(fields) = self.notes.fields(spec, keys) else {
            return;
        };
        for (key, at) in fields.iter() {
            match key {
                "brokerRef" => self.notes.not_needed(at, "there is one gateway"),
                "listenerRef" => self.plan.listeners = listener_refs(&mut self.notes, at),
                _ => {
                    for method in self.notes.list(at) {
                        self.method(&method);
                    }
                }
            }
        }
        if fields.get("authenticationMethods").is_none() {
            self.notes.missing(&fields, "authenticationMethods");
        }
    }

    fn method(&mut self, at: &At<'_>) {
        let keys = &[
            "method",
            "customSettings|custom",
            "serviceAccountTokenSettings|serviceAccountToken|sat",
            "x509Settings|x509|x509Credentials",
            "usernamePassword|usernamePasswordSettings",
        ];
        let Some(fields) = self.notes.fields(at, keys) else {
            return;
        };
        let settings: Vec<_> = fields.iter().filter(|(key, _)| *key != "method").collect();
        let Some(kind) = self.kind(&fields, &settings) else {
            return;
        };
        let own = settings_of(kind);
        for (key, at) in &settings {
            if *key != own {
                self.notes
                    .bad(at, format!("the method {kind} has no such settings"));
            }
        }
        let settings = fields.get(own);
        let method = match kind {
            "Custom" => self.custom(&fields, settings),
            "ServiceAccountToken" => self.service_account_token(&fields, settings),
            "X509" => self.x509(&fields, settings),
            _ => self.username_password(&fields, settings),
        };
        let Some(method) = method else {
            return;
        };
        if self
            .plan
            .methods
            .iter()
            .any(|other| other.key == method.key)
        {
            let why = "a method stands once in a chain, and the first one of a kind decides; this one is left out";
            self.notes.no_equivalent(at, why);
            return;
        }
        self.plan.methods.push(method);
    }

    /// The kind of a method: written, or that of its settings.
    fn kind(
        &mut self,
        fields: &Fields<'_>,
        settings: &[(&'static str, &At<'_>)],
    ) -> Option<&'static str> {
        if let Some(at) = fields.get("method") {
            let kind = self.notes.word(at, METHODS)?;
            self.notes
                .translated(at, format!("the method \"{}\"", word_of(kind)));
            return Some(kind);
        }
        let mut kinds = METHODS.iter().map(|(kind, _)| *kind);
        match settings {
            [(key, _)] => kinds.find(|kind| settings_of(kind) == *key),
            _ => {
                self.notes.missing(fields, "method");
                None
            }
        }
    }

    fn service_account_token(
        &mut self,
        fields: &Fields<'_>,
        settings: Option<&At<'_>>,
    ) -> Option<MethodPlan> {
        let Some(at) = settings else {
            self.notes.missing(fields, "serviceAccountTokenSettings");
            return None;
        };
        let below = self.notes.fields(at, &["audiences"])?;
        let Some(at) = below.get("audiences") else {
            self.notes.missing(&below, "audiences");
            return None;
        };
        let audiences = self.notes.texts(at);
        if audiences.is_empty() || !audiences.iter().all(|audience| is_plain(audience)) {
            self.notes.bad(
                at,
                "it takes at least one audience, each a text of at most 1024 bytes",
            );
        }
        let mut method = MethodPlan::new("service_account_token");
        method.set("audiences", list(audiences.iter().map(String::as_str)));
        if let Some(cluster) = &self.materials.cluster {
            for (key, value) in &cluster.api_server {
                method.set(key, quote(value));
            }
            self.notes.translated(at, "audiences");
            return Some(method);
        }
        let how = "audiences; outside of the cluster write api_server, ca and token_file, so that the API server can be asked";
        self.notes.differs(at, how);
        let note =
            "Outside of the cluster the API server has to be named: api_server, ca and token_file.";
        method.comments.push(note.to_owned());
        Some(method)
    }

    fn username_password(
        &mut self,
        fields: &Fields<'_>,
        settings: Option<&At<'_>>,
    ) -> Option<MethodPlan> {
        let Some(at) = settings else {
            self.notes.missing(fields, "usernamePassword");
            return None;
        };
        let below = self.notes.fields(at, &["secretName|secretRef"])?;
        let Some(at) = below.get("secretName") else {
            self.notes.missing(&below, "secretName");
            return None;
        };
        let secret = super::objects::object_name(&mut self.notes, at)?;
        let path = self.materials.secret_file(
            &mut self.notes,
            at,
            (secret, "passwords.toml"),
            self.namespace,
        );
        let into = "the users of the gateway's database; `fieldgate user import` brings them in";
        self.notes.translated(at, into);
        self.notes.next(format!(
            "fieldgate user import {}",
            super::objects::shell(&path)
        ));
        Some(MethodPlan::new("password"))
    }

    fn custom(&mut self, fields: &Fields<'_>, settings: Option<&At<'_>>) -> Option<MethodPlan> {
        let Some(at) = settings else {
            self.notes.missing(fields, "customSettings");
            return None;
        };
        let keys = &["endpoint", "caCertConfigMap|caCert", "auth", "headers"];
        let below = self.notes.fields(at, keys)?;
        let Some(at) = below.get("endpoint") else {
            self.notes.missing(&below, "endpoint");
            return None;
        };
        let url = self.notes.text(at)?;
        match crate::config::HttpUrl::try_from(url) {
            Ok(parsed) if parsed.is_tls => {}
            Ok(_) => self
                .notes
                .bad(at, "it takes a URL that begins with https://"),
            Err(fault) => self.notes.bad(at, format!("this {fault}")),
        }
        self.notes.translated(at, "custom.url");
        let mut method = MethodPlan::new("custom");
        method.set("url", quote(url));
        if let Some(at) = below.get("caCertConfigMap")
            && let Some(config_map) = super::objects::object_name(&mut self.notes, at)
        {
            let path = self.materials.authorities(
                &mut self.notes,
                at,
                config_map,
                self.namespace,
                AuthoritiesOf::Server,
            );
            self.notes
                .translated(at, format!("custom.ca, the file {path}"));
            method.set("ca", quote(&path));
        }
        if let Some(at) = below.get("auth") {
            self.client_certificate(at, &mut method);
        }
        if let Some(at) = below.get("headers") {
            self.headers(at, &mut method);
        }
        // As the cluster broker: a server that does not answer has no say.
        method.set("when_unavailable", quote("next-method"));
        Some(method)
    }

    fn client_certificate(&mut self, at: &At<'_>, method: &mut MethodPlan) {
        let Some(fields) = self.notes.fields(at, &["x509"]) else {
            return;
        };
        let Some(at) = fields.get("x509") else {
            return;
        };
        let Some(fields) = self
            .notes
            .fields(at, &["secretRef|secretName", "namespace"])
        else {
            return;
        };
        let mut namespace = self.namespace.map(ToOwned::to_owned);
        if let Some(at) = fields.get("namespace") {
            namespace = self.materials.secret_namespace(&mut self.notes, at);
        }
        let Some(at) = fields.get("secretRef") else {
            self.notes.missing(&fields, "secretRef");
            return;
        };
        let namespace = namespace.as_deref();
        if let Some((cert, key)) = self.materials.key_pair(&mut self.notes, at, namespace) {
            method.set("client_cert", quote(&cert));
            method.set("client_key", quote(&key));
        }
    }

    fn headers(&mut self, at: &At<'_>, method: &mut MethodPlan) {
        let mut parts = Vec::new();
        for (name, below) in self.notes.entries(at) {
            let is_token = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if name.is_empty() || name.len() > 64 || !name.chars().all(is_token) {
                self.notes.bad(&below, "this is no name of a header field");
                continue;
            }
            let Some(value) = self.notes.text(&below) else {
                continue;
            };
            let is_printable = value.chars().all(|c| c == ' ' || c.is_ascii_graphic());
            if !is_printable || value.trim() != value || value.len() > HEADER_BYTES_MAX {
                let why = "it takes printable ASCII characters, with no space at either end";
                self.notes.bad(&below, why);
                continue;
            }
            if crate::config::is_secret_header(&name) {
                let file = format!("{}.{}.header", self.resource, name.to_ascii_lowercase());
                let path = self.materials.own_secret(&mut self.notes, file, value);
                self.notes.translated(
                    &below,
                    format!("a header field whose value is in the file {path}"),
                );
                parts.push(format!("{} = {{ file = {} }}", key(&name), quote(&path)));
            } else {
                self.notes
                    .translated(&below, format!("custom.headers.{name}"));
                parts.push(format!("{} = {}", key(&name), quote(value)));
            }
        }
        if !parts.is_empty() {
            method.set("headers", format!("{{ {} }}", parts.join(", ")));
        }
    }

    fn x509(&mut self, fields: &Fields<'_>, settings: Option<&At<'_>>) -> Option<MethodPlan> {
        let mut method = MethodPlan::new("x509");
        let keys = &[
            "trustedClientCaCert|trustedClientCaCertConfigMap",
            "authorizationAttributes|attributes",
            "additionalValidation",
        ];
        let below = match settings {
            Some(at) => Some(self.notes.fields(at, keys)?),
            None => None,
        };
        let of = |key| below.as_ref().and_then(|below| below.get(key));
        let named = of("trustedClientCaCert");
        let (at, config_map) = match named {
            Some(at) => (at, super::objects::object_name(&mut self.notes, at)?),
            None => (&fields.at, "client-ca"),
        };
        let path = self.materials.authorities(
            &mut self.notes,
            at,
            config_map,
            self.namespace,
            AuthoritiesOf::Clients,
        );
        self.notes
            .translated(at, format!("x509.trust, the file {path}"));
        method
            .comments
            .push(format!("All certificates of the ConfigMap {config_map}."));
        method.set("trust", list([path.as_str()]));
        if let Some(at) = of("authorizationAttributes") {
            self.attributes(at, &mut method);
        }
        let Some(at) = of("additionalValidation") else {
            return Some(method);
        };
        match self
            .notes
            .word(at, &[("None", &[]), ("AzureDeviceRegistry", &[])])?
        {
            "None" => {
                self.notes.not_needed(at, "nothing further is asked");
                Some(method)
            }
            _ => {
                let why = "no registry is asked, so the method is left out rather than let disabled devices in; write it \
                     yourself, and lock devices out by revocation lists (`crls`)";
                self.notes.no_equivalent(at, why);
                None
            }
        }
    }

    fn attributes(&mut self, at: &At<'_>, method: &mut MethodPlan) {
        let is_older = matches!(&at.node.value, Value::Map(entries)
            if entries.len() == 1 && entries.iter().all(|entry| matches!(entry.node.value, Value::Text(_))));
        if is_older {
            self.attribute_file(at, method);
            return;
        }
        for (name, below) in self.notes.entries(at) {
            if name.is_empty() || !is_plain(&name) {
                self.notes.bad(&below, "this is no name");
                continue;
            }
            let Some(fields) = self.notes.fields(&below, &["subject", "attributes"]) else {
                continue;
            };
            let (Some(subject), Some(attributes)) =
                (fields.get("subject"), fields.get("attributes"))
            else {
                self.notes
                    .bad(&below, "it takes `subject` and `attributes`");
                continue;
            };
            let set = super::authorization::attributes(&mut self.notes, attributes);
            self.notes.translated(attributes, "x509.attributes");
            if let Some(typed) = self.notes.text(subject)
                && self.subject(subject, typed)
            {
                self.notes.translated(subject, "x509.attributes");
                method.tables.push((name, attribute_lines(typed, &set)));
            }
        }
    }

    /// Whether a text is a subject; if not, that is noted.
    fn subject(&mut self, at: &At<'_>, typed: &str) -> bool {
        let parsed = crate::policy::DistinguishedName::parse(typed);
        let is_right = parsed.is_ok() && is_plain(typed);
        if !is_right {
            let why = format!(
                "`{}` is no distinguished name, such as CN = Contoso Intermediate CA",
                shown_key(typed)
            );
            self.notes.bad(at, why);
        }
        is_right
    }

    /// The older shape: a Secret with a file.
    fn attribute_file(&mut self, at: &At<'_>, method: &mut MethodPlan) {
        const KEY: &str = "x509Attributes.toml";
        let Some(fields) = self.notes.fields(at, &["secretName|secretRef"]) else {
            return;
        };
        let Some(at) = fields.get("secretName") else {
            return;
        };
        let Some(secret) = super::objects::object_name(&mut self.notes, at) else {
            return;
        };
        let Some(text) = self.materials.secret_text(secret, KEY) else {
            let why = format!(
                "the Secret {secret} with `{KEY}` is not in the files; without it no client has attributes"
            );
            self.notes.unreadable(at, why);
            return;
        };
        match crate::config::parse_attribute_file(&text) {
            Ok(entries) => {
                for entry in entries {
                    let set: Vec<(String, String)> = entry
                        .attributes
                        .iter()
                        .map(|(name, value)| (name.to_string(), value.to_string()))
                        .collect();
                    if self.subject(at, &entry.subject) {
                        method
                            .tables
                            .push((entry.name, attribute_lines(&entry.subject, &set)));
                    }
                }
                self.notes.translated(at, "x509.attributes");
            }
            Err(fault) => {
                let why = format!("line {} of `{KEY}`: {}", fault.line, fault.text);
                self.notes.bad(at, why);
            }
        }
    }
}

fn attribute_lines(subject: &str, set: &[(String, String)]) -> Vec<(String, String)> {
    let set = set
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    vec![
        ("subject".to_owned(), quote(subject)),
        ("attributes".to_owned(), pairs(set)),
    ]
}

fn settings_of(kind: &str) -> &'static str {
    match kind {
        "Custom" => "customSettings",
        "ServiceAccountToken" => "serviceAccountTokenSettings",
        "X509" => "x509Settings",
        _ => "usernamePassword",
    }
}

fn word_of(kind: &str) -> &'static str {
    match kind {
        "Custom" => "custom",
        "ServiceAccountToken" => "service_account_token",
        "X509" => "x509",
        _ => "password",
    }
}
