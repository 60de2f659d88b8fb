//! What the benches of rings share: both ends of one ring, fed from bursts as an application feeds them.
#![allow(dead_code, reason = "each bench uses its share of it")]

use memif_pmd::Burst;
use memif_ring::burst::Tally;
use memif_ring::head_side::{HeadReceiver, HeadSender};
use memif_ring::mock::{MockRegion, Places};
use memif_ring::shm::Ring;
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

enum Ends {
    S2M(HeadSender<Ring, Places>, TailReceiver<Ring>),
    M2S(TailSender<Ring>, HeadReceiver<Ring, Places>),
}

/// One ring with both ends, a burst to send over and over, and one to receive into.
pub(crate) struct Line {
    ends: Ends,
    out: Burst,
    inbox: Burst,
    tally: Tally,
    memory: MockRegion,
}

impl Line {
    /// Bursts of `burst` packets of `size` bytes.
    pub(crate) fn new(direction: Direction, size: usize, burst: usize) -> Self {
        let memory = MockRegion::new(LOG2_SIZE, STRIDE, CAPACITY);
        let ends = match direction {
            Direction::S2M => {
                Ends::S2M(HeadSender::new(memory.ring(), memory.buffers()), TailReceiver::new(memory.ring()))
            }
            Direction::M2S => {
                let mut receiver = HeadReceiver::new(memory.ring(), memory.buffers());
                receiver.post();
                Ends::M2S(TailSender::new(memory.ring()), receiver)
            }
        };
        Self { ends, out: filled(size, burst), inbox: empty(burst), tally: Tally::default(), memory }
    }

    /// Sends the burst once; returns how many packets went.
    #[inline(always)]
    pub(crate) fn send(&mut self) -> usize {
        let (regions, tally) = (self.memory.regions(), &mut self.tally);
        match &mut self.ends {
            Ends::S2M(sender, _) => sender.send(regions, &self.out, tally),
            Ends::M2S(sender, _) => sender.send(regions, &self.out, tally),
        }
        .unwrap_or_default()
    }

    /// Receives a burst; returns how many packets came.
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
        assert!(burst.push(&vec![byte; size]), "{count} packets of {size} bytes fit a burst");
    }
    burst
}

/// A burst with room for `count` packets.
#[expect(clippy::expect_used, reason = "a bench without memory is over")]
pub(crate) fn empty(count: usize) -> Burst {
    Burst::new(count).expect("memory for a burst")
}
