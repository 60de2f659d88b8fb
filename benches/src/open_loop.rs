//! One-way latency under load, free of coordinated omission.
//!
//! The generator has a timetable that does not depend on the link. Each packet carries the time at which it was due, not
//! the time at which it was sent: when the link or the generator itself is late, every packet that had to wait shows it.

use memif_os::clock::monotonic_ns;
use memif_pmd::{Burst, Interface};

use crate::arrivals::{Arrivals, GAPS};
use crate::error::Error;
use crate::histogram;
use crate::idle::Idle;
use crate::pair::Window;
use crate::turns::{check, measured, turns_of};
use crate::work::{Found, SMALLEST};

/// Packets that the generator sends at once at most.
const BURST: usize = 64;
/// Picoseconds of a nanosecond. At ten million packets per second, rounding gaps to nanoseconds would change the rate.
const PS: u64 = 1000;

/// When packets are due, without an end.
struct Timetable {
    gaps: Vec<u64>,
    at: usize,
    /// When the next one is due, in picoseconds.
    due: u64,
}

impl Timetable {
    /// The time of a packet that is due at `now`, in nanoseconds.
    #[inline]
    fn pass(&mut self, now: u64) -> Option<u64> {
        let due = self.due / PS;
        if due > now {
            return None;
        }
        self.due += self.gaps.get(self.at).copied().unwrap_or_default();
        self.at = (self.at + 1) % GAPS;
        Some(due)
    }
}

/// A turn of the generator: sends what is due.
///
/// # Errors
/// The queue or the burst cannot be made.
pub(crate) fn generator(
    interface: &Interface,
    mpps: f64,
    arrivals: Arrivals,
) -> Result<impl FnMut() -> Result<usize, Error>, Error> {
    let (mut tx, mut packets) = (interface.tx(0)?, Burst::new(BURST)?);
    let mut timetable = Timetable { gaps: arrivals.gaps(mpps), at: 0, due: monotonic_ns() * PS };
    Ok(move || {
        let now = monotonic_ns();
        while packets.len() < BURST {
            let Some(due) = timetable.pass(now) else { break };
            let Ok(packet) = packets.reserve(SMALLEST) else { break };
            if let Some(stamp) = packet.first_chunk_mut() {
                *stamp = due.to_le_bytes();
            }
        }
        let sent = tx.send(&mut packets);
        if sent == 0 {
            check(tx.is_up(), 0)?;
        }
        Ok(sent)
    })
}

/// Receives packets of a [`generator`] through the window.
///
/// # Errors
/// The queue cannot be used, the link was lost, or packets were dropped.
pub(crate) fn clock(
    interface: &Interface,
    core: usize,
    window: Window,
    burst: usize,
) -> Result<Found, Error> {
    let mut queues = [interface.rx(0)?];
    let mut packets = Burst::new(burst)?;
    let mut latencies = histogram::new()?;
    let mut idle = Idle::default();
    let count = turns_of(&queues);
    let mut turn = || {
        let received = queues.iter_mut().map(|rx| rx.receive(&mut packets)).sum();
        if received > 0 {
            let now = monotonic_ns();
            // also those that were due before the window: whoever is late shows it
            if now >= window.begin {
                let dues = packets.iter().filter_map(|packet| packet.first_chunk());
                let waits = dues.map(|due| now.saturating_sub(u64::from_le_bytes(*due)));
                waits.for_each(|ns| latencies.saturating_record(ns));
            }
            packets.clear();
        }
        idle.after(received, &mut queues)?;
        Ok(received)
    };
    let mut found = measured(core, window, count, &mut turn)?;
    for rx in &mut queues {
        check(rx.is_up(), rx.stats().dropped())?;
    }
    found.latencies = Some(histogram::quantiles(&latencies, &histogram::CURVE));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrivals::TOGETHER;

    #[test]
    fn every_timetable_has_its_rate() {
        for arrivals in [Arrivals::Constant, Arrivals::Poisson, Arrivals::Bursts] {
            for mpps in [0.1, 1.0, 10.0] {
                let sum: u64 = arrivals.gaps(mpps).iter().sum();
                let rate = GAPS as f64 * 1e6 / sum as f64;
                assert!((rate / mpps - 1.0).abs() < 0.02, "{arrivals:?} {mpps}: {rate}");
            }
        }
    }

    #[test]
    fn bursts_are_due_together() {
        let gaps = Arrivals::Bursts.gaps(1.0);
        assert_eq!(gaps.iter().filter(|gap| **gap > 0).count(), GAPS / TOGETHER);
    }

    #[test]
    fn a_late_generator_does_not_move_the_timetable() {
        let mut timetable = Timetable { gaps: vec![10 * PS; GAPS], at: 0, due: 100 * PS };
        assert_eq!(timetable.pass(99), None);
        let passed: Vec<_> = std::iter::from_fn(|| timetable.pass(125)).collect();
        assert_eq!(passed, [100, 110, 120]);
        assert_eq!(timetable.pass(1000), Some(130));
    }
}
