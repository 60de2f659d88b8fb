//! The tests of `hostile_eventfd` again, with rings laid out for lines of 128 bytes.

#[path = "hostile_eventfd.rs"]
mod hostile_eventfd;

use hostile_eventfd::common;
