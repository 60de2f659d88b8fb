//! When a slave without a connection tries next.
//!
//! At the latest after its interval, less up to a quarter of it, so that many slaves of one master do not come at the same
//! moment. At once where an attempt may succeed: a link has ended, or the master's socket file has appeared. Attempts
//! at once have a budget, because a peer can end links, and other processes can make files, as often as they like.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// Attempts at once that may follow each other.
const BUDGET: u8 = 16;
/// After this time there may be one more.
const REFILL: Duration = Duration::from_secs(1);
/// A socket file appears before its listener listens: attempts follow each other after 1 ms, 2 ms and so on up to this.
const LAST_STEP: Duration = Duration::from_millis(64);

#[derive(Debug)]
pub(super) struct Retry {
    /// `None`: on request only.
    interval: Option<Duration>,
    at: Option<Instant>,
    /// The time until the next attempt, if this one fails as well and the master's socket file has just appeared.
    step: Option<Duration>,
    budget: u8,
    /// Until when the budget was counted.
    counted: Option<Instant>,
}

impl Retry {
    pub(super) fn new(interval: Option<Duration>) -> Self {
        Self { interval, at: None, step: None, budget: BUDGET, counted: None }
    }

    pub(super) fn at(&self) -> Option<Instant> {
        self.at
    }

    /// Whether there will be an attempt that nobody requests.
    pub(super) fn is_automatic(&self) -> bool {
        self.interval.is_some()
    }

    /// An attempt begins.
    pub(super) fn clear(&mut self) {
        self.at = None;
    }

    pub(super) fn set_interval(&mut self, interval: Option<Duration>) {
        self.interval = interval;
    }

    /// After the interval.
    pub(super) fn later(&mut self, now: Instant) {
        self.step = None;
        self.at = self.interval.map(|interval| now + interval - jitter(interval));
    }

    /// At once, if the budget allows it.
    pub(super) fn soon(&mut self, now: Instant) {
        if self.spend(now) { self.at = self.interval.map(|_| now) } else { self.later(now) }
    }

    /// At once, whatever the interval and the budget: the next attempt continues the one that failed.
    pub(super) fn go_on(&mut self, now: Instant) {
        self.at = Some(now);
    }

    /// The master's socket file has appeared: at once, and a few times more until it listens. False if the budget is used
    /// up, and nothing changes.
    pub(super) fn appeared(&mut self, now: Instant) -> bool {
        if self.step.is_some() {
            return true;
        }
        let may = self.interval.is_some() && self.spend(now);
        if may {
            self.at = Some(now);
            self.step = Some(Duration::from_millis(1));
        }
        may
    }

    /// An attempt has not reached a listener.
    pub(super) fn failed(&mut self, now: Instant) {
        match (self.step, self.interval) {
            (Some(step), Some(interval)) if step <= LAST_STEP => {
                self.at = Some(now + step.min(interval));
                self.step = Some(2 * step);
            }
            _ => self.later(now),
        }
    }

    /// The master's folder is watched from now on, and what happened in it before is unknown: at once, unless attempts
    /// follow each other anyway. Comes once a link, and once for what [`Retry::appeared`] allowed.
    pub(super) fn look_again(&mut self, now: Instant) {
        if self.step.is_none() {
            self.at = self.interval.map(|_| now);
        }
    }

    fn spend(&mut self, now: Instant) -> bool {
        let counted = *self.counted.get_or_insert(now);
        let periods = now.saturating_duration_since(counted).as_millis() / REFILL.as_millis();
        let more = u8::try_from(periods).unwrap_or(BUDGET).min(BUDGET);
        if more > 0 {
            self.budget = (self.budget + more).min(BUDGET);
            self.counted = Some(now);
        }
        self.budget.checked_sub(1).map(|left| self.budget = left).is_some()
    }
}

/// From nothing to a quarter of the interval.
fn jitter(interval: Duration) -> Duration {
    // as random as the keys of hash maps
    let random = RandomState::new().hash_one(()) % 1024;
    interval / 4096 * u32::try_from(random).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(2);
    const MS: Duration = Duration::from_millis(1);

    fn retry() -> (Retry, Instant) {
        (Retry::new(Some(INTERVAL)), Instant::now())
    }

    #[test]
    fn the_interval_is_the_latest_and_differs() {
        let (mut retry, now) = retry();
        let mut times: Vec<_> = (0..50)
            .map(|_| {
                retry.later(now);
                retry.at().unwrap()
            })
            .collect();
        assert!(times.iter().all(|at| (now + INTERVAL * 3 / 4..=now + INTERVAL).contains(at)));
        times.dedup();
        assert!(times.len() > 1);
    }

    #[test]
    fn attempts_at_once_are_few_and_come_back_with_time() {
        let (mut retry, now) = retry();
        let mut at_once = |now: Instant| {
            retry.soon(now);
            retry.at() == Some(now)
        };
        let mut many = |now| (0..100).filter(|_| at_once(now)).count();
        assert_eq!(many(now), 16);
        assert_eq!([many(now + REFILL - MS), many(now + REFILL), many(now + REFILL + MS)], [0, 1, 0]);
        assert_eq!(many(now + 1000 * REFILL), 16);
    }

    #[test]
    fn a_listener_that_appears_is_tried_until_it_listens() {
        let (mut retry, mut now) = retry();
        retry.later(now);
        retry.appeared(now);
        let begin = now;
        for step in 0..7 {
            assert_eq!(retry.at(), Some(now));
            retry.clear();
            assert!(retry.appeared(now), "the file's mode");
            retry.look_again(now);
            assert_eq!(retry.at(), None, "the series goes on as it is");
            retry.failed(now);
            now += MS * (1 << step);
        }
        assert_eq!(now - begin, 127 * MS);
        retry.failed(now);
        assert!(retry.at() >= Some(now + INTERVAL * 3 / 4));
        for appears in 0..100 {
            retry.later(now);
            assert_eq!(retry.appeared(now), appears < 15);
        }
        retry.later(now);
        assert!(!retry.appeared(now));
        assert!(retry.at() >= Some(now + INTERVAL * 3 / 4), "files that appear over and over");
    }

    #[test]
    fn on_request_nothing_happens_by_itself_but_what_goes_on() {
        let now = Instant::now();
        let mut retry = Retry::new(None);
        for act in [Retry::later, Retry::soon, Retry::failed, Retry::look_again] {
            act(&mut retry, now);
            assert_eq!(retry.at(), None);
        }
        assert!(!retry.appeared(now) && retry.at().is_none());
        retry.go_on(now);
        assert_eq!(retry.at(), Some(now));
    }
}
