//! Going to sleep over receive queues without missing a packet.
//!
//! A sender publishes its index and then reads the interrupt flag; a sleeper clears the flag and then looks at the ring
//! once more. With a full fence between the two steps on both sides, one of them sees the other. The C peers have no such
//! fence, so a packet that they publish at the very moment we clear the flag may go unannounced. What they publish later
//! is announced, as by then they see the flag. So the first part of each sleep is short and ends with a look at the rings;
//! only then comes the long one.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use memif_os::event::{EventFd, poll_fds};

use super::rx::RxQueue;
use crate::error::Error;
use crate::stop::Stop;

/// How long the first part of a sleep may be: what a packet waits for that a peer without a fence did not announce.
const FIRST: Duration = Duration::from_millis(1);
/// How long a nap may be: what packets wait for when the ring that they go to has room again, as nobody announces that.
const NAP: Duration = Duration::from_millis(1);

/// Sleeps until a peer notifies us, one of `others` can be read, `doorbell` is signalled, `stop` was called, or `timeout` has
/// passed. False if it did not sleep, as there are packets.
pub(crate) fn until_woken(
    queues: &mut [&mut RxQueue],
    others: &[OwnedFd],
    doorbell: &EventFd,
    stop: Option<&Stop>,
    timeout: Option<Duration>,
) -> io::Result<bool> {
    let mut busy = false;
    for queue in queues.iter_mut() {
        busy |= queue.arm();
    }
    let outcome = if busy { Ok(()) } else { sleep(queues, others, doorbell, stop, timeout) };
    for queue in queues.iter_mut() {
        queue.disarm();
    }
    doorbell.drain().and(outcome).map(|()| !busy)
}

/// Sleeps for a millisecond at most, though there are packets: they wait for something else. What comes on queues that
/// are empty ends the nap.
pub(crate) fn nap(mut queues: Vec<&mut RxQueue>, doorbell: &EventFd, stop: &Stop) -> io::Result<bool> {
    queues.retain_mut(|queue| !queue.has_packets());
    until_woken(&mut queues, &[], doorbell, Some(stop), Some(NAP))
}

fn sleep(
    queues: &mut [&mut RxQueue],
    others: &[OwnedFd],
    doorbell: &EventFd,
    stop: Option<&Stop>,
    timeout: Option<Duration>,
) -> io::Result<()> {
    let first = timeout.map_or(FIRST, |timeout| timeout.min(FIRST));
    if poll(queues, others, doorbell, stop, Some(first))?
        || queues.iter_mut().any(|queue| queue.has_packets())
    {
        return Ok(());
    }
    let rest = timeout.map(|timeout| timeout.saturating_sub(first));
    if rest != Some(Duration::ZERO) {
        poll(queues, others, doorbell, stop, rest)?;
    }
    Ok(())
}

fn poll(
    queues: &[&mut RxQueue],
    others: &[OwnedFd],
    doorbell: &EventFd,
    stop: Option<&Stop>,
    timeout: Option<Duration>,
) -> io::Result<bool> {
    let mut fds = vec![doorbell.as_fd()];
    fds.extend(stop.map(AsFd::as_fd));
    fds.extend(queues.iter().filter_map(|queue| queue.waiting_fd()));
    fds.extend(others.iter().map(AsFd::as_fd));
    Ok(poll_fds(&fds, timeout)? > 0)
}

impl RxQueue {
    /// Waits until there are packets, the link comes or goes, or `timeout` has passed; `None` waits without limit. Sleeps
    /// in every mode; afterwards interrupts are masked again unless the mode is [`RxMode::Interrupt`]. Returns whether
    /// there is something to receive. Ctrl-C does not end it: use [`RxQueue::wait_until`].
    ///
    /// Nobody announces room in a full ring: with packets that a send had no room for, wait a millisecond at most, and send
    /// again.
    ///
    /// # Errors
    /// [`Error::OutOfDescriptors`], [`Error::System`]: the kernel refuses an eventfd, or to wait on it.
    ///
    /// [`RxMode::Interrupt`]: crate::RxMode::Interrupt
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<bool, Error> {
        self.wait_on(None, timeout)
    }

    /// Waits like [`RxQueue::wait`], and ends also when `stop` is called. If `stop` was called before, it returns at once.
    ///
    /// # Errors
    /// Those of [`RxQueue::wait`].
    pub fn wait_until(&mut self, stop: &Stop, timeout: Option<Duration>) -> Result<bool, Error> {
        self.wait_on(Some(stop), timeout)
    }

    fn wait_on(&mut self, stop: Option<&Stop>, timeout: Option<Duration>) -> Result<bool, Error> {
        let doorbell = match &self.doorbell {
            Some(doorbell) => Arc::clone(doorbell),
            None => {
                let doorbell = Arc::new(EventFd::new().map_err(Error::system("eventfd"))?);
                self.watch(&doorbell);
                doorbell
            }
        };
        until_woken(&mut [self], &[], &doorbell, stop, timeout).map_err(Error::system("poll"))?;
        Ok(self.has_packets())
    }
}
