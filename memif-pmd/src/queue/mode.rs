//! A receive queue's mode and the interrupt flag of its ring, which must agree in the end whoever moves first: a change of
//! mode, a receiver that wakes up, or a link that comes.
//!
//! Whoever changes the mode writes it, then the flag of the ring that it finds. The others write the flag as the mode
//! says, or make the ring known, and then look at the mode again. With a full fence between the steps on both sides one
//! sees the other, so no order of events leaves a queue in interrupt mode with its interrupts masked.

use memif_ring::shm::wake_fence;

use super::Slot;
use crate::config::RxMode;
use crate::link::{LinkRing, RxLink};

/// A ring's interrupts, as its receiver sees them.
pub(crate) trait Interrupts {
    /// Says whether the peer shall leave us in peace.
    fn mask(&self, masked: bool);
    /// Wakes whoever waits, as the peer does.
    fn ring(&self);
}

impl Interrupts for RxLink {
    fn mask(&self, masked: bool) {
        self.side.ring().mask_interrupts(masked);
    }

    fn ring(&self) {
        let _ = self.event.ring(); // a full counter wakes as well
    }
}

impl Interrupts for LinkRing {
    fn mask(&self, masked: bool) {
        self.mask_interrupts(masked);
    }

    fn ring(&self) {
        let _ = self.event.ring(); // a full counter wakes as well
    }
}

impl<L> Slot<L> {
    /// Changes the mode, at any time and on any thread. `find` gives the ring if there is a link. No wake-up is lost:
    /// whoever waits is woken once, to look.
    pub(crate) fn change_mode<'l, I: Interrupts + 'l>(
        &self,
        mode: RxMode,
        find: impl FnOnce() -> Option<&'l I>,
    ) {
        self.set_mode(mode);
        // pairs with the one in `notice_mode`
        wake_fence();
        if let Some(ring) = find() {
            ring.mask(mode != RxMode::Interrupt);
            // pairs with the sender's: it sees the flag, or whoever is woken sees its packets
            wake_fence();
            ring.ring();
        }
    }

    /// Writes the flag as the mode says. [`Slot::notice_mode`] must follow.
    pub(crate) fn apply_mode(&self, ring: &impl Interrupts) {
        ring.mask(self.mode() != RxMode::Interrupt);
    }

    /// Sees to a change of mode that came before it could find this ring, or before our write of its flag.
    pub(crate) fn notice_mode(&self, ring: &impl Interrupts) {
        // pairs with the first one in `change_mode`
        wake_fence();
        if self.mode() == RxMode::Interrupt {
            ring.mask(false);
        }
    }
}
