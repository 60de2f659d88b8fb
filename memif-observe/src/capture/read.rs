//! One packet's descriptors.

use std::sync::Arc;

use memif_os::region_file::ObservedRegion;
use memif_ring::cursor::distance;
use memif_ring::layout::{Desc, MAX_PACKET_SIZE, MAX_SEGMENTS};

use crate::geometry::{Shape, descriptor};

/// Bytes that a descriptor names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Index of the region.
    pub(super) region: u16,
    /// First byte.
    pub(super) start: usize,
    /// Behind the last one.
    pub(super) end: usize,
}

impl Piece {
    pub(super) const fn of(desc: &Desc) -> Self {
        let start = desc.offset as usize;
        Self { region: desc.region, start, end: start + desc.length as usize }
    }
}

/// What the descriptors of a packet say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Read {
    /// Descriptors that were read.
    pub(super) slots: u16,
    /// Length of the last one.
    pub(super) last: Option<u32>,
    /// It is no packet: it does not end, is empty or too large, or names bytes that nobody knows.
    pub(super) fault: bool,
}

/// Reads the descriptors of the packet that begins at `from`, none from `until` on, and calls `each` with them, and whether the
/// packet goes on.
pub(super) fn read_packet(
    regions: &[(u16, Arc<ObservedRegion>)],
    ring: usize,
    shape: Shape,
    (from, until): (u16, u16),
    mut each: impl FnMut(&Desc, bool),
) -> Read {
    let mut read = Read { slots: 0, last: None, fault: true };
    let Some((_, memory)) = regions.first() else { return read };
    let mut length = 0usize;
    while read.slots < distance(until, from) && usize::from(read.slots) < MAX_SEGMENTS {
        let snapshot = || descriptor(memory, ring, shape, from.wrapping_add(read.slots));
        let (Some(desc), again) = (snapshot(), snapshot()) else { return read };
        read.slots += 1;
        if again != Some(desc) {
            // half of one and half of another
            return read;
        }
        let piece = Piece::of(&desc);
        let region = regions.iter().find(|(index, _)| *index == piece.region);
        length += desc.length as usize;
        if region.is_none_or(|(_, memory)| piece.end > memory.len()) || length > MAX_PACKET_SIZE {
            return read;
        }
        each(&desc, desc.has_next());
        if !desc.has_next() {
            return Read { last: Some(desc.length), fault: length == 0, ..read };
        }
    }
    read
}
