//! Notifying the receiver at the other end of a ring.

use memif_os::event::{Notified, NotifyBudget};
use memif_ring::shm::wake_fence;

use super::end::by_role;
use super::mailbox::Mailbox;
use crate::link::TxLink;

/// Notifies the peer of a transmit queue, at a bounded price: a peer can make notifications slow.
#[derive(Debug, Default)]
pub(super) struct Notifier {
    /// The link that the rest is about.
    epoch: u64,
    budget: NotifyBudget,
    /// The control plane knows that the peer is notified rarely.
    reported: bool,
}

impl Notifier {
    /// Notifies the receiver, unless it does not want it. The fence pairs with the one of a receiver that goes to sleep:
    /// it sees the published index, or we see its flag.
    #[inline(always)]
    pub(super) fn notify(&mut self, link: &TxLink, mailbox: &Mailbox<TxLink>, epoch: u64) {
        wake_fence();
        if !by_role!(&link.end, |end| end.ring().interrupts_masked()) {
            self.signal(link, mailbox, epoch);
        }
    }

    #[cold]
    fn signal(&mut self, link: &TxLink, mailbox: &Mailbox<TxLink>, epoch: u64) {
        if self.epoch != epoch {
            *self = Self { epoch, ..Self::default() };
        }
        // a full counter wakes as well, and a broken one is the peer's loss
        let Ok(Notified::Deferred) = self.budget.notify(&link.event) else {
            return mailbox.counters.add_interrupt();
        };
        mailbox.counters.add_interrupt_deferred();
        if !std::mem::replace(&mut self.reported, true) {
            mailbox.report_slow_peer();
        }
    }
}
