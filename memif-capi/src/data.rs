//! The data path of 4.0: buffers are slots of a ring, in order.
//!
//! A `memif_buffer_t` says where it comes from with `queue` (a [`Tag`]) and `desc_index` (the slot's free-running index).
//! Both, and the data pointer of a slave, are checked against the queue before anything is done with the buffer: C may
//! have written anything there, or kept a buffer for longer than its link.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::MutexGuard;

use memif_pmd::{Filled, RxQueue, SlotBuffer, TxQueue};

use crate::abi::{BUFFER_FLAG_NEXT, Buffer, Handle};
use crate::cell::{Cell, Queue, Tag, Traits, hold};
use crate::code::{Code, Outcome};
use crate::conn::CONNS;
use crate::handle::{Id, Kind};
use crate::socket::lock;

impl Queue for RxQueue {
    #[inline(always)]
    fn link_epoch(&mut self) -> Option<u64> {
        RxQueue::link_epoch(self)
    }

    fn post_all(&mut self) {
        self.post(u16::MAX, 0);
    }
}

impl Queue for TxQueue {
    #[inline(always)]
    fn link_epoch(&mut self) -> Option<u64> {
        TxQueue::link_epoch(self)
    }

    fn post_all(&mut self) {} // a transmit queue has nothing to post
}

type Held<Q> = MutexGuard<'static, Cell<Q>>;

#[inline(always)]
pub(crate) fn rx(conn: Handle, qid: u16) -> Result<Held<RxQueue>, Code> {
    hold(&CONNS, |place| &place.rx, conn, qid)
}

#[inline(always)]
pub(crate) fn tx(conn: Handle, qid: u16) -> Result<Held<TxQueue>, Code> {
    hold(&CONNS, |place| &place.tx, conn, qid)
}

/// What the buffers of a cell's present link carry as their `queue`.
#[inline(always)]
fn tag<Q: Queue>(cell: &mut Cell<Q>, conn: Handle, qid: u16, receives: bool) -> Result<*mut c_void, Code> {
    let link = cell.link().ok_or(Code::Disconnected)?;
    let place = Id::from_handle(conn, Kind::Conn).map_or(0, |id| id.place);
    let queue = u8::try_from(qid).unwrap_or(u8::MAX);
    Ok(ptr::without_provenance_mut(Tag { receives, place, queue, link }.to_number()))
}

/// How many packets a call moved, and why not more.
pub(crate) type Moved = (u16, Outcome);

/// `memif_rx_burst`
#[inline(always)]
pub(crate) fn rx_burst(conn: Handle, qid: u16, bufs: &mut [MaybeUninit<Buffer>]) -> Result<Moved, Code> {
    let mut cell = rx(conn, qid)?;
    let tag = tag(&mut cell, conn, qid, true)?;
    let shift = cell.traits.shift;
    let queue = cell.queue.as_mut().ok_or(Code::NoConn)?;
    let taken = queue.take(bufs.len(), |number, found| {
        if let Some(buf) = bufs.get_mut(number) {
            buf.write(buffer(found, tag, shift));
        }
    });
    if !taken.more {
        queue.settle_event();
    }
    #[expect(clippy::cast_possible_truncation, reason = "at most 65535 were asked for")]
    let count = taken.buffers as u16;
    cell.in_use += u32::from(count);
    Ok((count, if taken.more { Err(Code::Nobuf) } else { Ok(()) }))
}

#[inline(always)]
fn buffer(found: SlotBuffer<'_>, tag: *mut c_void, shift: isize) -> Buffer {
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
pub(crate) fn refill(conn: Handle, qid: u16, count: u16, headroom: u16) -> Outcome {
    let mut cell = rx(conn, qid)?;
    cell.link().ok_or(Code::Disconnected)?;
    if !cell.traits.is_master && headroom >= cell.traits.buffer_size {
        return Err(Code::InvalArg);
    }
    let queue = cell.queue.as_mut().ok_or(Code::NoConn)?;
    let posted = queue.post_in_lots(count, headroom);
    cell.in_use = cell.in_use.saturating_sub(posted.into());
    Ok(())
}

/// Most entries of the caller's array that `memif_buffer_alloc` may use: one for each packet asked for, or those of one
/// packet where that takes more. It goes by the buffer size of this side, as the peer's may be anything.
fn alloc_room(traits: Traits, count: u16, size: u16) -> usize {
    let most = if size <= traits.buffer_size { 1 } else { size.div_ceil(traits.buffer_size.max(1)) };
    usize::from(if count == 0 { 0 } else { count.max(most) })
}

/// `memif_buffer_alloc`: `count` packets of `size` bytes, as many as there are buffers and room in `bufs` for. The number
/// returned is that of buffers.
#[inline(always)]
pub(crate) fn alloc<'a>(
    conn: Handle,
    qid: u16,
    array: impl FnOnce(usize) -> Result<&'a mut [MaybeUninit<Buffer>], Code>,
    count: u16,
    size: u16,
) -> Result<Moved, Code> {
    let mut cell = tx(conn, qid)?;
    let tag = tag(&mut cell, conn, qid, false)?;
    let bufs = array(alloc_room(cell.traits, count, size))?;
    let shift = cell.traits.shift;
    let queue = cell.queue.as_mut().ok_or(Code::NoConn)?;
    let before = queue.claimed();
    let mut too_small = false;
    let mut done = queue.claim(count.into(), |number, found| {
        let mut made = buffer(found, tag, shift);
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
        queue.unclaim(before);
        (done, packets) = alloc_chains(queue, bufs, (count, size), (tag, shift));
    }
    cell.in_use = queue.claimed().into();
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
        let before = queue.claimed();
        let rest = bufs.get_mut(done..).unwrap_or_default();
        let Some(used) = alloc_chain(queue, rest, size.into(), origin) else {
            queue.unclaim(before);
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
        queue.claim(1, |_, found| made = Some(buffer(found, tag, shift)));
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

/// `memif_tx_burst`
#[inline(always)]
pub(crate) fn tx_burst(conn: Handle, qid: u16, bufs: &[Buffer]) -> Result<Moved, Code> {
    let mut cell = tx(conn, qid)?;
    let tag = tag(&mut cell, conn, qid, false)?;
    let shift = cell.traits.shift;
    let queue = cell.queue.as_mut().ok_or(Code::NoConn)?;
    let sent = queue.publish(bufs.len(), |number, slot| {
        let buf = bufs.get(number)?;
        let known = buf.queue == tag && buf.desc_index == slot.index;
        start_within(buf, slot, shift).filter(|_| known).map(|start| Filled {
            start,
            len: buf.len,
            next: buf.flags & BUFFER_FLAG_NEXT != 0,
        })
    });
    cell.in_use = queue.claimed().into();
    let outcome = if sent == bufs.len() { Ok(()) } else { Err(Code::InvalArg) };
    #[expect(clippy::cast_possible_truncation, reason = "at most 65535 were asked for")]
    let sent = sent as u16;
    Ok((sent, outcome))
}

/// How far into its buffer a packet begins, by the data pointer that C may have moved.
#[inline(always)]
fn start_within(buf: &Buffer, slot: SlotBuffer<'_>, shift: isize) -> Option<u32> {
    let start = buf.data.addr().checked_sub(slot.span.as_ptr().wrapping_offset(shift).addr())?;
    u32::try_from(start).ok().filter(|start| *start as usize <= slot.span.len())
}

/// `memif_set_next_free_buffer`: gives back what was allocated from `buf` on.
pub(crate) fn set_next_free(conn: Handle, qid: u16, buf: &Buffer) -> Outcome {
    let mut cell = tx(conn, qid)?;
    let tag = tag(&mut cell, conn, qid, false)?;
    let queue = cell.queue.as_mut().ok_or(Code::NoConn)?;
    let keep = queue.claimed_before(buf.desc_index).filter(|_| buf.queue == tag).ok_or(Code::InvalArg)?;
    queue.unclaim(keep);
    cell.in_use = keep.into();
    Ok(())
}

/// The cell of a received buffer, if the buffer is of its present link.
fn rx_of(tag: Tag) -> Option<Held<RxQueue>> {
    let mut cell = lock(CONNS.place(tag.place)?.entry.rx.get(tag.queue.into())?);
    (tag.receives && cell.link() == Some(tag.link)).then_some(cell)
}

/// The cell of an allocated buffer, if the buffer is of its present link.
fn tx_of(tag: Tag) -> Option<Held<TxQueue>> {
    let mut cell = lock(CONNS.place(tag.place)?.entry.tx.get(tag.queue.into())?);
    (!tag.receives && cell.link() == Some(tag.link)).then_some(cell)
}

/// `memif_buffer_enq_tx`: the transmit queue takes the buffers over, and its own free ones take their places.
pub(crate) fn enq_tx(conn: Handle, qid: u16, bufs: &mut [Buffer]) -> Result<Moved, Code> {
    let mut cell = tx(conn, qid)?;
    let target = tag(&mut cell, conn, qid, false)?;
    if cell.traits.is_master {
        return Err(Code::InvalArg);
    }
    let queue = cell.queue.as_mut().ok_or(Code::NoConn)?;
    let mut done = 0;
    let mut outcome = Ok(());
    for buf in bufs {
        if queue.claimable(1) == 0 {
            outcome = Err(Code::NobufRing);
            break;
        }
        let moved = rx_of(Tag::from_number(buf.queue.addr()))
            .and_then(|mut from| from.queue.as_mut()?.move_to(buf.desc_index, queue));
        let Some(index) = moved else {
            outcome = Err(Code::InvalArg);
            break;
        };
        (buf.desc_index, buf.queue) = (index, target);
        done += 1;
    }
    cell.in_use = queue.claimed().into();
    Ok((done, outcome))
}

/// The place of a connection that exists.
pub(crate) fn exists(conn: Handle) -> Result<Id, Code> {
    let id = Id::from_handle(conn, Kind::Conn).ok_or(Code::NoConn)?;
    CONNS.find(id).map(|_| id).ok_or(Code::NoConn)
}

/// `memif_buffer_requeue`: each of two buffers takes the other's slot.
pub(crate) fn requeue(conn: Handle, a: &mut Buffer, b: &mut Buffer) -> Outcome {
    let id = exists(conn)?;
    let (one, other) = (Tag::from_number(a.queue.addr()), Tag::from_number(b.queue.addr()));
    if one.place != id.place || other.place != id.place {
        return Err(Code::InvalArg);
    }
    // in the order in which cells are locked
    let ((low, low_index), (high, high_index)) = if one <= other {
        ((one, a.desc_index), (other, b.desc_index))
    } else {
        ((other, b.desc_index), (one, a.desc_index))
    };
    if !swap((low, low_index), (high, high_index)).unwrap_or(false) {
        return Err(Code::InvalArg);
    }
    std::mem::swap(&mut a.desc_index, &mut b.desc_index);
    std::mem::swap(&mut a.queue, &mut b.queue);
    Ok(())
}

/// Exchanges the buffers of two slots, `low` being the one whose cell is locked first. `None` or false when they are not
/// what they say.
fn swap((low, low_index): (Tag, u16), (high, high_index): (Tag, u16)) -> Option<bool> {
    if low.is_of_cell(high) && low != high {
        return None; // one of them is of a link that is gone, and the cell is locked once
    }
    if low.receives {
        let mut cell = rx_of(low)?;
        let queue = cell.queue.as_mut()?;
        let held = queue.held_before(low_index)?;
        if low == high {
            let other = queue.held_before(high_index)?;
            return Some(queue.swap_buffers(held, other));
        }
        let mut cell = rx_of(high)?;
        let other = cell.queue.as_mut()?;
        let other_held = other.held_before(high_index)?;
        return Some(queue.swap_held(held, other, other_held));
    }
    let mut cell = tx_of(low)?;
    let queue = cell.queue.as_mut()?;
    let free = queue.claimed_before(low_index)?;
    if low == high {
        let other = queue.claimed_before(high_index)?;
        return Some(queue.swap_buffers(free, other));
    }
    if high.receives {
        let mut cell = rx_of(high)?;
        let from = cell.queue.as_mut()?;
        let held = from.held_before(high_index)?;
        return Some(from.swap_with(held, queue, free));
    }
    let mut cell = tx_of(high)?;
    let other = cell.queue.as_mut()?;
    let other_free = other.claimed_before(high_index)?;
    Some(queue.swap_free(free, other, other_free))
}
