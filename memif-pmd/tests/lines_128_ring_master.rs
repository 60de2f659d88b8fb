//! The tests of `hostile_ring_master` again, with rings laid out for lines of 128 bytes.

#[path = "hostile_ring_master.rs"]
mod hostile_ring_master;

use hostile_ring_master::common;
