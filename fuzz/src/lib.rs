//! What the fuzz targets share.

pub mod packets;
pub mod world;
