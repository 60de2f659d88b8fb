//! Checks of IP packets of any origin.

use super::layout::{ETHER_TYPE, ETHER_TYPE_IPV6, Framing, IPV4, IPV6, MIN_SIZE, TAG_TYPE, TAGGED};

/// Whether a packet of any origin is IP with the length that its header says, and for IPv4 with a correct header checksum.
pub(crate) fn is_sound_ip(packet: &[u8], framing: Framing) -> bool {
    let is_tagged =
        framing == Framing::Ethernet && packet.get(ETHER_TYPE).is_some_and(|kind| kind == TAG_TYPE);
    let header_len = if is_tagged { TAGGED } else { framing.header_len() };
    let Some((ethernet, ip)) = packet.split_at_checked(header_len) else { return false };
    // Ethernet pads short frames
    let padded = framing == Framing::Ethernet && packet.len() <= MIN_SIZE;
    let kind = ethernet.split_last_chunk().map(|(_, kind)| kind);
    match (kind, ip.first().map(|first| first >> 4)) {
        (None | Some([0x08, 0x00]), Some(4)) => is_sound_ipv4(ip, padded),
        (None | Some(&ETHER_TYPE_IPV6), Some(6)) => is_sound_ipv6(ip, padded),
        _ => false,
    }
}

fn is_sound_ipv4(ip: &[u8], padded: bool) -> bool {
    let Some(&[first, _, high, low]) = ip.first_chunk::<4>() else { return false };
    let header_len = usize::from(first & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([high, low]));
    (total == ip.len() || (padded && total < ip.len()))
        && (IPV4..=total).contains(&header_len)
        && ip.get(..header_len).is_some_and(|header| ones_sum(header) == 0xffff)
}

fn is_sound_ipv6(ip: &[u8], padded: bool) -> bool {
    let Some(&[.., high, low]) = ip.first_chunk::<6>() else { return false };
    let total = IPV6 + usize::from(u16::from_be_bytes([high, low]));
    total == ip.len() || (padded && total < ip.len())
}

/// The ones' complement sum of IPv4 (RFC 1071).
pub(super) fn ones_sum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from);
    fold(bytes.chunks(2).map(word).sum::<u32>())
}

/// Folds a ones' complement sum to 16 bits: adds the bits above these to them until there are none.
pub(crate) fn fold(sum: impl Into<u64>) -> u16 {
    let mut sum = sum.into();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    #[expect(clippy::cast_possible_truncation, reason = "it is below 2^16 now")]
    let folded = sum as u16;
    folded
}
