//! An authority in a folder of its own, and clients that trust it.

use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use tempfile::TempDir;

use super::chance::Counting;
use super::files::{Disk, Files};
use super::*;
use crate::config::StoreSettings;
use crate::store::{Jobs, Store};

/// 2027-01-15, when the tests begin.
pub(super) const START: u64 = 1_800_000_000;

pub(super) struct Rig {
    pub(super) dir: TempDir,
    pub(super) authority: CertificateAuthority,
}

/// A script in the place of that program of systemd.
pub(super) fn systemd_creds(folder: &Path, script: &str) -> PathBuf {
    let path = folder.join("systemd-creds");
    // Not written by this process: a child that another test starts would hold the file open, and then nothing runs it.
    let mut install = Command::new("install")
        .args(["-m", "755", "/dev/stdin"])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    write!(install.stdin.take().unwrap(), "#!/bin/sh\n{script}\n").unwrap();
    assert!(install.wait().unwrap().success());
    path
}

/// An intermediate of another authority with its root, and its key; both are valid now.
pub(crate) fn intermediate() -> (String, String) {
    let rig = Rig::empty(Lifetimes::default());
    let now = Reading::settled(crate::clock::wall_seconds());
    let plan = plan(KeyAlgorithm::EcP256);
    rig.authority.init(&plan, now, &Asker::default()).unwrap();
    let read = |name: &str| std::fs::read_to_string(rig.dir.path().join("ca").join(name)).unwrap();
    (
        read("issuing-2.crt") + &read("root-1.crt"),
        read("issuing-2.key"),
    )
}

impl Rig {
    /// With a folder that has no authority yet.
    pub(super) fn empty(lifetimes: Lifetimes) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = open(dir.path(), Sealing::none(), lifetimes);
        Self { dir, authority }
    }

    pub(super) fn made(algorithm: KeyAlgorithm) -> Self {
        let rig = Self::empty(Lifetimes::default());
        let plan = plan(algorithm);
        rig.authority
            .init(&plan, Reading::settled(START), &Asker::default())
            .unwrap();
        rig
    }

    /// As after a start of the process.
    pub(super) fn reopen(self) -> Self {
        let lifetimes = self.authority.lifetimes;
        let Self { dir, authority } = self;
        drop(authority);
        let authority = open(dir.path(), Sealing::none(), lifetimes);
        Self { dir, authority }
    }

    pub(super) fn sign(&self, name: &str, now: u64) -> Result<IssuedCertificate, CaError> {
        let key = client_key();
        let text = make_request(name, &[], &[], &key).unwrap();
        let request = SigningRequest::parse(text.as_bytes())?;
        let (order, asker) = (Order::default(), Asker::default());
        let reading = Reading::settled(now);
        self.authority
            .sign(&request, order, Origin::Signed, reading, &asker)
    }
}

pub(super) fn plan(algorithm: KeyAlgorithm) -> Plan {
    Plan {
        name: "gateway-7".to_owned(),
        algorithm,
        ..Plan::default()
    }
}

pub(super) fn client_key() -> SecretKey {
    SecretKey::generate(KeyAlgorithm::EcP256, &SystemChance::default()).unwrap()
}

pub(super) fn open(dir: &Path, sealing: Sealing, lifetimes: Lifetimes) -> CertificateAuthority {
    open_on(dir, sealing, lifetimes, Box::new(Disk))
}

pub(super) fn open_on(
    dir: &Path,
    sealing: Sealing,
    lifetimes: Lifetimes,
    files: Box<dyn Files>,
) -> CertificateAuthority {
    let clock = Arc::new(crate::clock::wall);
    let store = Store::open(dir, &StoreSettings::default(), clock).unwrap();
    let chance = Box::new(Counting::default());
    let jobs = Jobs::own(store.writer);
    CertificateAuthority::with(
        dir,
        sealing,
        store.certificates,
        jobs,
        (files, chance),
        lifetimes,
    )
}

pub(super) fn make_request_for(name: &str, dns: &[&str], ip: &[&str]) -> SigningRequest {
    let dns: Vec<_> = dns.iter().map(|dns| DnsName::parse(dns).unwrap()).collect();
    let ip: Vec<IpAddr> = ip.iter().map(|ip| ip.parse().unwrap()).collect();
    let text = make_request(name, &dns, &ip, &client_key()).unwrap();
    SigningRequest::parse(text.as_bytes()).unwrap()
}

pub(super) fn server_order(dns: &str, ip: &str, lifetime: u64) -> Order {
    Order {
        name: Some(CommonName::parse(dns).unwrap()),
        purpose: Purpose::Server,
        dns: vec![DnsName::parse(dns).unwrap()],
        ip: vec![ip.parse::<IpAddr>().unwrap()],
        lifetime: Some(lifetime),
        ..Order::default()
    }
}

fn roots(bundle: &str) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    Arc::new(roots)
}

fn chain(text: &str) -> (CertificateDer<'static>, Vec<CertificateDer<'static>>) {
    let mut chain = CertificateDer::pem_slice_iter(text.as_bytes()).map(Result::unwrap);
    let own = chain.next().unwrap();
    (own, chain.collect())
}

fn at(now: u64) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(now))
}

/// What a client says that trusts `bundle` when it connects to `name` at a time.
pub(super) fn client_says(
    bundle: &str,
    chain_pem: &str,
    name: &str,
    now: u64,
) -> Result<(), rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots(bundle), provider)
        .build()
        .unwrap();
    let (own, issuers) = chain(chain_pem);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    verifier
        .verify_server_cert(&own, &issuers, &name, &[], at(now))
        .map(drop)
}

/// What a server says that trusts `bundle` and looks at `crl`.
pub(super) fn server_says(
    bundle: &str,
    chain_pem: &str,
    crl: &str,
    now: u64,
) -> Result<(), rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots(bundle), provider);
    let lists = rustls::pki_types::CertificateRevocationListDer::pem_slice_iter(crl.as_bytes());
    let lists: Vec<_> = lists.map(Result::unwrap).collect();
    if !lists.is_empty() {
        builder = builder
            .with_crls(lists)
            .only_check_end_entity_revocation()
            .enforce_revocation_expiration();
    }
    let (own, issuers) = chain(chain_pem);
    builder
        .build()
        .unwrap()
        .verify_client_cert(&own, &issuers, at(now))
        .map(drop)
}
