//! The loop that receives: from a ring into private memory; what packets come from and go into; counters.
//!
//! The ends of a ring share it. Master and slave differ in one point, where a descriptor's bytes are: `resolve` says
//! so. Each descriptor is read once, and each loop is bounded by two indices that were checked before.

use heapless::Vec;

use crate::cursor::distance;
use crate::fault::DropReason;
use crate::layout::{Desc, MAX_PACKET_SIZE, MAX_SEGMENTS};
use crate::shm::{RingMemory, Span, settle};
use crate::tuning::{RECEIVE_BYTES, RECEIVE_STEP};

/// Private memory that packets are received into.
pub trait PacketSink {
    /// Adds a packet of `len` bytes, 1 to 65535, and returns its bytes to be filled. `None` if it does not fit now; an
    /// empty sink accepts every packet.
    fn push(&mut self, len: usize) -> Option<&mut [u8]>;
    /// Number of packets that can still be added: the receiver looks no further ahead.
    fn room(&self) -> usize;
    /// Adds copies of packets, each 1 to 65535 bytes, up to the first that does not fit now. Returns their number. Sinks that
    /// are faster at several packets than at one implement it themselves.
    #[inline(always)]
    fn push_all(&mut self, packets: &[Span<'_>]) -> usize {
        let mut count = 0;
        for span in packets {
            let Some(packet) = self.push(span.len()) else { break };
            span.copy_to(packet);
            count += 1;
        }
        count
    }
}

/// Packets to send, in private memory.
pub trait PacketSource {
    /// Number of packets.
    fn count(&self) -> usize;
    /// The packets in order, [`PacketSource::count`] of them.
    fn packets(&self) -> impl Iterator<Item = &[u8]> + Clone;
}

impl PacketSource for [&[u8]] {
    fn count(&self) -> usize {
        self.len()
    }

    fn packets(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.iter().copied()
    }
}

/// Counters of one end of a ring. Private memory, written by one thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packets received or sent.
    pub packets: u64,
    /// Bytes of those packets.
    pub bytes: u64,
    /// Packets dropped, for any reason.
    dropped: u64,
    /// The same, by [`DropReason::index`].
    drops: [u64; DropReason::ALL.len()],
}

impl Tally {
    /// Counts one packet of `bytes` bytes.
    #[inline(always)]
    pub fn count(&mut self, bytes: usize) {
        self.count_run(1, bytes as u64);
    }

    #[inline(always)]
    pub(crate) fn count_run(&mut self, packets: u16, bytes: u64) {
        self.packets += u64::from(packets);
        self.bytes += bytes;
    }

    /// Counts one dropped packet.
    #[cold]
    pub fn count_drop(&mut self, reason: DropReason) {
        self.add_drops(reason, 1);
    }

    /// Adds `packets` dropped packets: for a tally that continues earlier counts.
    pub fn add_drops(&mut self, reason: DropReason, packets: u64) {
        self.dropped += packets;
        if let Some(count) = self.drops.get_mut(reason.index()) {
            *count += packets;
        }
    }

    /// Packets dropped, for any reason.
    #[inline(always)]
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Packets dropped for one reason.
    #[must_use]
    pub fn dropped_for(&self, reason: DropReason) -> u64 {
        self.drops.get(reason.index()).copied().unwrap_or_default()
    }
}

/// Copies the packets at `from..until` into `sink`, as many as it accepts. Returns the index behind the last one that
/// was received or dropped. `resolve` finds the bytes of a descriptor snapshot; `leave` is called with the ring,
/// the first index of each chain that was received or dropped, and the index behind it.
#[inline(always)]
pub(crate) fn receive_burst<'m, R: RingMemory, S: PacketSink>(
    ring: &R,
    from: u16,
    until: u16,
    resolve: impl Fn(u16, &Desc) -> Result<Span<'m>, DropReason>,
    leave: impl Fn(&R, u16, u16) + Copy,
    sink: &mut S,
    tally: &mut Tally,
) -> u16 {
    let mut index = from;
    loop {
        let (next, bytes) = receive_run(ring, index, until, &resolve, sink);
        tally.count_run(distance(next, index), bytes);
        index = next;
        if index == until {
            break;
        }
        match receive_other(ring, index, until, &resolve, leave, sink, tally) {
            Some(next) => index = next,
            None => break,
        }
    }
    settle();
    index
}

/// The hot loop of receivers: packets of one valid descriptor, up to the first that is not. Returns the index of that
/// one, and the bytes received. It keeps its counts in registers.
///
/// It goes in steps: the descriptors of a few packets are read and checked and their bytes asked for, then the bytes are
/// copied. Packet by packet, a few misses would fill the processor's window, and the next packets would wait for them.
#[inline(always)]
fn receive_run<'m, R: RingMemory, S: PacketSink>(
    ring: &R,
    from: u16,
    until: u16,
    resolve: &impl Fn(u16, &Desc) -> Result<Span<'m>, DropReason>,
    sink: &mut S,
) -> (u16, u64) {
    let mut index = from;
    let mut bytes = 0;
    let mut spans = Vec::new();
    loop {
        look_ahead(ring, index, until, sink.room(), resolve, &mut spans);
        // of what does not fit now, the descriptors are read anew when it is received
        let count = sink.push_all(&spans).min(spans.len());
        bytes += spans.iter().take(count).map(|span| span.len() as u64).sum::<u64>();
        #[expect(clippy::cast_possible_truncation, reason = "at most a step of packets")]
        let taken = count as u16;
        index = index.wrapping_add(taken);
        if count < RECEIVE_STEP {
            return (index, bytes);
        }
    }
}

/// Puts the bytes of the next packets into `spans`, and asks for them: at most a step of packets, and `most`, up to the first
/// that is not of one valid descriptor.
#[inline(always)]
fn look_ahead<'m, R: RingMemory>(
    ring: &R,
    from: u16,
    until: u16,
    most: usize,
    resolve: &impl Fn(u16, &Desc) -> Result<Span<'m>, DropReason>,
    // not returned: a vector that is returned is copied
    spans: &mut Vec<Span<'m>, RECEIVE_STEP>,
) {
    spans.clear();
    let mut index = from;
    let most = most.min(RECEIVE_STEP);
    while index != until && spans.len() < most {
        let desc = ring.desc(index);
        let Ok(span) = resolve(index, &desc).and_then(whole_packet) else { break };
        if desc.has_next() {
            break;
        }
        span.prefetch_to_read(RECEIVE_BYTES);
        let _ = spans.push(span); // is not full
        index = index.wrapping_add(1);
    }
}

/// One packet at which [`receive_run`] ended: of several descriptors, invalid, or not accepted by `sink`. The
/// descriptor is read again, and this reading alone counts. `None` if `sink` does not accept it now.
#[inline(never)]
fn receive_other<'m, R: RingMemory, S: PacketSink>(
    ring: &R,
    index: u16,
    until: u16,
    resolve: &impl Fn(u16, &Desc) -> Result<Span<'m>, DropReason>,
    leave: impl Fn(&R, u16, u16) + Copy,
    sink: &mut S,
    tally: &mut Tally,
) -> Option<u16> {
    let desc = ring.desc(index);
    if desc.has_next() {
        let next = receive_chain(ring, index, until, desc, resolve, sink, tally)?;
        leave(ring, index, next);
        return Some(next);
    }
    match resolve(index, &desc).and_then(whole_packet) {
        Ok(span) => tally.count(span.copy_to(sink.push(span.len())?)),
        Err(reason) => tally.count_drop(reason),
    }
    Some(index.wrapping_add(1))
}

#[inline(always)]
fn whole_packet(span: Span<'_>) -> Result<Span<'_>, DropReason> {
    packet_bytes(span.len()).map(|_| span)
}

/// Checks the length of a packet: 1 to 65535 bytes.
///
/// # Errors
/// [`DropReason::Empty`], [`DropReason::Oversized`].
#[inline(always)]
pub const fn packet_bytes(bytes: usize) -> Result<usize, DropReason> {
    match bytes {
        0 => Err(DropReason::Empty),
        1..=MAX_PACKET_SIZE => Ok(bytes),
        _ => Err(DropReason::Oversized),
    }
}

/// A packet of several descriptors. `None` if `sink` does not accept it now.
#[inline(never)]
fn receive_chain<'m, R: RingMemory, S: PacketSink>(
    ring: &R,
    from: u16,
    until: u16,
    first: Desc,
    resolve: &impl Fn(u16, &Desc) -> Result<Span<'m>, DropReason>,
    sink: &mut S,
    tally: &mut Tally,
) -> Option<u16> {
    let mut spans: Vec<Span<'m>, MAX_SEGMENTS> = Vec::new();
    let (next, walked) = walk_chain(ring, from, until, first, |index, desc| {
        spans.push(resolve(index, desc)?).map_err(|_| DropReason::ChainTooLong)
    });
    let bytes: usize = spans.iter().map(Span::len).sum();
    if let Err(reason) = walked.and(packet_bytes(bytes)) {
        tally.count_drop(reason);
        return Some(next);
    }
    let mut packet = sink.push(bytes)?;
    for span in &spans {
        let (piece, rest) = packet.split_at_mut(span.len().min(packet.len()));
        span.copy_to(piece);
        packet = rest;
    }
    tally.count(bytes);
    Some(next)
}

/// Reads a chain once, from its first descriptor to its last or to `until`, and calls `visit` for each snapshot.
/// Returns the index behind the chain, and its first fault; after a fault the walk continues to the end of the chain,
/// where the next packet begins.
pub(crate) fn walk_chain<R: RingMemory>(
    ring: &R,
    from: u16,
    until: u16,
    first: Desc,
    mut visit: impl FnMut(u16, &Desc) -> Result<(), DropReason>,
) -> (u16, Result<(), DropReason>) {
    let mut index = from;
    let mut desc = first;
    let mut verdict = Ok(());
    loop {
        if verdict.is_ok() {
            verdict = visit(index, &desc);
        }
        index = index.wrapping_add(1);
        if !desc.has_next() {
            return (index, verdict);
        }
        if index == until {
            return (index, verdict.and(Err(DropReason::ChainBroken)));
        }
        desc = ring.desc(index);
    }
}
