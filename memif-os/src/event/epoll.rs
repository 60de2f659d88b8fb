//! Waiting for many descriptors.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use bitflags::bitflags;
use rustix::event::{Timespec, epoll};

use super::poll::interruptible;

/// Events that the kernel is asked for at once.
const BATCH: usize = 64;

bitflags! {
    /// What a descriptor is watched for. Errors and hang-ups are always reported.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Interest: u32 {
        /// Something can be read, or the peer has closed.
        const READ = epoll::EventFlags::IN.bits();
        /// Something can be written.
        const WRITE = epoll::EventFlags::OUT.bits();
        /// Report changes only, not what stays as it is.
        const EDGE = epoll::EventFlags::ET.bits();
    }
}

/// What [`Epoll::wait`] reports of one descriptor.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    token: u64,
    flags: epoll::EventFlags,
}

impl Event {
    /// An event of nothing, to fill the array for [`Epoll::wait`].
    pub const NONE: Event = Event { token: 0, flags: epoll::EventFlags::empty() };

    /// The token that the descriptor was added with.
    #[must_use]
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Something can be read, which includes the end of file and an error.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.has(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR)
    }

    /// Something can be written, or writing will tell the error.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.has(epoll::EventFlags::OUT | epoll::EventFlags::ERR)
    }

    /// The peer has closed the connection; messages may still be there to be read.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.has(epoll::EventFlags::HUP)
    }

    fn has(&self, flags: epoll::EventFlags) -> bool {
        self.flags.intersects(flags)
    }
}

/// Watches many descriptors at once. It can be watched itself: [`AsFd`] gives the one descriptor.
#[derive(Debug)]
pub struct Epoll {
    fd: OwnedFd,
}

impl Epoll {
    /// A new set of nothing, close-on-exec.
    ///
    /// # Errors
    /// The kernel's answer to `epoll_create1`, such as `EMFILE`.
    pub fn new() -> io::Result<Epoll> {
        Ok(Epoll { fd: epoll::create(epoll::CreateFlags::CLOEXEC)? })
    }

    /// Watches `fd`; its events carry `token`. A descriptor whose file is still open elsewhere, such as an
    /// eventfd that a peer holds too, must be [deleted](Self::delete) before it is closed, or its events go
    /// on.
    ///
    /// # Errors
    /// The kernel's answer to `epoll_ctl`: `EEXIST` for a descriptor that is watched already, `EPERM` for one
    /// that cannot be, `ENOSPC` at the user's limit.
    pub fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.fd, fd, epoll::EventData::new_u64(token), flags(interest))?)
    }

    /// Changes token and interest of a watched descriptor.
    ///
    /// # Errors
    /// The kernel's answer to `epoll_ctl`: `ENOENT` for a descriptor that is not watched.
    pub fn modify(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.fd, fd, epoll::EventData::new_u64(token), flags(interest))?)
    }

    /// Stops watching a descriptor.
    ///
    /// # Errors
    /// The kernel's answer to `epoll_ctl`: `ENOENT` for a descriptor that is not watched.
    pub fn delete(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.fd, fd)?)
    }

    /// Waits for events and returns how many were written to the front of `events`, 64 at most: none when the time is
    /// over or a signal came. The time is rounded up to milliseconds; `None` waits without end.
    ///
    /// # Errors
    /// The kernel's answer to `epoll_wait`: `EINVAL` when there is no room for any event.
    pub fn wait(&self, events: &mut [Event], timeout: Option<Duration>) -> io::Result<usize> {
        let mut found = [MaybeUninit::uninit(); BATCH];
        let room = found.get_mut(..events.len().min(BATCH)).unwrap_or_default();
        let timeout = timeout.map(milliseconds);
        let mut count = 0;
        let waited = epoll::wait(&self.fd, room, timeout.as_ref()).map(|(found, _)| {
            for (to, event) in events.iter_mut().zip(found) {
                *to = Event { token: event.data.u64(), flags: event.flags };
                count += 1;
            }
            count
        });
        interruptible(waited)
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Epoll> for OwnedFd {
    fn from(epoll: Epoll) -> OwnedFd {
        epoll.fd
    }
}

fn flags(interest: Interest) -> epoll::EventFlags {
    epoll::EventFlags::from_bits_retain(interest.bits())
}

/// Whole milliseconds, as many as the kernel takes. Rounded up, so that a short wait does not become a busy one.
fn milliseconds(time: Duration) -> Timespec {
    let milliseconds = i32::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX);
    Timespec { tv_sec: i64::from(milliseconds / 1000), tv_nsec: i64::from(milliseconds % 1000) * 1_000_000 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_rounded_up_and_capped() {
        let rounded = |time| {
            let Timespec { tv_sec, tv_nsec } = milliseconds(time);
            (tv_sec, tv_nsec)
        };
        assert_eq!(rounded(Duration::ZERO), (0, 0));
        assert_eq!(rounded(Duration::from_nanos(1)), (0, 1_000_000));
        assert_eq!(rounded(Duration::from_micros(1001)), (0, 2_000_000));
        assert_eq!(rounded(Duration::from_millis(2500)), (2, 500_000_000));
        assert_eq!(rounded(Duration::MAX), (2_147_483, 647_000_000));
    }
}
