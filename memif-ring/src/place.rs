//! Other buffers for the slots of a slave: for programs whose own allocator decides which buffer a slot has next.
#![allow(unsafe_code)] // addresses decide which bytes are written

use crate::buffers::{BufferAddr, BufferTable};
use crate::end::Receiver as _;
use crate::head_side::{HeadReceiver, HeadSender};
use crate::shm::RingMemory;

impl<R: RingMemory, T: BufferTable> HeadSender<R, T> {
    /// Gives the `free`-th free slot the buffer at `addr`; the one that it had is nobody's. False, and nothing is done,
    /// unless there is such a slot.
    ///
    /// # Safety
    /// What [`Buffers::new`](crate::buffers::Buffers::new) asks of each address: no other address in use names bytes of this
    /// buffer. One that is not within its region does no harm.
    pub unsafe fn place(&mut self, free: u16, addr: BufferAddr) -> bool {
        let index = self.head.wrapping_add(free);
        let known = self.known_free();
        let place = self.buffers.addr_mut(index, self.ring.mask()).filter(|_| free < known);
        place.map(|place| *place = addr).is_some()
    }
}

impl<R: RingMemory, T: BufferTable> HeadReceiver<R, T> {
    /// Like [`HeadSender::place`], for the `held`-th held slot.
    ///
    /// # Safety
    /// The conditions of [`HeadSender::place`].
    pub unsafe fn place(&mut self, held: u16, addr: BufferAddr) -> bool {
        let count = self.held();
        let index = self.head.wrapping_add(held);
        let place = self.buffers.addr_mut(index, self.ring.mask()).filter(|_| held < count);
        place.map(|place| *place = addr).is_some()
    }
}
