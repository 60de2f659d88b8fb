//! Received packets in place.

use memif_ring::burst::Tally;
use memif_ring::end::Receiver;
use memif_ring::fault::PeerFault;
use memif_ring::layout::Desc;
use memif_ring::region::RegionMap;
use memif_ring::shm::{RingMemory as _, Span};

use super::end::{by_role, check_packet};
use super::lend;
use super::mailbox::{Handle, Parts};
use super::raw::Kept;
use crate::link::RxLink;

/// What the last peek found: descriptor snapshots, and the packets that they make. Kept by the queue for its memory.
#[derive(Debug, Default)]
pub(super) struct Found {
    pieces: Vec<Desc>,
    packets: Vec<Extent>,
}

/// A packet: `pieces` snapshots from `first`, and their bytes.
#[derive(Clone, Copy, Debug)]
struct Extent {
    first: usize,
    pieces: u16,
    bytes: usize,
}

impl Found {
    fn clear(&mut self) {
        self.pieces.clear();
        self.packets.clear();
    }

    /// Finds up to `max` packets. Invalid packets in front are dropped; one behind others waits for the next peek, as
    /// slots are consumed in order.
    fn fill(
        &mut self,
        end: &mut impl Receiver,
        regions: &RegionMap,
        max: usize,
        tally: &mut Tally,
        mut dropped: impl FnMut(u16, u16),
    ) -> Result<(), PeerFault> {
        let mut ready = end.ready(max)?;
        let mut ahead = 0;
        while ahead < ready && self.packets.len() < max {
            let first = self.pieces.len();
            let (slots, verdict) = end.peek(regions, ahead, |piece| self.pieces.push(piece.desc));
            let pieces = self.pieces.get(first..).unwrap_or_default();
            let bytes = pieces.iter().map(|piece| piece.length as usize).sum();
            match verdict.and_then(|()| check_packet(pieces.len(), bytes)) {
                Ok(()) => {
                    self.packets.push(Extent { first, pieces: slots, bytes });
                    ahead += slots;
                }
                Err(_) if ahead > 0 => {
                    self.pieces.truncate(first);
                    break;
                }
                Err(reason) => {
                    self.pieces.truncate(first);
                    dropped(end.position(), slots);
                    end.release(slots);
                    ready -= slots;
                    tally.count_drop(reason);
                }
            }
        }
        if ready == 0 {
            end.flush();
        }
        Ok(())
    }
}

/// Received packets in place: [`RxQueue::peek`](crate::RxQueue::peek) gives them. Dropping it releases nothing.
#[derive(Debug)]
#[must_use = "packets stay in the ring until `release`"]
pub struct Peeked<'q> {
    handle: &'q mut Handle<RxLink>,
    found: &'q Found,
}

impl<'q> Peeked<'q> {
    pub(super) fn find(
        handle: &'q mut Handle<RxLink>,
        found: &'q mut Found,
        kept: &mut Kept,
        max: usize,
    ) -> Self {
        found.clear();
        if let Err(fault) = Self::fill(handle, found, kept, max) {
            found.clear();
            handle.overcome(fault, kept);
        }
        Self { handle, found }
    }

    fn fill(
        handle: &mut Handle<RxLink>,
        found: &mut Found,
        kept: &mut Kept,
        max: usize,
    ) -> Result<(), PeerFault> {
        if handle.link().is_none() {
            return Ok(());
        }
        kept.follow(handle.epoch);
        let Some(Parts { link, tally, counters }) = handle.parts() else { return Ok(()) };
        let before = tally.dropped();
        by_role!(&mut link.end, |end| {
            let (oldest, size) = (end.oldest(), end.ring().size());
            found.fill(end, &link.link.regions, max, tally, |first, slots| {
                kept.skip(first, slots, (oldest, size));
            })
        })?;
        if tally.dropped() != before {
            counters.show(tally);
        }
        Ok(())
    }
}

impl Peeked<'_> {
    /// Number of packets.
    #[must_use]
    pub fn len(&self) -> usize {
        self.found.packets.len()
    }

    /// Whether there are no packets.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.packets.is_empty()
    }

    /// The packet at `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Pieces<'_>> {
        let packet = self.found.packets.get(index)?;
        let pieces = self.found.pieces.get(packet.first..packet.first + usize::from(packet.pieces))?;
        Some(Pieces { link: self.handle.link.as_ref()?, pieces, bytes: packet.bytes })
    }

    /// The packets in order.
    pub fn iter(&self) -> impl Iterator<Item = Pieces<'_>> {
        (0..self.len()).map_while(|index| self.get(index))
    }

    /// Consumes the first `packets` packets: their slots go back to the peer, which may write to the buffers from then on.
    pub fn release(self, packets: usize) {
        // the link that was peeked, whatever has become of it
        let Handle { link: Some(link), tally, mailbox, .. } = self.handle else { return };
        let released = self.found.packets.iter().take(packets);
        let slots = released.clone().map(|packet| packet.pieces).sum();
        released.for_each(|packet| tally.count(packet.bytes));
        by_role!(&mut link.end, |end| end.release(slots));
        mailbox.counters.show(tally);
    }
}

/// One packet in shared memory, piece by piece. The peer can write to it at any time: copy first, then parse.
#[derive(Clone, Debug)]
#[must_use = "iterators are lazy"]
pub struct Pieces<'a> {
    link: &'a RxLink,
    pieces: &'a [Desc],
    bytes: usize,
}

impl<'a> Pieces<'a> {
    /// Bytes of the whole packet, however many pieces were taken from the iterator.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Copies the packet into `dst`, as much of it as `dst` holds; returns the bytes copied.
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
        // the range was checked when the packet was found, and the snapshot has not changed
        lend::peeked(self.link, piece)
    }
}
