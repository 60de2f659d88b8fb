//! What the fuzz targets share: a model of a ring's memory and of both its ends, and control messages that are almost
//! right.
//!
//! The models are written from the documentation of the protocol and of memif-ring's public API, for clarity alone, and
//! predict everything: each packet, count, fault and every byte of the shared memory after each call.

pub mod draft;
pub mod memory;
pub mod packing;
pub mod receiver;
pub mod sender;
