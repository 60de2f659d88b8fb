//! Zero-copy forwarding: packets that a slave receives on one link are sent on another by exchanging the buffers of two
//! slots.
//!
//! The slave has the buffers of both links in one memory. The buffer of a received packet goes to a free slot of the
//! sending ring; the buffer of that slot goes to the receiving ring and is posted there. Each buffer is in exactly one
//! slot of one ring at any time, whatever the peers do: addresses are exchanged between our own tables, after one
//! snapshot of the received descriptor was checked against them.
//!
//! The bytes are not private: both masters map the memory. A master that keeps writing to a buffer after publishing it
//! changes a packet that the other master receives. Memory safety does not depend on it.

use heapless::Vec;

use crate::buffers::{BufferAddr, BufferTable};
use crate::burst::{Tally, packet_bytes, walk_chain};
use crate::cursor::distance;
use crate::end::Receiver;
use crate::fault::DropReason;
use crate::head_side::{HeadReceiver, HeadSender, resolve_posted};
use crate::layout::{Desc, DescFlags, MAX_SEGMENTS};
use crate::region::RegionMap;
use crate::shm::RingMemory;

/// What [`forward`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// Packets forwarded.
    pub packets: usize,
    /// Descriptors consumed, including those of dropped packets.
    pub consumed: u16,
    /// A packet did not fit into the sending ring, and stays in the receiving one.
    pub full: bool,
}

/// Moves up to `max` whole packets from the descriptors known to be ready to the slots known to be free, and publishes
/// them. Call [`Receiver::ready`] and [`HeadSender::room`] before. Invalid packets are dropped and counted in
/// `received`, as by [`Receiver::receive`]; a packet of more descriptors than the sending ring has slots is dropped
/// and counted in `sent`. Descriptors without bytes are left out of a packet.
///
/// Both rings have their buffers in the same memory, which has the same region index on both links. Does nothing if the
/// capacities of the buffers differ, or a table is shorter than its ring.
#[inline(always)]
pub fn forward<R: RingMemory, T: BufferTable, S: RingMemory, U: BufferTable>(
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

/// Exchanges the buffers of a receiver's held slot and a sender's free slot, numbers `held` and `free`, counted from 0, on the
/// terms of [`forward`]. Returns false, and does nothing, if there are no such slots or these terms are not met.
pub fn swap_buffers<R: RingMemory, T: BufferTable, S: RingMemory, U: BufferTable>(
    from: &mut HeadReceiver<R, T>,
    held: u16,
    to: &mut HeadSender<S, U>,
    free: u16,
) -> bool {
    let ours = held < from.held() && free < to.known_free() && exchangeable(from, to);
    if ours {
        swap(from, from.head.wrapping_add(held), to, to.head.wrapping_add(free));
    }
    ours
}

/// Exchanges the buffers of two held slots: number `held` of `one`, and number `other_held` of `other`, counted from 0. Returns
/// false, and does nothing, if there are no such slots or the two receivers have buffers of different sizes.
pub fn swap_held<R: RingMemory, T: BufferTable>(
    one: &mut HeadReceiver<R, T>,
    held: u16,
    other: &mut HeadReceiver<R, T>,
    other_held: u16,
) -> bool {
    let (mask, other_mask) = (one.ring.mask(), other.ring.mask());
    let (index, other_index) = (one.head.wrapping_add(held), other.head.wrapping_add(other_held));
    held < one.held()
        && other_held < other.held()
        && one.buffers.capacity() == other.buffers.capacity()
        && swap_addresses(one.buffers.addr_mut(index, mask), other.buffers.addr_mut(other_index, other_mask))
}

/// Exchanges the buffers of two free slots: number `free` of `one`, and number `other_free` of `other`, counted from 0. Returns
/// false, and does nothing, if there are no such slots or the two senders have buffers of different sizes.
pub fn swap_free<R: RingMemory, T: BufferTable>(
    one: &mut HeadSender<R, T>,
    free: u16,
    other: &mut HeadSender<R, T>,
    other_free: u16,
) -> bool {
    let (mask, other_mask) = (one.ring.mask(), other.ring.mask());
    let (index, other_index) = (one.head.wrapping_add(free), other.head.wrapping_add(other_free));
    free < one.known_free()
        && other_free < other.known_free()
        && one.buffers.capacity() == other.buffers.capacity()
        && swap_addresses(one.buffers.addr_mut(index, mask), other.buffers.addr_mut(other_index, other_mask))
}

/// Whether every slot of both rings has a buffer, and any can take the place of another.
#[inline(always)]
fn exchangeable<R: RingMemory, T: BufferTable, S: RingMemory, U: BufferTable>(
    from: &HeadReceiver<R, T>,
    to: &HeadSender<S, U>,
) -> bool {
    from.buffers.capacity() == to.buffers.capacity()
        && from.buffers.covers(from.ring.mask())
        && to.buffers.covers(to.ring.mask())
}

/// Exchanges the buffers of two slots, given by their indices; both tables cover their rings.
#[inline(always)]
fn swap<R: RingMemory, T: BufferTable, S: RingMemory, U: BufferTable>(
    from: &mut HeadReceiver<R, T>,
    index: u16,
    to: &mut HeadSender<S, U>,
    to_index: u16,
) {
    let (mask, to_mask) = (from.ring.mask(), to.ring.mask());
    swap_addresses(from.buffers.addr_mut(index, mask), to.buffers.addr_mut(to_index, to_mask));
}

#[inline(always)]
fn swap_addresses(one: Option<&mut BufferAddr>, other: Option<&mut BufferAddr>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => {
            core::mem::swap(one, other);
            true
        }
        _ => false,
    }
}

/// A burst in progress. The receiver's `next` moves with each packet; the sender's `head` is published at the end.
struct Lane<'a, R, T, S, U> {
    from: &'a mut HeadReceiver<R, T>,
    to: &'a mut HeadSender<S, U>,
    regions: &'a RegionMap,
    /// The next free slot; `until` is the end of the free slots.
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

impl<R: RingMemory, T: BufferTable, S: RingMemory, U: BufferTable> Lane<'_, R, T, S, U> {
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
            Err(reason) => self.drop_one(reason),
        }
    }

    /// The check of a receiver: a descriptor that passes names the buffer that our table has for the slot.
    #[inline(always)]
    fn check(&self, index: u16, desc: &Desc) -> Result<(), DropReason> {
        resolve_posted(self.from.buffers.view(self.from.ring.mask()), self.regions, index, desc).map(drop)
    }

    #[cold]
    fn drop_one(&mut self, reason: DropReason) -> Step {
        self.from.next = self.from.next.wrapping_add(1);
        Step::Broken(reason)
    }

    /// One descriptor that was checked, and for which there is a free slot.
    #[inline(always)]
    fn hand_over(&mut self, desc: &Desc) {
        swap(self.from, self.from.next, self.to, self.head);
        self.to.ring.set_desc(self.head, Desc { flags: desc.flags & DescFlags::NEXT, metadata: 0, ..*desc });
        self.head = self.head.wrapping_add(1);
        self.from.next = self.from.next.wrapping_add(1);
    }

    /// A packet of several descriptors: forwarded, left in the ring, or dropped, always whole.
    #[inline(never)]
    fn step_chain(&mut self, first: Desc) -> Step {
        let mut pieces: Vec<Desc, MAX_SEGMENTS> = Vec::new();
        let (end, walked) =
            walk_chain(&self.from.ring, self.from.next, self.from.tail, first, |index, desc| {
                self.check(index, desc)?;
                pieces.push(*desc).map_err(|_| DropReason::ChainTooLong)
            });
        let bytes = pieces.iter().map(|piece| piece.length as usize).sum();
        if let Err(reason) = walked.and_then(|()| packet_bytes(bytes)) {
            self.from.next = end;
            return Step::Broken(reason);
        }
        // the peer of `to` shall not have to deal with descriptors without bytes
        let mut filled = pieces.iter().filter(|piece| piece.length > 0).count();
        if filled > usize::from(self.to.ring.size()) {
            self.from.next = end;
            return Step::TooLarge { bytes };
        }
        if filled > usize::from(distance(self.until, self.head)) {
            return Step::Full;
        }
        for piece in &pieces {
            if piece.length == 0 {
                self.from.next = self.from.next.wrapping_add(1);
                continue;
            }
            filled -= 1;
            self.hand_over(&Desc { flags: DescFlags::next_if(filled > 0), ..*piece });
        }
        Step::Moved { bytes }
    }
}
