//! The loop that sends: from private memory into a ring.
//!
//! Both ends of a ring share it. They differ in where the bytes of a slot are: [`SendSlots`] says so.

use heapless::Vec;

use crate::burst::{Tally, packet_bytes};
use crate::cursor::distance;
use crate::fault::DropReason;
use crate::layout::{DescFlags, MAX_PACKET_SIZE, MAX_SEGMENTS};
use crate::shm::SpanMut;
use crate::tuning::SEND_STEP;

/// Why a slot gives no bytes.
pub(crate) enum NoBytes {
    /// The slot is free, but the bytes are not.
    Full,
    /// They are not in their region.
    Unusable(DropReason),
}

impl From<DropReason> for NoBytes {
    #[inline(always)]
    fn from(reason: DropReason) -> Self {
        Self::Unusable(reason)
    }
}

/// The slots of a sender, in the memory of a link that lives for `'m`.
pub(crate) trait SendSlots<'m>: Sized {
    /// Where the next packet goes, if that does not depend on its slot alone.
    type Place: Copy;

    /// The first pass of a burst: copies packets that fit into one buffer, up to the first that does not, or to the slot
    /// `until`. Returns where the next packet goes, and that packet.
    fn fill<'p>(
        &mut self,
        from: At<Self::Place>,
        until: u16,
        packets: &mut (impl Iterator<Item = &'p [u8]> + Clone),
    ) -> (At<Self::Place>, Option<&'p [u8]>);

    /// The second pass: writes the descriptor of the slot at `index`, whose packet of `length` bytes [`SendSlots::fill`]
    /// has copied.
    fn describe(&mut self, index: u16, length: usize);

    /// Bytes for `len` bytes of a packet in the slot at `index`: fewer than `len` if they do not fit into one buffer. Moves
    /// `place` behind them.
    fn bytes(&self, place: &mut Self::Place, index: u16, len: usize) -> Result<SpanMut<'m>, NoBytes>;

    /// Writes the descriptor of the slot at `index`: `length` bytes, which [`SendSlots::bytes`] gave for the same `place`,
    /// are filled. Moves `place` behind them.
    fn complete(&mut self, place: &mut Self::Place, index: u16, flags: DescFlags, length: usize);

    /// The bytes of the slot before `until` are unusable, and its packet is dropped: gives back the slots `from..until`.
    /// Returns the index of the next slot to use.
    fn give_up(&mut self, place: &mut Self::Place, from: u16, until: u16) -> u16;
}

/// Where a sender is: the next free slot, and where its packet goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<P> {
    pub(crate) index: u16,
    pub(crate) place: P,
}

/// The free slots of a ring up to `until`, and the ring's size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) until: u16,
    pub(crate) size: u16,
}

/// What became of one packet that [`fill_run`] did not copy.
enum Outcome {
    Sent,
    RingFull,
    Dropped(DropReason),
}

/// Copies packets into free slots from `at` on, and moves it. Returns how many of `packets` were sent or dropped. The rest
/// did not fit.
///
/// Stores leave a processor in order, and a store to a shared line waits for the other core: the length of that queue
/// bounds the packets in flight. Stores to one line that follow one another leave together. So the first pass stores packet
/// bytes and nothing else, no counter and no spilled register; the descriptors follow in a pass of their own, four to a
/// line. With all of it in one loop, and a private counter, small packets went at a third of the speed.
#[inline(always)]
pub(crate) fn send_burst<'m, 'p, O: SendSlots<'m>>(
    slots: &mut O,
    at: &mut At<O::Place>,
    room: Room,
    mut packets: impl Iterator<Item = &'p [u8]> + Clone,
    tally: &mut Tally,
) -> usize {
    let mut done = 0;
    loop {
        let run = packets.clone();
        let (next, other) = slots.fill(*at, room.until, &mut packets);
        let sent = distance(next.index, at.index);
        let bytes = describe_run(slots, at.index, next.index, run);
        *at = next;
        tally.count_run(sent, bytes);
        done += usize::from(sent);
        let Some(packet) = other else { break };
        match send_other(slots, at, room, packet) {
            Outcome::Sent => tally.count(packet.len()),
            Outcome::RingFull => break,
            Outcome::Dropped(reason) => tally.count_drop(reason),
        }
        done += 1;
    }
    done
}

/// Writes the descriptors of the packets that [`SendSlots::fill`] copied, from `index` to `until`. Returns their bytes.
#[inline(always)]
fn describe_run<'m, 'p, O: SendSlots<'m>>(
    slots: &mut O,
    mut index: u16,
    until: u16,
    mut packets: impl Iterator<Item = &'p [u8]>,
) -> u64 {
    let mut bytes = 0;
    while index != until {
        let length = packets.next().map_or(0, <[u8]>::len);
        slots.describe(index, length);
        bytes += length as u64;
        index = index.wrapping_add(1);
    }
    bytes
}

/// [`SendSlots::fill`] for slots of which each has its buffer: `bytes` finds it, and `fetch` asks for the lines that a packet
/// some slots behind will be written to.
#[inline(always)]
pub(crate) fn fill_run<'m, 'p>(
    mut index: u16,
    until: u16,
    packets: &mut impl Iterator<Item = &'p [u8]>,
    bytes: impl Fn(u16) -> Result<SpanMut<'m>, DropReason>,
    fetch: impl Fn(u16, usize),
) -> (u16, Option<&'p [u8]>) {
    for packet in packets {
        if index == until {
            return (index, Some(packet));
        }
        fetch(index, packet.len());
        match bytes(index) {
            Ok(mut span) if fits(packet, &span) => {
                span.copy_from(packet);
            }
            _ => return (index, Some(packet)),
        }
        index = index.wrapping_add(1);
    }
    (index, None)
}

/// Works like [`fill_run`], but takes a few packets at a time: looks at their slots and prefetches the lines of their bytes, then
/// copies the bytes. For slots whose buffers are found in shared memory: [`fill_run`] would have to look at each twice.
#[inline(always)]
pub(crate) fn fill_steps<'m, 'p>(
    mut index: u16,
    until: u16,
    packets: &mut (impl Iterator<Item = &'p [u8]> + Clone),
    bytes: impl Fn(u16) -> Result<SpanMut<'m>, DropReason>,
) -> (u16, Option<&'p [u8]>) {
    loop {
        let mut spans = look_ahead(&mut index, until, packets.clone(), &bytes);
        for (span, packet) in spans.iter_mut().zip(&mut *packets) {
            span.copy_from(packet);
        }
        if !spans.is_full() {
            return (index, packets.next());
        }
    }
}

/// The bytes of the next slots, whose lines are asked for: at most a step of them, up to the first whose packet does not
/// fit.
#[inline(always)]
fn look_ahead<'m, 'p>(
    index: &mut u16,
    until: u16,
    packets: impl Iterator<Item = &'p [u8]>,
    bytes: &impl Fn(u16) -> Result<SpanMut<'m>, DropReason>,
) -> Vec<SpanMut<'m>, SEND_STEP> {
    let mut spans = Vec::new();
    for packet in packets.take(SEND_STEP) {
        if *index == until {
            break;
        }
        match bytes(*index) {
            Ok(span) if fits(packet, &span) => {
                span.prefetch_to_write(packet.len());
                let _ = spans.push(span); // is not full
            }
            _ => break,
        }
        *index = index.wrapping_add(1);
    }
    spans
}

/// Whether a packet is one of a valid length that goes into one buffer.
#[inline(always)]
fn fits(packet: &[u8], buffer: &SpanMut<'_>) -> bool {
    !packet.is_empty() && packet.len() <= buffer.len().min(MAX_PACKET_SIZE)
}

/// One packet at which [`SendSlots::fill`] ended: of no valid length, of several buffers, or without room.
#[inline(never)]
fn send_other<'m, O: SendSlots<'m>>(
    slots: &mut O,
    at: &mut At<O::Place>,
    room: Room,
    packet: &[u8],
) -> Outcome {
    if let Err(reason) = packet_bytes(packet.len()) {
        return Outcome::Dropped(reason);
    }
    let mut spans = Vec::new();
    match reserve_chain(slots, at, room, packet.len(), &mut spans) {
        Err(outcome) => outcome,
        Ok(()) => {
            fill_chain(slots, at, &mut spans, packet);
            Outcome::Sent
        }
    }
}

/// Collects as many buffers as `len` bytes need, from `at` on; moves `at` if there is an unusable one.
fn reserve_chain<'m, O: SendSlots<'m>>(
    slots: &mut O,
    at: &mut At<O::Place>,
    room: Room,
    len: usize,
    spans: &mut Vec<SpanMut<'m>, MAX_SEGMENTS>,
) -> Result<(), Outcome> {
    let At { index: mut next, mut place } = *at;
    let mut rest = len;
    while rest > 0 {
        let whole_ring = distance(next, at.index) == room.size;
        if spans.is_full() || whole_ring {
            return Err(Outcome::Dropped(DropReason::TooLarge));
        }
        if next == room.until {
            return Err(Outcome::RingFull);
        }
        let found = slots.bytes(&mut place, next, rest);
        next = next.wrapping_add(1);
        let reason = match found {
            Ok(span) if !span.is_empty() => {
                rest = rest.saturating_sub(span.len());
                let _ = spans.push(span); // is not full
                continue;
            }
            Err(NoBytes::Full) => return Err(Outcome::RingFull),
            Err(NoBytes::Unusable(reason)) => reason,
            Ok(_) => DropReason::OutOfRegion,
        };
        at.index = slots.give_up(&mut at.place, at.index, next);
        return Err(Outcome::Dropped(reason));
    }
    Ok(())
}

fn fill_chain<'m, O: SendSlots<'m>>(
    slots: &mut O,
    at: &mut At<O::Place>,
    spans: &mut [SpanMut<'m>],
    packet: &[u8],
) {
    let mut rest = packet;
    for span in spans {
        let len = span.copy_from(rest);
        rest = rest.get(len..).unwrap_or_default();
        slots.complete(&mut at.place, at.index, DescFlags::next_if(!rest.is_empty()), len);
        at.index = at.index.wrapping_add(1);
    }
}

/// Writes empty descriptors to the slots `from..until`, for ends whose slots have buffers: an unusable one goes back with
/// those before it, as slots are used in order. Returns `until`.
#[cold]
pub(crate) fn return_empty<'m, O: SendSlots<'m>>(
    slots: &mut O,
    place: &mut O::Place,
    from: u16,
    until: u16,
) -> u16 {
    let mut index = from;
    while index != until {
        slots.complete(place, index, DescFlags::empty(), 0);
        index = index.wrapping_add(1);
    }
    index
}
