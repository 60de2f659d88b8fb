//! A slave by script: well-behaved up to any step of the handshake, and then whatever the test likes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use memif_ring::message::{
    AddRegion, AddRing, Direction, Init, Message, MessageKind, Mode, Name, Secret, VERSION,
};
use rustix::event::{EventfdFlags, eventfd};

use super::memory::{Memory, RingFile};
use super::wire::Wire;

/// How far the handshake has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Hello,
    Admitted,
    Region,
    Rings,
    Up,
}

impl Step {
    pub(crate) const ALL: [Self; 5] = [Self::Hello, Self::Admitted, Self::Region, Self::Rings, Self::Up];
}

pub(crate) struct ScriptedSlave {
    pub(crate) wire: Wire,
    pub(crate) memory: Memory,
    pub(crate) id: u32,
    /// The eventfds of S2M and M2S.
    pub(crate) events: [OwnedFd; 2],
}

impl ScriptedSlave {
    /// With rings of 16 and buffers of 2048 bytes, up to a step.
    pub(crate) fn until(socket: &str, id: u32, step: Step) -> Self {
        Self::with_memory(socket, id, Memory::new(4, 2048), step)
    }

    pub(crate) fn with_memory(socket: &str, id: u32, memory: Memory, step: Step) -> Self {
        let slave = Self::unconnected(Wire::connect(socket), id, memory);
        slave.wire.expect(MessageKind::Hello);
        slave.run(Step::Hello, step);
        slave
    }

    /// Everything that it needs, before a word was said.
    pub(crate) fn unconnected(wire: Wire, id: u32, memory: Memory) -> Self {
        Self { wire, memory, id, events: [event(), event()] }
    }

    /// Goes on from one step to another.
    pub(crate) fn run(&self, from: Step, to: Step) {
        for step in Step::ALL.into_iter().filter(|step| *step > from && *step <= to) {
            self.take(step);
        }
    }

    fn take(&self, step: Step) {
        match step {
            Step::Hello => {}
            Step::Admitted => self.tell(&self.init(), None),
            Step::Region => self.tell(&self.region(), Some(self.memory.fd())),
            Step::Rings => {
                for direction in [Direction::S2M, Direction::M2S] {
                    self.tell(&self.ring_message(direction), Some(self.event(direction).as_fd()));
                }
            }
            Step::Up => {
                self.wire.send(&connect(), &[]);
                self.wire.expect(MessageKind::Connected);
            }
        }
    }

    /// Sends a message and waits for its ACK.
    pub(crate) fn tell(&self, message: &Message, fd: Option<BorrowedFd<'_>>) {
        self.wire.send(message, fd.as_slice());
        self.wire.expect(MessageKind::Ack);
    }

    pub(crate) fn init(&self) -> Message {
        Message::Init(init(self.id))
    }

    pub(crate) fn region(&self) -> Message {
        Message::AddRegion(AddRegion { index: 0, size: self.memory.len() })
    }

    pub(crate) fn add_ring(&self, direction: Direction) -> AddRing {
        let (offset, log2_size) = (self.memory.ring_offset(direction), self.memory.log2_size);
        AddRing { direction, index: 0, region: 0, offset, log2_size, private_hdr_size: 0 }
    }

    pub(crate) fn ring_message(&self, direction: Direction) -> Message {
        Message::AddRing(self.add_ring(direction))
    }

    pub(crate) fn event(&self, direction: Direction) -> &OwnedFd {
        &self.events[usize::from(direction == Direction::M2S)]
    }

    /// The ring that it sends on.
    pub(crate) fn s2m(&self) -> RingFile<'_> {
        self.memory.ring(Direction::S2M)
    }

    /// The ring that it receives on.
    pub(crate) fn m2s(&self) -> RingFile<'_> {
        self.memory.ring(Direction::M2S)
    }

    /// Posts all receive buffers.
    pub(crate) fn post(&self) {
        let size = u16::try_from(self.memory.size()).unwrap();
        self.m2s().publish((0..size).map(|index| self.memory.slot(Direction::M2S, index)));
    }
}

pub(crate) fn init(id: u32) -> Init {
    let name = Name::new("scripted").unwrap();
    Init { version: VERSION, id, mode: Mode::Ethernet, secret: Secret::default(), name }
}

pub(crate) fn connect() -> Message {
    Message::Connect { if_name: Name::new("scripted0").unwrap() }
}

pub(crate) fn event() -> OwnedFd {
    eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap()
}
