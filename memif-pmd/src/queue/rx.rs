//! The receiving handle: bursts into private memory, packets in place, and waiting.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use memif_os::event::EventFd;
use memif_ring::burst::{PacketSink, Tally, packet_bytes};
use memif_ring::copy::Work;
use memif_ring::fault::{DropReason, PeerFault};
use memif_ring::layout::{Desc, MAX_SEGMENTS};
use memif_ring::region::RegionMap;
use memif_ring::shm::{Ring, Span, wake_fence};

use super::slot_loops::Skips;
use super::{Handle, Slot};
use crate::config::RxMode;
use crate::error::Error;
use crate::link::{RxLink, RxSide};
use crate::packet::Burst;
use crate::sleep;
use crate::stats::QueueStats;

/// A receive queue. It belongs to one thread at a time and works across links: with none it receives nothing, and with
/// the next it goes on by itself.
///
/// ```no_run
/// # let memif = memif_pmd::Memif::start()?;
/// # let interface = memif.interface("@front").open()?;
/// let mut rx = interface.rx(0)?;
/// let mut burst = memif_pmd::Burst::new(64)?;
/// loop {
///     rx.receive(&mut burst);
///     for packet in burst.iter() {
///         println!("{} bytes", packet.len());
///     }
///     burst.clear();
/// }
/// # Ok::<(), memif_pmd::Error>(())
/// ```
#[derive(Debug)]
pub struct RxQueue {
    pub(super) handle: Handle<RxLink>,
    /// Snapshots of what was peeked, and the packets they make.
    pieces: Vec<Desc>,
    packets: Vec<Extent>,
    doorbell: Option<Arc<EventFd>>,
    /// Slots held by nobody who knows: see [`Skips`].
    pub(super) skips: Skips,
    /// The eventfd was emptied since the mode is to poll.
    pub(super) quiet: bool,
}

/// A peeked packet: `count` of the pieces, from `first`, and their bytes.
#[derive(Clone, Copy, Debug)]
struct Extent {
    first: usize,
    count: u16,
    bytes: usize,
}

impl RxSide {
    #[inline(always)]
    pub(crate) fn ring(&self) -> &Ring {
        match self {
            Self::Slave(side) => side.ring(),
            Self::Master(side) => side.ring(),
        }
    }

    #[inline(always)]
    pub(super) fn ready(&mut self, wanted: usize) -> Result<u16, PeerFault> {
        match self {
            Self::Slave(side) => side.ready(wanted),
            Self::Master(side) => side.ready(wanted),
        }
    }

    #[inline]
    pub(super) fn peek(
        &self,
        regions: &RegionMap,
        ahead: u16,
        visit: impl FnMut(Desc),
    ) -> (u16, Result<(), DropReason>) {
        match self {
            Self::Slave(side) => side.peek(regions, ahead, visit),
            Self::Master(side) => side.peek(regions, ahead, visit),
        }
    }

    pub(super) fn release(&mut self, slots: u16) {
        match self {
            Self::Slave(side) => side.release(slots),
            Self::Master(side) => side.release(slots),
        }
    }

    /// Posts or gives back every slot that we are done with, unless that is left to the receiver.
    #[inline(always)]
    fn flush(&mut self) {
        match self {
            Self::Slave(side) => side.flush(),
            Self::Master(side) => side.flush(),
        }
    }

    pub(super) fn post(&mut self, slots: u16, headroom: u16) -> u16 {
        match self {
            Self::Slave(side) => side.post_some(slots, headroom),
            Self::Master(side) => side.give_back(slots),
        }
    }

    pub(super) fn position(&self) -> u16 {
        match self {
            Self::Slave(side) => side.position(),
            Self::Master(side) => side.position(),
        }
    }

    pub(super) fn oldest(&self) -> u16 {
        match self {
            Self::Slave(side) => side.oldest(),
            Self::Master(side) => side.oldest(),
        }
    }

    pub(super) fn held(&self) -> u16 {
        match self {
            Self::Slave(side) => side.unposted(),
            Self::Master(side) => side.held(),
        }
    }
}

/// One burst into private memory.
struct ReceiveBurst<'a> {
    side: &'a mut RxSide,
    regions: &'a RegionMap,
    burst: &'a mut Burst,
    tally: &'a mut Tally,
}

impl Work for ReceiveBurst<'_> {
    type Output = Result<usize, PeerFault>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        match self.side {
            RxSide::Slave(side) => side.receive(self.regions, self.burst, self.tally),
            RxSide::Master(side) => side.receive(self.regions, self.burst, self.tally),
        }
    }
}

impl RxQueue {
    pub(crate) fn new(slot: Arc<Slot<RxLink>>) -> Self {
        Self {
            handle: Handle::new(slot),
            pieces: Vec::new(),
            packets: Vec::new(),
            doorbell: None,
            skips: Skips::default(),
            quiet: false,
        }
    }

    /// Appends packets to `burst`, as many as are there and it takes; returns how many. 0 also while there is no link.
    /// Packets of several descriptors arrive in one piece, and broken ones are dropped and counted.
    #[inline]
    pub fn receive(&mut self, burst: &mut Burst) -> usize {
        let Some(queue) = self.handle.link() else { return 0 };
        // most polls find nothing: that costs a look, and no more
        if matches!(queue.side.ready(burst.room()), Ok(0)) {
            queue.side.flush();
            return 0;
        }
        self.receive_ready(burst)
    }

    #[inline(never)]
    fn receive_ready(&mut self, burst: &mut Burst) -> usize {
        let Handle { link: Some(queue), tally, slot, .. } = &mut self.handle else { return 0 };
        let before = tally.packets;
        let (regions, side) = (&queue.link.regions, &mut queue.side);
        match queue.link.isa.run(ReceiveBurst { side, regions, burst, tally }) {
            Ok(_) => {
                slot.counters.show(tally);
                #[expect(clippy::cast_possible_truncation, reason = "at most a burst")]
                let received = (tally.packets - before) as usize;
                received
            }
            Err(fault) => {
                self.handle.fail(fault);
                0
            }
        }
    }

    /// Looks at up to `max` packets in place, without copying. They stay in the ring until
    /// [`Peeked::release`]; a later peek shows them again, read anew.
    pub fn peek(&mut self, max: usize) -> Peeked<'_> {
        self.pieces.clear();
        self.packets.clear();
        if let Err(fault) = self.fill_peek(max) {
            self.packets.clear();
            self.handle.fail(fault);
        }
        Peeked { queue: self }
    }

    fn fill_peek(&mut self, max: usize) -> Result<(), PeerFault> {
        if self.handle.link().is_none() {
            return Ok(());
        }
        self.skips.follow(self.handle.epoch);
        let Handle { link: Some(queue), tally, slot, .. } = &mut self.handle else { return Ok(()) };
        let mut ready = queue.side.ready(max)?;
        let mut ahead = 0;
        while ahead < ready && self.packets.len() < max {
            let first = self.pieces.len();
            let (slots, verdict) =
                queue.side.peek(&queue.link.regions, ahead, |piece| self.pieces.push(piece));
            let found = self.pieces.get(first..).unwrap_or_default();
            let bytes = found.iter().map(|piece| piece.length as usize).sum();
            match verdict.and_then(|()| acceptable(found.len(), bytes)) {
                Ok(()) => {
                    self.packets.push(Extent { first, count: slots, bytes });
                    ahead += slots;
                }
                // slots go back in order: a broken packet behind good ones waits for the next peek
                Err(_) if ahead > 0 => {
                    self.pieces.truncate(first);
                    break;
                }
                Err(reason) => {
                    self.pieces.truncate(first);
                    self.skips.mark(queue.side.position(), slots);
                    queue.side.release(slots);
                    ready -= slots;
                    tally.count_drop(reason);
                    slot.counters.show(tally);
                }
            }
        }
        if ready == 0 {
            queue.side.flush();
        }
        Ok(())
    }

    fn release(&mut self, packets: usize) {
        let Handle { link: Some(queue), tally, slot, .. } = &mut self.handle else { return };
        let released = self.packets.iter().take(packets);
        let slots = released.clone().map(|packet| packet.count).sum();
        for packet in released {
            tally.count(packet.bytes);
        }
        queue.side.release(slots);
        slot.counters.show(tally);
    }

    /// Gives the first `slots` slots of those that were received and kept (all where there are fewer) back to the peer,
    /// those of broken packets between them as well, and returns how many: see [`InterfaceBuilder::explicit_posting`](crate::InterfaceBuilder::explicit_posting). A
    /// slave posts each buffer without its first `headroom` bytes, which the peer then leaves alone; a master has no say
    /// in that. 0 while there is no link.
    pub fn post(&mut self, slots: u16, headroom: u16) -> u16 {
        if self.handle.link().is_none() {
            return 0;
        }
        self.skips.follow(self.handle.epoch);
        let Some(queue) = &mut self.handle.link else { return 0 };
        let slots = self.skips.pass(slots, queue.side.oldest(), queue.side.held());
        queue.side.post(slots, headroom)
    }

    /// Slots that [`RxQueue::post`] would give back: received and kept, or, of a slave, never used.
    pub fn held(&mut self) -> u16 {
        self.handle.link().map_or(0, |queue| queue.side.held())
    }

    /// Index of the queue in its interface.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.handle.slot.index()
    }

    /// Whether there is a link with a ring for this queue.
    pub fn is_up(&mut self) -> bool {
        self.handle.link().is_some()
    }

    /// What the queue has counted.
    #[must_use]
    pub fn stats(&self) -> QueueStats {
        self.handle.slot.counters.read()
    }

    /// How the queue learns of packets.
    #[must_use]
    pub fn mode(&self) -> RxMode {
        self.handle.slot.mode()
    }

    /// Changes how the queue learns of packets, at any time. No wake-up is lost: whoever waits is woken once, to look.
    pub fn set_mode(&mut self, mode: RxMode) {
        let slot = Arc::clone(&self.handle.slot);
        slot.change_mode(mode, || self.handle.link().map(|queue| &*queue));
    }

    /// The eventfd that the peer rings, for programs with an event loop of their own: readable when there may be packets
    /// to receive. Valid for as long as the link is; `None` without one. After it was readable call
    /// [`RxQueue::clear_event`], then receive until nothing is left. Needs [`RxMode::Interrupt`].
    pub fn event_fd(&mut self) -> Option<BorrowedFd<'_>> {
        self.handle.link().map(|queue| queue.event.as_fd())
    }

    /// Makes the eventfd unreadable until the peer rings again. Before receiving, not after, or a ring is lost.
    pub fn clear_event(&mut self) {
        if let Some(queue) = self.handle.link() {
            let _ = queue.event.drain(); // nothing to drain is fine
        }
    }

    /// Waits until there may be packets, the link comes or goes, or `timeout` has passed; `None` waits without limit.
    /// Sleeps in every mode, and leaves interrupts masked afterwards unless the mode is [`RxMode::Interrupt`]. Returns
    /// whether there is something to receive.
    ///
    /// # Errors
    /// The kernel refuses an eventfd or to wait on it.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<bool, Error> {
        let doorbell = match &self.doorbell {
            Some(doorbell) => Arc::clone(doorbell),
            None => {
                let doorbell = Arc::new(EventFd::new().map_err(Error::system("eventfd"))?);
                self.doorbell = Some(Arc::clone(&doorbell));
                self.handle.ring_on_change(&doorbell);
                doorbell
            }
        };
        sleep::until_woken(&mut [self], &doorbell, timeout).map_err(Error::system("poll"))?;
        Ok(self.has_packets())
    }

    /// Rings `doorbell` when the link comes or goes.
    pub(crate) fn watch(&mut self, doorbell: &Arc<EventFd>) {
        self.doorbell = Some(Arc::clone(doorbell));
        self.handle.ring_on_change(doorbell);
    }

    /// Asks the peer to ring. True when there are packets already, so that nobody must sleep.
    pub(crate) fn arm(&mut self) -> bool {
        if let Some(queue) = self.handle.link() {
            queue.side.flush(); // the peer may be waiting for the slots that we hold back
            queue.side.ring().mask_interrupts(false);
            wake_fence();
        }
        self.has_packets()
    }

    /// Looks without receiving.
    pub(crate) fn has_packets(&mut self) -> bool {
        let Some(queue) = self.handle.link() else { return false };
        match queue.side.ready(1) {
            Ok(ready) => ready > 0,
            Err(fault) => {
                self.handle.fail(fault);
                false
            }
        }
    }

    /// Ends [`RxQueue::arm`]: busy again. True when the peer had rung.
    pub(crate) fn disarm(&mut self) -> bool {
        if self.handle.link().is_none() {
            return false;
        }
        let Handle { link: Some(queue), slot, .. } = &mut self.handle else { return false };
        slot.apply_mode(queue);
        slot.notice_mode(queue);
        let rung = matches!(queue.event.drain(), Ok(Some(_)));
        if rung {
            slot.counters.add_wakeup();
        }
        rung
    }

    pub(crate) fn waiting_fd(&self) -> Option<BorrowedFd<'_>> {
        self.handle.link.as_ref().map(|queue| queue.event.as_fd())
    }

    pub(crate) fn activity(&self) -> u64 {
        self.handle.tally.packets + self.handle.tally.dropped
    }
}

pub(super) fn acceptable(pieces: usize, bytes: usize) -> Result<(), DropReason> {
    if pieces > MAX_SEGMENTS { Err(DropReason::ChainTooLong) } else { packet_bytes(bytes).map(drop) }
}

/// Received packets in place. Dropping it releases nothing.
#[derive(Debug)]
pub struct Peeked<'q> {
    queue: &'q mut RxQueue,
}

impl Peeked<'_> {
    /// Packets there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.packets.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.packets.is_empty()
    }

    /// The pieces of the packet at `index`, in order.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Pieces<'_>> {
        let packet = self.queue.packets.get(index)?;
        let pieces = self.queue.pieces.get(packet.first..packet.first + usize::from(packet.count))?;
        let queue = self.queue.handle.link.as_ref()?;
        Some(Pieces { regions: &queue.link.regions, pieces, bytes: packet.bytes })
    }

    /// The packets in order.
    pub fn iter(&self) -> impl Iterator<Item = Pieces<'_>> {
        (0..self.len()).map_while(|index| self.get(index))
    }

    /// Gives the slots of the first `packets` packets back to the peer, which may write to them from then on.
    pub fn release(self, packets: usize) {
        self.queue.release(packets);
    }
}

/// The pieces of one packet in shared memory. The peer may write to them at any time: copy first, then look.
#[derive(Clone, Debug)]
pub struct Pieces<'a> {
    regions: &'a RegionMap,
    pieces: &'a [Desc],
    bytes: usize,
}

impl<'a> Pieces<'a> {
    /// Bytes of the whole packet.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Copies the packet into `dst`, as much as it holds; returns the bytes copied.
    pub fn copy_to(&self, dst: &mut [u8]) -> usize {
        let mut copied = 0;
        for span in self.clone() {
            copied += span.read_at(0, dst.get_mut(copied..).unwrap_or_default());
        }
        copied
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Span<'a>;

    fn next(&mut self) -> Option<Span<'a>> {
        let (piece, rest) = self.pieces.split_first()?;
        self.pieces = rest;
        // checked when it was peeked: the snapshot still names the same place
        self.regions.span(piece.region, piece.offset, piece.length).ok()
    }
}
