//! Test packets: the generator sends them, and a sink can verify every byte.
//!
//! A test packet is IPv4 and UDP, from 198.18.0.1 to 198.19.0.1 port 9 (discard) unless the generator is told otherwise, in an
//! Ethernet frame unless the port has `mode=ip`, so that any peer may forward or drop it. Behind the headers come 22 bytes of the
//! tool's own and a body:
//!
//! | offset in the IP packet | field |
//! | --- | --- |
//! | 4 | IP identification: the lower 16 bits of the generator's instance |
//! | 20 | UDP source port: 0xC000 and the flow |
//! | 28 | magic u16, one value with the body filled by sequence and one without |
//! | 30 | queue u8 |
//! | 31 | the upper 8 bits of the instance |
//! | 32 | check u16 over stream, addresses, ports, sequence and stamp |
//! | 34 | sequence u64, from 0 for each stream |
//! | 42 | stamp u64: nanoseconds of the monotonic clock, 0 = not stamped |
//! | 50 | body |
//!
//! The tool's own numbers are little-endian. A *stream* is what one queue of one run of a generator sends.

mod ip;
mod layout;
mod read;
mod route;
mod template;
#[cfg(test)]
mod tests;

pub(crate) use ip::is_sound_ip;
pub(crate) use layout::{Fill, Framing, Head, MAX_SIZE, MIN_SIZE, Stream, TAG};
pub(crate) use read::TestPacket;
pub(crate) use route::Route;
pub(crate) use template::{Template, head, resize};
