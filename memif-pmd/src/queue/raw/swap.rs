//! Exchanging the buffers of slots that are in the program's hands.

use std::sync::Arc;

use memif_ring::buffer_swap;
use memif_ring::end::Sender as _;

use super::{RawRx, RawTx};
use crate::link::End;

impl RawRx<'_> {
    /// Exchanges the buffers of two held slots, given by their positions. Returns false, and does nothing, unless both are held
    /// and this is a slave.
    pub fn swap(&mut self, held: u16, other: u16) -> bool {
        match self.handle.link().map(|link| &mut link.end) {
            Some(End::Slave(end)) => end.swap_buffers(held, other),
            _ => false,
        }
    }

    /// Exchanges the buffers of a held slot here and of one in another receive queue of the same slave, given by their
    /// positions. Returns false, and does nothing, unless both are held and both queues belong to the same slave.
    pub fn swap_with_rx(&mut self, held: u16, other: &mut RawRx<'_>, other_held: u16) -> bool {
        let (Some(one), Some(two)) = (self.handle.link(), other.handle.link()) else { return false };
        if !Arc::ptr_eq(&one.link, &two.link) {
            return false;
        }
        let (End::Slave(one), End::Slave(two)) = (&mut one.end, &mut two.end) else { return false };
        buffer_swap::swap_held(one, held, two, other_held)
    }

    /// Exchanges the buffers of a held slot here and of a free slot of `tx`, given by their positions; the first free slot
    /// is 0, whether claimed or not. Returns false, and does nothing, unless there are such slots and the queues belong to the
    /// same slave, or to slaves that share a [`PacketMemory`](crate::PacketMemory).
    pub fn swap_with_tx(&mut self, held: u16, tx: &mut RawTx<'_>, free: u16) -> bool {
        let (Some(from), Some(to)) = (self.handle.link(), tx.handle.link()) else { return false };
        let same_link = Arc::ptr_eq(&from.link, &to.link);
        let done = match (&mut from.end, &mut to.end) {
            (End::Slave(from), End::Slave(to))
                if same_link || from.buffers().table().shares_with(to.buffers().table()) =>
            {
                buffer_swap::swap_buffers(from, held, to, free)
            }
            _ => false,
        };
        to.show_layout();
        done
    }

    /// Moves the buffer of the held slot `index` to the next slot that [`RawTx::claim`] would give, and claims that slot; its
    /// buffer takes the place of the moved one. Returns the index of the claimed slot. Returns `None`, and does nothing, if the
    /// slot is not held, if `tx` is full, or if [`RawRx::swap_with_tx`] would return false.
    pub fn move_to(&mut self, index: u16, tx: &mut RawTx<'_>) -> Option<u16> {
        let held = self.position_of(index)?;
        let free = tx.claimed();
        if tx.claimable(1) == 0 || !self.swap_with_tx(held, tx, free) {
            return None;
        }
        tx.claims.count += 1;
        match &tx.handle.link.as_ref()?.end {
            End::Slave(end) => Some(end.position().wrapping_add(free)),
            End::Master(_) => None,
        }
    }
}

impl RawTx<'_> {
    /// Exchanges the buffers of two free slots, given by their positions; the first free slot is 0, whether claimed or not.
    /// Returns false, and does nothing, unless both are free and this is a slave.
    pub fn swap(&mut self, free: u16, other: u16) -> bool {
        let Some(link) = self.handle.link() else { return false };
        let done = match &mut link.end {
            End::Slave(end) => end.swap_buffers(free, other),
            End::Master(_) => false,
        };
        link.show_layout();
        done
    }

    /// Exchanges the buffers of a free slot here and of one in another transmit queue of the same slave, given by their
    /// positions. Returns false, and does nothing, unless both are free and both queues belong to the same slave.
    pub fn swap_with_tx(&mut self, free: u16, other: &mut RawTx<'_>, other_free: u16) -> bool {
        let (Some(one), Some(two)) = (self.handle.link(), other.handle.link()) else { return false };
        if !Arc::ptr_eq(&one.link, &two.link) {
            return false;
        }
        let done = match (&mut one.end, &mut two.end) {
            (End::Slave(one), End::Slave(two)) => buffer_swap::swap_free(one, free, two, other_free),
            _ => false,
        };
        one.show_layout();
        two.show_layout();
        done
    }
}
