//! The tests of `hostile_reconnect` again, with rings laid out for lines of 128 bytes.

#[path = "hostile_reconnect.rs"]
mod hostile_reconnect;

use hostile_reconnect::common;
