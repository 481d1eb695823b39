//! Takes a packet apart, and fails the test where the broker sent something that cannot be taken apart.

/// The part of a packet that is not yet read.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn take(&mut self, count: usize) -> &'a [u8] {
        assert!(
            count <= self.rest.len(),
            "the broker sent a packet that ends in the middle of a field"
        );
        let (taken, rest) = self.rest.split_at(count);
        self.rest = rest;
        taken
    }

    pub(crate) fn remainder(&mut self) -> &'a [u8] {
        self.take(self.rest.len())
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }

    pub(crate) fn two(&mut self) -> u16 {
        let bytes = self.take(2);
        u16::from_be_bytes([bytes[0], bytes[1]])
    }

    pub(crate) fn four(&mut self) -> u32 {
        let high = u32::from(self.two());
        high << 16 | u32::from(self.two())
    }

    pub(crate) fn variable(&mut self) -> usize {
        let mut value = 0;
        for place in 0..4 {
            let byte = self.byte();
            value |= usize::from(byte & 0x7F) << (7 * place);
            if byte & 0x80 == 0 {
                assert!(
                    place == 0 || byte != 0,
                    "the broker sent a variable byte integer that is longer than needed"
                );
                return value;
            }
        }
        panic!("the broker sent a variable byte integer of more than four bytes");
    }

    pub(crate) fn data(&mut self) -> &'a [u8] {
        let length = usize::from(self.two());
        self.take(length)
    }

    pub(crate) fn text(&mut self) -> String {
        String::from_utf8(self.data().to_vec()).expect("the broker sends well-formed UTF-8")
    }

    #[track_caller]
    pub(crate) fn end(&self) {
        assert!(
            self.is_empty(),
            "the broker sent {} bytes after the end of a packet's fields",
            self.rest.len()
        );
    }
}
