//! Floor 2: the configuration file. Raw TOML in, [`Settings`] or a report of all faults out.
//!
//! Only this module reads configuration. What it hands out cannot hold bad input: each type here can be built only from
//! text that was checked, and a file is taken whole or not at all.
//!
//! A file passes through two forms. The first is what was typed, with the place of each key and value (`tree`, `syntax`,
//! `merge`); the second is what the gateway runs on (`settings`), made from it by `resolve`. What a file may hold is said
//! once, in `schema` and the `…_keys` modules; the reader, the hints and the reference manual all follow these.

mod access;
mod access_conflicts;
mod address;
mod authentication;
mod authentication_keys;
mod authorization;
mod authorization_keys;
mod backend;
mod certificate;
mod certificate_names;
mod conflicts;
mod discovery;
mod est;
mod est_keys;
mod explain;
mod faults;
mod kubernetes;
mod kubernetes_keys;
mod limit_keys;
mod lists;
mod load;
mod manual;
mod merge;
mod names;
mod nearest;
mod network;
mod port_keys;
mod protection;
mod reader;
mod report;
mod resolve;
mod schema;
mod secrets;
mod settings;
mod setup_file;
mod source;
mod syntax;
#[cfg(test)]
mod tests;
mod texts;
mod tree;
mod units;
mod url;
mod user_file;
mod value;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use access::{
    AnonymousSettings, Authentication, AuthenticationSettings, Authorization,
    AuthorizationSettings, BackendSettings, CertificateIdentity, ClientIdBinding, CustomSettings,
    HeaderValue, HttpMethod, HttpParams, HttpProtocol, HttpResponse, HttpServer, HttpSettings,
    HttpUrl, MethodSettings, Network, PasswordSettings, ProtectionSettings,
    ServiceAccountTokenSettings, SubjectAttributes, TrustSource, UnknownUser, WhenUnavailable,
    X509Settings,
};
pub use certificate_names::{DnsName, KeyAlgorithm};
pub use manual::reference;
pub use merge::LEFT_OUT;
pub use names::{
    GatewayName, InstanceName, InterfaceName, ListenerName, MountPoint, NameFault, ResourceName,
    ServiceName, SocketName, WebSocketPath,
};
pub(crate) use nearest::{nearest, same};
pub use network::NetworkFault;
pub use report::{Fault, FaultCode, Paint, Place, Related, Report, Severity};
pub(crate) use secrets::{is_secret, is_secret_header};
pub use settings::{
    AdminSettings, AutomaticCertificate, CaSettings, DiscoverySettings, Endpoint, EstSettings,
    GatewaySettings, KubernetesSettings, ListenerSettings, LogFormat, LogLevel, LogSettings,
    PortSettings, Protocol, RotationPolicy, ServiceType, Settings, StoreSettings, TlsMode,
    TlsSettings, TlsVersion,
};
pub use url::UrlFault;

pub use user_file::{
    AttributeFileEntry, UserFileEntry, UserFileFault, parse_attribute_file, parse_user_file,
};

pub use setup_file::{
    SetupAutomatic, SetupCertificate, SetupFault, SetupFile, SetupPort, SetupTls, SetupUser,
};

/// The commented default file; what a gateway without a file runs on.
pub const DEFAULT_TEXT: &str = include_str!("../../config/gateway.toml");

/// A configuration that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What the gateway runs on.
    pub settings: Settings,
    /// What is legal and probably not meant.
    pub warnings: Vec<Fault>,
    /// Every file that was read, the main one first; empty for the embedded default.
    pub sources: Vec<PathBuf>,
}

/// Loads a configuration: the main file with `conf.d/*.toml` beside it laid over it in the order of their names, or the
/// embedded default where no file is named.
pub fn load(main: Option<&Path>) -> Result<Loaded, Report> {
    load::load(main)
}

/// A duration as the configuration has it: `30d`, `1h30m`.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    units::parse_time(text).ok().map(Duration::from_millis)
}

/// As [`load()`], with a file that is not there yet: the main file itself or one of `conf.d`.
pub fn load_with(main: &Path, added: &Path, text: &str) -> Result<Loaded, Report> {
    load::load_with(main, added, text)
}

/// As [`load()`], with a text laid over everything else, which reports call by the name `added`. Its listeners take the places
/// of those with their names.
pub fn load_over(main: &Path, added: &Path, text: &str) -> Result<Loaded, Report> {
    load::load_over(main, added, text)
}

/// Loads a configuration from one text, which reports call `gateway.toml`.
pub fn parse(text: &str) -> Result<Settings, Report> {
    load::load_text(Path::new("gateway.toml"), text).map(|loaded| loaded.settings)
}
