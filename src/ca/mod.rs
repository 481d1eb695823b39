//! Floor 3: the gateway is its own certificate authority.
//!
//! Made on the device at first start: a root, and below it an issuer that signs for ports and clients. Everything is a
//! function of what there is and of the time, which is an argument ([`Reading`]); [`CertificateAuthority`] keeps it in files
//! and rows.

pub mod audit_kind;
mod authority;
mod certificate;
mod chance;
mod command;
mod crl;
mod device;
mod enrol;
mod error;
mod files;
mod hierarchy;
mod import;
mod issue;
mod issued;
mod key;
mod layout;
mod lists;
mod name;
mod pem;
mod permitted;
pub mod pkcs12;
mod port;
mod provision;
mod report;
mod request;
mod root_key;
mod seal;
mod time;
mod token;

#[cfg(test)]
mod chain_tests;
#[cfg(test)]
mod import_tests;
#[cfg(test)]
mod issue_tests;
#[cfg(test)]
mod life_tests;
#[cfg(test)]
mod mended_tests;
#[cfg(test)]
mod rig;

pub use authority::{Asker, CertificateAuthority};
pub use certificate::{NameConstraints, Purpose, Validity, make_request};
pub use chance::{Chance, SystemChance};
pub use command::{CaReply, CaRequest, IssuedReply, LIST_MAX, SecretText};
pub use crl::RevocationReason;
pub use device::DeviceAuthority;
pub use enrol::ENROLLED_PER_NAME_MAX;
pub use error::CaError;
pub use hierarchy::{Lifetimes, Step, export_root_key};
pub use import::check_import;
pub use issue::{IssuedCertificate, Order, Origin, issuer_and_serial};
pub use issued::{CERTIFICATES_MAX, Issued};
pub use key::{KeyAlgorithm, SecretKey};
pub use layout::{KeyPlace, Role};
pub use name::{Attributes, CommonName, DnsName};
pub use port::{MachineNames, PortCertificate, PortCertificateReport, PortCertificates};
pub use provision::Plan;
pub use report::{
    AuthorityCertificate, CaStatus, CertificateReport, NOTICE_DAYS, NextStep, days_left,
};
pub use request::{ALTERNATIVE_NAMES_MAX, REQUEST_BYTES_MAX, RequestFault, SigningRequest};
#[cfg(test)]
pub(crate) use rig::intermediate as intermediate_of_tests;
pub use seal::Sealing;
pub use time::{BACKDATE, ClockTrust, Reading, TrustedClock, TrustedTime};
pub use token::{TOKENS_MAX, TokenReport};
