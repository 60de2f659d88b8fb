//! The control plane as its threads share it: the lock, the timer, and the delivery of events.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use memif_os::event::{Epoll, TimerFd};

use super::registry::FdRegistry;
use super::state::{Calling, Notice, Source, State};
use super::turn::{ConnectionId, Product};
use crate::background::{Held, Pool, Threads};
use crate::error::{Disconnect, Error};
use crate::queue::Reports;
use crate::reaper;

/// Threads that map and allocate; no interface occupies more than one.
pub(super) static BUILDERS: Pool = Pool::new("memif-builder", Threads { all: 4, one_owner: 1, strangers: 1 });

/// What a builder thread made, for the connection that asked for it.
pub(super) type Built = (ConnectionId, Result<Product, Disconnect>);

pub(crate) struct Plane {
    state: Mutex<State>,
    /// Notified when a link comes or goes, an attempt fails, a listener is bound, or a handler returns.
    changed: Condvar,
    /// Nanoseconds for which the lock was held at a time, at most.
    longest_hold: AtomicU64,
    pub(super) registry: Box<dyn FdRegistry>,
    pub(crate) reports: Arc<Reports>,
    timer: TimerFd,
    /// What the timer is set to, as setting it is a system call and most changes do not concern it.
    armed: Mutex<Option<Instant>>,
    /// From builder threads, which signal the waker.
    built: Mutex<Vec<Built>>,
    /// Threads that are there from the beginning, so that no shortage keeps links from coming up or going down.
    _threads: (Held, [Held; 2]),
    pub(super) epoll: Option<Arc<Epoll>>,
    pub(super) threaded: AtomicBool,
    pub(super) stop: AtomicBool,
    pub(super) cancel: AtomicBool,
}

/// The state, locked. Measures for how long.
pub(super) struct Locked<'a> {
    state: MutexGuard<'a, State>,
    hold: Hold<'a>,
}

/// Measures until it is dropped.
struct Hold<'a> {
    since: Instant,
    longest: &'a AtomicU64,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let held = u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        // Relaxed, as counters order nothing
        self.longest.fetch_max(held, Ordering::Relaxed);
    }
}

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Plane {
    pub(super) fn new(registry: Box<dyn FdRegistry>, epoll: Option<Arc<Epoll>>) -> Result<Arc<Self>, Error> {
        use std::os::fd::AsRawFd;
        let reports = Arc::new(Reports::new().map_err(Error::system("eventfd"))?);
        let timer = TimerFd::new().map_err(Error::system("timerfd"))?;
        let builder = BUILDERS.hold().map_err(Error::thread)?;
        let threads = (builder, reaper::hold().map_err(Error::thread)?);
        registry.watch(reports.waker.as_fd()).map_err(Error::system("watching the waker"))?;
        registry.watch(timer.as_fd()).map_err(Error::system("watching the timer"))?;
        let mut state = State::default();
        state.sources.insert(reports.waker.as_fd().as_raw_fd(), Source::Waker);
        state.sources.insert(timer.as_fd().as_raw_fd(), Source::Timer);
        Ok(Arc::new(Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            longest_hold: AtomicU64::new(0),
            registry,
            reports,
            timer,
            armed: Mutex::new(None),
            built: Mutex::default(),
            _threads: threads,
            epoll,
            threaded: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            cancel: AtomicBool::new(false),
        }))
    }

    pub(super) fn lock(&self) -> Locked<'_> {
        // nothing panics between two states of what is behind it; handlers run without it
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Locked { state, hold: self.hold() }
    }

    fn hold(&self) -> Hold<'_> {
        Hold { since: Instant::now(), longest: &self.longest_hold }
    }

    pub(super) fn longest_hold(&self) -> Duration {
        Duration::from_nanos(self.longest_hold.load(Ordering::Relaxed))
    }

    /// Waits, for up to `timeout`, until something has changed. The lock is not held meanwhile.
    pub(super) fn wait_change<'a>(&'a self, locked: Locked<'a>, timeout: Duration) -> Locked<'a> {
        let Locked { state, hold } = locked;
        drop(hold);
        let (state, _) = self.changed.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner);
        Locked { state, hold: self.hold() }
    }

    /// Wakes those who wait for a change.
    pub(super) fn note_change(&self) {
        self.changed.notify_all();
    }

    /// What builder threads have finished.
    pub(super) fn take_built(&self) -> Vec<Built> {
        std::mem::take(&mut *self.built.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn put_built(&self, built: Built) {
        self.built.lock().unwrap_or_else(PoisonError::into_inner).push(built);
        self.reports.wake();
    }

    /// After a call of the API: sees to folders, the timer and the log. Events are delivered on the thread that polls.
    pub(super) fn settle(&self) {
        self.see_to_folders();
        self.rearm();
        let mut state = self.lock();
        let warnings = std::mem::take(&mut state.warnings);
        let has_events = !state.events.queue.is_empty();
        drop(state);
        warnings.into_iter().for_each(super::warning::Warning::log);
        if has_events {
            self.reports.wake();
        }
    }

    /// After a turn of the thread that polls: as [`Plane::settle`], and delivers events.
    pub(super) fn finish_turn(&self) {
        self.see_to_folders();
        self.rearm();
        let warnings = std::mem::take(&mut self.lock().warnings);
        warnings.into_iter().for_each(super::warning::Warning::log);
        self.deliver();
    }

    fn rearm(&self) {
        // its own lock, so that of two threads the one with the newer deadline sets it last
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        let next = self.lock().next_deadline();
        if next == *armed {
            return;
        }
        *armed = next;
        let after = next.map(|deadline| {
            // zero would disarm it
            deadline.saturating_duration_since(Instant::now()).max(Duration::from_micros(1))
        });
        if let Err(error) = self.timer.set(after) {
            tracing::error!(%error, "cannot set the control plane's timer");
        }
    }

    /// The timer has expired: it must be set again.
    pub(super) fn drain_timer(&self) {
        let _ = self.timer.drain(); // readiness is all it says
        *self.armed.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn timer(&self) -> &TimerFd {
        &self.timer
    }

    /// Calls the handlers of the events that wait, one after the other and without the lock. While a handler runs, on
    /// whatever thread, the events behind it wait for that thread to return to them.
    fn deliver(&self) {
        loop {
            let mut state = self.lock();
            if state.events.calling.is_some() {
                return;
            }
            let Some(notice) = state.events.queue.pop_front() else { return };
            state.events.calling = Some(Calling { owner: notice.owner, thread: thread::current().id() });
            drop(state);
            let _done = Done(self);
            (notice.handler)(&notice.event);
        }
    }

    /// Delivers what waits for an interface that is gone, on this thread. When this returns, no handler of the interface
    /// runs and none will, unless this was called from within one.
    pub(super) fn deliver_last(&self, owner: u64) {
        let mut state = self.lock();
        let here = thread::current().id();
        while state.events.calling.is_some_and(|calling| calling.owner == owner && calling.thread != here) {
            state = self.wait_change(state, Duration::from_secs(3600));
        }
        let (own, others) = state
            .events
            .queue
            .drain(..)
            .partition::<std::collections::VecDeque<Notice>, _>(|notice| notice.owner == owner);
        state.events.queue = others;
        drop(state);
        for notice in own {
            (notice.handler)(&notice.event);
        }
    }
}

/// A handler has returned, or panicked.
struct Done<'a>(&'a Plane);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.lock().events.calling = None;
        self.0.note_change();
    }
}

impl fmt::Debug for Plane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plane").finish_non_exhaustive()
    }
}
