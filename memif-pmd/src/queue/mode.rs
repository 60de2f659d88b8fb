//! A receive queue's mode and the interrupt flag of its ring. They must agree in the end, in whatever order a change of
//! mode, a receiver that wakes up and a new link come.
//!
//! A change of mode writes the mode, then the flag of the ring if there is one. The others write the flag as the mode says,
//! or make the ring known, and then read the mode again. With a full fence between the steps on both sides one sees the
//! other, so no order of events leaves a queue in interrupt mode with its interrupts masked.

use memif_ring::shm::wake_fence;

use super::end::by_role;
use super::mailbox::Mailbox;
use crate::config::RxMode;
use crate::link::{LinkRing, RxLink};

/// A ring's interrupts, as its receiver sees them.
pub(crate) trait Interrupts {
    /// Sets or clears MASK_INT: with it the peer need not notify.
    fn mask(&self, masked: bool);
    /// Wakes a receiver that sleeps, as the peer does. False, and nothing done, where that could wait for the peer.
    fn wake(&self) -> bool;
}

impl Interrupts for RxLink {
    fn mask(&self, masked: bool) {
        by_role!(&self.end, |end| end.ring().mask_interrupts(masked));
    }

    fn wake(&self) -> bool {
        // a full counter wakes as well, and a broken one is the peer's loss
        self.event.try_notify().unwrap_or(true)
    }
}

impl Interrupts for LinkRing {
    fn mask(&self, masked: bool) {
        self.mask_interrupts(masked);
    }

    fn wake(&self) -> bool {
        // a full counter wakes as well, and a broken one is the peer's loss
        self.event.try_notify().unwrap_or(true)
    }
}

impl<L> Mailbox<L> {
    /// Changes the mode, at any time and on any thread. `find` gives the ring if there is a link. No wake-up is lost: a
    /// receiver that sleeps is woken once, by the ring's eventfd, or by the handle's doorbell where the eventfd, which is the
    /// peer's too, cannot be written to without waiting.
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
            // pairs with the sender's: it sees the flag, or the receiver that is woken sees its packets
            wake_fence();
            if !ring.wake() {
                self.ring_doorbell();
            }
        }
    }

    /// Writes the flag as the mode says, and returns that mode. [`Mailbox::notice_mode`] must follow, unless the mode is
    /// seen to be the same behind a full fence.
    pub(crate) fn apply_mode(&self, ring: &impl Interrupts) -> RxMode {
        let mode = self.mode();
        ring.mask(mode != RxMode::Interrupt);
        mode
    }

    /// Applies a change of mode that came before it could find this ring, or before our write of its flag.
    pub(crate) fn notice_mode(&self, ring: &impl Interrupts) {
        // pairs with the first one in `change_mode`
        wake_fence();
        if self.mode() == RxMode::Interrupt {
            ring.mask(false);
        }
    }
}
