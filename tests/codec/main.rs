//! The codec against the standard: packets as data in `tests/vectors`, and packets made at random.

mod describe;
mod random;
mod round_trip;
mod vectors;
