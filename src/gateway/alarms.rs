//! What needs somebody's attention, worked out from what the gateway reports about itself.

use super::enrolment;
use crate::admin::{
    AccessReport, AdminReport, AdminState, Alarm, AuthorityReport, BrokerReport, ClusterReport,
    EstReport, PortReport, ProcessReport, Rates, ReloadReport, StoreReport,
};

/// Part of a bound from which on it is worth a word, in percent.
const NEAR: u64 = 90;

/// Name of the alarm that something is nearly used up.
pub(crate) const NEAR_BOUND: &str = "near-bound";

/// Name of the alarm that messages are lost. It comes and goes with the load.
pub(crate) const DROPPED: &str = "messages-dropped";

/// State of a port that waits for nothing.
const LISTENING: &str = "listening";

/// What alarms are worked out from.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) ports: &'a [PortReport],
    pub(crate) admin: &'a AdminReport,
    pub(crate) est: &'a EstReport,
    pub(crate) incidents: &'a [Alarm],
    pub(crate) refused: Option<&'a ReloadReport>,
    pub(crate) control: Option<&'a str>,
    pub(crate) broker: &'a BrokerReport,
    pub(crate) access: &'a AccessReport,
    pub(crate) authority: &'a AuthorityReport,
    pub(crate) cluster: Option<&'a ClusterReport>,
    pub(crate) store: &'a StoreReport,
    pub(crate) rates: &'a Rates,
    pub(crate) process: &'a ProcessReport,
}

/// Every alarm, the most urgent first.
pub(crate) fn alarms(facts: &Facts<'_>) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    alarms.extend(facts.refused.map(refused));
    alarms.extend_from_slice(facts.incidents);
    let complaint = facts.store.complaint();
    alarms.extend(complaint.map(|text| alarm("store", "", text)));
    alarms.extend(facts.ports.iter().flat_map(port_alarms));
    if facts.admin.state == AdminState::AwaitingAddress {
        let address = facts.admin.address.as_deref().unwrap_or_default();
        let detail = facts.admin.detail.as_deref().unwrap_or_default();
        let text = format!("health and metrics are not served on {address}: {detail}");
        alarms.push(alarm("admin-waiting", address, text));
    }
    alarms.extend(enrolment::alarms(facts.est));
    alarms.extend(
        facts
            .control
            .map(|fault| alarm("control-waiting", "", fault.to_owned())),
    );
    alarms.extend(access_alarms(facts.access));
    alarms.extend(authority_alarms(facts.authority));
    let cluster = facts.cluster.and_then(ClusterReport::complaint);
    alarms.extend(cluster.map(|text| alarm("cluster", "", text)));
    let near = bounds(facts)
        .into_iter()
        .filter(|(_, now, max)| is_near(*now, *max));
    alarms.extend(near.map(|(subject, now, max)| {
        alarm(
            NEAR_BOUND,
            subject,
            format!("{now} of {max} {subject} are in use"),
        )
    }));
    if facts.rates.messages_dropped > 0.0 {
        let rate = facts.rates.messages_dropped;
        let text = format!("{rate:.1} messages per second were dropped over the last minute");
        alarms.push(alarm(DROPPED, "", text));
    }
    alarms
}

fn refused(report: &ReloadReport) -> Alarm {
    let summary = report.summary.as_deref().unwrap_or_default();
    let text = format!("the changed configuration is not in force: {summary}");
    alarm("configuration-refused", "", text)
}

/// Servers that do not answer.
fn access_alarms(access: &AccessReport) -> impl Iterator<Item = Alarm> {
    let resting = access.back_ends.iter().filter(|it| it.is_resting);
    resting.map(|it| {
        let text = format!(
            "{} does not answer, which is asked for {}",
            it.server, it.kind
        );
        alarm("back-end", &it.server, text)
    })
}

/// What is wrong with the certificate authority.
fn authority_alarms(authority: &AuthorityReport) -> impl Iterator<Item = Alarm> {
    let problems = authority.status.iter().flat_map(|status| &status.problems);
    let problems = problems.chain(&authority.fault);
    problems.map(|text| alarm("authority", "", text.clone()))
}

/// What a port waits for, and what is wrong with its certificate and with those that its clients may present.
fn port_alarms(port: &PortReport) -> impl Iterator<Item = Alarm> {
    let name = format!("{} of {}", port.endpoint, port.listener);
    let waiting = (port.state != LISTENING).then(|| {
        let detail = port
            .detail
            .as_deref()
            .map(|detail| format!(": {detail}"))
            .unwrap_or_default();
        let text = format!("{name} is {}{detail}", port.state);
        alarm("port-waiting", &port.endpoint, text)
    });
    let notes = port
        .certificate
        .iter()
        .flat_map(|certificate| &certificate.notes);
    let of_clients = port.client_trust.iter().flat_map(|trust| &trust.notes);
    let notes = notes.map(|note| ("certificate", note.clone()));
    let of_clients =
        of_clients.map(|note| ("client-trust", format!("certificates of clients: {note}")));
    let notes = notes
        .chain(of_clients)
        .map(move |(word, note)| alarm(word, &port.endpoint, format!("{name}: {note}")));
    waiting.into_iter().chain(notes)
}

pub(super) fn alarm(name: &str, subject: &str, text: String) -> Alarm {
    Alarm {
        name: name.to_owned(),
        subject: subject.to_owned(),
        text,
    }
}

fn bounds(facts: &Facts<'_>) -> [(&'static str, u64, u64); 8] {
    let (broker, process) = (facts.broker, facts.process);
    [
        ("connections", broker.connections, broker.connections_max),
        ("sessions", broker.sessions, broker.sessions_max),
        (
            "subscriptions",
            broker.subscriptions,
            broker.subscriptions_max,
        ),
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
            "bytes of stored messages",
            broker.stored_bytes,
            broker.stored_bytes_max,
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
    use crate::admin::ClientTrustReport;

    /// A gateway with one port, where nothing is wrong.
    struct Given {
        port: PortReport,
        admin: AdminReport,
        broker: BrokerReport,
        access: AccessReport,
        authority: AuthorityReport,
        rates: Rates,
    }

    impl Given {
        fn new() -> Self {
            let port = PortReport {
                listener: "plant".to_owned(),
                endpoint: "*:8883".to_owned(),
                state: LISTENING.to_owned(),
                ..PortReport::default()
            };
            let admin = AdminReport {
                address: None,
                state: AdminState::Listening,
                detail: None,
            };
            Self {
                port,
                admin,
                broker: BrokerReport::default(),
                access: AccessReport::default(),
                authority: AuthorityReport::default(),
                rates: Rates::default(),
            }
        }

        fn alarms(&self) -> Vec<String> {
            let facts = Facts {
                incidents: &[],
                ports: std::slice::from_ref(&self.port),
                admin: &self.admin,
                est: &EstReport::default(),
                refused: None,
                control: None,
                broker: &self.broker,
                access: &self.access,
                authority: &self.authority,
                cluster: None,
                store: &StoreReport::default(),
                rates: &self.rates,
                process: &ProcessReport::default(),
            };
            alarms(&facts)
                .into_iter()
                .map(|alarm| format!("{}: {}", alarm.name, alarm.text))
                .collect()
        }
    }

    #[test]
    fn quiet_gateway_has_no_alarm() {
        assert!(Given::new().alarms().is_empty());
    }

    #[test]
    fn authority_that_cannot_be_looked_after_is_one() {
        let mut given = Given::new();
        given.authority.fault = Some("the disk is full".to_owned());
        assert_eq!(given.alarms(), ["authority: the disk is full"]);
    }

    #[test]
    fn bound_is_near_from_nine_tenths_on() {
        let mut given = Given::new();
        (given.broker.connections, given.broker.connections_max) = (8, 10);
        assert!(given.alarms().is_empty());
        given.broker.connections = 9;
        assert_eq!(
            given.alarms(),
            ["near-bound: 9 of 10 connections are in use"]
        );
        given.broker.connections = 0;
        (given.broker.subscriptions, given.broker.subscriptions_max) = (90, 100);
        assert_eq!(
            given.alarms(),
            ["near-bound: 90 of 100 subscriptions are in use"]
        );
        assert!(!is_near(0, 0));
        assert!(is_near(u64::MAX, u64::MAX));
    }

    #[test]
    fn what_waits_says_for_what() {
        let mut given = Given::new();
        given.port.state = "awaiting-certificate".to_owned();
        given.port.detail = Some("no such file".to_owned());
        given.admin.state = AdminState::AwaitingAddress;
        given.admin.address = Some("127.0.0.1:9600".to_owned());
        given.admin.detail = Some("address in use".to_owned());
        assert_eq!(
            given.alarms(),
            [
                "port-waiting: *:8883 of plant is awaiting-certificate: no such file",
                "admin-waiting: health and metrics are not served on 127.0.0.1:9600: address in use"
            ]
        );
    }

    #[test]
    fn faults_of_trust_in_clients_are_alarms() {
        let mut given = Given::new();
        given.port.client_trust = Some(ClientTrustReport {
            authorities: 1,
            not_after_seconds: None,
            revocation_lists: Vec::new(),
            notes: vec!["/etc/ca.pem is gone".to_owned()],
        });
        assert_eq!(
            given.alarms(),
            ["client-trust: *:8883 of plant: certificates of clients: /etc/ca.pem is gone"]
        );
    }

    #[test]
    fn loss_is_an_alarm() {
        let mut given = Given::new();
        given.rates.messages_dropped = 1.5;
        assert_eq!(
            given.alarms(),
            ["messages-dropped: 1.5 messages per second were dropped over the last minute"]
        );
    }
}
