//! How many rings a slave asks for: as many as it is configured for, or as its master has shown to take.
//!
//! HELLO tells nothing of one interface: every master in the field announces 256 rings. One that has fewer queues refuses
//! the first ring too many, as DPDK's does, and by that tells their number.

use memif_ring::message::Direction;

use crate::config::Config;

/// Attempts that may follow each other at once, each with fewer rings in one direction. A master that keeps refusing is
/// given the usual time.
const CORRECTIONS: u8 = 2;

#[derive(Debug)]
pub(super) struct RingWish {
    configured: (u16, u16),
    /// S2M and M2S rings of the next attempt.
    next: (u16, u16),
    corrections: u8,
}

impl RingWish {
    pub(super) fn of(config: &Config) -> Self {
        let configured = (config.s2m_rings(), config.m2s_rings());
        Self { configured, next: configured, corrections: 0 }
    }

    /// S2M and M2S rings of the next attempt.
    pub(super) fn wish(&self) -> (u16, u16) {
        self.next
    }

    /// An attempt or a link has ended, and the master had refused a ring: `limit` is the number that it takes in that
    /// direction. True if the next attempt asks for so many; otherwise it asks for all again, as the master may be another
    /// one by then.
    pub(super) fn learn(&mut self, limit: Option<(Direction, u16)>) -> bool {
        let (s2m, m2s) = self.next;
        let fewer = match limit {
            Some((Direction::S2M, limit)) if limit < s2m => Some((limit, m2s)),
            Some((Direction::M2S, limit)) if limit < m2s => Some((s2m, limit)),
            _ => None,
        };
        match fewer.filter(|_| self.corrections < CORRECTIONS) {
            Some(fewer) => {
                self.next = fewer;
                self.corrections += 1;
                true
            }
            None => {
                self.next = self.configured;
                self.corrections = 0;
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_rings_are_not_asked_for_again_until_something_else_ends_an_attempt() {
        let mut wish = RingWish { configured: (8, 4), next: (8, 4), corrections: 0 };
        assert!(wish.learn(Some((Direction::S2M, 3))));
        assert_eq!(wish.wish(), (3, 4));
        assert!(wish.learn(Some((Direction::M2S, 2))));
        assert_eq!(wish.wish(), (3, 2));
        assert!(!wish.learn(None));
        assert_eq!(wish.wish(), (8, 4));
    }

    #[test]
    fn a_master_that_refuses_over_and_over_is_given_time() {
        let mut wish = RingWish { configured: (8, 4), next: (8, 4), corrections: 0 };
        let learnt = [7, 6, 5, 7, 7].map(|limit| wish.learn(Some((Direction::S2M, limit))));
        assert_eq!(learnt, [true, true, false, true, false], "a limit that is none is no limit");
    }
}
