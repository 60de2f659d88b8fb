//! Packets from the kernel: checksums are computed, large packets are split into segments.

use memif_pmd::{Burst, PushError};

use super::checksum::{
    TCP, UDP, addresses, fill_in, ip_header, not_zero, pseudo_header, sum, write_ip_length,
};
use super::vnet::{GSO_TCP4, GSO_TCP6, GSO_UDP, LARGEST, NEEDS_CHECKSUM, VNET_HEADER, VnetHeader};
use crate::packet::fold;

const FIN_AND_PSH: u8 = 0x09;
const CWR: u8 = 0x80;

/// The packet cannot be completed, as its header contradicts it or a burst never takes it. It is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ports) struct Unfinished;

/// How much of a packet was put into a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ports) enum Put {
    /// All of it.
    Done,
    /// The burst is full. The rest is still to be put into the next one.
    Full,
}

/// A packet from the kernel, which becomes one packet or several segments.
#[derive(Debug)]
pub(in crate::ports) struct Work {
    /// Header and packet.
    buffer: Vec<u8>,
    /// Bytes of both; 0 if there is no packet.
    used: usize,
    split: Option<Split>,
}

impl Work {
    pub(in crate::ports) fn new() -> Self {
        Self { buffer: vec![0; LARGEST], used: 0, split: None }
    }

    /// Whether there is nothing to put into a burst.
    pub(in crate::ports) fn is_done(&self) -> bool {
        self.used == 0
    }

    /// Reads the next packet with `read`, which writes header and packet to a buffer and returns their length. Computes the
    /// checksum of a packet that is not split.
    ///
    /// # Errors
    /// The outer error is that of `read`. [`Unfinished`]: the header contradicts the packet, which is dropped.
    pub(in crate::ports) fn take<E>(
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
    pub(in crate::ports) fn put(
        &mut self,
        burst: &mut Burst,
        mut count: impl FnMut(usize),
    ) -> Result<Put, Unfinished> {
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
        let transport_len = (out.len() - transport) as u16;
        if self.is_v4 {
            let id = u16::from_be_bytes([out[ip + 4], out[ip + 5]]).wrapping_add(index);
            out[ip + 4..ip + 6].copy_from_slice(&id.to_be_bytes());
        }
        write_ip_length(out, ip, self.is_v4);
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
        let pseudo = pseudo_header(&out[addresses(ip, self.is_v4)], self.protocol, transport_len);
        let total = not_zero(!fold(sum(&out[transport..]) + pseudo), self.protocol);
        out[field..field + 2].copy_from_slice(&total.to_ne_bytes());
    }
}
