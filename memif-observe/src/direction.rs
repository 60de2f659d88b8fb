//! Which rings of a link carry packets to the master (S2M), and which from it (M2S).
//!
//! Shared memory does not record the direction, so it is derived. All known slaves place S2M rings first. An M2S ring whose
//! slave is alive is full of posted buffers, all of one size; an S2M ring with a receiver is mostly empty. A direction found in
//! this way is [`Certainty::Seen`]. Otherwise, an even number of rings is assumed to have equally many in each direction
//! ([`Certainty::Assumed`]), and the directions of an odd number of rings remain unknown.

use memif_os::region_file::ObservedRegion;
use memif_ring::cursor::distance;

use crate::geometry::{Shape, descriptor};

/// Number of descriptors of a ring that are examined.
const SAMPLE: u16 = 64;

/// The way that packets take through a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the slave to the master.
    S2m,
    /// From the master to the slave.
    M2s,
}

impl Direction {
    /// `s2m` or `m2s`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::S2m => "s2m",
            Self::M2s => "m2s",
        }
    }
}

/// How the direction of a ring is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// The content of the rings shows it.
    Seen,
    /// The content of the rings does not show it. It is assumed that the slave has as many rings in one direction as in the other,
    /// as most slaves do.
    Assumed,
}

/// The direction of one ring, and which of that direction it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Where packets go.
    pub direction: Direction,
    /// Its index, from 0 on.
    pub index: u16,
    /// How the direction is known.
    pub certainty: Certainty,
}

/// Direction and index of each ring of a link, in the order of `posted`, which says of each ring whether it looks full of posted
/// buffers. `None` for a ring whose direction is not known.
#[must_use]
pub fn queues(posted: &[bool]) -> Vec<Option<Queue>> {
    let rings = posted.len();
    let first = posted.iter().position(|posted| *posted).filter(|first| *first > 0);
    let clear = first.filter(|first| posted.iter().skip(*first).all(|posted| *posted));
    let even = rings.is_multiple_of(2).then_some(rings / 2);
    let told = match (clear, even) {
        (Some(first), Some(half)) if first == half => Some((half, Certainty::Seen)),
        (Some(first), None) => Some((first, Certainty::Seen)),
        (_, Some(half)) => Some((half, Certainty::Assumed)),
        (None, None) => None,
    };
    let queue = |ring: usize| {
        let (s2m, certainty) = told?;
        let (direction, index) =
            if ring < s2m { (Direction::S2m, ring) } else { (Direction::M2s, ring - s2m) };
        Some(Queue { direction, index: u16::try_from(index).ok()?, certainty })
    };
    (0..rings).map(queue).collect()
}

/// Whether the ring at `ring` looks as if it were full of posted buffers: at least half of its descriptors are published, all
/// with one length and without a flag, and each length takes up most of what lies between two buffers.
pub(crate) fn looks_posted(region: &ObservedRegion, ring: usize, shape: Shape) -> Option<bool> {
    let head = region.load_u16(ring + 6)?;
    let tail = region.load_u16(ring.checked_add(shape.line.tail_offset())?)?;
    let used = distance(head, tail);
    if used > shape.size() || used < shape.size() / 2 {
        return Some(false);
    }
    let descs = (0..used.min(SAMPLE)).filter_map(|i| descriptor(region, ring, shape, tail.wrapping_add(i)));
    let descs: Vec<_> = descs.collect();
    let first = descs.first()?;
    let alike = descs.iter().all(|desc| desc.length == first.length && desc.flags.is_empty());
    let mut offsets: Vec<_> = descs.iter().map(|desc| (desc.region, desc.offset)).collect();
    offsets.sort_unstable();
    let gaps = offsets.iter().zip(offsets.iter().skip(1)).filter(|(one, next)| one.0 == next.0);
    let least = gaps.map(|(one, next)| next.1 - one.1).min();
    let filled = least.is_some_and(|least| first.length <= least && first.length > least / 2);
    Some(alike && filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(posted: &[bool]) -> String {
        let name = |queue: Option<Queue>| match queue {
            Some(Queue { direction, index, certainty: Certainty::Seen }) => {
                format!("{}/{index}", direction.name())
            }
            Some(Queue { direction, index, .. }) => format!("{}/{index}?", direction.name()),
            None => "?".to_owned(),
        };
        queues(posted).into_iter().map(name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_the_rings_hold_tells() {
        assert_eq!(names(&[false, true]), "s2m/0 m2s/0");
        assert_eq!(names(&[false, false, true, true]), "s2m/0 s2m/1 m2s/0 m2s/1");
        assert_eq!(names(&[false, true, true]), "s2m/0 m2s/0 m2s/1");
    }

    #[test]
    fn what_they_do_not_tell_is_marked_or_left_open() {
        assert_eq!(names(&[false, false]), "s2m/0? m2s/0?");
        assert_eq!(names(&[true, true]), "s2m/0? m2s/0?", "the master may be stuck");
        assert_eq!(names(&[false, true, true, true]), "s2m/0? s2m/1? m2s/0? m2s/1?");
        assert_eq!(names(&[false, false, false]), "? ? ?");
        assert_eq!(names(&[false]), "?");
        assert_eq!(names(&[]), "");
    }
}
