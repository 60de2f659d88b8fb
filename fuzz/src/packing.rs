//! The model of where a slave's packets lie, one behind the other.

use std::collections::VecDeque;
use std::ops::Range;

use memif_ring::tuning::{SPREAD_ROOM, burst_gap, spread_up_to};

/// Packets begin at multiples of so many bytes from the start of the area.
const ALIGN: u32 = 64;

/// Packets one behind the other in `area`. Areas here are far smaller than what a sender uses before it starts over early.
#[derive(Clone, Debug)]
pub struct Packing {
    area: Range<u32>,
    /// Where the packet of each slot in flight begins, the oldest first.
    in_flight: VecDeque<u32>,
    /// The next packet goes here, if it ends at `limit` or before.
    at: u32,
    limit: u32,
    /// If it does not, it goes to the start of the area, if it ends here or before.
    front: u32,
    /// Behind packets of at most so many bytes [`ALIGN`] bytes are left out.
    spread: u32,
    /// Bytes for each slot.
    share: u32,
}

impl Packing {
    /// Nothing is in flight. There are `share` bytes for each slot.
    pub fn new(area: Range<u32>, share: u32) -> Self {
        let spread = if share < SPREAD_ROOM { 0 } else { spread_up_to().into() };
        Self::over(area, spread, share)
    }

    fn over(area: Range<u32>, spread: u32, share: u32) -> Self {
        let (at, limit, front) = (area.start, area.end, area.start);
        Self { in_flight: VecDeque::new(), at, limit, front, area, spread, share }
    }

    /// The last `slots` slots were a burst: bytes that its packets leave of their shares are left out behind it.
    pub fn end_burst(&mut self, slots: u16) {
        let first = self.in_flight.len() - usize::from(slots);
        if let Some(begin) = self.in_flight.get(first).copied().filter(|begin| self.at >= *begin) {
            let left = (u32::from(slots) * self.share).saturating_sub(self.at - begin);
            self.at = (self.at + left.min(burst_gap().into())).min(self.limit);
        }
    }

    /// Puts the packet, or the piece of one, of the next slot: where it begins, if there is room.
    pub fn put(&mut self, len: u32) -> Option<u32> {
        let gap = if len <= self.spread { ALIGN } else { 0 };
        let bytes = len.next_multiple_of(ALIGN) + gap;
        if bytes > self.limit - self.at {
            if bytes > self.front - self.area.start {
                return None;
            }
            (self.at, self.limit, self.front) = (self.area.start, self.front, self.area.start);
        }
        self.in_flight.push_back(self.at);
        self.at += bytes;
        self.in_flight.back().copied()
    }

    /// The peer has taken the oldest `slots` slots: what is free is counted anew.
    pub fn taken(&mut self, slots: u16) {
        self.in_flight.drain(..usize::from(slots));
        (self.limit, self.front) = match self.in_flight.front() {
            Some(oldest) if *oldest >= self.at => (*oldest, self.area.start),
            Some(oldest) => (self.area.end, *oldest),
            None => (self.area.end, self.at),
        };
    }

    /// The sender needs more than it knows to be free: with nothing in flight it begins at the front.
    pub fn reset_if_empty(&mut self) {
        if self.in_flight.is_empty() {
            *self = Self::over(self.area.clone(), self.spread, self.share);
        }
    }
}
