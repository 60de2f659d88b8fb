//! Telling workers to end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use memif_os::event::EventFd;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::error::Error;

/// Tells workers to end, from any thread. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    flag: Arc<AtomicBool>,
    followers: Arc<Mutex<Followers>>,
}

/// Whom to tell when it happens.
#[derive(Debug, Default)]
struct Followers {
    doorbells: Vec<Arc<EventFd>>,
    stops: Vec<Stop>,
}

impl Stop {
    /// One that nobody has called yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells all that follow it to end. They finish the round that they are in.
    pub fn stop(&self) {
        self.flag.store(true, Ordering::Relaxed); // orders nothing: a round more or less
        let followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
        for doorbell in &followers.doorbells {
            let _ = doorbell.signal(); // a full counter is rung already
        }
        for stop in &followers.stops {
            stop.stop();
        }
    }

    /// Whether it was called.
    #[inline]
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }

    /// Rings a sleeper when it is called.
    pub(super) fn ring(&self, doorbell: &Arc<EventFd>) {
        self.followers.lock().unwrap_or_else(PoisonError::into_inner).doorbells.push(Arc::clone(doorbell));
    }

    /// Calls `other` as well when it is called, now if it was before.
    pub(super) fn also(&self, other: &Self) {
        self.followers.lock().unwrap_or_else(PoisonError::into_inner).stops.push(other.clone());
        if self.is_stopped() {
            other.stop();
        }
    }
}

/// A [`Stop`] that SIGINT (Ctrl-C) and SIGTERM call. A second signal ends the process at once, in case the first one
/// is not heard.
///
/// # Errors
/// The handlers cannot be installed.
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
