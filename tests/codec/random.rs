//! Packets made at random from a seed, so that a failure can be had again.

use fieldgate::mqtt::{PropertiesBuf, QoS, TopicName};

/// A small generator (xorshift64*); the quality of its numbers does not matter here, that they can be had again does.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number() >> 33).unwrap() % end
    }

    pub(crate) fn chance(&mut self) -> bool {
        self.number() >> 63 == 1
    }

    pub(crate) fn one_of<'a, T>(&mut self, values: &'a [T]) -> &'a T {
        &values[self.below(values.len())]
    }

    pub(crate) fn u16(&mut self) -> u16 {
        self.number().to_be_bytes()[0..2]
            .try_into()
            .map(u16::from_be_bytes)
            .unwrap()
    }

    /// Small and large numbers alike.
    pub(crate) fn u32(&mut self) -> u32 {
        let number: u32 = self.number().to_be_bytes()[0..4]
            .try_into()
            .map(u32::from_be_bytes)
            .unwrap();
        number >> self.below(32)
    }

    pub(crate) fn option<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.chance().then(|| value(self))
    }

    pub(crate) fn bytes(&mut self, end: usize) -> Vec<u8> {
        let length = self.below(end);
        (0..length)
            .map(|_| self.number().to_be_bytes()[0])
            .collect()
    }

    /// A string as the standard allows it: any characters but U+0000.
    pub(crate) fn text(&mut self, end: usize) -> String {
        const CHARACTERS: &[char] = &[
            'a',
            'z',
            'A',
            '0',
            '/',
            '$',
            ' ',
            '+',
            '#',
            '\u{1}',
            'é',
            '\u{FEFF}',
            '€',
            '\u{2A6D4}',
            '\u{10FFFF}',
        ];
        (0..self.below(end))
            .map(|_| *self.one_of(CHARACTERS))
            .collect()
    }

    pub(crate) fn topic(&mut self) -> TopicName {
        let mut text = self.text(30).replace(['+', '#'], "x");
        if text.is_empty() {
            text.push('t');
        }
        TopicName::new(&text).expect("a topic name")
    }

    pub(crate) fn qos(&mut self) -> QoS {
        *self.one_of(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
    }

    pub(crate) fn user_properties(&mut self) -> PropertiesBuf {
        let mut properties = PropertiesBuf::new();
        for _ in 0..self.below(4) {
            properties.push_user_property(&self.text(6), &self.text(60));
        }
        properties
    }

    /// The properties that a broker passes on, in any order.
    pub(crate) fn forwarded(&mut self) -> PropertiesBuf {
        let mut properties = PropertiesBuf::new();
        let mut left = vec![0, 1, 2, 3, 4, 4, 4];
        for _ in 0..self.below(7) {
            match left.swap_remove(self.below(left.len())) {
                0 => properties.push_payload_format_indicator(self.chance()),
                1 => properties.push_response_topic(&self.topic()),
                2 => properties.push_correlation_data(&self.bytes(20)),
                3 => properties.push_content_type(&self.text(20)),
                _ => properties.push_user_property(&self.text(6), &self.text(10)),
            }
        }
        properties
    }
}
