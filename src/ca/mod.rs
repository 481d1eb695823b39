//! Floor 3: the gateway is its own certificate authority.
//!
//! Made on the device at first start: a root, and below it an issuer that signs for ports and clients. Everything is a
//! function of what there is and of the time, which is an argument ([`Reading`]); [`CertificateAuthority`] keeps it in files
//! and rows.

mod certificate;
mod chance;
mod crl;
mod error;
mod files;
mod hierarchy;
mod key;
mod layout;
mod name;
mod pem;
mod provision;
mod request;
mod seal;
mod time;

pub use certificate::{NameConstraints, Purpose, Validity, make_request};
pub use chance::{Chance, SystemChance};
pub use crl::RevocationReason;
pub use error::CaError;
pub use hierarchy::{Lifetimes, Step};
pub use key::{KeyAlgorithm, SecretKey};
pub use layout::{KeyPlace, Role};
pub use name::{Attributes, CommonName, DnsName};
pub use provision::Plan;
pub use request::{ALTERNATIVE_NAMES_MAX, REQUEST_BYTES_MAX, RequestFault, SigningRequest};
pub use seal::Sealing;
pub use time::{BACKDATE, ClockTrust, Reading, TrustedClock, TrustedTime};
