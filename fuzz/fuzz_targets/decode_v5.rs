//! Any bytes as packets of MQTT 5, from either side.
#![no_main]

use fieldgate::mqtt::{ProtocolVersion, Role};
use fieldgate_fuzz::packets::{decode_all, decode_first};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    decode_all(bytes, ProtocolVersion::V5, Role::Client);
    decode_all(bytes, ProtocolVersion::V5, Role::Server);
    decode_first(bytes);
});
