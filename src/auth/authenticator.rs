//! The chain of methods of `[authentication.NAME]`.

use std::sync::Arc;
use std::time::Instant;

use super::anonymous::Anonymous;
use super::custom::Custom;
use super::http::HttpUsers;
use super::password::Password;
use super::service_account_token::ServiceAccountToken;
use super::x509::{ClientTrust, X509};
use super::{
    Acceptance, Access, BackendReport, Challenge, Credential, Credentials, Exchange, Outcome,
    Refused, Standing, State, Unavailable,
};
use crate::config::{AuthenticationSettings, ClientIdBinding, MethodSettings, WhenUnavailable};
use crate::mqtt::ReasonCode;
use crate::policy::Principal;

/// What a client has proven, and to whom.
#[derive(Clone, Copy, Debug)]
pub struct Proof<'a> {
    /// What it has proven.
    pub credential: &'a Credential,
    /// Who it is.
    pub principal: &'a Principal,
    /// The client identifier that it has sent; empty if the broker gave it one.
    pub client_id: &'a str,
    /// The method that accepted it.
    pub method: &'a str,
    /// The chain that accepted it.
    pub accepted_by: &'a Authenticator,
}

/// Who says who a client is: methods that are asked in order, the first one that knows the credentials decides.
#[derive(Debug)]
pub struct Authenticator {
    /// Nobody is asked: every client is served, whatever user name and password it sends. Enhanced authentication is
    /// refused, because the client would take our silence for proof of who we are.
    is_open: bool,
    methods: Vec<Method>,
    settings: Vec<MethodSettings>,
    client_id: ClientIdBinding,
}

#[derive(Debug)]
enum Method {
    Password(Password),
    X509(X509),
    ServiceAccountToken(ServiceAccountToken),
    Custom(Custom),
    Http(HttpUsers),
    Anonymous(Anonymous),
    /// Follows a script.
    #[cfg(test)]
    Scripted(super::scripted::Script),
}

impl Authenticator {
    /// `authentication = "none"`.
    #[must_use]
    pub fn none() -> Self {
        Self {
            is_open: true,
            methods: Vec::new(),
            settings: Vec::new(),
            client_id: ClientIdBinding::Any,
        }
    }

    /// One that follows a script.
    #[cfg(test)]
    pub fn scripted(script: super::scripted::Script) -> Self {
        Self {
            is_open: false,
            methods: vec![Method::Scripted(script)],
            settings: Vec::new(),
            client_id: ClientIdBinding::Any,
        }
    }

    /// The chain that the settings ask for, with the means of `access`.
    #[must_use]
    pub fn new(settings: &AuthenticationSettings, access: &Access) -> Self {
        let methods = settings.methods.iter();
        Self {
            is_open: false,
            methods: methods.map(|method| Method::new(method, access)).collect(),
            settings: settings.methods.clone(),
            client_id: settings.client_id,
        }
    }

    /// Judges credentials.
    pub async fn begin(&self, credentials: Credentials<'_>) -> Outcome {
        if self.is_open {
            return match credentials.method {
                Some(_) => no_such_method(),
                None => Outcome::Accepted(Principal::default().into()),
            };
        }
        let mut unavailable = None;
        for (place, method) in self.methods.iter().enumerate() {
            match method.begin(&credentials).await {
                Outcome::NotMine => {}
                Outcome::Unavailable(fault)
                    if method.when_unavailable() == WhenUnavailable::NextMethod =>
                {
                    unavailable.get_or_insert(Unavailable {
                        method: method.name(),
                        ..fault
                    });
                }
                outcome => return self.finish(place, outcome, credentials.client_id),
            }
        }
        match unavailable {
            Some(fault) => Outcome::Unavailable(fault),
            None if credentials.method.is_some() => no_such_method(),
            None => Outcome::NotMine,
        }
    }

    /// Goes on with an exchange when the client has answered with `data`.
    pub async fn resume(&self, exchange: Exchange, data: Option<&[u8]>) -> Outcome {
        let Exchange {
            method: place,
            state,
        } = exchange;
        let Some(method) = self.methods.get(place) else {
            return Outcome::NotMine;
        };
        let outcome = method.resume(state, data).await;
        // Bound to the identity with the first answer; only that one names a client identifier.
        self.finish(place, outcome, "")
    }

    /// Whether a credential that was accepted is still good, and who its client is now.
    #[must_use]
    pub fn review(&self, proof: &Proof<'_>) -> Standing {
        if !self.allows_client_id(proof.client_id, &proof.principal.username) {
            return Standing::Gone("The client identifier is not that of the identity");
        }
        match self.method(proof.method) {
            Some(_) if !self.asks_as(proof.accepted_by, proof.method) => {
                Standing::Gone("The port asks somebody else now")
            }
            Some(found) => found.review(proof.credential, proof.principal),
            None if self.is_open && proof.method.is_empty() => Standing::Same,
            None => Standing::Gone("The port does not take this kind of credential any more"),
        }
    }

    /// When a credential ends now, where that can be moved while its client is connected.
    #[must_use]
    pub fn end(&self, proof: &Proof<'_>) -> Option<Option<Instant>> {
        match self.method(proof.method)? {
            Method::Password(method) => Some(method.end(proof.principal)),
            Method::X509(method) => method.end(proof.credential),
            _ => None,
        }
    }

    /// Whether a method asks the same server about the same as that of another chain. Those that ask nobody look at what the
    /// client has proven by themselves.
    fn asks_as(&self, former: &Self, method: &str) -> bool {
        let settings = |chain: &'_ Self| {
            let found = chain.settings.iter().find(|known| known.key() == method);
            found.cloned()
        };
        match (settings(self), settings(former)) {
            (
                Some(MethodSettings::ServiceAccountToken(now)),
                Some(MethodSettings::ServiceAccountToken(then)),
            ) => {
                let mut audiences = then.audiences.iter();
                now.api_server == then.api_server
                    && audiences.all(|audience| now.audiences.contains(audience))
            }
            (Some(MethodSettings::Custom(now)), Some(MethodSettings::Custom(then))) => {
                now.server.url == then.server.url && now.server.ca == then.server.ca
            }
            (Some(MethodSettings::Http(now)), Some(MethodSettings::Http(then))) => {
                now.server.url == then.server.url
                    && now.server.ca == then.server.ca
                    && now.getuser_path == then.getuser_path
            }
            _ => true,
        }
    }

    fn method(&self, name: &str) -> Option<&Method> {
        self.methods.iter().find(|method| method.name() == name)
    }

    /// Whose certificates the TLS handshake takes; `None` if clients are not asked for any.
    #[must_use]
    pub fn client_trust(&self) -> Option<Arc<ClientTrust>> {
        self.methods.iter().find_map(|method| match method {
            Method::X509(method) => Some(method.trust()),
            _ => None,
        })
    }

    /// What the back ends of the chain have been asked.
    #[must_use]
    pub fn back_ends(&self) -> Vec<BackendReport> {
        let reports = self.methods.iter().filter_map(|method| match method {
            Method::ServiceAccountToken(method) => Some(method.report()),
            Method::Custom(method) => Some(method.report()),
            Method::Http(method) => Some(method.report()),
            _ => None,
        });
        reports.collect()
    }

    /// How client identifiers are bound to identities.
    #[must_use]
    pub fn client_id_binding(&self) -> ClientIdBinding {
        self.client_id
    }

    /// Names the method in what it has said, and binds the client identifier.
    fn finish(&self, place: usize, outcome: Outcome, client_id: &str) -> Outcome {
        let name = self.methods.get(place).map_or("", Method::name);
        match outcome {
            Outcome::Accepted(acceptance)
                if !self.allows_client_id(client_id, &acceptance.principal.username) =>
            {
                Outcome::Refused(Refused {
                    method: name,
                    ..Refused::new(
                        ReasonCode::ClientIdentifierNotValid,
                        "the client identifier is not that of the identity",
                    )
                })
            }
            Outcome::Accepted(acceptance) => Outcome::Accepted(Acceptance {
                method: name,
                ..acceptance
            }),
            Outcome::Refused(refused) => Outcome::Refused(Refused {
                method: name,
                ..refused
            }),
            Outcome::Unavailable(fault) => Outcome::Unavailable(Unavailable {
                method: name,
                ..fault
            }),
            Outcome::Continue(Challenge { data, exchange }) => Outcome::Continue(Challenge {
                data,
                exchange: Exchange {
                    method: place,
                    ..exchange
                },
            }),
            Outcome::NotMine => Outcome::NotMine,
        }
    }

    /// An empty client identifier is one that the broker assigns, as the binding asks.
    fn allows_client_id(&self, client_id: &str, username: &str) -> bool {
        match self.client_id {
            _ if client_id.is_empty() => true,
            ClientIdBinding::Any => true,
            ClientIdBinding::Username => client_id == username,
            ClientIdBinding::UsernamePrefix => {
                let rest = client_id.strip_prefix(username);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
            }
        }
    }
}

fn no_such_method() -> Outcome {
    let sentence = "the port does not know the authentication method";
    Refused::new(ReasonCode::BadAuthenticationMethod, sentence).into()
}

impl Method {
    fn new(settings: &MethodSettings, access: &Access) -> Self {
        match settings {
            MethodSettings::Password(settings) => Self::Password(Password::new(settings, access)),
            MethodSettings::X509(settings) => Self::X509(X509::new(settings, access)),
            MethodSettings::ServiceAccountToken(settings) => {
                Self::ServiceAccountToken(ServiceAccountToken::new(settings))
            }
            MethodSettings::Custom(settings) => Self::Custom(Custom::new(settings)),
            MethodSettings::Http(settings) => Self::Http(HttpUsers::new(settings)),
            MethodSettings::Anonymous(settings) => Self::Anonymous(Anonymous::new(settings)),
        }
    }

    /// The key of the configuration.
    fn name(&self) -> &'static str {
        match self {
            Self::Password(_) => "password",
            Self::X509(_) => "x509",
            Self::ServiceAccountToken(_) => "service_account_token",
            Self::Custom(_) => "custom",
            Self::Http(_) => "http",
            Self::Anonymous(_) => "anonymous",
            #[cfg(test)]
            Self::Scripted(_) => "scripted",
        }
    }

    async fn begin(&self, credentials: &Credentials<'_>) -> Outcome {
        match self {
            Self::Password(method) => method.begin(credentials).await,
            Self::X509(method) => method.begin(credentials),
            Self::ServiceAccountToken(method) => method.begin(credentials).await,
            Self::Custom(method) => method.begin(credentials).await,
            Self::Http(method) => method.begin(credentials).await,
            Self::Anonymous(method) => method.begin(credentials),
            #[cfg(test)]
            Self::Scripted(script) => script.begin(*credentials),
        }
    }

    async fn resume(&self, state: State, data: Option<&[u8]>) -> Outcome {
        match (self, state) {
            (Self::Custom(method), State::Again(again)) => method.resume(again, data).await,
            (Self::ServiceAccountToken(method), State::Again(again)) => {
                method.resume(again, data).await
            }
            #[cfg(test)]
            (_, State::Scripted(progress)) => progress.resume(data),
            _ => Outcome::NotMine,
        }
    }

    fn review(&self, credential: &Credential, principal: &Principal) -> Standing {
        match self {
            Self::Password(method) => method.review(credential, principal),
            Self::X509(method) => method.review(credential, principal),
            Self::Anonymous(method) => method.review(principal),
            // These cannot be asked again without the secret; their answers end with their time.
            Self::ServiceAccountToken(_) | Self::Custom(_) | Self::Http(_) => Standing::Same,
            #[cfg(test)]
            Self::Scripted(_) => Standing::Same,
        }
    }

    fn when_unavailable(&self) -> WhenUnavailable {
        match self {
            Self::ServiceAccountToken(method) => method.when_unavailable(),
            Self::Custom(method) => method.when_unavailable(),
            Self::Http(method) => method.when_unavailable(),
            Self::Password(_) | Self::X509(_) | Self::Anonymous(_) => WhenUnavailable::Refuse,
            #[cfg(test)]
            Self::Scripted(_) => WhenUnavailable::Refuse,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_authentication_everybody_is_served() {
        let credentials = Credentials {
            client_id: "a",
            username: Some("nobody"),
            password: Some(b"secret"),
            ..Credentials::default()
        };
        let none = Authenticator::none();
        let Outcome::Accepted(acceptance) = none.begin(credentials).await else {
            panic!("not served");
        };
        assert_eq!(*acceptance.principal, Principal::default());
        assert!(!format!("{credentials:?}").contains("secret"));
    }

    #[tokio::test]
    async fn without_authentication_there_are_no_methods() {
        let credentials = Credentials {
            method: Some("SCRAM-SHA-256"),
            ..Credentials::default()
        };
        let outcome = Authenticator::none().begin(credentials).await;
        let Outcome::Refused(refused) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(refused.reason, ReasonCode::BadAuthenticationMethod);
    }
}
