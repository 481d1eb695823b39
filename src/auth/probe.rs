//! The way in of the health gate: a credential that is made when root asks for it, is good once and for a few seconds, from
//! this machine, and lets in to one topic.
//!
//! Why there is one: docs/decisions/0027-health-gate.md.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::broker::PortPolicy;
use crate::limits::PortLimits;
use crate::mqtt::QoS;
use crate::policy::{
    Authorization, ClientIdPattern, CompiledRules, Effect, FilterPattern, Principal, Principals,
    Rule, RuleSet,
};

/// The user name that a probe gives. Nobody else is let in with it.
pub const PROBE_USERNAME: &str = "$fieldgate-probe";

/// First levels of the topic of a probe. `#` does not match them.
const TOPIC_PREFIX: &str = "$fieldgate/probe/";

/// What the session of a probe shows as its port, so that changes of a port do not concern it.
const ENDPOINT: &str = "probe";

/// Time from asking to the login. A probe is there already when it asks.
const TICKET_TIME: Duration = Duration::from_secs(10);

/// Tickets that wait; a new one takes the place of the oldest.
const TICKETS_MAX: usize = 4;

/// Longest time that the session of a probe outlives one that was killed. One that comes to its end takes the session along.
const SESSION_TIME: Duration = Duration::from_secs(30);

/// Largest packet of a probe, which needs a few hundred bytes.
const PACKET_BYTES_MAX: u32 = 4096;

/// Tickets that were asked for and not used yet.
#[derive(Debug, Default)]
pub struct Probes {
    tickets: Mutex<VecDeque<Ticket>>,
}

/// What somebody who asked for a probe has to know.
pub struct ProbeTicket {
    /// The password, 32 random bytes in hexadecimal.
    pub secret: Zeroizing<String>,
    /// The client identifier that has to be used.
    pub client_id: String,
    /// The one topic.
    pub topic: String,
}

impl fmt::Debug for ProbeTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProbeTicket")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

/// What a probe is let in with.
#[derive(Debug)]
pub struct Probe {
    /// Who it is.
    pub principal: Arc<Principal>,
    /// What the core goes by, instead of what holds on the port.
    pub policy: Arc<PortPolicy>,
}

/// The random source of the system gave nothing.
#[derive(Debug, thiserror::Error)]
#[error("the random source of the system does not answer")]
pub struct NoChance;

#[derive(Debug)]
struct Ticket {
    /// Hash of the secret, which nobody needs here.
    hash: [u8; 32],
    made_at: Instant,
    client_id: String,
    topic: String,
}

impl Probes {
    /// Makes a ticket.
    pub fn issue(&self, now: Instant) -> Result<ProbeTicket, NoChance> {
        let mut random = Zeroizing::new([0; 32]);
        let mut name = [0; 16];
        let source = SystemRandom::new();
        source.fill(&mut *random).map_err(|_| NoChance)?;
        source.fill(&mut name).map_err(|_| NoChance)?;
        let secret = Zeroizing::new(HEXLOWER.encode(&*random));
        let name = HEXLOWER.encode(&name);
        let ticket = ProbeTicket {
            client_id: format!("fieldgate-probe-{name}"),
            topic: format!("{TOPIC_PREFIX}{name}"),
            secret,
        };
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        tickets.retain(|known| known.is_good(now));
        while tickets.len() >= TICKETS_MAX {
            tickets.pop_front();
        }
        tickets.push_back(Ticket {
            hash: hash(ticket.secret.as_bytes()),
            made_at: now,
            client_id: ticket.client_id.clone(),
            topic: ticket.topic.clone(),
        });
        Ok(ticket)
    }

    /// Takes the ticket with this secret, if it is still good. It is gone then.
    pub fn redeem(&self, secret: &[u8], now: Instant) -> Option<Probe> {
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        tickets.retain(|known| known.is_good(now));
        let given = hash(secret);
        let place = tickets
            .iter()
            .position(|known| bool::from(known.hash.ct_eq(&given)))?;
        tickets.remove(place)?.probe()
    }
}

impl Ticket {
    fn is_good(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.made_at) < TICKET_TIME
    }

    fn probe(&self) -> Option<Probe> {
        let limits = Arc::new(limits());
        let rules = RuleSet {
            name: ENDPOINT.into(),
            rules: vec![self.rule()?],
            ..RuleSet::default()
        };
        Some(Probe {
            principal: Arc::new(Principal {
                username: PROBE_USERNAME.into(),
                ..Principal::default()
            }),
            policy: Arc::new(PortPolicy {
                endpoint: ENDPOINT.into(),
                limits,
                mount_point: Box::default(),
                authorization: Authorization::Rules(Arc::new(CompiledRules::new(&Arc::new(rules)))),
            }),
        })
    }

    /// One client identifier, one topic. `None` cannot happen: the names are made here.
    fn rule(&self) -> Option<Rule> {
        let topic = FilterPattern::parse(&self.topic).ok()?;
        Some(Rule {
            effect: Effect::Allow,
            principals: Principals::Everyone,
            connect: vec![ClientIdPattern::parse(&self.client_id).ok()?],
            publish: vec![topic.clone()],
            subscribe: vec![topic],
            qos: QoS::AtLeastOnce,
            retain: false,
            message_rate_max: None,
            byte_rate_max: None,
            place: "the gateway itself".into(),
        })
    }
}

/// Bounds of a probe, whatever those of its port are. Its session is stored, so that an acknowledgement means what it means to
/// every client.
fn limits() -> PortLimits {
    PortLimits {
        maximum_qos: QoS::AtLeastOnce,
        retain_available: false,
        wildcard_subscription_available: false,
        subscription_identifiers_available: false,
        shared_subscription_available: false,
        max_packet_size: PACKET_BYTES_MAX,
        receive_maximum: 1,
        inflight_messages_max: 1,
        topic_alias_maximum: 0,
        outgoing_topic_aliases_max: 0,
        max_session_expiry: Some(SESSION_TIME),
        max_message_expiry: Some(SESSION_TIME),
        subscriptions_per_client_max: 1,
        queue_messages_per_client_max: 4,
        ..PortLimits::default()
    }
}

fn hash(secret: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, secret).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn ticket_is_good_once() {
        let (probes, now) = (Probes::default(), clock::now());
        let ticket = probes.issue(now).unwrap();
        assert_eq!(ticket.secret.len(), 64);
        assert!(probes.redeem(b"", now).is_none());
        assert!(probes.redeem(&[b'0'; 64], now).is_none());
        assert!(probes.redeem(ticket.secret.as_bytes(), now).is_some());
        assert!(probes.redeem(ticket.secret.as_bytes(), now).is_none());
    }

    #[test]
    fn ticket_is_good_for_a_few_seconds() {
        let (probes, now) = (Probes::default(), clock::now());
        let ticket = probes.issue(now).unwrap();
        let late = now + TICKET_TIME;
        assert!(probes.redeem(ticket.secret.as_bytes(), late).is_none());
        // Nor is there anything left of it.
        assert!(probes.redeem(ticket.secret.as_bytes(), now).is_none());
    }

    #[test]
    fn few_tickets_wait() {
        let (probes, now) = (Probes::default(), clock::now());
        let first = probes.issue(now).unwrap();
        let others: Vec<_> = (0..TICKETS_MAX)
            .map(|_| probes.issue(now).unwrap())
            .collect();
        assert!(probes.redeem(first.secret.as_bytes(), now).is_none());
        for ticket in others {
            assert!(probes.redeem(ticket.secret.as_bytes(), now).is_some());
        }
    }

    #[test]
    fn probe_may_use_one_topic_as_one_client() {
        let (probes, now) = (Probes::default(), clock::now());
        let ticket = probes.issue(now).unwrap();
        let probe = probes.redeem(ticket.secret.as_bytes(), now).unwrap();
        let rights = |client_id: &str| {
            let authorization = &probe.policy.authorization;
            authorization.rights(&probe.principal, client_id).unwrap()
        };
        assert!(!rights("another").connect().is_allowed());
        let rights = rights(&ticket.client_id);
        let publish = |topic: &str, qos, retain| rights.publish(topic, qos, retain).is_allowed();
        assert!(rights.connect().is_allowed());
        assert!(publish(&ticket.topic, QoS::AtLeastOnce, false));
        assert!(!publish(&ticket.topic, QoS::AtLeastOnce, true));
        assert!(!publish(&ticket.topic, QoS::ExactlyOnce, false));
        assert!(!publish("plant/1", QoS::AtMostOnce, false));
        assert!(rights.subscribe(&ticket.topic).verdict.is_allowed());
        for filter in ["#", "$fieldgate/#", "$fieldgate/probe/+", "$SYS/#"] {
            assert!(!rights.subscribe(filter).verdict.is_allowed(), "{filter}");
        }
    }

    #[test]
    fn secret_is_not_shown() {
        let ticket = Probes::default().issue(clock::now()).unwrap();
        assert!(!format!("{ticket:?}").contains(&**ticket.secret));
    }
}
