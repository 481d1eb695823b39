//! Floor 2: the configuration file. Raw TOML in, [`Settings`] or a report of all faults out.
//!
//! Only this module reads configuration. What it hands out cannot hold bad input: each type here can be built only from
//! text that was checked, and a file is taken whole or not at all.

mod names;
mod settings;

pub use names::{
    GatewayName, InterfaceName, ListenerName, MountPoint, NameFault, ServiceName, SocketName,
    WebSocketPath,
};
pub use settings::{
    AdminSettings, Authentication, Authorization, Endpoint, GatewaySettings, ListenerSettings,
    LogFormat, LogLevel, LogSettings, PortSettings, Protocol, ServiceType, Settings, TlsMode,
    TlsSettings, TlsVersion,
};
