//! The core of memif, FD.io's shared-memory packet interface: everything about it that is true without an operating
//! system. No `std`, no allocator, no clock, no I/O.
//!
//! Two processes exchange packets through rings in memory that the *slave* allocates and the *master* maps. Both ends
//! are here, for both directions, as is the conversation that sets a link up:
//!
//! | module | what it has |
//! | --- | --- |
//! | [`layout`] | ring header, descriptor, constants |
//! | [`message`], [`handshake`] | the eight control messages; master and slave as pure state machines |
//! | [`shm`] | the one door to shared memory, and its rules |
//! | [`region`] | the check of every place that a peer names |
//! | [`head_side`], [`tail_side`] | the slave's and the master's ends of a ring |
//! | [`places`], [`exchange`] | where a slave has its buffers; packets that go from ring to ring by exchanging them |
//! | [`burst`] | the loops that both ends share, and where packets come from and go to |
//! | [`copy`] | copy kernels |
//! | [`cursor`] | arithmetic of ring indices |
//! | [`fault`] | what a peer did wrong, and what follows |
//!
//! The peer is never trusted: whatever it writes costs at most its own packets or the link.
//!
//! ```
//! use memif_ring::burst::Tally;
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

pub mod burst;
pub mod copy;
pub mod cursor;
pub mod exchange;
pub mod fault;
pub mod handshake;
pub mod head_side;
pub mod layout;
pub mod message;
#[cfg(any(test, feature = "mock"))]
pub mod mock;
pub mod places;
pub mod region;
pub mod shm;
pub mod tail_side;

#[cfg(test)]
mod exchange_tests;
#[cfg(test)]
mod ring_tests;
