//! `[discovery]`: what it may hold, and what comes of it.

use super::faults::Faults;
use super::reader::{Scope, read, unknown_keys};
use super::schema::{Absence, KeySpec, Kind, TableSpec};
use super::settings::DiscoverySettings;
use super::texts::read_list;
use super::value;

/// `[discovery]`
pub(super) static DISCOVERY: TableSpec = TableSpec {
    header: "[discovery]",
    doc: "How clients in the same network find the gateway (mDNS and DNS-SD). Ports that are reached from outside of this machine are \
          announced as `_mqtt._tcp`, those with TLS as `_secure-mqtt._tcp`. Where there are none, nothing is announced and \
          nothing listens.",
    own_keys: &[
        KeySpec {
            name: "enabled",
            kind: Kind::Switch,
            absence: Absence::Default("true"),
            doc: "Whether open ports are announced.",
            elsewhere: &["enable", "mdns", "zeroconf"],
        },
        KeySpec {
            name: "interfaces",
            kind: Kind::Texts("a list of names of network interfaces"),
            absence: Absence::Means("all but loopback and those without multicast"),
            doc: "Where they are announced, as `[\"eth0\"]`.",
            elsewhere: &["interface", "devices"],
        },
        KeySpec {
            name: "instance",
            kind: Kind::Text("1 to 63 bytes without control characters"),
            absence: Absence::Means("the name of the gateway"),
            doc: "Name under which people see it. The second port of a kind has its number added.",
            elsewhere: &["name", "instance_name", "service_name"],
        },
    ],
    limits: &[],
};

pub(super) fn discovery(scope: Option<&Scope<'_>>, faults: &mut Faults) -> DiscoverySettings {
    let mut discovery = DiscoverySettings::default();
    let Some(scope) = scope else {
        return discovery;
    };
    unknown_keys(scope, faults);
    if let Some(enabled) = read(scope, "enabled", faults, |v, _| value::switch(v)) {
        discovery.enabled = enabled;
    }
    let interfaces = read_list(scope, "interfaces", faults, |v, _| value::name(v));
    discovery.interfaces = interfaces.unwrap_or_default();
    discovery.instance = read(scope, "instance", faults, |v, _| value::name(v));
    discovery
}
