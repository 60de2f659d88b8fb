//! What the kernel leaves undone in packets for a TAP interface, done in software: checksums, and the segmentation of TCP and
//! UDP packets that are larger than the interface sends. memif has no words for either.
//!
//! The kernel puts a header in front of each packet (`struct virtio_net_hdr`) that says what is left to do.

use memif_pmd::{Burst, PushError};

/// Bytes of that header.
pub(super) const VNET_HEADER: usize = 10;
/// Largest packet with it: 64 KiB of IP, an Ethernet header with two tags, and room.
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

/// What is left to do with a packet.
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

/// Why a packet of the kernel's was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unfinished;

/// What became of the packets that were put into a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// All are in.
    Done,
    /// The burst is full: the rest goes into the next one.
    Full,
}

/// A packet as the kernel gave it, which becomes one or several.
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

    /// Whether there is none.
    pub(super) fn is_done(&self) -> bool {
        self.used == 0
    }

    /// Takes the next packet, which `read` puts into the buffer, and finishes it if it is a single one.
    ///
    /// # Errors
    /// The header contradicts the packet, which is gone.
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

    /// Appends what becomes of the packet, and calls `count` with the length of each.
    ///
    /// # Errors
    /// A packet that no burst takes; the rest of it is gone.
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

/// A packet on its way into segments.
#[derive(Debug)]
struct Split {
    ip: usize,
    is_v4: bool,
    protocol: u8,
    transport: usize,
    /// Where the payload begins.
    payload: usize,
    /// Payload of a segment.
    segment: usize,
    /// Payload that is in segments already, and the number of these.
    done: usize,
    index: u16,
}

impl Split {
    /// `None` if the header contradicts the packet.
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
        // also the header length of IPv4, over which its checksum goes
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

    /// Writes the next segment, as long as [`Split::next_len`] said.
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

/// Completes a checksum, in whose field the kernel left that of the pseudo header. `None` if it is not in the packet.
fn fill_in(packet: &mut [u8], start: usize, offset: usize) -> Option<()> {
    let total = !fold(sum(packet.get(start..)?));
    let field = start.checked_add(offset)?;
    // TCP has its field elsewhere, where 0 is allowed
    let protocol = if offset == 6 { UDP } else { TCP };
    packet.get_mut(field..field + 2)?.copy_from_slice(&not_zero(total, protocol).to_ne_bytes());
    Some(())
}

/// Completes the checksum of a TCP or UDP packet in whose field is that of the pseudo header alone, as the kernel's are that
/// have not passed an interface. A right checksum stays as it is also where it happens to be that number.
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
    // without padding
    let packet = packet.get_mut(..transport + usize::from(length))?;
    let field = [*packet.get(transport + offset)?, *packet.get(transport + offset + 1)?];
    let [high, low] = length.to_be_bytes();
    let pseudo = sum(packet.get(addresses)?) + sum(&[0, protocol, high, low]);
    if u16::from_ne_bytes(field) != fold(pseudo) {
        return None;
    }
    fill_in(packet, transport, offset)
}

/// Where the IP header begins, behind Ethernet's and its tags.
fn ip_header(packet: &[u8]) -> Option<usize> {
    let mut ip = ETHERNET;
    while VLAN_TAGS.iter().any(|tag| packet.get(ip - 2..ip) == Some(tag)) {
        ip += 4;
    }
    (ip < packet.len()).then_some(ip)
}

/// In UDP, 0 says that there is no checksum: the other zero of the ones' complement is written.
fn not_zero(sum: u16, protocol: u8) -> u16 {
    if sum == 0 && protocol == UDP { u16::MAX } else { sum }
}

/// The ones' complement sum, not folded, in the byte order of the machine: that order cancels out (RFC 1071).
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum::<u64>()
        + u64::from(u32::from_ne_bytes(last))
}

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
