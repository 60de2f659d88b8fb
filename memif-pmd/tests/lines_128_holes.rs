//! The tests of `hostile_holes` again, with rings laid out for lines of 128 bytes.

#[path = "hostile_holes.rs"]
mod hostile_holes;

use hostile_holes::common;
