//! A master by script, which never waits for its slave.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use memif_fuzz::draft::{Draft, Due};
use memif_ring::message::{AddRing, Direction, Message, MessageKind};

use super::act::Peer;
use crate::hostile_peer::VICTIM;
use crate::hostile_peer::master::Mapped;
use crate::hostile_peer::master::{connected, hello};
use crate::hostile_peer::memory::RingFile;
use crate::hostile_peer::wire::Wire;
use memif_ring::layout::{Desc, LineSize};

pub(crate) struct Server {
    wire: Wire,
    greeted: bool,
    /// What the slave has said and is not answered yet.
    heard: std::collections::VecDeque<Message>,
    region: Option<Mapped>,
    rings: Vec<(AddRing, OwnedFd)>,
    /// How far the slave has come: it never goes back.
    stage: MessageKind,
    up: bool,
    hung_up: bool,
    next: u16,
}

/// In the order in which a slave may send them.
const ORDER: [MessageKind; 5] = [
    MessageKind::Hello,
    MessageKind::Init,
    MessageKind::AddRegion,
    MessageKind::AddRing,
    MessageKind::Connect,
];

fn place_of(kind: MessageKind) -> usize {
    ORDER.iter().position(|known| *known == kind).unwrap_or_else(|| panic!("{kind} from a slave"))
}

impl Server {
    pub(crate) fn new(wire: Wire) -> Self {
        Self {
            wire,
            greeted: false,
            heard: Default::default(),
            region: None,
            rings: Vec::new(),
            stage: MessageKind::Hello,
            up: false,
            hung_up: false,
            next: 0,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.up
    }

    /// Hears what the slave has said: INIT, regions, rings, CONNECT, in this order, each with the descriptor that it needs.
    /// Whether the connection is still there.
    pub(crate) fn listen(&mut self) -> bool {
        while !self.hung_up && self.wire.is_readable(Duration::ZERO) {
            let Some((message, fd)) = self.wire.hear() else { return false };
            let kind = message.kind();
            if kind == MessageKind::Disconnect {
                assert!(self.wire.hear().is_none(), "words behind DISCONNECT");
                return false;
            }
            let forward = place_of(kind) > place_of(self.stage);
            let again = kind == self.stage && matches!(kind, MessageKind::AddRegion | MessageKind::AddRing);
            assert!(forward || again, "{kind} after {}", self.stage);
            self.stage = kind;
            match (&message, fd) {
                (Message::AddRegion(region), Some(fd)) => {
                    self.region.get_or_insert_with(|| Mapped::new(fd, region.size));
                }
                (Message::AddRing(ring), Some(fd)) => self.rings.push((*ring, fd)),
                (Message::Init(init), None) => assert_eq!(init.id, VICTIM),
                (Message::Connect { .. }, None) => assert_eq!(self.rings.len(), 2),
                (other, fd) => panic!("{other:?} with {fd:?}"),
            }
            self.heard.push_back(message);
        }
        !self.hung_up
    }

    /// The first packet on S2M.
    pub(crate) fn first_packet(&self) -> Vec<u8> {
        let ring = self.ring(Direction::S2M).unwrap();
        let (mut bytes, mut at) = (Vec::new(), 0);
        loop {
            assert_ne!(at, ring.head(), "a packet ends where the ring does");
            let desc = ring.desc(at);
            let mut piece = vec![0; desc.length as usize];
            self.region.as_ref().unwrap().file.read_exact_at(&mut piece, desc.offset.into()).unwrap();
            bytes.extend(piece);
            at += 1;
            if !desc.has_next() {
                return bytes;
            }
        }
    }
}

impl Peer for Server {
    fn proceed(&mut self) {
        self.listen();
        if !std::mem::replace(&mut self.greeted, true) {
            self.wire.send(&Message::Hello(hello()), &[]);
            return;
        }
        match self.heard.pop_front() {
            None => {}
            Some(Message::Connect { .. }) => {
                self.wire.send(&connected(), &[]);
                self.up = true;
            }
            Some(_) => self.wire.send(&Message::Ack, &[]),
        }
    }

    fn wire(&self) -> &Wire {
        &self.wire
    }

    fn hang_up(&mut self) {
        self.hung_up = true;
    }

    fn due(&self) -> Due {
        Due::default()
    }

    fn file(&self) -> Option<&File> {
        self.region.as_ref().map(|region| &region.file)
    }

    fn base(&self) -> u64 {
        self.region.as_ref().map_or(0, |region| region.start)
    }

    fn ring(&self, direction: Direction) -> Option<RingFile<'_>> {
        let (ring, _) = self.rings.iter().find(|(ring, _)| ring.direction == direction)?;
        let Mapped { memory, start, .. } = self.region.as_ref()?;
        Some(RingFile {
            file: memory,
            line: LineSize::NATIVE,
            at: start + u64::from(ring.offset),
            size: 1 << ring.log2_size,
        })
    }

    fn event(&self, direction: Direction) -> Option<&OwnedFd> {
        Some(&self.rings.iter().find(|(ring, _)| ring.direction == direction)?.1)
    }

    /// A packet of ten bytes in the next buffer that the slave has posted.
    fn publish_next(&mut self) {
        let at = self.next;
        let Some(ring) = self.ring(Direction::M2S).filter(|ring| self.up && ring.head() != at) else {
            return;
        };
        let desc = ring.desc(at);
        ring.file.write_all_at(&[7; 10], self.base() + u64::from(desc.offset)).unwrap();
        ring.set_desc(at, Desc { length: 10, ..desc });
        ring.set_tail(at.wrapping_add(1));
        self.next = at.wrapping_add(1);
    }

    fn noted(&mut self, _: Option<&Draft>) {}
}
