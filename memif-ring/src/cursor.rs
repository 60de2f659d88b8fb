//! Arithmetic of the free-running 16-bit ring indices.
//!
//! `head` and `tail` count descriptors modulo 2^16 and are masked only to index the ring, so a full ring differs from
//! an empty one at every size (docs/protocol.md, section 4.3).

/// Number of slots from `behind` to `ahead`, modulo 2^16.
#[inline(always)]
#[must_use]
pub const fn distance(ahead: u16, behind: u16) -> u16 {
    ahead.wrapping_sub(behind)
}

/// Whether `index` is in `from..=to`, counted forward from `from`: neither before `from` nor past `to`.
#[inline(always)]
#[must_use]
pub const fn within(index: u16, from: u16, to: u16) -> bool {
    distance(index, from) <= distance(to, from)
}

/// The slot of an index, in a ring of `mask + 1` slots.
#[inline(always)]
#[must_use]
pub const fn slot(index: u16, mask: u16) -> usize {
    (index & mask) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn distance_crosses_the_wrap() {
        assert_eq!(distance(3, 0xFFFE), 5);
        assert_eq!(distance(0xFFFE, 3), 0xFFFB);
        assert_eq!(distance(7, 7), 0);
    }

    #[test]
    fn a_full_ring_differs_from_an_empty_one_at_every_size() {
        for log2 in 0..=14u16 {
            let size = 1u16 << log2;
            for start in [0u16, 1, 0x7FFF, 0xFFFF, 0xFFFFu16.wrapping_sub(size)] {
                let full = start.wrapping_add(size);
                assert_eq!(distance(full, start), size);
                assert_ne!(distance(full, start), distance(start, start));
                assert_eq!(slot(full, size - 1), slot(start, size - 1));
            }
        }
    }

    proptest! {
        #[test]
        fn within_agrees_with_counting(from: u16, steps in 0u16..=16384, at: u16) {
            let to = from.wrapping_add(steps);
            let walked = (0..=steps).any(|step| from.wrapping_add(step) == at);
            prop_assert_eq!(within(at, from, to), walked);
        }

        #[test]
        fn consecutive_indices_have_consecutive_slots(index: u16, log2 in 0u32..=14) {
            let mask = ((1u32 << log2) - 1) as u16;
            let next = slot(index.wrapping_add(1), mask);
            prop_assert_eq!(next, (slot(index, mask) + 1) & mask as usize);
        }
    }
}
