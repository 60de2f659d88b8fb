//! What a receiver does while there are no packets.

use std::hint;
use std::time::Duration;

use memif_pmd::{RxMode, RxQueue};

use crate::error::Error;

/// Turns without a packet before an adaptive receiver sleeps; half a millisecond, as in the documentation of `Idle::Sleep`.
const SPIN: u32 = 10_000;
/// Maximum sleep of a receiver.
pub(crate) const NAP: Duration = Duration::from_millis(100);

/// Counts consecutive turns without a packet.
#[derive(Debug, Default)]
pub(crate) struct Idle {
    /// Number of consecutive turns without a packet so far.
    pub(crate) turns: u32,
}

impl Idle {
    /// After a turn without a packet: continues, sleeps, or sleeps after several such turns, as the mode says. For one queue.
    #[inline]
    pub(crate) fn after(&mut self, received: usize, queues: &mut [RxQueue]) -> Result<(), Error> {
        if received > 0 {
            self.turns = 0;
            return Ok(());
        }
        let [rx] = queues else { return Ok(()) };
        self.turns = self.turns.saturating_add(1);
        match rx.mode() {
            RxMode::Polling => hint::spin_loop(),
            RxMode::Adaptive if self.turns < SPIN => hint::spin_loop(),
            RxMode::Interrupt | RxMode::Adaptive => {
                rx.wait(Some(NAP))?;
            }
        }
        Ok(())
    }
}
