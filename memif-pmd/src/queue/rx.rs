//! The handle of a receive queue.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use memif_os::event::EventFd;
use memif_ring::burst::Tally;
use memif_ring::end::Receiver;
use memif_ring::isa::Work;
use memif_ring::region::RegionMap;
use memif_ring::shm::wake_fence;

use super::end::by_role;
use super::mailbox::{Handle, Mailbox};
use super::peek::{Found, Peeked};
use super::raw::{Kept, RawRx};
use crate::config::RxMode;
use crate::link::RxLink;
use crate::packet::Burst;
use crate::stats::QueueStats;
use crate::transfer::Receive;

/// A receive queue of an interface: [`Interface::rx`](crate::Interface::rx) gives it.
///
/// Most programs use [`RxQueue::receive`], which copies packets into private memory, where no peer can change them.
/// [`RxQueue::peek`] shows packets in place, [`RxQueue::forward_to`] moves them to another queue without a copy, and
/// [`RxQueue::raw`] is for programs that keep received buffers from call to call.
///
/// A queue stays valid when its link ends. While there is no link it receives nothing; with the next link it receives
/// again. It belongs to one thread at a time: it is [`Send`], but not [`Sync`].
///
/// ```no_run
/// # let memif = memif_pmd::Memif::start()?;
/// # let interface = memif.interface("@front").open()?;
/// let mut rx = interface.rx(0)?;
/// let mut burst = memif_pmd::Burst::new(64)?;
/// loop {
///     rx.receive(&mut burst);
///     for packet in &burst {
///         println!("{} bytes", packet.len());
///     }
///     burst.clear();
/// }
/// # Ok::<(), memif_pmd::Error>(())
/// ```
///
/// ```
/// fn sent_to_a_thread<T: Send>() {}
/// sent_to_a_thread::<memif_pmd::RxQueue>();
/// ```
/// ```compile_fail,E0277
/// fn shared_between_threads<T: Sync>() {}
/// shared_between_threads::<memif_pmd::RxQueue>();
/// ```
#[derive(Debug)]
pub struct RxQueue {
    pub(super) handle: Handle<RxLink>,
    found: Found,
    kept: Kept,
    /// Signalled when the link changes, for whoever sleeps over the queue.
    pub(super) doorbell: Option<Arc<EventFd>>,
}

/// One burst into private memory.
struct ReceiveBurst<'a, E> {
    end: &'a mut E,
    regions: &'a RegionMap,
    burst: &'a mut Burst,
    tally: &'a mut Tally,
}

impl<E: Receiver> Work for ReceiveBurst<'_, E> {
    type Output = usize;

    #[inline(always)]
    fn run(self) -> usize {
        self.end.receive_known(self.regions, self.burst, self.tally)
    }
}

impl RxQueue {
    pub(crate) fn new(mailbox: Arc<Mailbox<RxLink>>) -> Self {
        Self { handle: Handle::new(mailbox), found: Found::default(), kept: Kept::default(), doorbell: None }
    }

    /// Appends the packets that are in the ring to `burst`, as many as fit, and returns their number. It is 0 while there is
    /// no link. Packets that the last send of this burst had no room for are set aside first, even if no packet comes: see
    /// [`Burst`].
    ///
    /// A packet that came in several descriptors is one slice of the burst. Invalid packets are dropped and counted
    /// ([`QueueStats::drops`]).
    #[inline]
    pub fn receive(&mut self, burst: &mut Burst) -> usize {
        burst.set_aside();
        if self.handle.plain_link().is_none() {
            return self.receive_noticing(burst);
        }
        self.receive_plain(burst)
    }

    /// Receives like [`RxQueue::receive`], on the link that the handle has now. The queue must have no mirror.
    #[inline(always)]
    pub(super) fn receive_plain(&mut self, burst: &mut Burst) -> usize {
        let Some(link) = &mut self.handle.link else { return 0 };
        // most polls find nothing, so they must cost no more than a look at the index
        let ready = by_role!(&mut link.end, |end| {
            let ready = end.ready(burst.room());
            if let Ok(0) = ready {
                end.flush();
            }
            ready
        });
        match ready {
            Ok(0) => 0,
            Ok(_) => self.receive_known(burst),
            Err(fault) => {
                self.handle.overcome(fault, &mut self.kept);
                0
            }
        }
    }

    /// Receives the packets that the look has found. It does not load the index again, which would take its cache line from
    /// the sender once more.
    #[inline(never)]
    fn receive_known(&mut self, burst: &mut Burst) -> usize {
        let Handle { link: Some(link), tally, mailbox, .. } = &mut self.handle else { return 0 };
        let (before, regions, isa) = (tally.packets, &link.link.regions, link.link.isa);
        by_role!(&mut link.end, |end| isa.run(ReceiveBurst { end, regions, burst, tally }));
        mailbox.counters.show(tally);
        #[expect(clippy::cast_possible_truncation, reason = "at most a burst")]
        let received = (tally.packets - before) as usize;
        received
    }

    /// Shows up to `max` packets in place, without copying them. They stay in the ring until [`Peeked::release`]. The next
    /// call shows packets that were not released again, and reads their descriptors anew. Invalid packets are dropped and
    /// counted.
    pub fn peek(&mut self, max: usize) -> Peeked<'_> {
        Peeked::find(&mut self.handle, &mut self.found, &mut self.kept, max)
    }

    /// The queue for programs that keep received buffers from call to call: see [`raw`](crate::raw).
    #[inline(always)]
    pub fn raw(&mut self) -> RawRx<'_> {
        RawRx::new(&mut self.handle, &mut self.kept)
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

    /// How the queue learns of packets.
    #[must_use]
    pub fn mode(&self) -> RxMode {
        self.handle.mailbox.mode()
    }

    /// Changes how the queue learns of packets, at any time. No wake-up is lost: a thread that sleeps over the queue is
    /// woken once.
    pub fn set_mode(&mut self, mode: RxMode) {
        let mailbox = Arc::clone(&self.handle.mailbox);
        mailbox.change_mode(mode, || self.handle.link().map(|link| &*link));
    }

    /// The eventfd that the peer signals, for programs with an event loop of their own: readable when there may be packets.
    /// `None` without a link; the next link has another one. Needs [`RxMode::Interrupt`].
    ///
    /// When it is readable call [`RxQueue::clear_event`], then [`RxQueue::receive`] until it returns 0.
    pub fn event_fd(&mut self) -> Option<BorrowedFd<'_>> {
        self.handle.link().map(|link| link.event.as_fd())
    }

    /// Makes the eventfd unreadable until the peer signals it again. Call it before [`RxQueue::receive`], not after: the peer
    /// then signals packets that arrive after the last look.
    pub fn clear_event(&mut self) {
        if let Some(link) = self.handle.link() {
            let _ = link.event.drain(); // nothing to drain is fine
        }
    }

    /// Signals `doorbell` when the link comes or goes.
    pub(crate) fn watch(&mut self, doorbell: &Arc<EventFd>) {
        self.doorbell = Some(Arc::clone(doorbell));
        self.handle.ring_on_change(doorbell);
    }

    /// Asks the peer for notifications. True when there are packets already, so that nobody must sleep.
    pub(super) fn arm(&mut self) -> bool {
        if let Some(link) = self.handle.link() {
            by_role!(&mut link.end, |end| {
                end.flush(); // the peer may be waiting for the slots that we hold back
                end.ring().mask_interrupts(false);
            });
            // pairs with the sender's: it sees the flag, or we see its packets
            wake_fence();
        }
        self.has_packets()
    }

    /// Looks without receiving.
    pub(super) fn has_packets(&mut self) -> bool {
        self.handle.has_packets(&mut self.kept)
    }

    /// Ends [`RxQueue::arm`].
    pub(super) fn disarm(&mut self) {
        if self.handle.link().is_none() {
            return;
        }
        let Handle { link: Some(link), mailbox, .. } = &mut self.handle else { return };
        mailbox.apply_mode(link);
        mailbox.notice_mode(link);
        if matches!(link.event.drain(), Ok(Some(_))) {
            mailbox.counters.add_wakeup();
        }
    }

    /// The eventfd that is readable when the peer has notified us. It does not look for a new link.
    pub(super) fn waiting_fd(&self) -> Option<BorrowedFd<'_>> {
        self.handle.link.as_ref().map(|link| link.event.as_fd())
    }

    /// A number that changes with every packet received or dropped.
    pub(crate) fn activity(&self) -> u64 {
        self.handle.tally.packets + self.handle.tally.dropped()
    }
}

impl Receive for RxQueue {
    #[inline]
    fn receive(&mut self, burst: &mut Burst) -> usize {
        RxQueue::receive(self, burst)
    }
}
