//! Test packets: the generator sends them, and a sink can verify every byte.
//!
//! A test packet is UDP to port 9 (discard), in IPv4 from 198.18.0.1 to 198.19.0.1 unless the generator is given other addresses
//! or IPv6 ones, in an Ethernet frame unless the port has `mode=ip`, so that any peer may forward or drop it. Behind the headers
//! come 22 bytes of the tool's own and a body. The UDP checksum is 0 (none) in IPv4, and right in IPv6, where it must be there.
//!
//! | offset from the UDP header | field |
//! | --- | --- |
//! | 0 | UDP source port: 0xC000 and the flow |
//! | 8 | magic u16, one value with the body filled by sequence and one without |
//! | 10 | queue u8 |
//! | 11 | the upper 8 bits of the instance, a number of the generator |
//! | 12 | check u16 over stream, addresses, ports, sequence and stamp |
//! | 14 | sequence u64, from 0 for each stream |
//! | 22 | stamp u64: nanoseconds of the monotonic clock, 0 = not stamped |
//! | 30 | body |
//!
//! The lower 16 bits of the instance are the IPv4 identification. In IPv6 they are in the flow label, by exclusive or with the
//! UDP source port, as each flow should have its own label.
//! The tool's own numbers are little-endian. A *stream* is what one queue of one run of a generator sends.

mod head;
mod ip;
mod layout;
mod read;
mod route;
mod template;
#[cfg(test)]
mod tests;

pub(crate) use head::Head;
pub(crate) use ip::{fold, is_sound_ip};
pub(crate) use layout::{Fill, Framing, MAX_SIZE, MIN_SIZE, Stream, TAG, Version};
pub(crate) use read::TestPacket;
pub(crate) use route::{Addresses, Route, SOURCE_V4, SOURCE_V6, TARGET_V4, TARGET_V6};
pub(crate) use template::Template;
