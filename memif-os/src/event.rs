//! Waiting: eventfds (a ring's interrupts), timerfds, epoll, and poll for a sleeping worker.
//!
//! An eventfd is shared with the peer, who may write, read and reconfigure it at any time: it may fill the
//! counter, empty it, and take our non-blocking mode away, which belongs to the shared file and not to our
//! descriptor. So nothing here relies on that mode where a peer is involved. Reading asks the kernel not to wait, call
//! by call; for writing, [`EventFd::ring`] goes another way than `write`.

// These facilities of the kernel have no wrapper in std.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ffi::{c_int, c_short};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::ops::BitOr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

mod ringer;

use ringer::Ringer;

/// Descriptors that [`poll_fds`] handles without allocating.
const INLINE_FDS: usize = 64;

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
    file: File,
}

impl EventFd {
    /// A new eventfd, its counter 0, non-blocking and close-on-exec.
    ///
    /// # Errors
    /// The kernel's answer to `eventfd`, such as `EMFILE`.
    pub fn new() -> io::Result<EventFd> {
        // SAFETY: eventfd takes no pointer, and makes a descriptor or returns -1.
        let fd = unsafe { owned(libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)) }?;
        Ok(EventFd { file: fd.into() })
    }

    /// Takes the descriptor that a peer sent with ADD_RING, if it is an eventfd.
    ///
    /// # Errors
    /// [`EventError`] when it is anything else, or when that cannot be found out.
    pub fn from_peer(fd: OwnedFd) -> Result<EventFd, EventError> {
        let raw = fd.as_raw_fd();
        let unknown = |error| EventError::Unknown { fd: raw, error };
        let found = fs::read_link(format!("/proc/self/fd/{raw}")).map_err(unknown)?;
        if found.as_os_str() != "anon_inode:[eventfd]" {
            return Err(EventError::NotAnEventFd { found: found.display().to_string() });
        }
        Ok(EventFd { file: fd.into() })
    }

    /// Whether a read takes the whole counter. That of a semaphore (`EFD_SEMAPHORE`) takes 1, so it stays readable for
    /// as long as its maker likes, at no cost to him. For a descriptor that a peer sent and should not read: whoever
    /// reads it at this moment may be told that it is a semaphore. Leaves the counter at 0.
    ///
    /// Kernels before 6.5 do not tell what an eventfd was made as, so it is tried.
    ///
    /// # Errors
    /// The kernel's answer, as of [`EventFd::ring`] and [`EventFd::drain`].
    pub fn empties_at_once(&self) -> io::Result<bool> {
        self.ring()?;
        self.ring()?;
        // no semaphore gives more than 1, whatever anybody does to it meanwhile
        Ok(self.drain()?.is_some_and(|count| count > 1))
    }

    /// Adds 1 to the counter of an eventfd that no peer has. A counter that is full has not been read yet, and that is a
    /// success too.
    ///
    /// # Errors
    /// The kernel's answer to `write`.
    pub fn signal(&self) -> io::Result<()> {
        match (&self.file).write(&1u64.to_ne_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }

    /// As [`EventFd::signal`], for an eventfd that a peer has too: does not wait whatever the peer does to it.
    ///
    /// Where asynchronous I/O is not to be had (a sandbox may forbid it), the counter's room is looked at before it is
    /// written to: then a peer that fills it in between, having made the descriptor blocking, can hold up the caller
    /// until somebody reads the counter.
    ///
    /// # Errors
    /// The kernel's answer to `io_submit`, or to `poll` and `write`.
    pub fn ring(&self) -> io::Result<()> {
        thread_local! {
            static RINGER: RefCell<Option<Ringer>> = RefCell::new(Ringer::new().ok());
        }
        // a thread that is ending has no ringer any more
        let rung =
            RINGER.try_with(|ringer| ringer.borrow_mut().as_mut().map(|ringer| ringer.ring(self.as_fd())));
        match rung {
            Ok(Some(result)) => result,
            Ok(None) | Err(_) => match self.ready(libc::POLLOUT, Some(Duration::ZERO))? {
                true => self.signal(),
                false => Ok(()),
            },
        }
    }

    /// Takes the counter back to 0 and returns what it was; `None` when it was 0.
    ///
    /// # Errors
    /// The kernel's answer to `preadv2`.
    pub fn drain(&self) -> io::Result<Option<u64>> {
        let mut count = [0; size_of::<u64>()];
        match self.read_nowait(&mut count) {
            Ok(_) => Ok(Some(u64::from_ne_bytes(count))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits until the counter is not 0: true; or until the time is over or a signal came: false. `None` waits
    /// without end.
    ///
    /// # Errors
    /// The kernel's answer to `poll`.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
        self.ready(libc::POLLIN, timeout)
    }

    fn ready(&self, events: c_short, timeout: Option<Duration>) -> io::Result<bool> {
        let mut fd = libc::pollfd { fd: self.file.as_raw_fd(), events, revents: 0 };
        Ok(poll(std::slice::from_mut(&mut fd), timeout)? != 0)
    }

    fn read_nowait(&self, buf: &mut [u8; 8]) -> io::Result<usize> {
        let iov = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
        // SAFETY: `iov` points to `buf`, both outlive the call, and the kernel writes at most its length.
        let result = unsafe { libc::preadv2(self.file.as_raw_fd(), &raw const iov, 1, -1, libc::RWF_NOWAIT) };
        match io::Error::last_os_error() {
            _ if result >= 0 => Ok(buf.len()),
            // Kernels before 5.7.
            error if error.raw_os_error() == Some(libc::EOPNOTSUPP) => self.read_if_ready(buf),
            error => Err(error),
        }
    }

    fn read_if_ready(&self, buf: &mut [u8; 8]) -> io::Result<usize> {
        if self.ready(libc::POLLIN, Some(Duration::ZERO))? {
            (&self.file).read(buf)
        } else {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A timer on `CLOCK_MONOTONIC` that can be polled; disarmed at first.
#[derive(Debug)]
pub struct TimerFd {
    file: File,
}

impl TimerFd {
    /// A new timer, disarmed, non-blocking and close-on-exec.
    ///
    /// # Errors
    /// The kernel's answer to `timerfd_create`, such as `EMFILE`.
    pub fn new() -> io::Result<TimerFd> {
        let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
        // SAFETY: timerfd_create takes no pointer, and makes a descriptor or returns -1.
        let fd = unsafe { owned(libc::timerfd_create(libc::CLOCK_MONOTONIC, flags)) }?;
        Ok(TimerFd { file: fd.into() })
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
        match (&self.file).read(&mut count) {
            Ok(_) => Ok(Some(u64::from_ne_bytes(count))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn arm(&self, after: Option<Duration>, period: Option<Duration>) -> io::Result<()> {
        // Zero disarms a timer, so "now" is one nanosecond from now.
        let time = |d: Option<Duration>| d.map_or(Duration::ZERO, |d| d.max(Duration::from_nanos(1)));
        let spec = libc::itimerspec { it_value: timespec(time(after)), it_interval: timespec(time(period)) };
        // SAFETY: `spec` outlives the call and is only read; null says that the old setting is not wanted.
        let result =
            unsafe { libc::timerfd_settime(self.file.as_raw_fd(), 0, &raw const spec, ptr::null_mut()) };
        check(result).map(drop)
    }
}

impl AsFd for TimerFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// What a descriptor is watched for: [`READ`](Self::READ), [`WRITE`](Self::WRITE), [`EDGE`](Self::EDGE),
/// joined by `|`. Errors and hang-ups are always reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interest(u32);

impl Interest {
    /// Something can be read, or the peer has closed.
    pub const READ: Interest = Interest(libc::EPOLLIN.cast_unsigned());
    /// Something can be written.
    pub const WRITE: Interest = Interest(libc::EPOLLOUT.cast_unsigned());
    /// Report changes only, not what stays as it is.
    pub const EDGE: Interest = Interest(libc::EPOLLET.cast_unsigned());
}

impl BitOr for Interest {
    type Output = Interest;

    fn bitor(self, other: Interest) -> Interest {
        Interest(self.0 | other.0)
    }
}

/// What [`Epoll::wait`] reports of one descriptor.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Event(libc::epoll_event);

impl Event {
    /// An event of nothing, to fill the array for [`Epoll::wait`].
    pub const NONE: Event = Event(libc::epoll_event { events: 0, u64: 0 });

    /// The token that the descriptor was added with.
    #[must_use]
    pub fn token(&self) -> u64 {
        self.0.u64
    }

    /// Something can be read, which includes the end of file and an error.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.has(libc::EPOLLIN | libc::EPOLLHUP | libc::EPOLLERR)
    }

    /// Something can be written, or writing will tell the error.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.has(libc::EPOLLOUT | libc::EPOLLERR)
    }

    /// The peer has closed the connection; messages may still be there to be read.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.has(libc::EPOLLHUP)
    }

    fn has(&self, bits: c_int) -> bool {
        self.0.events & bits.cast_unsigned() != 0
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.0.events;
        write!(f, "Event {{ token: {}, events: {bits:#x} }}", self.token())
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
        // SAFETY: epoll_create1 takes no pointer, and makes a descriptor or returns -1.
        let fd = unsafe { owned(libc::epoll_create1(libc::EPOLL_CLOEXEC)) }?;
        Ok(Epoll { fd })
    }

    /// Watches `fd`; its events carry `token`. A descriptor whose file is still open elsewhere, such as an
    /// eventfd that a peer holds too, must be [deleted](Self::delete) before it is closed, or its events go
    /// on.
    ///
    /// # Errors
    /// The kernel's answer to `epoll_ctl`: `EEXIST` for a descriptor that is watched already, `EPERM` for one
    /// that cannot be, `ENOSPC` at the user's limit.
    pub fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd.as_fd(), token, interest)
    }

    /// Changes token and interest of a watched descriptor.
    ///
    /// # Errors
    /// The kernel's answer to `epoll_ctl`: `ENOENT` for a descriptor that is not watched.
    pub fn modify(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd.as_fd(), token, interest)
    }

    /// Stops watching a descriptor.
    ///
    /// # Errors
    /// The kernel's answer to `epoll_ctl`: `ENOENT` for a descriptor that is not watched.
    pub fn delete(&self, fd: impl AsFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd.as_fd(), 0, Interest(0))
    }

    /// Waits for events and returns how many were written to the front of `events`: none when the time is
    /// over or a signal came. The time is rounded up to milliseconds; `None` waits without end.
    ///
    /// # Errors
    /// The kernel's answer to `epoll_wait`: `EINVAL` when `events` is empty.
    pub fn wait(&self, events: &mut [Event], timeout: Option<Duration>) -> io::Result<usize> {
        let room = c_int::try_from(events.len()).unwrap_or(c_int::MAX);
        let to = events.as_mut_ptr().cast();
        // SAFETY: `Event` is a transparent epoll_event, and the kernel writes at most `room` of them to
        // `events`.
        interruptible(unsafe { libc::epoll_wait(self.fd.as_raw_fd(), to, room, milliseconds(timeout)) })
    }

    fn control(&self, what: c_int, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest.0, u64: token };
        // SAFETY: `event` outlives the call, which reads it only.
        check(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), what, fd.as_raw_fd(), &raw mut event) }).map(drop)
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Waits until one of `fds` is readable or broken and returns how many are: none when the time is over or a
/// signal came. `None` waits without end. Up to 64 descriptors it does not allocate.
///
/// # Errors
/// The kernel's answer to `ppoll`: `EINVAL` for more descriptors than the process may have.
pub fn poll_fds(fds: &[BorrowedFd<'_>], timeout: Option<Duration>) -> io::Result<usize> {
    let entry = |fd: &BorrowedFd<'_>| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut inline = [libc::pollfd { fd: -1, events: 0, revents: 0 }; INLINE_FDS];
    match inline.get_mut(..fds.len()) {
        Some(entries) => {
            for (to, fd) in entries.iter_mut().zip(fds) {
                *to = entry(fd);
            }
            poll(entries, timeout)
        }
        None => poll(&mut fds.iter().map(entry).collect::<Vec<_>>(), timeout),
    }
}

fn poll(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<usize> {
    let count = fds.len() as libc::nfds_t;
    let time = timeout.map(timespec);
    let time = time.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: `fds` has `count` entries; `time` is null or outlives the call; a null mask leaves signals as
    // they are.
    interruptible(unsafe { libc::ppoll(fds.as_mut_ptr(), count, time, ptr::null()) })
}

/// A count, or 0 when a signal came: the caller looks around and waits again.
fn interruptible(result: c_int) -> io::Result<usize> {
    match check(result) {
        Ok(count) => Ok(usize::try_from(count).unwrap_or(0)),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        Err(error) => Err(error),
    }
}

/// Rounded up, so that a short wait does not become a busy one; -1 is without end.
fn milliseconds(timeout: Option<Duration>) -> c_int {
    timeout.map_or(-1, |t| c_int::try_from(t.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX))
}

fn timespec(time: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: time.subsec_nanos().into(),
    }
}

/// # Safety
/// `fd` is what a system call that makes a descriptor has just returned, -1 included.
unsafe fn owned(fd: c_int) -> io::Result<OwnedFd> {
    // SAFETY: not negative, so the call has made this descriptor and nobody else knows it.
    check(fd).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests;
