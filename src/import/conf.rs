//! What a mosquitto.conf says, before it is translated.

use std::path::PathBuf;

use super::report::Spot;

/// A value with the line that it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) spot: Spot,
}

/// A whole configuration.
#[derive(Clone, Debug, Default)]
pub(super) struct Conf {
    /// What stands before the first `listener` and is about a listener.
    pub(super) default_listener: Listener,
    pub(super) listeners: Vec<Listener>,
    pub(super) per_listener_settings: bool,
    /// What holds for all listeners, unless `per_listener_settings` is on.
    pub(super) security: Security,
    pub(super) bridges: Vec<Bridge>,
    /// Keys of `[limits]`.
    pub(super) limits: Vec<(String, String)>,
    pub(super) log_level: Option<LogLevel>,
    /// Beginnings of client identifiers that are let in.
    pub(super) clientid_prefixes: Vec<String>,
    /// Whether somebody said when sessions of clients that are away end.
    pub(super) has_session_expiry: bool,
}

/// How much is written down, from little to much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

/// A `listener`.
#[derive(Clone, Debug, Default)]
pub(super) struct Listener {
    pub(super) spot: Spot,
    /// The line that it begins with.
    pub(super) line: String,
    pub(super) port: Option<u16>,
    pub(super) host: Option<At<String>>,
    pub(super) socket: Option<PathBuf>,
    pub(super) interface: Option<String>,
    pub(super) socket_domain: Option<String>,
    pub(super) is_websocket: bool,
    /// Why there is no such port here.
    pub(super) refused: Option<String>,
    pub(super) mount_point: Option<At<String>>,
    pub(super) proxy_protocol: bool,
    pub(super) tls: Tls,
    pub(super) security: Security,
    pub(super) client_id_is_username: bool,
    /// Keys of the `limits` of the port.
    pub(super) limits: Vec<(String, String)>,
}

/// The TLS settings of a listener.
#[derive(Clone, Debug, Default)]
pub(super) struct Tls {
    pub(super) certfile: Option<PathBuf>,
    pub(super) keyfile: Option<PathBuf>,
    pub(super) cafile: Option<PathBuf>,
    pub(super) capath: Option<PathBuf>,
    pub(super) crlfile: Option<PathBuf>,
    pub(super) is_1_3_only: bool,
    pub(super) require_certificate: Option<Spot>,
    pub(super) identity: Option<&'static str>,
}

/// Who may come in and what they may do.
#[derive(Clone, Debug, Default)]
pub(super) struct Security {
    pub(super) allow_anonymous: Option<At<bool>>,
    pub(super) password_file: Option<At<PathBuf>>,
    pub(super) acl_file: Option<At<PathBuf>>,
    pub(super) plugins: Vec<Plugin>,
}

/// A plug-in with its options.
#[derive(Clone, Debug, Default)]
pub(super) struct Plugin {
    pub(super) spot: Spot,
    /// The line that names it.
    pub(super) line: String,
    /// Path of its library.
    pub(super) path: String,
    pub(super) options: Vec<PluginOption>,
}

/// An `auth_opt_…` or `plugin_opt_…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PluginOption {
    pub(super) spot: Spot,
    /// The line without secrets.
    pub(super) line: String,
    /// Its name without `auth_opt_`.
    pub(super) name: String,
    pub(super) value: String,
}

impl Listener {
    /// Whether anything but the defaults was said about how it listens; mosquitto opens the default listener then, on its
    /// usual port.
    pub(super) fn is_described(&self) -> bool {
        let tls = &self.tls;
        self.port.is_some()
            || self.host.is_some()
            || self.interface.is_some()
            || self.socket_domain.is_some()
            || self.is_websocket
            || self.refused.is_some()
            || self.mount_point.is_some()
            || self.proxy_protocol
            || self.client_id_is_username
            || !self.limits.is_empty()
            || tls.require_certificate.is_some()
            || tls.identity.is_some()
            || [
                &tls.certfile,
                &tls.keyfile,
                &tls.cafile,
                &tls.capath,
                &tls.crlfile,
            ]
            .iter()
            .any(|file| file.is_some())
    }
}

impl Plugin {
    /// The value of an option; the last one counts.
    pub(super) fn option(&self, name: &str) -> Option<&str> {
        let mut options = self.options.iter().rev();
        let found = options.find(|option| option.name == name);
        found.map(|option| option.value.as_str())
    }
}

/// A `connection`, to be told whole.
#[derive(Clone, Debug)]
pub(super) struct Bridge {
    pub(super) spot: Spot,
    pub(super) name: String,
    /// Its lines without secrets.
    pub(super) lines: Vec<String>,
}
