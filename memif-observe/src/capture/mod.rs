//! Copies of packets, taken from a ring as they pass.
//!
//! Nobody waits for the one who looks, so a packet may be overwritten while it is copied. [`Tap`] hands out only those of which
//! that can be ruled out, and counts the others as missed:
//!
//! 1. **S2M, still in the ring.** `tail`, read again behind the copy, had not passed the packet: its slots and bytes were not
//!    the slave's to write.
//! 2. **S2M, in the rings' own region.** A sender writes its slots in their order, and publishes what it wrote. What it was
//!    writing during the copy is published by the next `head`: if that is no further than the ring's size beyond the packet, and
//!    none of the new packets lies in its bytes, they were not written to. The latter matters with slaves of this library, which lay
//!    packets one behind the other and use bytes again before slots. When no packet follows, the bytes are read a second
//!    time after [`IDLE`], and must be the same.
//! 3. **M2S, in the rings' own region.** `head`, read again behind the copy, had not passed the slot a second time: the master
//!    may not write to the buffer before. A slave that posts it again sets the length to the buffer's size, and publishes
//!    `head` later: so a packet that has just this length and does not continue counts as missed, and with it the next one.
//!
//! Memory besides the rings' own region belongs to programs, who may write there for reasons of their own: for it the first
//! rule alone holds, and none on M2S.
//!
//! **Packets of several buffers.** Some masters, ours among them, clear `NEXT` when they return the descriptors: a piece of a
//! packet then looks like a whole one. All pieces but the last are as long as a buffer. So a packet of one descriptor that is as
//! long as a buffer, and has no `NEXT`, counts as missed, and with it the next one. How long buffers are is told by those that the
//! slave has posted.
//!
//! What this relies on: a sender does not fill slots that it then does not publish, more than half of a ring at a time; a
//! receiver does not change packets where they lie; buffers of both directions have one size.

mod batch;
mod read;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use memif_os::region_file::ObservedRegion;
use memif_ring::cursor::distance;
use memif_ring::layout::COOKIE;

use crate::direction::Direction;
use crate::geometry::{Shape, descriptor, header};
use crate::link::Link;
use crate::ring::MAX_GAP;
use batch::{Batch, Context, Verdict};
pub use batch::{IDLE, Packet};
use read::{Piece, read_packet};

/// Most descriptors that are copied before their indices are read again.
const BATCH: u16 = 128;
/// Most different lengths that are remembered of a ring's buffers.
const LENGTHS: usize = 16;

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
    /// The next descriptor that is looked at.
    next: u16,
    looked: Instant,
    batch: Batch,
    /// Rings with posted buffers: this one (M2S), or those of the other direction (S2M).
    posting: Vec<usize>,
    /// Lengths of buffers, and of pieces that are not the last of their packet.
    lengths: Vec<u32>,
    /// Whether the last packet that was read may be a piece of one.
    doubtful: bool,
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
            next: 0,
            looked: Instant::now(),
            batch: Batch::default(),
            posting: Vec::new(),
            lengths: Vec::new(),
            doubtful: false,
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
        for ring in self.posting.clone() {
            let Some((head, tail)) = self.indices_of(ring) else { continue };
            let posted = distance(head, tail).min(self.shape.size());
            (0..posted).for_each(|slot| self.note_posted(ring, tail.wrapping_add(slot)));
        }
    }

    /// What passed so far.
    #[must_use]
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// Looks at the ring, and calls `take` for each packet that can be vouched for, in their order. Bounded: returns after at
    /// most a few hundred descriptors.
    pub fn look(&mut self, mut take: impl FnMut(Packet<'_>)) -> Looked {
        let now = Instant::now();
        let late = now.duration_since(self.looked) > MAX_GAP;
        self.tally.gaps += u64::from(late);
        self.looked = now;
        let Some((head, tail)) = self.indices() else { return Looked::Over };
        let published = self.published(head, tail);
        if !self.batch.is_empty() {
            let Some(decided) = self.decide(published, now, late, &mut take) else { return Looked::Over };
            if !decided {
                return Looked::Idle;
            }
        }
        if published == self.next {
            return Looked::Idle;
        }
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
        let header = header(memory, ring).filter(|header| header.cookie == COOKIE && !memory.is_damaged())?;
        let tail = memory.load_u16(ring.checked_add(self.shape.line.tail_offset())?)?;
        Some((header.head, tail))
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
        let mut from = published.wrapping_sub(keep);
        // the others begin where a side has returned or posted slots, which is between packets
        if self.direction == Direction::S2m && keep == size / 2 {
            let continues = |index: u16| {
                let desc = self.memory().and_then(|memory| descriptor(memory, self.ring, self.shape, index));
                desc.is_none_or(|desc| desc.has_next() || self.lengths.contains(&desc.length))
            };
            while from != published && continues(from.wrapping_sub(1)) {
                from = from.wrapping_add(1);
            }
        }
        self.doubtful = false;
        self.miss(distance(from, self.next));
        self.next = from;
    }

    fn miss(&mut self, descriptors: u16) {
        self.tally.missed += u64::from(descriptors);
    }

    /// Copies packets up to `published`, and hands out what can be vouched for at once.
    fn copy(&mut self, published: u16, take: &mut impl FnMut(Packet<'_>)) -> Option<()> {
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let began = self.next;
        self.batch.start(time);
        if self.lengths.is_empty() {
            self.note_buffers();
        }
        while distance(self.next, began) < BATCH && self.next != published {
            let first = self.next;
            let packet =
                read_packet(&self.regions, self.ring, self.shape, (first, published), |desc, next| {
                    self.batch.pieces.push(Piece::of(desc));
                    if next && self.direction == Direction::S2m {
                        note(&mut self.lengths, desc.length);
                    }
                });
            self.next = first.wrapping_add(packet.slots.max(1));
            let doubtful = packet
                .last
                .is_none_or(|last| self.lengths.contains(&last) && packet.is_doubtful(self.direction));
            // what follows one may be the rest of it
            let rest = std::mem::replace(&mut self.doubtful, doubtful);
            if packet.fault || doubtful || rest {
                self.batch.forget_pieces();
                self.miss(packet.slots.max(1));
                continue;
            }
            self.batch.add(first, packet.slots, &self.regions, self.bytes);
        }
        // behind the copies
        let (head, tail) = self.indices()?;
        let late = self.looked.elapsed() > MAX_GAP;
        match self.direction {
            Direction::S2m => {
                self.batch.copied(Instant::now(), head);
                let used = distance(head, tail);
                let kept = |first: u16| !late && used <= self.shape.size() && distance(first, tail) <= used;
                self.batch.mark(|item| kept(item.first));
                if late {
                    self.give_up();
                } else if self.batch.all_certain() {
                    self.finish(|_| true, take);
                }
            }
            Direction::M2s => {
                let size = self.shape.size();
                if distance(head, tail) <= size && head != tail {
                    self.note_posted(self.ring, head.wrapping_sub(1));
                }
                let own = |item: &batch::Item| item.own && !late && distance(head, item.first) <= size;
                self.batch.mark(own);
                self.finish(batch::Item::is_certain, take);
            }
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

    fn note_posted(&mut self, ring: usize, index: u16) {
        let desc = self.memory().and_then(|memory| descriptor(memory, ring, self.shape, index));
        if let Some(desc) = desc {
            note(&mut self.lengths, desc.length);
        }
    }
}

fn note(lengths: &mut Vec<u32>, length: u32) {
    if !lengths.contains(&length) && lengths.len() < LENGTHS {
        lengths.push(length);
    }
}
