//! What the ends of a ring have in common in both roles: [`Receiver`] and [`Sender`].
//!
//! Code for both roles is written against these traits and compiled for each end: within a burst the role costs nothing.
//!
//! `ahead` counts slots: from the next descriptor of a receiver, from the first free slot of a sender.

use crate::burst::{PacketSink, PacketSource, Tally};
use crate::fault::{DropReason, PeerFault};
use crate::layout::DescFlags;
use crate::region::{Buffer, RegionMap};

/// The receiving end of a ring: [`HeadReceiver`](crate::head_side::HeadReceiver) on M2S,
/// [`TailReceiver`](crate::tail_side::TailReceiver) on S2M.
///
/// A slot that was received is *held* until it is returned to the peer: posted by a slave, given back by a master. An end
/// returns slots in batches of a quarter ring, and all of them when there is nothing to receive; one with explicit posting
/// returns them by [`Receiver::post`] alone.
pub trait Receiver {
    /// Copies packets into `sink`, as many as it accepts. Returns the number of descriptors consumed.
    ///
    /// # Errors
    /// Those of [`Receiver::ready`].
    #[inline(always)]
    fn receive<S: PacketSink>(
        &mut self,
        regions: &RegionMap,
        sink: &mut S,
        tally: &mut Tally,
    ) -> Result<usize, PeerFault> {
        self.ready(sink.room())?;
        Ok(self.receive_known(regions, sink, tally))
    }

    /// Receives like [`Receiver::receive`], but only the packets that the last [`Receiver::ready`] found: it does not load the
    /// peer's index.
    fn receive_known<S: PacketSink>(&mut self, regions: &RegionMap, sink: &mut S, tally: &mut Tally)
    -> usize;

    /// Number of descriptors ready to be received. Loads the peer's index only if fewer than `wanted` are known to be
    /// ready.
    ///
    /// # Errors
    /// [`PeerFault::TailTooFar`], [`PeerFault::HeadTooFar`]: the peer moved its index back or too far. The link must end.
    fn ready(&mut self, wanted: usize) -> Result<u16, PeerFault>;

    /// Starts to fetch the first `count` descriptors from the next one on, as far as they are known to be ready: for callers
    /// that look at them one by one.
    fn fetch(&self, count: usize);

    /// The descriptor `ahead` descriptors from the next one, checked. `None` unless it is known to be ready: see
    /// [`Receiver::ready`].
    ///
    /// # Errors
    /// Why the packet must be dropped: [`Receiver::peek`] says how many descriptors it has.
    fn piece<'s>(&'s mut self, regions: &'s RegionMap, ahead: u16) -> Option<Result<Buffer<'s>, DropReason>>;

    /// The packet that begins `ahead` descriptors from the next one: calls `visit` for each descriptor, checked. Returns
    /// the number of descriptors, and why the packet must be dropped if it must. 0 descriptors unless the first one is
    /// known to be ready: see [`Receiver::ready`].
    fn peek(
        &mut self,
        regions: &RegionMap,
        ahead: u16,
        visit: impl FnMut(Buffer<'_>),
    ) -> (u16, Result<(), DropReason>);

    /// Consumes the next `slots` descriptors, or all that are known to be ready if there are fewer. Their slots are held
    /// from then on.
    fn release(&mut self, slots: u16);

    /// Returns every held slot, except with explicit posting. For a receiver that goes idle: the peer may wait for these
    /// slots.
    fn flush(&mut self);

    /// Returns the first `slots` held slots, or all if there are fewer. Returns their number. A slave posts each buffer
    /// without its first `headroom` bytes, at most all of it; a master ignores `headroom`.
    fn post(&mut self, slots: u16, headroom: u16) -> u16;

    /// Number of held slots. Those of a slave include slots that were never posted.
    fn held(&self) -> u16;

    /// Index of the next descriptor to receive.
    fn position(&self) -> u16;

    /// Index under which the first held slot was received, or would have been.
    fn oldest(&self) -> u16;
}

/// The sending end of a ring: [`HeadSender`](crate::head_side::HeadSender) on S2M,
/// [`TailSender`](crate::tail_side::TailSender) on M2S.
pub trait Sender {
    /// Whether packet bytes may begin behind the start of their buffer: in a slave's they may.
    const MOVABLE: bool;

    /// Copies packets into free slots, as many as fit, and publishes them. Returns how many of `packets` were sent or
    /// dropped; `tally` counts both.
    ///
    /// # Errors
    /// [`PeerFault::TailTooFar`], [`PeerFault::HeadTooFar`]: the peer moved its index back or too far. The link must end.
    fn send<P: PacketSource + ?Sized>(
        &mut self,
        regions: &RegionMap,
        packets: &P,
        tally: &mut Tally,
    ) -> Result<usize, PeerFault>;

    /// Number of free slots. Loads the peer's index only if fewer than `wanted` are known to be free.
    ///
    /// # Errors
    /// Those of [`Sender::send`].
    fn free(&mut self, wanted: usize) -> Result<u16, PeerFault>;

    /// [`Sender::free`], for slots that [`Sender::reserve`] shall give their buffers. What was reserved before and not
    /// published is given up.
    ///
    /// # Errors
    /// Those of [`Sender::send`].
    fn reservable(&mut self, wanted: usize) -> Result<u16, PeerFault>;

    /// A buffer of at least `len` bytes for the `ahead`-th free slot, to be filled in place; of as many as a buffer holds
    /// where that is less. `None` unless the slot is known to be free, those before it have their buffers, and there are bytes
    /// for it: see [`Sender::reservable`].
    ///
    /// # Errors
    /// [`DropReason::UnknownRegion`], [`DropReason::OutOfRegion`]: the buffer is not in its region.
    fn reserve<'s>(
        &'s mut self,
        regions: &'s RegionMap,
        ahead: u16,
        len: usize,
    ) -> Option<Result<Buffer<'s>, DropReason>>;

    /// The whole buffer of the `ahead`-th free slot, to be filled in place. `None` unless the slot is known to be free: see
    /// [`Sender::free`].
    ///
    /// # Errors
    /// [`DropReason::UnknownRegion`], [`DropReason::OutOfRegion`]: the buffer is not in its region.
    fn buffer<'s>(&'s mut self, regions: &'s RegionMap, ahead: u16)
    -> Option<Result<Buffer<'s>, DropReason>>;

    /// Writes the descriptor of the `ahead`-th free slot, which has its buffer from [`Sender::reserve`] or
    /// [`Sender::buffer`]: `length` bytes of its buffer from `start` on are filled. Clamped
    /// to the buffer; `start` is ignored unless [`Sender::MOVABLE`]. [`Sender::commit`] publishes it.
    fn complete(&mut self, ahead: u16, flags: DescFlags, start: u32, length: u32);

    /// Publishes the first `slots` free slots, or all that have their buffers if there are fewer.
    fn commit(&mut self, slots: u16);

    /// Index of the first free slot.
    fn position(&self) -> u16;
}
