//! MQTT 5.0, section by section. What all versions share is in `every_version`.

mod section_2;
mod section_3_1;
mod section_3_14;
mod section_3_15;
mod section_3_1_will;
mod section_3_2;
mod section_3_3;
mod section_3_3_alias;
mod section_3_4_to_3_7;
mod section_3_8_to_3_11;
mod section_4_1;
mod section_4_10;
mod section_4_8;
mod section_4_9;
