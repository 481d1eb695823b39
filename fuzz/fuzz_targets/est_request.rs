//! Any bytes as what a device sends to enrol: its login, the kind of its body, and the body in pieces.
#![no_main]

use data_encoding::BASE64;
use fieldgate::ca::{REQUEST_BYTES_MAX, RequestFault};
use fieldgate::est::{RequestBody, is_pkcs10, login};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = is_pkcs10(bytes);
    let _ = login(bytes);
    let header = format!("Basic {}", BASE64.encode(bytes));
    if let Some(found) = login(header.as_bytes()) {
        assert!(!found.username.is_empty() && !found.password.is_empty());
        assert!(
            !found
                .username
                .contains(|c: char| c == ':' || c.is_control())
        );
        let pair = [found.username.as_bytes(), b":", &found.password].concat();
        assert_eq!(pair, bytes);
    }

    let whole = in_pieces(bytes, bytes.len().max(1));
    let parts = in_pieces(bytes, usize::from(bytes.first().copied().unwrap_or(0)) + 1);
    let Ok(request) = &whole else {
        assert_eq!(whole.err(), parts.err());
        return;
    };
    assert_eq!(parts.expect("the same in pieces").name, request.name);
    // A request in DER is the same one in every form in which clients send it.
    if matches!(bytes, [0x30, 0x80..=0xff, ..]) {
        let base64 = BASE64.encode(bytes);
        let lines: Vec<&str> = base64
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).unwrap_or_default())
            .collect();
        for text in [base64.clone(), lines.join("\n"), lines.join("\r\n")] {
            if text.len() <= REQUEST_BYTES_MAX {
                let again = in_pieces(text.as_bytes(), 100).expect("the same as text");
                assert_eq!(
                    (&again.name, &again.dns, &again.ip),
                    (&request.name, &request.dns, &request.ip)
                );
            }
        }
    }
});

fn in_pieces(bytes: &[u8], size: usize) -> Result<fieldgate::ca::SigningRequest, RequestFault> {
    let mut body = RequestBody::default();
    for piece in bytes.chunks(size) {
        body.take(piece)?;
    }
    body.parse()
}
