//! The tests of `hostile_handshake` again, with rings laid out for lines of 128 bytes.

#[path = "hostile_handshake.rs"]
mod hostile_handshake;

use hostile_handshake::common;
