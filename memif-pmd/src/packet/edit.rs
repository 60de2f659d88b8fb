//! Packets that grow and shrink in place, their user data, and copies to other bursts.

use memif_ring::layout::MAX_PACKET_SIZE;

use super::burst::Burst;
use crate::error::PushError;

impl Burst {
    /// Free bytes in front of the packet at `index`: at least the headroom of the burst ([`Burst::with_headroom`]) as long as
    /// nothing was prepended. `None` without such a packet.
    #[must_use]
    pub fn headroom(&self, index: usize) -> Option<usize> {
        let at = self.place(index)?;
        let before = at.checked_sub(1).and_then(|before| self.entries.get(before));
        let entry = self.entries.get(at)?;
        Some(entry.start as usize - before.map_or(0, |before| before.end()))
    }

    /// Makes the packet at `index` longer by `len` bytes at its front, without a copy, and returns it: the new bytes hold what
    /// was there before. `rte_pktmbuf_prepend` of DPDK.
    ///
    /// `None`, and no change, where there is no such packet, less headroom, or the packet would be longer than 65535 bytes.
    ///
    /// ```
    /// let mut burst = memif_pmd::Burst::with_headroom(64, 64)?;
    /// burst.push(b"destinsource\x08\0an IPv4 packet")?;
    /// // a VLAN tag behind the addresses
    /// let frame = burst.prepend(0, 4).ok_or("no headroom")?;
    /// frame.copy_within(4..16, 0);
    /// frame[12..16].copy_from_slice(&[0x81, 0, 0, 7]);
    /// assert_eq!(burst[0], *b"destinsource\x81\0\0\x07\x08\0an IPv4 packet");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "rte_pktmbuf_prepend")]
    #[must_use = "without headroom nothing is prepended"]
    pub fn prepend(&mut self, index: usize, len: usize) -> Option<&mut [u8]> {
        let headroom = self.headroom(index)?;
        let at = self.place(index)?;
        let entry = self.entries.get_mut(at)?;
        if len > headroom || entry.len as usize + len > MAX_PACKET_SIZE {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "not above the size of a packet")]
        let len = len as u32;
        entry.start -= len;
        entry.len += len;
        Some(entry.bytes_mut(&mut self.memory))
    }

    /// Removes the first `len` bytes of the packet at `index`, without a copy, and returns the rest. `rte_pktmbuf_adj` of DPDK.
    ///
    /// `None`, and no change, where there is no such packet, or it has no more than `len` bytes: one stays at least.
    #[doc(alias = "rte_pktmbuf_adj")]
    #[must_use = "a packet that is too short is not trimmed"]
    pub fn trim_front(&mut self, index: usize, len: usize) -> Option<&mut [u8]> {
        let at = self.place(index)?;
        let entry = self.entries.get_mut(at)?;
        let len = u32::try_from(len).ok().filter(|len| *len < entry.len)?;
        entry.start += len;
        entry.len -= len;
        Some(entry.bytes_mut(&mut self.memory))
    }

    /// Removes the last `len` bytes of the packet at `index`, without a copy, and returns the rest. `rte_pktmbuf_trim` of DPDK.
    ///
    /// `None`, and no change, where there is no such packet, or it has no more than `len` bytes: one stays at least.
    #[doc(alias = "rte_pktmbuf_trim")]
    #[must_use = "a packet that is too short is not trimmed"]
    pub fn trim_end(&mut self, index: usize, len: usize) -> Option<&mut [u8]> {
        let at = self.place(index)?;
        let entry = self.entries.get_mut(at)?;
        let len = u32::try_from(len).ok().filter(|len| *len < entry.len)?;
        entry.len -= len;
        Some(entry.bytes_mut(&mut self.memory))
    }

    /// The number that the program has given to the packet at `index`: 0 until [`Burst::set_user_data`].
    ///
    /// # Panics
    /// When there is no such packet.
    #[must_use]
    #[track_caller]
    pub fn user_data(&self, index: usize) -> u64 {
        let at = self.checked(index);
        if at < self.fill.marked { self.user_data[at] } else { 0 }
    }

    /// Gives a number to the packet at `index`, which goes with it for as long as it is in the burst, and to where
    /// [`Burst::copy_to`] copies it: a port, a time, an index into a table. It is not sent.
    ///
    /// # Panics
    /// When there is no such packet.
    #[track_caller]
    pub fn set_user_data(&mut self, index: usize, value: u64) {
        let at = self.checked(index);
        if at >= self.fill.marked {
            self.user_data[self.fill.marked..at].fill(0);
            self.fill.marked = at + 1;
        }
        self.user_data[at] = value;
    }

    /// Appends a copy of the packet at `index`, and its user data, to another burst: for switches, which have a burst for each
    /// port. The packets of a burst lie in its own memory, so that a few cache lines are copied, and no list of buffers is kept.
    /// A whole burst moves without a copy by [`std::mem::swap`].
    ///
    /// ```
    /// # use memif_pmd::{Burst, PushError};
    /// # fn route(packet: &[u8]) -> usize { packet[0].into() }
    /// /// Distributes the packets of `burst` to ports; returns how many were dropped, as the burst of their port was full.
    /// fn distribute(burst: &mut Burst, ports: &mut [Burst]) -> usize {
    ///     let port = |index| route(&burst[index]);
    ///     let dropped = (0..burst.len()).filter(|i| burst.copy_to(*i, &mut ports[port(*i)]).is_err()).count();
    ///     burst.clear();
    ///     dropped
    /// }
    /// # let (mut burst, mut ports) = (Burst::new(4)?, [Burst::new(4)?, Burst::new(1)?]);
    /// # for packet in [[0, 1], [1, 2], [0, 3], [1, 4]] { burst.push(&packet)?; }
    /// # assert_eq!(distribute(&mut burst, &mut ports), 1);
    /// # assert_eq!((burst.len(), ports[0].len(), ports[1].len()), (0, 2, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`PushError::Full`].
    ///
    /// # Panics
    /// When there is no such packet.
    #[track_caller]
    pub fn copy_to(&self, index: usize, other: &mut Self) -> Result<(), PushError> {
        other.push(&self[index])?;
        if let mark @ 1.. = self.user_data(index) {
            other.set_user_data(other.len() - 1, mark);
        }
        Ok(())
    }

    /// Where the entry of the packet at `index` is, if there is one.
    fn place(&self, index: usize) -> Option<usize> {
        (index < self.len()).then_some(self.fill.aside + index)
    }

    #[track_caller]
    fn checked(&self, index: usize) -> usize {
        assert!(index < self.len(), "packet {index} of a burst of {}", self.len());
        self.fill.aside + index
    }
}
