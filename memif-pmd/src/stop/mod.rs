//! Telling what waits or runs to end.

mod signals;

use std::fmt;
use std::io::Write as _;
use std::iter;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use memif_os::event::{Epoll, Interest, poll_fds};

use crate::error::Error;
pub use signals::ctrl_c;

/// How long is waited at a time where the kernel refuses to wait for a descriptor.
const STEP: Duration = Duration::from_millis(10);

/// Tells workers and waiting calls to end, from any thread and once and for all. Clones are handles on the same one.
///
/// What waits ends when it is told of the `Stop`:
///
/// | what | with |
/// | --- | --- |
/// | workers | [`Workers::run_until`](crate::Workers::run_until) |
/// | a loop over a queue that sleeps | [`RxQueue::wait_until`](crate::RxQueue::wait_until) |
/// | a control plane that the program polls | [`Memif::poll_until`](crate::Memif::poll_until) |
/// | waiting for a link | [`Interface::wait_up_until`](crate::Interface::wait_up_until) |
/// | an event loop of the program | its file descriptor ([`AsFd`]): readable from the call on, for ever; do not read it |
/// | a thread with nothing else to wait for | [`Stop::wait`] |
///
/// [`ctrl_c`] gives one that signals call:
///
/// ```no_run
/// use memif_pmd::{Burst, Memif, ctrl_c};
///
/// let stop = ctrl_c()?;
/// let memif = Memif::start()?;
/// let interface = memif.interface("/run/memif.sock").open()?;
/// let (mut rx, mut burst) = (interface.rx(0)?, Burst::new(64)?);
/// while !stop.is_stopped() {
///     rx.wait_until(&stop, None)?;
///     println!("{} packets", rx.receive(&mut burst));
///     burst.clear();
/// }
/// # Ok::<(), memif_pmd::Error>(())
/// ```
#[derive(Clone)]
pub struct Stop(Arc<Inner>);

struct Inner {
    /// Set by a signal handler too.
    stopped: Arc<AtomicBool>,
    /// Readable once `stopped` is set.
    called: UnixStream,
    /// The other end of `called`.
    caller: UnixStream,
    parent: Option<Parent>,
}

struct Parent {
    stop: Stop,
    /// Readable when this one or one above it was called.
    any: Epoll,
}

impl Stop {
    /// One that nobody has called yet.
    ///
    /// # Errors
    /// [`Error::OutOfDescriptors`], [`Error::System`]: the kernel refuses descriptors.
    pub fn new() -> Result<Self, Error> {
        Self::below(|_| Ok(None))
    }

    /// One that is stopped when this one is, and can be stopped alone, which leaves this one as it is.
    ///
    /// # Errors
    /// [`Error::OutOfDescriptors`], [`Error::System`]: the kernel refuses descriptors.
    pub fn child(&self) -> Result<Self, Error> {
        Self::below(|called| {
            let any = Epoll::new().map_err(Error::system("epoll_create"))?;
            // all of them: the kernel follows few levels of one epoll in another
            for fd in iter::once(called).chain(self.line().map(|stop| &stop.0.called)) {
                any.add(fd, 0, Interest::READ).map_err(Error::system("epoll_ctl"))?;
            }
            Ok(Some(Parent { stop: self.clone(), any }))
        })
    }

    fn below(parent: impl FnOnce(&UnixStream) -> Result<Option<Parent>, Error>) -> Result<Self, Error> {
        let (called, caller) = UnixStream::pair().map_err(Error::system("socketpair"))?;
        caller.set_nonblocking(true).map_err(Error::system("fcntl"))?;
        let parent = parent(&called)?;
        Ok(Self(Arc::new(Inner { stopped: Arc::default(), called, caller, parent })))
    }

    /// Ends what follows it: workers finish the round that they are in, and waiting calls return.
    pub fn stop(&self) {
        // before its descriptor is readable
        self.0.stopped.store(true, Ordering::Release);
        let _ = (&self.0.caller).write(&[1]); // one that is full is readable as well
    }

    /// Whether it was called.
    #[inline]
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        // Acquire: pairs with the Release in `stop`; what the caller did before is seen
        self.line().any(|stop| stop.0.stopped.load(Ordering::Acquire))
    }

    /// Waits until it is called, or until `timeout` has passed; `None` waits without limit. Returns whether it was called.
    #[must_use = "it tells whether the time is over"]
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
        let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if self.is_stopped() || left == Some(Duration::ZERO) {
                return self.is_stopped();
            }
            // a signal ends the poll, which is begun anew
            if poll_fds(&[self.as_fd()], left).is_err() {
                thread::sleep(left.unwrap_or(STEP).min(STEP));
            }
        }
    }

    /// This one and those above it.
    #[inline]
    fn line(&self) -> impl Iterator<Item = &Self> {
        iter::successors(Some(self), |stop| stop.0.parent.as_ref().map(|parent| &parent.stop))
    }
}

/// Readable once it was called, and from then on. Do not read it.
impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0.parent {
            Some(parent) => parent.any.as_fd(),
            None => self.0.called.as_fd(),
        }
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stop").field("stopped", &self.is_stopped()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Option<Duration> = Some(Duration::ZERO);
    const PATIENCE: Option<Duration> = Some(Duration::from_secs(60));

    fn is_readable(stop: &Stop) -> bool {
        poll_fds(&[stop.as_fd()], NOW).unwrap() == 1
    }

    #[test]
    fn its_descriptor_becomes_and_stays_readable() {
        let stop = Stop::new().unwrap();
        assert!(!stop.is_stopped() && !is_readable(&stop) && !stop.wait(NOW));
        for _ in 0..3 {
            stop.clone().stop();
            assert!(stop.is_stopped() && is_readable(&stop) && stop.wait(None));
        }
    }

    #[test]
    fn calls_without_number_do_not_block() {
        let stop = Stop::new().unwrap();
        (0..100_000).for_each(|_| stop.stop());
        assert!(is_readable(&stop));
    }

    #[test]
    fn a_child_stops_with_its_parent_but_not_the_other_way_round() {
        let mut family = vec![Stop::new().unwrap()];
        // more levels than the kernel allows epolls in each other
        for level in 0..10 {
            family.push(family[level].child().unwrap());
        }
        let aside = family[3].child().unwrap();
        family[7].stop();
        let seen =
            |stops: &[Stop]| stops.iter().filter(|stop| stop.is_stopped() && is_readable(stop)).count();
        assert_eq!([seen(&family[..7]), seen(&family[7..])], [0, 4]);
        family[0].stop();
        assert_eq!(seen(&family), 11);
        assert!(aside.wait(None) && is_readable(&aside));
        let late = family[2].child().unwrap();
        assert!(late.is_stopped() && is_readable(&late));
    }

    #[test]
    fn a_thread_that_waits_for_a_child_is_woken_by_the_parent() {
        let stop = Stop::new().unwrap();
        let child = stop.child().unwrap();
        let waiting = thread::spawn(move || child.wait(PATIENCE));
        assert!(!stop.wait(Some(Duration::from_millis(20))));
        stop.stop();
        assert!(waiting.join().unwrap());
    }
}
