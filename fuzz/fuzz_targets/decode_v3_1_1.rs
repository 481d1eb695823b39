//! Any bytes as packets of MQTT 3.1.1 and 3.1, from either side.
#![no_main]

use fieldgate::mqtt::{ProtocolVersion, Role};
use fieldgate_fuzz::packets::{decode_all, decode_first};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for version in [ProtocolVersion::V3_1, ProtocolVersion::V3_1_1] {
        decode_all(bytes, version, Role::Client);
        decode_all(bytes, version, Role::Server);
    }
    decode_first(bytes);
});
