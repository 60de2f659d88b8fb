//! Packets that were copied, and the decision whether each copy is certainly intact.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use memif_os::region_file::ObservedRegion;
use memif_ring::cursor::distance;
use memif_ring::layout::Desc;

use super::read::Piece;
use crate::geometry::{Shape, descriptor, load_head};
use crate::ring::MAX_GAP;

/// How long a ring must stand still before its last packets are read a second time.
pub const IDLE: Duration = Duration::from_millis(5);
/// Most ranges that the bytes of new packets are gathered into.
const RANGES: usize = 4;

/// A packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// When it was seen, as a time since 1970.
    pub time: Duration,
    /// Its length in bytes.
    pub length: u32,
    /// Its bytes, or the first of them.
    pub bytes: &'a [u8],
}

/// A packet that was copied.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// The first slot that must not have been overwritten: its own first one, or the one before, which shows that it begins there.
    pub(super) since: u16,
    /// Behind its last slot.
    until: u16,
    /// Number of its descriptors.
    pub(super) slots: u16,
    /// Whether all of it lies in the rings' own region.
    pub(super) own: bool,
    length: u32,
    bytes: Range<usize>,
    pieces: Range<usize>,
    certain: bool,
}

impl Item {
    pub(super) const fn is_certain(&self) -> bool {
        self.certain
    }
}

/// What packets are judged by.
pub(super) struct Context<'a> {
    pub(super) memory: &'a ObservedRegion,
    pub(super) ring: usize,
    pub(super) shape: Shape,
    /// The slave's index now.
    pub(super) head: u16,
    /// Whether it is not known how far it came since it was last read.
    pub(super) late: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing is known yet.
    Early,
    /// Each is certain, or lost.
    Decided,
}

/// The bytes of packets that were published, in the rings' own region, as ranges that hold them.
#[derive(Debug, Default)]
struct Written {
    ranges: Vec<Range<usize>>,
    /// The bytes are spread over the whole region.
    everywhere: bool,
}

impl Written {
    /// Adds a descriptor: that of the slot before the one that was added last.
    fn note(&mut self, desc: Option<Desc>) {
        let Some(desc) = desc else {
            self.everywhere = true;
            return;
        };
        let piece = Piece::of(&desc);
        if piece.region != 0 || desc.length == 0 {
            return;
        }
        let full = self.ranges.len() == RANGES;
        match self.ranges.last_mut() {
            // in the order of slots, with what lies between
            Some(last) if piece.end <= last.end => last.start = last.start.min(piece.start),
            _ if full => self.everywhere = true,
            _ => self.ranges.push(piece.start..piece.end),
        }
    }

    fn is_free(&self, piece: &Piece) -> bool {
        let clear = |range: &Range<usize>| piece.end <= range.start || range.end <= piece.start;
        !self.everywhere && self.ranges.iter().all(clear)
    }
}

/// Packets that were copied together. Its storage is used again.
#[derive(Debug, Default)]
pub(super) struct Batch {
    items: Vec<Item>,
    bytes: Vec<u8>,
    /// Where the packets lie, and those of the one that is being read.
    pub(super) pieces: Vec<Piece>,
    /// Pieces of packets in `items`.
    known_pieces: usize,
    time: Duration,
    /// `head` behind the copies, and when it was read.
    after: Option<(Instant, u16)>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn items(&self) -> &[Item] {
        &self.items
    }

    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.bytes.clear();
        self.pieces.clear();
        self.known_pieces = 0;
        self.after = None;
    }

    pub(super) fn start(&mut self, time: Duration) {
        self.clear();
        self.time = time;
    }

    /// Discards the packet that was read: its descriptors are not those of a packet.
    pub(super) fn forget_pieces(&mut self) {
        self.pieces.truncate(self.known_pieces);
    }

    /// Copies the packet that was read: at most `most` bytes of it.
    pub(super) fn add(
        &mut self,
        (since, first, slots): (u16, u16, u16),
        regions: &[(u16, Arc<ObservedRegion>)],
        most: usize,
    ) {
        let start = self.bytes.len();
        let pieces = self.known_pieces..self.pieces.len();
        let mut length = 0;
        for piece in self.pieces.get(pieces.clone()).unwrap_or_default() {
            let len = piece.end - piece.start;
            length += len;
            copy(regions, piece, len.min(most.saturating_sub(self.bytes.len() - start)), &mut self.bytes);
        }
        let own = self.pieces.get(pieces.clone()).unwrap_or_default().iter().all(|piece| piece.region == 0);
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let bytes = start..self.bytes.len();
        self.known_pieces = self.pieces.len();
        self.items.push(Item {
            since,
            until: first.wrapping_add(slots),
            slots,
            own,
            length,
            bytes,
            pieces,
            certain: false,
        });
    }

    pub(super) fn copied(&mut self, at: Instant, head: u16) {
        self.after = Some((at, head));
    }

    /// Says which are certain.
    pub(super) fn mark(&mut self, certain: impl Fn(&Item) -> bool) {
        self.items.iter_mut().for_each(|item| item.certain |= certain(item));
    }

    pub(super) fn all_certain(&self) -> bool {
        self.items.iter().all(Item::is_certain)
    }

    pub(super) fn packet(&self, item: &Item) -> Packet<'_> {
        let bytes = self.bytes.get(item.bytes.clone()).unwrap_or_default();
        Packet { time: self.time, length: item.length, bytes }
    }

    /// By the index that followed, and what it published: the second rule of the module.
    pub(super) fn judge(
        &mut self,
        context: &Context<'_>,
        regions: &[(u16, Arc<ObservedRegion>)],
        now: Instant,
    ) -> Verdict {
        let Some((at, head)) = self.after else { return Verdict::Decided };
        let size = context.shape.size();
        let moved = context.head != head;
        if moved && context.late {
            // any number of laps
            return Verdict::Decided;
        }
        if !moved && now.duration_since(at) < IDLE {
            return Verdict::Early;
        }
        // the sender fills at most as many that it has not published
        let reach = size / 2;
        let mut written = Written::default();
        let mut known = context.head;
        let mut certain = vec![false; self.items.len()];
        for (item, certain) in self.items.iter().zip(&mut certain).rev() {
            if distance(context.head, item.since) > reach || distance(known, item.until) > reach {
                break;
            }
            // back to the packet
            while known != item.until {
                known = known.wrapping_sub(1);
                written.note(descriptor(context.memory, context.ring, context.shape, known));
            }
            let pieces = self.pieces.get(item.pieces.clone()).unwrap_or_default();
            *certain = item.own
                && pieces.iter().all(|piece| written.is_free(piece))
                && (moved || self.is_same(item, regions));
        }
        // behind what was read for it
        let head = load_head(context.memory, context.ring).filter(|_| now.elapsed() <= MAX_GAP);
        let intact = |item: &Item| head.is_some_and(|head| distance(head, item.since) <= reach);
        for (item, certain) in self.items.iter_mut().zip(certain) {
            item.certain |= certain && intact(item);
        }
        Verdict::Decided
    }

    /// Whether its bytes are those that were copied.
    fn is_same(&self, item: &Item, regions: &[(u16, Arc<ObservedRegion>)]) -> bool {
        let mut again = Vec::with_capacity(item.bytes.len());
        for piece in self.pieces.get(item.pieces.clone()).unwrap_or_default() {
            let left = item.bytes.len() - again.len();
            copy(regions, piece, (piece.end - piece.start).min(left), &mut again);
        }
        self.bytes.get(item.bytes.clone()) == Some(again.as_slice())
    }
}

/// Copies the first `len` bytes of a piece to the end of `bytes`; zeros if there are none.
fn copy(regions: &[(u16, Arc<ObservedRegion>)], piece: &Piece, len: usize, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    bytes.resize(start + len, 0);
    let room = bytes.get_mut(start..).unwrap_or_default();
    if let Some((_, memory)) = regions.iter().find(|(index, _)| *index == piece.region) {
        // checked when it was read: its region does not become smaller
        let _ = memory.copy_to(piece.start, room);
    }
}
