//! Authorities, certificates and revocation lists for the tests of this module.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};

use super::ClientTrust;
use crate::auth::Access;
use crate::ca::DeviceAuthority;
use crate::config::{CertificateIdentity, TrustSource, X509Settings};

/// Certificates of the tests are valid through 2026.
pub(super) fn day(month: u64, day: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs((20454 + (month - 1) * 30 + day) * 24 * 3600)
}

pub(super) struct Ca(pub(super) CertifiedIssuer<'static, KeyPair>);

pub(super) fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    params
}

pub(super) fn client(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

fn authority(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Ca {
    pub(super) fn root(name: &str) -> Self {
        Self::root_with(authority(name))
    }

    pub(super) fn root_with(params: CertificateParams) -> Self {
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn below(&self, name: &str) -> Self {
        self.below_with(authority(name))
    }

    pub(super) fn below_with(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::signed_by(params, key, &*self.0).unwrap())
    }

    /// One that is valid through 2026 up to this day only.
    pub(super) fn brief(&self, name: &str, month: u8) -> Self {
        let mut params = authority(name);
        params.not_after = date_time_ymd(2026, month, 1);
        self.below_with(params)
    }

    pub(super) fn der(&self) -> Box<[u8]> {
        self.0.der().as_ref().into()
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(super) fn sign(&self, params: &CertificateParams) -> Box<[u8]> {
        let key = KeyPair::generate().unwrap();
        params
            .signed_by(&key, &*self.0)
            .unwrap()
            .der()
            .as_ref()
            .into()
    }

    pub(super) fn client(&self, name: &str) -> Box<[u8]> {
        self.sign(&client(name))
    }

    /// A list of this month that names these certificates.
    pub(super) fn list(&self, month: u8, revoked: &[&[u8]]) -> String {
        let revoked = revoked.iter().map(|der| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial(der)),
            revocation_time: date_time_ymd(2026, month, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, month, 1),
            next_update: date_time_ymd(2026, month + 1, 1),
            crl_number: SerialNumber::from(u64::from(month)),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&*self.0).unwrap().pem().unwrap()
    }
}

fn serial(der: &[u8]) -> &[u8] {
    use x509_parser::prelude::FromDer;
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(der).unwrap();
    certificate.tbs_certificate.raw_serial()
}

/// A folder with `ca.pem` and `crl.pem`.
pub(super) struct Site(pub(super) tempfile::TempDir);

impl Site {
    pub(super) fn new(trusted: &[&Ca]) -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        site.trust(trusted);
        site
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn trust(&self, trusted: &[&Ca]) {
        let text: String = trusted.iter().map(|ca| ca.pem()).collect();
        self.write("ca.pem", &text);
    }

    /// Takes the place of what was there, as a careful program writes a file.
    pub(super) fn write(&self, name: &str, text: &str) {
        let new = self.path("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.path(name)).unwrap();
    }

    /// What methods are made with.
    pub(super) fn access(&self) -> Access {
        let device = Arc::new(DeviceAuthority::none(self.0.path()));
        Access::new(self.0.path(), Arc::default(), device, &Default::default())
    }

    pub(super) fn settings(&self) -> X509Settings {
        X509Settings {
            trust: vec![TrustSource::Path(self.path("ca.pem"))],
            crls: Vec::new(),
            identity: CertificateIdentity::CommonName,
            attributes: Vec::new(),
        }
    }

    /// With the revocation lists of `crl.pem`.
    pub(super) fn settings_with_lists(&self) -> X509Settings {
        X509Settings {
            crls: vec![self.path("crl.pem")],
            ..self.settings()
        }
    }

    pub(super) fn trust_of(&self, settings: &X509Settings) -> ClientTrust {
        let trust = ClientTrust::new(settings, Path::new("/nowhere"));
        trust.refresh_at(day(2, 1));
        trust
    }
}
