//! JSON with secrets in it.

use serde::Serialize;
use zeroize::Zeroizing;

/// Media type of JSON.
pub(in crate::auth) const MEDIA_TYPE: &str = "application/json";

/// Writes a question into memory that is wiped.
pub(in crate::auth) fn encode(question: &impl Serialize) -> Zeroizing<Vec<u8>> {
    // Measured first, so that no half-written secret is left behind by growing.
    let mut length = Length(0);
    // Text into memory cannot fail; a question that did not come out whole would be one that the server refuses.
    let _ = serde_json::to_writer(&mut length, question);
    let mut body = Zeroizing::new(Vec::with_capacity(length.0));
    let _ = serde_json::to_writer(&mut *body, question);
    body
}

/// Counts what is written.
struct Length(usize);

impl std::io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
