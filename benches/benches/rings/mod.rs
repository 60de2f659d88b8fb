//! Shared by the benches of rings: both ends of one ring, with bursts as an application uses them.
#![allow(dead_code, reason = "each bench uses its share of it")]

use memif_pmd::Burst;
use memif_ring::burst::Tally;
use memif_ring::end::{Receiver, Sender};
use memif_ring::head_side::{HeadReceiver, HeadSender};
use memif_ring::mock::{HeapTable, MockRegion, MockRing};
use memif_ring::tail_side::{TailReceiver, TailSender};

/// Descriptors of the rings, as log2: the default of an interface.
pub(crate) const LOG2_SIZE: u8 = 10;
/// Bytes of a buffer, and from one buffer to the next.
const CAPACITY: u32 = 2048;
const STRIDE: u32 = 2176;

/// The two directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The slave sends.
    S2M,
    /// The master sends.
    M2S,
}

impl Direction {
    pub(crate) const BOTH: [Self; 2] = [Self::S2M, Self::M2S];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::S2M => "s2m",
            Self::M2S => "m2s",
        }
    }
}

enum Ends<'a> {
    S2M(HeadSender<MockRing<'a>, HeapTable>, TailReceiver<MockRing<'a>>),
    M2S(TailSender<MockRing<'a>>, HeadReceiver<MockRing<'a>, HeapTable>),
}

/// Memory for a [`Line`].
pub(crate) fn memory() -> MockRegion {
    MockRegion::new(LOG2_SIZE, STRIDE, CAPACITY)
}

/// One ring with both ends, a burst that is sent repeatedly, and one to receive into.
pub(crate) struct Line<'a> {
    ends: Ends<'a>,
    out: Burst,
    inbox: Burst,
    tally: Tally,
    memory: &'a MockRegion,
}

impl<'a> Line<'a> {
    /// Bursts of `burst` packets of `size` bytes.
    pub(crate) fn new(memory: &'a MockRegion, direction: Direction, size: usize, burst: usize) -> Self {
        let ends = match direction {
            Direction::S2M => {
                Ends::S2M(HeadSender::new(memory.ring(), memory.buffers()), TailReceiver::new(memory.ring()))
            }
            Direction::M2S => {
                let mut receiver = HeadReceiver::new(memory.ring(), memory.buffers());
                receiver.flush();
                Ends::M2S(TailSender::new(memory.ring()), receiver)
            }
        };
        Self { ends, out: filled(size, burst), inbox: empty(burst), tally: Tally::default(), memory }
    }

    /// Sends the burst once. Returns the number of packets sent.
    #[inline(always)]
    pub(crate) fn send(&mut self) -> usize {
        let (regions, tally) = (self.memory.regions(), &mut self.tally);
        match &mut self.ends {
            Ends::S2M(sender, _) => sender.send(regions, &self.out, tally),
            Ends::M2S(sender, _) => sender.send(regions, &self.out, tally),
        }
        .unwrap_or_default()
    }

    /// Receives a burst. Returns the number of packets received.
    #[inline(always)]
    pub(crate) fn receive(&mut self) -> usize {
        let (regions, tally) = (self.memory.regions(), &mut self.tally);
        self.inbox.clear();
        match &mut self.ends {
            Ends::S2M(_, receiver) => receiver.receive(regions, &mut self.inbox, tally),
            Ends::M2S(_, receiver) => receiver.receive(regions, &mut self.inbox, tally),
        }
        .unwrap_or_default()
    }
}

/// A burst of `count` packets of `size` bytes.
#[expect(clippy::expect_used, reason = "a bench without memory is over")]
pub(crate) fn filled(size: usize, count: usize) -> Burst {
    let mut burst = Burst::new(count).expect("memory for a burst");
    for number in 0..count {
        let byte = u8::try_from(number % 251).unwrap_or_default();
        burst.push(&vec![byte; size]).expect("it fits the burst");
    }
    burst
}

/// A burst with room for `count` packets.
#[expect(clippy::expect_used, reason = "a bench without memory is over")]
pub(crate) fn empty(count: usize) -> Burst {
    Burst::new(count).expect("memory for a burst")
}
