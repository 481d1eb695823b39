//! Shared subscriptions: one member of a group gets each message (MQTT 5, 4.8.2).

use super::SessionId;
use super::arena::{Arena, Id};
use super::subscriptions::{FilterId, Subscriber};

/// Address of a shared subscription.
pub(crate) type GroupId = Id<SharedGroup>;

/// All shared subscriptions.
pub(crate) type SharedGroups = Arena<SharedGroup>;

/// One share name at one filter, with its members.
#[derive(Debug)]
pub(crate) struct SharedGroup {
    name: Box<str>,
    filter: FilterId,
    members: Vec<Subscriber>,
    /// Where the search for the least loaded member begins, so that equals take turns.
    turn: usize,
}

impl SharedGroup {
    pub(crate) fn new(name: &str, filter: FilterId) -> Self {
        Self {
            name: name.into(),
            filter,
            members: Vec::new(),
            turn: 0,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn filter(&self) -> FilterId {
        self.filter
    }

    pub(crate) fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.members.iter().map(|member| member.session)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(crate) fn member(&self, session: SessionId) -> Option<&Subscriber> {
        self.members.iter().find(|member| member.session == session)
    }

    /// Adds a member or replaces its options; true if it was one already.
    pub(crate) fn join(&mut self, member: Subscriber) -> bool {
        match self
            .members
            .iter_mut()
            .find(|m| m.session == member.session)
        {
            Some(known) => {
                *known = member;
                true
            }
            None => {
                self.members.push(member);
                false
            }
        }
    }

    pub(crate) fn leave(&mut self, session: SessionId) -> bool {
        let before = self.members.len();
        self.members.retain(|member| member.session != session);
        self.members.len() < before
    }

    /// The member with the smallest load; equals take turns. `load` is `None` for a member that cannot take the message.
    pub(crate) fn choose(
        &mut self,
        load: impl Fn(&Subscriber) -> Option<u64>,
    ) -> Option<Subscriber> {
        let (later, earlier) = self.members.split_at_checked(self.turn).map_or(
            (self.members.as_slice(), [].as_slice()),
            |(earlier, later)| (later, earlier),
        );
        let mut best: Option<(u64, usize, Subscriber)> = None;
        for (distance, member) in later.iter().chain(earlier).enumerate() {
            if let Some(load) = load(member)
                && best.is_none_or(|(least, ..)| load < least)
            {
                best = Some((load, distance, *member));
                if load == 0 {
                    break;
                }
            }
        }
        let (_, distance, member) = best?;
        self.turn = (self.turn + distance + 1) % self.members.len().max(1);
        Some(member)
    }
}
