//! The data path of 4.0: buffers are slots of a ring, in order.
//!
//! A `memif_buffer_t` says where it comes from with `queue` (a [`Tag`]) and `desc_index` (the slot's free-running index).
//! Both, and the data pointer of a slave, are checked against the queue before anything is done with the buffer: C may
//! have written anything there, or kept a buffer for longer than its link.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr;

use memif_pmd::raw::{Filled, SlotBuffer};
use memif_pmd::{RxQueue, TxQueue};

use crate::abi::{BUFFER_FLAG_NEXT, Buffer};
use crate::cell::{Linked, QueueCell, Tag, Traits};
use crate::code::{Code, Moved, Outcome};
use crate::conn::Held;
use crate::packets::{Named, Packets};

/// What buffers of a link carry as their `queue`.
#[inline(always)]
pub(super) fn queue_of(tag: Tag) -> *mut c_void {
    ptr::without_provenance_mut(tag.to_number())
}

/// `memif_rx_burst`
#[inline(always)]
pub(crate) fn receive(mut cell: Held<RxQueue>, bufs: &mut [MaybeUninit<Buffer>]) -> Result<Moved, Code> {
    let Linked { queue, tag, shift, .. } = cell.linked()?;
    let tag = queue_of(tag);
    let taken = queue.raw().take(bufs.len(), |number, found| {
        if let Some(buf) = bufs.get_mut(number) {
            buf.write(buffer(&found, tag, shift));
        }
    });
    if !taken.more {
        queue.raw().settle_event();
    }
    #[expect(clippy::cast_possible_truncation, reason = "at most 65535 were asked for")]
    let count = taken.buffers as u16;
    cell.in_use += u32::from(count);
    Ok((count, if taken.more { Err(Code::Nobuf) } else { Ok(()) }))
}

#[inline(always)]
pub(super) fn buffer(found: &SlotBuffer<'_>, tag: *mut c_void, shift: isize) -> Buffer {
    Buffer {
        desc_index: found.index,
        queue: tag,
        #[expect(clippy::cast_possible_truncation, reason = "a descriptor's length has 32 bits")]
        len: found.span.len() as u32,
        flags: if found.next { BUFFER_FLAG_NEXT } else { 0 },
        data: found.span.as_ptr().wrapping_offset(shift).cast(),
    }
}

/// `memif_refill_queue`
pub(crate) fn refill(mut cell: Held<RxQueue>, count: u16, headroom: u16) -> Outcome {
    let Linked { queue, .. } = cell.linked()?;
    let posted = queue.raw().post_in_lots(count, headroom);
    cell.in_use = cell.in_use.saturating_sub(posted.into());
    Ok(())
}

/// Most entries of the caller's array that `memif_buffer_alloc` may use: one for each packet asked for, or those of one
/// packet where that takes more. It goes by the buffer size of this side, as the peer's may be anything.
pub(crate) fn alloc_room(traits: &Traits, count: u16, size: u16) -> usize {
    let most = if size <= traits.buffer_size { 1 } else { size.div_ceil(traits.buffer_size.max(1)) };
    usize::from(if count == 0 { 0 } else { count.max(most) })
}

/// `memif_buffer_alloc`: `count` packets of `size` bytes, as many as there are buffers and room in `bufs` for. The number
/// returned is that of buffers.
#[inline(always)]
pub(crate) fn allocate(
    mut cell: Held<TxQueue>,
    bufs: &mut [MaybeUninit<Buffer>],
    (count, size): (u16, u16),
) -> Result<Moved, Code> {
    let Linked { queue, tag, shift, packets: whole } = cell.linked()?;
    let tag = queue_of(tag);
    let before = queue.raw().claimed();
    if !whole.is_empty() {
        return Ok(alloc_whole(cell, bufs, (count, size), tag));
    }
    let mut too_small = false;
    let mut done = queue.raw().claim(count.into(), |number, found| {
        let mut made = buffer(&found, tag, shift);
        too_small |= made.len < u32::from(size);
        if size > 0 {
            made.len = size.into();
        }
        if let Some(buf) = bufs.get_mut(number) {
            buf.write(made);
        }
    });
    let mut packets = done;
    if too_small {
        queue.raw().unclaim(before);
        (done, packets) = alloc_chains(queue, bufs, (count, size), (tag, shift));
        if packets == 0 {
            return Ok(alloc_whole(cell, bufs, (count, size), tag));
        }
    }
    let claimed = queue.raw().claimed();
    cell.in_use = claimed.into();
    #[expect(clippy::cast_possible_truncation, reason = "the array has at most 65535 entries")]
    let moved = done as u16;
    Ok((moved, if packets < usize::from(count) { Err(Code::NobufRing) } else { Ok(()) }))
}

/// Packets that take more than one buffer; returns buffers and packets. One that does not fit whole is given back.
#[cold]
fn alloc_chains(
    queue: &mut TxQueue,
    bufs: &mut [MaybeUninit<Buffer>],
    (count, size): (u16, u16),
    origin: (*mut c_void, isize),
) -> (usize, usize) {
    let (mut done, mut packets) = (0, 0);
    while packets < usize::from(count) {
        let before = queue.raw().claimed();
        let rest = bufs.get_mut(done..).unwrap_or_default();
        let Some(used) = alloc_chain(queue, rest, size.into(), origin) else {
            queue.raw().unclaim(before);
            break;
        };
        done += used;
        packets += 1;
    }
    (done, packets)
}

/// One packet of `size` bytes in as many buffers as it takes; `None` when there are not enough.
fn alloc_chain(
    queue: &mut TxQueue,
    bufs: &mut [MaybeUninit<Buffer>],
    size: u32,
    (tag, shift): (*mut c_void, isize),
) -> Option<usize> {
    let mut left = size;
    for (used, buf) in (1..).zip(bufs) {
        let mut made = None;
        queue.raw().claim(1, |_, found| made = Some(buffer(&found, tag, shift)));
        let mut made = made.filter(|made| made.len > 0)?;
        made.len = made.len.min(left);
        left -= made.len;
        made.flags = if left > 0 { BUFFER_FLAG_NEXT } else { 0 };
        buf.write(made);
        if left == 0 {
            return Some(used);
        }
    }
    None
}

/// Packets that take one entry each, whatever buffers the peer has: in private memory, from which they are copied when they
/// are sent. For those of more buffers than the program's array has entries, and for all behind them until they are sent.
#[cold]
fn alloc_whole(
    mut cell: Held<TxQueue>,
    bufs: &mut [MaybeUninit<Buffer>],
    (count, size): (u16, u16),
    tag: *mut c_void,
) -> Moved {
    let QueueCell { queue: Some(queue), packets, .. } = &mut *cell else { return (0, Err(Code::NoConn)) };
    let bufs = bufs.get_mut(..count.into()).unwrap_or_default();
    let done = packets.allocate_private(queue, bufs, size.into(), |made| Buffer {
        desc_index: made.desc_index,
        queue: tag,
        len: made.data_len,
        flags: 0,
        data: made.data,
    });
    let claimed = queue.raw().claimed();
    cell.in_use = claimed.into();
    let moved = u16::try_from(done).unwrap_or(u16::MAX);
    (moved, if moved < count { Err(Code::NobufRing) } else { Ok(()) })
}

/// The packet of [`alloc_whole`] that a buffer of the program's is, if it is of the link with this tag.
fn name(buf: &Buffer, tag: *mut c_void) -> Option<Named> {
    let named = Named { index: buf.desc_index, data: buf.data.addr(), len: buf.len as usize };
    (buf.queue == tag && buf.flags & BUFFER_FLAG_NEXT == 0).then_some(named)
}

/// `memif_tx_burst`
#[inline(always)]
pub(crate) fn send(mut cell: Held<TxQueue>, bufs: &[Buffer]) -> Result<Moved, Code> {
    let Linked { queue, tag, shift, packets } = cell.linked()?;
    let tag = queue_of(tag);
    let sent = if packets.is_empty() {
        send_buffers(queue, bufs, (tag, shift))
    } else {
        send_mixed(queue, packets, bufs, (tag, shift))
    };
    let claimed = queue.raw().claimed();
    cell.in_use = claimed.into();
    let outcome = if sent == bufs.len() { Ok(()) } else { Err(Code::InvalArg) };
    #[expect(clippy::cast_possible_truncation, reason = "at most 65535 were asked for")]
    let sent = sent as u16;
    Ok((sent, outcome))
}

/// Sends buffers, and behind them packets of [`alloc_whole`].
#[cold]
fn send_mixed(
    queue: &mut TxQueue,
    packets: &mut Packets,
    bufs: &[Buffer],
    (tag, shift): (*mut c_void, isize),
) -> usize {
    let in_front = queue.raw().claimed().saturating_sub(packets.slots());
    let (buffers, whole) = bufs.split_at(bufs.len().min(in_front.into()));
    let sent = send_buffers(queue, buffers, (tag, shift));
    if sent < in_front.into() {
        return sent;
    }
    sent + packets.send_named(queue, whole, |buf| name(buf, tag))
}

#[inline(always)]
fn send_buffers(queue: &mut TxQueue, bufs: &[Buffer], (tag, shift): (*mut c_void, isize)) -> usize {
    queue.raw().publish(bufs.len(), |number, slot| {
        let buf = bufs.get(number)?;
        let known = buf.queue == tag && buf.desc_index == slot.index;
        start_within(buf, &slot, shift).filter(|_| known).map(|start| Filled {
            start,
            len: buf.len,
            next: buf.flags & BUFFER_FLAG_NEXT != 0,
        })
    })
}

/// How far into its buffer a packet begins, by the data pointer that C may have moved.
#[inline(always)]
fn start_within(buf: &Buffer, slot: &SlotBuffer<'_>, shift: isize) -> Option<u32> {
    let start = buf.data.addr().checked_sub(slot.span.as_ptr().wrapping_offset(shift).addr())?;
    u32::try_from(start).ok().filter(|start| *start as usize <= slot.span.len())
}

/// `memif_set_next_free_buffer`: gives back what was allocated from `buf` on.
pub(crate) fn set_next_free(mut cell: Held<TxQueue>, buf: &Buffer) -> Outcome {
    let Linked { queue, tag, packets, .. } = cell.linked()?;
    let tag = queue_of(tag);
    let in_front = queue.raw().claimed().saturating_sub(packets.slots());
    let keep = if name(buf, tag).is_some_and(|named| packets.forget_from(&named)) {
        in_front + packets.slots()
    } else {
        let is_in_front = |keep: &u16| *keep < in_front && buf.queue == tag;
        let keep = queue.raw().position_of(buf.desc_index).filter(is_in_front).ok_or(Code::InvalArg)?;
        packets.forget(0);
        keep
    };
    queue.raw().unclaim(keep);
    cell.in_use = keep.into();
    Ok(())
}
