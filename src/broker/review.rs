//! Rights that change while clients are connected: each keeps what it still may, and nobody else notices.

use std::ops::Range;
use std::sync::Arc;

use super::connection::PortPolicy;
use super::denial::DeniedAction;
use super::persist::{Change, SubscriptionRecord};
use super::shared::GroupId;
use super::subscribe::stored_filter;
use super::subscriptions::{FilterId, Subscriber};
use super::time::Timestamp;
use super::timers::Timer;
use super::{Broker, ConnectionId, SessionId};
use crate::mqtt::ReasonCode;
use crate::policy::{Decision, Principal, Rights, SubscriptionVerdict};

/// What a change of rights has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Review {
    /// Clients whose rights were looked at, because something has changed for them.
    pub reviewed: u32,
    /// Clients that were disconnected: they may not be here any more.
    pub disconnected: Vec<Box<str>>,
    /// Subscriptions that were removed: client identifier and topic filter, as the client knows it.
    pub unsubscribed: Vec<(Box<str>, Box<str>)>,
    /// Clients whose will was removed.
    pub wills_removed: Vec<Box<str>>,
}

impl Review {
    /// Adds what became of others.
    pub fn add(&mut self, other: Self) {
        self.reviewed += other.reviewed;
        self.disconnected.extend(other.disconnected);
        self.unsubscribed.extend(other.unsubscribed);
        self.wills_removed.extend(other.wills_removed);
    }
}

/// One subscription, shared or not.
#[derive(Clone, Copy)]
enum Place {
    Plain(FilterId),
    Shared(GroupId),
}

impl Broker {
    /// The rules of a port have changed: reviews its clients, connected or not, whose sessions are in a range of places, as
    /// in [`Broker::clients_in`]; `None` behind the last place. So that thousands of clients can be reviewed in pieces, with
    /// others served in between.
    ///
    /// A client keeps the bounds and the mount point that it came with. One that has the same rules as before is not
    /// touched.
    pub fn handle_policy_changed(
        &mut self,
        endpoint: &str,
        policy: &Arc<PortPolicy>,
        places: Range<usize>,
        now: Timestamp,
    ) -> Option<Review> {
        if places.start >= self.clients.sessions.slots() {
            return None;
        }
        let sessions = self.clients.sessions.iter_in(places);
        let of_port = sessions.filter(|(_, session)| *session.port.endpoint == *endpoint);
        let mut concerned: Vec<(SessionId, Arc<PortPolicy>)> = Vec::new();
        // Clients that came together share their policy. Rules are long, and are compared once.
        let mut known: Option<(&Arc<PortPolicy>, Option<Arc<PortPolicy>>)> = None;
        for (id, session) in of_port {
            let port = &session.port;
            let same = known.take().filter(|(old, _)| Arc::ptr_eq(old, port));
            let (_, new) = known.insert(same.unwrap_or_else(|| (port, changed(port, policy))));
            concerned.extend(new.as_ref().map(|new| (id, Arc::clone(new))));
        }
        let mut review = Review::default();
        for (id, port) in concerned {
            let session = self.clients.sessions.get(id);
            let principal = session.and_then(|session| session.principal.clone());
            self.review(id, port, principal, &mut review, now);
        }
        Some(review)
    }

    /// A connection was served on rules that have changed since it was accepted.
    pub fn handle_policy_outdated(
        &mut self,
        id: ConnectionId,
        policy: &Arc<PortPolicy>,
        now: Timestamp,
    ) -> Review {
        let mut review = Review::default();
        let session = self.clients.connections.get(id).map(|c| c.session);
        let Some(session) = session else {
            return review;
        };
        let Some(entry) = self.clients.sessions.get(session) else {
            return review;
        };
        if let Some(port) = changed(&entry.port, policy) {
            let principal = entry.principal.clone();
            self.review(session, port, principal, &mut review, now);
        }
        review
    }

    /// What is known of a client has changed: its attributes, or that it is a superuser. A client that is somebody else now
    /// is disconnected: its session is not his.
    pub fn handle_principal_changed(
        &mut self,
        id: ConnectionId,
        principal: Arc<Principal>,
        now: Timestamp,
    ) -> Review {
        let mut review = Review::default();
        let session = self.clients.connections.get(id).map(|c| c.session);
        let Some(session_id) = session else {
            return review;
        };
        let Some(session) = self.clients.sessions.get(session_id) else {
            return review;
        };
        if session.principal.as_deref() == Some(&*principal) {
            return review;
        }
        if *session.owner != *principal.username {
            review.disconnected.push(session.client_id.clone());
            self.disconnect(
                id,
                ReasonCode::NotAuthorized,
                "The client is somebody else now",
            );
            return review;
        }
        let port = Arc::clone(&session.port);
        self.review(session_id, port, Some(principal), &mut review, now);
        review
    }

    /// Gives the session of a connection that begins its rights. One that was away keeps only what the client still may.
    pub(super) fn grant(
        &mut self,
        session_id: SessionId,
        id: ConnectionId,
        rights: Option<Box<Rights>>,
        is_resumed: bool,
    ) {
        let has_rights = rights.is_some();
        let Some(session) = self.clients.sessions.get_mut(session_id) else {
            return;
        };
        session.rights = rights;
        session.checks_reads = is_resumed && has_rights;
        if let Some(connection) = self.clients.connections.get_mut(id).filter(|_| has_rights) {
            connection.clearance = Some(Box::default());
        }
        if is_resumed && has_rights {
            self.review_subscriptions(session_id);
        }
    }

    /// Looks at everything that a session has by its rights.
    fn review(
        &mut self,
        session_id: SessionId,
        port: Arc<PortPolicy>,
        principal: Option<Arc<Principal>>,
        review: &mut Review,
        now: Timestamp,
    ) {
        let Some(session) = self.clients.sessions.get_mut(session_id) else {
            return;
        };
        session.port = Arc::clone(&port);
        // Whoever comes back is reviewed then.
        let Some(principal) = principal else {
            return;
        };
        review.reviewed += 1;
        session.rights = port
            .authorization
            .rights(&principal, &session.client_id)
            .map(Box::new);
        session.principal = Some(principal);
        session.checks_reads = session.rights.is_some();
        let may_connect = session.rights.as_ref().map(|rights| rights.connect());
        let client_id = session.client_id.clone();
        let connection = session.connection;
        if let Some(connection) = connection.and_then(|id| self.clients.connections.get_mut(id)) {
            connection.port = port;
            match &mut connection.clearance {
                Some(clearance) => {
                    if let Some(at) = clearance.forget()
                        && let Some(id) = session.connection
                    {
                        self.clients.timers.disarm(at, Timer::AskAgain(id));
                    }
                }
                None if may_connect.is_some() => connection.clearance = Some(Box::default()),
                None => {}
            }
        }
        if self.review_will(session_id) {
            review.wills_removed.push(client_id.clone());
        }
        if let (Some(id), Some(verdict)) = (connection, may_connect)
            && !verdict.is_allowed()
        {
            self.deny_session(session_id, DeniedAction::Connect, "", verdict.by);
            let text = "The client may not be connected any more";
            self.banish(id, ReasonCode::NotAuthorized, text);
            review.disconnected.push(client_id.clone());
        }
        for filter in self.review_subscriptions(session_id) {
            review.unsubscribed.push((client_id.clone(), filter));
        }
        if let Some(id) = connection {
            self.fill(id, now);
        }
    }

    /// Ends the connection of a client that is not to be trusted any more: as by [`Broker::disconnect`], and without its will.
    pub fn banish(&mut self, id: ConnectionId, reason: ReasonCode, text: &'static str) {
        if let Some(session) = self.clients.connections.get(id).map(|c| c.session) {
            self.remove_will(session);
        }
        self.disconnect(id, reason, text);
    }

    /// Ends the sessions that a principal has opened, except those of clients that are connected and stay. One whose client is on
    /// its way out ends with its connection.
    pub fn end_sessions_of(&mut self, username: &str, now: Timestamp) {
        let slots = 0..self.clients.sessions.slots();
        let sessions = self.clients.sessions.iter_in(slots);
        let owned: Vec<SessionId> = sessions
            .filter(|(_, session)| *session.owner == *username)
            .map(|(id, _)| id)
            .collect();
        for id in owned {
            let connection = self.clients.sessions.get(id).and_then(|s| s.connection);
            let connection = connection.and_then(|id| self.clients.connections.get(id));
            match connection.map(|connection| connection.closing) {
                None => {
                    self.remove_will(id);
                    self.end_session(id, now);
                }
                Some(true) => {
                    if let Some(session) = self.clients.sessions.get_mut(id) {
                        session.expiry_interval = 0;
                    }
                }
                Some(false) => {}
            }
        }
    }

    /// Takes the will from a session.
    fn remove_will(&mut self, session_id: SessionId) {
        let Some(session) = self.clients.sessions.get_mut(session_id) else {
            return;
        };
        let Some(will) = session.will.take() else {
            return;
        };
        let is_stored = session.store.is_some();
        if let Some(at) = will.due_at {
            self.clients.timers.disarm(at, Timer::WillDelay(session_id));
        }
        if is_stored {
            self.note_session(session_id);
        }
    }

    /// Removes a will that the client may not publish; true if it did.
    fn review_will(&mut self, session_id: SessionId) -> bool {
        let Some(session) = self.clients.sessions.get_mut(session_id) else {
            return false;
        };
        let (Some(rights), Some(will)) = (&session.rights, &session.will) else {
            return false;
        };
        let message = &will.message;
        let topic = message.topic.strip_prefix(&*session.port.mount_point);
        let topic: Box<str> = topic.unwrap_or_default().into();
        let verdict = rights.publish(&topic, message.qos, will.retain);
        if verdict.decision != Decision::Denied {
            return false;
        }
        self.remove_will(session_id);
        self.deny_session(session_id, DeniedAction::Will, &topic, verdict.by);
        true
    }

    /// Removes subscriptions that a client may not have, and returns them; narrows and widens the others.
    fn review_subscriptions(&mut self, session_id: SessionId) -> Vec<Box<str>> {
        let mut removed = Vec::new();
        let Some(session) = self.clients.sessions.get(session_id) else {
            return removed;
        };
        let mount_point = session.port.mount_point.clone();
        let plain = session.filters.iter().copied().map(Place::Plain);
        let shared = session.groups.iter().copied().map(Place::Shared);
        let places: Vec<Place> = plain.chain(shared).collect();
        for place in places {
            let (share_name, filter) = match place {
                Place::Plain(filter) => (None, self.subscriptions.text(filter)),
                Place::Shared(group) => match self.subscriptions.group_text(group) {
                    Some((name, filter)) => (Some(name.to_owned()), filter),
                    None => continue,
                },
            };
            let unmounted = filter.strip_prefix(&*mount_point).unwrap_or_default();
            let Some(session) = self.clients.sessions.get_mut(session_id) else {
                break;
            };
            let right = match &session.rights {
                Some(rights) => rights.subscribe(unmounted),
                None => SubscriptionVerdict::UNRESTRICTED,
            };
            if right.verdict.decision == Decision::Denied {
                let text = stored_filter(share_name.as_deref(), unmounted);
                self.unsubscribe(session_id, &mount_point, &text);
                let by = right.verdict.by;
                self.deny_session(session_id, DeniedAction::Subscribe, &text, by);
                removed.push(text);
                continue;
            }
            for cursor in &mut session.retained {
                if *cursor.filter == *filter && share_name.is_none() {
                    cursor.is_narrowed = right.is_narrowed;
                    cursor.qos = cursor.qos.min(right.qos);
                }
            }
            let change = |subscriber: &mut Subscriber| {
                subscriber.is_narrowed = right.is_narrowed;
                subscriber.qos = subscriber.qos.min(right.qos);
            };
            self.change_subscription(session_id, place, share_name.as_deref(), &filter, change);
        }
        removed
    }

    /// Changes the terms of a subscription, where they are not the same already.
    fn change_subscription(
        &mut self,
        session_id: SessionId,
        place: Place,
        share_name: Option<&str>,
        filter: &str,
        change: impl Fn(&mut Subscriber),
    ) {
        let known = match place {
            Place::Plain(filter) => self.subscriptions.subscriber(filter, session_id),
            Place::Shared(group) => self.subscriptions.member(group, session_id),
        };
        let Some(known) = known else {
            return;
        };
        let mut wanted = known;
        change(&mut wanted);
        if wanted == known {
            return;
        }
        match place {
            Place::Plain(filter) => self.subscriptions.change(filter, wanted),
            Place::Shared(group) => self.subscriptions.change_member(group, wanted),
        }
        let session = self.clients.sessions.get(session_id);
        if let Some(store) = session.and_then(|session| session.store.as_ref())
            && wanted.qos != known.qos
        {
            let record = SubscriptionRecord {
                filter: stored_filter(share_name, filter),
                qos: wanted.qos,
                no_local: wanted.no_local,
                retain_as_published: wanted.retain_as_published,
                identifier: wanted.identifier,
            };
            let change = Change::Subscription(store.id, Box::new(record));
            self.clients.pending.add(change, &mut self.clients.effects);
        }
    }
}

/// What a client that came by `old` is served on when its port has `new` rules; none if they are the same.
fn changed(old: &PortPolicy, new: &Arc<PortPolicy>) -> Option<Arc<PortPolicy>> {
    if old.authorization == new.authorization {
        return None;
    }
    let port = PortPolicy {
        authorization: new.authorization.clone(),
        ..PortPolicy::clone(old)
    };
    let is_whole = port.limits == new.limits && port.mount_point == new.mount_point;
    Some(if is_whole {
        Arc::clone(new)
    } else {
        Arc::new(port)
    })
}
