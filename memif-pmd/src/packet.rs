//! Packets in private memory: [`Burst`], what a data thread receives into and sends from.
//!
//! Packets lie one behind the other, so that 64 small ones take 4 KiB, which stay in the first-level cache. A packet that
//! came in several descriptors is one slice here.

use std::{fmt, mem, slice};

use memif_os::huge_pages::HugePages;
use memif_os::page_pool::{Block, PagePool};
use memif_ring::burst::{PacketSink, PacketSource};
use memif_ring::layout::MAX_PACKET_SIZE;

use crate::error::{Error, PushError};

/// Packets start on cache lines.
const ALIGN: usize = 64;
/// Bytes for a packet on average: a burst of larger ones holds fewer than its capacity.
const AVERAGE: usize = 2048;
/// Most packets in a burst: 2 GiB and a little, within which 32 bits count bytes.
const MAX_CAPACITY: usize = 1 << 20;

#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u32,
    len: u32,
}

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
/// assert_eq!(burst.iter().collect::<Vec<_>>(), [b"A packet"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Burst {
    memory: Block,
    /// In the order of their places, which do not overlap.
    entries: Vec<Entry>,
    capacity: usize,
    /// Bytes of `memory` up to the end of the last packet, a multiple of [`ALIGN`].
    used: usize,
}

impl Burst {
    /// A burst with room for `capacity` packets (at least 1, at most 2^20) of 2 KiB on average, and for one of 64 KiB in
    /// any case.
    ///
    /// # Errors
    /// [`Error::OutOfRange`]: more than 2^20 packets. [`Error::OutOfMemory`], [`Error::NoBurstMemory`]: no memory.
    pub fn new(capacity: usize) -> Result<Self, Error> {
        let pool = PagePool::new(Self::bytes(capacity)?, 1, HugePages::Off).map_err(Error::pool)?;
        pool.take().map(|memory| Self::within(memory, capacity)).ok_or(Error::NoBurstMemory)
    }

    /// Bytes that a burst of `capacity` packets takes.
    pub(crate) const fn bytes(capacity: usize) -> Result<usize, Error> {
        if capacity > MAX_CAPACITY {
            let (got, max) = (capacity as u64, MAX_CAPACITY as u64);
            return Err(Error::OutOfRange { what: "packets in a burst", got, min: 0, max });
        }
        Ok((capacity * AVERAGE + MAX_PACKET_SIZE).next_multiple_of(ALIGN))
    }

    /// A burst in memory from elsewhere, of [`Burst::bytes`]`(capacity)` bytes.
    pub(crate) fn within(memory: Block, capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self { memory, entries: Vec::with_capacity(capacity), capacity, used: 0 }
    }

    /// Number of packets.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no packets.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The most packets that it holds.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Removes all packets.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.used = 0;
    }

    /// Appends a copy of `packet`.
    ///
    /// # Errors
    /// As [`Burst::reserve`].
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
        if self.used + len > self.memory.len() {
            self.compact();
        }
        let packets = self.entries.len();
        self.append(len).ok_or(PushError::Full { packets })
    }

    /// Packets were removed and others stay: makes sure that the next one fits, as far as there is memory, so that those
    /// that stay again and again do not use it up.
    #[inline]
    fn make_room(&mut self) {
        if self.used + MAX_PACKET_SIZE > self.memory.len() {
            self.compact();
        }
    }

    /// Moves the packets together.
    #[cold]
    fn compact(&mut self) {
        let mut to = 0;
        for entry in &mut self.entries {
            let (start, len) = (entry.start as usize, entry.len as usize);
            if start != to {
                self.memory.copy_within(start..start + len, to);
            }
            #[expect(clippy::cast_possible_truncation, reason = "not behind where it was")]
            let moved = to as u32;
            entry.start = moved;
            to = (to + len).next_multiple_of(ALIGN);
        }
        self.used = to;
    }

    /// Appends a packet behind the last one, if there is room.
    #[inline(always)]
    fn append(&mut self, len: usize) -> Option<&mut [u8]> {
        if self.entries.len() == self.capacity || len == 0 || len > MAX_PACKET_SIZE {
            return None;
        }
        let start = self.used;
        let packet = self.memory.get_mut(start..start + len)?;
        #[expect(clippy::cast_possible_truncation, reason = "a burst is below 2^32 bytes")]
        self.entries.push(Entry { start: start as u32, len: len as u32 });
        self.used = (start + len).next_multiple_of(ALIGN);
        Some(packet)
    }

    /// The packets in order.
    #[inline(always)]
    pub fn iter(&self) -> Packets<'_> {
        Packets { memory: &self.memory, entries: self.entries.iter() }
    }

    /// The packets in order, to be changed in place.
    pub fn iter_mut(&mut self) -> PacketsMut<'_> {
        PacketsMut { rest: &mut self.memory, at: 0, entries: self.entries.iter() }
    }

    /// The packet at `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        self.entries.get(index).map(|entry| bytes_of(&self.memory, *entry))
    }

    /// The packet at `index`, to be changed in place.
    #[must_use]
    pub fn get_mut(&mut self, index: usize) -> Option<&mut [u8]> {
        let Entry { start, len } = *self.entries.get(index)?;
        self.memory.get_mut(start as usize..(start + len) as usize)
    }

    /// Keeps the packets for which `keep` is true; it may change them.
    pub fn retain(&mut self, mut keep: impl FnMut(&mut [u8]) -> bool) {
        let memory = &mut self.memory;
        self.entries.retain(|entry| {
            let (start, len) = (entry.start as usize, entry.len as usize);
            memory.get_mut(start..start + len).is_some_and(&mut keep)
        });
        let end = self.entries.last().map_or(0, |last| last.start + last.len);
        self.used = (end as usize).next_multiple_of(ALIGN);
        self.make_room();
    }

    /// Removes the first `count` packets, or all where there are fewer.
    #[inline]
    pub fn drain_front(&mut self, count: usize) {
        if count >= self.entries.len() {
            self.clear();
        } else {
            self.entries.drain(..count);
            self.make_room();
        }
    }
}

#[inline(always)]
fn bytes_of(memory: &[u8], entry: Entry) -> &[u8] {
    memory.get(entry.start as usize..(entry.start + entry.len) as usize).unwrap_or_default()
}

/// The packets of a burst in order: [`Burst::iter`].
#[derive(Clone, Debug)]
#[must_use = "iterators are lazy"]
pub struct Packets<'a> {
    memory: &'a Block,
    entries: slice::Iter<'a, Entry>,
}

impl<'a> Iterator for Packets<'a> {
    type Item = &'a [u8];

    #[inline(always)]
    fn next(&mut self) -> Option<&'a [u8]> {
        self.entries.next().map(|entry| bytes_of(self.memory, *entry))
    }

    #[inline(always)]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.entries.size_hint()
    }
}

impl ExactSizeIterator for Packets<'_> {}

/// The packets of a burst in order, to be changed in place: [`Burst::iter_mut`].
#[derive(Debug)]
#[must_use = "iterators are lazy"]
pub struct PacketsMut<'a> {
    /// The memory from offset `at` on: entries ascend and do not overlap.
    rest: &'a mut [u8],
    at: usize,
    entries: slice::Iter<'a, Entry>,
}

impl<'a> Iterator for PacketsMut<'a> {
    type Item = &'a mut [u8];

    fn next(&mut self) -> Option<&'a mut [u8]> {
        let entry = self.entries.next()?;
        let (start, len) = (entry.start as usize, entry.len as usize);
        let (_, tail) = mem::take(&mut self.rest).split_at_mut_checked(start - self.at)?;
        let (packet, tail) = tail.split_at_mut_checked(len)?;
        self.rest = tail;
        self.at = start + len;
        Some(packet)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.entries.size_hint()
    }
}

impl ExactSizeIterator for PacketsMut<'_> {}

impl<'a> IntoIterator for &'a Burst {
    type Item = &'a [u8];
    type IntoIter = Packets<'a>;

    fn into_iter(self) -> Packets<'a> {
        self.iter()
    }
}

impl<'a> IntoIterator for &'a mut Burst {
    type Item = &'a mut [u8];
    type IntoIter = PacketsMut<'a>;

    fn into_iter(self) -> PacketsMut<'a> {
        self.iter_mut()
    }
}

impl fmt::Debug for Burst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Burst").field("packets", &self.len()).field("capacity", &self.capacity).finish()
    }
}

impl PacketSink for Burst {
    #[inline(always)]
    fn push(&mut self, len: usize) -> Option<&mut [u8]> {
        self.append(len)
    }

    #[inline(always)]
    fn room(&self) -> usize {
        self.capacity - self.entries.len()
    }
}

impl PacketSource for Burst {
    #[inline(always)]
    fn count(&self) -> usize {
        self.entries.len()
    }

    #[inline(always)]
    fn packets(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(burst: &Burst) -> Vec<Vec<u8>> {
        burst.iter().map(<[u8]>::to_vec).collect()
    }

    fn push(burst: &mut Burst, packet: &[u8]) {
        burst.push(packet).unwrap();
    }

    #[test]
    fn packets_keep_their_order_and_bytes() {
        let mut burst = Burst::new(8).unwrap();
        for i in 0..8u8 {
            push(&mut burst, &vec![i; 60 + usize::from(i)]);
        }
        assert_eq!(burst.push(b"one too many"), Err(PushError::Full { packets: 8 }));
        burst.drain_front(3);
        push(&mut burst, b"room again");
        burst.retain(|packet| packet[0] != 5);
        assert_eq!(
            contents(&burst),
            [vec![3; 63], vec![4; 64], vec![6; 66], vec![7; 67], b"room again".to_vec()]
        );
    }

    #[test]
    fn an_empty_burst_takes_the_largest_packet() {
        for capacity in [0, 1, 64] {
            let mut burst = Burst::new(capacity).unwrap();
            push(&mut burst, &vec![1; MAX_PACKET_SIZE]);
            assert_eq!(burst.push(&[1; MAX_PACKET_SIZE + 1]), Err(PushError::Length { len: 65536 }));
            assert_eq!(burst.push(b""), Err(PushError::Length { len: 0 }));
        }
    }

    #[test]
    fn large_packets_fill_it_before_its_capacity() {
        let mut burst = Burst::new(4).unwrap();
        push(&mut burst, &vec![1; MAX_PACKET_SIZE]);
        push(&mut burst, &vec![2; 8000]);
        let error = burst.push(&vec![3; 8000]).unwrap_err();
        assert_eq!(error, PushError::Full { packets: 2 });
        assert!(error.to_string().contains("2 packets"), "{error}");
        burst.drain_front(2);
        push(&mut burst, &vec![4; MAX_PACKET_SIZE]);
    }

    #[test]
    fn packets_that_stay_do_not_use_up_the_room_of_others() {
        for stay in 0..4 {
            let mut burst = Burst::new(4).unwrap();
            let (mut next, mut first) = (0u8, 0u8);
            for _ in 0..100 {
                while burst.len() < 4 {
                    push(&mut burst, &[next; 2048]);
                    next = next.wrapping_add(1);
                }
                for (packet, ahead) in burst.iter().zip(0..) {
                    assert!(packet == [first.wrapping_add(ahead); 2048], "changed when it was moved");
                }
                // as a full ring leaves some
                burst.drain_front(4 - stay);
                first = next.wrapping_sub(u8::try_from(stay).unwrap());
            }
        }
    }

    #[test]
    fn gaps_between_packets_are_room_too() {
        let mut burst = Burst::new(4).unwrap();
        for i in 0..4u8 {
            push(&mut burst, &vec![i; 18_000]);
        }
        burst.retain(|packet| packet[0] % 2 == 1);
        push(&mut burst, &vec![4; 18_000]);
        push(&mut burst, &vec![5; 18_000]);
        let packets: Vec<_> = burst.iter().map(|packet| (packet[0], packet.len())).collect();
        assert_eq!(packets, [(1, 18_000), (3, 18_000), (4, 18_000), (5, 18_000)]);
        assert!(burst.iter().all(|packet| packet.iter().all(|byte| *byte == packet[0])));
    }

    #[test]
    fn packets_change_in_place() {
        let mut burst = Burst::new(4).unwrap();
        push(&mut burst, b"abc");
        push(&mut burst, b"def");
        for packet in &mut burst {
            packet.reverse();
        }
        assert_eq!(contents(&burst), [b"cba".to_vec(), b"fed".to_vec()]);
        burst.retain(|packet| {
            packet[0] = b'x';
            true
        });
        burst.get_mut(1).unwrap()[2] = b'y';
        assert!(burst.get_mut(2).is_none());
        assert_eq!(contents(&burst), [b"xba".to_vec(), b"xey".to_vec()]);
        assert_eq!(((&burst).into_iter().len(), burst.iter_mut().len()), (2, 2));
        burst.retain(|_| false);
        assert!(burst.is_empty());
    }
}
