//! Any bytes as a request for a certificate: it is refused with a reason, or what is taken from it can be issued.
#![no_main]

use fieldgate::ca::{ALTERNATIVE_NAMES_MAX, DnsName, SigningRequest, issuer_and_serial};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Certificates of clients are read by the same library.
    let _ = issuer_and_serial(bytes);
    match SigningRequest::parse(bytes) {
        Err(fault) => {
            assert!(!fault.to_string().is_empty() && !fault.hint().is_empty());
        }
        Ok(request) => {
            if let Some(name) = &request.name {
                assert!((1..=64).contains(&name.as_str().chars().count()));
            }
            assert!(request.dns.len() + request.ip.len() <= ALTERNATIVE_NAMES_MAX);
            for name in &request.dns {
                assert_eq!(DnsName::parse(name.as_str()).as_ref(), Ok(name));
            }
        }
    }
});
