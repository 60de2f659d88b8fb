//! Why one packet was dropped.

use super::counted::counted;

counted! {
    /// Why one packet was dropped. The link stays up: the packet is counted, its descriptors go back to their owner,
    /// and the burst continues with the next packet.
    pub enum DropReason {
        /// A descriptor names a region that the link does not have. A receiver drops the whole packet; a sender drops
        /// the packet and returns the posted buffer empty.
        UnknownRegion = "unknown_region",
        /// A descriptor's bytes do not lie within its region. Handled as `UnknownRegion`.
        OutOfRegion = "out_of_region",
        /// The last published descriptor has NEXT set: the rest of the packet is missing. The part that is there is
        /// consumed.
        ChainBroken = "chain_broken",
        /// A packet of more than 1024 descriptors. All of them are consumed.
        ChainTooLong = "chain_too_long",
        /// The master changed the region or offset of a buffer that the slave had posted. The slave keeps its own
        /// record of the buffer.
        BufferChanged = "buffer_changed",
        /// A packet of 0 bytes.
        Empty = "empty",
        /// A packet of more than [`MAX_PACKET_SIZE`](crate::layout::MAX_PACKET_SIZE) bytes. A receiver consumes all of
        /// its descriptors.
        Oversized = "oversized",
        /// A packet to send does not fit into the peer's buffers, even with the whole ring free. It is not sent.
        TooLarge = "too_large",
        /// The slave has overrun the ring on S2M: it wrote to slots that it does not own. Counted for each descriptor that
        /// the receiver passed over, as the packets are not known any more.
        Overrun = "overrun",
    }
}
