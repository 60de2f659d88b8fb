//! Packets from queue to queue without a copy, where both have their buffers in one packet memory.

use std::sync::Arc;

use memif_ring::exchange;
use memif_ring::head_side::{HeadReceiver, HeadSender};
use memif_ring::shm::Ring;

use super::tx::ring_receiver;
use super::{Handle, RxQueue, TxQueue};
use crate::error::NotShared;
use crate::link::{RxSide, TxSide};
use crate::packet_memory::Places;

/// The two ends, if their buffers can be exchanged.
type Ends<'a> = (&'a mut HeadReceiver<Ring, Places>, &'a mut HeadSender<Ring, Places>);

/// A comparison of two pointers: cheap enough for every burst, so nothing has to be remembered across links.
#[inline(always)]
fn sharing<'a>(from: &'a mut RxSide, to: &'a mut TxSide) -> Option<Ends<'a>> {
    match (from, to) {
        (RxSide::Slave(from), TxSide::Slave(to))
            if from.buffers().table().shares_with(to.buffers().table()) =>
        {
            Some((from, to))
        }
        _ => None,
    }
}

impl RxQueue {
    /// Moves up to `max` packets from this queue to `tx` by exchanging buffers, their bytes untouched; returns how many.
    /// For slaves that share a [`PacketMemory`](crate::PacketMemory). Packets that `tx` has no room for stay here. Broken
    /// ones are dropped and counted, as [`RxQueue::receive`] does; so are those that come while `tx` has no link.
    ///
    /// What the peer of this queue writes to a packet after it was sent is seen by the peer of `tx`: nothing is private
    /// here, and nothing of it can be checked. Copy where that matters.
    ///
    /// # Errors
    /// [`NotShared`]: nothing was done. Always or never for the queues of two given interfaces, but not noticed while
    /// this one has no link.
    #[inline]
    pub fn forward_to(&mut self, tx: &mut TxQueue, max: usize) -> Result<usize, NotShared> {
        if self.handle.link().is_none() {
            return Ok(0);
        }
        if tx.handle.link().is_none() {
            return self.drop_for(tx, max);
        }
        let Handle { link: Some(from), tally: received, slot: from_slot, .. } = &mut self.handle else {
            return Ok(0);
        };
        let Handle { link: Some(to), tally: sent, slot: to_slot, .. } = &mut tx.handle else { return Ok(0) };
        let (source, target) = sharing(&mut from.side, &mut to.side).ok_or(NotShared)?;
        let ready = match source.ready(max) {
            Ok(ready) => usize::from(ready).min(max),
            Err(fault) => {
                self.handle.fail(fault);
                return Ok(0);
            }
        };
        if let Err(fault) = target.room(ready) {
            tx.handle.fail(fault);
            return Ok(0);
        }
        let done = exchange::forward(source, target, &from.link.regions, max, received, sent);
        if done.full {
            to_slot.counters.add_ring_full();
        }
        if done.consumed > 0 {
            from_slot.counters.show(received);
            to_slot.counters.show(sent);
        }
        if done.packets > 0 {
            ring_receiver(to, &to_slot.counters);
        }
        Ok(done.packets)
    }

    /// Nobody is there to take them: the packets go, their buffers stay.
    #[cold]
    fn drop_for(&mut self, tx: &mut TxQueue, max: usize) -> Result<usize, NotShared> {
        if !self.handle.link.as_ref().is_some_and(|queue| is_shared(&queue.side)) {
            return Err(NotShared);
        }
        let peeked = self.peek(max);
        let packets = peeked.len();
        peeked.release(packets);
        tx.handle.slot.counters.add_link_down(packets);
        Ok(0)
    }

    /// Exchanges the buffers of two slots of ours, counted as [`RxQueue::post`] takes them. False, and nothing is done,
    /// unless both are ours and this is a slave's queue.
    pub fn swap_buffers(&mut self, held: u16, other: u16) -> bool {
        match self.handle.link().map(|queue| &mut queue.side) {
            Some(RxSide::Slave(side)) => side.swap_buffers(held, other),
            _ => false,
        }
    }

    /// Exchanges the buffer of the `held`-th slot of ours and that of the `free`-th buffer that
    /// [`TxQueue::reserve`](super::TxQueue::reserve) will give. False, and nothing is done, unless there are such slots
    /// and the queues are of one slave link or share a [`PacketMemory`](crate::PacketMemory).
    pub fn swap_with(&mut self, held: u16, tx: &mut TxQueue, free: u16) -> bool {
        let (Some(from), Some(to)) = (self.handle.link(), tx.handle.link()) else { return false };
        let one_link = Arc::ptr_eq(&from.link, &to.link);
        match (&mut from.side, &mut to.side) {
            (RxSide::Slave(from), TxSide::Slave(to))
                if one_link || from.buffers().table().shares_with(to.buffers().table()) =>
            {
                exchange::swap_buffers(from, held, to, free)
            }
            _ => false,
        }
    }
}

impl TxQueue {
    /// Exchanges the buffers of two free slots, counted as [`TxQueue::reserve`](super::TxQueue::reserve) gives them.
    /// False, and nothing is done, unless both are free and this is a slave's queue.
    pub fn swap_buffers(&mut self, free: u16, other: u16) -> bool {
        match self.handle.link().map(|queue| &mut queue.side) {
            Some(TxSide::Slave(side)) => side.swap_buffers(free, other),
            _ => false,
        }
    }
}

fn is_shared(side: &RxSide) -> bool {
    matches!(side, RxSide::Slave(side) if side.buffers().table().is_shared())
}
