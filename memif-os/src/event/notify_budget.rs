//! A bound on the time that notifying one peer may take.
//!
//! The kernel runs the wake-up of everybody who waits for an eventfd on the thread that notifies, and a peer can put as many
//! watches on it as its limits allow: with a hundred thousand of them a notification takes tens of milliseconds. Such a
//! peer is notified rarely.
//!
//! Only processor time is held against a peer. By the clock a notification may take as long as it likes: the thread that
//! was woken may run at once, on the same core.

use std::io;

use super::eventfd::EventFd;
use crate::clock::{monotonic_ns, thread_cpu_ns};

/// From this on a notification is slow, in nanoseconds. It usually takes one or two microseconds.
const SLOW: u64 = 100_000;
/// So many slow notifications in a row are no accident, such as a hardware interrupt.
const STRIKES: u32 = 4;
/// How many times as long as a slow notification took there is no other one.
const PAUSE: u64 = 32;
/// The longest pause, in nanoseconds.
const LONGEST_PAUSE: u64 = 1_000_000_000;

/// What became of a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Notified {
    /// The peer is notified.
    Sent,
    /// Notifying this peer has taken too much time. Try again with the next burst or round.
    Deferred,
}

/// Notifies one peer. One that makes notifications slow is notified rarely, so that together they take a few per cent of
/// the thread's time at most; all others are notified every time.
///
/// One for each queue and link. As long as notifications are quick it costs two looks at the clock.
#[derive(Debug, Default)]
pub struct NotifyBudget {
    /// The last notification took long by the clock: the processor time of the next one is measured.
    suspicious: bool,
    /// Slow notifications in a row.
    strikes: u32,
    /// No notification before this time, [`monotonic_ns`].
    paused_until: u64,
}

impl NotifyBudget {
    /// For a peer about which nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// [`EventFd::notify`], unless this peer has made it slow.
    ///
    /// # Errors
    /// Those of [`EventFd::notify`].
    pub fn notify(&mut self, event: &EventFd) -> io::Result<Notified> {
        let start = monotonic_ns();
        if start < self.paused_until {
            return Ok(Notified::Deferred);
        }
        let used = self.suspicious.then(thread_cpu_ns);
        let result = event.notify();
        let used = used.map(|before| thread_cpu_ns().saturating_sub(before));
        self.judge(monotonic_ns(), start, used);
        result.map(|()| Notified::Sent)
    }

    /// Takes note of a notification: from `start` to `now`, and the processor time that it `used` if that was measured.
    fn judge(&mut self, now: u64, start: u64, used: Option<u64>) {
        self.suspicious = now.saturating_sub(start) >= SLOW;
        match used {
            Some(used) if used >= SLOW => {
                self.strikes = self.strikes.saturating_add(1);
                if self.strikes >= STRIKES {
                    self.paused_until = now.saturating_add(used.saturating_mul(PAUSE).min(LONGEST_PAUSE));
                }
            }
            // perhaps slow: the next one tells
            None if self.suspicious => {}
            _ => self.strikes = 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::event::{Epoll, Interest};

    const MS: u64 = 1_000_000;

    /// Notifications that take so long by the clock, and use so much processor time; returns when they may go on.
    fn repeat(budget: &mut NotifyBudget, times: u32, took: u64, used: u64) -> u64 {
        for _ in 0..times {
            let used = budget.suspicious.then_some(used);
            budget.judge(took, 0, used);
        }
        budget.paused_until
    }

    #[test]
    fn notifications_that_use_much_processor_time_become_rare() {
        let mut budget = NotifyBudget::new();
        // the first one is not measured
        assert_eq!(repeat(&mut budget, STRIKES, 20 * MS, 20 * MS), 0);
        assert_eq!(repeat(&mut budget, 1, 20 * MS, 20 * MS), 20 * MS + PAUSE * 20 * MS);
        assert_eq!(repeat(&mut budget, 1, 60 * MS, 60 * MS), 60 * MS + LONGEST_PAUSE);
        assert_eq!(repeat(&mut budget, 1, MS, u64::MAX), MS + LONGEST_PAUSE);
    }

    #[test]
    fn a_thread_that_the_woken_one_preempts_is_not_slow() {
        assert_eq!(repeat(&mut NotifyBudget::new(), 1000, 4 * MS, 3_000), 0);
    }

    #[test]
    fn a_busy_peer_is_notified_every_time() {
        assert_eq!(repeat(&mut NotifyBudget::new(), 1_000_000, 2_000, 2_000), 0);
        let (mut budget, event) = (NotifyBudget::new(), EventFd::new().unwrap());
        for _ in 0..10_000 {
            assert_eq!(budget.notify(&event).unwrap(), Notified::Sent);
        }
        assert_eq!(event.drain().unwrap(), Some(10_000));
    }

    #[test]
    fn one_quick_notification_clears_a_peer() {
        let mut budget = NotifyBudget::new();
        let paused = repeat(&mut budget, STRIKES + 1, MS, MS);
        assert!(paused > 0);
        repeat(&mut budget, 1, 2_000, 2_000);
        assert_eq!(repeat(&mut budget, STRIKES, MS, MS), paused, "as before: no new pause");
    }

    #[test]
    fn a_peer_with_very_many_watches_takes_a_small_part_of_the_time() {
        let event = EventFd::new().unwrap();
        // many enough that a notification is slow on a processor several times as fast as those of today
        let copies: Vec<_> = (0..500).map(|_| event.as_fd().try_clone_to_owned().unwrap()).collect();
        let watches: Vec<_> = (0..200).map(|_| Epoll::new().unwrap()).collect();
        for (epoll, copy) in watches.iter().flat_map(|epoll| copies.iter().map(move |copy| (epoll, copy))) {
            epoll.add(copy, 0, Interest::READ | Interest::EDGE).unwrap();
        }
        let mut budget = NotifyBudget::new();
        let (start, used) = (monotonic_ns(), thread_cpu_ns());
        let (mut sent, mut deferred) = (0, 0);
        while monotonic_ns() - start < 1000 * MS || deferred == 0 {
            assert!(monotonic_ns() - start < 60_000 * MS, "never deferred");
            match budget.notify(&event).unwrap() {
                Notified::Sent => sent += 1,
                Notified::Deferred => {
                    deferred += 1;
                    std::thread::sleep(std::time::Duration::from_micros(200));
                }
            }
        }
        // with its first ones each takes a 33rd at most
        let (passed, used) = (monotonic_ns() - start, thread_cpu_ns() - used);
        assert!(used < passed / 2, "{sent} notifications took {used} of {passed} ns");
    }
}
