//! Checksums of TCP and UDP in Ethernet frames.

use std::ops::Range;

use crate::packet::fold;

const ETHERNET: usize = 14;
const VLAN_TAGS: [[u8; 2]; 2] = [[0x81, 0x00], [0x88, 0xa8]];
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;

/// Writes the checksum of the bytes from `start` on to the field at `start + offset`, which the kernel has filled with the sum
/// of the pseudo header. `None` if the field is not in the packet.
pub(super) fn fill_in(packet: &mut [u8], start: usize, offset: usize) -> Option<()> {
    let total = !fold(sum(packet.get(start..)?));
    let field = start.checked_add(offset)?;
    // the field of UDP is at offset 6, that of TCP at 16, where a checksum of 0 is allowed
    let protocol = if offset == 6 { UDP } else { TCP };
    packet.get_mut(field..field + 2)?.copy_from_slice(&not_zero(total, protocol).to_ne_bytes());
    Some(())
}

/// Completes the checksum of a TCP or UDP packet that has only the sum of the pseudo header in its field, as packets from this
/// machine's own stack do. A complete checksum that happens to equal that sum is computed again, with the same result.
pub(in crate::ports) fn complete_checksum(packet: &mut [u8]) {
    let _ = complete(packet);
}

fn complete(packet: &mut [u8]) -> Option<()> {
    let ip = ip_header(packet)?;
    let is_v4 = packet.get(ip)? >> 4 == 4;
    let word = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let (protocol, transport, length) = match packet[ip] >> 4 {
        4 => {
            let is_fragment = word(ip + 6)? & 0x3fff != 0;
            let header = u16::from(packet[ip] & 0x0f) * 4;
            let length = word(ip + 2)?.checked_sub(header)?;
            let found = (*packet.get(ip + 9)?, ip + usize::from(header), length);
            (!is_fragment && header >= 20).then_some(found)?
        }
        6 => (*packet.get(ip + 6)?, ip + 40, word(ip + 4)?),
        _ => return None,
    };
    let offset = match protocol {
        TCP => 16,
        UDP => 6,
        _ => return None,
    };
    // Ethernet's padding is not part of the checksum
    let packet = packet.get_mut(..transport + usize::from(length))?;
    let field = [*packet.get(transport + offset)?, *packet.get(transport + offset + 1)?];
    let pseudo = pseudo_header(packet.get(addresses(ip, is_v4))?, protocol, length);
    if u16::from_ne_bytes(field) != fold(pseudo) {
        return None;
    }
    fill_in(packet, transport, offset)
}

/// Offset of the IP header, behind the Ethernet header and its VLAN tags.
pub(super) fn ip_header(packet: &[u8]) -> Option<usize> {
    let mut ip = ETHERNET;
    while VLAN_TAGS.iter().any(|tag| packet.get(ip - 2..ip) == Some(tag)) {
        ip += 4;
    }
    (ip < packet.len()).then_some(ip)
}

/// Where the source and target addresses of the IP header at `ip` are.
pub(super) fn addresses(ip: usize, is_v4: bool) -> Range<usize> {
    if is_v4 { ip + 12..ip + 20 } else { ip + 8..ip + 40 }
}

/// The sum of the pseudo header; `length` counts the bytes from the transport header on.
pub(super) fn pseudo_header(addresses: &[u8], protocol: u8, length: u16) -> u64 {
    let [high, low] = length.to_be_bytes();
    sum(addresses) + sum(&[0, protocol, high, low])
}

/// Writes the length field of the IP header at `ip` for a packet of this length, and the checksum of an IPv4 header.
pub(super) fn write_ip_length(packet: &mut [u8], ip: usize, is_v4: bool) {
    let behind = if is_v4 { ip } else { ip + 40 };
    #[expect(clippy::cast_possible_truncation, reason = "a packet of IP is below 64 KiB")]
    let length = (packet.len() - behind) as u16;
    let field = if is_v4 { ip + 2 } else { ip + 4 };
    packet[field..field + 2].copy_from_slice(&length.to_be_bytes());
    if is_v4 {
        let header = usize::from(packet[ip] & 0x0f) * 4;
        write_ip_checksum(&mut packet[ip..ip + header]);
    }
}

/// Computes the checksum of an IPv4 header and writes it there.
pub(super) fn write_ip_checksum(header: &mut [u8]) {
    header[10..12].fill(0);
    let sum = !fold(sum(header));
    header[10..12].copy_from_slice(&sum.to_ne_bytes());
}

/// The checksum to write. In UDP, a field of 0 means that there is no checksum, so 0xffff stands for 0.
pub(super) fn not_zero(sum: u16, protocol: u8) -> u16 {
    if sum == 0 && protocol == UDP { u16::MAX } else { sum }
}

/// The ones' complement sum in the machine's byte order, not yet folded to 16 bits. A checksum that is written in the same order
/// is right on any machine (RFC 1071).
pub(super) fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum::<u64>()
        + u64::from(u32::from_ne_bytes(last))
}
