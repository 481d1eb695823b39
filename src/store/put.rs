//! Records into rows, one function per table.

use rusqlite::{CachedStatement, Connection, params};

use super::rows::{self, DeliveryRow, int, millis};
use crate::broker::{Message, SessionRecord, SubscriptionRecord};
use crate::mqtt::PacketId;

pub(super) const INSERT_ARRIVAL: &str =
    "INSERT INTO arrival (place, session, number, message, flags, bytes, identifiers, seal)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
const INSERT_DELIVERY: &str =
    "INSERT INTO delivery (session, number, message, flags, bytes, identifiers, seal)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING";
const INSERT_MESSAGE: &str = "INSERT INTO message
     (id, refs, qos, received_at, expires_at, topic, forwarded, payload, seal)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
     ON CONFLICT (id) DO UPDATE SET refs = refs + excluded.refs";
const DELETE_MESSAGE: &str = "DELETE FROM message WHERE id = ?1 AND refs <= ?2";
const LESSEN_MESSAGE: &str = "UPDATE message SET refs = refs - ?2 WHERE id = ?1";
const INSERT_SESSION: &str = "INSERT OR REPLACE INTO session
     (id, client_id, mount_point, owner, endpoint, expiry_interval, expires_at, sent_through, window, will, seal)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
const INSERT_SUBSCRIPTION: &str =
    "INSERT OR REPLACE INTO subscription (session, filter, options, identifier, seal)
     VALUES (?1, ?2, ?3, ?4, ?5)";
const INSERT_RECEIVED: &str =
    "INSERT OR REPLACE INTO received (session, packet_id, seal) VALUES (?1, ?2, ?3)";
const INSERT_RETAINED: &str = "INSERT OR REPLACE INTO retained
     (topic, qos, received_at, expires_at, forwarded, payload, seal) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

pub(super) fn write_meta(connection: &Connection, key: &str, value: i64) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO meta (key, value, seal) VALUES (?1, ?2, ?3)";
    let mut statement = connection.prepare_cached(sql)?;
    statement.execute(params![key, value, rows::meta_seal(key, value)])?;
    Ok(())
}

/// `count` deliveries do not need the message any more.
pub(super) fn lessen(connection: &Connection, id: u64, count: i64) -> rusqlite::Result<()> {
    let key = params![int(id), count];
    if connection.prepare_cached(DELETE_MESSAGE)?.execute(key)? == 0 {
        connection.prepare_cached(LESSEN_MESSAGE)?.execute(key)?;
    }
    Ok(())
}

pub(super) fn put_session(connection: &Connection, record: &SessionRecord) -> rusqlite::Result<()> {
    let will = record.will.as_ref().map(rows::will_blob);
    connection.prepare_cached(INSERT_SESSION)?.execute(params![
        int(record.id.get()),
        record.client_id,
        record.mount_point,
        record.owner,
        record.endpoint,
        record.expiry_interval,
        record.expires_at.map(millis),
        int(record.sent_through),
        record.window,
        will,
        rows::session_seal(record, will.as_deref()),
    ])?;
    Ok(())
}

pub(super) fn put_subscription(
    connection: &Connection,
    session: u64,
    record: &SubscriptionRecord,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(INSERT_SUBSCRIPTION)?;
    statement.execute(params![
        int(session),
        record.filter,
        rows::subscription_options(record),
        record.identifier,
        rows::subscription_seal(session, record),
    ])?;
    Ok(())
}

pub(super) fn put_message(
    connection: &Connection,
    id: u64,
    refs: i64,
    message: &Message,
) -> rusqlite::Result<()> {
    connection.prepare_cached(INSERT_MESSAGE)?.execute(params![
        int(id),
        refs,
        message.qos().as_u8(),
        millis(message.received_at()),
        message.expires_at().map(millis),
        message.topic(),
        some(message.forwarded()),
        message.payload(),
        rows::message_seal(message),
    ])?;
    Ok(())
}

pub(super) fn put_delivery(connection: &Connection, row: &DeliveryRow) -> rusqlite::Result<usize> {
    connection.prepare_cached(INSERT_DELIVERY)?.execute(params![
        int(row.session),
        int(row.number),
        row.message.map(int),
        row.flags(),
        int(row.bytes),
        row.identifiers_blob(),
        row.seal(),
    ])
}

pub(super) fn insert_arrival(
    statement: &mut CachedStatement<'_>,
    place: i64,
    row: &DeliveryRow,
) -> rusqlite::Result<usize> {
    statement.execute(params![
        place,
        int(row.session),
        int(row.number),
        row.message.map(int),
        row.flags(),
        int(row.bytes),
        row.identifiers_blob(),
        row.seal(),
    ])
}

pub(super) fn put_received(
    connection: &Connection,
    session: u64,
    packet_id: PacketId,
) -> rusqlite::Result<()> {
    let seal = rows::received_seal(session, packet_id);
    let mut statement = connection.prepare_cached(INSERT_RECEIVED)?;
    statement.execute(params![int(session), packet_id.value(), seal])?;
    Ok(())
}

pub(super) fn put_retained(connection: &Connection, message: &Message) -> rusqlite::Result<()> {
    connection
        .prepare_cached(INSERT_RETAINED)?
        .execute(params![
            message.topic(),
            message.qos().as_u8(),
            millis(message.received_at()),
            message.expires_at().map(millis),
            some(message.forwarded()),
            message.payload(),
            rows::retained_seal(message),
        ])?;
    Ok(())
}

/// Nothing takes less room than an empty value.
fn some(bytes: &[u8]) -> Option<&[u8]> {
    (!bytes.is_empty()).then_some(bytes)
}
