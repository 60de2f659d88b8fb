//! How often a slave may overrun its ring.

use memif_ring::fault::PeerFault;

const SECOND: u64 = 1_000_000_000;
/// Overruns in a second from which on only traffic explains them. Honest slaves fill the ring again before they overrun it
/// again, so the receiver usually finds packets between two overruns.
const MANY: u32 = 1000;
/// Number of such seconds in a row, with fewer packets than overruns each, after which the link ends.
const SECONDS: u32 = 5;

/// How often the slave of a link has overrun one ring lately.
#[derive(Debug, Default)]
pub(super) struct Overruns {
    /// When the present second began, in nanoseconds; `None` before the first overrun.
    since: Option<u64>,
    /// Overruns in it.
    count: u32,
    /// Packets received before it.
    packets: u64,
    /// Seconds in a row with many overruns and fewer packets.
    seconds: u32,
}

/// What is to be done about one overrun.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The first one in a second: it is worth a warning.
    Warn,
    GoOn,
    /// No traffic explains it.
    End(PeerFault),
}

impl Overruns {
    /// Notes one overrun at time `now`, in nanoseconds of any clock, when `packets` were received so far.
    pub(super) fn note(&mut self, now: u64, packets: u64) -> Verdict {
        let elapsed = self.since.map(|since| now.saturating_sub(since));
        if elapsed.is_some_and(|elapsed| elapsed < SECOND) {
            self.count = self.count.saturating_add(1);
            return Verdict::GoOn;
        }
        let (overruns, received) = (self.count, packets - self.packets);
        let unexplained = overruns >= MANY && received < overruns.into();
        let in_a_row = elapsed.is_some_and(|elapsed| elapsed < 2 * SECOND);
        let seconds = if unexplained && in_a_row { self.seconds + 1 } else { 0 };
        *self = Self { since: Some(now), count: 1, packets, seconds };
        if seconds < SECONDS {
            return Verdict::Warn;
        }
        Verdict::End(PeerFault::Overruns { overruns, packets: received, seconds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict on the overrun after `seconds` seconds with `each` overruns and `packets` packets in each.
    fn after(seconds: u64, each: u32, packets: u64) -> Verdict {
        let mut overruns = Overruns::default();
        for second in 0..seconds {
            for number in 0..each {
                let now = second * SECOND + u64::from(number) * (SECOND / u64::from(each));
                let verdict = overruns.note(now, second * packets);
                let first = if number == 0 { Verdict::Warn } else { Verdict::GoOn };
                assert_eq!(verdict, first, "second {second}, number {number}");
            }
        }
        overruns.note(seconds * SECOND, seconds * packets)
    }

    #[test]
    fn five_seconds_of_overruns_and_few_packets_end_the_link() {
        let end = |overruns, packets| Verdict::End(PeerFault::Overruns { overruns, packets, seconds: 5 });
        assert_eq!(after(5, 1000, 0), end(1000, 0));
        assert_eq!(after(5, 1000, 999), end(1000, 999));
        assert_eq!(after(5, 20_000, 1000), end(20_000, 1000));
        assert_eq!(after(4, 20_000, 0), Verdict::Warn, "not for long enough");
        assert_eq!(after(20, 999, 0), Verdict::Warn, "not many");
        assert_eq!(after(20, 20_000, 20_000), Verdict::Warn, "as many packets as overruns");
    }

    #[test]
    fn a_pause_begins_the_count_again() {
        let mut overruns = Overruns::default();
        for second in 0..20 {
            for number in 0..2000 {
                let now = second * 2 * SECOND + number;
                assert!(!matches!(overruns.note(now, 0), Verdict::End(_)));
            }
        }
    }

    #[test]
    fn a_warning_a_second() {
        let mut overruns = Overruns::default();
        let warnings = (0..10_000u64).filter(|ms| overruns.note(ms * SECOND / 1000, ms * 5) == Verdict::Warn);
        assert_eq!(warnings.count(), 10);
    }
}
