//! Who may come in, and what they may do.

use serde_json::{Map, Value, json};

use super::Export;
use crate::config::{
    AuthenticationSettings, AuthorizationSettings, BackendSettings, CertificateIdentity,
    ClientIdBinding, CustomSettings, HeaderValue, HttpUrl, MethodSettings,
    ServiceAccountTokenSettings, TrustSource, WhenUnavailable, X509Settings,
};
use crate::mqtt::QoS;
use crate::policy::{DeniedPublish, Effect, Principals, Rule, WideSubscription};

impl Export<'_> {
    pub(super) fn authentication(&mut self, settings: &AuthenticationSettings) -> Value {
        let place = format!("authentication.{}", settings.name);
        if settings.client_id != ClientIdBinding::Any {
            let why = "clients choose their identifiers there; write rules with {principal.username} for Connect";
            self.note(format!("{place}.client_id"), why);
        }
        let mut methods = Vec::with_capacity(settings.methods.len());
        for method in &settings.methods {
            let place = format!("{place}.{}", method.key());
            let method = match method {
                MethodSettings::X509(x509) => self.x509(&place, x509),
                MethodSettings::ServiceAccountToken(token) => {
                    self.service_account_token(&place, token)
                }
                MethodSettings::Custom(custom) => self.custom(&place, custom),
                MethodSettings::Password(_) => {
                    self.note(
                        place,
                        "there are no users; a server of the method Custom can have them",
                    );
                    None
                }
                MethodSettings::Http(_) => {
                    self.note(place, "servers of mosquitto's plug-ins are not asked; one of the method Custom is");
                    None
                }
                MethodSettings::Anonymous(_) => {
                    self.note(place, "whoever has no credentials is refused there; a port without authenticationRef asks nobody");
                    None
                }
            };
            methods.extend(method);
        }
        if methods.is_empty() {
            self.note(place, "no method is left, so nobody can come in");
        }
        let spec = json!({"authenticationMethods": methods});
        self.resource("BrokerAuthentication", settings.name.as_str(), &spec)
    }

    /// None where certificates would be trusted or let in that are not here.
    fn x509(&mut self, place: &str, settings: &X509Settings) -> Option<Value> {
        let [TrustSource::Path(path)] = settings.trust.as_slice() else {
            let why = "the certificates of one ConfigMap are trusted; write those of `trust` into one file, that of the \
                 gateway by `fieldgate ca export-root`";
            self.note(format!("{place}.trust"), why);
            return None;
        };
        if !settings.crls.is_empty() {
            self.note(
                format!("{place}.crls"),
                "nothing is revoked there, so the method is left out",
            );
            return None;
        }
        if settings.identity != CertificateIdentity::CommonName {
            self.note(
                format!("{place}.identity"),
                "the user name is the common name there, so the method is left out",
            );
            return None;
        }
        let config_map = self.object(&format!("{place}.trust"), path)?;
        let mut x509 = json!({"trustedClientCaCert": config_map});
        if !settings.attributes.is_empty() {
            let attributes: Map<String, Value> = settings
                .attributes
                .iter()
                .map(|entry| {
                    let value = json!({"subject": entry.subject, "attributes": entry.attributes});
                    (entry.name.to_string(), value)
                })
                .collect();
            x509["authorizationAttributes"] = Value::Object(attributes);
        }
        Some(json!({"method": "X509", "x509Settings": x509}))
    }

    fn service_account_token(
        &mut self,
        place: &str,
        settings: &ServiceAccountTokenSettings,
    ) -> Option<Value> {
        if settings.api_server.is_some() || settings.token_file.is_some() {
            self.note(
                place,
                "`api_server` and `token_file`: the cluster broker asks the cluster that it is in",
            );
        }
        self.back_end(place, &settings.backend, false);
        let audiences = json!({"audiences": settings.audiences});
        Some(json!({"method": "ServiceAccountToken", "serviceAccountTokenSettings": audiences}))
    }

    fn custom(&mut self, place: &str, settings: &CustomSettings) -> Option<Value> {
        let server = &settings.server;
        let mut custom = json!({"endpoint": url(&server.url)});
        if let Some(ca) = &server.ca
            && let Some(config_map) = self.object(&format!("{place}.ca"), ca)
        {
            custom["caCertConfigMap"] = json!(config_map);
        }
        if let Some((cert, key)) = &server.client_certificate
            && let Some(secret) = self.key_pair(&format!("{place}.client_cert"), cert, key)
        {
            custom["auth"] = json!({"x509": {"secretRef": secret}});
        }
        let mut headers = Map::new();
        for (name, value) in &server.headers {
            match value {
                HeaderValue::Text(text) => {
                    headers.insert(name.to_string(), json!(text));
                }
                HeaderValue::File(_) => {
                    let why = "its value is in a file and stays there; the resource would show it to everybody";
                    self.note(format!("{place}.headers.{name}"), why);
                }
            }
        }
        if !headers.is_empty() {
            custom["headers"] = Value::Object(headers);
        }
        self.back_end(place, &settings.backend, true);
        Some(json!({"method": "Custom", "customSettings": custom}))
    }

    fn back_end(&mut self, place: &str, settings: &BackendSettings, is_custom: bool) {
        let mut plain = settings.clone();
        plain.when_unavailable = WhenUnavailable::Refuse;
        if plain != BackendSettings::default() {
            self.note(
                place,
                "times, retries and caches of the back end are fixed there",
            );
        }
        if is_custom && settings.when_unavailable == WhenUnavailable::Refuse {
            let why = "a server that does not answer has no say there: the next method is asked";
            self.note(format!("{place}.when_unavailable"), why);
        }
        if !is_custom && settings.when_unavailable == WhenUnavailable::NextMethod {
            let why = "a client whose token cannot be judged is refused there";
            self.note(format!("{place}.when_unavailable"), why);
        }
    }

    pub(super) fn authorization(&mut self, settings: &AuthorizationSettings) -> Value {
        let place = format!("authorization.{}", settings.name);
        if settings.http.is_some() {
            self.note(
                format!("{place}.http"),
                "nobody else is asked about topics, so more is denied there",
            );
        }
        if settings.rules.denied_publish == DeniedPublish::Disconnect {
            self.note(
                format!("{place}.denied_publish"),
                "what a client may not publish is acknowledged and dropped there",
            );
        }
        if settings.rules.wide_subscription == WideSubscription::Narrow {
            self.note(
                format!("{place}.wide_subscription"),
                "a subscription that is too wide is refused there",
            );
        }
        let denies = |rule: &Rule| rule.effect == Effect::Deny;
        let rules = &settings.rules.rules;
        let rules: Vec<Value> = if rules.iter().any(denies) {
            if !rules.iter().all(denies) {
                let why = "there are no rules that deny, so everything is denied: write what is allowed without them";
                self.note(&place, why);
            }
            Vec::new()
        } else {
            rules.iter().filter_map(|rule| self.rule(rule)).collect()
        };
        let spec = json!({"authorizationPolicies": {"cache": "Enabled", "rules": rules}});
        self.resource("BrokerAuthorization", settings.name.as_str(), &spec)
    }

    /// None where the rule would allow more than it does here.
    fn rule(&mut self, rule: &Rule) -> Option<Value> {
        let place = rule.place.to_string();
        let is_narrowed = rule.qos != QoS::ExactlyOnce
            || !rule.retain
            || rule.message_rate_max.is_some()
            || rule.byte_rate_max.is_some();
        if is_narrowed {
            let why = "rules have no `qos`, `retain` and rates there, so this one is left out";
            self.note(place, why);
            return None;
        }
        let principals = match &rule.principals {
            Principals::Everyone => {
                let why = "a rule names whom it is about there, so this one is left out: give all clients an attribute";
                self.note(place, why);
                return None;
            }
            Principals::Listed {
                usernames,
                client_ids,
                attributes,
            } => {
                let mut principals = Map::new();
                if !usernames.is_empty() {
                    principals.insert("usernames".to_owned(), json!(usernames));
                }
                if !client_ids.is_empty() {
                    principals.insert("clientIds".to_owned(), json!(client_ids));
                }
                if !attributes.is_empty() {
                    principals.insert("attributes".to_owned(), json!(attributes));
                }
                principals
            }
        };
        let mut resources = Vec::new();
        let connect: Vec<&str> = rule
            .connect
            .iter()
            .map(|pattern| pattern.as_str())
            .collect();
        match connect.as_slice() {
            [] => {}
            ["*"] => resources.push(json!({"method": "Connect"})),
            connect => resources.push(json!({"method": "Connect", "clientIds": connect})),
        }
        for (method, topics) in [("Publish", &rule.publish), ("Subscribe", &rule.subscribe)] {
            let topics: Vec<&str> = topics.iter().map(|pattern| pattern.as_str()).collect();
            if !topics.is_empty() {
                resources.push(json!({"method": method, "topics": topics}));
            }
        }
        Some(json!({"principals": principals, "brokerResources": resources}))
    }
}

fn url(url: &HttpUrl) -> String {
    let host = if url.host.contains(':') {
        format!("[{}]", url.host)
    } else {
        url.host.to_string()
    };
    let port = if url.port == 443 {
        String::new()
    } else {
        format!(":{}", url.port)
    };
    let path = if &*url.path == "/" { "" } else { &url.path };
    format!("https://{host}{port}{path}")
}
