//! The receive queue of programs that keep received buffers.

use std::sync::Arc;

use memif_ring::end::Receiver as _;
use memif_ring::shm::{RingMemory as _, wake_fence};

use super::kept::Kept;
use super::take::{Context, Limit, take};
use super::{LinkMemory, SlotBuffer, Taken};
use crate::config::RxMode;
use crate::link::RxLink;
use crate::queue::end::by_role;
use crate::queue::mailbox::{Handle, Parts};

/// A receive queue whose buffers stay with the program: [`RxQueue::raw`](crate::RxQueue::raw) gives it, and
/// [the module's page](crate::raw) says how to use it.
#[derive(Debug)]
pub struct RawRx<'q> {
    pub(super) handle: &'q mut Handle<RxLink>,
    pub(super) kept: &'q mut Kept,
}

impl<'q> RawRx<'q> {
    #[inline(always)]
    pub(in crate::queue) fn new(handle: &'q mut Handle<RxLink>, kept: &'q mut Kept) -> Self {
        Self { handle, kept }
    }
}

impl RawRx<'_> {
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

    /// Takes up to `max` buffers with received packets: `visit` gets each one with its number in this call, from 0. They
    /// are the program's until [`RawRx::post`].
    ///
    /// Packets of several buffers are taken whole, or left for the next call; one of more than `max` buffers comes in
    /// parts, over several calls. Invalid packets, those of more than 65535 bytes or 1024 buffers among them, are dropped
    /// and counted, and no buffer of them is visited.
    ///
    /// Packet bytes are not touched. A program that reads them soon can ask for them in `visit`
    /// ([`Span::prefetch_to_read`](crate::Span::prefetch_to_read)).
    #[inline]
    pub fn take(&mut self, max: usize, visit: impl FnMut(usize, SlotBuffer<'_>)) -> Taken {
        self.take_within(Limit { buffers: max, packets: usize::MAX }, visit)
    }

    /// Like [`RawRx::take`], for up to `max` packets of any number of buffers.
    #[inline]
    pub fn take_packets(&mut self, max: usize, visit: impl FnMut(usize, SlotBuffer<'_>)) -> Taken {
        self.take_within(Limit { buffers: usize::MAX, packets: max }, visit)
    }

    #[inline(always)]
    fn take_within(&mut self, limit: Limit, visit: impl FnMut(usize, SlotBuffer<'_>)) -> Taken {
        if self.handle.link().is_none() {
            return Taken::default();
        }
        self.kept.follow(self.handle.epoch);
        let Some(Parts { link, tally, counters }) = self.handle.parts() else { return Taken::default() };
        let taken = by_role!(&mut link.end, |end| {
            let window = (end.oldest(), end.ring().size());
            let limit = Limit { buffers: limit.buffers.min(self.kept.room(end.held(), window.1)), ..limit };
            let mut context = Context { regions: &link.link.regions, tally, kept: self.kept, window };
            take(end, &mut context, limit, visit)
        });
        match taken {
            Ok(taken) => {
                counters.show(tally);
                // a peer that waits for slots may be all that there is to wait for
                if self.kept.owed > 0 && (taken.buffers == 0 || self.mode() == RxMode::Interrupt) {
                    self.post_owed();
                }
                taken
            }
            Err(fault) => {
                self.handle.overcome(fault, self.kept);
                Taken::default()
            }
        }
    }

    /// Returns the first `slots` of the program's slots to the peer, or all where there are fewer, and says how many
    /// slots went back: those of dropped packets among them and right behind go as well. A slave posts each buffer without
    /// its first `headroom` bytes, which the peer then may not write to; for a master it has no meaning. 0 while there is
    /// no link.
    pub fn post(&mut self, slots: u16, headroom: u16) -> u16 {
        if self.handle.link().is_none() {
            return 0;
        }
        self.kept.follow(self.handle.epoch);
        let Some(link) = self.handle.link() else { return 0 };
        let withdrawn = self.kept.pay(slots);
        let posted = by_role!(&mut link.end, |end| {
            let slots = self.kept.pass(slots - withdrawn, end.held(), (end.oldest(), end.ring().size()));
            end.post(slots, headroom)
        });
        withdrawn + posted
    }

    /// Like [`RawRx::post`], for programs that post a few slots at a time: unless the mode is [`RxMode::Interrupt`] the slots
    /// are returned in lots of a quarter ring, or when nothing is left to take. Each return costs the peer a cache miss.
    /// Says how many slots the program has given away by this call: never more than it has.
    #[inline]
    pub fn post_in_lots(&mut self, slots: u16, headroom: u16) -> u16 {
        if self.handle.link().is_none() {
            return 0;
        }
        self.kept.follow(self.handle.epoch);
        if self.kept.owed > 0 && self.kept.headroom != headroom {
            self.post_owed();
        }
        let Some(link) = self.handle.link() else { return 0 };
        let (held, window) = by_role!(&link.end, |end| (end.held(), (end.oldest(), end.ring().size())));
        let withdrawn = self.kept.pay(slots);
        let done = (slots - withdrawn).min(self.kept.in_use(held, window));
        self.kept.headroom = headroom;
        self.kept.owed += done;
        if self.kept.owed > window.1 / 4 || self.mode() == RxMode::Interrupt {
            self.post_owed();
        }
        withdrawn + done
    }

    pub(super) fn post_owed(&mut self) {
        let (owed, headroom) = (std::mem::take(&mut self.kept.owed), self.kept.headroom);
        self.post(owed, headroom);
    }

    /// Slots that [`RawRx::post`] can return: those taken, and those of dropped packets; of a slave also those that were
    /// never posted.
    pub fn held(&mut self) -> u16 {
        if self.handle.link().is_none() {
            return 0;
        }
        self.kept.follow(self.handle.epoch);
        let Some(link) = self.handle.link() else { return 0 };
        by_role!(&link.end, |end| end.held()) + self.kept.withdrawn
    }

    /// Slots that the program has to return: held, without those of dropped packets, which return by themselves.
    pub fn to_return(&mut self) -> u16 {
        if self.handle.link().is_none() {
            return 0;
        }
        self.kept.follow(self.handle.epoch);
        let Some(link) = self.handle.link() else { return 0 };
        let (held, window) = by_role!(&link.end, |end| (end.held(), (end.oldest(), end.ring().size())));
        self.kept.in_use(held, window) + self.kept.withdrawn
    }

    /// How many held slots come before the one of this index; `None` if it is not held.
    pub fn position_of(&mut self, index: u16) -> Option<u16> {
        self.handle.link()?;
        self.kept.follow(self.handle.epoch);
        if self.kept.owed > 0 {
            self.post_owed();
        }
        let link = self.handle.link()?;
        let (held, oldest) = by_role!(&link.end, |end| (end.held(), end.oldest()));
        let before = index.wrapping_sub(oldest);
        (before < held).then_some(before + self.kept.withdrawn)
    }

    /// When all packets were taken: makes the eventfd unreadable, unless more packets have come meanwhile; no notification
    /// is lost. Costs a system call in [`RxMode::Interrupt`], and one more after the mode was changed.
    #[inline]
    pub fn settle_event(&mut self) {
        let polls = self.mode() != RxMode::Interrupt;
        if polls && self.kept.quiet || self.handle.link().is_none() {
            return;
        }
        self.kept.follow(self.handle.epoch);
        self.kept.quiet = polls;
        let Some(link) = &self.handle.link else { return };
        let _ = link.event.drain(); // nothing to drain is fine
        wake_fence(); // pairs with the sender's, between its index and its notification
        if !polls
            && self.handle.has_packets(self.kept)
            && let Some(link) = &self.handle.link
        {
            // a full counter is readable already, and a peer that makes this slow wakes us itself
            let _ = self.kept.budget.notify(&link.event);
        }
    }

    fn mode(&self) -> RxMode {
        self.handle.mailbox.mode()
    }
}
