//! The two loops that move packets: out of a ring into private memory, and from private memory into a ring.
//!
//! Both sides of a ring share them; what differs between slave and master is only where a buffer's place comes from
//! (`Outlet` for senders, `resolve` for receivers). Each descriptor is read once, and each loop is bounded by the
//! descriptors between two indices that were checked before.

use heapless::Vec;

use crate::cursor::distance;
use crate::fault::DropReason;
use crate::layout::{DESC_FLAG_NEXT, Desc, MAX_PACKET_SIZE, MAX_SEGMENTS};
use crate::shm::{RingMemory, Span, settle};

/// Takes received packets into private memory.
pub trait PacketSink {
    /// Adds a packet of `len` bytes, 1 to 65535, and returns its bytes to be filled. `None` when it does not fit now;
    /// an empty sink must take any packet.
    fn push(&mut self, len: usize) -> Option<&mut [u8]>;
    /// Packets that may still be added; what is received is not read ahead further than this.
    fn room(&self) -> usize;
}

/// Packets to send, in private memory.
pub trait PacketSource {
    /// Number of packets.
    fn count(&self) -> usize;
    /// The bytes of packet `index`, which is below [`PacketSource::count`].
    fn packet(&self, index: usize) -> &[u8];
}

impl PacketSource for [&[u8]] {
    fn count(&self) -> usize {
        self.len()
    }

    fn packet(&self, index: usize) -> &[u8] {
        self.get(index).copied().unwrap_or_default()
    }
}

/// What a side has done since it was made. Private memory, written by one thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packets received or sent.
    pub packets: u64,
    /// Bytes of those packets.
    pub bytes: u64,
    /// Packets dropped, for any reason.
    pub dropped: u64,
    /// The same by [`DropReason::index`].
    pub drops: [u64; DropReason::ALL.len()],
}

impl Tally {
    /// Counts a packet of `bytes` bytes.
    #[inline(always)]
    pub fn count(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }

    /// Counts a packet that was dropped.
    #[cold]
    pub fn count_drop(&mut self, reason: DropReason) {
        self.dropped += 1;
        if let Some(count) = self.drops.get_mut(reason.index()) {
            *count += 1;
        }
    }
}

/// Copies the packets at `from..until` into `sink`, as many as it takes; returns the index behind the last one that was
/// received or dropped. `resolve` says where the bytes of a descriptor snapshot lie.
#[inline(always)]
pub(crate) fn take<'m, R: RingMemory, S: PacketSink>(
    ring: &R,
    from: u16,
    until: u16,
    resolve: impl Fn(u16, &Desc) -> Result<Span<'m>, DropReason>,
    sink: &mut S,
    tally: &mut Tally,
) -> u16 {
    let mut index = from;
    while index != until {
        let desc = ring.desc(index);
        if desc.has_next() {
            match take_chain(ring, index, until, desc, &resolve, sink, tally) {
                Some(next) => index = next,
                None => break,
            }
            continue;
        }
        match resolve(index, &desc).and_then(whole_packet) {
            Ok(span) => {
                let Some(packet) = sink.push(span.len()) else { break };
                tally.count(span.copy_to(packet));
            }
            Err(reason) => tally.count_drop(reason),
        }
        index = index.wrapping_add(1);
    }
    settle();
    index
}

#[inline(always)]
fn whole_packet(span: Span<'_>) -> Result<Span<'_>, DropReason> {
    match span.len() {
        0 => Err(DropReason::Empty),
        1..=MAX_PACKET_SIZE => Ok(span),
        _ => Err(DropReason::Oversized),
    }
}

/// A packet of several descriptors. `None` when `sink` has no room for it now.
#[inline(never)]
fn take_chain<'m, R: RingMemory, S: PacketSink>(
    ring: &R,
    from: u16,
    until: u16,
    first: Desc,
    resolve: &impl Fn(u16, &Desc) -> Result<Span<'m>, DropReason>,
    sink: &mut S,
    tally: &mut Tally,
) -> Option<u16> {
    let mut spans: Vec<Span<'m>, MAX_SEGMENTS> = Vec::new();
    let (next, gathered) = gather(ring, from, until, first, |index, desc| {
        spans.push(resolve(index, desc)?).map_err(|_| DropReason::ChainTooLong)
    });
    let bytes: usize = spans.iter().map(Span::len).sum();
    let verdict = gathered.and(match bytes {
        0 => Err(DropReason::Empty),
        1..=MAX_PACKET_SIZE => Ok(()),
        _ => Err(DropReason::Oversized),
    });
    if let Err(reason) = verdict {
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

/// Walks a chain once, from its first descriptor to its last or to `until`, handing each snapshot to `visit`. Returns
/// the index behind it and the first thing wrong with it; the walk goes on after a fault, to resynchronise behind the
/// chain.
pub(crate) fn gather<R: RingMemory>(
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

/// Where a sender's buffers are, and how a filled one is written down.
pub(crate) trait Outlet {
    /// The buffer of the slot at `index`.
    fn buffer(&self, index: u16) -> Result<Span<'_>, DropReason>;
    /// Writes the descriptor of a filled buffer.
    fn complete(&self, index: u16, flags: u16, length: usize);
}

/// What became of one packet of several buffers.
enum Chained {
    Sent { next: u16 },
    RingFull,
    Dropped { next: u16, reason: DropReason },
}

/// Copies packets into the free slots `from..until` of a ring of `size`; returns the index behind the last slot used
/// and how many packets of `source` were sent or dropped. The rest did not fit.
#[inline(always)]
pub(crate) fn place<O: Outlet, P: PacketSource + ?Sized>(
    outlet: &O,
    from: u16,
    until: u16,
    size: u16,
    source: &P,
    tally: &mut Tally,
) -> (u16, usize) {
    let mut index = from;
    let mut done = 0;
    let count = source.count();
    while done < count {
        let packet = source.packet(done);
        if packet.is_empty() || packet.len() > MAX_PACKET_SIZE {
            tally.count_drop(if packet.is_empty() { DropReason::Empty } else { DropReason::Oversized });
            done += 1;
            continue;
        }
        if index == until {
            break;
        }
        match outlet.buffer(index) {
            Ok(span) if packet.len() <= span.len() => {
                span.copy_from(packet);
                outlet.complete(index, 0, packet.len());
                tally.count(packet.len());
                index = index.wrapping_add(1);
            }
            Ok(first) => match place_chain(outlet, index, until, size, first, packet) {
                Chained::Sent { next } => {
                    tally.count(packet.len());
                    index = next;
                }
                Chained::RingFull => break,
                Chained::Dropped { next, reason } => {
                    tally.count_drop(reason);
                    index = next;
                }
            },
            Err(reason) => {
                tally.count_drop(reason);
                index = skip(outlet, index);
            }
        }
        done += 1;
    }
    (index, done)
}

/// Gives back a slot whose buffer is unusable, as a packet of no bytes: slots go in order, so it cannot stay.
#[cold]
fn skip<O: Outlet>(outlet: &O, index: u16) -> u16 {
    outlet.complete(index, 0, 0);
    index.wrapping_add(1)
}

/// A packet larger than its first buffer: gathers as many buffers as it needs, then fills them.
#[inline(never)]
fn place_chain<O: Outlet>(
    outlet: &O,
    from: u16,
    until: u16,
    size: u16,
    first: Span<'_>,
    packet: &[u8],
) -> Chained {
    let mut spans: Vec<Span<'_>, MAX_SEGMENTS> = Vec::new();
    let mut capacity = 0;
    let mut next = from;
    let mut offered = Ok(first);
    loop {
        let pushed = offered
            .and_then(|span| if span.is_empty() { Err(DropReason::OutOfRegion) } else { Ok(span) })
            .and_then(|span| spans.push(span).map(|()| span.len()).map_err(|_| DropReason::TooLarge));
        next = next.wrapping_add(1);
        match pushed {
            Ok(len) => capacity += len,
            // every slot looked at is given up, or the next call would walk the same ones again
            Err(reason) => return Chained::Dropped { next: give_up(outlet, from, next), reason },
        }
        if capacity >= packet.len() {
            break;
        }
        if next == until {
            return short_of_slots(outlet, from, until, size);
        }
        offered = outlet.buffer(next);
    }
    fill(outlet, from, &spans, packet);
    Chained::Sent { next }
}

/// All free slots together cannot hold the packet: wait for more, unless the whole ring is free already.
fn short_of_slots<O: Outlet>(outlet: &O, from: u16, until: u16, size: u16) -> Chained {
    if distance(until, from) < size {
        return Chained::RingFull;
    }
    Chained::Dropped { next: give_up(outlet, from, until), reason: DropReason::TooLarge }
}

fn give_up<O: Outlet>(outlet: &O, from: u16, until: u16) -> u16 {
    let mut index = from;
    while index != until {
        index = skip(outlet, index);
    }
    index
}

fn fill<O: Outlet>(outlet: &O, from: u16, spans: &[Span<'_>], packet: &[u8]) {
    let mut index = from;
    let mut rest = packet;
    for span in spans {
        let len = span.copy_from(rest);
        rest = rest.get(len..).unwrap_or_default();
        let flags = if rest.is_empty() { 0 } else { DESC_FLAG_NEXT };
        outlet.complete(index, flags, len);
        index = index.wrapping_add(1);
    }
}
