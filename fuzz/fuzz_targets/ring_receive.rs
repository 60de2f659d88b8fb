//! A receiving end in either role, against a sender that behaves until it does not: every packet, count, fault and byte
//! of memory is as the model says, and every packet of a well-behaved sender arrives whole and in order.
#![no_main]

use std::collections::VecDeque;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use memif_fuzz::memory::{Inbox, Mischief, OwnBuffers, Role, Twin, line_of, move_peer, packet, region};
use memif_fuzz::receiver::Receiver;
use memif_ring::burst::Tally;
use memif_ring::end::Receiver as _;
use memif_ring::fault::{DropReason, PeerFault};
use memif_ring::head_side::HeadReceiver;
use memif_ring::layout::{Desc, DescFlags};
use memif_ring::mock::{HeapTable, MockRegion, MockRing};
use memif_ring::tail_side::{Overrun, TailReceiver};

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
    /// The peer sends a packet, if there is room for it.
    Arrive {
        seed: u8,
        len: u16,
    },
    Receive {
        room: u8,
    },
    Ready {
        wanted: u8,
    },
    Peek {
        ahead: u8,
    },
    Release {
        slots: u8,
    },
    Mischief(Mischief),
    /// A master goes on behind an overrun, whether there was one or not.
    Resynchronise,
}

impl Input {
    /// Bytes of a buffer.
    fn capacity(&self) -> u32 {
        1 + u32::from(self.capacity)
    }
}

enum Real<'a> {
    Slave(HeadReceiver<MockRing<'a>, HeapTable>),
    Master(TailReceiver<MockRing<'a>>),
}

impl<'a> Real<'a> {
    fn new(role: Role, twin: &Twin<'a>) -> Self {
        match role {
            Role::Master => Self::Master(TailReceiver::new(twin.shared.ring())),
            Role::Slave => {
                let mut receiver = HeadReceiver::new(twin.shared.ring(), twin.table());
                receiver.flush();
                Self::Slave(receiver)
            }
        }
    }

    fn receive(&mut self, on: &MockRegion, inbox: &mut Inbox, tally: &mut Tally) -> Result<usize, PeerFault> {
        match self {
            Self::Slave(receiver) => receiver.receive(on.regions(), inbox, tally),
            Self::Master(receiver) => receiver.receive(on.regions(), inbox, tally),
        }
    }

    fn ready(&mut self, wanted: usize) -> Result<u16, PeerFault> {
        match self {
            Self::Slave(receiver) => receiver.ready(wanted),
            Self::Master(receiver) => receiver.ready(wanted),
        }
    }

    fn peek(&mut self, on: &MockRegion, ahead: u16) -> (u16, Result<(), DropReason>, Vec<Desc>) {
        let mut visited = Vec::new();
        let (slots, verdict) = match self {
            Self::Slave(receiver) => receiver.peek(on.regions(), ahead, |piece| visited.push(piece.desc)),
            Self::Master(receiver) => receiver.peek(on.regions(), ahead, |piece| visited.push(piece.desc)),
        };
        (slots, verdict, visited)
    }

    fn release(&mut self, slots: u16) {
        match self {
            Self::Slave(receiver) => receiver.release(slots),
            Self::Master(receiver) => receiver.release(slots),
        }
    }
}

struct Run<'a> {
    role: Role,
    twin: Twin<'a>,
    model: Receiver,
    real: Real<'a>,
    model_tally: Tally,
    tally: Tally,
    /// What a peer that has done nothing wrong has sent; `None` once it has.
    honest: Option<VecDeque<Vec<u8>>>,
}

impl<'a> Run<'a> {
    fn new(shared: &'a MockRegion, input: &Input) -> Self {
        let mut twin = Twin::new(shared, input.capacity(), input.buffers.0);
        let real = Real::new(input.role, &twin);
        let model = Receiver::new(input.role, &mut twin.image);
        let honest = input.buffers.0.is_none().then(VecDeque::new);
        let mut run = Self {
            role: input.role,
            twin,
            model,
            real,
            model_tally: Tally::default(),
            tally: Tally::default(),
            honest,
        };
        if input.wound == 251 {
            run.wind();
        }
        run
    }

    /// Moves both indices up to the end of 16 bits, a ring at a time.
    fn wind(&mut self) {
        let size = self.twin.image.size();
        for ring in 1..u16::MAX / size {
            move_peer(&mut self.twin, self.role, ring * size);
            assert_eq!(self.real.ready(1), Ok(size));
            assert_eq!(self.model.ready(&self.twin.image, 1), Ok(size));
            self.real.release(size);
            self.model.release(&mut self.twin.image, size);
        }
        self.twin.check();
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Arrive { seed, len } => self.arrive(&packet(seed, 1 + usize::from(len % 1024))),
            Step::Receive { room } => self.receive(room.into()),
            Step::Ready { wanted } => {
                let want = self.model.ready(&self.twin.image, wanted.into());
                assert_eq!(self.real.ready(wanted.into()), want);
            }
            Step::Peek { ahead } => {
                let ahead = u16::from(ahead);
                let found = self.real.peek(self.twin.shared, ahead);
                let known = ahead < self.model.known();
                let want =
                    if known { self.model.peek(&self.twin.image, ahead) } else { (0, Ok(()), Vec::new()) };
                assert_eq!(found, want);
            }
            Step::Release { slots } => {
                // what was skipped over is lost, and the rest may begin inside a packet: no longer a plain queue
                self.honest = None;
                self.real.release(slots.into());
                self.model.release(&mut self.twin.image, slots.into());
            }
            Step::Resynchronise => {
                if let Real::Master(master) = &mut self.real {
                    let lost = self.model.resynchronise(&mut self.twin.image);
                    assert_eq!(master.resynchronise(), Overrun { lost, withdrawn: 0 });
                    assert!(self.honest.is_none() || lost == 0, "{lost} for a peer that did nothing wrong");
                }
            }
            Step::Mischief(ref mischief) => {
                self.honest = None;
                mischief.commit(&mut self.twin, self.role);
            }
        }
        self.twin.check();
    }

    fn receive(&mut self, room: usize) {
        let mut inbox = Inbox::new(room);
        let got = self.real.receive(self.twin.shared, &mut inbox, &mut self.tally);
        let want = self.model.receive(&mut self.twin.image, room, &mut self.model_tally);
        match (got, want) {
            (Ok(consumed), Ok((want, packets))) => assert_eq!((consumed, &inbox.packets), (want, &packets)),
            (Err(fault), Err(want)) => {
                assert_eq!(fault, want);
                assert!(inbox.packets.is_empty());
                assert!(self.honest.is_none(), "{fault} for a peer that did nothing wrong");
            }
            (got, want) => panic!("got {got:?}, the model has {want:?}"),
        }
        assert_eq!(self.tally, self.model_tally);
        if let Some(sent) = &mut self.honest {
            assert_eq!(self.tally.dropped(), 0);
            for packet in inbox.packets {
                assert_eq!(Some(packet), sent.pop_front());
            }
        }
    }

    /// A sender by the book, written on its own: the other end's code has no part in it.
    fn arrive(&mut self, packet: &[u8]) {
        let image = &self.twin.image;
        let (head, tail, size) = (image.head(), image.tail(), image.size());
        let free = match self.role {
            Role::Master => size.saturating_sub(head.wrapping_sub(tail)),
            Role::Slave => head.wrapping_sub(tail).min(size),
        };
        let capacity = image.posted(0).length as usize;
        let slots = packet.len().div_ceil(capacity.max(1));
        if self.honest.is_none() || slots > usize::from(free) {
            return;
        }
        let first = if self.role == Role::Master { head } else { tail };
        let mut at = first;
        let mut pieces = packet.chunks(capacity).peekable();
        while let Some(piece) = pieces.next() {
            let posted = self.twin.image.posted(at);
            self.twin.poke(posted.offset as usize, piece);
            let flags = DescFlags::next_if(pieces.peek().is_some());
            self.twin.set_desc(at, Desc { flags, length: piece.len() as u32, ..posted });
            at = at.wrapping_add(1);
        }
        move_peer(&mut self.twin, self.role, at);
        self.honest.as_mut().into_iter().for_each(|sent| sent.push_back(packet.to_vec()));
    }

    /// A receiver that goes on receiving gets everything, and gives every slot back.
    fn finish(mut self) {
        let Some(waiting) = self.honest.as_ref().map(VecDeque::len) else { return };
        for _ in 0..waiting + 2 {
            self.receive(1 + waiting);
        }
        assert_eq!(self.honest.map(|sent| sent.len()), Some(0));
        let expected = if self.role == Role::Master { 0 } else { self.twin.image.size() };
        assert_eq!(self.twin.image.head().wrapping_sub(self.twin.image.tail()), expected);
        self.twin.check();
    }
}

fuzz_target!(|input: Input| {
    let shared = region(line_of(input.log2_size), 1 + input.log2_size % 5, input.capacity());
    let mut run = Run::new(&shared, &input);
    input.steps.iter().take(64).for_each(|step| run.step(step));
    run.finish();
});
