//! Who may connect and what they may do: `[authentication.NAME]`, `[authorization.NAME]` and `[protection]`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::names::ResourceName;
use crate::policy::RuleSet;

/// Who the clients of a port must prove to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// `"none"`: nobody is asked, every client is served.
    None,
    /// What `[authentication.NAME]` says.
    Named(Arc<AuthenticationSettings>),
}

/// What the clients of a port may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// `"none"`: everything.
    None,
    /// What `[authorization.NAME]` says.
    Named(Arc<AuthorizationSettings>),
}

/// `[authentication.NAME]`: methods that are tried in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticationSettings {
    /// The name that ports refer to.
    pub name: ResourceName,
    /// At least one; each kind at most once.
    pub methods: Vec<MethodSettings>,
    /// How the client identifier is bound to the identity.
    pub client_id: ClientIdBinding,
}

/// How a client identifier is bound to who the client is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientIdBinding {
    /// Not at all.
    #[default]
    Any,
    /// It is the user name.
    Username,
    /// It is the user name, or begins with the user name and a hyphen.
    UsernamePrefix,
}

/// One method of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MethodSettings {
    /// Users of the local database.
    Password(PasswordSettings),
    /// Certificates of the TLS handshake.
    X509(X509Settings),
    /// Tokens of Kubernetes service accounts.
    ServiceAccountToken(ServiceAccountTokenSettings),
    /// An HTTPS server that speaks the protocol of the cluster broker's custom authentication.
    Custom(CustomSettings),
    /// An HTTP server as mosquitto's plug-ins ask it.
    Http(HttpSettings),
    /// Everybody, under one name.
    Anonymous(AnonymousSettings),
}

impl MethodSettings {
    /// The word of the configuration.
    #[must_use]
    pub fn key(&self) -> &'static str {
        match self {
            Self::Password(_) => "password",
            Self::X509(_) => "x509",
            Self::ServiceAccountToken(_) => "service_account_token",
            Self::Custom(_) => "custom",
            Self::Http(_) => "http",
            Self::Anonymous(_) => "anonymous",
        }
    }
}

/// `[authentication.NAME.password]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PasswordSettings {
    /// What happens to a client with a user name that the database does not have.
    pub unknown_user: UnknownUser,
}

/// What happens to a client whose user name is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownUser {
    /// It is refused, after as much work as for a wrong password.
    #[default]
    Refuse,
    /// The next method of the chain is asked.
    NextMethod,
}

/// What happens when a back end cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenUnavailable {
    /// The client is told to try again: Server unavailable (0x88).
    #[default]
    Refuse,
    /// The next method of the chain is asked; if none accepts, the client is told to try again.
    NextMethod,
}

/// `[authentication.NAME.x509]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct X509Settings {
    /// Whose certificates are trusted; at least one.
    pub trust: Vec<TrustSource>,
    /// PEM or DER files with revocation lists, or folders of them.
    pub crls: Vec<PathBuf>,
    /// What the user name of a client is.
    pub identity: CertificateIdentity,
    /// Attributes by subject, in the order of the file.
    pub attributes: Vec<SubjectAttributes>,
}

/// Where trusted certificates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustSource {
    /// `"device-ca"`: the authority of this gateway.
    DeviceCa,
    /// A PEM file, or a folder of PEM files. All certificates in it are trusted, roots and intermediates.
    Path(PathBuf),
}

/// Which part of a certificate is the user name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CertificateIdentity {
    /// Common name of the subject.
    #[default]
    CommonName,
    /// The whole subject, as RFC 4514 writes it.
    Subject,
    /// First DNS name among the alternative names.
    SanDns,
    /// First URI among the alternative names.
    SanUri,
    /// First e-mail address among the alternative names.
    SanEmail,
}

/// `[authentication.NAME.x509.attributes.NAME]`: attributes of clients in whose chain a subject is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectAttributes {
    /// For people.
    pub name: Box<str>,
    /// A distinguished name such as `CN = Contoso Intermediate CA`.
    pub subject: Box<str>,
    /// What such clients have.
    pub attributes: BTreeMap<Box<str>, Box<str>>,
}

/// How a back end is asked, whatever it speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendSettings {
    /// Time for one answer, connecting included.
    ///
    /// Default 5 s: half of what most clients wait for their CONNACK, and more than a server that works takes.
    pub timeout: Duration,
    /// Questions under way at one time; more wait within their time.
    ///
    /// Default 16: a site that comes back after a power cut is served in seconds, and a small server is not run over.
    pub concurrency_max: u32,
    /// Times that a question is asked again after an error.
    ///
    /// Default 1: an answer that was lost is asked for again, and a client is told in time that nobody can tell.
    pub retries: u32,
    /// Errors in a row after which the back end is not asked for a while.
    ///
    /// Default 5: one answer that was lost closes nothing, and a server that is gone is noticed within a few clients.
    pub breaker_errors: u32,
    /// That while.
    ///
    /// Default 10 s: long enough for a server to start again without a crowd at its door, short enough for a technician to wait.
    pub breaker_pause: Duration,
    /// For how long an acceptance is remembered; zero for not at all.
    ///
    /// Default 0 s: whoever is locked out at the server is locked out here; of topics it is 5 min, as in mosquitto-auth-plug.
    pub cache_time: Duration,
    /// For how long a refusal is remembered.
    ///
    /// Default 3 s: a client that tries again at once costs nothing, and one that was just let in waits for no longer.
    pub negative_cache_time: Duration,
    /// What happens when it cannot be asked.
    pub when_unavailable: WhenUnavailable,
}

impl BackendSettings {
    /// Default of `cache_time` for answers about topics.
    pub const ACL_CACHE_TIME: Duration = Duration::from_secs(300);
}

impl Default for BackendSettings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            concurrency_max: 16,
            retries: 1,
            breaker_errors: 5,
            breaker_pause: Duration::from_secs(10),
            cache_time: Duration::ZERO,
            negative_cache_time: Duration::from_secs(3),
            when_unavailable: WhenUnavailable::Refuse,
        }
    }
}

/// Where and how an HTTP server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpServer {
    /// `https://host:port/path` or `http://host:port/path`.
    pub url: HttpUrl,
    /// PEM file with the authorities that the server may have its certificate from; those of the system where absent.
    pub ca: Option<PathBuf>,
    /// PEM files with the certificate that the gateway presents, and its key.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// Further header fields; a value is given itself or by the file that it is in.
    pub headers: BTreeMap<Box<str>, HeaderValue>,
}

/// A checked absolute URL of an HTTP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl {
    /// Whether it begins with `https`.
    pub is_tls: bool,
    /// Host name or address, an IPv6 address without brackets.
    pub host: Box<str>,
    /// Port, 443 or 80 where none is written.
    pub port: u16,
    /// Path and query, `/` where none is written.
    pub path: Box<str>,
}

/// The value of a header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderValue {
    /// As it is written.
    Text(Box<str>),
    /// The first line of a file, so that a secret does not stand in the configuration.
    File(PathBuf),
}

/// `[authentication.NAME.service_account_token]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccountTokenSettings {
    /// Audiences of which a token must have one; at least one.
    pub audiences: Vec<Box<str>>,
    /// The API server of the cluster; found as every pod finds it where absent.
    pub api_server: Option<HttpServer>,
    /// File with the token that the gateway itself presents; that of its service account where absent.
    pub token_file: Option<PathBuf>,
    /// How it is asked.
    pub backend: BackendSettings,
}

/// `[authentication.NAME.custom]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomSettings {
    /// The server; always with TLS.
    pub server: HttpServer,
    /// How it is asked.
    pub backend: BackendSettings,
}

/// `[authentication.NAME.http]` and `[authorization.NAME.http]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// The server; the path of its URL is put in front of the three below.
    pub server: HttpServer,
    /// Which of the plug-ins' protocols it speaks.
    pub protocol: HttpProtocol,
    /// Path of the question whether a user has this password. Only for authentication.
    pub getuser_path: Option<Box<str>>,
    /// Path of the question whether a user may do everything.
    pub superuser_path: Option<Box<str>>,
    /// Path of the question whether a user may read or write a topic. Only for authorization.
    pub aclcheck_path: Option<Box<str>>,
    /// User names that may do everything without a question; `*` and `?` are wildcards.
    pub superusers: Vec<Box<str>>,
    /// How it is asked.
    pub backend: BackendSettings,
}

/// What an HTTP back end speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpProtocol {
    /// mosquitto-auth-plug: form posts with five fields, answers by status.
    AuthPlug,
    /// mosquitto-go-auth.
    GoAuth {
        /// How questions are written.
        params: HttpParams,
        /// How answers are read.
        response: HttpResponse,
        /// The method of requests.
        method: HttpMethod,
    },
}

/// How questions are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpParams {
    /// One JSON object.
    #[default]
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
}

/// How answers are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpResponse {
    /// By the status alone.
    #[default]
    Status,
    /// `{"ok":true,"error":""}` with a status of 2xx.
    Json,
    /// The text `ok`.
    Text,
}

/// The method of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpMethod {
    /// POST
    #[default]
    Post,
    /// GET, with JSON in the body as the plug-in sends it, and a form in the query.
    Get,
    /// PUT
    Put,
}

/// `[authentication.NAME.anonymous]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnonymousSettings {
    /// The name of everybody.
    pub username: Box<str>,
    /// The attributes of everybody.
    pub attributes: BTreeMap<Box<str>, Box<str>>,
}

/// `[authorization.NAME]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationSettings {
    /// The name that ports refer to.
    pub name: ResourceName,
    /// The rules.
    pub rules: Arc<RuleSet>,
    /// Who is asked about what no rule decides.
    pub http: Option<HttpSettings>,
}

/// `[protection]`: what repeated failures lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtectionSettings {
    /// Failed logins of one address within `failure_window` after which it is banned.
    ///
    /// Default 10: a person who tries what comes to mind is not banned, and a program that guesses is within a second.
    pub failures_per_address_max: u32,
    /// Failed logins with one user name within `failure_window` after which the name is banned for addresses that it has
    /// not logged in from.
    ///
    /// Default 20: devices that share a name and were given a new password one after the other do not ban each other.
    pub failures_per_username_max: u32,
    /// Time after which a failure is forgotten.
    ///
    /// Default 5 min: a device with a wrong password that tries once a minute is not banned.
    pub failure_window: Duration,
    /// The first ban; each further one is twice as long.
    ///
    /// Default 1 min: too short to drive a technician to the site, and it makes a guess cost 6 s.
    pub ban_time: Duration,
    /// The longest ban.
    ///
    /// Default 1 h: a guess costs minutes from then on, and an address that was given to somebody else is free the same day.
    pub ban_time_max: Duration,
    /// Networks whose addresses are never banned, and whose refusals are never held back.
    pub never_banned: Vec<Network>,
    /// Rows of the audit log in the database.
    ///
    /// Default 10,000: the last weeks of a quiet site, in a few megabytes.
    pub audit_rows_max: u32,
}

impl Default for ProtectionSettings {
    fn default() -> Self {
        Self {
            failures_per_address_max: 10,
            failures_per_username_max: 20,
            failure_window: Duration::from_secs(300),
            ban_time: Duration::from_secs(60),
            ban_time_max: Duration::from_secs(3600),
            never_banned: Vec::new(),
            audit_rows_max: 10_000,
        }
    }
}

/// Addresses with a common beginning, `192.168.1.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The address; bits beyond the prefix are zero.
    pub address: IpAddr,
    /// Length of the prefix in bits.
    pub prefix: u8,
}

impl Network {
    /// Whether an address is in the network.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let bits = |address: IpAddr| match address.to_canonical() {
            IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 4),
            IpAddr::V6(address) => (address.to_bits(), 6),
        };
        let ((own, family), (other, other_family)) = (bits(self.address), bits(address));
        let different = own ^ other;
        let outside = 128_u32.saturating_sub(u32::from(self.prefix));
        family == other_family && different.checked_shr(outside).unwrap_or(0) == 0
    }
}
