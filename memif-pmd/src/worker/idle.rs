//! What a worker does while there is nothing to do.

/// What a worker does when a round over its tasks moved no packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Idle {
    /// Begins the next round at once.
    Spin,
    /// Pauses for some tens of nanoseconds, with the processor's instruction for that. The default.
    #[default]
    Pause,
    /// Pauses, and after so many idle rounds in a row sleeps until a peer sends: takes next to no processor time without
    /// traffic; the first packet then waits for a wake-up.
    ///
    /// While packets wait for room on a full ring, which nobody announces, it looks again every millisecond.
    Sleep {
        /// Idle rounds before it sleeps; 10,000 take about half a millisecond.
        after: u32,
    },
}

/// What comes next in an idle round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    None,
    Pause,
    Sleep,
}

impl Idle {
    /// After so many idle rounds in a row.
    #[inline]
    pub(super) fn rest(self, rounds: u64) -> Rest {
        match self {
            Self::Spin => Rest::None,
            Self::Sleep { after } if rounds > after.into() => Rest::Sleep,
            Self::Pause | Self::Sleep { .. } => Rest::Pause,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_rounds_do_not_overflow_32_bits() {
        let longest = Idle::Sleep { after: u32::MAX };
        assert_eq!(longest.rest(u64::from(u32::MAX)), Rest::Pause);
        assert_eq!(longest.rest(u64::from(u32::MAX) + 1), Rest::Sleep);
        assert_eq!(Idle::Spin.rest(u64::MAX), Rest::None);
        assert_eq!(Idle::Pause.rest(u64::MAX), Rest::Pause);
    }
}
