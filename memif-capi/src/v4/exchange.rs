//! Buffers of 4.0 that change slots: from a receive queue to a transmit queue without a copy, and within a queue.

use memif_pmd::{RxQueue, TxQueue};

use crate::abi::{Buffer, Handle};
use crate::cell::{Linked, Tag};
use crate::code::{Code, Moved, Outcome};
use crate::conn::{Held, exists, rx_of, tx_of};
use crate::v4::data::queue_of;

/// `memif_buffer_enq_tx`: the transmit queue takes the buffers over, and its own free ones take their places.
pub(crate) fn enqueue(mut cell: Held<TxQueue>, bufs: &mut [Buffer]) -> Result<Moved, Code> {
    let is_master = cell.traits.is_master;
    let Linked { queue, tag, .. } = cell.linked()?;
    if is_master {
        return Err(Code::InvalArg);
    }
    let mut done = 0;
    let mut outcome = Ok(());
    for buf in bufs {
        if queue.raw().claimable(1) == 0 {
            outcome = Err(Code::NobufRing);
            break;
        }
        let moved = rx_of(Tag::from_number(buf.queue.addr()))
            .and_then(|mut from| from.queue.as_mut()?.raw().move_to(buf.desc_index, &mut queue.raw()));
        let Some(index) = moved else {
            outcome = Err(Code::InvalArg);
            break;
        };
        (buf.desc_index, buf.queue) = (index, queue_of(tag));
        done += 1;
    }
    let claimed = queue.raw().claimed();
    cell.in_use = claimed.into();
    Ok((done, outcome))
}

/// `memif_buffer_requeue`: each of two buffers takes the other's slot.
pub(crate) fn requeue(conn: Handle, a: &mut Buffer, b: &mut Buffer) -> Outcome {
    let id = exists(conn)?;
    let (one, other) = (Tag::from_number(a.queue.addr()), Tag::from_number(b.queue.addr()));
    if one.place != id.place || other.place != id.place {
        return Err(Code::InvalArg);
    }
    // in the order in which cells are locked
    let (low, high) = if one <= other {
        ((one, a.desc_index), (other, b.desc_index))
    } else {
        ((other, b.desc_index), (one, a.desc_index))
    };
    if !swap(low, high).unwrap_or(false) {
        return Err(Code::InvalArg);
    }
    std::mem::swap(&mut a.desc_index, &mut b.desc_index);
    std::mem::swap(&mut a.queue, &mut b.queue);
    Ok(())
}

/// Exchanges the buffers of two slots, `low` being the one whose cell is locked first. `None` or false when they are not
/// what they say.
fn swap(low: (Tag, u16), high: (Tag, u16)) -> Option<bool> {
    if low.0.is_of_cell(high.0) && low.0 != high.0 {
        return None; // one of them is of a link that is gone, and the cell is locked once
    }
    if low.0.receives { swap_received(low, high) } else { swap_free(low, high) }
}

fn swap_received((low, index): (Tag, u16), (high, other_index): (Tag, u16)) -> Option<bool> {
    let mut cell = rx_of(low)?;
    let queue: &mut RxQueue = cell.queue.as_mut()?;
    let held = queue.raw().position_of(index)?;
    if low == high {
        let other = queue.raw().position_of(other_index)?;
        return Some(queue.raw().swap(held, other));
    }
    let mut cell = rx_of(high)?;
    let other = cell.queue.as_mut()?;
    let other_held = other.raw().position_of(other_index)?;
    Some(queue.raw().swap_with_rx(held, &mut other.raw(), other_held))
}

fn swap_free((low, index): (Tag, u16), (high, other_index): (Tag, u16)) -> Option<bool> {
    let mut cell = tx_of(low)?;
    let queue = cell.queue.as_mut()?;
    let free = queue.raw().position_of(index)?;
    if low == high {
        let other = queue.raw().position_of(other_index)?;
        return Some(queue.raw().swap(free, other));
    }
    if high.receives {
        let mut cell = rx_of(high)?;
        let from = cell.queue.as_mut()?;
        let held = from.raw().position_of(other_index)?;
        return Some(from.raw().swap_with_tx(held, &mut queue.raw(), free));
    }
    let mut cell = tx_of(high)?;
    let other = cell.queue.as_mut()?;
    let other_free = other.raw().position_of(other_index)?;
    Some(queue.raw().swap_with_tx(free, &mut other.raw(), other_free))
}
