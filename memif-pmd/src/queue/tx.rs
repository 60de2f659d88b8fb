//! The handle of a transmit queue.

use std::sync::Arc;

use memif_ring::burst::{PacketSource as _, Tally};
use memif_ring::end::Sender;
use memif_ring::fault::PeerFault;
use memif_ring::isa::Work;
use memif_ring::region::RegionMap;

use super::end::by_role;
use super::mailbox::{Handle, Mailbox};
use super::notifier::Notifier;
use super::raw::{Claims, RawTx};
use super::reservation::{Reservation, Reserved};
use crate::link::TxLink;
use crate::packet::Burst;
use crate::stats::QueueStats;
use crate::transfer::Transmit;

/// A transmit queue of an interface: [`Interface::tx`](crate::Interface::tx) gives it.
///
/// Most programs use [`TxQueue::send`], which copies packets from private memory. [`TxQueue::reserve`] gives free buffers
/// to be filled in place. [`TxQueue::raw`] is for programs that keep free buffers from call to call.
///
/// A queue stays valid when its link ends. While there is no link it drops the packets that it is given; with the next
/// link it sends again. It belongs to one thread at a time: it is [`Send`], but not [`Sync`].
///
/// ```
/// fn sent_to_a_thread<T: Send>() {}
/// sent_to_a_thread::<memif_pmd::TxQueue>();
/// ```
/// ```compile_fail,E0277
/// fn shared_between_threads<T: Sync>() {}
/// shared_between_threads::<memif_pmd::TxQueue>();
/// ```
#[derive(Debug)]
pub struct TxQueue {
    pub(super) handle: Handle<TxLink>,
    pub(super) notifier: Notifier,
    buffers: Vec<Reserved>,
    claims: Claims,
}

/// One burst from private memory.
struct SendBurst<'a, E> {
    end: &'a mut E,
    regions: &'a RegionMap,
    burst: &'a Burst,
    tally: &'a mut Tally,
}

impl<E: Sender> Work for SendBurst<'_, E> {
    type Output = Result<usize, PeerFault>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        self.end.send(self.regions, self.burst, self.tally)
    }
}

impl TxQueue {
    pub(crate) fn new(mailbox: Arc<Mailbox<TxLink>>) -> Self {
        Self {
            handle: Handle::new(mailbox),
            notifier: Notifier::default(),
            buffers: Vec::new(),
            claims: Claims::default(),
        }
    }

    /// Sends packets from the front of `burst`, as many as fit into the ring, and removes them from the burst. Returns the
    /// number of packets sent. Packets that were set aside go first. Packets that do not fit stay in the burst, in order:
    /// send them again, or clear the burst. A packet larger than one buffer takes several.
    ///
    /// Packets that can never be sent are removed too, and counted as dropped: packets larger than all buffers of the ring
    /// together, and every packet while there is no link.
    #[inline]
    pub fn send(&mut self, burst: &mut Burst) -> usize {
        if burst.count() == 0 {
            return 0;
        }
        if self.handle.plain_link().is_none() {
            return self.send_noticing(burst);
        }
        self.send_plain(burst)
    }

    /// Sends like [`TxQueue::send`], on the link that the handle has now. The queue must have no mirror.
    #[inline(always)]
    pub(super) fn send_plain(&mut self, burst: &mut Burst) -> usize {
        let Handle { link: Some(link), tally, mailbox, epoch, .. } = &mut self.handle else { return 0 };
        let (before, regions, isa) = (tally.packets, &link.link.regions, link.link.isa);
        let done = by_role!(&mut link.end, |end| isa.run(SendBurst { end, regions, burst, tally }));
        let done = match done {
            Ok(done) => done,
            Err(fault) => {
                self.handle.fail(fault);
                return self.drop_all(burst);
            }
        };
        if done < burst.count() {
            mailbox.counters.add_refused(burst.count() - done);
        }
        if done > 0 {
            self.notifier.notify(link, mailbox, *epoch);
            mailbox.counters.show(tally);
        }
        burst.sent(done);
        #[expect(clippy::cast_possible_truncation, reason = "at most a burst")]
        let sent = (tally.packets - before) as usize;
        sent
    }

    #[cold]
    pub(super) fn drop_all(&mut self, burst: &mut Burst) -> usize {
        self.handle.mailbox.counters.add_link_down(burst.count());
        burst.clear();
        0
    }

    /// Reserves up to `max` free buffers of at least `len` bytes each, to be filled in place. If `len` is larger than a
    /// buffer, it reserves whole buffers; [`Reservation::chain`] joins them to one packet. Nothing is sent before
    /// [`Reservation::commit`]. While there is no link, the reservation is empty.
    ///
    /// A slave that packs its packets puts them closer together the smaller `len` is, which is faster: pass the length of the
    /// longest packet, not the size of a buffer.
    pub fn reserve(&mut self, max: usize, len: usize) -> Reservation<'_> {
        Reservation::of(&mut self.handle, &mut self.buffers, &mut self.notifier, (max, len))
    }

    /// The queue for programs that keep free buffers from call to call: see [`raw`](crate::raw).
    #[inline(always)]
    pub fn raw(&mut self) -> RawTx<'_> {
        RawTx::new(&mut self.handle, &mut self.claims, &mut self.notifier)
    }

    /// Index of the queue in its interface.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.handle.mailbox.index()
    }

    /// Whether there is a link, and it has a ring for this queue.
    pub fn is_up(&mut self) -> bool {
        self.handle.link().is_some()
    }

    /// What the queue has counted, over all links.
    #[must_use]
    pub fn stats(&self) -> QueueStats {
        self.handle.mailbox.counters.read()
    }

    /// A number that changes with every packet sent or dropped by the ring.
    pub(crate) fn activity(&self) -> u64 {
        self.handle.tally.packets + self.handle.tally.dropped()
    }
}

impl Transmit for TxQueue {
    #[inline]
    fn send(&mut self, burst: &mut Burst) -> usize {
        TxQueue::send(self, burst)
    }
}
