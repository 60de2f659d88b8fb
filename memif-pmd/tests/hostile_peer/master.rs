//! A master by script.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use memif_os::event::poll_fds;
use memif_os::seqpacket::{Listener, SocketAddress};
use memif_ring::message::{
    AddRegion, AddRing, Direction, Hello, Message, MessageKind, Name, Reason, VERSION,
};

use super::VICTIM;
use super::memory::RingFile;
use super::slave::init;
use super::wire::Wire;
use crate::common::PATIENCE;

/// How far the handshake has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// Connected, and nothing said.
    Accepted,
    /// HELLO sent, INIT there.
    Init,
    /// INIT answered, the region there.
    Region,
    /// All answered, CONNECT there.
    Connect,
    Up,
}

impl Step {
    pub(crate) const ALL: [Self; 5] = [Self::Accepted, Self::Init, Self::Region, Self::Connect, Self::Up];
}

pub(crate) struct ScriptedListener(Listener);

impl ScriptedListener {
    pub(crate) fn new(socket: &str) -> Self {
        Self(Listener::bind(&SocketAddress::new(socket).unwrap(), 16).unwrap())
    }

    pub(crate) fn accept(&self) -> Wire {
        assert!(poll_fds(&[self.0.as_fd()], Some(PATIENCE)).unwrap() > 0, "no slave comes");
        Wire::new(self.0.accept().unwrap().unwrap())
    }

    /// The next slave, up to a step.
    pub(crate) fn until(&self, step: Step) -> ScriptedMaster {
        let mut master = ScriptedMaster { wire: self.accept(), region: None, rings: Vec::new() };
        for next in Step::ALL.into_iter().filter(|next| *next <= step) {
            master.take(next);
        }
        master
    }
}

impl AsFd for ScriptedListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

pub(crate) struct ScriptedMaster {
    pub(crate) wire: Wire,
    pub(crate) region: Option<File>,
    pub(crate) rings: Vec<(AddRing, OwnedFd)>,
}

impl ScriptedMaster {
    fn take(&mut self, step: Step) {
        match step {
            Step::Accepted => {}
            Step::Init => {
                self.wire.send(&Message::Hello(hello()), &[]);
                self.wire.expect(MessageKind::Init);
            }
            Step::Region => {
                self.wire.send(&Message::Ack, &[]);
                let (_, fd) = self.wire.expect(MessageKind::AddRegion);
                self.region = fd.map(File::from);
            }
            Step::Connect => self.take_rings(),
            Step::Up => self.wire.send(&connected(), &[]),
        }
    }

    fn take_rings(&mut self) {
        loop {
            self.wire.send(&Message::Ack, &[]);
            match self.wire.hear() {
                // packet memory, behind the rings' own region
                Some((Message::AddRegion(_), Some(_))) => {}
                Some((Message::AddRing(ring), Some(fd))) => self.rings.push((ring, fd)),
                Some((Message::Connect { .. }, None)) => return,
                other => panic!("neither ADD_RING nor CONNECT: {other:?}"),
            }
        }
    }

    /// The first ring of a direction.
    pub(crate) fn ring(&self, direction: Direction) -> RingFile<'_> {
        let (ring, _) = self.rings.iter().find(|(ring, _)| ring.direction == direction).unwrap();
        RingFile { file: self.file(), at: ring.offset.into(), size: 1 << ring.log2_size }
    }

    pub(crate) fn event(&self, direction: Direction) -> &OwnedFd {
        &self.rings.iter().find(|(ring, _)| ring.direction == direction).unwrap().1
    }

    pub(crate) fn file(&self) -> &File {
        self.region.as_ref().unwrap()
    }
}

pub(crate) fn hello() -> Hello {
    Hello {
        name: Name::new("scripted").unwrap(),
        min_version: VERSION,
        max_version: VERSION,
        max_region: 255,
        max_m2s_ring: 255,
        max_s2m_ring: 255,
        max_log2_ring_size: 14,
    }
}

pub(crate) fn connected() -> Message {
    Message::Connected { if_name: Name::new("scripted0").unwrap() }
}

/// A message of each kind, as a master might send it.
pub(crate) fn one_of_each() -> [Message; 8] {
    let if_name = Name::new("any").unwrap();
    let ring = AddRing {
        direction: Direction::S2M,
        index: 0,
        region: 0,
        offset: 0,
        log2_size: 4,
        private_hdr_size: 0,
    };
    [
        Message::Ack,
        Message::Hello(hello()),
        Message::Init(init(VICTIM)),
        Message::AddRegion(AddRegion { index: 0, size: 4096 }),
        Message::AddRing(ring),
        Message::Connect { if_name },
        Message::Connected { if_name },
        Message::Disconnect { code: 3, reason: Reason::truncated("enough") },
    ]
}
