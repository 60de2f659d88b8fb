//! Copies of packets, taken from a ring as they pass.
//!
//! The ends of a link do not wait for an observer, so a packet may be overwritten while it is copied. [`Tap`] returns only
//! packets that were certainly not overwritten, and counts the others as missed. The rules:
//!
//! 1. **S2M, still in the ring.** `tail`, read again behind the copy, had not passed the packet: its slots and bytes were not
//!    the slave's to write.
//! 2. **S2M, in the rings' own region.** A sender writes its slots in their order, and publishes what it wrote. What it was
//!    writing during the copy is published by the next `head`: if that is no further than half a ring beyond the packet, its
//!    slots were not written to, and those of the packets behind it are not when they are read for this: none of
//!    these packets, seen before the copy or since, may lie in its bytes. The latter matters with slaves of this library, which
//!    lay packets one behind the other and use bytes again long before slots. When no packet follows, the bytes are read a
//!    second time after [`IDLE`], and must be the same.
//! 3. **M2S, in the rings' own region.** `head`, read again behind the copy, had not passed the slot a second time: the master
//!    may not write to the buffer before. A slave that posts it again sets the length to the buffer's size, and publishes
//!    `head` later: so a packet that has just this length and does not continue counts as missed, and with it the next one.
//!
//! Memory besides the rings' own region belongs to programs, who may write there for reasons of their own: for it the first
//! rule alone holds, and none on M2S.
//!
//! **Where packets end.** Some masters, ours among them, clear `NEXT` as soon as they have received a packet, before they move
//! `tail`, and a slave that posts its buffers again clears it before it moves `head`. No index shows when that happens, so it
//! can be in the middle of a chain that is being read. A descriptor with `NEXT` is never the last one; a descriptor without
//! may be any piece. All pieces but the last are as long as a buffer, so a descriptor without `NEXT` ends a packet for
//! certain only if it is shorter than a buffer. A packet whose last descriptor is not shorter counts as missed, and with it
//! the next one. A buffer that the slave has posted shows the length of its buffers: no packet is handed out before one was
//! seen. If an S2M descriptor with `NEXT` is shorter than that, its length counts as the length of a buffer.
//!
//! **Where packets begin.** At an index that a sender has published, or behind the certain end of another packet. The slot of
//! that end must not have been overwritten when it was read, by the same rules as the packet's own slots. After a gap the last
//! slot that was passed over is read for it.
//!
//! What this relies on: a sender fills each buffer of a packet but the last, and publishes whole packets; it does not fill
//! slots that it then does not publish, more than half of a ring at a time; a receiver does not change packets where they lie;
//! buffers of both directions have one size, and are posted with one length.

mod batch;
mod read;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use memif_os::region_file::ObservedRegion;
use memif_ring::cursor::distance;

use crate::direction::Direction;
use crate::geometry::{Shape, descriptor, has_cookie, load_head};
use crate::link::Link;
use crate::ring::MAX_GAP;
use batch::{Batch, Context, Verdict};
pub use batch::{IDLE, Packet};
use read::{Piece, read_packet};

/// Most descriptors that are copied before their indices are read again.
const BATCH: u16 = 128;

/// What came of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    /// Nothing passed.
    Idle,
    /// Something did: there may be more soon.
    Busy,
    /// There is no ring any more.
    Over,
}

/// What passed a [`Tap`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packets that were handed out.
    pub packets: u64,
    /// Descriptors that passed without: at least, if there were gaps.
    pub missed: u64,
    /// Looks that came more than [`MAX_GAP`] after the one before: for each, multiples of 65536 descriptors may be missing
    /// from `missed`.
    pub gaps: u64,
}

/// Copies packets out of one ring.
#[derive(Debug)]
pub struct Tap {
    regions: Vec<(u16, Arc<ObservedRegion>)>,
    ring: usize,
    shape: Shape,
    direction: Direction,
    /// Bytes that are copied of a packet.
    bytes: usize,
    /// A packet was seen outside of the rings' own region.
    elsewhere: bool,
    /// The next descriptor that is looked at.
    next: u16,
    looked: Instant,
    /// [`MAX_GAP`], except in tests.
    gap: Duration,
    batch: Batch,
    /// Rings with posted buffers: this one (M2S), or those of the other direction (S2M).
    posting: Vec<usize>,
    /// Length of the largest posted buffer that was seen: at most that of a buffer, as the master may be filling them.
    posted: u32,
    /// Length of the shortest S2M descriptor with `NEXT` that was seen.
    continued: u32,
    /// Whether a packet begins at `next` is not known.
    doubtful: bool,
    /// If one does, that is known whatever happens to the slot before.
    proven: bool,
    tally: Tally,
}

impl Tap {
    /// Copies the first `bytes` bytes of each packet of the ring of this number from now on. `None` if its size or direction
    /// is not known, or it is broken.
    #[must_use]
    pub fn new(link: &Link, number: usize, bytes: usize) -> Option<Self> {
        let ring = link.rings().get(number)?;
        let regions: Vec<_> = link
            .regions()
            .iter()
            .filter_map(|region| Some((region.index?, Arc::clone(&region.memory))))
            .collect();
        let mut tap = Self {
            regions,
            ring: ring.offset(),
            shape: ring.shape()?,
            direction: ring.queue()?.direction,
            bytes,
            elsewhere: false,
            next: 0,
            looked: Instant::now(),
            gap: MAX_GAP,
            batch: Batch::default(),
            posting: Vec::new(),
            posted: 0,
            continued: u32::MAX,
            doubtful: false,
            proven: true,
            tally: Tally::default(),
        };
        let (head, tail) = tap.indices()?;
        tap.next = tap.published(head, tail);
        let posting = link.rings().iter().enumerate().filter(|(other, ring)| {
            let to_slave = ring.queue().is_some_and(|queue| queue.direction == Direction::M2s);
            to_slave && (tap.direction == Direction::S2m || *other == number)
        });
        tap.posting = posting.map(|(_, ring)| ring.offset()).collect();
        tap.note_buffers();
        Some(tap)
    }

    /// Remembers how long buffers are, by those that are posted in this ring, or in the other direction: known slaves give all
    /// their buffers one size.
    fn note_buffers(&mut self) {
        let all = if self.posted == 0 { self.posting.len() } else { 1 };
        let newest = |ring: &usize| {
            let (head, tail) = self.indices_of(*ring)?;
            let posted = (1..=self.shape.size()).contains(&distance(head, tail));
            let desc = descriptor(self.memory()?, *ring, self.shape, head.wrapping_sub(1));
            desc.filter(|_| posted).map(|desc| desc.length)
        };
        let longest = self.posting.iter().take(all).filter_map(newest).max();
        self.posted = self.posted.max(longest.unwrap_or(0));
    }

    /// Whether a descriptor of this length, without `NEXT`, may be a piece that is not the last: see the module.
    const fn may_go_on(&self, length: u32) -> bool {
        length >= self.posted || length >= self.continued
    }

    /// Goes on at a slot of which it is not known what is before it.
    fn resume(&mut self, from: u16) {
        let last = from.wrapping_sub(1);
        let before = self.memory().and_then(|memory| descriptor(memory, self.ring, self.shape, last));
        self.next = from;
        self.proven = false;
        self.doubtful = before.is_none_or(|desc| desc.has_next() || self.may_go_on(desc.length));
    }

    /// What passed so far.
    #[must_use]
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// Whether a posted buffer has been seen. Its length is needed to find the ends of packets, so no packet is handed out before.
    /// Of a slave that only sends, and never posts buffers, no packet is handed out.
    #[must_use]
    pub const fn knows_buffers(&self) -> bool {
        self.posted > 0
    }

    /// Whether a packet was seen outside of the rings' own region, as packets of a zero-copy slave are. Once their receiver has
    /// them they may change at any time, so on M2S none of them is handed out.
    #[must_use]
    pub const fn lies_elsewhere(&self) -> bool {
        self.elsewhere
    }

    /// Looks at the ring, and calls `take` for each packet that can be vouched for, in their order. Bounded: returns after at
    /// most a few hundred descriptors.
    pub fn look(&mut self, mut take: impl FnMut(Packet<'_>)) -> Looked {
        let began = Instant::now();
        let Some((head, tail)) = self.indices() else { return Looked::Over };
        // from before the last reading of the indices until behind this one
        let now = Instant::now();
        let late = now.duration_since(self.looked) > self.gap;
        self.tally.gaps += u64::from(late);
        self.looked = began;
        let published = self.published(head, tail);
        if late && published != self.next {
            // there may be laps in between
            self.resume(self.next);
        }
        if !self.batch.is_empty() {
            let Some(decided) = self.decide(published, now, late, &mut take) else { return Looked::Over };
            if !decided {
                return Looked::Idle;
            }
        }
        if published == self.next {
            return Looked::Idle;
        }
        self.note_buffers();
        self.catch_up(head, tail);
        match self.copy(published, &mut take) {
            Some(()) => Looked::Busy,
            None => Looked::Over,
        }
    }

    /// Both indices; `None` if there is no ring.
    fn indices(&self) -> Option<(u16, u16)> {
        self.indices_of(self.ring)
    }

    fn indices_of(&self, ring: usize) -> Option<(u16, u16)> {
        let memory = self.memory()?;
        has_cookie(memory, ring).then_some(())?;
        let head = load_head(memory, ring)?;
        let tail = memory.load_u16(ring.checked_add(self.shape.line.tail_offset())?)?;
        (!memory.is_damaged()).then_some((head, tail))
    }

    /// The region of the rings.
    fn memory(&self) -> Option<&Arc<ObservedRegion>> {
        self.regions.first().map(|(_, memory)| memory)
    }

    /// The index that publishes packets.
    const fn published(&self, head: u16, tail: u16) -> u16 {
        match self.direction {
            Direction::S2m => head,
            Direction::M2s => tail,
        }
    }

    /// Passes over packets that are certainly, or most probably, overwritten before they can be copied.
    fn catch_up(&mut self, head: u16, tail: u16) {
        let size = self.shape.size();
        let published = self.published(head, tail);
        let waiting = distance(published, self.next);
        let used = distance(head, tail);
        let keep = match self.direction {
            _ if used > size => 0,
            // those that the master has not returned, or the newest half
            Direction::S2m => used.max(size / 2),
            // those whose slots are not posted again
            Direction::M2s => size - used,
        };
        if waiting <= keep {
            return;
        }
        let from = published.wrapping_sub(keep);
        self.miss(distance(from, self.next));
        self.resume(from);
        if from == published {
            (self.doubtful, self.proven) = (false, true);
        }
    }

    fn miss(&mut self, descriptors: u16) {
        self.tally.missed += u64::from(descriptors);
    }

    /// Copies packets up to `published`, and hands out what can be vouched for at once.
    fn copy(&mut self, published: u16, take: &mut impl FnMut(Packet<'_>)) -> Option<()> {
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let began = self.next;
        self.batch.start(time);
        while distance(self.next, began) < BATCH && self.next != published {
            let first = self.next;
            let packet =
                read_packet(&self.regions, self.ring, self.shape, (first, published), |desc, next| {
                    self.batch.pieces.push(Piece::of(desc));
                    self.elsewhere |= desc.region != 0;
                    if next && self.direction == Direction::S2m {
                        self.continued = self.continued.min(desc.length);
                    }
                });
            self.next = first.wrapping_add(packet.slots.max(1));
            let doubtful = packet.last.is_none_or(|last| self.may_go_on(last));
            // what follows one may be the rest of it
            let rest = std::mem::replace(&mut self.doubtful, doubtful);
            if packet.fault || doubtful || rest {
                self.batch.forget_pieces();
                self.miss(packet.slots.max(1));
                continue;
            }
            let since = if self.proven && first == began { first } else { first.wrapping_sub(1) };
            self.batch.add((since, first, packet.slots), &self.regions, self.bytes);
        }
        let last = self.next.wrapping_sub(1);
        // behind the copies
        let (head, tail) = self.indices()?;
        let late = self.looked.elapsed() > self.gap;
        match self.direction {
            Direction::S2m => {
                self.batch.copied(Instant::now(), head);
                let used = distance(head, tail);
                let kept = |slot: u16| !late && used <= self.shape.size() && distance(slot, tail) < used;
                self.batch.mark(|item| kept(item.since));
                self.proven = kept(last);
                if late {
                    self.give_up();
                } else if self.batch.all_certain() {
                    self.finish(|_| true, take);
                }
            }
            Direction::M2s => {
                let size = self.shape.size();
                let kept = |slot: u16| !late && distance(head, slot) <= size;
                self.batch.mark(|item| item.own && kept(item.since));
                self.proven = kept(last);
                self.finish(batch::Item::is_certain, take);
            }
        }
        if self.next == published {
            // a sender publishes whole packets
            (self.doubtful, self.proven) = (false, true);
        }
        Some(())
    }

    /// Decides about the packets that were copied and not handed out. False if it is too early.
    fn decide(
        &mut self,
        head: u16,
        now: Instant,
        late: bool,
        take: &mut impl FnMut(Packet<'_>),
    ) -> Option<bool> {
        let memory = Arc::clone(self.memory()?);
        let context = Context { memory: &memory, ring: self.ring, shape: self.shape, head, late };
        let verdict = self.batch.judge(&context, &self.regions, now);
        match verdict {
            Verdict::Early => return Some(false),
            Verdict::Decided => self.finish(batch::Item::is_certain, take),
        }
        // what was read for it may have been overwritten as well
        self.indices()?;
        Some(true)
    }

    fn finish(&mut self, certain: impl Fn(&batch::Item) -> bool, take: &mut impl FnMut(Packet<'_>)) {
        for item in self.batch.items() {
            if certain(item) {
                self.tally.packets += 1;
                take(self.batch.packet(item));
            } else {
                self.tally.missed += u64::from(item.slots);
            }
        }
        self.batch.clear();
    }

    fn give_up(&mut self) {
        self.finish(|_| false, &mut |_| {});
    }
}
