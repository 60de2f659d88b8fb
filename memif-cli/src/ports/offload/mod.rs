//! Completes packets that the kernel leaves unfinished: computes checksums, and splits TCP and UDP packets that are larger than
//! the interface's MTU into segments. A memif packet must be complete, as the protocol has no flags for either.
//!
//! The kernel puts a header in front of each packet (`struct virtio_net_hdr`) that says what is left to do.

use memif_pmd::{Burst, PushError};

/// Bytes of that header.
pub(super) const VNET_HEADER: usize = 10;
/// Size of a buffer for the largest packet and this header: 64 KiB of IP, an Ethernet header with two tags, and spare room.
pub(super) const LARGEST: usize = VNET_HEADER + 65536 + 64;

const NEEDS_CHECKSUM: u8 = 1;
const GSO_TCP4: u8 = 1;
const GSO_TCP6: u8 = 4;
const GSO_UDP: u8 = 5;
const GSO_ECN: u8 = 0x80;

const ETHERNET: usize = 14;
const VLAN_TAGS: [[u8; 2]; 2] = [[0x81, 0x00], [0x88, 0xa8]];
const TCP: u8 = 6;
const UDP: u8 = 17;
const FIN_AND_PSH: u8 = 0x09;
const CWR: u8 = 0x80;

/// The header: what is left to do with a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct VnetHeader {
    flags: u8,
    gso: u8,
    segment: usize,
    checksum_start: usize,
    checksum_offset: usize,
}

impl VnetHeader {
    fn parse(bytes: &[u8; VNET_HEADER]) -> Self {
        let [flags, gso, _, _, size @ .., a, b, c, d] = *bytes;
        Self {
            flags,
            gso: gso & !GSO_ECN,
            segment: u16::from_ne_bytes(size).into(),
            checksum_start: u16::from_ne_bytes([a, b]).into(),
            checksum_offset: u16::from_ne_bytes([c, d]).into(),
        }
    }
}

/// The packet cannot be completed, as its header contradicts it or a burst never takes it. It is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unfinished;

/// How much of a packet was put into a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// All of it.
    Done,
    /// The burst is full. The rest is still to be put into the next one.
    Full,
}

/// A packet from the kernel, which becomes one packet or several segments.
#[derive(Debug)]
pub(super) struct Work {
    /// Header and packet.
    buffer: Vec<u8>,
    /// Bytes of both; 0 if there is no packet.
    used: usize,
    split: Option<Split>,
}

impl Work {
    pub(super) fn new() -> Self {
        Self { buffer: vec![0; LARGEST], used: 0, split: None }
    }

    /// Whether there is nothing to put into a burst.
    pub(super) fn is_done(&self) -> bool {
        self.used == 0
    }

    /// Reads the next packet with `read`, which writes header and packet to a buffer and returns their length. Computes the
    /// checksum of a packet that is not split.
    ///
    /// # Errors
    /// The outer error is that of `read`. [`Unfinished`]: the header contradicts the packet, which is dropped.
    pub(super) fn take<E>(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Result<(), Unfinished>, E> {
        self.used = read(&mut self.buffer)?.min(self.buffer.len());
        let begun = self.begin();
        if begun.is_err() {
            self.used = 0;
        }
        Ok(begun)
    }

    /// Does what the header says, except for writing segments.
    fn begin(&mut self) -> Result<(), Unfinished> {
        let used = self.buffer.get_mut(..self.used).unwrap_or_default();
        let Some((header, packet)) = used.split_first_chunk_mut::<VNET_HEADER>() else {
            return Err(Unfinished);
        };
        let header = VnetHeader::parse(header);
        self.split = None;
        if header.gso != 0 {
            self.split = Some(Split::new(packet, header).ok_or(Unfinished)?);
        } else if header.flags & NEEDS_CHECKSUM != 0 {
            fill_in(packet, header.checksum_start, header.checksum_offset).ok_or(Unfinished)?;
        }
        Ok(())
    }

    /// Appends the packet or its segments to the burst, and calls `count` with the length of each.
    ///
    /// # Errors
    /// [`Unfinished`]: the packet is empty or too long for any burst. The rest of it is dropped.
    pub(super) fn put(&mut self, burst: &mut Burst, mut count: impl FnMut(usize)) -> Result<Put, Unfinished> {
        let packet = self.buffer.get(VNET_HEADER..self.used).unwrap_or_default();
        let result = match &mut self.split {
            None => burst.push(packet).map(|()| count(packet.len())),
            Some(split) => loop {
                let Some(len) = split.next_len(packet) else { break Ok(()) };
                match burst.reserve(len) {
                    Ok(out) => {
                        split.write(packet, out);
                        count(len);
                    }
                    Err(error) => break Err(error),
                }
            },
        };
        match result {
            Err(PushError::Full { .. }) => return Ok(Put::Full),
            Err(_) => {
                self.used = 0;
                return Err(Unfinished);
            }
            Ok(()) => self.used = 0,
        }
        Ok(Put::Done)
    }
}

/// How a packet is split into segments, and how far that has come. Offsets and lengths are in bytes.
#[derive(Debug)]
struct Split {
    ip: usize,
    is_v4: bool,
    protocol: u8,
    transport: usize,
    /// Offset of the payload.
    payload: usize,
    /// Payload bytes of a segment; the last one may have fewer.
    segment: usize,
    /// Payload bytes that earlier segments have.
    done: usize,
    /// Number of earlier segments.
    index: u16,
}

impl Split {
    /// How to split the packet; `None` if the header contradicts it.
    fn new(packet: &[u8], header: VnetHeader) -> Option<Self> {
        let ip = ip_header(packet)?;
        let transport = header.checksum_start;
        let (is_v4, shortest) = match packet.get(ip)? >> 4 {
            4 => (true, 20),
            6 => (false, 40),
            _ => return None,
        };
        let protocol = if header.gso == GSO_UDP { UDP } else { TCP };
        let length = match header.gso {
            GSO_TCP4 | GSO_TCP6 => usize::from(packet.get(transport.checked_add(12)?)? >> 4) * 4,
            GSO_UDP => 8,
            _ => return None,
        };
        let payload = transport + length;
        let fits = transport >= ip + shortest && length >= if protocol == UDP { 8 } else { 20 };
        // the checksum of IPv4 covers as many bytes as its header says
        let ip_length = usize::from(packet.get(ip)? & 0x0f) * 4;
        let fits = fits && (!is_v4 || (ip_length >= 20 && ip + ip_length <= transport));
        if !fits || header.segment == 0 || payload >= packet.len() {
            return None;
        }
        let segment = header.segment;
        Some(Self { ip, is_v4, protocol, transport, payload, segment, done: 0, index: 0 })
    }

    /// Bytes of the next segment; `None` if there are no more.
    fn next_len(&self, packet: &[u8]) -> Option<usize> {
        let left = packet.len().saturating_sub(self.payload + self.done);
        (left > 0).then(|| self.payload + left.min(self.segment))
    }

    /// Writes the next segment to `out`, whose length is that of [`Split::next_len`].
    fn write(&mut self, packet: &[u8], out: &mut [u8]) {
        let Self { ip, transport, payload, done, index, .. } = *self;
        let data = out.len() - payload;
        let (head, body) = out.split_at_mut(payload);
        head.copy_from_slice(&packet[..payload]);
        body.copy_from_slice(&packet[payload + done..payload + done + data]);
        self.done += data;
        self.index = index.wrapping_add(1);
        let is_last = payload + self.done >= packet.len();
        #[expect(clippy::cast_possible_truncation, reason = "a packet of IP is below 64 KiB")]
        let [ip_len, payload_len, transport_len] =
            [out.len() - ip, (out.len() - ip).saturating_sub(40), out.len() - transport]
                .map(|len| len as u16);
        if self.is_v4 {
            out[ip + 2..ip + 4].copy_from_slice(&ip_len.to_be_bytes());
            let id = u16::from_be_bytes([out[ip + 4], out[ip + 5]]).wrapping_add(index);
            out[ip + 4..ip + 6].copy_from_slice(&id.to_be_bytes());
            out[ip + 10..ip + 12].fill(0);
            let length = usize::from(out[ip] & 0x0f) * 4;
            let sum = !fold(sum(&out[ip..ip + length]));
            out[ip + 10..ip + 12].copy_from_slice(&sum.to_ne_bytes());
        } else {
            out[ip + 4..ip + 6].copy_from_slice(&payload_len.to_be_bytes());
        }
        let field = if self.protocol == TCP {
            let sequence = out[transport + 4..transport + 8].try_into().unwrap_or_default();
            #[expect(clippy::cast_possible_truncation, reason = "sequence numbers wrap around")]
            let sequence = u32::from_be_bytes(sequence).wrapping_add(done as u32);
            out[transport + 4..transport + 8].copy_from_slice(&sequence.to_be_bytes());
            if !is_last {
                out[transport + 13] &= !FIN_AND_PSH;
            }
            if index > 0 {
                out[transport + 13] &= !CWR;
            }
            transport + 16
        } else {
            out[transport + 4..transport + 6].copy_from_slice(&transport_len.to_be_bytes());
            transport + 6
        };
        out[field..field + 2].fill(0);
        let addresses = if self.is_v4 { ip + 12..ip + 20 } else { ip + 8..ip + 40 };
        let [high, low] = transport_len.to_be_bytes();
        let pseudo = sum(&out[addresses]) + sum(&[0, self.protocol, high, low]);
        let total = not_zero(!fold(sum(&out[transport..]) + pseudo), self.protocol);
        out[field..field + 2].copy_from_slice(&total.to_ne_bytes());
    }
}

/// Writes the checksum of the bytes from `start` on to the field at `start + offset`, which the kernel has filled with the sum
/// of the pseudo header. `None` if the field is not in the packet.
fn fill_in(packet: &mut [u8], start: usize, offset: usize) -> Option<()> {
    let total = !fold(sum(packet.get(start..)?));
    let field = start.checked_add(offset)?;
    // the field of UDP is at offset 6, that of TCP at 16, where a checksum of 0 is allowed
    let protocol = if offset == 6 { UDP } else { TCP };
    packet.get_mut(field..field + 2)?.copy_from_slice(&not_zero(total, protocol).to_ne_bytes());
    Some(())
}

/// Completes the checksum of a TCP or UDP packet that has only the sum of the pseudo header in its field, as packets from this
/// machine's own stack do. A complete checksum that happens to equal that sum is computed again, with the same result.
pub(super) fn complete_checksum(packet: &mut [u8]) {
    let _ = complete(packet);
}

fn complete(packet: &mut [u8]) -> Option<()> {
    let ip = ip_header(packet)?;
    let (protocol, transport, addresses) = match packet.get(ip)? >> 4 {
        4 => {
            let is_fragment = u16::from_be_bytes([*packet.get(ip + 6)?, *packet.get(ip + 7)?]) & 0x3fff != 0;
            let transport = ip + usize::from(packet[ip] & 0x0f) * 4;
            (!is_fragment && transport >= ip + 20).then_some((
                *packet.get(ip + 9)?,
                transport,
                ip + 12..ip + 20,
            ))?
        }
        6 => (*packet.get(ip + 6)?, ip + 40, ip + 8..ip + 40),
        _ => return None,
    };
    let length = match packet[ip] >> 4 {
        4 => u16::from_be_bytes([packet[ip + 2], packet[ip + 3]])
            .checked_sub(u16::try_from(transport - ip).ok()?)?,
        _ => u16::from_be_bytes([*packet.get(ip + 4)?, *packet.get(ip + 5)?]),
    };
    let offset = match protocol {
        TCP => 16,
        UDP => 6,
        _ => return None,
    };
    // Ethernet's padding is not part of the checksum
    let packet = packet.get_mut(..transport + usize::from(length))?;
    let field = [*packet.get(transport + offset)?, *packet.get(transport + offset + 1)?];
    let [high, low] = length.to_be_bytes();
    let pseudo = sum(packet.get(addresses)?) + sum(&[0, protocol, high, low]);
    if u16::from_ne_bytes(field) != fold(pseudo) {
        return None;
    }
    fill_in(packet, transport, offset)
}

/// Offset of the IP header, behind the Ethernet header and its VLAN tags.
fn ip_header(packet: &[u8]) -> Option<usize> {
    let mut ip = ETHERNET;
    while VLAN_TAGS.iter().any(|tag| packet.get(ip - 2..ip) == Some(tag)) {
        ip += 4;
    }
    (ip < packet.len()).then_some(ip)
}

/// The checksum to write. In UDP, a field of 0 means that there is no checksum, so 0xffff stands for 0.
fn not_zero(sum: u16, protocol: u8) -> u16 {
    if sum == 0 && protocol == UDP { u16::MAX } else { sum }
}

/// The ones' complement sum in the machine's byte order, not yet folded to 16 bits. A checksum that is written in the same order
/// is right on any machine (RFC 1071).
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum::<u64>()
        + u64::from(u32::from_ne_bytes(last))
}

/// Folds a ones' complement sum to 16 bits.
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    #[expect(clippy::cast_possible_truncation, reason = "it is below 2^16 now")]
    let folded = sum as u16;
    folded
}

#[cfg(test)]
mod tests;
