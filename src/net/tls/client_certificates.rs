//! Certificates of clients in the handshake.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::PROVIDER;
use crate::auth::{ClientTrust, UnfitReason};

/// Asks clients for certificates. One that has none is let through, since another method may take it; one whose certificate
/// is not trusted is not.
#[derive(Debug)]
pub(super) struct ClientCertificates {
    trust: Arc<ClientTrust>,
}

impl ClientCertificates {
    pub(super) fn new(trust: Arc<ClientTrust>) -> Self {
        Self { trust }
    }
}

impl ClientCertVerifier for ClientCertificates {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None: whom the gateway trusts is nobody's business, the list may be long, and it changes.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let chain = std::iter::once(end_entity).chain(intermediates);
        // By the time of the gateway, not by that of the machine, which may begin in 1970.
        let moment = self.trust.moment();
        let checked = self.trust.check(chain.map(AsRef::as_ref), moment);
        match checked {
            Ok(()) => Ok(ClientCertVerified::assertion()),
            Err(unfit) => {
                let error = certificate_error(unfit.reason);
                unfit.keep();
                Err(error.into())
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &PROVIDER.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &PROVIDER.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// What the library makes the right alert of.
fn certificate_error(reason: UnfitReason) -> CertificateError {
    match reason {
        UnfitReason::Expired | UnfitReason::AuthorityNotValid => CertificateError::Expired,
        UnfitReason::NotYetValid => CertificateError::NotValidYet,
        UnfitReason::Revoked | UnfitReason::AuthorityRevoked => CertificateError::Revoked,
        UnfitReason::UnknownIssuer => CertificateError::UnknownIssuer,
        UnfitReason::BadSignature | UnfitReason::UnsupportedSignature => {
            CertificateError::BadSignature
        }
        UnfitReason::WrongPurpose => CertificateError::InvalidPurpose,
        UnfitReason::Malformed | UnfitReason::TooLong | UnfitReason::NotAllowed => {
            CertificateError::BadEncoding
        }
        UnfitReason::NotLoaded => CertificateError::ApplicationVerificationFailure,
    }
}

#[cfg(test)]
mod tests;
