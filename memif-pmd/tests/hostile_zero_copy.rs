//! Forwarding without a copy between a hostile master and a sound one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

pub(crate) mod common;
mod hostile_peer;

use common::packet_memory::{BUFFER, BUFFERS, RING, master, memory, slave};
use common::{PATIENCE, Random, address, packet, until};
use hostile_peer::master::{ScriptedListener, ScriptedMaster, Step};
use hostile_peer::meanwhile;
use hostile_peer::memory::RingFile;
use memif_pmd::{Burst, Disconnect, DropReason, Interface, Memif, PacketMemory, PeerFault};
use memif_ring::layout::{Desc, DescFlags};
use memif_ring::message::Direction;

/// A forwarder with a scripted master on one side and a sound one on the other.
struct Ambush {
    listener: ScriptedListener,
    /// 0 is on the scripted side.
    slaves: [Interface; 2],
    sound: Interface,
    memory: PacketMemory,
    _memif: Memif,
}

impl Ambush {
    fn new() -> Self {
        let memif = Memif::start().unwrap();
        let memory = memory(&memif);
        let sockets = [address(), address()];
        let listener = ScriptedListener::new(&sockets[0]);
        let sound = master(&memif, &sockets[1]);
        let slaves = [0, 1].map(|side| slave(&memif, &sockets[side], &memory));
        sound.wait_up(Some(PATIENCE)).unwrap();
        slaves[1].wait_up(Some(PATIENCE)).unwrap();
        Self { listener, slaves, sound, memory, _memif: memif }
    }

    fn attacker(&self) -> ScriptedMaster {
        until("the last link's end", || !self.slaves[0].is_up());
        let master = self.listener.until(Step::Up);
        until("the link", || self.slaves[0].is_up());
        master
    }

    fn blamed(&self, fault: PeerFault) {
        let blamed = Some(Disconnect::Fault(fault));
        until("the fault", || self.slaves[0].details().unwrap().last_disconnect == blamed);
        assert!(self.slaves[1].is_up());
    }

    fn end(self) {
        let Self { slaves, memory, .. } = self;
        drop(slaves);
        // a builder thread may have been about to make the next link
        until("the buffers to be back", || memory.free_buffers() == BUFFERS);
    }
}

/// Sends so many descriptors, each spoilt by `spoil`, as a master.
fn publish(ring: &RingFile<'_>, count: u16, spoil: impl Fn(u16, Desc) -> Desc) {
    let tail = ring.tail();
    for ahead in 0..count {
        let index = tail.wrapping_add(ahead);
        ring.set_desc(
            index,
            spoil(ahead, Desc { length: 60, flags: DescFlags::empty(), ..ring.desc(index) }),
        );
    }
    ring.set_tail(tail.wrapping_add(count));
}

#[test]
fn a_hostile_sender_loses_its_own_packets() {
    use DropReason::{BufferChanged, ChainBroken, Empty, OutOfRegion};
    let ambush = Ambush::new();
    let master = ambush.attacker();
    let ring = master.ring(Direction::M2S);
    let (mut rx, mut tx) = (ambush.slaves[0].rx(0).unwrap(), ambush.slaves[1].tx(0).unwrap());
    let mut back = ambush.sound.rx(0).unwrap();
    type Spoil = fn(Desc) -> Desc;
    let cases: [(DropReason, Spoil); 7] = [
        (BufferChanged, |desc| Desc { region: 0, ..desc }),
        (BufferChanged, |desc| Desc { region: u16::MAX, ..desc }),
        (BufferChanged, |desc| Desc { offset: desc.offset ^ 2176, ..desc }),
        (OutOfRegion, |desc| Desc { length: BUFFER + 1, ..desc }),
        (OutOfRegion, |desc| Desc { length: u32::MAX, ..desc }),
        (Empty, |desc| Desc { length: 0, ..desc }),
        (ChainBroken, |desc| Desc { flags: DescFlags::NEXT, ..desc }),
    ];
    for (reason, spoil) in cases {
        let before = rx.stats().drops_for(reason);
        // the last one is spoilt: what comes before it goes over
        publish(&ring, 3, |ahead, desc| if ahead == 2 { spoil(desc) } else { desc });
        assert_eq!(rx.forward_to(&mut tx, 64), Ok(2), "{reason}");
        assert_eq!(rx.stats().drops_for(reason), before + 1, "{reason}");
        let mut burst = Burst::new(8).unwrap();
        assert_eq!(back.receive(&mut burst), 2);
        // an idle round posts what was received: the table's buffers, not what the master wrote
        assert_eq!(rx.forward_to(&mut tx, 64), Ok(0));
        let posted: Vec<_> = (0..64).map(|slot| ring.desc(slot)).collect();
        assert!(posted.iter().all(|desc| desc.region == 1 && desc.length == BUFFER), "{reason}");
        let mut offsets: Vec<_> = posted.iter().map(|desc| desc.offset).collect();
        offsets.sort_unstable();
        offsets.dedup();
        assert_eq!(offsets.len(), 64, "{reason}");
    }
    ring.set_tail(ring.head().wrapping_add(1));
    assert_eq!(rx.forward_to(&mut tx, 64), Ok(0));
    let (head, size) = (ring.head(), RING);
    ambush.blamed(PeerFault::TailTooFar { tail: head.wrapping_add(1), head, size });
    drop((rx, tx, back));
    ambush.end();
}

#[test]
fn a_hostile_receiver_loses_its_link_alone() {
    let ambush = Ambush::new();
    let (mut out, mut rx) = (ambush.sound.tx(0).unwrap(), ambush.slaves[1].rx(0).unwrap());
    let mut tx = ambush.slaves[0].tx(0).unwrap();
    for round in 0..3 {
        let master = ambush.attacker();
        let ring = master.ring(Direction::S2M);
        let mut burst = Burst::new(8).unwrap();
        while burst.push(&packet(100, round)).is_ok() {}
        assert_eq!(out.send(&mut burst), 8);
        assert_eq!(rx.forward_to(&mut tx, 64), Ok(8));
        assert_eq!(ring.head(), 8);
        ring.set_tail(1000);
        // the tail is asked for once the ring may be full
        for _ in 0..20 {
            while burst.push(&packet(100, round)).is_ok() {}
            out.send(&mut burst);
            burst.clear();
            rx.forward_to(&mut tx, 64).unwrap();
        }
        until("the fault", || {
            matches!(
                ambush.slaves[0].details().unwrap().last_disconnect,
                Some(Disconnect::Fault(PeerFault::TailTooFar { tail: 1000, size: RING, .. }))
            )
        });
        assert!(ambush.slaves[1].is_up());
        assert!(tx.stats().link_down > 0, "what came afterwards was dropped");
    }
    drop((out, rx, tx));
    ambush.end();
}

#[test]
fn random_writes_by_masters_lose_no_buffer() {
    let ambush = Ambush::new();
    let mut ways = [0, 1]
        .map(|from: usize| (ambush.slaves[from].rx(0).unwrap(), ambush.slaves[1 - from].tx(0).unwrap()));
    let (mut out, mut back) = (ambush.sound.tx(0).unwrap(), ambush.sound.rx(0).unwrap());
    let mut moved = 0;
    for seed in 0..20 {
        let master = ambush.attacker();
        let rings = [Direction::S2M, Direction::M2S].map(|direction| master.ring(direction));
        let mischief = |random: &mut Random| {
            let ring = &rings[random.range(0, 1)];
            let index = u16::try_from(random.range(0, 63)).unwrap();
            let good = ring.desc(index);
            let number = |random: &mut Random| u32::try_from(random.next() >> 16).unwrap_or(u32::MAX);
            match random.range(0, 9) {
                0 => ring.set_desc(index, Desc { offset: number(random), ..good }),
                1 => ring.set_desc(index, Desc { length: number(random) % 4096, ..good }),
                2 => ring.set_desc(index, Desc { flags: DescFlags::NEXT, length: 60, ..good }),
                3 if random.range(0, 200) == 0 => ring.set_tail(index),
                _ => {
                    let ahead = ring.head().wrapping_sub(ring.tail()).min(3);
                    ring.set_desc(index, Desc { flags: DescFlags::empty(), length: 60, ..good });
                    ring.set_tail(ring.tail().wrapping_add(ahead));
                }
            }
        };
        meanwhile(mischief, seed, || {
            let (mut burst, mut sink) = (Burst::new(32).unwrap(), Burst::new(64).unwrap());
            for round in 0..300 {
                while burst.push(&packet(3000, round)).is_ok() {}
                out.send(&mut burst);
                burst.clear();
                for (rx, tx) in &mut ways {
                    moved += rx.forward_to(tx, 64).unwrap();
                }
                back.receive(&mut sink);
                sink.clear();
            }
        });
        drop(master);
        assert!(ambush.slaves[1].is_up());
    }
    assert!(moved > 0);
    drop((ways, out, back));
    ambush.end();
}
