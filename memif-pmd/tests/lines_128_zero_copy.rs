//! The tests of `hostile_zero_copy` again, with rings laid out for lines of 128 bytes.

#[path = "hostile_zero_copy.rs"]
mod hostile_zero_copy;

use hostile_zero_copy::common;
