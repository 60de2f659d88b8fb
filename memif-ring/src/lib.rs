//! The core of memif, FD.io's shared-memory packet interface: its rings and its protocol. `no_std`, no allocator, no
//! clock, no I/O.
//!
//! Two processes exchange packets through rings in memory that the *slave* allocates and the *master* maps. This crate
//! has both ends of a ring for both directions, and the handshake that sets a link up:
//!
//! | module | contents |
//! | --- | --- |
//! | [`layout`] | ring header, descriptor, flags, sizes |
//! | [`message`], [`handshake`] | the eight control messages; master and slave as state machines without I/O |
//! | [`shm`] | access to shared memory, and its rules |
//! | [`region`] | the mapped regions, and the check of every descriptor against them |
//! | [`end`], [`head_side`], [`tail_side`] | the ends of a ring: what both roles share, the slave's, the master's |
//! | [`buffers`], [`packing`] | the buffers of a slave's ring; packets that lie one behind the other in their bytes |
//! | [`buffer_swap`], [`place`] | zero-copy forwarding by exchanging buffers; buffers that the program names |
//! | [`burst`] | the loops that move packets; traits for their source and sink; counters |
//! | [`copy`], [`isa`] | copy kernels; the vector instructions that they use |
//! | [`cursor`] | arithmetic of ring indices |
//! | [`fault`] | what a peer can do wrong, and what it costs |
//!
//! `docs/protocol.md` in the repository describes the protocol, `docs/architecture.md` how the crates fit together.
//!
//! The peer is not trusted: whatever it writes, it loses at most its packets or the link.
//!
//! Two packets from a slave to its master, over a ring in memory of this program. With the memory in a file that both
//! processes map, one half of it is the slave's program, and the other half the master's; [`handshake`] shows how they agree on
//! the memory.
//!
//! ```
//! use core::ptr::NonNull;
//!
//! use memif_ring::buffers::{BufferAddr, Buffers};
//! use memif_ring::burst::{PacketSink, Tally};
//! use memif_ring::end::{Receiver as _, Sender as _};
//! use memif_ring::head_side::HeadSender;
//! use memif_ring::layout::LineSize;
//! use memif_ring::region::RegionMap;
//! use memif_ring::shm::Ring;
//! use memif_ring::tail_side::TailReceiver;
//!
//! /// Private memory for packets that are received.
//! struct Inbox(Vec<Vec<u8>>);
//!
//! impl PacketSink for Inbox {
//!     fn push(&mut self, len: usize) -> Option<&mut [u8]> {
//!         self.0.push(vec![0; len]);
//!         self.0.last_mut().map(Vec::as_mut_slice)
//!     }
//!
//!     fn room(&self) -> usize {
//!         64 - self.0.len()
//!     }
//! }
//!
//! // a region: a ring of 16 descriptors, and behind it 16 buffers of 256 bytes
//! const LOG2_SIZE: u8 = 4;
//! const RING_BYTES: usize = LineSize::NATIVE.ring_bytes(LOG2_SIZE);
//! const REGION_BYTES: usize = RING_BYTES + (256 << LOG2_SIZE);
//! #[repr(align(4096))]
//! struct Memory([u8; REGION_BYTES]);
//! let start = NonNull::from(Box::leak(Box::new(Memory([0; REGION_BYTES])))).cast::<u8>();
//!
//! let mut regions = RegionMap::new();
//! let table: [_; 1 << LOG2_SIZE] = core::array::from_fn(|slot| BufferAddr::new(0, (RING_BYTES + 256 * slot) as u32));
//! // SAFETY: the memory is there for as long as the program runs, and accessed through the ring and the regions alone; the ring
//! // is at its start, and no two buffers overlap.
//! let (slaves, masters, buffers) = unsafe {
//!     regions.push(start, REGION_BYTES);
//!     let slaves = Ring::create(start, LOG2_SIZE, LineSize::NATIVE)?;
//!     (slaves, Ring::attach(start, LOG2_SIZE, LineSize::NATIVE)?, Buffers::new(table, 256))
//! };
//!
//! let mut slave = HeadSender::new(slaves, buffers);
//! let packets: [&[u8]; 2] = [b"first", b"second"];
//! assert_eq!(slave.send(&regions, &packets[..], &mut Tally::default())?, 2);
//!
//! let (mut master, mut tally) = (TailReceiver::new(masters), Tally::default());
//! let mut inbox = Inbox(Vec::new());
//! master.receive(&regions, &mut inbox, &mut tally)?;
//! assert_eq!(inbox.0, packets);
//! assert_eq!((tally.packets, tally.bytes, tally.dropped()), (2, 11, 0));
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
#![no_std]
#![cfg_attr(test, allow(clippy::cast_possible_truncation))] // test data

pub mod buffer_swap;
pub mod buffers;
pub mod burst;
pub mod copy;
pub mod cursor;
pub mod end;
pub mod fault;
pub mod handshake;
mod head_sender;
pub mod head_side;
mod head_slots;
pub mod isa;
pub mod layout;
pub mod message;
#[cfg(any(test, feature = "mock"))]
pub mod mock;

pub mod packing;
pub mod place;
mod processor;
pub mod region;
mod send;
pub mod shm;
pub mod tail_side;
pub mod tuning;

// the tests of rings, once for each layout
#[cfg(test)]
#[allow(clippy::duplicate_mod)]
#[path = "."]
mod lines_of_64 {
    const LINE: crate::layout::LineSize = crate::layout::LineSize::Bytes64;

    mod buffer_swap_tests;
    mod ring_tests;
}
#[cfg(test)]
#[allow(clippy::duplicate_mod)]
#[path = "."]
mod lines_of_128 {
    const LINE: crate::layout::LineSize = crate::layout::LineSize::Bytes128;

    mod buffer_swap_tests;
    mod ring_tests;
}
