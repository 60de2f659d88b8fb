//! Queues whose buffers stay with the program from call to call, named by their slots.
//!
//! [`RxQueue::peek`] and [`TxQueue::reserve`] lend buffers for as long as a borrow, which is what most programs want. This
//! is for programs that manage buffers themselves: they hand them to other threads or devices, keep them in tables of
//! their own, or return them in other portions than they came in. The C library is built on it.
//!
//! - [`RxQueue::raw`](crate::RxQueue::raw): [`RawRx::take`] received buffers, use them, and [`RawRx::post`] their slots.
//!   The interface must be opened with [`explicit_posting`], or slots go back to the peer without being posted.
//! - [`TxQueue::raw`](crate::TxQueue::raw): [`RawTx::claim`] free buffers, fill them, and [`RawTx::publish`] them. Do not mix
//!   it with [`TxQueue::send`] and [`TxQueue::reserve`], which use the same buffers.
//! - Slaves can exchange the buffers of two slots, also between queues: [`RawRx::swap_with_tx`] and its relatives, or
//!   [`RawRx::move_to`] to forward a received buffer.
//!
//! Slots are used in ring order: a slot that is kept delays those behind it. A slot is named by its free-running 16-bit
//! index ([`SlotBuffer::index`]), or by its position among the slots that the program has ([`RawRx::position_of`]). With its
//! link all of that is gone, and a buffer must not be used any more: [`RawRx::epoch`] tells one link from the next.
//! Everything that the program passes in is checked, so a stale index costs a packet and no memory safety.
//!
//! ```no_run
//! # let memif = memif_pmd::Memif::start()?;
//! use memif_pmd::raw::Filled;
//!
//! let interface = memif.interface("/run/memif.sock").master().explicit_posting().open()?;
//! let (mut rx, mut tx) = (interface.rx(0)?, interface.tx(0)?);
//! let mut headers = [[0; 14]; 64];
//! loop {
//!     // the buffers stay with us ...
//!     let taken = rx.raw().take(64, |number, buffer| {
//!         buffer.span.read_at(0, &mut headers[number]);
//!     });
//!     // ... while one answer for each is put together
//!     let claimed = tx.raw().claim(taken.buffers, |number, mut buffer| {
//!         buffer.span.write_at(0, &headers[number]);
//!     });
//!     let sent = tx.raw().publish(claimed, |_, _| Some(Filled { start: 0, len: 14, next: false }));
//!     tx.raw().unclaim(0);
//!     // and go back to the peer when that is done
//!     rx.raw().post(u16::try_from(taken.buffers).unwrap_or(u16::MAX), 0);
//! #   let _ = sent;
//! }
//! # #[allow(unreachable_code)]
//! # Ok::<(), memif_pmd::Error>(())
//! ```
//!
//! [`RxQueue::peek`]: crate::RxQueue::peek
//! [`TxQueue::reserve`]: crate::TxQueue::reserve
//! [`TxQueue::send`]: crate::TxQueue::send
//! [`explicit_posting`]: crate::InterfaceBuilder::explicit_posting

mod fill;
mod kept;
mod place;
mod rx;
mod swap;
mod take;
mod tx;

pub(super) use kept::Kept;
pub use rx::RawRx;
pub(super) use tx::Claims;
pub use tx::RawTx;

use std::ptr::NonNull;
use std::sync::Arc;

use memif_ring::shm::SpanMut;

use crate::link::Link;
use crate::packet_memory::Mapped;

/// Keeps the memory of one link mapped: for programs whose other threads still use buffers of it when the queue takes up
/// the next link. [`RawRx::memory`] gives it. Nothing else can be done with the link: its slots are gone.
#[derive(Clone, Debug)]
pub struct LinkMemory(Arc<Link>);

impl LinkMemory {
    /// Where the [`PacketMemory`](crate::PacketMemory) is mapped that the link's buffers are in, if they are in any. It stays
    /// mapped for as long as this value exists, also when it is dropped.
    #[must_use]
    pub fn packets_ptr(&self) -> Option<NonNull<u8>> {
        self.0.packet_memory().map(Mapped::as_ptr)
    }
}

/// The buffer of one slot.
#[derive(Debug)]
#[non_exhaustive]
pub struct SlotBuffer<'a> {
    /// Free-running index of the slot.
    pub index: u16,
    /// The bytes received; of a claimed buffer, the whole buffer.
    pub span: SpanMut<'a>,
    /// The packet continues in the next buffer.
    pub next: bool,
}

/// What [`RawRx::take`] has taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Taken {
    /// Number of buffers.
    pub buffers: usize,
    /// There are more packets, which did not fit.
    pub more: bool,
}

/// What a claimed buffer was filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filled {
    /// Where packet bytes begin in the buffer, in bytes; 0 on a master.
    pub start: u32,
    /// Number of packet bytes.
    pub len: u32,
    /// The packet continues in the next buffer.
    pub next: bool,
}
