//! The tests of `field_peers` again, with rings laid out for lines of 128 bytes.

#[path = "field_peers.rs"]
mod field_peers;

use field_peers::common;
