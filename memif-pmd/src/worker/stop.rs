//! Telling workers to end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use memif_os::event::EventFd;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::error::Error;

/// Tells workers to end, from any thread and once and for all. Clones are handles on the same one.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    stopped: AtomicBool,
    followers: Mutex<Followers>,
}

/// Whom to tell when it happens; those that are gone are forgotten when the next one comes.
#[derive(Debug, Default)]
struct Followers {
    doorbells: Vec<Weak<EventFd>>,
    stops: Vec<Weak<Inner>>,
}

impl Stop {
    /// One that nobody has called yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells all workers that follow it to end. They finish the round that they are in.
    pub fn stop(&self) {
        self.0.stop();
    }

    /// Whether it was called.
    #[inline]
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::Relaxed)
    }

    /// Signals `doorbell` when it is called, to wake a worker that sleeps.
    pub(super) fn signal(&self, doorbell: &Arc<EventFd>) {
        let doorbells = &mut self.0.followers().doorbells;
        doorbells.retain(|doorbell| doorbell.strong_count() > 0);
        doorbells.push(Arc::downgrade(doorbell));
    }

    /// Calls `other` as well when it is called, at once if it was called before.
    pub(super) fn also(&self, other: &Self) {
        let mut followers = self.0.followers();
        followers.stops.retain(|stop| stop.strong_count() > 0);
        followers.stops.push(Arc::downgrade(&other.0));
        drop(followers);
        if self.is_stopped() {
            other.stop();
        }
    }
}

impl Inner {
    fn stop(&self) {
        // Relaxed: orders nothing but a round more or less
        self.stopped.store(true, Ordering::Relaxed);
        let followers = self.followers();
        for doorbell in followers.doorbells.iter().filter_map(Weak::upgrade) {
            let _ = doorbell.signal(); // a full counter wakes as well
        }
        for stop in followers.stops.iter().filter_map(Weak::upgrade) {
            stop.stop();
        }
    }

    fn followers(&self) -> MutexGuard<'_, Followers> {
        // nothing panics between two states of it
        self.followers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A [`Stop`] that SIGINT (Ctrl-C) and SIGTERM call. A second signal ends the process at once, in case the first one has
/// no effect.
///
/// # Errors
/// [`Error::System`]: the handlers cannot be installed, or no thread can be started.
pub fn ctrl_c() -> Result<Stop, Error> {
    let stop = Stop::new();
    let mut signals =
        signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).map_err(Error::system("signal handler"))?;
    let on_signal = stop.clone();
    let watch = move || {
        for signal in signals.forever() {
            if on_signal.is_stopped() {
                let _ = signal_hook::low_level::emulate_default_handler(signal); // ends the process
            }
            on_signal.stop();
        }
    };
    std::thread::Builder::new().name("memif-signals".into()).spawn(watch).map_err(Error::system("thread"))?;
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_forgets_workers_that_have_ended() {
        let stop = Stop::new();
        for _ in 0..100 {
            stop.also(&Stop::new());
            stop.signal(&Arc::new(EventFd::new().unwrap()));
        }
        let (last, doorbell) = (Stop::new(), Arc::new(EventFd::new().unwrap()));
        stop.also(&last);
        stop.signal(&doorbell);
        assert_eq!(stop.0.followers().stops.len(), 1);
        assert_eq!(stop.0.followers().doorbells.len(), 1);
        stop.stop();
        assert!(last.is_stopped());
        assert_eq!(doorbell.drain().unwrap(), Some(1));
        let late = Stop::new();
        stop.also(&late);
        assert!(late.is_stopped());
    }
}
