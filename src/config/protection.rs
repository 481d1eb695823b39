//! Resolves `[protection]`.

use std::time::Duration;

use super::access::{Network, ProtectionSettings};
use super::faults::{Draft, Faults};
use super::limit_keys::Setting;
use super::network::NetworkFault;
use super::reader::{Scope, read, unknown_keys};
use super::report::FaultCode;
use super::source::quoted;
use super::texts::read_list;
use super::tree::Value;
use super::units::render_time;
use super::value::{self, Complaint};

pub(super) fn protection(scope: Option<&Scope<'_>>, faults: &mut Faults) -> ProtectionSettings {
    let mut settings = ProtectionSettings::default();
    let Some(scope) = scope else {
        return settings;
    };
    unknown_keys(scope, faults);
    for key in scope.spec.own_keys {
        if key.name == "never_banned" {
            continue;
        }
        let set = read(scope, key.name, faults, |v, _| value::setting(v, key.kind));
        let Some(Setting::Number(Some(number))) = set else {
            continue;
        };
        let count = u32::try_from(number).unwrap_or(u32::MAX);
        let time = Duration::from_millis(number);
        match key.name {
            "failures_per_address_max" => settings.failures_per_address_max = count,
            "failures_per_username_max" => settings.failures_per_username_max = count,
            "failure_window" => settings.failure_window = time,
            "ban_time" => settings.ban_time = time,
            "ban_time_max" => settings.ban_time_max = time,
            _ => settings.audit_rows_max = count,
        }
    }
    let never_banned = read_list(scope, "never_banned", faults, |value, _| network(value));
    settings.never_banned = never_banned.unwrap_or_default();
    check_times(scope, &settings, faults);
    settings
}

/// Notes a first ban that is longer than the longest.
fn check_times(scope: &Scope<'_>, settings: &ProtectionSettings, faults: &mut Faults) {
    if settings.ban_time <= settings.ban_time_max {
        return;
    }
    let written = ["ban_time", "ban_time_max"].map(|key| scope.entry(key));
    let Some(entry) = written.into_iter().flatten().next() else {
        return;
    };
    let shown = |time: Duration| render_time(time.as_millis().try_into().unwrap_or(u64::MAX));
    let message = format!(
        "`ban_time` is {}, and `ban_time_max` {}: the first ban would be longer than the longest",
        shown(settings.ban_time),
        shown(settings.ban_time_max)
    );
    faults.push(
        Draft::error(FaultCode::Conflict, entry.node.at, message)
            .key(scope.path_of(&entry.key))
            .hint("make `ban_time_max` at least as long as `ban_time`"),
    );
}

fn network(value: &Value) -> Result<Network, Complaint> {
    let typed = value::text(value, "an address or a network in quotes")?;
    Network::try_from(typed.trim()).map_err(|fault| {
        let complaint = Complaint::bad(format!("has {}, which {fault}", quoted(typed)));
        match fault {
            NetworkFault::HostBits { network }
            | NetworkFault::Mapped {
                network: Some(network),
            } => complaint.hint(format!("write \"{network}\"")),
            NetworkFault::Address if typed.trim() == "localhost" => {
                complaint.hint("write \"127.0.0.1\", and \"::1\" besides")
            }
            NetworkFault::Address
            | NetworkFault::Prefix { .. }
            | NetworkFault::Mapped { network: None } => complaint,
        }
    })
}
