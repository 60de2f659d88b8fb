//! What packets of a ring begin with.

use etherparse::LaxSlicedPacket;

/// The mode of an interface, derived from its packets: shared memory does not record it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkType {
    /// With an Ethernet header.
    Ethernet,
    /// With an IP header.
    Ip,
}

impl LinkType {
    /// The mode of a packet of `length` bytes that begins with `bytes`: IP if these are an IP header that agrees with the
    /// length, otherwise Ethernet.
    #[must_use]
    pub fn of(bytes: &[u8], length: u32) -> Self {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let is_ip = match bytes {
            [0x45..=0x4F, _, high, low, ..] => {
                let total = usize::from(u16::from_be_bytes([*high, *low]));
                total == length
                    && etherparse::Ipv4HeaderSlice::from_slice(bytes).is_ok_and(|header| {
                        header.to_header().calc_header_checksum() == header.header_checksum()
                    })
            }
            [0x60..=0x6F, _, _, _, high, low, ..] => {
                usize::from(u16::from_be_bytes([*high, *low])) + 40 == length
            }
            _ => false,
        };
        if is_ip { Self::Ip } else { Self::Ethernet }
    }

    /// Headers, as far as they are there.
    #[must_use]
    pub fn slice(self, bytes: &[u8]) -> Option<LaxSlicedPacket<'_>> {
        match self {
            Self::Ethernet => LaxSlicedPacket::from_ethernet(bytes).ok(),
            Self::Ip => LaxSlicedPacket::from_ip(bytes).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    #[test]
    fn a_header_that_agrees_with_the_length_tells() {
        let mut ip = Vec::new();
        PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(1, 2).write(&mut ip, b"payload").unwrap();
        let mut ip6 = Vec::new();
        PacketBuilder::ipv6([1; 16], [2; 16], 64).udp(1, 2).write(&mut ip6, b"payload").unwrap();
        let mut ethernet = Vec::new();
        let builder = PacketBuilder::ethernet2([2; 6], [0x45, 0, 0, 0, 0, 0]).ipv4([1; 4], [2; 4], 64);
        builder.udp(1, 2).write(&mut ethernet, b"payload").unwrap();
        let of = |bytes: &[u8]| LinkType::of(bytes, u32::try_from(bytes.len()).unwrap());
        assert_eq!([of(&ip), of(&ip6), of(&ethernet)], [LinkType::Ip, LinkType::Ip, LinkType::Ethernet]);
        assert_eq!(LinkType::of(&ip, 1000), LinkType::Ethernet);
        for len in 0..ip.len() {
            let _ = of(&ip[..len]);
        }
    }
}
