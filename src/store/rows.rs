//! Rows and the records of the core that they stand for. A row that is not what was written is no record.

use bytes::Bytes;
use rusqlite::Row;
use rusqlite::types::ValueRef;

use super::audit::AuditRecord;
use super::certificates::{CertificateRecord, TokenRecord};
use super::seal::Seal;
use super::users::UserRecord;
use crate::broker::{Message, SessionRecord, StoreId, SubscriptionRecord, Timestamp, WillRecord};
use crate::mqtt::{PacketId, QoS};

/// The values of a row, wherever they were read.
pub(super) trait Columns {
    /// The value of a column, if the row has so many.
    fn column(&self, index: usize) -> Option<ValueRef<'_>>;

    fn integer(&self, index: usize) -> Option<i64> {
        match self.column(index)? {
            ValueRef::Integer(value) => Some(value),
            ValueRef::Null | ValueRef::Real(_) | ValueRef::Text(_) | ValueRef::Blob(_) => None,
        }
    }

    fn number(&self, index: usize) -> Option<u64> {
        u64::try_from(self.integer(index)?).ok()
    }

    /// A number that may be missing.
    fn maybe(&self, index: usize) -> Option<Option<u64>> {
        match self.column(index)? {
            ValueRef::Null => Some(None),
            _ => self.number(index).map(Some),
        }
    }

    fn text(&self, index: usize) -> Option<&str> {
        match self.column(index)? {
            ValueRef::Text(text) => std::str::from_utf8(text).ok(),
            ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Blob(_) => None,
        }
    }

    /// Bytes, none of them where there is no value.
    fn blob(&self, index: usize) -> Option<&[u8]> {
        match self.column(index)? {
            ValueRef::Null => Some(&[]),
            ValueRef::Blob(blob) => Some(blob),
            ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Text(_) => None,
        }
    }
}

impl Columns for Row<'_> {
    fn column(&self, index: usize) -> Option<ValueRef<'_>> {
        self.get_ref(index).ok()
    }
}

/// Values that were not read by SQLite.
pub(super) struct Values<'a>(pub(super) &'a [ValueRef<'a>]);

impl Columns for Values<'_> {
    fn column(&self, index: usize) -> Option<ValueRef<'_>> {
        self.0.get(index).copied()
    }
}

/// Some columns of a row, from one of them on.
pub(super) struct Part<'a>(pub(super) &'a dyn Columns, pub(super) usize);

impl Columns for Part<'_> {
    fn column(&self, index: usize) -> Option<ValueRef<'_>> {
        self.0.column(index + self.1)
    }
}

/// A number as SQLite has it. What does not fit is as good as for ever.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A number as it comes back from [`int`], which is what a checksum is made of.
fn kept(value: u64) -> u64 {
    value.min(i64::MAX as u64)
}

pub(super) fn millis(at: Timestamp) -> i64 {
    int(at.as_millis())
}

fn time(at: Option<u64>) -> Option<Timestamp> {
    at.map(Timestamp::from_millis)
}

/// A value of the table `meta`.
pub(super) fn meta_seal(key: &str, value: i64) -> i64 {
    let seal = Seal::new(b'k').bytes(key.as_bytes());
    seal.number(value.cast_unsigned()).long()
}

/// Columns `key, value, seal`.
pub(super) fn meta(row: &dyn Columns) -> Option<(String, i64)> {
    let (key, value) = (row.text(0)?, row.integer(1)?);
    (row.integer(2)? == meta_seal(key, value)).then(|| (key.to_owned(), value))
}

pub(super) fn session_seal(record: &SessionRecord, will: Option<&[u8]>) -> i64 {
    let expires_at = record.expires_at.map(|at| kept(at.as_millis()));
    let seal = Seal::new(b's')
        .number(kept(record.id.get()))
        .bytes(record.client_id.as_bytes())
        .bytes(record.mount_point.as_bytes())
        .bytes(record.owner.as_bytes())
        .bytes(record.endpoint.as_bytes())
        .number(record.expiry_interval.into())
        .maybe(expires_at)
        .number(kept(record.sent_through))
        .number(record.window.into());
    will.map_or(seal, |will| seal.bytes(will)).long()
}

/// Columns `id, client_id, mount_point, owner, endpoint, expiry_interval, expires_at, sent_through, window, will, seal`.
pub(super) fn session(row: &dyn Columns) -> Option<SessionRecord> {
    let blob = row.blob(9)?;
    let blob = (!blob.is_empty()).then_some(blob);
    let mut record = SessionRecord {
        id: StoreId::new(row.number(0)?),
        client_id: row.text(1)?.into(),
        mount_point: row.text(2)?.into(),
        owner: row.text(3)?.into(),
        endpoint: row.text(4)?.into(),
        expiry_interval: u32::try_from(row.integer(5)?).ok()?,
        expires_at: time(row.maybe(6)?),
        sent_through: row.number(7)?,
        window: u16::try_from(row.integer(8)?).ok()?,
        will: None,
    };
    if row.integer(10)? != session_seal(&record, blob) {
        return None;
    }
    if let Some(blob) = blob {
        record.will = Some(parse_will(blob)?);
    }
    Some(record)
}

/// A will as one value.
pub(super) fn will_blob(will: &WillRecord) -> Vec<u8> {
    let mut blob = Vec::with_capacity(48 + will.topic.len() + will.payload.len());
    blob.push(will.qos.as_u8());
    blob.push(will.retain.into());
    for number in [
        will.expiry_interval.map(u64::from),
        Some(will.delay_interval.into()),
        will.due_at.map(Timestamp::as_millis),
    ] {
        blob.push(number.is_some().into());
        blob.extend(number.unwrap_or(0).to_le_bytes());
    }
    for text in [will.topic.as_bytes(), &will.forwarded] {
        blob.extend((text.len() as u64).to_le_bytes());
        blob.extend(text);
    }
    blob.extend(&will.payload);
    blob
}

fn parse_will(blob: &[u8]) -> Option<WillRecord> {
    let (&[qos, retain], mut rest) = blob.split_first_chunk::<2>()?;
    let mut number = || {
        let (is_some, after) = rest.split_first()?;
        let (value, after) = after.split_first_chunk::<8>()?;
        rest = after;
        Some((*is_some == 1).then(|| u64::from_le_bytes(*value)))
    };
    let expiry_interval = number()?;
    let delay_interval = number()??;
    let due_at = number()?;
    let mut text = || {
        let (length, after) = rest.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (text, after) = after.split_at_checked(length)?;
        rest = after;
        Some(text)
    };
    let topic = std::str::from_utf8(text()?).ok()?.into();
    let forwarded = text()?.into();
    Some(WillRecord {
        topic,
        payload: Bytes::copy_from_slice(rest),
        forwarded,
        qos: QoS::from_u8(qos)?,
        retain: retain == 1,
        expiry_interval: expiry_interval.map(u32::try_from).transpose().ok()?,
        delay_interval: u32::try_from(delay_interval).ok()?,
        due_at: time(due_at),
    })
}

const NO_LOCAL: u8 = 1 << 2;
const RETAIN_AS_PUBLISHED: u8 = 1 << 3;
const RETAIN: u8 = 1 << 2;

pub(super) fn subscription_options(record: &SubscriptionRecord) -> u8 {
    let no_local = if record.no_local { NO_LOCAL } else { 0 };
    let as_published = if record.retain_as_published {
        RETAIN_AS_PUBLISHED
    } else {
        0
    };
    record.qos.as_u8() | no_local | as_published
}

pub(super) fn subscription_seal(session: u64, record: &SubscriptionRecord) -> i64 {
    Seal::new(b'f')
        .number(kept(session))
        .bytes(record.filter.as_bytes())
        .number(subscription_options(record).into())
        .number(record.identifier.into())
        .long()
}

/// Columns `session, filter, options, identifier, seal`.
pub(super) fn subscription(row: &dyn Columns) -> Option<(u64, SubscriptionRecord)> {
    let session = row.number(0)?;
    let options = u8::try_from(row.integer(2)?).ok()?;
    let record = SubscriptionRecord {
        filter: row.text(1)?.into(),
        qos: QoS::from_u8(options & 3)?,
        no_local: options & NO_LOCAL != 0,
        retain_as_published: options & RETAIN_AS_PUBLISHED != 0,
        identifier: u32::try_from(row.integer(3)?).ok()?,
    };
    (row.integer(4)? == subscription_seal(session, &record)).then_some((session, record))
}

fn content_seal(table: u8, message: &Message) -> Seal {
    let expires_at = message.expires_at().map(|at| kept(at.as_millis()));
    Seal::new(table)
        .number(message.qos().as_u8().into())
        .number(kept(message.received_at().as_millis()))
        .maybe(expires_at)
        .bytes(message.topic().as_bytes())
        .bytes(message.forwarded())
        .bytes(message.payload())
}

/// How many deliveries need the message is no part of it, because that changes.
pub(super) fn message_seal(message: &Message) -> i64 {
    let seal = content_seal(b'm', message);
    seal.number(kept(message.store_id())).long()
}

pub(super) fn retained_seal(message: &Message) -> i64 {
    content_seal(b'r', message).long()
}

/// Columns `id, refs, qos, received_at, expires_at, topic, forwarded, payload, seal`.
pub(super) fn message(row: &dyn Columns) -> Option<Message> {
    let message = content(row, row.text(5)?, 2, 6)?.with_store_id(row.number(0)?);
    (row.integer(8)? == message_seal(&message)).then_some(message)
}

/// Columns `topic, qos, received_at, expires_at, forwarded, payload, seal`.
pub(super) fn retained(row: &dyn Columns) -> Option<Message> {
    let message = content(row, row.text(0)?, 1, 4)?;
    (row.integer(6)? == retained_seal(&message)).then_some(message)
}

/// A message of three columns from `head` on and two from `body` on.
fn content(row: &dyn Columns, topic: &str, head: usize, body: usize) -> Option<Message> {
    let payload = Bytes::copy_from_slice(row.blob(body + 1)?);
    let forwarded = row.blob(body)?.into();
    let qos = qos(row.integer(head)?)?;
    let received_at = Timestamp::from_millis(row.number(head + 1)?);
    let expires_at = time(row.maybe(head + 2)?);
    Some(Message::new(
        topic,
        payload,
        forwarded,
        qos,
        received_at,
        expires_at,
    ))
}

fn qos(value: i64) -> Option<QoS> {
    QoS::from_u8(u8::try_from(value).ok()?)
}

/// A row of the table `delivery`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeliveryRow {
    pub(super) session: u64,
    pub(super) number: u64,
    /// None if the client has the message.
    pub(super) message: Option<u64>,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) bytes: u64,
    pub(super) identifiers: Box<[u32]>,
}

impl DeliveryRow {
    /// All that is left of a delivery whose message the client has.
    pub(super) fn released(session: u64, number: u64) -> Self {
        Self {
            session,
            number,
            message: None,
            qos: QoS::ExactlyOnce,
            retain: false,
            bytes: 0,
            identifiers: Box::default(),
        }
    }

    pub(super) fn flags(&self) -> u8 {
        self.qos.as_u8() | if self.retain { RETAIN } else { 0 }
    }

    /// The identifiers as one value.
    pub(super) fn identifiers_blob(&self) -> Option<Vec<u8>> {
        let blob = || self.identifiers.iter().flat_map(|id| id.to_le_bytes());
        (!self.identifiers.is_empty()).then(|| blob().collect())
    }

    pub(super) fn seal(&self) -> i64 {
        let seal = Seal::new(b'd')
            .number(kept(self.session))
            .number(kept(self.number))
            .maybe(self.message.map(kept))
            .number(self.flags().into())
            .number(kept(self.bytes));
        let identifiers = self.identifiers.iter();
        identifiers
            .fold(seal, |seal, id| seal.number(u64::from(*id)))
            .short()
    }
}

/// Columns `session, number, message, flags, bytes, identifiers, seal`.
pub(super) fn delivery(row: &dyn Columns) -> Option<DeliveryRow> {
    let flags = u8::try_from(row.integer(3)?).ok()?;
    let (identifiers, rest) = row.blob(5)?.as_chunks::<4>();
    let delivery = DeliveryRow {
        session: row.number(0)?,
        number: row.number(1)?,
        message: row.maybe(2)?,
        qos: QoS::from_u8(flags & 3)?,
        retain: flags & RETAIN != 0,
        bytes: row.number(4)?,
        identifiers: identifiers
            .iter()
            .map(|id| u32::from_le_bytes(*id))
            .collect(),
    };
    (rest.is_empty() && row.integer(6)? == delivery.seal()).then_some(delivery)
}

/// An arrival with its place.
pub(super) fn placed(row: &dyn Columns) -> Option<(i64, DeliveryRow)> {
    Some((row.integer(0)?, arrival(row)?))
}

/// Columns `place`, then as for [`delivery`].
pub(super) fn arrival(row: &dyn Columns) -> Option<DeliveryRow> {
    delivery(&Part(row, 1))
}

pub(super) fn received_seal(session: u64, packet_id: PacketId) -> i64 {
    Seal::new(b'q')
        .number(kept(session))
        .number(packet_id.value().into())
        .short()
}

/// Columns `session, packet_id, seal`.
pub(super) fn received(row: &dyn Columns) -> Option<(u64, PacketId)> {
    let session = row.number(0)?;
    let packet_id = PacketId::new(u16::try_from(row.integer(1)?).ok()?)?;
    (row.integer(2)? == received_seal(session, packet_id)).then_some((session, packet_id))
}

/// When the user was last seen is no part of it, because that changes.
pub(super) fn user_seal(record: &UserRecord, attributes: &str) -> i64 {
    Seal::new(b'u')
        .bytes(record.username.as_bytes())
        .bytes(record.hash.as_bytes())
        .number(kept(record.generation))
        .bytes(attributes.as_bytes())
        .number(record.enabled.into())
        .maybe(record.expires_at.map(kept))
        .bytes(record.note.as_bytes())
        .number(kept(record.created_at))
        .long()
}

/// Columns `username, hash, generation, attributes, enabled, expires_at, note, created_at, last_seen_at, seal`.
pub(super) fn user(row: &dyn Columns) -> Option<UserRecord> {
    let attributes = row.text(3)?;
    let record = UserRecord {
        username: row.text(0)?.into(),
        hash: row.text(1)?.into(),
        generation: row.number(2)?,
        attributes: serde_json::from_str(attributes).ok()?,
        enabled: match row.integer(4)? {
            0 => false,
            1 => true,
            _ => return None,
        },
        expires_at: row.maybe(5)?,
        note: row.text(6)?.into(),
        created_at: row.number(7)?,
        last_seen_at: row.maybe(8)?,
    };
    (row.integer(9)? == user_seal(&record, attributes)).then_some(record)
}

pub(super) fn audit_seal(record: &AuditRecord) -> i64 {
    let texts = [
        &record.kind,
        &record.actor,
        &record.subject,
        &record.port,
        &record.peer,
        &record.detail,
    ];
    let seal = Seal::new(b'a')
        .number(kept(record.id))
        .number(kept(record.at));
    let sealed = texts
        .into_iter()
        .fold(seal, |seal, text| seal.bytes(text.as_bytes()));
    sealed.long()
}

/// Columns `id, at, kind, actor, subject, port, peer, detail, seal`.
pub(super) fn audit(row: &dyn Columns) -> Option<AuditRecord> {
    let record = AuditRecord {
        id: row.number(0)?,
        at: row.number(1)?,
        kind: row.text(2)?.into(),
        actor: row.text(3)?.into(),
        subject: row.text(4)?.into(),
        port: row.text(5)?.into(),
        peer: row.text(6)?.into(),
        detail: row.text(7)?.into(),
    };
    (row.integer(8)? == audit_seal(&record)).then_some(record)
}

pub(super) fn certificate_seal(record: &CertificateRecord, attributes: &str) -> i64 {
    Seal::new(b'c')
        .bytes(record.issuer.as_bytes())
        .bytes(record.serial.as_bytes())
        .bytes(record.name.as_bytes())
        .bytes(record.purpose.as_bytes())
        .bytes(record.origin.as_bytes())
        .bytes(attributes.as_bytes())
        .number(kept(record.not_before))
        .number(kept(record.not_after))
        .number(kept(record.issued_at))
        .number(record.provisional.into())
        .maybe(record.revoked_at.map(kept))
        .number(record.reason.into())
        .bytes(&record.der)
        .long()
}

/// Columns `issuer, serial, name, purpose, origin, attributes, not_before, not_after, issued_at, provisional, revoked_at,
/// reason, der, seal`.
pub(super) fn certificate(row: &dyn Columns) -> Option<CertificateRecord> {
    let attributes = row.text(5)?;
    let record = CertificateRecord {
        issuer: row.text(0)?.into(),
        serial: row.text(1)?.into(),
        name: row.text(2)?.into(),
        purpose: row.text(3)?.into(),
        origin: row.text(4)?.into(),
        attributes: serde_json::from_str(attributes).ok()?,
        not_before: row.number(6)?,
        not_after: row.number(7)?,
        issued_at: row.number(8)?,
        provisional: row.integer(9)? == 1,
        revoked_at: row.maybe(10)?,
        reason: u8::try_from(row.integer(11)?).ok()?,
        der: row.blob(12)?.into(),
    };
    (row.integer(13)? == certificate_seal(&record, attributes)).then_some(record)
}

pub(super) fn token_seal(record: &TokenRecord, attributes: &str) -> i64 {
    Seal::new(b't')
        .bytes(record.hash.as_bytes())
        .bytes(record.name.as_bytes())
        .bytes(attributes.as_bytes())
        .maybe(record.lifetime.map(kept))
        .number(kept(record.created_at))
        .number(kept(record.expires_at))
        .long()
}

/// Columns `hash, name, attributes, lifetime, created_at, expires_at, seal`.
pub(super) fn token(row: &dyn Columns) -> Option<TokenRecord> {
    let attributes = row.text(2)?;
    let record = TokenRecord {
        hash: row.text(0)?.into(),
        name: row.text(1)?.into(),
        attributes: serde_json::from_str(attributes).ok()?,
        lifetime: row.maybe(3)?,
        created_at: row.number(4)?,
        expires_at: row.number(5)?,
    };
    (row.integer(6)? == token_seal(&record, attributes)).then_some(record)
}
