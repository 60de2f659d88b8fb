//! A sending end in either role, against a receiver that behaves until it does not: every count, fault and byte of
//! memory is as the model says, and a well-behaved receiver finds every packet whole and in order.
#![no_main]

use std::collections::VecDeque;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use memif_fuzz::memory::{Edge, Mischief, OwnBuffers, Role, Row, Twin, line_of, move_peer, packet, region};
use memif_fuzz::sender::Sender;
use memif_ring::burst::Tally;
use memif_ring::end::Sender as _;
use memif_ring::fault::{DropReason, PeerFault};
use memif_ring::head_side::HeadSender;
use memif_ring::layout::{Desc, DescFlags};
use memif_ring::mock::{HeapTable, MockRegion, MockRing};
use memif_ring::tail_side::TailSender;
use memif_ring::tuning::LOOK_FROM;

#[derive(Arbitrary, Debug)]
struct Input {
    role: Role,
    log2_size: u8,
    capacity: u8,
    buffers: OwnBuffers,
    /// Whether the 16-bit indices are about to wrap: seldom, as it takes its time.
    wound: u8,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    /// Packets of these lengths, in turn.
    Send {
        seed: u8,
        lengths: [Length; 3],
        count: u8,
    },
    Free {
        wanted: u8,
    },
    Buffer {
        ahead: u8,
    },
    /// Fills slots in place.
    Complete {
        ahead: u8,
        flags: u16,
        length: Edge,
    },
    Commit {
        slots: u8,
    },
    /// The peer takes so many packets, if it behaves.
    Depart {
        packets: u8,
    },
    Mischief(Mischief),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Length {
    Short(u8),
    Long(u16),
    Longest,
    TooLong,
}

impl Length {
    fn bytes(self) -> usize {
        match self {
            Self::Short(len) => len.into(),
            Self::Long(len) => usize::from(len) % 4096,
            Self::Longest => 65535,
            Self::TooLong => 65536,
        }
    }
}

impl Input {
    /// Bytes of a buffer.
    fn capacity(&self) -> u32 {
        1 + u32::from(self.capacity)
    }

    /// Whether a slave lays packets one behind the other.
    fn packed(&self) -> bool {
        self.role == Role::Slave && self.log2_size & 64 != 0
    }

    /// What the slave believes of its buffers, if not the truth.
    fn buffers(&self, shared: &MockRegion) -> Option<Row> {
        let wrong = self.buffers.0?;
        if !self.packed() {
            return Some(wrong);
        }
        // where its bytes begin is all that it may be wrong about, below 4 GiB
        let (_, stride) = shared.geometry();
        Some(Row { region: 0, first: wrong.first % (1 << 30), stride, capacity: self.capacity() })
    }
}

enum Real<'a> {
    Slave(HeadSender<MockRing<'a>, HeapTable>),
    Master(TailSender<MockRing<'a>>),
}

impl<'a> Real<'a> {
    fn new(role: Role, packed: bool, twin: &Twin<'a>) -> Self {
        match role {
            Role::Slave if packed => Self::Slave(HeadSender::new(twin.shared.ring(), twin.packed_table())),
            Role::Slave => Self::Slave(HeadSender::new(twin.shared.ring(), twin.table())),
            Role::Master => Self::Master(TailSender::new(twin.shared.ring()).with_look_ahead(LOOK_FROM)),
        }
    }

    fn send(&mut self, on: &MockRegion, packets: &[&[u8]], tally: &mut Tally) -> Result<usize, PeerFault> {
        match self {
            Self::Slave(sender) => sender.send(on.regions(), packets, tally),
            Self::Master(sender) => sender.send(on.regions(), packets, tally),
        }
    }

    fn free(&mut self, wanted: usize) -> Result<u16, PeerFault> {
        match self {
            Self::Slave(sender) => sender.free(wanted),
            Self::Master(sender) => sender.free(wanted),
        }
    }

    fn buffer(&mut self, on: &MockRegion, ahead: u16) -> Option<Result<Desc, DropReason>> {
        let buffer = match self {
            Self::Slave(sender) => sender.buffer(on.regions(), ahead),
            Self::Master(sender) => sender.buffer(on.regions(), ahead),
        };
        buffer.map(|found| found.map(|buffer| buffer.desc))
    }

    fn complete(&mut self, ahead: u16, flags: DescFlags, length: u32) {
        match self {
            Self::Slave(sender) => sender.complete(ahead, flags, 0, length),
            Self::Master(sender) => sender.complete(ahead, flags, 0, length),
        }
    }

    fn commit(&mut self, slots: u16) {
        match self {
            Self::Slave(sender) => sender.commit(slots),
            Self::Master(sender) => sender.commit(slots),
        }
    }
}

struct Run<'a> {
    role: Role,
    packed: bool,
    twin: Twin<'a>,
    model: Sender,
    real: Real<'a>,
    model_tally: Tally,
    tally: Tally,
    /// What a peer that has done nothing wrong has yet to take; `None` once it has.
    honest: Option<VecDeque<Vec<u8>>>,
}

impl<'a> Run<'a> {
    fn new(shared: &'a MockRegion, input: &Input) -> Self {
        let mut twin = Twin::new(shared, input.capacity(), input.buffers(shared));
        let real = Real::new(input.role, input.packed(), &twin);
        let model = Sender::new(input.role, &mut twin.image, input.packed());
        let honest = input.buffers.0.is_none().then(VecDeque::new);
        let mut run = Self {
            role: input.role,
            packed: input.packed(),
            twin,
            model,
            real,
            model_tally: Tally::default(),
            tally: Tally::default(),
            honest,
        };
        if input.role == Role::Master {
            run.post(0);
        }
        if input.wound == 251 {
            run.wind();
        }
        run
    }

    /// The slave's buffers of a whole ring, posted behind `from`.
    fn post(&mut self, from: u16) {
        let size = self.twin.image.size();
        for index in (0..size).map(|slot| from.wrapping_add(slot)) {
            self.twin.set_desc(index, self.twin.image.posted(index));
        }
        self.twin.set_head(from.wrapping_add(size));
    }

    /// Moves both indices up to the end of 16 bits, a ring at a time.
    fn wind(&mut self) {
        let size = self.twin.image.size();
        let whole_ring = vec![vec![0]; size.into()];
        for ring in 1..u16::MAX / size {
            if self.model.is_fixed() {
                assert_eq!(self.real.free(1), Ok(size));
                assert_eq!(self.model.free(&self.twin.image, 1), Ok(size));
                self.real.commit(size);
                self.model.commit(&mut self.twin.image, size);
            } else {
                self.send(&whole_ring);
                self.honest.iter_mut().for_each(VecDeque::clear);
            }
            let behind = if self.role == Role::Master { ring + 1 } else { ring };
            move_peer(&mut self.twin, self.role, behind * size);
        }
        self.twin.check();
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Send { seed, ref lengths, count } => {
                let seeds = (0..count % 24).map(|at| seed.wrapping_add(at));
                let burst = lengths.iter().cycle().zip(seeds);
                let packets: Vec<_> = burst.map(|(length, seed)| packet(seed, length.bytes())).collect();
                self.send(&packets);
            }
            Step::Free { wanted } => {
                let want = self.model.free(&self.twin.image, wanted.into());
                assert_eq!(self.real.free(wanted.into()), want);
            }
            Step::Buffer { ahead } => {
                let (ahead, image) = (u16::from(ahead), &self.twin.image);
                let known = ahead < self.model.known(image);
                let want = known.then(|| self.model.peek(image, ahead));
                assert_eq!(self.real.buffer(self.twin.shared, ahead), want);
            }
            Step::Complete { ahead, flags, length } => {
                let flags = DescFlags::from_bits_retain(flags);
                // in the packed layout no slot has a buffer, and nothing is written
                let known = if self.model.is_fixed() { self.model.known(&self.twin.image) } else { 0 };
                let ahead = u16::from(ahead).checked_rem(known);
                if let Some(ahead) = ahead {
                    self.honest = None; // a master may report more than a buffer holds
                    self.model.complete(&mut self.twin.image, ahead, flags, length.0);
                }
                if !self.model.is_fixed() || known > 0 {
                    self.real.complete(ahead.unwrap_or(0), flags, length.0);
                }
            }
            Step::Commit { slots } => {
                self.honest = None;
                self.real.commit(slots.into());
                self.model.commit(&mut self.twin.image, slots.into());
            }
            Step::Depart { packets } => (0..packets % 40).for_each(|_| self.depart()),
            Step::Mischief(ref mischief) => {
                self.honest = None;
                mischief.commit(&mut self.twin, self.role);
            }
        }
        self.twin.check();
    }

    fn send(&mut self, packets: &[Vec<u8>]) -> usize {
        let slices: Vec<_> = packets.iter().map(Vec::as_slice).collect();
        let got = self.real.send(self.twin.shared, &slices, &mut self.tally);
        let want = self.model.send(&mut self.twin.image, packets, &mut self.model_tally);
        assert_eq!(self.tally, self.model_tally);
        match (got, want) {
            (Ok(done), Ok((want, sent))) => {
                assert_eq!(done, want);
                self.honest.as_mut().into_iter().for_each(|queue| queue.extend(sent.iter().cloned()));
                done
            }
            (Err(fault), Err(want)) => {
                assert_eq!(fault, want);
                assert!(self.honest.is_none(), "{fault} for a peer that did nothing wrong");
                packets.len()
            }
            (got, want) => panic!("got {got:?}, the model has {want:?}"),
        }
    }

    /// A receiver by the book, written on its own: takes one packet, passing by the slots that were given up.
    fn depart(&mut self) {
        let Some(mut queue) = self.honest.take() else { return };
        let image = &self.twin.image;
        // where the peer takes: its own tail of an S2M ring; of an M2S ring, a ring's size behind what it has posted
        let (mut at, end) = match self.role {
            Role::Slave => (image.tail(), image.head()),
            Role::Master => (image.head().wrapping_sub(image.size()), image.tail()),
        };
        let (start, mut bytes) = (at, Vec::new());
        while at != end {
            let desc = image.desc(at);
            let (posted, area) = (image.posted(at), image.area());
            assert_eq!(desc.region, posted.region);
            if self.packed {
                assert!(desc.offset >= area.start && desc.offset + desc.length <= area.end, "{desc:?}");
            } else {
                assert_eq!(desc.offset, posted.offset);
            }
            bytes.extend_from_slice(&image.bytes[image.place(&desc).unwrap()]);
            at = at.wrapping_add(1);
            if desc.flags.bits() & 1 == 0 && !bytes.is_empty() {
                break;
            }
        }
        if !bytes.is_empty() {
            assert_eq!(Some(bytes), queue.pop_front());
        }
        match self.role {
            Role::Slave => self.twin.set_tail(at),
            Role::Master => {
                for index in (0..at.wrapping_sub(start)).map(|slot| start.wrapping_add(slot)) {
                    self.twin.set_desc(index, self.twin.image.posted(index));
                }
                self.twin.set_head(at.wrapping_add(self.twin.image.size()));
            }
        }
        self.honest = Some(queue);
    }

    /// A receiver that goes on receiving gets everything, and then a packet of one byte fits.
    fn finish(mut self) {
        if self.honest.is_none() {
            return;
        }
        for _ in 0..=2 * self.twin.image.size() {
            self.depart();
        }
        assert_eq!(self.honest.as_ref().map(VecDeque::len), Some(0));
        assert_eq!(self.send(&[vec![1]]), 1);
        self.depart();
        assert_eq!(self.honest.as_ref().map(VecDeque::len), Some(0));
        self.twin.check();
    }
}

fuzz_target!(|input: Input| {
    let shared = region(line_of(input.log2_size), 1 + input.log2_size % 5, input.capacity());
    let mut run = Run::new(&shared, &input);
    input.steps.iter().take(64).for_each(|step| run.step(step));
    run.finish();
});
