//! Waiting: for descriptors that are ready, and for a link.

use std::os::fd::{AsFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use memif_os::event::{Event as Ready, poll_fds};

use super::plane::Plane;
use super::state::State;
use crate::error::Error;
use crate::stop::Stop;

/// How long is waited at a time for what a thread of the control plane does.
const STEP: Duration = Duration::from_millis(500);
/// The same, if a [`Stop`] may end it, whose descriptor is not waited for.
const STOP_STEP: Duration = Duration::from_millis(50);

/// What [`Memif::poll`](crate::Memif::poll) did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Polled {
    /// Handled this many file descriptors that were ready.
    Handled(usize),
    /// Nothing happened in the time given, or a signal came.
    TimedOut,
    /// [`Waker::cancel`](crate::Waker::cancel) was called, or the [`Stop`] that [`Memif::poll_until`](crate::Memif::poll_until)
    /// was given.
    Cancelled,
}

impl Plane {
    pub(super) fn poll(
        self: &Arc<Self>,
        stop: Option<&Stop>,
        timeout: Option<Duration>,
    ) -> Result<Polled, Error> {
        let Some(epoll) = &self.epoll else { return Ok(Polled::TimedOut) };
        // Acquire: pairs with the Release in `Memif::shut_down`
        if self.stop.load(Ordering::Acquire) || self.is_cancelled() {
            return Ok(Polled::Cancelled);
        }
        let mut timeout = timeout;
        if let Some(stop) = stop {
            poll_fds(&[epoll.as_fd(), stop.as_fd()], timeout).map_err(Error::system("poll"))?;
            if stop.is_stopped() {
                return Ok(Polled::Cancelled);
            }
            timeout = Some(Duration::ZERO);
        }
        let mut ready = [Ready::NONE; 64];
        let count = epoll.wait(&mut ready, timeout).map_err(Error::system("epoll_wait"))?;
        let mut result = Ok(());
        for event in ready.iter().take(count) {
            let handled = self.handle_fd(RawFd::try_from(event.token()).unwrap_or(-1));
            result = result.and(handled);
        }
        if self.is_cancelled() {
            return Ok(Polled::Cancelled);
        }
        result.map(|()| if count == 0 { Polled::TimedOut } else { Polled::Handled(count) })
    }

    /// Whether somebody has cancelled; once.
    fn is_cancelled(&self) -> bool {
        // AcqRel: pairs with the Release in `Waker::cancel`
        self.cancel.swap(false, Ordering::AcqRel)
    }

    /// Handles one descriptor that is ready, and delivers the events that follow from it.
    pub(super) fn handle_fd(self: &Arc<Self>, fd: RawFd) -> Result<(), Error> {
        let result = self.handle(fd);
        self.finish_turn();
        result
    }

    /// Waits until `done` gives something, `stop` is called or the time is over; drives the control plane if nobody else does.
    pub(super) fn wait_for<T>(
        self: &Arc<Self>,
        stop: Option<&Stop>,
        timeout: Option<Duration>,
        mut done: impl FnMut(&State) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let state = self.lock();
            if let Some(found) = done(&state) {
                return Ok(Some(found));
            }
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(None);
            }
            if stop.is_some_and(Stop::is_stopped) {
                return Err(Error::Cancelled);
            }
            // bounded, so that a control plane whose thread ended, and a stop, are noticed
            let step = left.unwrap_or(Duration::MAX).min(if stop.is_some() { STOP_STEP } else { STEP });
            if self.epoll.is_none() || self.threaded.load(Ordering::Acquire) {
                drop(self.wait_change(state, step));
            } else {
                drop(state);
                if self.poll(stop, Some(step))? == Polled::Cancelled {
                    return Err(Error::Cancelled);
                }
            }
        }
    }
}
