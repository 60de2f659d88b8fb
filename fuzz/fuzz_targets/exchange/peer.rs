//! What the masters do.

use arbitrary::Arbitrary;
use memif_fuzz::memory::AnyDesc;
use memif_ring::layout::{Desc, DescFlags};
use memif_ring::mock::MockRegion;
use memif_ring::shm::RingMemory as _;

/// A write of a master that does not behave.
#[derive(Arbitrary, Debug)]
pub(crate) enum Act {
    Index(u16),
    Head(u16),
    Tail(u16),
    Desc {
        index: u8,
        desc: AnyDesc,
    },
    /// The length of a buffer, or its place.
    Length {
        index: u8,
        length: u16,
        next: bool,
    },
    Alias {
        index: u8,
        of: u8,
    },
    Poke {
        at: u16,
        byte: u8,
    },
}

impl Act {
    pub(crate) fn commit(&self, ring: &MockRegion, shared: &MockRegion) {
        match *self {
            Self::Index(by) => ring.set_tail(ring.ring().tail().wrapping_add(by % 8)),
            Self::Head(index) => ring.set_head(index),
            Self::Tail(index) => ring.set_tail(index),
            Self::Desc { index, desc } => ring.set_desc(index.into(), desc.0),
            Self::Length { index, length, next } => {
                let (flags, length) = (DescFlags::next_if(next), length.into());
                ring.set_desc(index.into(), Desc { flags, length, ..ring.desc(index.into()) });
            }
            Self::Alias { index, of } => {
                let offset = ring.desc(of.into()).offset;
                ring.set_desc(index.into(), Desc { offset, ..ring.desc(index.into()) });
            }
            Self::Poke { at, byte } => shared.poke(usize::from(at) % shared.len(), byte),
        }
    }
}

/// As a master that behaves: sends up to 15 packets, each of so many descriptors of at most `len` bytes.
pub(crate) fn arrive(m2s: &MockRegion, packets: u8, pieces: u16, len: u32) {
    let mut at = m2s.ring().tail();
    for _ in 0..packets % 16 {
        if m2s.ring().head().wrapping_sub(at) < pieces {
            break;
        }
        for piece in 1..=pieces {
            let desc = m2s.desc(at);
            let length = desc.length.min(len);
            m2s.set_desc(at, Desc { flags: DescFlags::next_if(piece < pieces), length, ..desc });
            at = at.wrapping_add(1);
        }
    }
    m2s.set_tail(at);
}

/// As a master that behaves: takes up to so many descriptors.
pub(crate) fn depart(s2m: &MockRegion, slots: u16) {
    let (head, tail) = (s2m.ring().head(), s2m.ring().tail());
    s2m.set_tail(tail.wrapping_add(slots.min(head.wrapping_sub(tail))));
}
