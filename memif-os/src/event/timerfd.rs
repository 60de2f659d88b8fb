//! Timers that can be polled.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use super::poll::timespec;

/// A timer on `CLOCK_MONOTONIC` that can be polled; disarmed at first.
#[derive(Debug)]
pub struct TimerFd {
    fd: OwnedFd,
}

impl TimerFd {
    /// A new timer, disarmed, non-blocking and close-on-exec.
    ///
    /// # Errors
    /// The kernel's answer to `timerfd_create`, such as `EMFILE`.
    pub fn new() -> io::Result<TimerFd> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        Ok(TimerFd { fd: timerfd_create(TimerfdClockId::Monotonic, flags)? })
    }

    /// Expires once, `after` from now, or never (`None`). Replaces what was set and forgets what has expired.
    ///
    /// # Errors
    /// The kernel's answer to `timerfd_settime`.
    pub fn set(&self, after: Option<Duration>) -> io::Result<()> {
        self.arm(after, None)
    }

    /// Expires every `period`, the first time one period from now. Replaces what was set and forgets what has
    /// expired.
    ///
    /// # Errors
    /// The kernel's answer to `timerfd_settime`.
    pub fn set_periodic(&self, period: Duration) -> io::Result<()> {
        self.arm(Some(period), Some(period))
    }

    /// How often the timer has expired since it was last asked; `None` when it has not.
    ///
    /// # Errors
    /// The kernel's answer to `read`.
    pub fn drain(&self) -> io::Result<Option<u64>> {
        let mut count = [0; size_of::<u64>()];
        match rustix::io::read(&self.fd, &mut count) {
            Ok(_) => Ok(Some(u64::from_ne_bytes(count))),
            Err(Errno::AGAIN) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    fn arm(&self, after: Option<Duration>, period: Option<Duration>) -> io::Result<()> {
        // Zero disarms a timer, so "now" is one nanosecond from now.
        let time = |d: Option<Duration>| d.map_or(Duration::ZERO, |d| d.max(Duration::from_nanos(1)));
        let spec = Itimerspec { it_value: timespec(time(after)), it_interval: timespec(time(period)) };
        timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &spec)?;
        Ok(())
    }
}

impl AsFd for TimerFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<TimerFd> for OwnedFd {
    fn from(timer: TimerFd) -> OwnedFd {
        timer.fd
    }
}
