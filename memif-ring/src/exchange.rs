//! From ring to ring without touching a byte: packets that a slave receives on one link go out on another by exchanging
//! the buffers of two slots.
//!
//! The slave of both links has all their buffers in one memory. A received packet's buffer takes the place of a free one
//! in the sending ring, and that one is posted where the packet came from. So each buffer is in exactly one slot of
//! one ring at any time, whatever either peer does: the places that are exchanged come from our own tables, and a
//! received descriptor is checked against them before, by one snapshot.
//!
//! The payload may not be private: both masters map the memory. One that goes on writing to a buffer after it gave it back
//! changes the packet under the other's eyes; memory safety does not depend on it.

use heapless::Vec;

use crate::burst::{Tally, gather, packet_bytes};
use crate::cursor::distance;
use crate::fault::DropReason;
use crate::head_side::{HeadReceiver, HeadSender, resolve_posted};
use crate::layout::{DESC_FLAG_NEXT, Desc, MAX_SEGMENTS};
use crate::places::PlaceTable;
use crate::region::RegionMap;
use crate::shm::RingMemory;

/// What a burst from ring to ring has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// Packets that went over.
    pub packets: usize,
    /// Descriptors consumed, those of dropped packets among them.
    pub consumed: u16,
    /// A packet was left where it is, as it did not fit.
    pub full: bool,
}

/// Moves up to `max` whole packets from those known to be ready to the slots known to be free, and publishes them; ask
/// [`HeadReceiver::ready`] and [`HeadSender::room`] before. Broken packets are dropped and counted in `received`, as
/// [`HeadReceiver::receive`] does; those of more pieces than the sending ring has slots in `sent`.
///
/// Both rings have their buffers in the same memory, known to both links by the same region indices, and of one
/// capacity. Nothing is done where the capacities differ or a table is shorter than its ring.
#[inline(always)]
pub fn forward<R: RingMemory, T: PlaceTable, S: RingMemory, U: PlaceTable>(
    from: &mut HeadReceiver<R, T>,
    to: &mut HeadSender<S, U>,
    regions: &RegionMap,
    max: usize,
    received: &mut Tally,
    sent: &mut Tally,
) -> Forwarded {
    if !exchangeable(from, to) {
        return Forwarded::default();
    }
    let start = from.next;
    let until = to.head.wrapping_add(to.known_free());
    let mut lane = Lane { head: to.head, until, from, to, regions };
    let mut done = Forwarded::default();
    while done.packets < max && lane.from.next != lane.from.tail {
        match lane.step() {
            Step::Moved { bytes } => {
                received.count(bytes);
                sent.count(bytes);
                done.packets += 1;
            }
            Step::Full => {
                done.full = true;
                break;
            }
            Step::Broken(reason) => received.count_drop(reason),
            Step::TooLarge { bytes } => {
                received.count(bytes);
                sent.count_drop(DropReason::TooLarge);
            }
        }
    }
    let head = lane.head;
    to.publish(head);
    to.short = done.full;
    done.consumed = distance(from.next, start);
    from.repost(done.consumed == 0);
    done
}

/// Exchanges the buffers of a receiver's `waiting`-th slot that waits to be posted and a sender's `free`-th free slot,
/// on the terms of [`forward`]. False, and nothing is done, unless there are such slots.
pub fn swap_buffers<R: RingMemory, T: PlaceTable, S: RingMemory, U: PlaceTable>(
    from: &mut HeadReceiver<R, T>,
    waiting: u16,
    to: &mut HeadSender<S, U>,
    free: u16,
) -> bool {
    let ours = waiting < from.unposted() && free < to.known_free() && exchangeable(from, to);
    if ours {
        swap(from, from.head.wrapping_add(waiting), to, to.head.wrapping_add(free));
    }
    ours
}

/// Whether every slot of both rings has a buffer, and any can take another's place.
#[inline(always)]
fn exchangeable<R: RingMemory, T: PlaceTable, S: RingMemory, U: PlaceTable>(
    from: &HeadReceiver<R, T>,
    to: &HeadSender<S, U>,
) -> bool {
    from.buffers.capacity() == to.buffers.capacity()
        && from.buffers.covers(from.ring.mask())
        && to.buffers.covers(to.ring.mask())
}

/// Exchanges two places; both tables cover their rings.
#[inline(always)]
fn swap<R: RingMemory, T: PlaceTable, S: RingMemory, U: PlaceTable>(
    from: &mut HeadReceiver<R, T>,
    next: u16,
    to: &mut HeadSender<S, U>,
    head: u16,
) {
    let (mask, to_mask) = (from.ring.mask(), to.ring.mask());
    if let (Some(one), Some(other)) =
        (from.buffers.place_mut(next, mask), to.buffers.place_mut(head, to_mask))
    {
        core::mem::swap(one, other);
    }
}

/// A burst under way. The receiver's `next` moves as it goes, the sender's head is published at its end.
struct Lane<'a, R, T, S, U> {
    from: &'a mut HeadReceiver<R, T>,
    to: &'a mut HeadSender<S, U>,
    regions: &'a RegionMap,
    /// The next free slot, and the end of the free ones.
    head: u16,
    until: u16,
}

/// What became of one packet.
enum Step {
    Moved { bytes: usize },
    Full,
    Broken(DropReason),
    TooLarge { bytes: usize },
}

impl<R: RingMemory, T: PlaceTable, S: RingMemory, U: PlaceTable> Lane<'_, R, T, S, U> {
    #[inline(always)]
    fn step(&mut self) -> Step {
        let index = self.from.next;
        let desc = self.from.ring.desc(index);
        if desc.has_next() {
            return self.step_chain(desc);
        }
        match self.check(index, &desc).and_then(|()| packet_bytes(desc.length as usize)) {
            Ok(_) if self.head == self.until => Step::Full,
            Ok(bytes) => {
                self.hand_over(&desc);
                Step::Moved { bytes }
            }
            Err(reason) => self.pass_by(reason),
        }
    }

    /// As a receiver checks it; what passes names exactly the buffer that our table has for the slot.
    #[inline(always)]
    fn check(&self, index: u16, desc: &Desc) -> Result<(), DropReason> {
        resolve_posted(self.from.buffers.view(self.from.ring.mask()), self.regions, index, desc).map(drop)
    }

    #[cold]
    fn pass_by(&mut self, reason: DropReason) -> Step {
        self.from.next = self.from.next.wrapping_add(1);
        Step::Broken(reason)
    }

    /// One piece, checked and with a slot to go to.
    #[inline(always)]
    fn hand_over(&mut self, desc: &Desc) {
        swap(self.from, self.from.next, self.to, self.head);
        self.to.ring.set_desc(self.head, Desc { flags: desc.flags & DESC_FLAG_NEXT, metadata: 0, ..*desc });
        self.head = self.head.wrapping_add(1);
        self.from.next = self.from.next.wrapping_add(1);
    }

    /// A packet of several pieces: goes over whole, or stays, or is dropped whole.
    #[inline(never)]
    fn step_chain(&mut self, first: Desc) -> Step {
        let mut pieces: Vec<Desc, MAX_SEGMENTS> = Vec::new();
        let (end, gathered) =
            gather(&self.from.ring, self.from.next, self.from.tail, first, |index, desc| {
                self.check(index, desc)?;
                pieces.push(*desc).map_err(|_| DropReason::ChainTooLong)
            });
        let bytes = pieces.iter().map(|piece| piece.length as usize).sum();
        if let Err(reason) = gathered.and_then(|()| packet_bytes(bytes)) {
            self.from.next = end;
            return Step::Broken(reason);
        }
        if pieces.len() > usize::from(self.to.ring.size()) {
            self.from.next = end;
            return Step::TooLarge { bytes };
        }
        if pieces.len() > usize::from(distance(self.until, self.head)) {
            return Step::Full;
        }
        for piece in &pieces {
            self.hand_over(piece);
        }
        Step::Moved { bytes }
    }
}
