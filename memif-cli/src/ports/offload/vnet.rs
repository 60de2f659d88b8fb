//! The header in front of each packet to and from the kernel (`struct virtio_net_hdr`).

/// Bytes of the header.
pub(in crate::ports) const VNET_HEADER: usize = 10;
/// Size of a buffer for the largest packet and this header: 64 KiB of IP, an Ethernet header with two tags, and spare room.
pub(super) const LARGEST: usize = VNET_HEADER + 65536 + 64;

pub(super) const NEEDS_CHECKSUM: u8 = 1;
pub(super) const GSO_TCP4: u8 = 1;
pub(super) const GSO_TCP6: u8 = 4;
pub(super) const GSO_UDP: u8 = 5;
pub(super) const GSO_ECN: u8 = 0x80;

/// The header: what is left to do with a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct VnetHeader {
    pub flags: u8,
    pub gso: u8,
    /// Payload bytes of a segment; the last one may have fewer.
    pub segment: usize,
    pub checksum_start: usize,
    /// Behind the start.
    pub checksum_offset: usize,
}

impl VnetHeader {
    pub(super) fn parse(bytes: &[u8; VNET_HEADER]) -> Self {
        let [flags, gso, _, _, size @ .., a, b, c, d] = *bytes;
        Self {
            flags,
            gso: gso & !GSO_ECN,
            segment: u16::from_ne_bytes(size).into(),
            checksum_start: u16::from_ne_bytes([a, b]).into(),
            checksum_offset: u16::from_ne_bytes([c, d]).into(),
        }
    }

    /// The header of a TCP packet that stands for several segments. `segment` is the payload of each in bytes, `checksum` where
    /// the checksum begins and where behind that its field is, `payload` the offset of the payload.
    pub(super) fn of_segments(
        gso: u8,
        segment: usize,
        checksum: (usize, usize),
        payload: usize,
    ) -> [u8; VNET_HEADER] {
        let mut bytes = [NEEDS_CHECKSUM, gso, 0, 0, 0, 0, 0, 0, 0, 0];
        let words = [payload, segment, checksum.0, checksum.1];
        for (field, word) in bytes[2..].as_chunks_mut::<2>().0.iter_mut().zip(words) {
            #[expect(clippy::cast_possible_truncation, reason = "they are within a packet of IP")]
            let word = word as u16;
            *field = word.to_ne_bytes();
        }
        bytes
    }
}
