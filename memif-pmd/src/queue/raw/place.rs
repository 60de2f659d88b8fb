//! Slots whose next buffers the program names.
#![allow(unsafe_code)] // addresses decide which bytes are written

use std::os::fd::OwnedFd;

use memif_ring::buffers::BufferAddr;
use memif_ring::end::Receiver as _;
use memif_ring::head_side::HeadReceiver;
use memif_ring::shm::{Ring, RingMemory as _};

use super::{Kept, RawRx, RawTx, SlotBuffer};
use crate::error::Error;
use crate::link::End;
use crate::packet_memory::{BufferTable, PACKET_REGION, PacketMemory, PacketMemoryBuilder, Places};

/// Whether `len` bytes from `offset` are in the packet memory that a table's buffers are in.
fn is_inside(table: &BufferTable, offset: u32, len: u32) -> bool {
    table.memory_len().is_some_and(|bytes| u64::from(offset) + u64::from(len) <= bytes as u64)
}

impl PacketMemoryBuilder {
    /// Like [`PacketMemoryBuilder::over`], for programs that name the place of each buffer when it is used
    /// ([`RawTx::claim_at`], [`RawRx::post_at`]): `offsets` say how many buffers there are, and where they are until then.
    /// They may overlap those of other memory over the same file.
    ///
    /// # Safety
    /// No byte is in two buffers at a time that any queues of this process post, claim or send.
    ///
    /// # Errors
    /// Those of [`PacketMemoryBuilder::over`], but for [`Error::BufferInUse`].
    pub unsafe fn over_placed(self, fd: OwnedFd, size: u64, offsets: &[u32]) -> Result<PacketMemory, Error> {
        self.over_file(fd, size, offsets, Places::Vouched)
    }
}

impl RawTx<'_> {
    /// Like [`RawTx::claim`] for as many buffers as there are `offsets`, each of which is then at that offset of the link's
    /// [`PacketMemory`](crate::PacketMemory). Returns how many: fewer if so many are free, or up to an offset with which the
    /// buffer leaves the memory; 0 on a master and without packet memory.
    ///
    /// # Safety
    /// The bytes of each buffer belong to no other slot, of whatever queue of this process, until this slot has another
    /// buffer or its link is gone.
    pub unsafe fn claim_at(&mut self, offsets: &[u32], visit: impl FnMut(usize, SlotBuffer<'_>)) -> usize {
        let free = usize::from(self.claimable(offsets.len()));
        let claimed = self.claims.count;
        let Some(End::Slave(end)) = self.handle.link().map(|link| &mut link.end) else { return 0 };
        let capacity = end.buffers().capacity();
        let mut placed = 0;
        for (ahead, offset) in (claimed..).zip(offsets.iter().take(free)) {
            // SAFETY: the caller vouches for the bytes of the buffer.
            let is_placed = is_inside(end.buffers().table(), *offset, capacity)
                && unsafe { end.place(ahead, BufferAddr::new(PACKET_REGION, *offset)) };
            if !is_placed {
                break;
            }
            placed += 1;
        }
        self.claim(placed, visit)
    }
}

impl RawRx<'_> {
    /// Like [`RawRx::post`] for as many slots as there are `offsets`, each of which then has its buffer in the link's
    /// [`PacketMemory`](crate::PacketMemory): the peer writes packets from that offset on, and leaves the buffer's last
    /// `headroom` bytes alone. Returns how many offsets were used: fewer if so many slots are held, or up to an offset with
    /// which the buffer leaves the memory; 0 on a master and without packet memory.
    ///
    /// # Safety
    /// The conditions of [`RawTx::claim_at`].
    pub unsafe fn post_at(&mut self, offsets: &[u32], headroom: u16) -> u16 {
        if self.handle.link().is_none() {
            return 0;
        }
        self.kept.follow(self.handle.epoch);
        if self.kept.owed > 0 {
            self.post_owed();
        }
        let Some(End::Slave(end)) = self.handle.link.as_mut().map(|link| &mut link.end) else { return 0 };
        let mut used = 0;
        for offset in offsets {
            post_skipped(end, self.kept, headroom);
            let start = offset.saturating_sub(headroom.into());
            // SAFETY: the caller vouches for the bytes of the buffer.
            let is_placed = is_inside(end.buffers().table(), start, end.buffers().capacity())
                && unsafe { end.place(0, BufferAddr::new(PACKET_REGION, start)) };
            if !is_placed {
                break;
            }
            // what begins closer to the memory's start than that has less room in front
            end.post(1, u16::try_from(offset - start).unwrap_or(u16::MAX));
            used += 1;
        }
        post_skipped(end, self.kept, headroom);
        used
    }
}

/// Posts the slots of dropped packets in front: they keep their buffers.
fn post_skipped(end: &mut HeadReceiver<Ring, BufferTable>, kept: &mut Kept, headroom: u16) {
    let window = (end.oldest(), end.ring().size());
    let skipped = kept.pass(0, end.held(), window);
    if skipped > 0 {
        end.post(skipped, headroom);
    }
}
