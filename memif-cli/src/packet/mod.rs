//! Test packets: what the generator sends and a sink can check to the last byte.
//!
//! A test packet is IPv4 and UDP to 198.19.0.1 port 9 (discard), in an Ethernet frame unless the port has `mode=ip`, so that
//! any peer may forward or drop it. Behind the headers come 22 bytes of the tool's own and a body:
//!
//! | offset in the IP packet | field |
//! | --- | --- |
//! | 4 | IP identification: the upper half of the generator's instance |
//! | 12 | IP source address: 198.18 and the lower half |
//! | 20 | UDP source port: 0xC000 and the generator's queue |
//! | 28 | magic u32, one value with the body filled by sequence and one without |
//! | 32 | check u16 over stream, sequence and stamp |
//! | 34 | sequence u64, from 0 for each stream |
//! | 42 | stamp u64: nanoseconds of the monotonic clock, 0 = not stamped |
//! | 50 | body |
//!
//! The tool's own numbers are little-endian. A *stream* is what one queue of one run of a generator sends.

mod ip;
mod layout;
mod read;
mod template;
#[cfg(test)]
mod tests;

pub(crate) use ip::is_sound_ip;
pub(crate) use layout::{Fill, Framing, Head, MAX_SIZE, MIN_SIZE, Stream};
pub(crate) use read::TestPacket;
pub(crate) use template::{Template, head, resize};
