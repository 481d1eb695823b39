//! Where a topic goes: the sessions and shared subscriptions that its filters lead to.

use super::SessionId;
use super::shared::GroupId;
use super::subscriptions::{Subscriber, Subscriptions};
use crate::limits::{ROUTE_CACHE_SLOTS, ROUTE_CACHE_TARGETS_MAX, ROUTE_CACHE_TOPIC_LEN_MAX};
use crate::mqtt::QoS;

/// A session that gets one copy of a message, whatever number of its filters match (MQTT 5, 3.3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) session: SessionId,
    /// The highest QoS of the matching subscriptions.
    pub(crate) qos: QoS,
    pub(crate) retain_as_published: bool,
    /// At least one of the matching subscriptions wants nothing that its own session publishes.
    pub(crate) no_local: bool,
    /// By none of the matching subscriptions may the client read everything.
    pub(crate) is_narrowed: bool,
    pub(crate) identifiers: Box<[u32]>,
}

/// Where a topic goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Route {
    /// Sessions, in order of their ids.
    pub(crate) targets: Vec<Target>,
    /// Shared subscriptions, of each of which one member gets the message.
    pub(crate) groups: Vec<GroupId>,
}

impl From<&Subscriber> for Target {
    fn from(subscriber: &Subscriber) -> Self {
        Self {
            session: subscriber.session,
            qos: subscriber.qos,
            retain_as_published: subscriber.retain_as_published,
            no_local: subscriber.no_local,
            is_narrowed: subscriber.is_narrowed,
            identifiers: match subscriber.identifier {
                0 => Box::default(),
                identifier => Box::new([identifier]),
            },
        }
    }
}

impl Route {
    /// Makes one target of all that a session has matched.
    pub(super) fn merge(&mut self) {
        let sorted = |pair: &[Target]| match pair {
            [a, b] => a.session < b.session,
            _ => true,
        };
        if self.targets.windows(2).all(sorted) {
            return;
        }
        self.targets.sort_by_key(|target| target.session);
        self.targets.dedup_by(|later, kept| {
            if later.session != kept.session {
                return false;
            }
            kept.qos = kept.qos.max(later.qos);
            kept.retain_as_published |= later.retain_as_published;
            kept.no_local |= later.no_local;
            kept.is_narrowed &= later.is_narrowed;
            if !later.identifiers.is_empty() {
                kept.identifiers = kept
                    .identifiers
                    .iter()
                    .chain(later.identifiers.iter())
                    .copied()
                    .collect();
            }
            true
        });
    }
}

/// A route and the topic that it is for, out of the cache while it is in use.
#[derive(Debug)]
pub(crate) struct CachedRoute {
    topic: Box<str>,
    generation: u64,
    pub(crate) route: Route,
}

/// The routes of the topics that were published to last. Bounded in topics and in targets.
#[derive(Debug)]
pub(crate) struct RouteCache {
    slots: Vec<Option<Box<CachedRoute>>>,
    targets: usize,
}

impl Default for RouteCache {
    fn default() -> Self {
        let mut slots = Vec::new();
        slots.resize_with(usize::try_from(ROUTE_CACHE_SLOTS).unwrap_or(1), || None);
        Self { slots, targets: 0 }
    }
}

impl RouteCache {
    fn slot(&mut self, hash: u64) -> Option<&mut Option<Box<CachedRoute>>> {
        self.slots
            .get_mut(usize::try_from(hash % ROUTE_CACHE_SLOTS).unwrap_or(0))
    }

    /// Takes the route of `topic` out, from the cache or from the index; [`Self::put_back`] returns it.
    pub(crate) fn take(
        &mut self,
        index: &mut Subscriptions,
        hash: u64,
        topic: &str,
    ) -> Box<CachedRoute> {
        if let Some(cached) = self.slot(hash).and_then(Option::take) {
            self.targets -= cached.route.targets.len();
            if cached.generation == index.generation() && *cached.topic == *topic {
                return cached;
            }
        }
        Box::new(CachedRoute {
            topic: topic.into(),
            generation: index.generation(),
            route: index.route(topic),
        })
    }

    pub(crate) fn put_back(&mut self, hash: u64, cached: Box<CachedRoute>) {
        let targets = cached.route.targets.len();
        if self.targets + targets > ROUTE_CACHE_TARGETS_MAX {
            self.slots.fill_with(|| None);
            self.targets = 0;
        }
        if targets <= ROUTE_CACHE_TARGETS_MAX
            && cached.topic.len() <= ROUTE_CACHE_TOPIC_LEN_MAX
            && let Some(slot) = self.slot(hash)
        {
            // The slot is empty: the broker routes one message at a time.
            *slot = Some(cached);
            self.targets += targets;
        }
    }
}
