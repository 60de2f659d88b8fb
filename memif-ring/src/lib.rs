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
//! ```
//! use memif_ring::burst::Tally;
//! use memif_ring::end::{Receiver, Sender};
//! use memif_ring::head_side::HeadSender;
//! use memif_ring::mock::MockRegion;
//! use memif_ring::tail_side::TailReceiver;
//! # use memif_ring::burst::PacketSink;
//! # struct Inbox(Vec<Vec<u8>>);
//! # impl PacketSink for Inbox {
//! #     fn push(&mut self, len: usize) -> Option<&mut [u8]> {
//! #         self.0.push(vec![0; len]);
//! #         self.0.last_mut().map(|packet| &mut packet[..])
//! #     }
//! #     fn room(&self) -> usize { 64 }
//! # }
//!
//! let shared = MockRegion::new(4, 256, 256); // 16 descriptors, buffers of 256 bytes
//! let mut slave = HeadSender::new(shared.ring(), shared.buffers());
//! let mut master = TailReceiver::new(shared.ring());
//! let mut tally = Tally::default();
//!
//! let packets: [&[u8]; 2] = [b"first", b"second"];
//! assert_eq!(slave.send(shared.regions(), &packets[..], &mut tally), Ok(2));
//!
//! let mut inbox = Inbox(Vec::new());
//! master.receive(shared.regions(), &mut inbox, &mut tally)?;
//! assert_eq!(inbox.0, [b"first".to_vec(), b"second".to_vec()]);
//! # Ok::<(), memif_ring::fault::PeerFault>(())
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
