//! memif interfaces for packet forwarders, with poll-mode queues and run-to-completion workers on pinned cores.
//!
//! memif is FD.io's packet interface between processes of one host; VPP, DPDK and libmemif implement it. Packets pass
//! through rings in shared memory, without the kernel. This program forwards packets between two interfaces:
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
//! | to | use |
//! | --- | --- |
//! | run the control plane, on its own thread or in an event loop | [`Memif`], [`Waker`], [`FdRegistry`] |
//! | configure and open an interface | [`InterfaceBuilder`], or [`Port`] for one that is written as text |
//! | wait for its link, hear of events, read its state | [`Interface`], [`Event`], [`Details`] |
//! | receive and send bursts of packets, copied to and from private memory | [`RxQueue`], [`TxQueue`], [`Burst`] |
//! | use packets in shared memory without a copy | [`RxQueue::peek`], [`TxQueue::reserve`], [`Span`], [`SpanMut`] |
//! | forward packets between two slaves without a copy | [`PacketMemory`], [`RxQueue::forward_to`] |
//! | keep buffers from call to call, and manage them yourself | [`raw`] |
//! | copy what passes to a capture, on a thread of its own | [`Mirror`], [`Interface::set_mirror`] |
//! | run forwarding loops on cores | [`Workers`], [`Idle`] |
//! | end on Ctrl-C | [`ctrl_c`], [`Stop`] |
//! | test a forwarder of your own without interfaces | [`Receive`], [`Transmit`], [`loopback()`] |
//! | handle errors | [`Error`], [`Disconnect`], [`PeerFault`] |
//!
//! An interface outlives its links: a slave reconnects by itself, and queue handles stay valid over all links.
//!
//! The peer is not trusted. Whatever it writes to shared memory or sends, it can cause the loss of its own packets and of
//! its own link, and nothing else. Packets in a [`Burst`] are private copies that it cannot change.
//!
//! In the repository, `docs/architecture.md` describes threads, the path of a packet and the terms, `docs/protocol.md` the
//! protocol, and `SECURITY.md` what a peer can and cannot do.

/// The program of README.md compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod background;
mod config;
mod control;
mod error;
mod event;
mod interface;
mod limits;
mod link;
mod loopback;
mod mirror;
mod packet;
mod packet_memory;
mod queue;
mod quota;
mod rate_limit;
mod reaper;
mod stats;
mod stop;
mod transfer;
mod worker;

pub use config::{
    MemoryRequest, PacketLayout, ParsePacketLayoutError, ParseRoleError, ParseRxModeError, Role, RxMode,
};
pub use control::{FdRegistry, Memif, Polled, Waker};
pub use error::{Cause, Disconnect, Error, NotShared, PushError};
pub use event::Event;
pub use interface::{DEFAULT_SOCKET, Interface, InterfaceBuilder, Port, QueueEvent};
pub use limits::{MAX_BUFFER_SIZE, MAX_QUEUES, MIN_BUFFER_SIZE};
pub use loopback::{LoopbackEnd, LoopbackRx, LoopbackTx, loopback};
pub use memif_os::huge_pages::{HugePages, ParseHugePagesError};
pub use memif_os::thread::unblock_faults;
pub use memif_ring::fault::{DropReason, FaultKind, PeerFault};
pub use memif_ring::handshake::Stage;
pub use memif_ring::layout::{LineSize, ParseLineSizeError};
pub use memif_ring::message::{Direction, MessageKind, Mode, Name, ParseModeError, Reason, TextError};
pub use memif_ring::shm::{Span, SpanMut};
pub use mirror::{Mirror, MirrorDirection, MirrorSource, MirroredBurst, MirroredPacket};
pub use packet::{Burst, Packets, PacketsMut};
pub use packet_memory::{PacketMemory, PacketMemoryBuilder};
pub use queue::{Peeked, Pieces, Reservation, RxQueue, TxQueue, raw};
pub use stats::{ControlStats, Details, QueueDetails, QueueStats, RegionDetails, RingDetails};
pub use stop::{Stop, ctrl_c};
pub use transfer::{Receive, Transmit};
pub use worker::{Idle, Queues, Running, WorkerStats, Workers, forward, forward_in_place};
