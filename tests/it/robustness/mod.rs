//! What comes from a peer that is broken, hostile, slow or many: nobody else may notice.

mod bounds;
mod bytes;
