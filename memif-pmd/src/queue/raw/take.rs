//! The loop over received slots that stay in the program's hands.

use memif_ring::burst::Tally;
use memif_ring::end::Receiver;
use memif_ring::fault::PeerFault;
use memif_ring::layout::{MAX_PACKET_SIZE, MAX_SEGMENTS};
use memif_ring::region::{Buffer, RegionMap};
use memif_ring::tuning::FETCH_BURSTS;

use super::kept::{Kept, Part};
use super::{SlotBuffer, Taken};
use crate::queue::end::check_packet;
use crate::queue::lend;

/// The most that a call may take.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    pub(super) buffers: usize,
    pub(super) packets: usize,
}

/// What a call works with.
pub(super) struct Context<'a> {
    pub(super) regions: &'a RegionMap,
    pub(super) tally: &'a mut Tally,
    pub(super) kept: &'a mut Kept,
    /// First held slot when the call began, and size of the ring.
    pub(super) window: (u16, u16),
}

/// How far a call has come: slots that it has looked at, and buffers that it has taken.
#[derive(Clone, Copy)]
struct Progress {
    ahead: u16,
    buffers: usize,
}

/// Takes buffers as [`RawRx::take`](super::RawRx::take) says. Packets of one valid buffer are the loop; all others are
/// apart.
#[inline(always)]
pub(super) fn take(
    end: &mut impl Receiver,
    context: &mut Context<'_>,
    limit: Limit,
    mut visit: impl FnMut(usize, SlotBuffer<'_>),
) -> Result<Taken, PeerFault> {
    // one more than asked for, to know whether there is more
    let ready = end.ready(limit.buffers.min(limit.packets).saturating_add(1))?;
    // the next call's are on their way while the program works on these
    end.fetch(limit.buffers.min(limit.packets).saturating_mul(FETCH_BURSTS));
    let mut at = Progress { ahead: 0, buffers: 0 };
    let mut packets_left = limit.packets;
    let mut in_part = context.kept.part.pieces > 0;
    loop {
        let most = usize::from(ready - at.ahead).min(limit.buffers - at.buffers).min(packets_left);
        let moved = if in_part { 0 } else { take_run(end, context, at, most, &mut visit) };
        at.ahead += moved;
        at.buffers += usize::from(moved);
        packets_left -= usize::from(moved);
        if usize::from(moved) == most {
            break;
        }
        in_part = false;
        let Some(slots) = take_other(end, context, at, limit.buffers, &mut visit) else { break };
        at.ahead += slots.consumed;
        at.buffers += usize::from(slots.taken);
        packets_left -= usize::from(slots.taken > 0);
    }
    end.release(at.ahead);
    Ok(Taken { buffers: at.buffers, more: ready > at.ahead })
}

/// The hot loop: up to `most` packets of one valid buffer, up to the first that is not. Returns how many.
#[inline(always)]
fn take_run(
    end: &mut impl Receiver,
    context: &mut Context<'_>,
    from: Progress,
    most: usize,
    visit: &mut impl FnMut(usize, SlotBuffer<'_>),
) -> u16 {
    let first = end.position();
    let (mut moved, mut bytes) = (0, 0);
    while usize::from(moved) < most
        && let Some(Ok(Buffer { desc, span })) = end.piece(context.regions, from.ahead + moved)
        && !desc.has_next()
        && matches!(span.len(), 1..=MAX_PACKET_SIZE)
    {
        bytes += span.len() as u64;
        let index = first.wrapping_add(from.ahead + moved);
        visit(from.buffers + usize::from(moved), SlotBuffer { index, span, next: false });
        moved += 1;
    }
    context.tally.packets += u64::from(moved);
    context.tally.bytes += bytes;
    moved
}

/// What became of one packet that [`take_run`] did not take.
struct Slots {
    consumed: u16,
    /// How many of those are the program's.
    taken: u16,
}

/// One packet at which [`take_run`] ended: of several buffers, invalid, or the rest of one that comes in parts. `None` when
/// it has to wait for the next call.
#[inline(never)]
fn take_other(
    end: &mut impl Receiver,
    context: &mut Context<'_>,
    at: Progress,
    max: usize,
    visit: &mut impl FnMut(usize, SlotBuffer<'_>),
) -> Option<Slots> {
    let first = end.position().wrapping_add(at.ahead);
    let room = max - at.buffers;
    let (pieces, mut bytes) = (&mut context.kept.pieces, 0);
    pieces.clear();
    let (slots, verdict) = end.peek(context.regions, at.ahead, |Buffer { desc, span }| {
        bytes += span.len();
        if pieces.len() < MAX_SEGMENTS {
            pieces.push(desc);
        }
    });
    let part = std::mem::take(&mut context.kept.part);
    let part = if part.next == first { part } else { Part::default() };
    // judged as a whole, in whatever parts it comes, before the program sees any of it
    let whole = (part.pieces + usize::from(slots), part.bytes + bytes);
    if let Err(reason) = verdict.and_then(|()| check_packet(whole.0, whole.1)) {
        context.kept.skip(first, slots, context.window);
        context.tally.count_drop(reason);
        return Some(Slots { consumed: slots, taken: 0 });
    }
    if usize::from(slots) > room && at.buffers > 0 {
        return None;
    }
    let bytes = part.bytes + show(context, at.buffers, first, room, visit);
    if usize::from(slots) <= room {
        context.tally.count(bytes);
        return Some(Slots { consumed: slots, taken: slots });
    }
    // of more buffers than the program takes in all
    let taken = u16::try_from(room).unwrap_or(u16::MAX);
    let (next, pieces) = (first.wrapping_add(taken), part.pieces + usize::from(taken));
    context.kept.part = Part { next, pieces, bytes };
    Some(Slots { consumed: taken, taken })
}

/// Shows the program the first `room` pieces of the packet that was judged; returns their bytes.
fn show(
    context: &Context<'_>,
    number: usize,
    first: u16,
    room: usize,
    visit: &mut impl FnMut(usize, SlotBuffer<'_>),
) -> usize {
    let mut bytes = 0;
    for (ahead, desc) in (0u16..).zip(context.kept.pieces.iter().take(room)) {
        let Some(span) = lend::ready(context.regions, desc) else { break };
        bytes += span.len();
        let index = first.wrapping_add(ahead);
        visit(number + usize::from(ahead), SlotBuffer { index, span, next: desc.has_next() });
    }
    bytes
}
