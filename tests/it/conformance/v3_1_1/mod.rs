//! MQTT 3.1.1 and 3.1, where they differ from 5.0. What all versions share is in `every_version`.

mod section_3_1;
mod section_3_3;
mod section_3_8;
mod version_3_1;
