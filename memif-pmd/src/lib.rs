//! memif for packet forwarders: shared-memory packet interfaces, polled to completion on pinned cores.
//!
//! memif is FD.io's interface between processes of one host, spoken by VPP, DPDK and libmemif. Packets cross through
//! rings in shared memory, with no kernel on the way. Here is a whole forwarder between two of them:
//!
//! ```no_run
//! use memif_pmd::{Memif, Workers, ctrl_c, forward};
//!
//! let memif = Memif::start()?;
//! let left = memif.interface("/run/a.sock").slave().open()?;
//! let right = memif.interface("/run/b.sock").master().open()?;
//! Workers::new()
//!     .on_core(0, (left.rx(0)?, right.tx(0)?), forward)
//!     .on_core(1, (right.rx(0)?, left.tx(0)?), forward)
//!     .run_until(&ctrl_c()?)?;
//! # Ok::<(), memif_pmd::Error>(())
//! ```
//!
//! | what | where |
//! | --- | --- |
//! | the control plane: sockets, handshakes, reconnection | [`Memif`] |
//! | an interface: role, id, queues, secret; its state | [`InterfaceBuilder`], [`Interface`], [`Details`], [`Port`] |
//! | bursts of packets in private memory | [`Burst`] |
//! | queues: copying bursts, or packets in place | [`RxQueue`], [`TxQueue`] |
//! | packet memory that slaves share, and forwarding without copying | [`PacketMemory`], [`RxQueue::forward_to`] |
//! | threads on cores | [`Workers`], [`Stop`], [`Idle`] |
//! | what went wrong, with libmemif's number for it | [`Error`], [`Disconnect`], [`ErrorCode`] |
//!
//! The peer is not trusted. What it does wrong costs its own packets or its link, never this process; what is copied
//! into a [`Burst`] is private and cannot change any more.

/// The README's program must compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

mod config;
mod control;
mod error;
mod interface;
mod link;
mod packet;
mod packet_memory;
mod queue;
mod sleep;
mod stats;
mod worker;

pub use config::{
    DEFAULT_SOCKET, InterfaceBuilder, MAX_BUFFER_SIZE, MAX_QUEUES, MIN_BUFFER_SIZE, Port, Role, RxMode,
};
pub use control::{Event, FdRegistry, Memif, Polled, Waker};
pub use error::{Disconnect, Error, ErrorCode, NotShared};
pub use interface::Interface;
pub use memif_os::huge_pages::HugePages;
pub use memif_ring::fault::{DropReason, FaultKind, PeerFault};
pub use memif_ring::message::Mode;
pub use memif_ring::shm::Span;
pub use packet::Burst;
pub use packet_memory::PacketMemory;
pub use queue::{Filled, Peeked, Pieces, Reservation, RxQueue, SlotBuffer, Taken, TxQueue};
pub use stats::{Details, QueueDetails, QueueStats, RegionDetails, RingDetails};
pub use worker::{Idle, Queues, Running, Stop, WorkerStats, Workers, ctrl_c, forward, forward_in_place};
