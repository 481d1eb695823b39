//! What MQTT 3.1, 3.1.1 and 5.0 have in common, each checked with all three.
//!
//! Numbers of statements are those of MQTT 5.0.

mod flows;
mod retained;
mod sessions;
mod subscriptions;
mod topics;
mod wills;

/// Makes a test of each version out of a function that takes one.
macro_rules! every_version {
    ($($name:ident,)*) => {$(
        mod $name {
            #[test]
            fn v3_1() {
                super::$name($crate::support::V3_1);
            }

            #[test]
            fn v3_1_1() {
                super::$name($crate::support::V3_1_1);
            }

            #[test]
            fn v5() {
                super::$name($crate::support::V5);
            }
        }
    )*};
}
use every_version;
