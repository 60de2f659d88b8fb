//! Honest senders of either role with the faults of peers in the field (docs/protocol.md, section 7).

use bitflags::bitflags;

use crate::layout::DescFlags;

bitflags! {
    /// What a [`FaultySender`] does wrong. Without any it is a sender by the book.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Faults: u8 {
        /// A packet of several pieces may take one slot more than is free; the count of free slots then wraps, and the
        /// sender goes on with the burst over slots that it does not own.
        const OVERRUN = 1;
        /// The flags of a packet's first descriptor are never cleared.
        const STALE_NEXT = 1 << 1;
        /// Of a packet for which there is no room, what does fit is published.
        const MISSING_LAST_PIECE = 1 << 2;
        /// VPP up to 25.10 and 26.02.
        const VPP_25_10 = Self::OVERRUN.bits();
        /// DPDK 22.11, and others up to 25.11, on the slow path.
        const DPDK_22_11 = Self::OVERRUN.bits() | Self::STALE_NEXT.bits() | Self::MISSING_LAST_PIECE.bits();
    }
}

/// The ring and the buffers that such a peer sends over.
pub trait SenderMemory {
    /// Number of descriptors.
    fn size(&self) -> u16;
    /// Bytes of a buffer.
    fn capacity(&self) -> usize;
    /// Loads the receiver's index; returns how many descriptors a sender at `index` may write. More than [`SenderMemory::size`]
    /// when it has overrun the ring.
    fn free(&self, index: u16) -> u16;
    /// Stores the sender's index.
    fn publish(&self, index: u16);
    /// Flags of the descriptor at `index`.
    fn flags(&self, index: u16) -> DescFlags;
    /// Fills the buffer and the descriptor at `index`.
    fn fill(&self, index: u16, flags: DescFlags, bytes: &[u8]);
}

/// The sender of such a peer.
#[derive(Clone, Debug)]
pub struct FaultySender {
    faults: Faults,
    index: u16,
}

impl FaultySender {
    /// A sender on a fresh ring.
    #[must_use]
    pub const fn new(faults: Faults) -> Self {
        Self { faults, index: 0 }
    }

    /// Whether its index is further ahead than the ring has slots for it.
    pub fn has_overrun(&self, memory: &impl SenderMemory) -> bool {
        memory.free(self.index) > memory.size()
    }

    /// Sends a burst, and publishes it. Returns how many packets it believes to have sent; the rest of the burst is to be
    /// sent again.
    pub fn send<'p>(
        &mut self,
        memory: &impl SenderMemory,
        burst: impl IntoIterator<Item = &'p [u8]>,
    ) -> usize {
        let mut free = memory.free(self.index);
        let mut sent = 0;
        for packet in burst {
            if free == 0 || !self.send_packet(memory, packet, &mut free) {
                break;
            }
            sent += 1;
        }
        memory.publish(self.index);
        sent
    }

    fn send_packet(&mut self, memory: &impl SenderMemory, packet: &[u8], free: &mut u16) -> bool {
        let pieces = packet.chunks(memory.capacity());
        let last = pieces.len() - 1;
        let fits = if self.faults.contains(Faults::OVERRUN) { last } else { last + 1 } <= usize::from(*free);
        let missing = self.faults.contains(Faults::MISSING_LAST_PIECE);
        if !fits && !missing {
            return false;
        }
        for (number, piece) in pieces.enumerate() {
            if !fits && *free == 0 {
                return false;
            }
            let stale = number == 0 && self.faults.contains(Faults::STALE_NEXT);
            let old = if stale { memory.flags(self.index) } else { DescFlags::empty() };
            memory.fill(self.index, old | DescFlags::next_if(number < last), piece);
            self.index = self.index.wrapping_add(1);
            *free = free.wrapping_sub(1);
        }
        true
    }
}
