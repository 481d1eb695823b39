//! Which sessions want a topic: the index of topic filters.
//!
//! Filters are stored level by level. A level is interned to a number, and all edges of the tree stand in one flat table
//! keyed by (node, level), so that a filter costs a few dozen bytes per level of its own and a lookup costs the same with
//! a hundred filters as with a hundred thousand.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::hash::BuildHasher;

use super::SessionId;
use super::levels::{HASH, Levels, PLUS, at, next_index};
use super::route::{Route, Target};
use super::shared::{GroupId, SharedGroup, SharedGroups};
use crate::limits::{
    FILTER_BYTES_PER_CLIENT_MAX, FILTER_INDEX_BYTES_PER_SUBSCRIPTION, FILTER_LEVELS_MAX,
};
use crate::mqtt::{QoS, SubscriptionOptions};

/// What a node takes: its place, its edge and its level.
const NODE_BYTES: usize = 64;

const ROOT: u32 = 0;
const NONE: u32 = u32::MAX;

/// A node of the tree that ends a filter of at least one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FilterId(u32);

/// One session's subscription at a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscriber {
    pub(crate) session: SessionId,
    pub(crate) qos: QoS,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    /// The client may not read everything that the filter matches.
    pub(crate) is_narrowed: bool,
    /// Levels of the mount point, if the filter has a wildcard right behind it; zero otherwise.
    hides_dollar_at: u8,
    /// Zero where the subscription has none.
    pub(crate) identifier: u32,
}

impl Subscriber {
    pub(crate) fn new(
        session: SessionId,
        options: &SubscriptionOptions,
        identifier: Option<u32>,
    ) -> Self {
        Self {
            hides_dollar_at: 0,
            is_narrowed: false,
            session,
            qos: options.qos,
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
            identifier: identifier.unwrap_or(0),
        }
    }

    /// The same for a client that knows its topics without `mount_point`: a wildcard at the beginning of `filter` does not
    /// match a topic that begins with `$` for this client (MQTT-4.7.2-1).
    pub(crate) fn behind(self, mount_point: &str, filter: &str) -> Self {
        let levels = mount_point.split('/').count() - 1;
        let hides_dollar_at = match filter.starts_with(['+', '#']) {
            // A filter behind a mount point with more levels is not stored.
            true => u8::try_from(levels).unwrap_or(u8::MAX),
            false => 0,
        };
        Self {
            hides_dollar_at,
            ..self
        }
    }

    /// Whether the client sees a topic that its filter matches with the mount point in front.
    #[inline]
    pub(crate) fn sees(&self, topic: &str) -> bool {
        self.hides_dollar_at == 0
            || !topic
                .split('/')
                .nth(self.hides_dollar_at.into())
                .is_some_and(|level| level.starts_with('$'))
    }
}

#[derive(Debug)]
struct Node {
    parent: u32,
    level: u32,
    children: u32,
    list: u32,
    has_plus: bool,
    has_hash: bool,
}

#[derive(Debug, Default)]
struct SubscriberList {
    /// Sorted by session.
    direct: Vec<Subscriber>,
    groups: Vec<GroupId>,
}

impl SubscriberList {
    fn is_empty(&self) -> bool {
        self.direct.is_empty() && self.groups.is_empty()
    }
}

/// The index of all topic filters.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    hasher: FixedState,
    levels: Levels,
    nodes: Vec<Node>,
    nodes_free: Vec<u32>,
    edges: HashMap<(u32, u32), u32, FixedState>,
    lists: Vec<SubscriberList>,
    lists_free: Vec<u32>,
    groups: SharedGroups,
    generation: u64,
    count: u32,
    frontier: (Vec<u32>, Vec<u32>),
}

impl Subscriptions {
    pub(crate) fn new(seed: u64) -> Self {
        let hasher = FixedState::with_seed(seed);
        Self {
            hasher: hasher.clone(),
            levels: Levels::new(hasher.clone()),
            nodes: vec![Node {
                parent: NONE,
                level: NONE,
                children: 0,
                list: NONE,
                has_plus: false,
                has_hash: false,
            }],
            nodes_free: Vec::new(),
            edges: HashMap::with_hasher(hasher),
            lists: Vec::new(),
            lists_free: Vec::new(),
            groups: SharedGroups::default(),
            generation: 0,
            count: 0,
            frontier: (Vec::new(), Vec::new()),
        }
    }

    /// Changes whenever the route of any topic may have changed.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Subscriptions in the index, each member of a shared one counted.
    pub(crate) fn len(&self) -> u32 {
        self.count
    }

    /// Whether there is no room for another subscription where `max` are allowed: there are as many, or their filters are so
    /// long or so deep that the index takes what as many ordinary ones take.
    pub(crate) fn is_full(&self, max: u32) -> bool {
        let nodes = self.nodes.len() - self.nodes_free.len();
        let bytes = nodes * NODE_BYTES + self.levels.text_bytes();
        // However few are allowed, the filters of one client fit.
        let bytes_max = u64::from(max) * FILTER_INDEX_BYTES_PER_SUBSCRIPTION
            + u64::try_from(FILTER_BYTES_PER_CLIENT_MAX).unwrap_or(0);
        self.count >= max || u64::try_from(bytes).unwrap_or(u64::MAX) >= bytes_max
    }

    pub(crate) fn hash(&self, topic: &str) -> u64 {
        self.hasher.hash_one(topic)
    }

    /// The filter's place in the index, if any session has subscribed to it.
    pub(crate) fn find(&self, filter: &str) -> Option<FilterId> {
        let mut node = ROOT;
        for level in filter.split('/') {
            let level = self.levels.find(level)?;
            node = *self.edges.get(&(node, level))?;
        }
        Some(FilterId(node))
    }

    /// Adds or replaces a session's subscription. `None` if the filter has too many levels.
    pub(crate) fn subscribe(
        &mut self,
        filter: &str,
        subscriber: Subscriber,
    ) -> Option<(FilterId, bool)> {
        let id = self.insert(filter)?;
        let list = self.list_mut(id)?;
        let replaced = match list
            .direct
            .binary_search_by(|entry| entry.session.cmp(&subscriber.session))
        {
            Ok(position) => {
                if let Some(entry) = list.direct.get_mut(position) {
                    *entry = subscriber;
                }
                true
            }
            Err(position) => {
                if list.direct.is_empty() {
                    list.direct.reserve_exact(1);
                }
                list.direct.insert(position, subscriber);
                false
            }
        };
        if !replaced {
            self.count += 1;
        }
        self.generation += 1;
        Some((id, replaced))
    }

    /// Whether a session has subscribed to a filter, by a share name or without one.
    pub(crate) fn has(&self, filter: &str, share_name: Option<&str>, session: SessionId) -> bool {
        let Some(id) = self.find(filter) else {
            return false;
        };
        if let Some(name) = share_name {
            let group = self.find_group(id, name);
            return group.is_some_and(|group| self.member(group, session).is_some());
        }
        self.subscriber(id, session).is_some()
    }

    /// The filter at a place, as it was subscribed to behind a mount point.
    pub(crate) fn text(&self, id: FilterId) -> String {
        let mut levels = Vec::new();
        let mut node = id.0;
        while node != ROOT
            && let Some(entry) = self.nodes.get(at(node))
        {
            levels.push(self.levels.text(entry.level));
            node = entry.parent;
        }
        levels.reverse();
        levels.join("/")
    }

    /// The same for a shared subscription, with its share name.
    pub(crate) fn group_text(&self, group: GroupId) -> Option<(&str, String)> {
        let group = self.groups.get(group)?;
        Some((group.name(), self.text(group.filter())))
    }

    /// A session's subscription at a filter.
    pub(crate) fn subscriber(&self, id: FilterId, session: SessionId) -> Option<Subscriber> {
        let list = self.lists.get(at(self.nodes.get(at(id.0))?.list))?;
        let found = list
            .direct
            .binary_search_by(|entry| entry.session.cmp(&session));
        list.direct.get(found.ok()?).copied()
    }

    /// A session's membership of a shared subscription.
    pub(crate) fn member(&self, group: GroupId, session: SessionId) -> Option<Subscriber> {
        self.groups.get(group)?.member(session).copied()
    }

    /// Changes the terms of a session's subscription.
    pub(crate) fn change(&mut self, id: FilterId, subscriber: Subscriber) {
        self.generation += 1;
        if let Some(list) = self.list_mut(id)
            && let Ok(at) = list
                .direct
                .binary_search_by(|entry| entry.session.cmp(&subscriber.session))
            && let Some(entry) = list.direct.get_mut(at)
        {
            *entry = subscriber;
        }
    }

    /// Changes the terms of a member of a shared subscription.
    pub(crate) fn change_member(&mut self, group: GroupId, member: Subscriber) {
        self.generation += 1;
        if let Some(group) = self.groups.get_mut(group) {
            group.join(member);
        }
    }

    /// Removes a session's subscription; false if there was none.
    pub(crate) fn unsubscribe(&mut self, id: FilterId, session: SessionId) -> bool {
        let Some(list) = self.list_mut(id) else {
            return false;
        };
        let Ok(position) = list
            .direct
            .binary_search_by(|entry| entry.session.cmp(&session))
        else {
            return false;
        };
        list.direct.remove(position);
        if list.direct.is_empty() {
            list.direct = Vec::new();
        }
        self.count -= 1;
        self.generation += 1;
        self.prune(id);
        true
    }

    /// Adds or replaces a member of the shared subscription `share_name` at `filter`. `None` if the filter has too many levels.
    pub(crate) fn join(
        &mut self,
        share_name: &str,
        filter: &str,
        member: Subscriber,
    ) -> Option<(GroupId, bool)> {
        let id = self.insert(filter)?;
        let group = match self.find_group(id, share_name) {
            Some(group) => group,
            None => {
                let group = self.groups.insert(SharedGroup::new(share_name, id));
                self.list_mut(id)?.groups.push(group);
                group
            }
        };
        let replaced = self.groups.get_mut(group)?.join(member);
        if !replaced {
            self.count += 1;
        }
        self.generation += 1;
        Some((group, replaced))
    }

    /// Removes a member of a shared subscription; false if it was none.
    pub(crate) fn leave(&mut self, group: GroupId, session: SessionId) -> bool {
        let Some(entry) = self.groups.get_mut(group) else {
            return false;
        };
        if !entry.leave(session) {
            return false;
        }
        self.count -= 1;
        self.generation += 1;
        if entry.is_empty() {
            let id = entry.filter();
            self.groups.remove(group);
            if let Some(list) = self.list_mut(id) {
                list.groups.retain(|entry| *entry != group);
            }
            self.prune(id);
        }
        true
    }

    /// The shared subscription of that name at a filter.
    pub(crate) fn find_group(&self, id: FilterId, share_name: &str) -> Option<GroupId> {
        let list = self.lists.get(at(self.nodes.get(at(id.0))?.list))?;
        list.groups.iter().copied().find(|group| {
            self.groups
                .get(*group)
                .is_some_and(|g| g.name() == share_name)
        })
    }

    pub(crate) fn group_mut(&mut self, group: GroupId) -> Option<&mut SharedGroup> {
        self.groups.get_mut(group)
    }

    /// Everybody who gets a message on `topic`.
    pub(crate) fn route(&mut self, topic: &str) -> Route {
        self.route_where(topic, |_| true)
    }

    /// Everybody who gets a message on `topic` by a subscription that `wanted` accepts.
    pub(crate) fn route_where(
        &mut self,
        topic: &str,
        wanted: impl Fn(&Subscriber) -> bool,
    ) -> Route {
        let mut matched = Vec::new();
        let mut route = Route::default();
        let (mut current, mut next) = std::mem::take(&mut self.frontier);
        current.clear();
        current.push(ROOT);
        let mut first = true;
        for level in topic.split('/') {
            if current.is_empty() {
                break;
            }
            // A wildcard in the first level does not match a topic that begins with `$` (MQTT-4.7.2-1).
            let wildcards = !(first && level.starts_with('$'));
            first = false;
            let level = self.levels.find(level);
            next.clear();
            for node in &current {
                self.descend(*node, level, wildcards, &mut next, &mut matched);
            }
            std::mem::swap(&mut current, &mut next);
        }
        for node in &current {
            self.collect(*node, &mut matched);
            // `a/#` matches `a` as well (4.7.1.2).
            if *node != ROOT
                && let Some(hash) = self.edges.get(&(*node, HASH))
            {
                self.collect(*hash, &mut matched);
            }
        }
        self.frontier = (current, next);
        for list in matched {
            if let Some(list) = self.lists.get(at(list)) {
                for subscriber in list.direct.iter().filter(|s| s.sees(topic) && wanted(s)) {
                    route.targets.push(Target::from(subscriber));
                }
                route.groups.extend_from_slice(&list.groups);
            }
        }
        route.merge();
        route
    }

    fn descend(
        &self,
        node: u32,
        level: Option<u32>,
        wildcards: bool,
        next: &mut Vec<u32>,
        matched: &mut Vec<u32>,
    ) {
        let Some(entry) = self.nodes.get(at(node)) else {
            return;
        };
        let wildcard_children = u32::from(entry.has_plus) + u32::from(entry.has_hash);
        if entry.children > wildcard_children
            && let Some(child) = level.and_then(|level| self.edges.get(&(node, level)))
        {
            next.push(*child);
        }
        if !wildcards {
            return;
        }
        if entry.has_plus
            && let Some(child) = self.edges.get(&(node, PLUS))
        {
            next.push(*child);
        }
        if entry.has_hash
            && let Some(child) = self.edges.get(&(node, HASH))
        {
            self.collect(*child, matched);
        }
    }

    fn collect(&self, node: u32, matched: &mut Vec<u32>) {
        if let Some(entry) = self.nodes.get(at(node))
            && entry.list != NONE
        {
            matched.push(entry.list);
        }
    }

    fn insert(&mut self, filter: &str) -> Option<FilterId> {
        if filter.split('/').count() > FILTER_LEVELS_MAX {
            return None;
        }
        let mut node = ROOT;
        for text in filter.split('/') {
            let level = self.levels.intern(text);
            node = match self.edges.get(&(node, level)) {
                Some(child) => *child,
                None => self.add_child(node, level),
            };
        }
        if self.nodes.get(at(node))?.list == NONE {
            let list = self.lists_free.pop().unwrap_or_else(|| {
                self.lists.push(SubscriberList::default());
                next_index(self.lists.len() - 1)
            });
            self.nodes.get_mut(at(node))?.list = list;
        }
        Some(FilterId(node))
    }

    fn add_child(&mut self, parent: u32, level: u32) -> u32 {
        let node = Node {
            parent,
            level,
            children: 0,
            list: NONE,
            has_plus: false,
            has_hash: false,
        };
        let child = match self.nodes_free.pop() {
            Some(free) => {
                if let Some(slot) = self.nodes.get_mut(at(free)) {
                    *slot = node;
                }
                free
            }
            None => {
                self.nodes.push(node);
                next_index(self.nodes.len() - 1)
            }
        };
        self.edges.insert((parent, level), child);
        self.levels.hold(level);
        if let Some(entry) = self.nodes.get_mut(at(parent)) {
            entry.children += 1;
            entry.has_plus |= level == PLUS;
            entry.has_hash |= level == HASH;
        }
        child
    }

    fn list_mut(&mut self, id: FilterId) -> Option<&mut SubscriberList> {
        let list = self.nodes.get(at(id.0))?.list;
        self.lists.get_mut(at(list))
    }

    /// Removes the node of a filter that nobody has any more, and every parent that only led to it.
    fn prune(&mut self, id: FilterId) {
        let Some(entry) = self.nodes.get_mut(at(id.0)) else {
            return;
        };
        let list = entry.list;
        if self.lists.get(at(list)).is_none_or(|l| !l.is_empty()) {
            return;
        }
        entry.list = NONE;
        if let Some(slot) = self.lists.get_mut(at(list)) {
            *slot = SubscriberList::default();
        }
        self.lists_free.push(list);
        let mut node = id.0;
        while node != ROOT {
            let Some(entry) = self.nodes.get(at(node)) else {
                return;
            };
            if entry.children > 0 || entry.list != NONE {
                return;
            }
            let (parent, level) = (entry.parent, entry.level);
            self.edges.remove(&(parent, level));
            self.nodes_free.push(node);
            self.levels.release(level);
            if let Some(entry) = self.nodes.get_mut(at(parent)) {
                entry.children -= 1;
                entry.has_plus &= level != PLUS;
                entry.has_hash &= level != HASH;
            }
            node = parent;
        }
    }
}
