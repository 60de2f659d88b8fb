//! [`Burst`]: its memory, what is put in, and what leaves.

use std::ops::Range;

use memif_os::huge_pages::HugePages;
use memif_os::page_pool::{Block, PagePool};
use memif_ring::layout::MAX_PACKET_SIZE;
use memif_ring::shm::Span;

use super::iter::{Entry, Packets, PacketsMut};
use crate::error::{Error, PushError};

/// Packets start on cache lines.
const ALIGN: usize = 64;
/// Bytes for a packet on average: a burst of larger ones holds fewer than its capacity.
const AVERAGE: usize = 2048;
/// Most packets in a burst, and most bytes of headroom: 3 GiB and a little, within which 32 bits count bytes.
const MAX_CAPACITY: usize = 1 << 20;
const MAX_HEADROOM: usize = 1024;

/// A burst of packets in private memory: safe slices that no peer can touch.
///
/// It has room for its capacity of packets of 2 KiB on average, whatever was removed in between: packets that stay in the
/// burst, such as those that a full ring did not take, do not use up the room of others.
///
/// ```
/// let mut burst = memif_pmd::Burst::new(64)?;
/// burst.push(b"a packet")?;
/// burst.push(b"another")?;
/// burst.retain(|packet| packet.len() > 7);
/// for packet in &mut burst {
///     packet[0] = b'A';
/// }
/// assert_eq!(burst[0], *b"A packet");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What a full ring did not take
///
/// Packets that a send had no room for stay in the burst. The next receive sets them aside: from then on the burst shows the
/// packets that came since, and no others, so a loop of receive, change and send changes each packet once. The next send
/// offers those that were set aside first, in order. They use room of the burst, so that it receives less, and the sender's
/// ring fills up: nothing is lost.
///
/// ```
/// use memif_pmd::{Burst, Receive, Transmit, loopback};
///
/// let (mut client, near) = loopback(64);
/// let (mut server, far) = loopback(2); // room for two packets
/// let (mut rx, mut tx, mut burst) = (near.rx, far.tx, Burst::new(8)?);
/// let mut packets = Burst::new(8)?;
/// for number in 0..3 {
///     packets.push(&[number, 64])?;
/// }
/// client.tx.send(&mut packets);
/// for _round in 0..2 {
///     rx.receive(&mut burst); // the second round receives nothing, and shows nothing
///     for packet in &mut burst {
///         packet[1] -= 1;
///     }
///     tx.send(&mut burst);
///     server.rx.receive(&mut packets);
/// }
/// assert_eq!(packets.iter().collect::<Vec<_>>(), [[0, 63], [1, 63], [2, 63]]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A burst is for one destination: what one queue did not take is sent by the next send, whichever queue that is. A program
/// that sends to several queues has a burst for each: see [`Burst::copy_to`]. [`Burst::clear`] drops all packets, also
/// those set aside.
pub struct Burst {
    pub(super) memory: Block,
    /// Of the packets, in the order of their places, which do not overlap. As many as it holds at most.
    pub(super) entries: Box<[Entry]>,
    /// The program's number of each packet.
    pub(super) user_data: Box<[u64]>,
    pub(super) headroom: usize,
    pub(super) fill: Fill,
}

/// How much of a burst is in use.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fill {
    /// Packets, shown or set aside.
    pub(super) packets: usize,
    /// The first of them that the last send had no room for.
    unsent: usize,
    /// The first of them that are set aside: 0, or as many as were unsent.
    pub(super) aside: usize,
    /// Bytes of memory up to the end of the last packet, a multiple of [`ALIGN`].
    used: usize,
    /// The first of them whose user data is stored; that of the others is 0.
    pub(super) marked: usize,
}

impl Burst {
    /// A burst with room for `capacity` packets (at least 1, at most 2^20) of 2 KiB on average, and for one of 64 KiB in
    /// any case.
    ///
    /// # Errors
    /// [`Error::OutOfRange`]: more than 2^20 packets. [`Error::OutOfMemory`], [`Error::NoBurstMemory`]: no memory.
    pub fn new(capacity: usize) -> Result<Self, Error> {
        Self::with_headroom(capacity, 0)
    }

    /// Like [`Burst::new`], with at least `headroom` free bytes in front of each packet that is added, up to 1024: see
    /// [`Burst::prepend`]. They are rounded up to cache lines, 64 bytes.
    ///
    /// # Errors
    /// Those of [`Burst::new`]; [`Error::OutOfRange`] also for more than 1024 bytes of headroom.
    pub fn with_headroom(capacity: usize, headroom: usize) -> Result<Self, Error> {
        let pool = PagePool::new(Self::bytes(capacity, headroom)?, 1, HugePages::Off).map_err(Error::pool)?;
        let memory = pool.take().ok_or(Error::NoBurstMemory)?;
        Ok(Self::within(memory, capacity, headroom))
    }

    /// Bytes that a burst of `capacity` packets takes.
    pub(crate) const fn bytes(capacity: usize, headroom: usize) -> Result<usize, Error> {
        if capacity > MAX_CAPACITY {
            let (got, max) = (capacity as u64, MAX_CAPACITY as u64);
            return Err(Error::OutOfRange { what: "packets in a burst", got, min: 0, max });
        }
        if headroom > MAX_HEADROOM {
            let (got, max) = (headroom as u64, MAX_HEADROOM as u64);
            return Err(Error::OutOfRange { what: "bytes of headroom", got, min: 0, max });
        }
        let headroom = headroom.next_multiple_of(ALIGN);
        Ok((capacity * (AVERAGE + headroom) + headroom + MAX_PACKET_SIZE).next_multiple_of(ALIGN))
    }

    /// A burst in memory from elsewhere, of [`Burst::bytes`]`(capacity, headroom)` bytes.
    pub(crate) fn within(memory: Block, capacity: usize, headroom: usize) -> Self {
        let capacity = capacity.max(1);
        Self {
            memory,
            entries: vec![Entry::default(); capacity].into(),
            user_data: vec![0; capacity].into(),
            headroom: headroom.next_multiple_of(ALIGN),
            fill: Fill::default(),
        }
    }

    /// Number of packets, without those that are set aside.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.fill.packets - self.fill.aside
    }

    /// Whether there are no packets, but for those that are set aside.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of packets that are set aside: a send had no room for them, and the next one offers them first.
    #[must_use]
    #[inline]
    pub fn waiting(&self) -> usize {
        self.fill.aside
    }

    /// The most packets that it holds.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.entries.len()
    }

    /// How many packets more it holds, if they are small: large ones may use up its memory before.
    #[must_use]
    #[inline(always)]
    pub fn room(&self) -> usize {
        self.entries.len() - self.fill.packets
    }

    /// Removes all packets, also those that are set aside.
    #[inline]
    pub fn clear(&mut self) {
        self.fill = Fill::default();
    }

    /// Appends a copy of `packet`.
    ///
    /// # Errors
    /// Those of [`Burst::reserve`].
    pub fn push(&mut self, packet: &[u8]) -> Result<(), PushError> {
        self.reserve(packet.len())?.copy_from_slice(packet);
        Ok(())
    }

    /// Appends a packet of `len` bytes, 1 to 65535, and returns them to be filled: until then they hold what was there
    /// before.
    ///
    /// # Errors
    /// [`PushError::Length`], [`PushError::Full`].
    #[inline]
    pub fn reserve(&mut self, len: usize) -> Result<&mut [u8], PushError> {
        if !(1..=MAX_PACKET_SIZE).contains(&len) {
            return Err(PushError::Length { len });
        }
        if self.fill.used + self.headroom + len > self.memory.len() {
            self.compact();
        }
        let packets = self.fill.packets;
        self.append(len).ok_or(PushError::Full { packets })
    }

    /// Packets were removed and others stay: makes sure that the next one fits, as far as there is memory, so that those
    /// that stay again and again do not use it up.
    #[inline]
    fn make_room(&mut self) {
        if self.fill.used + self.headroom + MAX_PACKET_SIZE > self.memory.len() {
            self.compact();
        }
    }

    /// Moves the packets together, each with the headroom that new ones have, or what is left of it.
    #[cold]
    fn compact(&mut self) {
        let mut place = 0;
        for entry in self.entries.iter_mut().take(self.fill.packets) {
            let start = entry.start as usize;
            let to = start.min(place + self.headroom);
            if to != start {
                self.memory.copy_within(start..entry.end(), to);
            }
            #[expect(clippy::cast_possible_truncation, reason = "not behind where it was")]
            let moved = to as u32;
            entry.start = moved;
            place = entry.end().next_multiple_of(ALIGN);
        }
        self.fill.used = place;
    }

    /// Appends a packet behind the last one, if there is room.
    #[inline(always)]
    pub(super) fn append(&mut self, len: usize) -> Option<&mut [u8]> {
        if len == 0 || len > MAX_PACKET_SIZE {
            return None;
        }
        let entry = self.entries.get_mut(self.fill.packets)?;
        let start = self.fill.used + self.headroom;
        let packet = self.memory.get_mut(start..start + len)?;
        *entry = Entry::new(start, len);
        self.fill.packets += 1;
        self.fill.used = (start + len).next_multiple_of(ALIGN);
        Some(packet)
    }

    /// Appends copies of packets of valid lengths, up to the first for which there is no room. Returns how many.
    #[inline(always)]
    pub(super) fn append_all(&mut self, packets: &[Span<'_>]) -> usize {
        let free = self.entries.get_mut(self.fill.packets..).unwrap_or_default();
        // locals stay in registers, and a block's fields would be loaded anew for each packet
        let memory: &mut [u8] = &mut self.memory;
        let (headroom, mut used, mut count) = (self.headroom, self.fill.used, 0);
        for (span, entry) in packets.iter().zip(free) {
            let (start, len) = (used + headroom, span.len());
            let Some(packet) = memory.get_mut(start..start + len) else { break };
            span.copy_to(packet);
            *entry = Entry::new(start, len);
            used = (start + len).next_multiple_of(ALIGN);
            count += 1;
        }
        self.fill.used = used;
        self.fill.packets += count;
        count
    }

    /// The entries of the packets that are shown.
    #[inline(always)]
    fn shown(&self) -> &[Entry] {
        self.entries.get(self.fill.aside..self.fill.packets).unwrap_or_default()
    }

    /// All packets, those that are set aside first.
    #[inline(always)]
    pub(crate) fn all(&self) -> Packets<'_> {
        let entries = self.entries.get(..self.fill.packets).unwrap_or_default();
        Packets { memory: &self.memory[..], entries: entries.iter() }
    }

    /// The packets in order.
    #[inline(always)]
    pub fn iter(&self) -> Packets<'_> {
        Packets { memory: &self.memory[..], entries: self.shown().iter() }
    }

    /// The packets in order, to be changed in place.
    pub fn iter_mut(&mut self) -> PacketsMut<'_> {
        let entries = self.entries.get(self.fill.aside..self.fill.packets).unwrap_or_default();
        PacketsMut { rest: &mut self.memory, at: 0, entries: entries.iter() }
    }

    /// The packet at `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        self.shown().get(index).map(|entry| entry.bytes(&self.memory))
    }

    /// The packet at `index`, to be changed in place.
    #[must_use]
    pub fn get_mut(&mut self, index: usize) -> Option<&mut [u8]> {
        let entry = *self.shown().get(index)?;
        Some(entry.bytes_mut(&mut self.memory))
    }

    /// Keeps the packets for which `keep` is true; it may change them. Those that are set aside stay.
    pub fn retain(&mut self, mut keep: impl FnMut(&mut [u8]) -> bool) {
        let Fill { packets, unsent, aside, marked, .. } = self.fill;
        // what there is if `keep` panics
        self.truncate(0);
        for index in aside..packets {
            let Some(entry) = self.entries.get(index).copied() else { break };
            if !keep(entry.bytes_mut(&mut self.memory)) {
                continue;
            }
            let fill = &mut self.fill;
            self.entries[fill.packets] = entry;
            if index < marked {
                self.user_data[fill.packets] = self.user_data[index];
                fill.marked += 1;
            }
            fill.unsent += usize::from(index < unsent);
            fill.packets += 1;
        }
        self.measure();
        self.make_room();
    }

    /// Keeps the first `count` packets and removes the others. Those that are set aside stay.
    pub fn truncate(&mut self, count: usize) {
        let fill = &mut self.fill;
        fill.packets = fill.packets.min(fill.aside.saturating_add(count));
        fill.unsent = fill.unsent.min(fill.packets);
        fill.marked = fill.marked.min(fill.packets);
        self.measure();
    }

    /// The last packets were removed: how many bytes are in use now.
    fn measure(&mut self) {
        self.fill.used = self.all().entries.last().map_or(0, |last| last.end()).next_multiple_of(ALIGN);
    }

    /// Removes the first `count` packets, or all where there are fewer. Those that are set aside stay.
    #[inline]
    pub fn drain_front(&mut self, count: usize) {
        if count >= self.len() {
            self.truncate(0);
        } else {
            self.remove(self.fill.aside..self.fill.aside + count);
        }
    }

    /// Removes packets, counted with those that are set aside.
    fn remove(&mut self, range: Range<usize>) {
        let Fill { packets, unsent, marked, .. } = self.fill;
        let removed = |count: usize| count.min(range.end) - count.min(range.start);
        self.entries.copy_within(range.end..packets, range.start);
        if marked > range.end {
            self.user_data.copy_within(range.end..marked, range.start);
        }
        self.fill.packets -= removed(packets);
        self.fill.unsent -= removed(unsent);
        self.fill.marked -= removed(marked);
        self.make_room();
    }

    /// For implementors of [`Receive`](crate::Receive): sets aside what the last send had no room for. Call it before packets
    /// are appended, and also when there are none.
    #[inline(always)]
    pub fn set_aside(&mut self) {
        self.fill.aside = self.fill.unsent;
    }

    /// For implementors of [`Transmit`](crate::Transmit): calls `take` with all packets, those that were set aside first. It
    /// returns how many of them it took, from the front. These leave the burst, the others wait. Returns how many left.
    pub fn offer(&mut self, take: impl FnOnce(Packets<'_>) -> usize) -> usize {
        let taken = take(self.all()).min(self.fill.packets);
        self.sent(taken);
        taken
    }

    /// The first `count` packets were sent or dropped, and there was no room for the others.
    #[inline]
    pub(crate) fn sent(&mut self, count: usize) {
        if count >= self.fill.packets {
            self.clear();
        } else {
            self.keep_unsent(count);
        }
    }

    fn keep_unsent(&mut self, sent: usize) {
        self.fill.aside = 0;
        self.remove(0..sent);
        self.fill.unsent = self.fill.packets;
    }
}
