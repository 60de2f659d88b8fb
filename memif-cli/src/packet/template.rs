//! The generator's side: makes test packets.

use super::ip::{fold, ones_sum};
use super::layout::{
    CHECK, DISCARD_PORT, ETHERNET, ETHERNET_HEADER, FIRST_PORT, Fill, Framing, HEAD, Head, IP_CHECKSUM,
    IP_LENGTH, IPV4, MAGIC, MAGIC_FILLED, MAGIC_PLAIN, SEQUENCE, STAMP, Stream, UDP_LENGTH, UDP_SOURCE,
    UDP_TARGET, bytes, put,
};

/// Makes the packets of one stream, of any size. Fastest when packets that follow each other have one size.
#[derive(Debug)]
pub(crate) struct Template {
    stream: Stream,
    framing: Framing,
    fill: Fill,
    /// The head of packets of `ip_size`.
    head: Head,
    ip_size: usize,
}

impl Template {
    /// The packets of `stream`.
    pub(crate) fn new(stream: Stream, framing: Framing, fill: Fill) -> Self {
        Self { stream, framing, fill, head: head(stream, HEAD, fill), ip_size: HEAD }
    }

    /// Fills `packet` as number `sequence`, stamped with `stamp` nanoseconds or 0. One that is shorter than
    /// [`Framing::min_size`] is left as it is.
    #[inline(always)]
    pub(crate) fn write(&mut self, packet: &mut [u8], sequence: u64, stamp: u64) {
        let mut ip = packet;
        if self.framing == Framing::Ethernet {
            let Some((ethernet, rest)) = ip.split_first_chunk_mut::<ETHERNET>() else { return };
            *ethernet = ETHERNET_HEADER;
            ip = rest;
        }
        if ip.len() != self.ip_size {
            self.ip_size = ip.len();
            resize(&mut self.head, self.ip_size);
        }
        let Some((head, body)) = ip.split_first_chunk_mut::<HEAD>() else { return };
        *head = self.head;
        put(head, CHECK, &self.stream.check(sequence, stamp).to_le_bytes());
        put(head, SEQUENCE, &sequence.to_le_bytes());
        put(head, STAMP, &stamp.to_le_bytes());
        if !body.is_empty() {
            let number = if self.fill == Fill::Plain { 0 } else { sequence };
            let content = self.stream.body(number, body.len());
            if content.len() == body.len() {
                body.copy_from_slice(content);
            }
        }
    }
}

/// The head of a stream's IP packets of `size` bytes, without sequence, stamp and check.
pub(crate) fn head(stream: Stream, size: usize, fill: Fill) -> Head {
    let mut head = [0; HEAD];
    put(&mut head, 0..IPV4, &ipv4_header(stream, size));
    put(&mut head, UDP_SOURCE, &FIRST_PORT.wrapping_add(stream.queue).to_be_bytes());
    put(&mut head, UDP_TARGET, &DISCARD_PORT.to_be_bytes());
    put(&mut head, UDP_LENGTH, &length(size.saturating_sub(IPV4)).to_be_bytes());
    let magic = if fill == Fill::Plain { MAGIC_PLAIN } else { MAGIC_FILLED };
    put(&mut head, MAGIC, &magic.to_le_bytes());
    head
}

/// Makes `head` that of packets of `size` bytes: its lengths, and its checksum by what has changed (RFC 1624).
pub(crate) fn resize(head: &mut Head, size: usize) {
    let [was, checksum] = [IP_LENGTH, IP_CHECKSUM].map(|field| u16::from_be_bytes(bytes(head, field)));
    let is = length(size);
    let sum = fold(u32::from(!checksum) + u32::from(!was) + u32::from(is));
    put(head, IP_LENGTH, &is.to_be_bytes());
    put(head, IP_CHECKSUM, &(!sum).to_be_bytes());
    put(head, UDP_LENGTH, &length(size.saturating_sub(IPV4)).to_be_bytes());
}

pub(super) fn ipv4_header(stream: Stream, size: usize) -> [u8; IPV4] {
    let [high, low] = length(size).to_be_bytes();
    let [a, b, c, d] = stream.instance.to_be_bytes();
    // don't fragment, 64 hops, UDP
    let mut header = [0x45, 0, high, low, a, b, 0x40, 0, 64, 17, 0, 0, 198, 18, c, d, 198, 19, 0, 1];
    let checksum = !ones_sum(&header);
    header[IP_CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
    header
}

fn length(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}
