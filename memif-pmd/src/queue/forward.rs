//! Packets from queue to queue without a copy, where both have their buffers in one packet memory.

use memif_ring::buffer_swap;
use memif_ring::end::Receiver as _;
use memif_ring::head_side::{HeadReceiver, HeadSender};
use memif_ring::shm::Ring;

use super::mailbox::Handle;
use super::rx::RxQueue;
use super::tx::TxQueue;
use crate::error::NotShared;
use crate::link::{End, RxEnd, TxEnd};
use crate::packet_memory::BufferTable;

/// The two ends, if they may exchange buffers.
type Ends<'a> = (&'a mut HeadReceiver<Ring, BufferTable>, &'a mut HeadSender<Ring, BufferTable>);

/// Cheap enough for every burst, so nothing has to be remembered across links.
#[inline(always)]
fn sharing<'a>(from: &'a mut RxEnd, to: &'a mut TxEnd) -> Option<Ends<'a>> {
    match (from, to) {
        (End::Slave(from), End::Slave(to)) if from.buffers().table().shares_with(to.buffers().table()) => {
            Some((from, to))
        }
        _ => None,
    }
}

impl RxQueue {
    /// Moves up to `max` packets from this queue to `tx` by exchanging buffers, without touching their bytes; returns how
    /// many. For slaves that share a [`PacketMemory`](crate::PacketMemory). Packets that `tx` has no room for stay here.
    /// Invalid packets are dropped and counted, as [`RxQueue::receive`] does; so are packets that come while `tx` has no
    /// link.
    ///
    /// The peer of this queue can change a packet after it was forwarded, and the peer of `tx` then sees it. Copy where
    /// that matters.
    ///
    /// # Errors
    /// [`NotShared`]: nothing was done. Always or never for the queues of two given interfaces, but not noticed while
    /// this one has no link.
    #[inline]
    pub fn forward_to(&mut self, tx: &mut TxQueue, max: usize) -> Result<usize, NotShared> {
        if self.handle.plain_link().is_none() || tx.handle.plain_link().is_none() {
            return self.forward_noticing(tx, max);
        }
        self.forward_plain(tx, max)
    }

    /// Like [`RxQueue::forward_to`], on the links that there are, without a mirror.
    #[inline(always)]
    pub(super) fn forward_plain(&mut self, tx: &mut TxQueue, max: usize) -> Result<usize, NotShared> {
        let Handle { link: Some(from), tally: received, mailbox: from_mailbox, .. } = &mut self.handle else {
            return Ok(0);
        };
        let Handle { link: Some(to), tally: sent, mailbox: to_mailbox, epoch, .. } = &mut tx.handle else {
            return Ok(0);
        };
        let (source, target) = sharing(&mut from.end, &mut to.end).ok_or(NotShared)?;
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
        let done = buffer_swap::forward(source, target, &from.link.regions, max, received, sent);
        if done.full {
            to_mailbox.counters.add_ring_full();
        }
        if done.consumed > 0 {
            from_mailbox.counters.show(received);
            to_mailbox.counters.show(sent);
        }
        if done.packets > 0 {
            tx.notifier.notify(to, to_mailbox, *epoch);
        }
        Ok(done.packets)
    }

    /// While `tx` has no link: the packets are dropped, their buffers are posted again.
    #[cold]
    pub(super) fn drop_for(&mut self, tx: &mut TxQueue, max: usize) -> Result<usize, NotShared> {
        let shared = match &self.handle.link {
            Some(link) => matches!(&link.end, End::Slave(end) if end.buffers().table().is_shared()),
            None => false,
        };
        if !shared {
            return Err(NotShared);
        }
        let peeked = self.peek(max);
        let packets = peeked.len();
        peeked.release(packets);
        tx.handle.mailbox.counters.add_link_down(packets);
        Ok(0)
    }
}
