//! Where a slave has placed its rings, and what that tells of their layout: no message names it.
//!
//! Every known peer places its rings one behind the other, so the bytes from one ring to the next are those of a ring. Any
//! places are checked, as a slave may announce others: a layout is told, or left open, only if every ring fits into its
//! region and none reaches into the next.

use heapless::Vec;

use super::common::MAX_RINGS;
use crate::fault::PeerFault;
use crate::layout::{Desc, LineSize};

/// Some slaves place rings at multiples of this: ours does.
pub(super) const PLACE_ALIGN: usize = 128;

/// What the places of a link's rings tell of their layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Places {
    /// The rings are laid out for lines of this size.
    Tell(LineSize),
    /// Either layout fits, and the rings' contents have to tell: see [`Places::layout`].
    LeaveOpen {
        /// The layout of rings whose contents do not tell either, or the fault to refuse them with.
        otherwise: Result<LineSize, PeerFault>,
    },
}

impl Places {
    /// The layout of the link. `rings` has the region and the offset of each ring, and what descriptor 0 is in each layout of
    /// [`LineSize::ALL`], read before the link is up. They are asked for only if the places leave the layout open.
    ///
    /// Most slaves write the size of a buffer to descriptor 0 before they connect. In a ring for lines of 128 bytes, what would
    /// be descriptor 0 for lines of 64 is not used, and 0 in new memory.
    ///
    /// # Errors
    /// [`PeerFault::RingLayoutMixed`], [`PeerFault::RingLayoutUnknown`]; whatever `rings` returns.
    pub fn layout(
        self,
        rings: impl IntoIterator<Item = Result<(u16, u32, [Desc; 2]), PeerFault>>,
    ) -> Result<LineSize, PeerFault> {
        let otherwise = match self {
            Self::Tell(line) => return Ok(line),
            Self::LeaveOpen { otherwise } => otherwise,
        };
        let mut told = None;
        for ring in rings {
            let (region, offset, [narrow, wide]) = ring?;
            match (narrow.length, wide.length) {
                (0, 0) => {}
                (0, _) => agree(&mut told, LineSize::Bytes128, region, offset)?,
                (_, _) => agree(&mut told, LineSize::Bytes64, region, offset)?,
            }
        }
        told.map_or(otherwise, Ok)
    }

    /// Looks at rings that fit if they are laid out for lines of 64 bytes: in bounds, and none overlaps another.
    pub(super) fn of(rings: impl Iterator<Item = RingSpan>, region_sizes: &[u64]) -> Result<Self, PeerFault> {
        let mut sorted: Vec<RingSpan, { 2 * MAX_RINGS }> = rings.collect();
        sorted.sort_unstable_by_key(|ring| (ring.region, ring.offset));
        let mut told = None;
        let mut otherwise = Ok(LineSize::Bytes64);
        for (place, &ring) in sorted.iter().enumerate() {
            let RingSpan { region, offset, .. } = ring;
            let next = sorted.get(place + 1).filter(|next| next.region == region);
            let size = region_sizes.get(usize::from(region)).copied().unwrap_or(0);
            let room = next.map_or(size, |next| next.offset.into()).saturating_sub(offset.into());
            let wide = ring.bytes(LineSize::Bytes128);
            match next {
                _ if room < wide => agree(&mut told, LineSize::Bytes64, region, offset)?,
                Some(_) if room == wide || room == wide.next_multiple_of(PLACE_ALIGN as u64) => {
                    agree(&mut told, LineSize::Bytes128, region, offset)?;
                }
                Some(next) => {
                    otherwise = Err(PeerFault::RingLayoutUnknown { region, offset, next: next.offset });
                }
                // the last ring of a region that holds nothing else, as those of zero-copy slaves
                None if room == wide && otherwise.is_ok() => otherwise = Ok(LineSize::Bytes128),
                None => {}
            }
        }
        Ok(told.map_or(Self::LeaveOpen { otherwise }, Self::Tell))
    }
}

/// Notes what a ring tells, unless another one told otherwise.
fn agree(told: &mut Option<LineSize>, line: LineSize, region: u16, offset: u32) -> Result<(), PeerFault> {
    match told.replace(line) {
        Some(other) if other != line => Err(PeerFault::RingLayoutMixed { region, offset, line, other }),
        _ => Ok(()),
    }
}

/// Position of an accepted ring.
#[derive(Debug, Clone, Copy)]
pub(super) struct RingSpan {
    pub(super) region: u16,
    pub(super) log2_size: u8,
    pub(super) offset: u32,
}

impl RingSpan {
    /// Bytes of the ring, if it is laid out for `line`.
    fn bytes(self, line: LineSize) -> u64 {
        line.ring_bytes(self.log2_size) as u64
    }

    /// The earliest end that the ring may have: that of the shorter layout.
    pub(super) fn end(self) -> u64 {
        u64::from(self.offset) + self.bytes(LineSize::Bytes64)
    }

    pub(super) fn overlaps(self, other: Self) -> bool {
        self.region == other.region
            && u64::from(self.offset) < other.end()
            && u64::from(other.offset) < self.end()
    }
}
