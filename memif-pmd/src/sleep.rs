//! Going to sleep over receive queues without missing a packet.
//!
//! A sender publishes its index and then reads the interrupt flag; a sleeper clears the flag and then looks at the ring
//! once more. With a full fence between the two steps on both sides, one of them sees the other. The C peers have no
//! such fence, so a packet that they publish at the very moment we clear the flag can go unannounced. What they publish
//! later cannot, as by then the flag is clear for all to see. So the first part of each sleep is short, ends with a look
//! at the rings, and only then comes the long one.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use memif_os::event::{EventFd, poll_fds};
use std::os::fd::AsFd;

use crate::queue::RxQueue;

/// How long the first part of a sleep may be: what a packet waits for that a peer without a fence did not announce.
const FIRST: Duration = Duration::from_millis(1);

/// Sleeps until a peer or `doorbell` rings, packets are there already, or `timeout` has passed.
pub(crate) fn until_woken(
    queues: &mut [&mut RxQueue],
    doorbell: &Arc<EventFd>,
    timeout: Option<Duration>,
) -> io::Result<()> {
    let mut busy = false;
    for queue in queues.iter_mut() {
        busy |= queue.arm();
    }
    let outcome = if busy { Ok(()) } else { sleep(queues, doorbell, timeout) };
    for queue in queues.iter_mut() {
        queue.disarm();
    }
    doorbell.drain().and(outcome)
}

fn sleep(queues: &mut [&mut RxQueue], doorbell: &EventFd, timeout: Option<Duration>) -> io::Result<()> {
    let first = timeout.map_or(FIRST, |timeout| timeout.min(FIRST));
    if poll(queues, doorbell, Some(first))? || queues.iter_mut().any(|queue| queue.has_packets()) {
        return Ok(());
    }
    let rest = timeout.map(|timeout| timeout.saturating_sub(first));
    if rest != Some(Duration::ZERO) {
        poll(queues, doorbell, rest)?;
    }
    Ok(())
}

fn poll(queues: &[&mut RxQueue], doorbell: &EventFd, timeout: Option<Duration>) -> io::Result<bool> {
    let mut fds = vec![doorbell.as_fd()];
    fds.extend(queues.iter().filter_map(|queue| queue.waiting_fd()));
    Ok(poll_fds(&fds, timeout)? > 0)
}
