//! The tests of `hostile_ring_slave` again, with rings laid out for lines of 128 bytes.

#[path = "hostile_ring_slave.rs"]
mod hostile_ring_slave;

use hostile_ring_slave::common;
