//! A link to a slave by script whose indices are right, and what it finds in its own memory.

use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use memif_pmd::{Interface, Memif, Polled, RxQueue, TxQueue};
use memif_ring::layout::{Desc, DescFlags};
use memif_ring::message::Direction;

use crate::common::{PATIENCE, address};
use crate::hostile_peer::VICTIM;
use crate::hostile_peer::memory::Memory;
use crate::peers::act::Peer;
use crate::peers::client::Client;

/// Enough for packets beyond 65,535 bytes.
const LOG2_SIZE: u8 = 5;
const BUFFER: u32 = 4096;

/// One control plane for all inputs.
static MEMIF: Mutex<Option<(Memif, String)>> = Mutex::new(None);

pub(crate) struct Victim {
    pub(crate) rx: RxQueue,
    pub(crate) tx: TxQueue,
    interface: Interface,
}

pub(crate) struct Link {
    pub(crate) victim: Victim,
    client: Client,
    /// Of S2M: what is published, what of it the master knows of, and what it has looked at.
    head: u16,
    known: u16,
    seen: u16,
    /// Of M2S: what is posted, and what was looked at.
    posted: u16,
    taken: u16,
}

impl Link {
    pub(crate) fn new() -> Self {
        let mut memif = MEMIF.lock().unwrap();
        let (memif, socket) = memif.get_or_insert_with(|| (Memif::new().unwrap(), address()));
        // as the C library does
        let master = memif.interface(socket.as_str()).master().id(VICTIM).explicit_posting().open().unwrap();
        let end = Instant::now() + PATIENCE;
        let mut client = Client::connect_with(socket, Memory::new(LOG2_SIZE, BUFFER));
        while !(master.is_up() && client.is_up()) {
            assert!(Instant::now() < end, "no link");
            client.proceed();
            memif.poll(Some(Duration::from_millis(1))).unwrap();
            if !client.listen() {
                client = Client::connect_with(socket, Memory::new(LOG2_SIZE, BUFFER));
            }
        }
        let (rx, tx) = (master.rx(0).unwrap(), master.tx(0).unwrap());
        let victim = Victim { rx, tx, interface: master };
        Self { victim, client, head: 0, known: 0, seen: 0, posted: 0, taken: 0 }
    }

    /// Whether no fault was found, once the control plane has heard of those that were.
    pub(crate) fn is_up(&self) -> bool {
        let memif = MEMIF.lock().unwrap();
        let (memif, _) = memif.as_ref().unwrap();
        while memif.poll(Some(Duration::ZERO)).unwrap() != Polled::TimedOut {}
        self.victim.interface.is_up()
    }

    fn memory(&self) -> &Memory {
        self.client.memory()
    }

    fn read(&self, desc: &Desc) -> Option<Vec<u8>> {
        let end = u64::from(desc.offset) + u64::from(desc.length);
        if desc.region != 0 || end > self.memory().len() {
            return None;
        }
        let mut bytes = vec![0; desc.length as usize];
        self.memory().file().read_exact_at(&mut bytes, desc.offset.into()).unwrap();
        Some(bytes)
    }

    /// Publishes a descriptor, if there is a slot for it.
    pub(crate) fn send_desc(&mut self, desc: Desc) {
        let desc = self.behind_rings(desc);
        let ring = self.memory().ring(Direction::S2M);
        if self.head.wrapping_sub(ring.tail()) < 1 << LOG2_SIZE {
            ring.set_desc(self.head, desc);
            ring.set_head(self.head.wrapping_add(1));
            self.head = self.head.wrapping_add(1);
        }
    }

    /// A packet of so many descriptors of `len` bytes, in buffers that may overlap.
    pub(crate) fn chain(&mut self, pieces: u16, len: u32, open: bool) {
        let pieces = 1 + pieces % 32;
        for piece in 1..=pieces {
            let slot = self.memory().slot(Direction::S2M, self.head);
            let fill = vec![self.head as u8; BUFFER as usize];
            self.memory().file().write_all_at(&fill, slot.offset.into()).unwrap();
            let flags = DescFlags::next_if(piece < pieces || open);
            self.send_desc(Desc { flags, length: len % (3 * BUFFER), ..slot });
        }
    }

    /// The next packets, at most `max`, each with its first slot: those of a valid chain of 1 to 65,535 bytes. The master
    /// looks for more only when it knows of too few.
    pub(crate) fn published(&mut self, max: usize) -> Vec<(u16, Vec<u8>)> {
        if usize::from(self.known.wrapping_sub(self.seen)) <= max {
            self.known = self.head;
        }
        let ring = self.memory().ring(Direction::S2M);
        let (mut packets, mut at) = (Vec::new(), self.seen);
        while packets.len() < max && at != self.known {
            let (first, mut parts, mut ended) = (at, Vec::new(), false);
            while at != self.known && !ended {
                let desc = ring.desc(at);
                parts.push(self.read(&desc));
                ended = !desc.has_next();
                at = at.wrapping_add(1);
            }
            let bytes: Option<Vec<Vec<u8>>> = parts.into_iter().collect();
            let bytes = bytes.filter(|_| ended).map(|parts| parts.concat());
            packets
                .extend(bytes.filter(|bytes| (1..=65535).contains(&bytes.len())).map(|bytes| (first, bytes)));
        }
        self.seen = at;
        packets
    }

    /// A place that is not in the rings, which the master writes: their indices stay right, and packets as they are.
    fn behind_rings(&self, desc: Desc) -> Desc {
        Desc { offset: desc.offset.max(self.memory().slot(Direction::S2M, 0).offset), ..desc }
    }

    /// Posts a buffer: its own, or another.
    pub(crate) fn post(&mut self, other: Option<Desc>) {
        if self.posted.wrapping_sub(self.taken) == 1 << LOG2_SIZE {
            return;
        }
        let ring = self.memory().ring(Direction::M2S);
        let own = self.memory().slot(Direction::M2S, self.posted);
        ring.set_desc(self.posted, other.map_or(own, |desc| self.behind_rings(desc)));
        ring.set_head(self.posted.wrapping_add(1));
        self.posted = self.posted.wrapping_add(1);
    }

    /// Changes a descriptor that the master still has.
    pub(crate) fn change(&self, index: u8, desc: Desc) {
        let ring = self.memory().ring(Direction::M2S);
        let free = self.posted.wrapping_sub(ring.tail());
        if free > 0 {
            ring.set_desc(ring.tail().wrapping_add(u16::from(index) % free), self.behind_rings(desc));
        }
    }

    /// Writes anywhere but into the rings.
    pub(crate) fn write(&self, at: u32, bytes: &[u8]) {
        let first = u64::from(self.memory().slot(Direction::S2M, 0).offset);
        let at = first + u64::from(at) % (self.memory().len() - first - bytes.len() as u64);
        self.memory().file().write_all_at(bytes, at).unwrap();
    }

    /// Packets that the master has sent, put together; buffers of no bytes count as packets.
    pub(crate) fn arrived(&mut self) -> Vec<Vec<u8>> {
        let ring = self.memory().ring(Direction::M2S);
        let tail = ring.tail();
        assert!(
            tail.wrapping_sub(self.taken) <= self.posted.wrapping_sub(self.taken),
            "more than was posted"
        );
        let (mut packets, mut open) = (Vec::new(), false);
        for index in (0..tail.wrapping_sub(self.taken)).map(|ahead| self.taken.wrapping_add(ahead)) {
            let desc = ring.desc(index);
            let bytes = self.read(&desc);
            if !std::mem::replace(&mut open, desc.has_next()) {
                packets.push(Vec::new());
            }
            packets.last_mut().into_iter().for_each(|packet| packet.extend(bytes.iter().flatten()));
        }
        assert!(!open, "a packet without an end");
        self.taken = tail;
        packets
    }
}
