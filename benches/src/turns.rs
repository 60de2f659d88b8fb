//! Turns of an end: until a time of the clock, and through a window that is measured.

use memif_os::clock::monotonic_ns;
use memif_pmd::{RxMode, RxQueue};

use crate::error::Error;
use crate::pair::Window;
use crate::presence::Watch;
use crate::work::Found;

/// Turns between two reads of the clock; 1 where a turn may sleep.
pub(crate) const TURNS: usize = 32;

/// Turns between two reads of the clock.
pub(crate) fn turns_of(queues: &[RxQueue]) -> usize {
    if queues.iter().all(|rx| rx.mode() == RxMode::Polling) { TURNS } else { 1 }
}

/// Takes turns until a time of the clock, which is read once in `count` turns. Returns the number of packets moved.
pub(crate) fn turns(
    until: u64,
    count: usize,
    turn: &mut impl FnMut() -> Result<usize, Error>,
) -> Result<u64, Error> {
    let mut packets = 0;
    while monotonic_ns() < until {
        for _ in 0..count {
            packets += turn()? as u64;
        }
    }
    Ok(packets)
}

/// Takes turns for the warm-up and through the window.
pub(crate) fn measured(
    core: usize,
    window: Window,
    count: usize,
    turn: &mut impl FnMut() -> Result<usize, Error>,
) -> Result<Found, Error> {
    let late = monotonic_ns() > window.begin;
    turns(window.begin, count, turn)?;
    let (watch, start) = (Watch::start(core)?, monotonic_ns());
    let packets = turns(window.end, count, turn)?;
    let ns = monotonic_ns() - start;
    let presence = watch.end()?;
    // one that was not there when the window began has lost it
    let lost = if late { 1.0 } else { presence.lost };
    Ok(Found { packets, ns, lost, ran: presence.ran, latencies: None, busy_ns: 0 })
}

/// An error if the link is down or packets were dropped.
pub(crate) fn check(is_up: bool, dropped: u64) -> Result<(), Error> {
    match (is_up, dropped) {
        (true, 0) => Ok(()),
        (false, _) => Err(Error::Unfit("the link was lost while it was measured".into())),
        (true, dropped) => Err(Error::Unfit(format!("{dropped} packets were dropped while it was measured"))),
    }
}
