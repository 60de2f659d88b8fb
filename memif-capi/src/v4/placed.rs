//! Buffers in external regions whose places the program names (`memif_get_external_buffer_offset_t`): one for each buffer
//! that is allocated or posted. The program is asked without a lock, so it may call everything meanwhile.
#![allow(unsafe_code)] // buffers are where the program says

use std::mem::MaybeUninit;

use memif_pmd::raw::SlotBuffer;
use memif_pmd::{RxQueue, TxQueue};

use super::data::{buffer, queue_of};
use crate::abi::{BUFFER_FLAG_NEXT, Buffer};
use crate::cell::Linked;
use crate::code::{Code, Moved, Outcome};
use crate::conn::{Held, rx_of, tx_of};
use crate::external::ExternalRegions;

/// `memif_buffer_alloc`. Asks for no more places than there are free slots.
pub(super) fn allocate(
    mut cell: Held<TxQueue>,
    external: &ExternalRegions,
    bufs: &mut [MaybeUninit<Buffer>],
    (count, size): (u16, u16),
) -> Result<Moved, Code> {
    let capacity = cell.traits.buffer_size.max(1);
    let pieces = usize::from(size.div_ceil(capacity).max(1));
    let Linked { queue, tag, .. } = cell.linked()?;
    let most = usize::from(count).min(bufs.len() / pieces);
    let packets = most.min(usize::from(queue.raw().claimable(most * pieces)) / pieces);
    let mut offsets = std::mem::take(&mut cell.offsets);
    offsets.clear();
    drop(cell);
    external.ask_offsets(packets * pieces, &mut offsets)?;
    // the link may have ended meanwhile
    let mut cell = tx_of(tag).ok_or(Code::Disconnected)?;
    let Linked { queue, shift, .. } = cell.linked()?;
    let layout = (size, capacity, pieces);
    let before = queue.raw().claimed();
    let visit = |number: usize, found: SlotBuffer<'_>| {
        if let Some(buf) = bufs.get_mut(number) {
            buf.write(piece(buffer(&found, queue_of(tag), shift), number, layout));
        }
    };
    // SAFETY: the program vouches, as the header asks it to, that no other buffer in use has bytes of those that it names.
    let done = unsafe { queue.raw().claim_at(&offsets, visit) };
    let done = done - done % pieces; // a packet whose buffers are not all there is none
    #[expect(clippy::cast_possible_truncation, reason = "at most as many as a ring has slots")]
    let done = done as u16;
    queue.raw().unclaim(before + done);
    cell.in_use = u32::from(before + done);
    let all = usize::from(done) == offsets.len();
    cell.offsets = offsets;
    let fits = if packets < usize::from(count) { Err(Code::NobufRing) } else { Ok(()) };
    Ok((done, if all { fits } else { Err(Code::InvalArg) }))
}

/// Buffer `number` of packets of `size` bytes in `pieces` buffers each.
fn piece(made: Buffer, number: usize, (size, capacity, pieces): (u16, u16, usize)) -> Buffer {
    let at = number % pieces;
    if size == 0 {
        return made;
    }
    let begun = u32::try_from(at).unwrap_or(0) * u32::from(capacity);
    let len = (u32::from(size) - begun).min(capacity.into());
    Buffer { len, flags: if at + 1 < pieces { BUFFER_FLAG_NEXT } else { 0 }, ..made }
}

/// `memif_refill_queue`. Asks for no more places than there are slots to post.
pub(super) fn refill(
    mut cell: Held<RxQueue>,
    external: &ExternalRegions,
    count: u16,
    headroom: u16,
) -> Outcome {
    let Linked { queue, tag, .. } = cell.linked()?;
    let wanted = count.min(queue.raw().to_return());
    let mut offsets = std::mem::take(&mut cell.offsets);
    offsets.clear();
    drop(cell);
    external.ask_offsets(wanted.into(), &mut offsets)?;
    let mut cell = rx_of(tag).ok_or(Code::Disconnected)?;
    let Linked { queue, .. } = cell.linked()?;
    // SAFETY: as in `allocate`.
    let posted = unsafe { queue.raw().post_at(&offsets, headroom) };
    cell.in_use = cell.in_use.saturating_sub(posted.into());
    cell.offsets = offsets;
    if posted == wanted { Ok(()) } else { Err(Code::InvalArg) }
}
