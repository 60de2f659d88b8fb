//! The tests of `hostile_empty_packets` again, with rings laid out for lines of 128 bytes.

#[path = "hostile_empty_packets.rs"]
mod hostile_empty_packets;
