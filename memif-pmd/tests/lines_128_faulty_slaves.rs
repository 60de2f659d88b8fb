//! The tests of `faulty_slaves` again, with rings laid out for lines of 128 bytes.

#[path = "faulty_slaves.rs"]
mod faulty_slaves;

use faulty_slaves::common;
