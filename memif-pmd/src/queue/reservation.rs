//! Free buffers of a transmit queue, filled in place.

use memif_ring::burst::Tally;
use memif_ring::end::Sender;
use memif_ring::fault::PeerFault;
use memif_ring::layout::{Desc, DescFlags};
use memif_ring::region::RegionMap;
use memif_ring::shm::SpanMut;

use super::end::by_role;
use super::lend;
use super::mailbox::{Handle, Parts};
use super::notifier::Notifier;
use crate::link::{End, TxLink};

/// A reserved buffer, and what it was filled with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reserved {
    buffer: Desc,
    start: u32,
    len: u32,
    next: bool,
}

/// Finds up to `max` free buffers of at least `len` bytes. Slots are used in order: an unusable buffer in the first slot is
/// sent as an empty descriptor, which gives it back; behind usable ones, it ends the search until the next reservation.
fn find(
    end: &mut impl Sender,
    regions: &RegionMap,
    (max, len): (usize, usize),
    buffers: &mut Vec<Reserved>,
    tally: &mut Tally,
) -> Result<(), PeerFault> {
    let mut free = usize::from(end.reservable(max)?);
    while buffers.len() < max.min(free) {
        #[expect(clippy::cast_possible_truncation, reason = "below the ring's size")]
        let ahead = buffers.len() as u16;
        match end.reserve(regions, ahead, len) {
            Some(Ok(buffer)) => {
                buffer.span.prefetch_to_write(1); // all of a burst on their way at once
                buffers.push(Reserved { buffer: buffer.desc, start: 0, len: 0, next: false });
            }
            None => break,
            Some(Err(_)) if ahead > 0 => break,
            Some(Err(reason)) => {
                end.complete(0, DescFlags::empty(), 0, 0);
                end.commit(1);
                free -= 1;
                tally.count_drop(reason);
            }
        }
    }
    Ok(())
}

/// Publishes all `filled` buffers. It counts in registers, because stores become visible in order: a counter stored in memory
/// would wait behind stores to lines that the other core holds.
fn publish(end: &mut impl Sender, filled: &[Reserved], tally: &mut Tally) {
    let (mut packets, mut bytes) = (0, 0);
    for (ahead, buffer) in (0..).zip(filled) {
        let goes_on = buffer.next && usize::from(ahead) + 1 < filled.len();
        end.complete(ahead, DescFlags::next_if(goes_on), buffer.start, buffer.len);
        bytes += u64::from(buffer.len);
        packets += u64::from(!goes_on);
    }
    tally.packets += packets;
    tally.bytes += bytes;
    #[expect(clippy::cast_possible_truncation, reason = "at most the ring's size")]
    end.commit(filled.len() as u16);
}

/// Free buffers of a transmit queue, to be filled in place: [`TxQueue::reserve`](crate::TxQueue::reserve) gives them.
/// Dropping it sends nothing.
#[derive(Debug)]
#[must_use = "nothing is sent before `commit`"]
pub struct Reservation<'q> {
    handle: &'q mut Handle<TxLink>,
    buffers: &'q mut Vec<Reserved>,
    notifier: &'q mut Notifier,
}

impl<'q> Reservation<'q> {
    pub(super) fn of(
        handle: &'q mut Handle<TxLink>,
        buffers: &'q mut Vec<Reserved>,
        notifier: &'q mut Notifier,
        (max, len): (usize, usize),
    ) -> Self {
        buffers.clear();
        if let Some(Parts { link, tally, counters }) = handle.parts() {
            let dropped = tally.dropped();
            let found =
                by_role!(&mut link.end, |end| find(end, &link.link.regions, (max, len), buffers, tally));
            if tally.dropped() != dropped {
                counters.show(tally);
            }
            if let Err(fault) = found {
                buffers.clear();
                handle.fail(fault);
            }
        }
        Self { handle, buffers, notifier }
    }
}

impl Reservation<'_> {
    /// Number of buffers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buffers.len()
    }

    /// Whether there are no buffers: the ring is full, or there is no link.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffers.is_empty()
    }

    /// The whole buffer at `index`. `None` if there is no such buffer.
    #[must_use]
    pub fn span(&mut self, index: usize) -> Option<SpanMut<'_>> {
        let buffer = self.buffers.get(index)?.buffer;
        lend::reserved(self.handle.link.as_mut()?, &buffer)
    }

    /// Sets the packet bytes in the buffer at `index` to its first `len` bytes, at most all of them.
    pub fn set_len(&mut self, index: usize, len: usize) {
        self.set_range(index, 0, len);
    }

    /// Sets the packet bytes in the buffer at `index` to the `len` bytes from `start`, at most up to its end. Returns false
    /// and changes nothing if there is no such buffer, or if `start` is not 0 on a master: the packets of a master begin at
    /// the start of their buffers.
    pub fn set_range(&mut self, index: usize, start: usize, len: usize) -> bool {
        let slave = matches!(&self.handle.link, Some(link) if matches!(link.end, End::Slave(_)));
        let Some(reserved) = self.buffers.get_mut(index).filter(|_| slave || start == 0) else {
            return false;
        };
        let clamp = |bytes, most| u32::try_from(bytes).unwrap_or(u32::MAX).min(most);
        reserved.start = clamp(start, reserved.buffer.length);
        reserved.len = clamp(len, reserved.buffer.length - reserved.start);
        true
    }

    /// Copies `bytes` into the buffer at `index`, as many as it holds, and sets its length; returns the bytes copied.
    pub fn fill(&mut self, index: usize, bytes: &[u8]) -> usize {
        let copied = self.span(index).map_or(0, |mut span| span.copy_from(bytes));
        self.set_len(index, copied);
        copied
    }

    /// Continues the packet in the buffer at `index` in the next buffer.
    pub fn chain(&mut self, index: usize) {
        if let Some(reserved) = self.buffers.get_mut(index) {
            reserved.next = true;
        }
    }

    /// Sends the first `count` buffers, or all where there are fewer. A buffer whose length was not set goes as an empty
    /// packet, which receivers drop.
    pub fn commit(self, count: usize) {
        let filled = self.buffers.get(..count).unwrap_or(self.buffers);
        // the link that they were reserved on, even if it has ended meanwhile
        let Handle { link: Some(link), tally, mailbox, epoch, .. } = self.handle else { return };
        if filled.is_empty() {
            return;
        }
        by_role!(&mut link.end, |end| publish(end, filled, tally));
        self.notifier.notify(link, mailbox, *epoch);
        mailbox.counters.show(tally);
    }
}
