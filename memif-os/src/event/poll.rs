//! Waiting for a few descriptors, without registering them.

use std::array;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

/// Descriptors that [`poll_fds`] handles without allocating.
pub(super) const INLINE_FDS: usize = 64;

/// Waits until one of `fds` is readable or broken and returns how many are: none when the time is over or a
/// signal came. `None` waits without end. Up to 64 descriptors it does not allocate.
///
/// # Errors
/// The kernel's answer to `ppoll`: `EINVAL` for more descriptors than the process may have.
pub fn poll_fds(fds: &[BorrowedFd<'_>], timeout: Option<Duration>) -> io::Result<usize> {
    match fds.first() {
        None => poll(&mut [], timeout),
        Some(first) if fds.len() <= INLINE_FDS => {
            let mut entries: [_; INLINE_FDS] = array::from_fn(|i| readable(fds.get(i).unwrap_or(first)));
            poll(entries.get_mut(..fds.len()).unwrap_or_default(), timeout)
        }
        Some(_) => poll(&mut fds.iter().map(readable).collect::<Vec<_>>(), timeout),
    }
}

fn readable<'a>(fd: &BorrowedFd<'a>) -> PollFd<'a> {
    PollFd::from_borrowed_fd(*fd, PollFlags::IN)
}

/// Whether a descriptor is ready for one of `events`, or broken, before the time is over or a signal comes.
pub(super) fn is_ready(fd: BorrowedFd<'_>, events: PollFlags, timeout: Option<Duration>) -> io::Result<bool> {
    Ok(poll(&mut [PollFd::from_borrowed_fd(fd, events)], timeout)? != 0)
}

fn poll(fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> io::Result<usize> {
    interruptible(rustix::event::poll(fds, timeout.map(timespec).as_ref()))
}

/// A count, or 0 when a signal came: the caller looks around and waits again.
pub(super) fn interruptible(result: rustix::io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(Errno::INTR) => Ok(0),
        result => Ok(result?),
    }
}

/// The time as the kernel takes it; a longer one than it has room for becomes its longest.
pub(super) fn timespec(time: Duration) -> Timespec {
    Timespec::try_from(time).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 })
}
