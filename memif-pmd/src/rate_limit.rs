//! Keeps a misbehaving peer from filling the log: whatever a peer can repeat is logged through a [`RateLimit`].

use std::time::{Duration, Instant};

/// One message a second; the rest are counted.
const INTERVAL: Duration = Duration::from_secs(1);

/// Lets one message through per interval.
#[derive(Debug, Default)]
pub(crate) struct RateLimit {
    last: Option<Instant>,
    suppressed: u64,
}

impl RateLimit {
    pub(crate) const fn new() -> Self {
        Self { last: None, suppressed: 0 }
    }

    /// How many messages were held back since the last one, if this one may pass.
    pub(crate) fn pass(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < INTERVAL) {
            self.suppressed += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_message_a_second_with_a_count() {
        let (mut limit, start) = (RateLimit::new(), Instant::now());
        assert_eq!(limit.pass(start), Some(0));
        for ms in 0..999 {
            assert_eq!(limit.pass(start + Duration::from_millis(ms)), None);
        }
        assert_eq!(limit.pass(start + INTERVAL), Some(999));
        assert_eq!(limit.pass(start + INTERVAL * 2), Some(0));
    }
}
