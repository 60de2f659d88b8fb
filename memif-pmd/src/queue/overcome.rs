//! Slaves that overrun their ring: honest ones do, when their traffic fills it (docs/protocol.md, section 4.4). The link goes
//! on without what was overwritten. It ends when overruns are more frequent than any traffic causes.

use memif_os::clock::monotonic_ns;
use memif_ring::end::Receiver as _;
use memif_ring::fault::{DropReason, PeerFault};
use memif_ring::shm::RingMemory as _;

use super::end::by_role;
use super::mailbox::Handle;
use super::overruns::Verdict;
use super::raw::Kept;
use crate::link::{End, RxLink};

impl Handle<RxLink> {
    /// The end has met `fault`: goes on behind an overrun, and ends the link otherwise.
    #[cold]
    pub(super) fn overcome(&mut self, fault: PeerFault, kept: &mut Kept) {
        kept.follow(self.epoch);
        let (Some(RxLink { end: End::Master(end), .. }), PeerFault::HeadTooFar { .. }) =
            (&mut self.link, fault)
        else {
            return self.fail(fault);
        };
        let window = (end.oldest(), end.ring().size());
        let overrun = end.resynchronise();
        kept.withdraw(overrun.withdrawn, window);
        self.tally.add_drops(DropReason::Overrun, overrun.lost.into());
        self.mailbox.counters.show(&self.tally);
        match kept.overruns.note(monotonic_ns(), self.tally.packets) {
            Verdict::Warn => self.report_overrun(),
            Verdict::GoOn => {}
            Verdict::End(fault) => self.fail(fault),
        }
    }

    /// Looks without receiving.
    pub(super) fn has_packets(&mut self, kept: &mut Kept) -> bool {
        let Some(link) = self.link() else { return false };
        match by_role!(&mut link.end, |end| end.ready(1)) {
            Ok(ready) => ready > 0,
            Err(fault) => {
                self.overcome(fault, kept);
                let Some(link) = &mut self.link else { return false };
                // what came since then: the peer notifies of what comes later
                by_role!(&mut link.end, |end| end.ready(1)).is_ok_and(|ready| ready > 0)
            }
        }
    }
}
