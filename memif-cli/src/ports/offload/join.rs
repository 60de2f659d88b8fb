//! Packets to the kernel: TCP segments that follow each other are joined into one packet, which the kernel takes in one call
//! and handles as one. The kernel does the same with packets from a NIC (GRO).
//!
//! The kernel does not verify the TCP checksum of such a packet, and computes new ones when it forwards the segments. Segments are
//! therefore joined only if their checksums are right, and only if splitting the packet gives the same segments.

use super::checksum::{TCP, addresses, ip_header, pseudo_header, sum, write_ip_length};
use super::vnet::{GSO_TCP4, GSO_TCP6, LARGEST, VNET_HEADER, VnetHeader};
use crate::packet::fold;

const ACK: u8 = 0x10;
const PSH: u8 = 0x08;
const DO_NOT_FRAGMENT: u8 = 0x40;
/// Bytes of the largest joined packet, with its IP header.
const LARGEST_IP: usize = 65535;
/// Offsets of the flags and the checksum in a TCP header.
const FLAGS: usize = 13;
const CHECKSUM: usize = 16;

/// The headers of a TCP segment. Offsets are in bytes.
#[derive(Clone, Copy, Debug)]
struct Segment {
    ip: usize,
    is_v4: bool,
    transport: usize,
    /// Offset of the payload.
    payload: usize,
    sequence: u32,
}

impl Segment {
    /// `None` if the packet is never joined with others: it is no TCP, has IP options, is a fragment, has padding or no payload,
    /// or other flags than ACK and PSH.
    #[inline]
    fn parse(packet: &[u8]) -> Option<Self> {
        let ip = ip_header(packet)?;
        let header = packet.get(ip..)?;
        let (is_v4, transport) = match header.first()? {
            0x45 => {
                let header = header.first_chunk::<20>()?;
                let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
                let is_whole = header[6] & !DO_NOT_FRAGMENT == 0 && header[7] == 0;
                (is_whole && header[9] == TCP && ip + length == packet.len()).then_some((true, ip + 20))?
            }
            0x60..=0x6f => {
                let header = header.first_chunk::<40>()?;
                let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
                (header[6] == TCP && ip + 40 + length == packet.len()).then_some((false, ip + 40))?
            }
            _ => return None,
        };
        let tcp = packet.get(transport..)?.first_chunk::<20>()?;
        let length = usize::from(tcp[12] >> 4) * 4;
        let payload = transport + length;
        let fits = length >= 20 && payload < packet.len() && tcp[FLAGS] & !PSH == ACK;
        let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
        fits.then_some(Self { ip, is_v4, transport, payload, sequence })
    }

    /// Whether the checksums of IPv4 and TCP are right.
    fn is_sound(&self, packet: &[u8]) -> bool {
        let Self { ip, is_v4, transport, .. } = *self;
        let header = if is_v4 { fold(sum(&packet[ip..transport])) } else { u16::MAX };
        header == u16::MAX && fold(sum(&packet[transport..]) + self.pseudo_header(packet)) == u16::MAX
    }

    /// Writes the length and the checksum of the IP header, and the sum of the pseudo header, from which the kernel computes
    /// the TCP checksum of each segment.
    fn write_headers(&self, packet: &mut [u8]) {
        write_ip_length(packet, self.ip, self.is_v4);
        let pseudo = fold(self.pseudo_header(packet)).to_ne_bytes();
        let field = self.transport + CHECKSUM;
        packet[field..field + 2].copy_from_slice(&pseudo);
    }

    fn pseudo_header(&self, packet: &[u8]) -> u64 {
        #[expect(clippy::cast_possible_truncation, reason = "a packet of IP is below 64 KiB")]
        let length = (packet.len() - self.transport) as u16;
        pseudo_header(&packet[addresses(self.ip, self.is_v4)], TCP, length)
    }
}

/// One packet for the kernel, joined from one or more packets.
#[derive(Debug)]
pub(in crate::ports) struct Joined {
    /// Header and packet.
    buffer: Vec<u8>,
    /// Packets that were added, and their bytes.
    packets: usize,
    bytes: u64,
    /// The first packet, if it can be joined with others, and whether the next one can still be added.
    first: Option<Segment>,
    is_open: bool,
    /// Payload of each but the last one.
    segment: usize,
}

impl Joined {
    /// No packet.
    pub(in crate::ports) fn new() -> Self {
        Self {
            buffer: Vec::with_capacity(LARGEST),
            packets: 0,
            bytes: 0,
            first: None,
            is_open: false,
            segment: 0,
        }
    }

    /// Packets that were added, and their bytes.
    pub(in crate::ports) fn count(&self) -> (usize, u64) {
        (self.packets, self.bytes)
    }

    /// Removes all packets.
    pub(in crate::ports) fn clear(&mut self) {
        self.buffer.clear();
        (self.packets, self.bytes, self.first) = (0, 0, None);
    }

    /// Adds a packet. Returns false if it does not continue the packets before it, which must then be sent and cleared first.
    pub(in crate::ports) fn add(&mut self, packet: &[u8]) -> bool {
        let next = Segment::parse(packet);
        let data = next.map_or(0, |next| packet.len() - next.payload);
        if self.packets == 0 {
            self.buffer.clear();
            self.buffer.extend_from_slice(&[0; VNET_HEADER]);
            self.buffer.extend_from_slice(packet);
            self.first = next;
            self.segment = data;
        } else {
            let Some((first, next)) = self.first.zip(next).filter(|_| self.is_open) else { return false };
            if !self.continues(&first, &next, packet) {
                return false;
            }
            self.buffer.extend_from_slice(&packet[next.payload..]);
            self.buffer[VNET_HEADER + first.transport + FLAGS] |= packet[next.transport + FLAGS];
        }
        // a PSH flag stays on the last segment when the packet is split
        self.is_open =
            next.is_some_and(|next| packet[next.transport + FLAGS] & PSH == 0) && data == self.segment;
        self.packets += 1;
        self.bytes += packet.len() as u64;
        true
    }

    /// Whether `packet`, whose headers are `next`, is the next segment.
    fn continues(&self, first: &Segment, next: &Segment, packet: &[u8]) -> bool {
        let joined = self.buffer.get(VNET_HEADER..).unwrap_or_default();
        let Segment { ip, is_v4, transport, payload, .. } = *first;
        let data = packet.len() - next.payload;
        let same = |from: usize, to: usize| packet[from..to] == joined[from..to];
        let is_near = (next.ip, next.is_v4, next.payload) == (ip, is_v4, payload)
            && data <= self.segment
            && joined.len() + data - ip <= LARGEST_IP;
        #[expect(clippy::cast_possible_truncation, reason = "sequence numbers wrap around")]
        let sequence = first.sequence.wrapping_add((joined.len() - payload) as u32);
        is_near
            && next.sequence == sequence
            && same(0, ip)
            && if is_v4 {
                same(ip, ip + 2)
                    && same(ip + 6, ip + 10)
                    && same(ip + 12, transport)
                    && self.has_next_id(joined, packet, ip)
            } else {
                same(ip, ip + 4) && same(ip + 6, transport)
            }
            // ports, acknowledgement and length, window, options
            && same(transport, transport + 4)
            && same(transport + 8, transport + FLAGS)
            && same(transport + FLAGS + 1, transport + CHECKSUM)
            && same(transport + 20, payload)
            && next.is_sound(packet)
            && (self.packets > 1 || first.is_sound(joined))
    }

    /// Whether the IPv4 identification is the next one. It has no meaning in packets that must not be fragmented.
    fn has_next_id(&self, joined: &[u8], packet: &[u8], ip: usize) -> bool {
        let id = |packet: &[u8]| u16::from_be_bytes([packet[ip + 4], packet[ip + 5]]);
        #[expect(clippy::cast_possible_truncation, reason = "it wraps around")]
        let expected = id(joined).wrapping_add(self.packets as u16);
        packet[ip + 6] & DO_NOT_FRAGMENT != 0 || id(packet) == expected
    }

    /// Header and packet, to be written at once.
    pub(in crate::ports) fn finish(&mut self) -> &[u8] {
        if let Some(first) = self.first.filter(|_| self.packets > 1)
            && let Some((header, packet)) = self.buffer.split_first_chunk_mut()
        {
            first.write_headers(packet);
            let gso = if first.is_v4 { GSO_TCP4 } else { GSO_TCP6 };
            *header = VnetHeader::of_segments(gso, self.segment, (first.transport, CHECKSUM), first.payload);
        }
        &self.buffer
    }
}
