//! The sending handle: bursts from private memory, and buffers filled in place.

use std::sync::Arc;

use memif_ring::burst::Tally;
use memif_ring::copy::Work;
use memif_ring::fault::{DropReason, PeerFault};
use memif_ring::layout::{DESC_FLAG_NEXT, Desc};
use memif_ring::region::RegionMap;
use memif_ring::shm::{Ring, Span, wake_fence};

use super::slots::Claims;
use super::{Handle, Slot};
use crate::link::{TxLink, TxSide};
use crate::packet::Burst;
use crate::stats::{QueueCounters, QueueStats};

/// A transmit queue. It belongs to one thread at a time and works across links: with none it drops what it is given, as
/// a network card without a cable does, and with the next it goes on by itself.
#[derive(Debug)]
pub struct TxQueue {
    pub(super) handle: Handle<TxLink>,
    /// Buffers that were reserved.
    buffers: Vec<Reserved>,
    /// Buffers that were claimed.
    pub(super) claims: Claims,
}

/// A reserved buffer, and what it was filled with.
#[derive(Clone, Copy, Debug)]
struct Reserved {
    place: Desc,
    start: u32,
    len: u32,
    next: bool,
}

impl TxSide {
    #[inline(always)]
    fn ring(&self) -> &Ring {
        match self {
            Self::Slave(side) => side.ring(),
            Self::Master(side) => side.ring(),
        }
    }

    pub(super) fn position(&self) -> u16 {
        match self {
            Self::Slave(side) => side.position(),
            Self::Master(side) => side.position(),
        }
    }

    pub(super) fn free(&mut self, wanted: usize) -> Result<u16, PeerFault> {
        match self {
            Self::Slave(side) => side.free(wanted),
            Self::Master(side) => side.free(wanted),
        }
    }

    #[inline]
    pub(super) fn buffer(&self, regions: &RegionMap, ahead: u16) -> Result<Desc, DropReason> {
        match self {
            Self::Slave(side) => side.buffer(regions, ahead),
            Self::Master(side) => side.buffer(regions, ahead),
        }
    }

    /// A master leaves places alone, so its packets begin where their buffers do.
    #[inline]
    pub(super) fn complete(&mut self, ahead: u16, flags: u16, start: u32, length: u32) {
        match self {
            Self::Slave(side) => side.complete_at(ahead, flags, start, length),
            Self::Master(side) => side.complete(ahead, flags, length),
        }
    }

    pub(super) fn commit(&mut self, slots: u16) {
        match self {
            Self::Slave(side) => side.commit(slots),
            Self::Master(side) => side.commit(slots),
        }
    }
}

/// One burst from private memory.
struct SendBurst<'a> {
    side: &'a mut TxSide,
    regions: &'a RegionMap,
    burst: &'a Burst,
    tally: &'a mut Tally,
}

impl Work for SendBurst<'_> {
    type Output = Result<usize, PeerFault>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        match self.side {
            TxSide::Slave(side) => side.send(self.regions, self.burst, self.tally),
            TxSide::Master(side) => side.send(self.regions, self.burst, self.tally),
        }
    }
}

/// Rings the receiver, unless it does not want it. The fence pairs with the one of a receiver going to sleep: it sees
/// the published index, or we see its flag.
#[inline(always)]
pub(super) fn ring_receiver(queue: &TxLink, counters: &QueueCounters) {
    wake_fence();
    if !queue.side.ring().interrupts_masked() {
        interrupt(queue, counters);
    }
}

#[cold]
fn interrupt(queue: &TxLink, counters: &QueueCounters) {
    let _ = queue.event.ring(); // a full counter is rung already; a broken one is the peer's loss
    counters.add_interrupt();
}

impl TxQueue {
    pub(crate) fn new(slot: Arc<Slot<TxLink>>) -> Self {
        Self { handle: Handle::new(slot), buffers: Vec::new(), claims: Claims::default() }
    }

    /// Sends packets from the front of `burst`, as many as fit, and returns how many were sent. Those leave the burst;
    /// what does not fit stays, in order, to be sent again or cleared. Packets larger than a buffer take several.
    ///
    /// Packets that can never be sent (larger than the whole ring, or no link) leave the burst too, and are counted.
    #[inline]
    pub fn send(&mut self, burst: &mut Burst) -> usize {
        if burst.is_empty() {
            return 0;
        }
        if self.handle.link().is_none() {
            return self.drop_all(burst);
        }
        let Handle { link: Some(queue), tally, slot, .. } = &mut self.handle else { return 0 };
        let before = tally.packets;
        let (regions, side) = (&queue.link.regions, &mut queue.side);
        let done = match queue.link.isa.run(SendBurst { side, regions, burst, tally }) {
            Ok(done) => done,
            Err(fault) => {
                self.handle.fail(fault);
                return self.drop_all(burst);
            }
        };
        if done < burst.len() {
            slot.counters.add_ring_full();
        }
        if done > 0 {
            ring_receiver(queue, &slot.counters);
            slot.counters.show(tally);
            burst.drain_front(done);
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most a burst")]
        let sent = (tally.packets - before) as usize;
        sent
    }

    #[cold]
    fn drop_all(&mut self, burst: &mut Burst) -> usize {
        self.handle.slot.counters.add_link_down(burst.len());
        burst.clear();
        0
    }

    /// Up to `max` free buffers, to be filled in place: no copy of ours. Nothing is sent before
    /// [`Reservation::commit`].
    pub fn reserve(&mut self, max: usize) -> Reservation<'_> {
        self.buffers.clear();
        if let Err(fault) = self.fill_reservation(max) {
            self.buffers.clear();
            self.handle.fail(fault);
        }
        Reservation { queue: self }
    }

    fn fill_reservation(&mut self, max: usize) -> Result<(), PeerFault> {
        if self.handle.link().is_none() {
            return Ok(());
        }
        let Handle { link: Some(queue), tally, slot, .. } = &mut self.handle else { return Ok(()) };
        let mut free = usize::from(queue.side.free(max)?);
        while self.buffers.len() < max.min(free) {
            #[expect(clippy::cast_possible_truncation, reason = "below the ring's size")]
            let ahead = self.buffers.len() as u16;
            match queue.side.buffer(&queue.link.regions, ahead) {
                Ok(place) => {
                    if let Ok(span) = queue.link.regions.span(place.region, place.offset, place.length) {
                        span.prefetch_to_write(); // all of a burst on their way at once
                    }
                    self.buffers.push(Reserved { place, start: 0, len: 0, next: false });
                }
                // slots go in order: an unusable one behind good ones waits for the next reservation
                Err(_) if ahead > 0 => break,
                Err(reason) => {
                    queue.side.complete(0, 0, 0, 0);
                    queue.side.commit(1);
                    free -= 1;
                    tally.count_drop(reason);
                    slot.counters.show(tally);
                }
            }
        }
        Ok(())
    }

    fn commit(&mut self, count: usize) {
        let Handle { link: Some(queue), tally, slot, .. } = &mut self.handle else { return };
        let count = count.min(self.buffers.len());
        let mut bytes = 0;
        for (ahead, filled) in (0..).zip(self.buffers.iter().take(count)) {
            let goes_on = filled.next && usize::from(ahead) + 1 < count;
            let flags = if goes_on { DESC_FLAG_NEXT } else { 0 };
            queue.side.complete(ahead, flags, filled.start, filled.len);
            bytes += filled.len as usize;
            if !goes_on {
                tally.count(bytes);
                bytes = 0;
            }
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most the ring's size")]
        queue.side.commit(count as u16);
        ring_receiver(queue, &slot.counters);
        slot.counters.show(tally);
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

    pub(crate) fn activity(&self) -> u64 {
        self.handle.tally.packets + self.handle.tally.dropped
    }
}

/// Free buffers of a transmit queue, to be filled in place. Dropping it sends nothing.
#[derive(Debug)]
pub struct Reservation<'q> {
    queue: &'q mut TxQueue,
}

impl Reservation<'_> {
    /// Buffers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.buffers.len()
    }

    /// Whether there are none: the ring is full, or there is no link.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.buffers.is_empty()
    }

    /// The buffer at `index`, with all the bytes that it holds.
    #[must_use]
    pub fn span(&self, index: usize) -> Option<Span<'_>> {
        let place = self.queue.buffers.get(index)?.place;
        let queue = self.queue.handle.link.as_ref()?;
        queue.link.regions.span(place.region, place.offset, place.length).ok()
    }

    /// Says that the first `len` bytes of the buffer at `index` are packet, at most what it holds.
    pub fn set_len(&mut self, index: usize, len: usize) {
        self.set_range(index, 0, len);
    }

    /// Says that packet bytes begin `start` bytes into the buffer at `index`, and how many there are, at most up to its
    /// end. A master's begin where the buffer does: false, and nothing is done, when that cannot be.
    pub fn set_range(&mut self, index: usize, start: usize, len: usize) -> bool {
        let slave = matches!(&self.queue.handle.link, Some(queue) if matches!(queue.side, TxSide::Slave(_)));
        let Some(buffer) = self.queue.buffers.get_mut(index).filter(|_| slave || start == 0) else {
            return false;
        };
        let clamp = |bytes, most| u32::try_from(bytes).unwrap_or(u32::MAX).min(most);
        buffer.start = clamp(start, buffer.place.length);
        buffer.len = clamp(len, buffer.place.length - buffer.start);
        true
    }

    /// Copies `bytes` into the buffer at `index`, as much as it holds, and sets its length; returns the bytes copied.
    pub fn fill(&mut self, index: usize, bytes: &[u8]) -> usize {
        let copied = self.span(index).map_or(0, |span| span.copy_from(bytes));
        self.set_len(index, copied);
        copied
    }

    /// Says that the packet in the buffer at `index` goes on in the next one.
    pub fn chain(&mut self, index: usize) {
        if let Some(buffer) = self.queue.buffers.get_mut(index) {
            buffer.next = true;
        }
    }

    /// Sends the first `count` buffers. One whose length was not set goes as an empty packet, which receivers drop.
    pub fn commit(self, count: usize) {
        self.queue.commit(count);
    }
}
