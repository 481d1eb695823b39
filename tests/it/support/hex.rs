//! A small notation for bytes, so that a test shows what is on the wire.
//!
//! | written | means |
//! |---|---|
//! | `82 0A ff00` | bytes in hexadecimal |
//! | `'a/b'` | a string with its two-byte length before it |
//! | `` `text` `` | the bytes of a text, without a length |
//! | `[ … ]` | a group with its length before it as a variable byte integer |
//! | `00*7` | a byte repeated |

/// Bytes of `text` in the notation above.
#[track_caller]
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    let mut groups = vec![Vec::new()];
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let open = groups.last_mut().expect("a group is open");
        match first {
            c if c.is_whitespace() => rest = &rest[c.len_utf8()..],
            '\'' | '`' => {
                let (literal, after) = rest[1..].split_once(first).expect("literal is closed");
                if first == '\'' {
                    let length =
                        u16::try_from(literal.len()).expect("literal fits two length bytes");
                    open.extend(length.to_be_bytes());
                }
                open.extend(literal.bytes());
                rest = after;
            }
            '[' => {
                groups.push(Vec::new());
                rest = &rest[1..];
            }
            ']' => {
                let group = groups.pop().expect("group was opened");
                let outer = groups.last_mut().expect("group was opened");
                variable_length(outer, group.len());
                outer.extend(group);
                rest = &rest[1..];
            }
            _ => {
                let digits = rest
                    .get(..2)
                    .unwrap_or_else(|| panic!("half a byte at `{rest}`"));
                let byte = u8::from_str_radix(digits, 16)
                    .unwrap_or_else(|_| panic!("`{digits}` is no byte in `{text}`"));
                rest = &rest[2..];
                let mut count = 1;
                if let Some(times) = rest.strip_prefix('*') {
                    let end = times
                        .find(|c: char| !c.is_ascii_digit())
                        .unwrap_or(times.len());
                    count = times[..end].parse().expect("a repeat count");
                    rest = &times[end..];
                }
                open.extend(std::iter::repeat_n(byte, count));
            }
        }
    }
    assert_eq!(groups.len(), 1, "a group is left open in `{text}`");
    groups.pop().expect("the outermost group")
}

/// Appends `value` as a variable byte integer.
pub(crate) fn variable_length(out: &mut Vec<u8>, value: usize) {
    let mut rest = value;
    loop {
        let low = (rest % 128) as u8;
        rest /= 128;
        out.push(if rest > 0 { low | 0x80 } else { low });
        if rest == 0 {
            return;
        }
    }
}

/// Bytes for a person to read, shortened where they are many.
pub(crate) fn show(bytes: &[u8]) -> String {
    let shown: Vec<_> = bytes
        .iter()
        .take(64)
        .map(|byte| format!("{byte:02X}"))
        .collect();
    let more = if bytes.len() > 64 {
        format!(" … ({} bytes)", bytes.len())
    } else {
        String::new()
    };
    shown.join(" ") + &more
}

#[test]
fn notation_gives_the_bytes_it_shows() {
    assert_eq!(bytes("82 0aFF"), [0x82, 0x0A, 0xFF]);
    assert_eq!(bytes("'a/b'"), [0, 3, b'a', b'/', b'b']);
    assert_eq!(bytes("`hi` 00*3"), [b'h', b'i', 0, 0, 0]);
    assert_eq!(
        bytes("30 [ 'x' [ 01 01 ] `p` ]"),
        [0x30, 7, 0, 1, b'x', 2, 1, 1, b'p']
    );
    assert_eq!(bytes("30 [ 00*128 ]")[..3], [0x30, 0x80, 0x01]);
}
