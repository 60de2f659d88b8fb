//! The tests of `hostile_descriptors` again, with rings laid out for lines of 128 bytes.

#[path = "hostile_descriptors.rs"]
mod hostile_descriptors;

use hostile_descriptors::common;
