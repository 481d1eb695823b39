//! Enrolment tokens: made, listed, withdrawn. They are used up in [`super::issue`].

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::authority::{Asker, CertificateAuthority};
use super::error::CaError;
use super::issue::Order;
use super::name::{CommonName, check_attributes};
use super::request::RequestFault;
use super::time::{BACKDATE, DAY, Reading};
use super::{audit_kind, chance};
use crate::store::{TokenRecord, audit, certificates};

/// Letters of an enrolment token: 160 bits.
const TOKEN_LETTERS: usize = 32;

/// Tokens that may wait for their use: more than a technician hands out in a day.
pub const TOKENS_MAX: u64 = 1_000;

/// The longest time for which a token may be good.
const TOKEN_LIFETIME_MAX: u64 = 30 * DAY;

/// A token that waits for its use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenReport {
    /// Who may enrol with it.
    pub name: String,
    /// When it was made, in seconds since 1970.
    pub created_at: u64,
    /// Until when it is good.
    pub expires_at: u64,
}

impl CertificateAuthority {
    /// The tokens that wait for their use, without what makes them good.
    pub fn tokens(&self, reading: Reading) -> Result<Vec<TokenReport>, CaError> {
        let found = self.jobs.run(certificates::read_tokens)?;
        let good = found.into_iter().filter(|found| is_good(found, reading));
        Ok(good
            .map(|found| TokenReport {
                name: found.name.into(),
                created_at: found.created_at,
                expires_at: found.expires_at,
            })
            .collect())
    }

    /// Withdraws all tokens of a name; says how many there were.
    pub fn withdraw_tokens(
        &self,
        name: &CommonName,
        reading: Reading,
        asker: &Asker,
    ) -> Result<usize, CaError> {
        let entry = self.entry(
            audit_kind::TOKEN,
            name.as_str(),
            "withdrawn".to_owned(),
            reading,
            asker,
        );
        let (name, rows_max) = (name.as_str().to_owned(), self.audit_rows_max());
        Ok(self.jobs.run(move |transaction| {
            let withdrawn = certificates::remove_tokens_of(transaction, &name)?;
            if withdrawn > 0 {
                audit::append(transaction, std::slice::from_ref(&entry), rows_max)?;
            }
            Ok(withdrawn)
        })?)
    }

    /// Makes a token with which somebody may enrol once, under a name.
    pub fn make_token(
        &self,
        order: &Order,
        good_for: u64,
        reading: Reading,
        asker: &Asker,
    ) -> Result<(Zeroizing<String>, u64), CaError> {
        let Some(name) = &order.name else {
            return Err(RequestFault::NoName.into());
        };
        check_attributes(&order.attributes)
            .map_err(|fault| CaError::input("the attributes", fault))?;
        self.check_lifetime(order.lifetime)?;
        if good_for == 0 || good_for > TOKEN_LIFETIME_MAX {
            return Err(CaError::input(
                "the time of the token",
                "it is good for up to 30 days",
            ));
        }
        // Without an authority nobody could use it.
        self.look(|_| Ok(()))?;
        let token = Zeroizing::new(chance::letters(self.chance(), TOKEN_LETTERS)?);
        let record = TokenRecord {
            hash: token_hash(&token),
            name: name.as_str().into(),
            attributes: order.attributes.clone(),
            lifetime: order.lifetime,
            created_at: reading.now,
            expires_at: reading.now.saturating_add(good_for),
        };
        let expires_at = record.expires_at;
        let detail = format!("until {expires_at}");
        let entry = self.entry(audit_kind::TOKEN, name.as_str(), detail, reading, asker);
        // A clock that was set wrongly for a moment takes no token away.
        let ended_by = match reading.is_settled() {
            true => reading.now,
            false => reading.least,
        };
        let rows_max = self.audit_rows_max();
        let is_taken = self.jobs.run(move |transaction| {
            if certificates::prune_tokens(transaction, ended_by)? >= TOKENS_MAX {
                return Ok(false);
            }
            certificates::put_token(transaction, &record)?;
            audit::append(transaction, std::slice::from_ref(&entry), rows_max)?;
            Ok(true)
        })?;
        if is_taken {
            Ok((token, expires_at))
        } else {
            Err(CaError::Full {
                what: "enrolment tokens",
                max: TOKENS_MAX,
            })
        }
    }
}

/// Whether a token has not ended. One that was made more than a day later than now was made by a clock that was wrong, and would
/// be good for longer than anybody wanted; while the clock is behind nobody knows.
pub(super) fn is_good(token: &TokenRecord, reading: Reading) -> bool {
    let is_ahead = token.created_at > reading.now.saturating_add(BACKDATE);
    reading.now <= token.expires_at && !(is_ahead && reading.is_plausible())
}

/// Tokens are as hard to guess as keys, so one round of a fast hash keeps them secret.
pub(super) fn token_hash(token: &str) -> Box<str> {
    let hash = digest(&SHA256, token.as_bytes());
    data_encoding::HEXLOWER.encode(hash.as_ref()).into()
}
