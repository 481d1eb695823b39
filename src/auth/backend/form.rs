//! `application/x-www-form-urlencoded`, written as libcurl's `curl_easy_escape` writes it: a space is `%20`.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use zeroize::Zeroizing;

/// Media type of a form.
pub(in crate::auth) const MEDIA_TYPE: &str = "application/x-www-form-urlencoded";

/// Everything but the unreserved characters of RFC 3986, 2.3.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A form with fields in this order. Names are written as they are.
pub(in crate::auth) fn encode(fields: &[(&str, &[u8])]) -> Zeroizing<Vec<u8>> {
    // Room for the worst case, so that no half-written secret is left behind by growing.
    let room = fields
        .iter()
        .map(|(name, value)| name.len() + 2 + 3 * value.len());
    let mut form = Zeroizing::new(Vec::with_capacity(room.sum()));
    for (name, value) in fields {
        if !form.is_empty() {
            form.push(b'&');
        }
        form.extend(name.as_bytes());
        form.push(b'=');
        for part in percent_encode(value, ESCAPED) {
            form.extend(part.as_bytes());
        }
    }
    form
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_but_unreserved_characters_is_escaped() {
        let form = encode(&[
            ("a", b"Az09-._~"),
            ("b", b""),
            ("c", b" +&=%/\xff\0\xc3\xa4"),
        ]);
        let expected = b"a=Az09-._~&b=&c=%20%2B%26%3D%25%2F%FF%00%C3%A4";
        assert_eq!(form.as_slice(), expected);
    }
}
