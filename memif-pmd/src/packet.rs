//! Packets in private memory: [`Burst`], what a data thread receives into and sends from.
//!
//! A burst lays its packets one behind the other, so that 64 small packets take 4 KiB that stay in the first-level
//! cache, and a packet that came in several descriptors is one slice here.

use std::fmt;

use memif_os::huge_pages::HugePages;
use memif_os::page_pool::{Block, PagePool};
use memif_ring::burst::{PacketSink, PacketSource};
use memif_ring::layout::MAX_PACKET_SIZE;

use crate::error::Error;

/// Packets start on cache lines.
const ALIGN: usize = 64;
/// Room a packet has on average; only when a burst is filled with larger ones does it take fewer than its capacity.
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
/// ```
/// let mut burst = memif_pmd::Burst::new(64)?;
/// burst.push(b"a packet");
/// burst.push(b"another");
/// burst.retain(|packet| packet.len() > 7);
/// assert_eq!(burst.iter().collect::<Vec<_>>(), [b"a packet"]);
/// # Ok::<(), memif_pmd::Error>(())
/// ```
pub struct Burst {
    memory: Block,
    entries: Vec<Entry>,
    capacity: usize,
    /// Bytes of `memory` in use, a multiple of [`ALIGN`].
    used: usize,
}

impl Burst {
    /// Room for `capacity` packets (at least 1, at most 2^20) of 2 KiB on average, and for one of 64 KiB in any case.
    ///
    /// # Errors
    /// More than 2^20 packets, or not enough memory.
    pub fn new(capacity: usize) -> Result<Self, Error> {
        let pool = PagePool::new(Self::bytes(capacity)?, 1, HugePages::Off)?;
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

    /// Packets in the burst.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Most packets that it may hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Drops all packets.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.used = 0;
    }

    /// Adds a copy of `packet`; false when the burst is full, or the packet empty or over 65535 bytes.
    pub fn push(&mut self, packet: &[u8]) -> bool {
        match self.reserve(packet.len()) {
            Some(bytes) => {
                bytes.copy_from_slice(packet);
                true
            }
            None => false,
        }
    }

    /// Adds a packet of `len` bytes, 1 to 65535, and returns them to be filled: they hold what was there before.
    /// `None` when the burst is full.
    #[inline(always)]
    pub fn reserve(&mut self, len: usize) -> Option<&mut [u8]> {
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
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + Clone {
        self.entries.iter().map(|entry| slice(&self.memory, *entry))
    }

    /// The packets in order, to be changed in place.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let mut rest: &mut [u8] = &mut self.memory;
        let mut at = 0;
        // entries ascend and do not overlap, so each split is behind the one before
        self.entries.iter().map_while(move |entry| {
            let (start, len) = (entry.start as usize, entry.len as usize);
            let (_, tail) = std::mem::take(&mut rest).split_at_mut_checked(start - at)?;
            let (packet, tail) = tail.split_at_mut_checked(len)?;
            rest = tail;
            at = start + len;
            Some(packet)
        })
    }

    /// The packet at `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        self.entries.get(index).map(|entry| slice(&self.memory, *entry))
    }

    /// Keeps the packets for which `keep` is true; it may change them.
    pub fn retain(&mut self, mut keep: impl FnMut(&mut [u8]) -> bool) {
        let memory = &mut self.memory;
        self.entries.retain(|entry| {
            let (start, len) = (entry.start as usize, entry.len as usize);
            memory.get_mut(start..start + len).is_some_and(&mut keep)
        });
        self.rewind();
    }

    /// Drops the first `count` packets.
    #[inline]
    pub fn drain_front(&mut self, count: usize) {
        if count >= self.entries.len() {
            self.clear();
        } else {
            self.entries.drain(..count);
        }
    }

    fn rewind(&mut self) {
        if self.entries.is_empty() {
            self.used = 0;
        }
    }
}

#[inline(always)]
fn slice(memory: &[u8], entry: Entry) -> &[u8] {
    memory.get(entry.start as usize..(entry.start + entry.len) as usize).unwrap_or_default()
}

impl fmt::Debug for Burst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Burst").field("packets", &self.len()).field("capacity", &self.capacity).finish()
    }
}

impl PacketSink for Burst {
    #[inline(always)]
    fn push(&mut self, len: usize) -> Option<&mut [u8]> {
        self.reserve(len)
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

    #[test]
    fn packets_keep_their_order_and_bytes() {
        let mut burst = Burst::new(8).unwrap();
        for i in 0..8u8 {
            assert!(burst.push(&vec![i; 60 + usize::from(i)]));
        }
        assert!(!burst.push(b"one too many"));
        burst.drain_front(3);
        assert!(burst.push(b"room again"));
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
            assert!(burst.push(&vec![1; MAX_PACKET_SIZE]));
            assert!(!burst.push(&vec![1; MAX_PACKET_SIZE + 1]));
            assert!(!burst.push(b""));
        }
    }

    #[test]
    fn large_packets_fill_it_before_its_capacity() {
        let mut burst = Burst::new(4).unwrap();
        assert!(burst.push(&vec![1; MAX_PACKET_SIZE]));
        assert!(burst.push(&vec![2; 8000]));
        assert!(!burst.push(&vec![3; 8000]));
        burst.drain_front(2);
        assert!(burst.push(&vec![4; MAX_PACKET_SIZE]), "memory is used again once it is empty");
    }

    #[test]
    fn packets_change_in_place() {
        let mut burst = Burst::new(4).unwrap();
        burst.push(b"abc");
        burst.push(b"def");
        for packet in burst.iter_mut() {
            packet.reverse();
        }
        assert_eq!(contents(&burst), [b"cba".to_vec(), b"fed".to_vec()]);
        burst.retain(|packet| {
            packet[0] = b'x';
            true
        });
        assert_eq!(contents(&burst), [b"xba".to_vec(), b"xed".to_vec()]);
        burst.retain(|_| false);
        assert!(burst.is_empty());
    }
}
