//! The loops over free slots that stay in the program's hands.

use memif_ring::burst::Tally;
use memif_ring::end::Sender;
use memif_ring::layout::DescFlags;
use memif_ring::region::{Buffer, RegionMap};

use super::{Filled, SlotBuffer};

/// Hands out up to `max` free buffers behind the `claimed` ones; returns how many. Slots are used in order: an unusable
/// buffer waits until it is the first one, and is then sent as an empty descriptor.
#[inline(always)]
pub(super) fn claim(
    end: &mut impl Sender,
    regions: &RegionMap,
    (claimed, max): (u16, usize),
    tally: &mut Tally,
    mut visit: impl FnMut(usize, SlotBuffer<'_>),
) -> u16 {
    let mut number = 0u16;
    for _ in 0..max {
        let index = end.position().wrapping_add(claimed + number);
        match end.buffer(regions, claimed + number) {
            Some(Ok(Buffer { span, .. })) => {
                span.prefetch_to_write(1);
                visit(number.into(), SlotBuffer { index, span, next: false });
                number += 1;
            }
            None => break,
            Some(Err(_)) if claimed + number > 0 => break,
            Some(Err(reason)) => {
                end.complete(0, DescFlags::empty(), 0, 0);
                end.commit(1);
                tally.count_drop(reason);
            }
        }
    }
    number
}

/// Sends claimed buffers as [`RawTx::publish`](super::RawTx::publish) says; returns how many.
///
/// `waiting` holds what is not written to descriptors yet; the queue keeps it for its memory. A master must not write the
/// descriptors of a packet before it has all of them: the length that it writes is in the place of the buffer's. It writes all
/// descriptors in a second pass, as stores to shared lines leave the processor together if no private stores lie between
/// them: on Zen 4 C programs send 49 instead of 44 Mpps. A slave is no faster with a second pass, so it writes the descriptors
/// of each packet as soon as it has them.
#[inline(always)]
pub(super) fn publish<E: Sender>(
    end: &mut E,
    regions: &RegionMap,
    count: usize,
    (tally, waiting): (&mut Tally, &mut Vec<Filled>),
    mut describe: impl FnMut(usize, SlotBuffer<'_>) -> Option<Filled>,
) -> u16 {
    let first = end.position();
    let (mut sent, mut bytes, mut sent_bytes, mut packets) = (0, 0u64, 0u64, 0u64);
    waiting.clear();
    #[expect(clippy::cast_possible_truncation, reason = "at most as many as are claimed")]
    for ahead in 0..count as u16 {
        let Some(Ok(Buffer { desc, span })) = end.buffer(regions, ahead) else { break };
        let buffer = SlotBuffer { index: first.wrapping_add(ahead), span, next: false };
        let Some(filled) = describe(ahead.into(), buffer) else { break };
        let until = u64::from(filled.start) + u64::from(filled.len);
        if until > u64::from(desc.length) || !(filled.start == 0 || E::MOVABLE) {
            break;
        }
        bytes += u64::from(filled.len);
        if filled.next || !E::MOVABLE {
            waiting.push(filled);
        }
        if filled.next {
            continue;
        }
        if E::MOVABLE {
            if !waiting.is_empty() {
                complete_pieces(end, sent, waiting);
            }
            end.complete(ahead, DescFlags::empty(), filled.start, filled.len);
        }
        (sent, sent_bytes) = (ahead + 1, bytes);
        packets += 1;
    }
    if !E::MOVABLE {
        waiting.truncate(sent.into());
        complete(end, 0, waiting);
    }
    tally.packets += packets;
    tally.bytes += sent_bytes;
    if sent > 0 {
        end.commit(sent);
    }
    sent
}

/// Writes the descriptors of a packet's buffers, all but the last, from slot `ahead` on.
#[inline(never)]
fn complete_pieces(end: &mut impl Sender, ahead: u16, waiting: &mut Vec<Filled>) {
    complete(end, ahead, waiting);
    waiting.clear();
}

#[inline(always)]
fn complete(end: &mut impl Sender, ahead: u16, filled: &[Filled]) {
    for (ahead, one) in (ahead..).zip(filled) {
        end.complete(ahead, DescFlags::next_if(one.next), one.start, one.len);
    }
}
