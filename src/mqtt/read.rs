//! A cursor over the body of one packet (1.5).

use ascii::AsciiStr;

use super::{PacketId, Violation};

/// What is left of a packet; each method takes one field off the front.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Everything that is left, taken.
    #[inline]
    pub(super) const fn take_rest(&mut self) -> &'a [u8] {
        let rest = self.rest;
        self.rest = &[];
        rest
    }

    #[inline]
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8, Violation> {
        let (&value, rest) = self.rest.split_first().ok_or(Violation::FieldTruncated)?;
        self.rest = rest;
        Ok(value)
    }

    /// Two Byte Integer (1.5.2).
    #[inline]
    pub(super) fn u16(&mut self) -> Result<u16, Violation> {
        let (value, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(Violation::FieldTruncated)?;
        self.rest = rest;
        Ok(u16::from_be_bytes(*value))
    }

    /// Four Byte Integer (1.5.3).
    #[inline]
    pub(super) fn u32(&mut self) -> Result<u32, Violation> {
        let (value, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(Violation::FieldTruncated)?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*value))
    }

    #[inline]
    pub(super) fn bytes(&mut self, length: usize) -> Result<&'a [u8], Violation> {
        let (bytes, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(Violation::FieldTruncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Binary Data (1.5.6).
    #[inline]
    pub(super) fn binary(&mut self) -> Result<&'a [u8], Violation> {
        let length = self.u16()?;
        self.bytes(usize::from(length))
    }

    /// UTF-8 Encoded String (1.5.4).
    #[inline]
    pub(super) fn string(&mut self) -> Result<&'a str, Violation> {
        check_string(self.binary()?)
    }

    #[inline]
    pub(super) fn packet_id(&mut self) -> Result<PacketId, Violation> {
        PacketId::new(self.u16()?).ok_or(Violation::PacketIdZero)
    }

    /// Variable Byte Integer (1.5.5).
    #[inline]
    pub(super) fn variable_byte_integer(&mut self) -> Result<u32, Violation> {
        match self.rest.split_first() {
            Some((&byte, rest)) if byte < 0x80 => {
                self.rest = rest;
                Ok(u32::from(byte))
            }
            Some(_) => self.long_variable_byte_integer(),
            None => Err(Violation::FieldTruncated),
        }
    }

    fn long_variable_byte_integer(&mut self) -> Result<u32, Violation> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return if byte == 0 {
                    Err(Violation::VariableByteIntegerNotMinimal)
                } else {
                    Ok(value)
                };
            }
        }
        Err(Violation::VariableByteIntegerTooLong)
    }

    /// The end of the packet is reached.
    #[inline]
    pub(super) const fn finish(self) -> Result<(), Violation> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Violation::TrailingBytes)
        }
    }
}

/// Checks the content of a UTF-8 Encoded String (1.5.4).
#[inline]
fn check_string(bytes: &[u8]) -> Result<&str, Violation> {
    let text = decode_utf8(bytes)?;
    if bytes.contains(&0) {
        return Err(Violation::StringHasNul);
    }
    Ok(text)
}

/// Well-formed UTF-8 as a text (1.5.4).
///
/// Nearly all texts on a bus are ASCII. The check for that takes a fraction of what the standard library needs to get a
/// short text that does not begin at a word's boundary through its check for UTF-8.
#[inline]
pub(super) fn decode_utf8(bytes: &[u8]) -> Result<&str, Violation> {
    match AsciiStr::from_ascii(bytes) {
        Ok(text) => Ok(text.as_str()),
        Err(_) => std::str::from_utf8(bytes).map_err(|_| Violation::StringNotUtf8),
    }
}
