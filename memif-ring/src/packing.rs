//! Packets laid one behind the other: a ring of bytes in the memory of a ring's buffers.
//!
//! Packets follow one another on borders of `ALIGN` bytes, in the order of their slots, and become free in the same order.
//! Where the processor is faster with it, bytes are left out behind small packets and behind bursts: see [`spread_up_to`] and
//! [`burst_gap`]. So what is in flight is one range of the area, or two: one up to its end and one from its start. The
//! processor's prefetchers see one stream, on both sides.
//!
//! All of this is in private memory. The peer influences only the number of free slots, which the sender checks against the
//! slots in flight.

use crate::layout::MAX_PACKET_SIZE;
use crate::tuning::{PACKET_ALIGN as ALIGN, SPREAD_ROOM, START_OVER, burst_gap, spread_up_to};

/// Bytes of a region for the packets of one ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    region: u16,
    start: u32,
    len: u32,
}

impl Area {
    /// `len` bytes from `start` on in the region of index `region`. `None` if they end behind what the 32 bits of a
    /// descriptor can name.
    #[must_use]
    pub const fn new(region: u16, start: u32, len: u32) -> Option<Self> {
        match start.checked_add(len) {
            Some(_) => Some(Self { region, start, len }),
            None => None,
        }
    }

    /// Index of the region.
    #[must_use]
    pub const fn region(&self) -> u16 {
        self.region
    }

    /// Offset of the first byte in its region.
    #[must_use]
    pub const fn start(&self) -> u32 {
        self.start
    }

    /// Number of bytes.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether there are no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    const fn end(&self) -> u32 {
        self.start + self.len
    }
}

/// Where the next packet goes. Offsets in the region of `area`.
///
/// The bytes `at..end` and `area.start..front` are free. The others are in flight, except bytes left out at the end of the
/// area.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    area: Area,
    at: u32,
    end: u32,
    front: u32,
    gaps: Gaps,
}

/// Bytes that are left out, so that the two processors use lines far from each other's.
#[derive(Clone, Copy, Debug)]
struct Gaps {
    /// Length in bytes up to which packets have one cache line left out behind them.
    spread: u16,
    /// Number of bytes left out behind a burst, at most as many as its packets leave unused of their shares.
    burst: u16,
    /// Bytes of the area for each slot, in other words the buffer size: the area has a whole buffer for each slot.
    share: u32,
}

impl Cursor {
    /// Nothing is in flight. `share` is the number of bytes that there are for each slot of the ring.
    pub(crate) fn new(area: Area, share: u32) -> Self {
        let spread = if share < SPREAD_ROOM { 0 } else { spread_up_to() };
        Self::with_gaps(area, Gaps { spread, burst: burst_gap(), share })
    }

    const fn with_gaps(area: Area, gaps: Gaps) -> Self {
        Self { area, at: area.start, end: area.end(), front: area.start, gaps }
    }

    /// The bytes that packets lie in.
    #[inline(always)]
    pub(crate) const fn area(&self) -> Area {
        self.area
    }

    /// The next `len` bytes that are free and follow one another, at most 65535. Returns their offset; `None` if there
    /// are too few.
    #[inline(always)]
    pub(crate) fn take(&mut self, len: usize) -> Option<u32> {
        let bytes = self.bytes(len)?;
        if self.end - self.at < bytes {
            if self.front - self.area.start < bytes {
                return None;
            }
            *self = Self { at: self.area.start, end: self.front, front: self.area.start, ..*self };
        }
        let at = self.at;
        self.at += bytes;
        Some(at)
    }

    /// Shortens the last packet, which begins at `start`, to `len` bytes. The bytes behind it are free again.
    pub(crate) fn cut(&mut self, start: u32, len: usize) {
        if let Some(bytes) = self.bytes(len) {
            self.at = self.at.min(start.saturating_add(bytes));
        }
    }

    /// Whether [`Cursor::end_burst`] does anything.
    #[inline(always)]
    pub(crate) const fn leaves_gaps(&self) -> bool {
        self.gaps.burst > 0
    }

    /// Leaves bytes unused behind a burst of `slots` slots, whose first packet begins at `begin`.
    pub(crate) fn end_burst(&mut self, begin: u32, slots: u16) {
        // not where it has started at the front again
        let Some(used) = self.at.checked_sub(begin) else { return };
        let left = u32::from(slots).saturating_mul(self.gaps.share).saturating_sub(used);
        self.at = self.at.saturating_add(left.min(self.gaps.burst.into())).min(self.end);
    }

    /// The bytes that a packet takes, with those that are left out behind it.
    #[inline(always)]
    fn bytes(&self, len: usize) -> Option<u32> {
        let gap = if len <= usize::from(self.gaps.spread) { ALIGN } else { 0 };
        Some(padded(len)? + gap)
    }

    /// Nothing is in flight: all bytes are free.
    pub(crate) const fn start_over(&mut self) {
        *self = Self::with_gaps(self.area, self.gaps);
    }

    /// The peer has taken packets: the oldest that is in flight begins at `oldest`; `None` if there is none.
    ///
    /// Starts over at the front once [`START_OVER`] bytes were used, when more is free there than is in flight.
    pub(crate) fn release(&mut self, oldest: Option<u32>) {
        let area = self.area;
        let wrapped = self.end != area.end();
        let oldest = match oldest {
            Some(oldest) if wrapped && oldest >= self.at => {
                self.end = oldest;
                return;
            }
            Some(oldest) => oldest.clamp(area.start, self.at),
            None => self.at,
        };
        let (in_front, in_flight) = (oldest - area.start, self.at - oldest);
        if self.at - area.start >= START_OVER && in_front > in_flight {
            *self = Self { at: area.start, end: oldest, front: area.start, ..*self };
        } else {
            *self = Self { end: area.end(), front: oldest, ..*self };
        }
    }
}

/// The bytes that a packet takes.
#[inline(always)]
const fn padded(len: usize) -> Option<u32> {
    if len > MAX_PACKET_SIZE {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "at most MAX_PACKET_SIZE")]
    Some((len as u32).next_multiple_of(ALIGN))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u32 = 4096;

    fn cursor(len: u32) -> Cursor {
        with_gaps(len, 0, 0)
    }

    fn with_gaps(len: u32, spread: u16, burst: u16) -> Cursor {
        Cursor::with_gaps(Area::new(3, START, len).unwrap(), Gaps { spread, burst, share: 1024 })
    }

    /// Where the packets of a burst begin.
    fn burst<const N: usize>(cursor: &mut Cursor, lengths: [usize; N]) -> [u32; N] {
        let starts = lengths.map(|len| cursor.take(len).unwrap() - START);
        cursor.end_burst(starts[0] + START, N.try_into().unwrap());
        starts
    }

    #[test]
    fn bytes_are_left_out_behind_a_burst_as_far_as_its_packets_leave_them() {
        let mut cursor = with_gaps(8192, 0, 512);
        assert_eq!(burst(&mut cursor, [64, 64]), [0, 64]);
        assert_eq!(burst(&mut cursor, [1024]), [640], "nothing is left of its share");
        assert_eq!(burst(&mut cursor, [900]), [1664]);
        assert_eq!(burst(&mut cursor, [64]), [2688], "64 bytes were");
        for _ in 0..5 {
            burst(&mut cursor, [512]);
        }
        assert_eq!(cursor.at, cursor.end, "never beyond the end");
    }

    #[test]
    fn a_line_is_left_out_behind_small_packets() {
        let mut cursor = with_gaps(1024, 192, 0);
        let taken = [64, 65, 192, 193].map(|len| cursor.take(len).map(|at| at - START));
        assert_eq!(taken, [Some(0), Some(128), Some(320), Some(576)]);
        assert_eq!(cursor.take(100), Some(START + 832));
        assert_eq!(cursor.take(1), None, "the line behind the last is not used");
        assert_eq!(cursor.take(193), None);
    }

    #[test]
    fn rings_of_small_buffers_leave_nothing_out() {
        let area = Area::new(3, START, 1024).unwrap();
        let mut cursor = Cursor::new(area, SPREAD_ROOM - 1);
        assert_eq!((cursor.take(64), cursor.take(64)), (Some(START), Some(START + 64)));
    }

    #[test]
    fn bytes_that_the_last_packet_does_not_need_are_free_again() {
        let mut cursor = cursor(1024);
        let start = cursor.take(500).unwrap();
        cursor.cut(start, 10);
        assert_eq!(cursor.take(100), Some(START + 64));
        cursor.cut(START + 64, 900);
        assert_eq!(cursor.take(1), Some(START + 192), "never more than it was given");
    }

    #[test]
    fn an_area_ends_within_32_bits() {
        assert!(Area::new(0, u32::MAX - 100, 100).is_some());
        assert!(Area::new(0, u32::MAX - 100, 101).is_none());
    }

    #[test]
    fn packets_go_to_the_front_when_the_end_is_reached() {
        let mut cursor = cursor(1024);
        assert_eq!(
            [cursor.take(300), cursor.take(300), cursor.take(300)].map(|at| at.map(|at| at - START)),
            [Some(0), Some(320), Some(640)]
        );
        assert_eq!(cursor.take(100), None, "64 bytes are free");
        cursor.release(Some(START + 320));
        assert_eq!(cursor.take(321), None, "320 are free in front");
        assert_eq!(cursor.take(64), Some(START + 960), "but 64 at the end");
        assert_eq!(cursor.take(200), Some(START));
        assert_eq!(cursor.take(100), None, "64 up to the oldest");
        cursor.release(Some(START + 960));
        assert_eq!(cursor.take(704), Some(START + 256));
        assert_eq!(cursor.take(1), None, "full");
        cursor.release(Some(START));
        assert_eq!(cursor.take(64), Some(START + 960));
        cursor.release(None);
        assert_eq!((cursor.take(1), cursor.take(960)), (Some(START), Some(START + 64)));
    }

    #[test]
    fn a_sender_starts_over_once_it_has_used_so_many_bytes_and_more_is_free_in_front_than_in_flight() {
        let mut cursor = cursor(4 * START_OVER);
        let mut at = START;
        while at < START + START_OVER {
            assert_eq!(cursor.take(1024), Some(at));
            at += 1024;
            cursor.release(Some(at - 1024));
        }
        assert_eq!(cursor.take(1024), Some(START), "the last release started over");
        cursor.release(Some(at - 1024));
        assert_eq!(cursor.take(1024), Some(START + 1024), "one packet is in flight behind");
        cursor.release(None);
        assert_eq!(cursor.take(1024), Some(START + 2048), "too few bytes were used");
        while cursor.take(1024) != Some(START + 2 * START_OVER) {}
        cursor.release(Some(START + 1024));
        assert_eq!(
            cursor.take(1024),
            Some(START + 2 * START_OVER + 1024),
            "more is in flight than free in front"
        );
    }
}
