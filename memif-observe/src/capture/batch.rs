//! Packets that were copied, and whether they can be vouched for.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use memif_os::region_file::ObservedRegion;
use memif_ring::cursor::distance;

use super::read::Piece;
use crate::geometry::{Shape, descriptor};

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
    /// Its first descriptor.
    pub(super) first: u16,
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

    /// The packet that was read is no packet.
    pub(super) fn forget_pieces(&mut self) {
        self.pieces.truncate(self.known_pieces);
    }

    /// Copies the packet that was read: at most `most` bytes of it.
    pub(super) fn add(
        &mut self,
        first: u16,
        slots: u16,
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
        self.items.push(Item { first, slots, own, length, bytes, pieces, certain: false });
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
        let Some((at, after)) = self.after else { return Verdict::Decided };
        let size = context.shape.size();
        let moved = context.head != after;
        if !moved && now.duration_since(at) < IDLE {
            return Verdict::Early;
        }
        let twice = !moved || context.late;
        let reach = if twice { size / 2 } else { size };
        let written = if moved { self.written(context, after) } else { Some(Vec::new()) };
        let certain: Vec<bool> = self
            .items
            .iter()
            .map(|item| {
                let free = |piece: &Piece| {
                    let clear = |range: &Range<usize>| piece.end <= range.start || range.end <= piece.start;
                    written.as_ref().is_some_and(|ranges| ranges.iter().all(clear))
                };
                let pieces = self.pieces.get(item.pieces.clone()).unwrap_or_default();
                item.own
                    && distance(context.head, item.first) <= reach
                    && pieces.iter().all(free)
                    && (!twice || self.is_same(item, regions))
            })
            .collect();
        self.items.iter_mut().zip(certain).for_each(|(item, certain)| item.certain |= certain);
        Verdict::Decided
    }

    /// The bytes of the packets that were published from `after` on, in the rings' own region, as ranges that hold them. `None`
    /// if they are all over it.
    fn written(&self, context: &Context<'_>, after: u16) -> Option<Vec<Range<usize>>> {
        let new = distance(context.head, after);
        if new > context.shape.size() {
            return None;
        }
        let mut ranges: Vec<Range<usize>> = Vec::with_capacity(RANGES);
        for number in 0..new {
            let desc = descriptor(context.memory, context.ring, context.shape, after.wrapping_add(number))?;
            let piece = Piece::of(&desc);
            if piece.region != 0 || desc.length == 0 {
                continue;
            }
            let full = ranges.len() == RANGES;
            match ranges.last_mut() {
                // in the order of slots, with what lies between
                Some(last) if piece.start >= last.start => last.end = last.end.max(piece.end),
                _ if full => return None,
                _ => ranges.push(piece.start..piece.end),
            }
        }
        Some(ranges)
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
