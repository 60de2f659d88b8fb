//! What the ends of a ring need of its memory.

use crate::layout::{Desc, DescFlags};

/// Storage of one ring: [`Ring`](super::Ring) over shared memory; models of the memory order bring their own.
///
/// Every `index` is free-running: implementations mask it, so none is out of range.
///
/// # Safety
/// The master's end writes to the buffers that [`desc`](Self::desc) names, within the regions it is given. So a
/// descriptor must come from the slave of this ring: implementations return what was stored by
/// [`set_desc`](Self::set_desc), [`complete_desc`](Self::complete_desc) or [`set_flags`](Self::set_flags), here or by the
/// peer.
#[expect(unsafe_code, reason = "an implementation decides which bytes are written")]
pub unsafe trait RingMemory {
    /// Descriptors in the ring minus one. The size is a power of two from 2 to 16384.
    fn mask(&self) -> u16;
    /// Loads the slave's index. Acquire: pairs with the Release of [`publish_head`](Self::publish_head) by the slave.
    fn head(&self) -> u16;
    /// Stores the slave's index. Release: pairs with the Acquire of [`head`](Self::head) by the master.
    fn publish_head(&self, index: u16);
    /// Loads the master's index. Acquire: pairs with the Release of [`publish_tail`](Self::publish_tail) by the master.
    fn tail(&self) -> u16;
    /// Stores the master's index. Release: pairs with the Acquire of [`tail`](Self::tail) by the slave.
    fn publish_tail(&self, index: u16);
    /// One snapshot of a descriptor.
    fn desc(&self, index: u16) -> Desc;
    /// Writes a whole descriptor. For the slave, which owns them.
    fn set_desc(&self, index: u16, desc: Desc);
    /// Writes the flags and length of a descriptor, and leaves region and offset. For the master.
    fn complete_desc(&self, index: u16, flags: DescFlags, length: u32);
    /// Writes the flags of a descriptor, and nothing else. For the master.
    fn set_flags(&self, index: u16, flags: DescFlags);

    /// Starts to fetch the cache line of a descriptor, which will be read and not written soon. A hint.
    #[inline(always)]
    fn prefetch_to_read(&self, _index: u16) {}

    /// Like [`prefetch_to_read`](Self::prefetch_to_read), for a descriptor that will be written.
    #[inline(always)]
    fn prefetch_to_write(&self, _index: u16) {}

    /// Descriptors in the ring.
    #[inline(always)]
    fn size(&self) -> u16 {
        self.mask() + 1
    }
}
