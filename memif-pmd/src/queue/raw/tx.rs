//! The transmit queue of programs that keep free buffers.

use std::sync::Arc;

use memif_ring::end::Sender as _;

use super::fill::{claim, publish};
use super::{Filled, LinkMemory, SlotBuffer};
use crate::link::TxLink;
use crate::queue::end::by_role;
use crate::queue::mailbox::{Handle, Parts};
use crate::queue::notifier::Notifier;

/// The claimed buffers of a transmit queue: so many, from the first free slot.
#[derive(Debug, Default)]
pub(in crate::queue) struct Claims {
    /// The link whose buffers these are.
    epoch: u64,
    pub(super) count: u16,
    /// Buffers that are being published and whose descriptors are not written yet.
    waiting: Vec<Filled>,
}

/// A transmit queue whose free buffers stay with the program: [`TxQueue::raw`](crate::TxQueue::raw) gives it, and
/// [the module's page](crate::raw) says how to use it.
#[derive(Debug)]
pub struct RawTx<'q> {
    pub(super) handle: &'q mut Handle<TxLink>,
    pub(super) claims: &'q mut Claims,
    notifier: &'q mut Notifier,
}

impl<'q> RawTx<'q> {
    #[inline(always)]
    pub(in crate::queue) fn new(
        handle: &'q mut Handle<TxLink>,
        claims: &'q mut Claims,
        notifier: &'q mut Notifier,
    ) -> Self {
        Self { handle, claims, notifier }
    }
}

impl RawTx<'_> {
    /// A number that changes with each link; `None` while there is none. Buffers of another link must not be used.
    #[inline]
    pub fn epoch(&mut self) -> Option<u64> {
        let up = self.handle.link().is_some();
        up.then_some(self.handle.epoch)
    }

    /// The memory of the present link; `None` while there is none.
    pub fn memory(&mut self) -> Option<LinkMemory> {
        self.handle.link().map(|link| LinkMemory(Arc::clone(&link.link)))
    }

    /// Number of claimed buffers; 0 on a new link.
    #[inline(always)]
    pub fn claimed(&mut self) -> u16 {
        if self.handle.link().is_none() || self.claims.epoch != self.handle.epoch {
            self.claims.epoch = self.handle.epoch;
            self.claims.count = 0;
        }
        self.claims.count
    }

    /// Number of buffers that [`RawTx::claim`] can give, at least `wanted` if there are so many.
    #[inline]
    pub fn claimable(&mut self, wanted: usize) -> u16 {
        let claimed = self.claimed();
        let Some(link) = self.handle.link() else { return 0 };
        let free = by_role!(&mut link.end, |end| end.free(wanted.saturating_add(claimed.into())));
        link.show_layout();
        match free {
            Ok(free) => free.saturating_sub(claimed),
            Err(fault) => {
                self.handle.fail(fault);
                0
            }
        }
    }

    /// Claims up to `max` free buffers behind those claimed before: `visit` gets each one with its number in this call,
    /// from 0. Returns how many. They are the program's until [`RawTx::publish`] or [`RawTx::unclaim`].
    #[inline]
    pub fn claim(&mut self, max: usize, visit: impl FnMut(usize, SlotBuffer<'_>)) -> usize {
        let free = self.claimable(max);
        let limit = (self.claims.count, max.min(free.into()));
        let Some(Parts { link, tally, counters }) = self.handle.parts() else { return 0 };
        let dropped = tally.dropped();
        let number = by_role!(&mut link.end, |end| claim(end, &link.link.regions, limit, tally, visit));
        if tally.dropped() != dropped {
            counters.show(tally);
        }
        self.claims.count += number;
        number.into()
    }

    /// How many claimed buffers come before the one of slot `index`; `None` if it is not claimed.
    pub fn position_of(&mut self, index: u16) -> Option<u16> {
        let claimed = self.claimed();
        let link = self.handle.link()?;
        let before = index.wrapping_sub(by_role!(&link.end, |end| end.position()));
        (before < claimed).then_some(before)
    }

    /// Gives claimed buffers back unused, all but the first `keep`.
    pub fn unclaim(&mut self, keep: u16) {
        self.claims.count = self.claimed().min(keep);
    }

    /// Sends the first `max` claimed buffers; returns how many. `describe` gets each one with its number in this call and
    /// says what it was filled with. Ends before a buffer for which it says `None`, or more than the buffer holds, or a
    /// `start` other than 0 on a master; packets are sent whole or not at all.
    #[inline]
    pub fn publish(
        &mut self,
        max: usize,
        describe: impl FnMut(usize, SlotBuffer<'_>) -> Option<Filled>,
    ) -> usize {
        let count = max.min(self.claimed().into());
        let Handle { link: Some(link), tally, mailbox, epoch, .. } = &mut *self.handle else { return 0 };
        let regions = &link.link.regions;
        let waiting = &mut self.claims.waiting;
        let sent = by_role!(&mut link.end, |end| publish(end, regions, count, (tally, waiting), describe));
        if sent > 0 {
            self.claims.count -= sent;
            self.notifier.notify(link, mailbox, *epoch);
            mailbox.counters.show(tally);
        }
        sent.into()
    }
}
