//! What can be asked of the authority, over the control socket and without a gateway alike.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::authority::{Asker, CertificateAuthority};
use super::certificate::NameConstraints;
use super::crl::RevocationReason;
use super::error::CaError;
use super::files;
use super::import::Imported;
use super::issue::{IssuedCertificate, Order, Origin};
use super::key::KeyAlgorithm;
use super::name::CommonName;
use super::provision::Plan;
use super::report::{CaStatus, CertificateReport};
use super::request::{RequestFault, SigningRequest};
use super::time::Reading;
use super::token::TokenReport;
use crate::store::CertificateRecord;

/// Certificates in one answer; the rest is asked for with the next question.
pub const LIST_MAX: usize = 1_000;

/// Something secret on its way, which is erased when it has arrived.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(pub Zeroizing<String>);

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText")
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum CaRequest {
    /// Make the authority.
    Init {
        /// The name of the gateway.
        name: String,
        /// The kind of its keys.
        #[serde(default)]
        algorithm: KeyAlgorithm,
        /// What it may issue.
        #[serde(default)]
        constraints: NameConstraints,
    },
    /// Take an intermediate of another authority.
    Import {
        /// Its chain as PEM text, the root last.
        chain: String,
        /// What the chain is called when it is refused.
        chain_file: PathBuf,
        /// Its key as PEM text.
        key: SecretText,
        /// What the key is called when it is refused.
        key_file: PathBuf,
        /// The name of the gateway, for an authority that is not there yet.
        name: String,
    },
    /// Say how the authority fares.
    Status {},
    /// Sign a request.
    Sign {
        /// The request: PEM text, or DER in Base64.
        request: String,
        /// What is to be issued.
        #[serde(default)]
        order: Order,
    },
    /// Issue a certificate again.
    Renew {
        /// A name or a serial number.
        which: String,
        /// A request with another key.
        #[serde(default)]
        request: Option<String>,
        /// For how many seconds, if not as long as before.
        #[serde(default)]
        lifetime: Option<u64>,
    },
    /// Revoke a certificate, or all of a name.
    Revoke {
        /// A name or a serial number.
        which: String,
        /// Why.
        #[serde(default)]
        reason: RevocationReason,
    },
    /// List what was issued.
    List {
        /// How many of the list were seen.
        #[serde(default)]
        skip: usize,
    },
    /// Show what a name or a serial number means.
    Show {
        /// A name or a serial number.
        which: String,
    },
    /// The roots that others are to trust.
    Trust {},
    /// The revocation lists, made anew.
    Crl {},
    /// Make an enrolment token.
    Token {
        /// The name, the attributes and the lifetime of the certificate.
        order: Order,
        /// For how many seconds the token is good.
        good_for: u64,
    },
    /// List the enrolment tokens that wait for their use.
    Tokens {},
    /// Withdraw the enrolment tokens of a name.
    WithdrawTokens {
        /// The name.
        name: CommonName,
    },
    /// Make a new root now.
    Rollover {},
    /// Remove the keys of the roots from this device.
    RemoveRootKey {},
    /// Bring the key of a root back.
    RestoreRootKey {
        /// The key as PEM text.
        key: SecretText,
        /// What the key is called when it is refused.
        file: PathBuf,
    },
    /// Seal the keys that are in plain files.
    Seal {},
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaReply {
    /// It is done.
    Done,
    /// How the authority fares.
    Status(Box<CaStatus>),
    /// What was issued.
    Issued(Box<IssuedReply>),
    /// What was revoked, or what is listed.
    Certificates {
        /// The certificates.
        certificates: Vec<CertificateReport>,
        /// How many there are in all.
        total: usize,
    },
    /// What is shown: each with its certificate as PEM text.
    Shown(Vec<(CertificateReport, String)>),
    /// Tokens that wait for their use.
    Tokens(Vec<TokenReport>),
    /// So many tokens were withdrawn.
    Withdrawn(usize),
    /// PEM text.
    Text(String),
    /// A token, which is nowhere else.
    Token {
        /// The token.
        token: SecretText,
        /// When it ends, in seconds since 1970.
        expires_at: u64,
        /// The clock is behind, so nobody knows when that is.
        #[serde(default)]
        is_provisional: bool,
    },
    /// So many keys were sealed.
    Sealed(u32),
}

/// A certificate with everything that goes with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedReply {
    /// What is known about it.
    pub report: CertificateReport,
    /// The certificate with its issuers, as PEM text.
    pub chain: String,
    /// The roots that its owner is to trust, as PEM text.
    pub trust: String,
}

impl CertificateAuthority {
    /// Does what is asked for, and notes in the audit log who wanted it. Must not be called on a thread that runs tasks.
    pub fn apply(
        &self,
        request: &CaRequest,
        reading: Reading,
        asker: &Asker,
    ) -> Result<CaReply, CaError> {
        match request {
            CaRequest::Status {} => Ok(CaReply::Status(Box::new(self.status(reading)?))),
            CaRequest::List { skip } => {
                let all = self.issued().all();
                let page = all.iter().skip(*skip).take(LIST_MAX);
                Ok(listed(page.map(|record| &**record), all.len(), reading))
            }
            CaRequest::Show { which } => self.show(which, reading),
            CaRequest::Trust {} => Ok(CaReply::Text(self.trust_pem(reading)?)),
            CaRequest::Crl {} => {
                self.write_crl(reading)?;
                let text = files::read(&self.crl_file())?;
                Ok(CaReply::Text(String::from_utf8_lossy(&text).into_owned()))
            }
            CaRequest::Sign { request, order } => {
                let request = SigningRequest::parse(request.as_bytes())?;
                let made = self.sign(&request, order.clone(), Origin::Signed, reading, asker)?;
                self.reply(&made, reading)
            }
            CaRequest::Renew {
                which,
                request,
                lifetime,
            } => {
                let parsed = request
                    .as_ref()
                    .map(|text| SigningRequest::parse(text.as_bytes()));
                let request = parsed.transpose()?;
                let made = self.renew(
                    which,
                    request.as_ref(),
                    *lifetime,
                    Origin::Signed,
                    reading,
                    asker,
                )?;
                self.reply(&made, reading)
            }
            CaRequest::Revoke { which, reason } => {
                let revoked = self.revoke(which, *reason, reading, asker)?;
                Ok(listed(revoked.iter(), revoked.len(), reading))
            }
            CaRequest::Token { order, good_for } => {
                let (token, expires_at) = self.make_token(order, *good_for, reading, asker)?;
                let token = SecretText(token);
                Ok(CaReply::Token {
                    token,
                    expires_at,
                    is_provisional: !reading.is_plausible(),
                })
            }
            CaRequest::Tokens {} => Ok(CaReply::Tokens(self.tokens(reading)?)),
            CaRequest::WithdrawTokens { name } => {
                let withdrawn = self.withdraw_tokens(name, reading, asker)?;
                Ok(CaReply::Withdrawn(withdrawn))
            }
            _ => self.apply_to_hierarchy(request, reading, asker),
        }
    }

    fn apply_to_hierarchy(
        &self,
        request: &CaRequest,
        reading: Reading,
        asker: &Asker,
    ) -> Result<CaReply, CaError> {
        match request {
            CaRequest::Init {
                name,
                algorithm,
                constraints,
            } => {
                let plan = Plan {
                    name: gateway_name(name)?,
                    algorithm: *algorithm,
                    constraints: constraints.clone(),
                };
                self.init(&plan, reading, asker)?;
            }
            CaRequest::Import {
                chain,
                chain_file,
                key,
                key_file,
                name,
            } => {
                let imported = Imported {
                    chain: chain.as_bytes(),
                    chain_file,
                    key: key.0.as_bytes(),
                    key_file,
                    name: &gateway_name(name)?,
                };
                self.import(&imported, reading, asker)?;
            }
            CaRequest::Rollover {} => self.roll_over(reading, asker)?,
            CaRequest::RemoveRootKey {} => self.remove_root_keys(reading, asker)?,
            CaRequest::RestoreRootKey { key, file } => {
                self.restore_root_key(key.0.as_bytes(), file, reading, asker)?;
            }
            CaRequest::Seal {} => return Ok(CaReply::Sealed(self.seal(reading, asker)?)),
            // The others have been taken before.
            _ => {}
        }
        Ok(CaReply::Done)
    }

    fn show(&self, which: &str, reading: Reading) -> Result<CaReply, CaError> {
        let meant = self.issued().meant_by(which);
        if meant.is_empty() {
            return Err(CaError::Unknown {
                which: which.to_owned(),
            });
        }
        let mut shown = Vec::new();
        for record in meant.iter().take(LIST_MAX) {
            let record = self.whole(record)?;
            let report = CertificateReport::new(&record, reading.now);
            shown.push((report, super::pem::encode_chain([&*record.der])));
        }
        Ok(CaReply::Shown(shown))
    }

    fn reply(&self, made: &IssuedCertificate, reading: Reading) -> Result<CaReply, CaError> {
        Ok(CaReply::Issued(Box::new(IssuedReply {
            report: CertificateReport::new(&made.record, reading.now),
            chain: made.chain_pem(),
            trust: self.trust_pem(reading)?,
        })))
    }
}

fn listed<'a>(
    records: impl Iterator<Item = &'a CertificateRecord>,
    total: usize,
    reading: Reading,
) -> CaReply {
    CaReply::Certificates {
        certificates: records
            .map(|record| CertificateReport::new(record, reading.now))
            .collect(),
        total,
    }
}

/// The name of a gateway as it goes into the names of its authority.
fn gateway_name(name: &str) -> Result<String, CaError> {
    let parsed = super::name::CommonName::parse(name).map_err(RequestFault::Name)?;
    Ok(parsed.as_str().to_owned())
}
