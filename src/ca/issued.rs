//! What was issued: a table in memory beside the one of the database, for lookups while clients log in.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::RangeInclusive;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::crl::{Revocation, RevocationReason, Revocations};
use crate::store::CertificateRecord;

/// Certificates that are kept at one time. Two of each of ten thousand clients, about 8 MiB.
pub const CERTIFICATES_MAX: usize = 20_000;

/// Bytes of a hash that stands for the name of an issuer.
const ISSUER_BYTES: usize = 16;

/// Issuer and serial number.
pub(super) type Key = (Box<str>, Box<str>);

/// Everything that the authority has issued and that has not ended long ago.
#[derive(Debug, Default)]
pub struct Issued {
    table: RwLock<BTreeMap<Key, Arc<CertificateRecord>>>,
}

impl Issued {
    pub(super) fn new(records: Vec<CertificateRecord>) -> Self {
        let issued = Self::default();
        for record in records {
            issued.put(record);
        }
        issued
    }

    /// The certificate that has this issuer and serial number, as both stand in it: the issuer's name in DER, and the bytes
    /// of the number.
    #[must_use]
    pub fn find(&self, issuer_der: &[u8], serial: &[u8]) -> Option<Arc<CertificateRecord>> {
        let key = (issuer_id(issuer_der), serial_text(serial));
        self.read().get(&key).cloned()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.read().is_empty()
    }

    pub(super) fn put(&self, record: CertificateRecord) {
        let key = (record.issuer.clone(), record.serial.clone());
        let record = CertificateRecord {
            der: Box::default(),
            ..record
        };
        self.write().insert(key, Arc::new(record));
    }

    /// Forgets what has ended before a time.
    pub(super) fn prune(&self, before: u64) {
        self.write().retain(|_, record| record.not_after >= before);
    }

    /// Forgets all of one origin but the newest.
    pub(super) fn prune_origin(&self, origin: &str, max: usize) {
        let mut table = self.write();
        let of_origin = table.iter().filter(|(_, record)| *record.origin == *origin);
        let mut found: Vec<_> = of_origin
            .map(|(key, record)| (std::cmp::Reverse(record.issued_at), key.clone()))
            .collect();
        found.sort();
        for (_, key) in found.into_iter().skip(max) {
            table.remove(&key);
        }
    }

    /// Everything, by name; of one name the newest first.
    pub(super) fn all(&self) -> Vec<Arc<CertificateRecord>> {
        let mut all: Vec<_> = self.read().values().cloned().collect();
        all.sort_by(|a, b| {
            let by_name = a.name.cmp(&b.name);
            by_name
                .then(b.issued_at.cmp(&a.issued_at))
                .then(b.not_after.cmp(&a.not_after))
                .then(a.serial.cmp(&b.serial))
        });
        all
    }

    /// What is meant by a serial number, or by a name: of a name everything, the newest first.
    pub(super) fn meant_by(&self, which: &str) -> Vec<Arc<CertificateRecord>> {
        let serial = normal_serial(which);
        let mut found = self.all();
        let has_serial = serial
            .as_deref()
            .is_some_and(|serial| found.iter().any(|record| *record.serial == *serial));
        found.retain(|record| match &serial {
            Some(serial) if has_serial => *record.serial == **serial,
            _ => *record.name == *which,
        });
        found
    }

    /// What is revoked of an issuer and has not ended.
    pub(super) fn revocations(&self, issuer_der: &[u8], now: u64) -> Revocations {
        let table = self.read();
        let of_issuer = table.range(range(issuer_der)).map(|(_, record)| record);
        of_issuer
            .filter(|record| record.not_after >= now)
            .filter_map(|record| {
                let at = record.revoked_at?;
                let reason = RevocationReason::of_code(record.reason);
                Some((serial_bytes(&record.serial)?, Revocation { at, reason }))
            })
            .collect()
    }

    /// How many there are of a kind.
    pub(super) fn count(&self, is: impl Fn(&CertificateRecord) -> bool) -> usize {
        self.read().values().filter(|record| is(record)).count()
    }

    /// Whether anything that is revoked has ended before a time.
    pub(super) fn has_old_revocations(&self, before: u64) -> bool {
        let table = self.read();
        table
            .values()
            .any(|record| record.not_after < before && record.revoked_at.is_some())
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<Key, Arc<CertificateRecord>>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<Key, Arc<CertificateRecord>>> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stands for the name of an issuer in rows.
pub(super) fn issuer_id(issuer_der: &[u8]) -> Box<str> {
    let hash = ring::digest::digest(&ring::digest::SHA256, issuer_der);
    let part = hash.as_ref().get(..ISSUER_BYTES).unwrap_or_default();
    data_encoding::HEXLOWER.encode(part).into()
}

/// A serial number as people and rows have it: hexadecimal, without leading zeros of the encoding.
pub(super) fn serial_text(serial: &[u8]) -> Box<str> {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    let significant = serial.get(zeros..).unwrap_or_default();
    data_encoding::HEXLOWER.encode(significant).into()
}

fn serial_bytes(text: &str) -> Option<Vec<u8>> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).ok()
}

/// A serial number as other tools print it: with capitals, with colons.
fn normal_serial(which: &str) -> Option<String> {
    let mut text = String::with_capacity(which.len());
    for c in which.chars().filter(|c| *c != ':') {
        if !c.is_ascii_hexdigit() {
            return None;
        }
        let _ = write!(text, "{}", c.to_ascii_lowercase());
    }
    (!text.is_empty()).then_some(text)
}

/// All keys of an issuer: digits stand between nothing and `g`.
fn range(issuer_der: &[u8]) -> RangeInclusive<Key> {
    let issuer = issuer_id(issuer_der);
    (issuer.clone(), "".into())..=(issuer, "g".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(issuer: &[u8], serial: &[u8], name: &str, issued_at: u64) -> CertificateRecord {
        CertificateRecord {
            issuer: issuer_id(issuer),
            serial: serial_text(serial),
            name: name.into(),
            attributes: [("hall".into(), issued_at.to_string().into())].into(),
            not_after: 1000,
            issued_at,
            der: [1].into(),
            ..CertificateRecord::default()
        }
    }

    #[test]
    fn certificate_is_found_by_what_stands_in_it() {
        let records = vec![
            record(b"a", &[0, 0xab, 1], "pump", 1),
            record(b"b", &[0xab, 1], "fan", 2),
        ];
        let issued = Issued::new(records);
        assert_eq!((issued.len(), issued.is_empty()), (2, false));
        assert_eq!(&*issued.find(b"a", &[0xab, 1]).unwrap().name, "pump");
        assert_eq!(&*issued.find(b"b", &[0, 0xab, 1]).unwrap().name, "fan");
        assert!(issued.find(b"c", &[0xab, 1]).is_none());
        assert!(issued.find(b"a", &[0xab, 1]).unwrap().der.is_empty());
        let attributes = issued.find(b"a", &[0xab, 1]).unwrap().attributes.clone();
        assert_eq!(&*attributes["hall"], "1");
        assert_eq!(issued.find(b"a", &[0xab, 1]).unwrap().revoked_at, None);
    }

    #[test]
    fn names_and_serial_numbers_are_told_apart() {
        let records = vec![
            record(b"a", &[0xab, 1], "pump", 1),
            record(b"a", &[0xab, 2], "pump", 2),
            record(b"a", &[0xab, 3], "ab01", 3),
            record(b"a", &[0xab, 4], "cafe", 3),
        ];
        let issued = Issued::new(records);
        let serials = |which: &str| -> Vec<String> {
            let found = issued.meant_by(which);
            found
                .iter()
                .map(|record| record.serial.to_string())
                .collect()
        };
        assert_eq!(serials("pump"), ["ab02", "ab01"]);
        assert_eq!(serials("AB:02"), ["ab02"]);
        assert_eq!(serials("ab01"), ["ab01"], "a serial number comes first");
        assert_eq!(serials("cafe"), ["ab04"], "a name of digits is a name");
        assert!(serials("none").is_empty());
    }

    #[test]
    fn revocations_end_with_their_certificates() {
        let mut revoked = record(b"a", &[7], "pump", 1);
        revoked.revoked_at = Some(5);
        revoked.reason = RevocationReason::KeyCompromise.code();
        let issued = Issued::new(vec![revoked, record(b"a", &[8], "fan", 1)]);
        assert!(issued.find(b"a", &[7]).unwrap().revoked_at.is_some());
        let found = issued.revocations(b"a", 1000);
        assert_eq!(found.len(), 1);
        assert_eq!(found[&vec![7]].reason, RevocationReason::KeyCompromise);
        assert!(issued.revocations(b"a", 1001).is_empty());
        assert!(issued.revocations(b"b", 0).is_empty());
        assert!(issued.has_old_revocations(1001) && !issued.has_old_revocations(1000));
        issued.prune(1001);
        assert!(issued.is_empty());
    }
}
