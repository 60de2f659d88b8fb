//! Eventfds: a counter that one side adds to and the other waits for.

use std::fs;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFlags, eventfd};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use super::poll::is_ready;
use crate::ringer;

/// Why a peer's descriptor was not taken for an eventfd.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// It is something else.
    #[error("the peer's interrupt descriptor is no eventfd but {found:?}")]
    NotAnEventFd {
        /// What it is, as `/proc/self/fd` names it.
        found: String,
    },
    /// It could not be examined.
    #[error("cannot examine the peer's interrupt descriptor {fd} (is /proc mounted?): {error}")]
    Unknown {
        /// The descriptor's number.
        fd: RawFd,
        /// The kernel's answer.
        error: io::Error,
    },
}

/// An eventfd: a counter that one side adds to and the other waits for.
#[derive(Debug)]
pub struct EventFd {
    fd: OwnedFd,
}

impl EventFd {
    /// A new eventfd, its counter 0, non-blocking and close-on-exec.
    ///
    /// # Errors
    /// The kernel's answer to `eventfd`, such as `EMFILE`.
    pub fn new() -> io::Result<EventFd> {
        Ok(EventFd { fd: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)? })
    }

    /// Takes the descriptor that a peer sent with ADD_RING, if it is an eventfd. Does not wait, whatever it is: no file
    /// system is asked.
    ///
    /// # Errors
    /// [`EventError`] when it is anything else, or when that cannot be found out, and the descriptor, whose closing may take
    /// long.
    pub fn from_peer(fd: OwnedFd) -> Result<EventFd, (OwnedFd, EventError)> {
        let raw = fd.as_raw_fd();
        match fs::read_link(format!("/proc/thread-self/fd/{raw}")) {
            Ok(found) if found.as_os_str() == "anon_inode:[eventfd]" => Ok(EventFd { fd }),
            Ok(found) => Err((fd, EventError::NotAnEventFd { found: found.display().to_string() })),
            Err(error) => Err((fd, EventError::Unknown { fd: raw, error })),
        }
    }

    /// Whether a read takes the whole counter. That of a semaphore (`EFD_SEMAPHORE`) takes 1, so it stays readable for
    /// as long as its maker likes, at no cost to its maker. Does not wait. Leaves the counter of any other at 0.
    ///
    /// Kernels before 6.5 do not tell what an eventfd was made as, so it is tried: for a descriptor that a peer sent and
    /// should not read, as whoever reads it at this moment may be told that it is a semaphore. Where asynchronous I/O is not to
    /// be had either, nothing is known, and the answer is true.
    ///
    /// # Errors
    /// The kernel's answer, as of [`EventFd::try_notify`] and [`EventFd::drain`].
    pub fn empties_at_once(&self) -> io::Result<bool> {
        let told = self.is_semaphore();
        let tried = told.is_none() && self.try_notify()? && self.try_notify()?;
        let count = self.drain()?;
        // no semaphore gives more than 1, whatever anybody does to it meanwhile
        Ok(told.map_or(!tried || count.is_some_and(|count| count > 1), |semaphore| !semaphore))
    }

    /// What the kernel tells; `None` before 6.5, and without `/proc`.
    fn is_semaphore(&self) -> Option<bool> {
        let info = fs::read_to_string(format!("/proc/thread-self/fdinfo/{}", self.fd.as_raw_fd())).ok()?;
        let told = info.lines().find_map(|line| line.strip_prefix("eventfd-semaphore:"))?;
        Some(told.trim() != "0")
    }

    /// Adds 1 to the counter of an eventfd that is not shared with a peer. A full counter stays as it is, which is a success too: its reader
    /// will wake up anyway.
    ///
    /// # Errors
    /// The kernel's answer to `write`.
    pub fn signal(&self) -> io::Result<()> {
        match rustix::io::write(&self.fd, &1u64.to_ne_bytes()) {
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Adds 1 to the counter of an eventfd that is shared with a peer. A full counter stays as it is, which is a success too.
    ///
    /// With asynchronous I/O it never waits, whatever the peer does to the eventfd. A sandbox may forbid asynchronous I/O, and
    /// the machine's limit `fs.aio-max-nr` may be used up. Then it writes only if the counter has room. A peer that has made
    /// the descriptor blocking can fill the counter between the two steps: the write then waits until somebody reads the
    /// counter. [`EventFd::try_notify`] does not write in that case.
    ///
    /// # Errors
    /// The kernel's answer to `io_submit`, or to `poll` and `write`.
    pub fn notify(&self) -> io::Result<()> {
        match ringer::notify(self.as_fd()) {
            Some(result) => result,
            None if is_ready(self.as_fd(), PollFlags::OUT, Some(Duration::ZERO))? => self.signal(),
            None => Ok(()),
        }
    }

    /// Works like [`EventFd::notify`] with asynchronous I/O. Without it, does nothing and returns false. It never waits.
    ///
    /// # Errors
    /// The kernel's answer to `io_submit`.
    pub fn try_notify(&self) -> io::Result<bool> {
        ringer::notify(self.as_fd()).map_or(Ok(false), |result| result.map(|()| true))
    }

    /// Takes the counter back to 0 and returns what it was; `None` when it was 0.
    ///
    /// # Errors
    /// The kernel's answer to `preadv2`.
    pub fn drain(&self) -> io::Result<Option<u64>> {
        let mut count = [0; size_of::<u64>()];
        match self.read_nowait(&mut count) {
            Ok(_) => Ok(Some(u64::from_ne_bytes(count))),
            Err(Errno::AGAIN) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Waits until the counter is not 0: true; or until the time is over or a signal came: false. `None` waits
    /// without end.
    ///
    /// # Errors
    /// The kernel's answer to `poll`.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
        is_ready(self.as_fd(), PollFlags::IN, timeout)
    }

    fn read_nowait(&self, count: &mut [u8; 8]) -> rustix::io::Result<usize> {
        match preadv2(&self.fd, &mut [IoSliceMut::new(count)], u64::MAX, ReadWriteFlags::NOWAIT) {
            // Kernels before 5.7.
            Err(Errno::OPNOTSUPP) => self.read_if_ready(count),
            result => result,
        }
    }

    fn read_if_ready(&self, count: &mut [u8; 8]) -> rustix::io::Result<usize> {
        match self.wait(Some(Duration::ZERO)) {
            Ok(true) => rustix::io::read(&self.fd, count),
            Ok(false) => Err(Errno::AGAIN),
            Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        }
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<EventFd> for OwnedFd {
    fn from(event: EventFd) -> OwnedFd {
        event.fd
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_kernels_are_read_after_a_look() {
        let event = EventFd::new().unwrap();
        let mut count = [0; 8];
        assert_eq!(event.read_if_ready(&mut count), Err(Errno::AGAIN));
        event.signal().unwrap();
        assert_eq!(event.read_if_ready(&mut count), Ok(8));
        assert_eq!(u64::from_ne_bytes(count), 1);
    }
}
