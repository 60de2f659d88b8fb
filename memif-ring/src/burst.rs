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
        self.count_run(1, bytes as u64);
    }

    #[inline(always)]
    fn count_run(&mut self, packets: u16, bytes: u64) {
        self.packets += u64::from(packets);
        self.bytes += bytes;
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
    loop {
        let (next, bytes) = take_run(ring, index, until, &resolve, sink);
        tally.count_run(distance(next, index), bytes);
        index = next;
        if index == until {
            break;
        }
        match take_odd(ring, index, until, &resolve, sink, tally) {
            Some(next) => index = next,
            None => break,
        }
    }
    settle();
    index
}

/// The hot loop: packets of one good descriptor, until the first that is not; returns the index of that one, and the
/// bytes taken. It keeps its counts in registers.
#[inline(always)]
fn take_run<'m, R: RingMemory, S: PacketSink>(
    ring: &R,
    from: u16,
    until: u16,
    resolve: &impl Fn(u16, &Desc) -> Result<Span<'m>, DropReason>,
    sink: &mut S,
) -> (u16, u64) {
    let mut index = from;
    let mut bytes = 0;
    while index != until {
        let desc = ring.desc(index);
        let Ok(span) = resolve(index, &desc).and_then(whole_packet) else { break };
        if desc.has_next() {
            break;
        }
        let Some(packet) = sink.push(span.len()) else { break };
        bytes += span.copy_to(packet) as u64;
        index = index.wrapping_add(1);
    }
    (index, bytes)
}

/// One packet that is not of one good descriptor, or for which `sink` had no room. The descriptor is read anew, and only
/// this reading counts. `None` when `sink` has no room for it now.
#[inline(never)]
fn take_odd<'m, R: RingMemory, S: PacketSink>(
    ring: &R,
    index: u16,
    until: u16,
    resolve: &impl Fn(u16, &Desc) -> Result<Span<'m>, DropReason>,
    sink: &mut S,
    tally: &mut Tally,
) -> Option<u16> {
    let desc = ring.desc(index);
    if desc.has_next() {
        return take_chain(ring, index, until, desc, resolve, sink, tally);
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

/// The length of a packet, 1 to 65535 bytes.
///
/// # Errors
/// No packet has so many: it is dropped for this reason.
#[inline(always)]
pub const fn packet_bytes(bytes: usize) -> Result<usize, DropReason> {
    match bytes {
        0 => Err(DropReason::Empty),
        1..=MAX_PACKET_SIZE => Ok(bytes),
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
    let verdict = gathered.and(packet_bytes(bytes));
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
    /// Writes the descriptor of a slot, `length` bytes of its buffer being filled.
    fn complete(&self, index: u16, flags: u16, length: usize);
}

/// What became of one packet that [`fill_run`] did not copy.
enum Odd {
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
    let mut packets = source.packets();
    let mut index = from;
    let mut done = 0;
    loop {
        let run = packets.clone();
        let (next, odd) = fill_run(outlet, index, until, &mut packets);
        let bytes = complete_run(outlet, index, next, run);
        tally.count_run(distance(next, index), bytes);
        done += usize::from(distance(next, index));
        index = next;
        let Some(packet) = odd else { break };
        match place_odd(outlet, index, until, size, packet) {
            Odd::Sent { next } => {
                tally.count(packet.len());
                index = next;
            }
            Odd::RingFull => break,
            Odd::Dropped { next, reason } => {
                tally.count_drop(reason);
                index = next;
            }
        }
        done += 1;
    }
    (index, done)
}

/// The hot loop of senders: copies packets that fit into one buffer, until the first that does not, which is returned;
/// with it the index of its slot.
///
/// A processor's stores leave in order, and those to shared lines wait for the other core; how many may wait bounds how
/// many packets are on their way. Stores to one line that follow one another leave together. So this loop stores packet
/// bytes and nothing else, no counter and no spilled register, and the descriptors follow in a loop of their own, four
/// to a line. With all of it in one loop, and a private counter, small packets went at a third of the speed.
#[inline(always)]
fn fill_run<'p, O: Outlet>(
    outlet: &O,
    from: u16,
    until: u16,
    packets: &mut impl Iterator<Item = &'p [u8]>,
) -> (u16, Option<&'p [u8]>) {
    let mut index = from;
    for packet in packets {
        if index == until {
            return (index, Some(packet));
        }
        match outlet.buffer(index) {
            Ok(span) if !packet.is_empty() && packet.len() <= span.len().min(MAX_PACKET_SIZE) => {
                span.copy_from(packet);
            }
            _ => return (index, Some(packet)),
        }
        index = index.wrapping_add(1);
    }
    (index, None)
}

/// Writes the descriptors of the packets that [`fill_run`] copied to `from..until`; returns their bytes.
#[inline(always)]
fn complete_run<'p, O: Outlet>(
    outlet: &O,
    from: u16,
    until: u16,
    mut packets: impl Iterator<Item = &'p [u8]>,
) -> u64 {
    let mut index = from;
    let mut bytes = 0;
    while index != until {
        let length = packets.next().map_or(0, <[u8]>::len);
        outlet.complete(index, 0, length);
        bytes += length as u64;
        index = index.wrapping_add(1);
    }
    bytes
}

/// One packet that [`fill_run`] left: not sendable, of several buffers, or with no slot for it.
#[inline(never)]
fn place_odd<O: Outlet>(outlet: &O, index: u16, until: u16, size: u16, packet: &[u8]) -> Odd {
    if let Err(reason) = packet_bytes(packet.len()) {
        return Odd::Dropped { next: index, reason };
    }
    if index == until {
        return Odd::RingFull;
    }
    // a slot that is unusable goes back, with the packet: slots go in order, so it cannot stay
    place_chain(outlet, index, until, size, packet)
}

/// Gathers as many buffers as the packet needs, then fills them.
fn place_chain<O: Outlet>(outlet: &O, from: u16, until: u16, size: u16, packet: &[u8]) -> Odd {
    let mut spans: Vec<Span<'_>, MAX_SEGMENTS> = Vec::new();
    let mut capacity = 0;
    let mut next = from;
    while capacity < packet.len() {
        if next == until {
            return short_of_slots(outlet, from, until, size);
        }
        let pushed = outlet.buffer(next).and_then(|span| match span.len() {
            0 => Err(DropReason::OutOfRegion),
            len => spans.push(span).map(|()| len).map_err(|_| DropReason::TooLarge),
        });
        next = next.wrapping_add(1);
        match pushed {
            Ok(len) => capacity += len,
            // every slot looked at is given up, or the next call would walk the same ones again
            Err(reason) => return Odd::Dropped { next: give_up(outlet, from, next), reason },
        }
    }
    fill(outlet, from, &spans, packet);
    Odd::Sent { next }
}

/// All free slots together cannot hold the packet: wait for more, unless the whole ring is free already.
fn short_of_slots<O: Outlet>(outlet: &O, from: u16, until: u16, size: u16) -> Odd {
    if distance(until, from) < size {
        return Odd::RingFull;
    }
    Odd::Dropped { next: give_up(outlet, from, until), reason: DropReason::TooLarge }
}

fn give_up<O: Outlet>(outlet: &O, from: u16, until: u16) -> u16 {
    let mut index = from;
    while index != until {
        outlet.complete(index, 0, 0);
        index = index.wrapping_add(1);
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
