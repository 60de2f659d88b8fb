//! A slave by script, which never waits for its master.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use memif_fuzz::draft::{Draft, Due};
use memif_ring::message::{Direction, Message, MessageKind};

use super::act::Peer;
use crate::hostile_peer::VICTIM;
use crate::hostile_peer::memory::{Memory, RingFile};
use crate::hostile_peer::slave::{ScriptedSlave, connect};
use crate::hostile_peer::wire::Wire;

pub(crate) struct Client {
    slave: ScriptedSlave,
    /// Right messages that it has sent.
    step: usize,
    /// Messages of any kind that it has sent.
    sent: usize,
    /// Those of the master's.
    greeted: bool,
    acks: usize,
    connected: bool,
    hung_up: bool,
    due: Due,
    /// The next slot of each ring.
    next: [u16; 2],
}

impl Client {
    pub(crate) fn connect(socket: &str) -> Self {
        // nobody has sealed it
        Self::connect_with(socket, Memory::unsealed(4, 2048))
    }

    pub(crate) fn connect_with(socket: &str, memory: Memory) -> Self {
        let slave = ScriptedSlave::unconnected(Wire::connect(socket), VICTIM, memory);
        Self {
            slave,
            step: 0,
            sent: 0,
            greeted: false,
            acks: 0,
            connected: false,
            hung_up: false,
            due: Due::default(),
            next: [0; 2],
        }
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.slave.memory
    }

    pub(crate) fn is_up(&self) -> bool {
        self.connected
    }

    /// Hears what the master has said: HELLO first, no more ACKs than it was sent messages, CONNECTED once, and nothing
    /// behind DISCONNECT. Whether the connection is still there.
    pub(crate) fn listen(&mut self) -> bool {
        while !self.hung_up && self.slave.wire.is_readable(Duration::ZERO) {
            let Some((message, fd)) = self.slave.wire.hear() else { return false };
            assert!(fd.is_none(), "a master has no descriptors to pass");
            match message.kind() {
                MessageKind::Hello => assert!(!std::mem::replace(&mut self.greeted, true), "HELLO again"),
                kind => assert!(self.greeted || kind == MessageKind::Disconnect, "{kind} before HELLO"),
            }
            match message {
                Message::Hello(_) => {}
                Message::Ack => self.acks += 1,
                Message::Connected { .. } => assert!(!std::mem::replace(&mut self.connected, true)),
                Message::Disconnect { .. } => {
                    assert!(self.slave.wire.hear().is_none(), "words behind DISCONNECT");
                    return false;
                }
                other => panic!("{other:?} from a master"),
            }
            assert!(self.acks <= self.sent, "{} ACKs for {} messages", self.acks, self.sent);
        }
        !self.hung_up
    }

    /// Sends a packet of `len` bytes, in good order; returns it.
    pub(crate) fn publish(&mut self, number: u64, len: u32) -> Vec<u8> {
        let at = self.next[0];
        self.next[0] = at.wrapping_add(1);
        let ring = self.slave.s2m();
        ring.set_desc(at, self.slave.memory.packet(at, len, number));
        ring.set_head(self.next[0]);
        crate::common::packet(len as usize, number)
    }

    fn send(&mut self, message: &Message, fd: Option<&OwnedFd>) {
        let fd = fd.map(AsFd::as_fd);
        self.slave.wire.send(message, fd.as_slice());
        self.sent += 1;
    }
}

impl Peer for Client {
    fn proceed(&mut self) {
        let step = self.step;
        self.step += 1;
        match step {
            0 => self.send(&self.slave.init(), None),
            1 => {
                let region = self.slave.memory.fd().try_clone_to_owned().unwrap();
                self.send(&self.slave.region(), Some(&region));
                self.due.region += 1;
            }
            2 | 3 => {
                let direction = [Direction::S2M, Direction::M2S][step - 2];
                let event = self.slave.event(direction).try_clone().unwrap();
                self.send(&self.slave.ring_message(direction), Some(&event));
                *[&mut self.due.s2m, &mut self.due.m2s][step - 2] += 1;
                self.due.offset = self.slave.memory.ring_offset(Direction::M2S) * 2;
            }
            4 => self.send(&connect(), None),
            _ => {}
        }
    }

    fn wire(&self) -> &Wire {
        &self.slave.wire
    }

    fn hang_up(&mut self) {
        self.hung_up = true;
    }

    fn due(&self) -> Due {
        self.due
    }

    fn file(&self) -> Option<&File> {
        Some(self.slave.memory.file())
    }

    fn ring(&self, direction: Direction) -> Option<RingFile<'_>> {
        Some(self.slave.memory.ring(direction))
    }

    fn event(&self, direction: Direction) -> Option<&OwnedFd> {
        Some(self.slave.event(direction))
    }

    /// A packet each time, and a buffer for one.
    fn publish_next(&mut self) {
        let whole = self.slave.memory.file().metadata().unwrap().len() >= self.slave.memory.len();
        if !whole || !self.connected || self.next[0] == 16 {
            return;
        }
        self.publish(self.next[0].into(), 60 + u32::from(self.next[0]) * 100);
        let at = self.next[1];
        self.next[1] = at.wrapping_add(1);
        self.slave.m2s().set_desc(at, self.slave.memory.slot(Direction::M2S, at));
        self.slave.m2s().set_head(self.next[1]);
    }

    fn noted(&mut self, draft: Option<&Draft>) {
        match draft {
            Some(Draft::AddRegion { .. }) => self.due.region += 1,
            Some(Draft::AddRing { s2m: true, .. }) => self.due.s2m += 1,
            Some(Draft::AddRing { s2m: false, .. }) => self.due.m2s += 1,
            _ => {}
        }
        self.sent += 1;
    }
}
