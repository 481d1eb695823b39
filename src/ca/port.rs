//! Certificates of the ports of this gateway: one file each, made anew in time and when what they have to name changes.
//!
//! A port is never left without a certificate that it had: whatever keeps a new one from being made, the old one is used to
//! its end.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::authority::CertificateAuthority;
use super::certificate::{CaCertificate, Leaf, Purpose, Validity};
use super::error::CaError;
use super::files::{self, Audience};
use super::hierarchy::IssuingCa;
use super::issue::Order;
use super::key::{KeyAlgorithm, SecretKey};
use super::name::{CommonName, DnsName};
use super::pem;
use super::report::days_left;
use super::request::ALTERNATIVE_NAMES_MAX;
use super::time::{BACKDATE, DAY, Reading};
use crate::config::{AutomaticCertificate, RotationPolicy};

/// The folder of the certificates of ports in the folder of the authority.
const FOLDER: &str = "ports";

/// Beginnings of the lines in front of the PEM text of such a file.
const PORT_LINE: &str = "port: ";
const RENEWAL_LINE: &str = "renewal: ";

/// Time for which the certificate of a port that there is no more is kept after its end.
const KEPT_AFTER_END: u64 = 30 * DAY;

/// The longest name of a file without its ending.
const FILE_NAME_MAX: usize = 100;

/// Seconds between two certificates that are made because an address has come: addresses may come and go all the time.
const ADDRESS_PAUSE: u64 = 60;

/// A difference in the time of validity that is no change of the configuration.
const DURATION_SLACK: u64 = 3_600;

/// The name for whom nobody knows a better one.
const FALLBACK_NAME: &str = "fieldgate";

/// What a machine is called and where it is reached, now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineNames {
    /// The host name, with or without a domain.
    pub host: String,
    /// Addresses that others reach it at.
    pub addresses: BTreeSet<IpAddr>,
}

/// The certificate of a port with its key.
#[derive(Debug)]
pub struct PortCertificate {
    key: Arc<SecretKey>,
    chain: Vec<CertificateDer<'static>>,
    leaf: Leaf,
}

impl PortCertificate {
    /// The certificate and its issuers, in the order in which they are presented.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The private key.
    #[must_use]
    pub fn key(&self) -> &SecretKey {
        &self.key
    }

    /// The last second of its validity, since 1970.
    #[must_use]
    pub fn not_after(&self) -> u64 {
        self.leaf.validity.not_after
    }
}

/// What the certificate of one port is to be like, and the one that it has.
#[derive(Debug)]
pub struct PortCertificates {
    port: String,
    wanted: AutomaticCertificate,
    held: Option<Arc<PortCertificate>>,
    was_read: bool,
    /// When an address was the reason for a new certificate.
    moved_at: Option<u64>,
    /// What could not be written to the file.
    unsaved: Option<Unsaved>,
}

/// The content of a file, which has a key.
struct Unsaved(Zeroizing<String>);

impl fmt::Debug for Unsaved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unsaved").finish_non_exhaustive()
    }
}

/// What of the authority matters for a port.
struct Issuer {
    subject_der: Vec<u8>,
    validity: Validity,
    algorithm: KeyAlgorithm,
    names: Names,
}

/// The names and addresses that a certificate is to have.
#[derive(Debug, PartialEq, Eq)]
struct Names {
    /// Those that are written, and those of the machine.
    dns: BTreeSet<DnsName>,
    /// Those that are written.
    ip: BTreeSet<IpAddr>,
    /// Those that the machine has now, as far as there is room.
    current: BTreeSet<IpAddr>,
    /// How many of the machine's there is no room for.
    left_out: usize,
}

/// The certificate that a port has, as its file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortCertificateReport {
    /// The name of the port.
    pub port: String,
    /// Its DNS names and addresses.
    pub names: Vec<String>,
    /// When it is valid.
    #[serde(flatten)]
    pub validity: Validity,
    /// Whole days until its end; negative when it has ended.
    pub days_left: i64,
    /// When it will be renewed, in seconds since 1970.
    pub renewal: Option<u64>,
}

/// Why a certificate is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    First,
    Due,
    TimeKnown,
    Settings,
    Names,
    Address,
    Issuer,
    Revoked,
}

impl Reason {
    fn sentence(self) -> &'static str {
        match self {
            Self::First => "the port has none yet",
            Self::Due => "the former one ends",
            Self::TimeKnown => "the former one was made before the time was known",
            Self::Settings => "the configuration asks for another one",
            Self::Names => "the machine has another name, or the configuration has more names",
            Self::Address => "the machine has another address",
            Self::Issuer => "another issuer issues now",
            Self::Revoked => "the former one was revoked",
        }
    }
}

impl PortCertificates {
    /// For the port with this name. Nothing is read yet.
    #[must_use]
    pub fn new(port: &str, wanted: AutomaticCertificate) -> Self {
        Self {
            port: port.to_owned(),
            wanted,
            held: None,
            was_read: false,
            moved_at: None,
            unsaved: None,
        }
    }

    /// The name of the port.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.port
    }

    /// The certificate to present, the newest that could be had.
    #[must_use]
    pub fn held(&self) -> Option<&Arc<PortCertificate>> {
        self.held.as_ref()
    }

    /// When the one that is held will be renewed, in seconds since 1970.
    #[must_use]
    pub fn renewal_at(&self) -> Option<u64> {
        let held = self.held.as_ref()?;
        Some(
            held.not_after()
                .saturating_sub(self.wanted.renew_before.as_secs()),
        )
    }

    fn why(&self, ca: &CertificateAuthority, issuer: &Issuer, reading: Reading) -> Option<Reason> {
        let Some(held) = &self.held else {
            return Some(Reason::First);
        };
        let (leaf, names) = (&held.leaf, &issuer.names);
        let record = ca.issued.find(&leaf.issuer_der, &leaf.serial);
        if record.is_some_and(|record| record.revoked_at.is_some()) {
            return Some(Reason::Revoked);
        }
        if leaf.issuer_der != issuer.subject_der {
            return Some(Reason::Issuer);
        }
        let algorithm = self.wanted.key_algorithm.unwrap_or(issuer.algorithm);
        if held.key.algorithm() != algorithm {
            return Some(Reason::Settings);
        }
        if let Some(reason) = self.why_at(held, issuer, reading) {
            return Some(reason);
        }
        let has_ip = |ip: &IpAddr| leaf.ip.contains(ip);
        let same_dns =
            leaf.dns.len() == names.dns.len() && names.dns.iter().all(|dns| leaf.dns.contains(dns));
        if !same_dns || !names.ip.iter().all(has_ip) {
            return Some(Reason::Names);
        }
        let pauses = self
            .moved_at
            .is_some_and(|at| at.abs_diff(reading.now) < ADDRESS_PAUSE);
        (!pauses && !names.current.iter().all(has_ip)).then_some(Reason::Address)
    }

    /// What the time makes of a certificate.
    fn why_at(&self, held: &PortCertificate, issuer: &Issuer, reading: Reading) -> Option<Reason> {
        let found = held.leaf.validity;
        let duration = self.wanted.duration.as_secs();
        let (next, _) = reading.validity_of_port(duration, issuer.validity);
        let length = |validity: Validity| validity.not_after.saturating_sub(validity.not_before);
        let usual = duration.saturating_add(BACKDATE);
        // As long as its issuer, which is what those are that were made while the clock was behind.
        let is_provisional =
            found == issuer.validity && length(found) > usual.saturating_add(DURATION_SLACK);
        if reading.is_plausible() && (is_provisional || found.not_before > reading.now) {
            return Some(Reason::TimeKnown);
        }
        // While the clock is new it is longer than that.
        let is_cut = found.not_after == issuer.validity.not_after;
        if reading.is_settled() && !is_cut && length(found).abs_diff(usual) > DURATION_SLACK {
            return Some(Reason::Settings);
        }
        let has_ended = found.not_after < reading.now;
        let renew_at = found
            .not_after
            .saturating_sub(self.wanted.renew_before.as_secs());
        let is_due = has_ended || (reading.is_plausible() && renew_at <= reading.now);
        // An issuer that ends first cannot help.
        (is_due && next.not_after > found.not_after).then_some(Reason::Due)
    }

    /// The key for the next certificate: the one that there is where it is to stay, and where it is of the right kind.
    fn next_key(
        &self,
        ca: &CertificateAuthority,
        algorithm: KeyAlgorithm,
    ) -> Result<Arc<SecretKey>, CaError> {
        if let (RotationPolicy::Never, Some(held)) = (self.wanted.rotation_policy, &self.held)
            && held.key.algorithm() == algorithm
        {
            return Ok(Arc::clone(&held.key));
        }
        SecretKey::generate(algorithm, ca.chance()).map(Arc::new)
    }

    /// Addresses for the next certificate. When one has come, those that the former certificate has stay: they may be back
    /// in a moment.
    fn addresses(&self, names: &Names, reason: Reason, room: usize) -> Vec<IpAddr> {
        let mut ip: Vec<IpAddr> = names.ip.union(&names.current).copied().collect();
        if let (Reason::Address, Some(held)) = (reason, &self.held) {
            let former = held.leaf.ip.iter().filter(|ip| !names.ip.contains(ip));
            let former: Vec<_> = former
                .filter(|found| !ip.contains(found))
                .copied()
                .collect();
            ip.extend(former);
        }
        ip.truncate(room);
        ip
    }
}

impl CertificateAuthority {
    /// Sees to it that a port has a certificate that is good now. Says whether it holds another one than before, which can
    /// be so even if this fails: one that there was, or one that could not be kept.
    pub fn renew_port(
        &self,
        port: &mut PortCertificates,
        machine: &MachineNames,
        reading: Reading,
    ) -> (bool, Result<(), CaError>) {
        let file = self.port_file(&port.port);
        let mut changed = false;
        if !port.was_read {
            port.was_read = true;
            match read_held(&file) {
                Ok(held) => {
                    changed = held.is_some();
                    port.held = held.map(Arc::new);
                }
                Err(fault) => warn!(
                    port = port.port,
                    hint = "a new one takes its place",
                    "the certificate of the port cannot be used: {fault}"
                ),
            }
        }
        match self.renew_held(port, &file, machine, reading) {
            Ok(made) => (changed || made, Ok(())),
            Err((made, fault)) => (changed || made, Err(fault)),
        }
    }

    fn renew_held(
        &self,
        port: &mut PortCertificates,
        file: &Path,
        machine: &MachineNames,
        reading: Reading,
    ) -> Result<bool, (bool, CaError)> {
        let early = |fault| (false, fault);
        if let Some(Unsaved(text)) = &port.unsaved {
            self.keep_port(file, text.as_bytes()).map_err(early)?;
            port.unsaved = None;
        }
        let issuer = self
            .issuer_for(&port.wanted, machine, reading)
            .map_err(early)?;
        let Some(reason) = port.why(self, &issuer, reading) else {
            return Ok(false);
        };
        let algorithm = port.wanted.key_algorithm.unwrap_or(issuer.algorithm);
        let key = port.next_key(self, algorithm).map_err(early)?;
        if issuer.names.left_out > 0 {
            warn!(
                port = port.port,
                left_out = issuer.names.left_out,
                "the machine has more addresses than fit into a certificate: clients are refused by their own check at the others"
            );
        }
        let room = ALTERNATIVE_NAMES_MAX.saturating_sub(issuer.names.dns.len());
        let order = Order {
            name: Some(common_name(&machine.host).map_err(early)?),
            purpose: Purpose::Server,
            ip: port.addresses(&issuer.names, reason, room),
            dns: issuer.names.dns.into_iter().collect(),
            lifetime: Some(port.wanted.duration.as_secs()),
            ..Order::default()
        };
        let issued = self.issue_for(&key, &order, reading).map_err(early)?;
        info!(
            port = port.port,
            serial = %issued.record.serial,
            "certificate of the port renewed: {}",
            reason.sentence()
        );
        if reason == Reason::Address {
            port.moved_at = Some(reading.now);
        }
        let renewal_at = issued
            .record
            .not_after
            .saturating_sub(port.wanted.renew_before.as_secs());
        let text = file_text(&port.port, renewal_at, &key, &issued.chain_pem());
        let own = std::iter::once(issued.record.der.to_vec());
        let leaf = Leaf::parse(&issued.record.der)
            .ok_or_else(|| early(CaError::crypto("the certificate cannot be read")))?;
        port.held = Some(Arc::new(PortCertificate {
            chain: own
                .chain(issued.issuers)
                .map(CertificateDer::from)
                .collect(),
            key,
            leaf,
        }));
        // What cannot be kept is used all the same, and tried again.
        self.keep_port(file, text.as_bytes()).map_err(|fault| {
            port.unsaved = Some(Unsaved(text));
            (true, fault)
        })?;
        Ok(true)
    }

    fn issuer_for(
        &self,
        wanted: &AutomaticCertificate,
        machine: &MachineNames,
        reading: Reading,
    ) -> Result<Issuer, CaError> {
        self.look(|hierarchy| {
            let issuer: &IssuingCa = hierarchy.current(reading.now)?;
            let certificate: &CaCertificate = &issuer.certificate;
            Ok(Issuer {
                subject_der: certificate.subject_der.clone(),
                validity: issuer.validity,
                algorithm: certificate.algorithm.unwrap_or(hierarchy.state.algorithm),
                names: names(
                    wanted,
                    machine,
                    &|dns| hierarchy.permits_dns(issuer, dns),
                    &|ip| hierarchy.permits_ip(issuer, ip),
                )?,
            })
        })
    }

    /// The certificates that ports have, or had not long ago. Files that cannot be read are left out.
    pub(super) fn ports(&self, now: u64) -> Vec<PortCertificateReport> {
        let folder = self.folder.join(FOLDER);
        let names = files::names(&folder).unwrap_or_default();
        let names = names.iter().filter(|name| !name.starts_with(files::NEW));
        names
            .filter_map(|name| report_of(&folder.join(name), now))
            .collect()
    }

    /// Removes the files of ports that there are no more, when their certificates have ended long ago.
    pub(super) fn prune_ports(&self, now: u64) -> Result<(), CaError> {
        let folder = self.folder.join(FOLDER);
        for name in files::names(&folder).unwrap_or_default() {
            let file = folder.join(name);
            let is_over = report_of(&file, now)
                .is_some_and(|port| port.validity.not_after.saturating_add(KEPT_AFTER_END) < now);
            if is_over {
                self.files()
                    .remove_file(&file)
                    .map_err(|error| CaError::io(&file, "remove", error))?;
            }
        }
        Ok(())
    }

    fn port_file(&self, port: &str) -> PathBuf {
        self.folder.join(FOLDER).join(file_name(port))
    }

    /// One file for key and certificates, so that they are of one another whenever the power fails.
    fn keep_port(&self, file: &Path, text: &[u8]) -> Result<(), CaError> {
        let folder = self.folder.join(FOLDER);
        if !folder.exists() {
            self.files()
                .make_folder(&folder)
                .map_err(|error| CaError::io(&folder, "write", error))?;
            self.shop().sync(&self.folder)?;
        }
        files::replace(self.files(), file, text, Audience::Private)?;
        self.shop().sync(&folder)
    }
}

/// Key and certificates, after a few lines for people and for [`CertificateAuthority::ports`]. Whoever reads PEM skips them
/// (RFC 7468, section 2).
fn file_text(port: &str, renewal_at: u64, key: &SecretKey, chain: &str) -> Zeroizing<String> {
    let head = format!("{PORT_LINE}{port}\n{RENEWAL_LINE}{renewal_at}\n");
    let key = key.pem();
    let mut text = Zeroizing::new(String::with_capacity(head.len() + key.len() + chain.len()));
    text.push_str(&head);
    text.push_str(&key);
    text.push_str(chain);
    text
}

fn read_held(file: &Path) -> Result<Option<PortCertificate>, CaError> {
    let Some(text) = files::read_if_there(file)? else {
        return Ok(None);
    };
    let chain = pem::certificates(&text, file)?;
    let malformed = || CaError::CertificateMalformed {
        file: file.to_owned(),
    };
    let leaf = chain.first().and_then(|own| Leaf::parse(own));
    let leaf = leaf.ok_or_else(malformed)?;
    let key = leaf.read_key(&text, file)?;
    Ok(Some(PortCertificate {
        key: Arc::new(key),
        chain,
        leaf,
    }))
}

fn report_of(file: &Path, now: u64) -> Option<PortCertificateReport> {
    let text = files::read_if_there(file).ok()??;
    let leaf = Leaf::parse(pem::certificates(&text, file).ok()?.first()?)?;
    let head = std::str::from_utf8(&text).ok()?;
    let line = |begin: &str| head.lines().find_map(|line| line.strip_prefix(begin));
    let dns = leaf.dns.iter().map(ToString::to_string);
    Some(PortCertificateReport {
        port: line(PORT_LINE)?.to_owned(),
        names: dns.chain(leaf.ip.iter().map(ToString::to_string)).collect(),
        validity: leaf.validity,
        days_left: days_left(leaf.validity.not_after, now),
        renewal: line(RENEWAL_LINE).and_then(|text| text.parse().ok()),
    })
}

/// The name of the file for a port: what is no letter or digit is written as its code, so that no two ports share one.
fn file_name(port: &str) -> String {
    let mut name = String::new();
    for byte in port.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' => name.push(char::from(byte)),
            _ => name.push_str(&format!("_{byte:02x}")),
        }
    }
    if name.len() > FILE_NAME_MAX {
        let hash = ring::digest::digest(&ring::digest::SHA256, port.as_bytes());
        name = data_encoding::HEXLOWER.encode(hash.as_ref());
    }
    format!("{name}.pem")
}

fn common_name(host: &str) -> Result<CommonName, CaError> {
    CommonName::parse(host)
        .or_else(|_| CommonName::parse(FALLBACK_NAME))
        .map_err(|fault| CaError::input(host, fault))
}

/// What a certificate is to name. What is written must be permitted; what the machine has is left out where it is not.
fn names(
    wanted: &AutomaticCertificate,
    machine: &MachineNames,
    permits_dns: &dyn Fn(&DnsName) -> bool,
    permits_ip: &dyn Fn(IpAddr) -> bool,
) -> Result<Names, CaError> {
    const PROBLEM: &str = "the authority may not issue for it: see permit_dns and permit_ip";
    if let Some(dns) = wanted.dns.iter().find(|dns| !permits_dns(dns)) {
        return Err(CaError::input(dns.as_str(), PROBLEM));
    }
    if let Some(ip) = wanted.ip.iter().find(|ip| !permits_ip(**ip)) {
        return Err(CaError::input(ip.to_string(), PROBLEM));
    }
    let host = machine.host.trim_end_matches('.');
    let short = host.split('.').next().unwrap_or(host);
    let own = [
        host.to_owned(),
        short.to_owned(),
        format!("{short}.local"),
        "localhost".to_owned(),
    ];
    let own = own.iter().filter_map(|name| DnsName::parse(name).ok());
    let mut dns = wanted.dns.clone();
    dns.extend(own.filter(|name| permits_dns(name)));
    let room = ALTERNATIVE_NAMES_MAX.saturating_sub(dns.len() + wanted.ip.len());
    let this_machine: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    // Addresses of IPv4 come first: of the other kind a machine may have dozens.
    let mut current: Vec<IpAddr> = this_machine.to_vec();
    current.extend(machine.addresses.iter().copied());
    current.retain(|ip| permits_ip(*ip) && !wanted.ip.contains(ip));
    Ok(Names {
        dns,
        ip: wanted.ip.clone(),
        left_out: current.len().saturating_sub(room),
        current: current.into_iter().take(room).collect(),
    })
}

#[cfg(test)]
#[path = "port_tests.rs"]
mod tests;
