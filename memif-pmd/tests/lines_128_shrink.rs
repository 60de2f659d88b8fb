//! The tests of `hostile_shrink` again, with rings laid out for lines of 128 bytes.

#[path = "hostile_shrink.rs"]
mod hostile_shrink;

use hostile_shrink::common;
