//! Certificates that end, and that nothing renews by itself: announced 30, 14, 7 and 1 day
//! before, and once when it has come.

use std::collections::BTreeMap;

use crate::admin::{CertificateReport, PortReport};
use crate::ca::{CaStatus, NOTICE_DAYS, Role};

const DAY: i64 = 24 * 3600;

/// What was announced already.
#[derive(Debug, Default)]
pub(super) struct Notices {
    /// By what it is about: until when the certificate is valid, and the number of days that was announced.
    said: BTreeMap<String, (u64, u64)>,
}

impl Notices {
    /// What is to be announced now. Nothing is announced twice, unless for another certificate.
    pub(super) fn due(
        &mut self,
        ports: &[PortReport],
        authority: Option<&CaStatus>,
        now: u64,
    ) -> Vec<String> {
        let of_ports = ports.iter().filter_map(|port| {
            let certificate = port.certificate.as_ref()?;
            let name = format!("the certificate of port {}", port.endpoint);
            (!is_renewed(certificate, now)).then_some((name, certificate.not_after_seconds))
        });
        let of_authority = authority.into_iter().flat_map(|authority| {
            let renews = authority.next.is_some();
            let alone = authority.certificates.iter().filter(move |certificate| {
                !renews && certificate.is_current && certificate.role == Role::Issuing
            });
            alone.map(|certificate| {
                let name = format!("the issuer {:?}", certificate.subject);
                (name, certificate.validity.not_after)
            })
        });
        let ending: Vec<_> = of_ports.chain(of_authority).collect();
        self.said
            .retain(|name, _| ending.iter().any(|(ending, _)| ending == name));
        let due = ending.into_iter().filter_map(|(name, not_after)| {
            let seconds = not_after.cast_signed().saturating_sub(now.cast_signed());
            let days = seconds.div_euclid(DAY);
            let mut passed = NOTICE_DAYS.iter().rev();
            let notice = match days {
                ..0 => 0,
                _ => *passed.find(|notice| days < notice.cast_signed())?,
            };
            let said = self.said.insert(name.clone(), (not_after, notice));
            let is_new = said != Some((not_after, notice));
            is_new.then(|| sentence(&name, days))
        });
        due.collect()
    }
}

/// Whether the gateway renews it, and is not late with that.
fn is_renewed(certificate: &CertificateReport, now: u64) -> bool {
    let late = DAY.unsigned_abs();
    certificate
        .renewal_seconds
        .is_some_and(|renewal| now < renewal.saturating_add(late))
}

fn sentence(name: &str, days: i64) -> String {
    match days {
        ..0 => format!("{name} has expired, and nothing renews it by itself"),
        0 => format!("{name} expires in less than a day, and nothing renews it by itself"),
        1 => format!("{name} expires in a day, and nothing renews it by itself"),
        _ => format!("{name} expires in {days} days, and nothing renews it by itself"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::ca::{
        AuthorityCertificate, ClockTrust, KeyAlgorithm, KeyPlace, NameConstraints, NextStep,
        Validity,
    };

    fn port(not_after_seconds: u64, renewal_seconds: Option<u64>) -> PortReport {
        PortReport {
            endpoint: "*:8883".to_owned(),
            certificate: Some(CertificateReport {
                not_after_seconds,
                renewal_seconds,
                ..CertificateReport::default()
            }),
            ..PortReport::default()
        }
    }

    #[test]
    fn end_is_announced_four_times_and_once_when_it_has_come() {
        let day = DAY.unsigned_abs();
        let (mut notices, mut said) = (Notices::default(), Vec::new());
        for hour in 0..24 * 45 {
            let now = 1_800_000_000 + hour * 3600;
            let end = 1_800_000_000 + 40 * day;
            said.extend(notices.due(&[port(end, None)], None, now));
        }
        let when: Vec<_> = said
            .iter()
            .map(|text| {
                text.strip_prefix("the certificate of port *:8883 ")
                    .unwrap()
            })
            .map(|rest| rest.split(',').next().unwrap())
            .collect();
        assert_eq!(
            when,
            [
                "expires in 29 days",
                "expires in 13 days",
                "expires in 6 days",
                "expires in less than a day",
                "has expired"
            ]
        );
        // Another certificate is announced anew.
        let end = 1_800_000_000 + 50 * day;
        let now = 1_800_000_000 + 45 * day;
        assert_eq!(notices.due(&[port(end, None)], None, now).len(), 1);
        assert_eq!(notices.due(&[port(end, None)], None, now).len(), 0);
        assert_eq!(
            notices.due(&[port(now + 40 * day, None)], None, now).len(),
            0
        );
    }

    #[test]
    fn what_renews_itself_is_announced_only_when_it_is_late() {
        let day = DAY.unsigned_abs();
        let now = 1_800_000_000;
        let mut notices = Notices::default();
        let in_time = port(now + 20 * day, Some(now - day / 2));
        assert!(notices.due(&[in_time], None, now).is_empty());
        let late = port(now + 20 * day, Some(now - 2 * day));
        assert_eq!(notices.due(&[late], None, now).len(), 1);
    }

    #[test]
    fn issuer_that_nothing_renews_is_announced() {
        let day = DAY.unsigned_abs();
        let now = 1_800_000_000;
        let issuer = |role, is_current| AuthorityCertificate {
            role,
            number: 2,
            subject: "CN=gateway-7".to_owned(),
            validity: Validity {
                not_before: now - 40 * day,
                not_after: now + 6 * day,
            },
            days_left: 6,
            key: KeyPlace::File,
            is_current,
            since: None,
            is_provisional: false,
            is_imported: false,
            fingerprint: String::new(),
        };
        let mut status = CaStatus {
            name: "gateway-7".to_owned(),
            id: String::new(),
            algorithm: KeyAlgorithm::default(),
            constraints: NameConstraints::default(),
            folder: PathBuf::new(),
            trust_file: PathBuf::new(),
            crl_file: PathBuf::new(),
            certificates: vec![
                issuer(Role::Root, true),
                issuer(Role::Issuing, false),
                issuer(Role::Issuing, true),
            ],
            ports: Vec::new(),
            next: Some(NextStep {
                what: "a new issuer".to_owned(),
                at: now + day,
            }),
            issued: 0,
            revoked: 0,
            provisional: 0,
            now,
            clock: ClockTrust::Settled,
            problems: Vec::new(),
        };
        let mut notices = Notices::default();
        assert!(notices.due(&[], Some(&status), now).is_empty());
        // Without the key of the root nothing comes next.
        status.next = None;
        let said = notices.due(&[], Some(&status), now);
        let text = "the issuer \"CN=gateway-7\" expires in 6 days, and nothing renews it by itself";
        assert_eq!(said, [text]);
        let said = notices.due(&[], Some(&status), now + 7 * day);
        let text = "the issuer \"CN=gateway-7\" has expired, and nothing renews it by itself";
        assert_eq!(said, [text]);
        assert!(notices.due(&[], Some(&status), now + 8 * day).is_empty());
    }
}
