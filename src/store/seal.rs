//! Checksums of rows: SQLite notices a damaged structure, but not a bit that flipped inside of a value.

/// A checksum over the values of a row, in order. It is stored beside them, so it must never change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seal(u64);

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

impl Seal {
    /// Begins the checksum of a row of the table with this letter, so that no row passes for one of another table.
    pub(super) const fn new(table: u8) -> Self {
        Self(table as u64)
    }

    pub(super) const fn number(self, value: u64) -> Self {
        let mixed = (self.0 ^ value).wrapping_mul(FACTOR);
        Self(mixed ^ (mixed >> 29))
    }

    /// A number that may be missing.
    pub(super) const fn maybe(self, value: Option<u64>) -> Self {
        match value {
            None => self.number(0),
            Some(value) => self.number(1).number(value),
        }
    }

    pub(super) fn bytes(self, value: &[u8]) -> Self {
        let (words, rest) = value.as_chunks::<8>();
        let begun = self.number(value.len() as u64);
        let sealed = words
            .iter()
            .fold(begun, |seal, word| seal.number(u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        sealed.number(u64::from_le_bytes(last))
    }

    /// The checksum as it is stored: four bytes of the file.
    pub(super) const fn long(self) -> i64 {
        ((self.number(FACTOR).0 >> 32) as i32) as i64
    }

    /// A shorter one for the tables with the smallest rows: three bytes of the file.
    pub(super) const fn short(self) -> i64 {
        (self.number(FACTOR).0 >> 41) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::Seal;

    #[test]
    fn checksum_stays_what_it_was() {
        let seal = Seal::new(b'm').number(7).maybe(None).bytes(b"0123456789");
        assert_eq!((seal.long(), seal.short()), (633_193_129, 1_236_705));
    }

    #[test]
    fn every_flipped_bit_and_every_boundary_shows() {
        let text = *b"a payload that is not short";
        let whole = Seal::new(b'm').bytes(&text);
        for bit in 0..text.len() * 8 {
            let mut flipped = text;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(Seal::new(b'm').bytes(&flipped).long(), whole.long());
            assert_ne!(Seal::new(b'm').bytes(&flipped).short(), whole.short());
        }
        let apart = |at: usize| Seal::new(b'm').bytes(&text[..at]).bytes(&text[at..]).long();
        assert_ne!(apart(3), apart(4));
        assert_ne!(Seal::new(b'm').long(), Seal::new(b'd').long());
    }
}
