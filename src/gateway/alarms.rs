//! What needs somebody's attention, worked out from what the gateway reports about itself.

use crate::admin::{
    AdminReport, AdminState, Alarm, BrokerReport, PortReport, ProcessReport, Rates, ReloadReport,
};

/// Part of a bound from which on it is worth a word, in percent.
const NEAR: u64 = 90;

/// State of a port that waits for nothing.
const LISTENING: &str = "listening";

/// What alarms are worked out from.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) ports: &'a [PortReport],
    pub(crate) admin: &'a AdminReport,
    pub(crate) refused: Option<&'a ReloadReport>,
    pub(crate) control: Option<&'a str>,
    pub(crate) broker: &'a BrokerReport,
    pub(crate) rates: &'a Rates,
    pub(crate) process: &'a ProcessReport,
}

/// Every alarm, the most urgent first.
pub(crate) fn alarms(facts: &Facts<'_>) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    let mut raise = |name: &str, subject: &str, text: String| {
        alarms.push(Alarm {
            name: name.to_owned(),
            subject: subject.to_owned(),
            text,
        });
    };
    if let Some(refused) = facts.refused {
        let first = refused
            .faults
            .as_deref()
            .unwrap_or_default()
            .lines()
            .next()
            .unwrap_or_default();
        raise(
            "configuration-refused",
            "",
            format!("the changed configuration is not in force: {first}"),
        );
    }
    for port in facts.ports.iter().filter(|port| port.state != LISTENING) {
        let detail = port
            .detail
            .as_deref()
            .map(|detail| format!(": {detail}"))
            .unwrap_or_default();
        let text = format!(
            "{} of {} is {}{detail}",
            port.endpoint, port.listener, port.state
        );
        raise("port-waiting", &port.endpoint, text);
    }
    if facts.admin.state == AdminState::AwaitingAddress {
        let address = facts.admin.address.as_deref().unwrap_or_default();
        let detail = facts.admin.detail.as_deref().unwrap_or_default();
        raise(
            "admin-waiting",
            address,
            format!("health and metrics are not served on {address}: {detail}"),
        );
    }
    if let Some(control) = facts.control {
        raise("control-waiting", "", control.to_owned());
    }
    for (subject, now, max) in bounds(facts) {
        if is_near(now, max) {
            raise(
                "near-bound",
                subject,
                format!("{now} of {max} {subject} are in use"),
            );
        }
    }
    if facts.rates.messages_dropped > 0.0 {
        let rate = facts.rates.messages_dropped;
        raise(
            "messages-dropped",
            "",
            format!("{rate:.1} messages per second were dropped over the last minute"),
        );
    }
    alarms
}

fn bounds(facts: &Facts<'_>) -> [(&'static str, u64, u64); 6] {
    let (broker, process) = (facts.broker, facts.process);
    [
        ("connections", broker.connections, broker.connections_max),
        ("sessions", broker.sessions, broker.sessions_max),
        (
            "bytes of queued messages",
            broker.queued_bytes,
            broker.queued_bytes_max,
        ),
        (
            "retained messages",
            broker.retained_messages,
            broker.retained_messages_max,
        ),
        (
            "bytes of retained messages",
            broker.retained_bytes,
            broker.retained_bytes_max,
        ),
        ("descriptors", process.descriptors, process.descriptors_max),
    ]
}

fn is_near(now: u64, max: u64) -> bool {
    max > 0 && u128::from(now) * 100 >= u128::from(max) * u128::from(NEAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(change: impl FnOnce(&mut Facts<'_>)) -> Vec<String> {
        let admin = AdminReport {
            address: None,
            state: AdminState::Listening,
            detail: None,
        };
        let mut facts = Facts {
            ports: &[],
            admin: &admin,
            refused: None,
            control: None,
            broker: &BrokerReport::default(),
            rates: &Rates::default(),
            process: &ProcessReport::default(),
        };
        change(&mut facts);
        alarms(&facts).into_iter().map(|alarm| alarm.name).collect()
    }

    #[test]
    fn quiet_gateway_has_no_alarm() {
        assert!(names(|_| {}).is_empty());
    }

    #[test]
    fn bound_is_near_from_nine_tenths_on() {
        let broker = |connections| BrokerReport {
            connections,
            connections_max: 10,
            ..BrokerReport::default()
        };
        assert!(names(|facts| facts.broker = Box::leak(Box::new(broker(8)))).is_empty());
        assert_eq!(
            names(|facts| facts.broker = Box::leak(Box::new(broker(9)))),
            ["near-bound"]
        );
        assert!(!is_near(0, 0));
        assert!(is_near(u64::MAX, u64::MAX));
    }

    #[test]
    fn waiting_address_is_an_alarm() {
        let admin = AdminReport {
            address: Some("127.0.0.1:9600".to_owned()),
            state: AdminState::AwaitingAddress,
            detail: Some("address in use".to_owned()),
        };
        assert_eq!(
            names(|facts| facts.admin = Box::leak(Box::new(admin))),
            ["admin-waiting"]
        );
    }
}
