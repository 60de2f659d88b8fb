//! What a receive queue knows of the slots that are in the program's hands.

use std::collections::VecDeque;

use memif_os::event::NotifyBudget;
use memif_ring::layout::Desc;

use crate::queue::overruns::Overruns;

/// Slots of a receive ring that are held, beyond what the ring's end knows: which of them the program never saw, and which
/// it is done with already.
#[derive(Debug, Default)]
pub(in crate::queue) struct Kept {
    /// The link whose slots these are.
    epoch: u64,
    /// Slots of dropped packets, still to be returned, in ring order. The program has not seen them and does not count
    /// them when it posts. At most a ring's worth.
    skipped: VecDeque<u16>,
    /// Slots that the program is done with and that are not posted yet, and the headroom that they shall have.
    pub(super) owed: u16,
    pub(super) headroom: u16,
    /// Slots that the program has and that are not held any more, as the slave has overrun the ring: they are the oldest
    /// that the program has, and the first that it posts.
    pub(super) withdrawn: u16,
    /// How often that happens.
    pub(in crate::queue) overruns: Overruns,
    /// What was taken of a packet that comes in parts.
    pub(super) part: Part,
    /// Snapshots of the packet that is looked at, kept for its memory.
    pub(super) pieces: Vec<Desc>,
    /// The eventfd was emptied since the mode is to poll.
    pub(super) quiet: bool,
    /// For the eventfd of our own ring, which the peer has too.
    pub(super) budget: NotifyBudget,
}

/// The beginning of a packet whose rest was not taken yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Part {
    /// Index of the next slot of the packet.
    pub(super) next: u16,
    pub(super) pieces: usize,
    pub(super) bytes: usize,
}

impl Kept {
    /// Forgets the slots of another link.
    #[inline(always)]
    pub(in crate::queue) fn follow(&mut self, epoch: u64) {
        if self.epoch != epoch {
            self.forget(epoch);
        }
    }

    #[cold]
    fn forget(&mut self, epoch: u64) {
        self.skipped.clear();
        *self = Self {
            epoch,
            skipped: std::mem::take(&mut self.skipped),
            pieces: std::mem::take(&mut self.pieces),
            quiet: self.quiet,
            ..Self::default()
        };
    }

    /// `count` slots from index `first` were consumed and the program does not see them. The ring has `size` slots, of
    /// which `oldest` is the first that is held.
    #[cold]
    pub(in crate::queue) fn skip(&mut self, first: u16, count: u16, (oldest, size): (u16, u16)) {
        self.drop_returned(oldest, size);
        self.skipped.extend((0..count).map(|ahead| first.wrapping_add(ahead)));
    }

    /// Ends that post by themselves do not tell which slots they have returned: all that lie before `oldest`.
    fn drop_returned(&mut self, oldest: u16, size: u16) {
        while self.skipped.pop_front_if(|index| index.wrapping_sub(oldest) >= size).is_some() {}
    }

    /// The oldest `count` held slots, of which the first is `oldest`, are not held any more.
    #[cold]
    pub(in crate::queue) fn withdraw(&mut self, count: u16, (oldest, size): (u16, u16)) {
        self.drop_returned(oldest, size);
        for index in (0..count).map(|ahead| oldest.wrapping_add(ahead)) {
            if self.skipped.pop_front_if(|skipped| *skipped == index).is_some() {
                continue;
            }
            // the program is done with its oldest ones first
            match self.owed.checked_sub(1) {
                Some(owed) => self.owed = owed,
                None => self.withdrawn += 1,
            }
        }
        self.part = Part::default();
    }

    /// How many of `slots` slots that the program posts are not held any more.
    #[inline(always)]
    pub(super) fn pay(&mut self, slots: u16) -> u16 {
        let paid = self.withdrawn.min(slots);
        self.withdrawn -= paid;
        paid
    }

    /// How many more slots the program may have, of a ring of `size` of which `held` are held: never more than the ring has.
    #[inline(always)]
    pub(super) fn room(&self, held: u16, size: u16) -> usize {
        if self.withdrawn == 0 { usize::MAX } else { size.saturating_sub(held + self.withdrawn).into() }
    }

    /// How many of `held` slots the program has seen and is not done with.
    #[inline(always)]
    pub(super) fn in_use(&mut self, held: u16, (oldest, size): (u16, u16)) -> u16 {
        let mut skipped = 0;
        if !self.skipped.is_empty() {
            self.drop_returned(oldest, size);
            skipped = u16::try_from(self.skipped.len()).unwrap_or(u16::MAX);
        }
        held.saturating_sub(skipped).saturating_sub(self.owed)
    }

    /// Number of slots to return: the first `seen` that the program saw, the skipped ones among them and right behind.
    #[inline(always)]
    pub(super) fn pass(&mut self, seen: u16, held: u16, (oldest, size): (u16, u16)) -> u16 {
        if self.skipped.is_empty() { seen } else { self.pass_skipped(seen, held, (oldest, size)) }
    }

    #[cold]
    fn pass_skipped(&mut self, seen: u16, held: u16, (oldest, size): (u16, u16)) -> u16 {
        self.drop_returned(oldest, size);
        let (mut slots, mut left) = (0, seen);
        while slots < held {
            let index = oldest.wrapping_add(slots);
            if self.skipped.pop_front_if(|skipped| *skipped == index).is_none() {
                if left == 0 {
                    break;
                }
                left -= 1;
            }
            slots += 1;
        }
        slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u16 = 16;

    #[test]
    fn skipped_slots_are_returned_with_their_neighbours() {
        let mut kept = Kept::default();
        assert_eq!(kept.pass(3, 10, (100, SIZE)), 3);
        // held: 65534 skipped, 65535 seen, 0 and 1 skipped, 2 seen, 3 seen
        kept.skip(65534, 1, (65534, SIZE));
        kept.skip(0, 2, (65534, SIZE));
        assert_eq!(kept.in_use(6, (65534, SIZE)), 3);
        assert_eq!(kept.pass(0, 6, (65534, SIZE)), 1, "the skipped ones in front");
        assert_eq!(kept.pass(1, 5, (65535, SIZE)), 3, "and those right behind");
        assert_eq!(kept.pass(u16::MAX, 2, (2, SIZE)), u16::MAX, "none left: the ring's own count bounds it");
        kept.skip(7, 1, (5, SIZE));
        assert_eq!(kept.pass(u16::MAX, 4, (5, SIZE)), 4, "never more than are held");
        kept.skip(20, 2, (20, SIZE));
        kept.follow(1);
        assert_eq!(kept.pass(1, 4, (20, SIZE)), 1, "another link has none");
    }

    #[test]
    fn skipped_slots_are_bounded_by_the_ring() {
        let mut kept = Kept::default();
        for index in (0..200_000u32).step_by(4) {
            #[allow(clippy::cast_possible_truncation, reason = "wraps as indices do")]
            let index = index as u16;
            kept.skip(index, 4, (index, SIZE));
            assert!(kept.skipped.len() <= usize::from(SIZE));
        }
        let next = *kept.skipped.back().unwrap_or(&0) + 1;
        assert_eq!(kept.in_use(3, (next, SIZE)), 3, "all skipped slots were returned");
    }
}
