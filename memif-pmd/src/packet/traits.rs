//! What a burst is to the language and to the ends of rings.

use std::fmt;
use std::ops::{Index, IndexMut};

use memif_ring::burst::{PacketSink, PacketSource};
use memif_ring::shm::Span;

use super::burst::Burst;
use super::iter::{Packets, PacketsMut};

/// The packet at an index: `burst[0]`.
impl Index<usize> for Burst {
    type Output = [u8];

    /// # Panics
    /// When there is no such packet: see [`Burst::get`].
    #[track_caller]
    fn index(&self, index: usize) -> &[u8] {
        assert!(index < self.len(), "packet {index} of a burst of {}", self.len());
        self.get(index).unwrap_or_default()
    }
}

impl IndexMut<usize> for Burst {
    #[track_caller]
    fn index_mut(&mut self, index: usize) -> &mut [u8] {
        assert!(index < self.len(), "packet {index} of a burst of {}", self.len());
        self.get_mut(index).unwrap_or_default()
    }
}

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
        f.debug_struct("Burst")
            .field("packets", &self.len())
            .field("waiting", &self.waiting())
            .field("capacity", &self.capacity())
            .finish()
    }
}

impl PacketSink for Burst {
    #[inline(always)]
    fn push(&mut self, len: usize) -> Option<&mut [u8]> {
        self.append(len)
    }

    #[inline(always)]
    fn room(&self) -> usize {
        Burst::room(self)
    }

    #[inline(always)]
    fn push_all(&mut self, packets: &[Span<'_>]) -> usize {
        self.append_all(packets)
    }
}

/// All packets, those that are set aside first.
impl PacketSource for Burst {
    #[inline(always)]
    fn count(&self) -> usize {
        self.fill.packets
    }

    #[inline(always)]
    fn packets(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.all()
    }
}
