//! A hostile peer by script, over real sockets and real shared memory, and the place where it meets its victim: an
//! interface of ours, on a listener and a control plane that somebody else uses at the same time.
#![allow(dead_code, reason = "each test program uses its share of it")]

pub(crate) mod bystander;
pub(crate) mod child;
pub(crate) mod field;
pub(crate) mod lingering;
pub(crate) mod longest;
pub(crate) mod master;
pub(crate) mod memory;
pub(crate) mod mischief;
pub(crate) mod probe;
pub(crate) mod slave;
pub(crate) mod stalling;
pub(crate) mod wire;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use memif_os::huge_pages::HugePages;
use memif_pmd::{
    Burst, Details, Disconnect, DropReason, FaultKind, Interface, InterfaceBuilder, Memif, PacketMemory,
    PeerFault, RxQueue, TxQueue,
};

use crate::common::{PATIENCE, Random, address, exchange, line, until};
use bystander::Bystander;
use master::ScriptedListener;
pub(crate) use wire::VICTIM;

/// A victim, and a bystander on the same control plane.
pub(crate) struct Arena {
    pub(crate) victim: Interface,
    pub(crate) bystander: Bystander,
    pub(crate) socket: String,
    pub(crate) memif: Memif,
}

impl Arena {
    /// The victim is a master; the bystander shares its listener.
    pub(crate) fn master() -> Self {
        Self::master_with(|builder| builder)
    }

    pub(crate) fn master_with(
        setup: impl for<'m> FnOnce(InterfaceBuilder<'m>) -> InterfaceBuilder<'m>,
    ) -> Self {
        let memif = Memif::start().unwrap();
        let socket = address();
        let victim = setup(memif.interface(&socket).master().id(VICTIM)).open().unwrap();
        let bystander = Bystander::new(&memif, &socket);
        Self { victim, bystander, socket, memif }
    }

    /// The victim is a slave of the scripted master; the bystander shares its control plane.
    pub(crate) fn slave() -> (Self, ScriptedListener) {
        Self::slave_with(|builder| builder)
    }

    pub(crate) fn slave_with(
        setup: impl for<'m> FnOnce(InterfaceBuilder<'m>) -> InterfaceBuilder<'m>,
    ) -> (Self, ScriptedListener) {
        let memif = Memif::start().unwrap();
        let bystander = Bystander::new(&memif, &address());
        let socket = address();
        let listener = ScriptedListener::new(&socket);
        let builder = memif.interface(&socket).slave().id(VICTIM).ring_size(16).line_size(line());
        let builder = builder.huge_pages(HugePages::Off);
        let victim = setup(builder.reconnect(Duration::from_millis(1))).open().unwrap();
        (Self { victim, bystander, socket, memif }, listener)
    }

    /// As [`Arena::slave`]; the victim's buffers are in packet memory.
    pub(crate) fn slave_with_packets(buffers: u32, ring_size: u32) -> (Self, ScriptedListener, PacketMemory) {
        let memif = Memif::start().unwrap();
        let bystander = Bystander::new(&memif, &address());
        let socket = address();
        let listener = ScriptedListener::new(&socket);
        let packets = memif.packet_memory().buffers(buffers).huge_pages(HugePages::Off).allocate().unwrap();
        let builder = memif.interface(&socket).slave().id(VICTIM).ring_size(ring_size).line_size(line());
        let builder = builder.huge_pages(HugePages::Off).packet_memory(&packets);
        let victim = builder.reconnect(Duration::from_millis(1)).open().unwrap();
        (Self { victim, bystander, socket, memif }, listener, packets)
    }

    pub(crate) fn details(&self) -> Details {
        self.victim.details().unwrap()
    }

    /// How often peers of the victim did this.
    pub(crate) fn faults(&self, kind: FaultKind) -> u64 {
        self.details().faults().find(|(found, _)| *found == kind).map_or(0, |(_, count)| count)
    }

    /// The sum over all kinds.
    pub(crate) fn all_faults(&self) -> u64 {
        self.details().faults().map(|(_, count)| count).sum()
    }

    /// The same of peers that have not said which interface they want.
    pub(crate) fn stranger_faults(&self, kind: FaultKind) -> u64 {
        self.memif
            .stranger_faults()
            .into_iter()
            .find(|(found, _)| *found == kind)
            .map_or(0, |(_, count)| count)
    }

    /// How often peers did this, up to this step: before INIT they are on nobody's account.
    pub(crate) fn faults_at(&self, step: slave::Step, kind: FaultKind) -> u64 {
        if step == slave::Step::Hello { self.stranger_faults(kind) } else { self.faults(kind) }
    }

    /// Waits until the operator sees this fault, so many times, and as the last reason.
    pub(crate) fn blames(&self, fault: PeerFault, times: u64) {
        until("the fault in the details", || self.faults(fault.kind()) == times);
        self.ended_with(&Disconnect::Fault(fault));
    }

    pub(crate) fn ended_with(&self, reason: &Disconnect) {
        let mut last = None;
        let end = std::time::Instant::now() + PATIENCE;
        while last.as_ref() != Some(reason) {
            assert!(std::time::Instant::now() < end, "last disconnect is {last:?}, not {reason:?}");
            last = self.details().last_disconnect;
            std::thread::yield_now();
        }
    }

    /// Packets that the victim dropped for this reason, on all queues.
    pub(crate) fn drops(&self, reason: DropReason) -> u64 {
        let details = self.details();
        details.rx.iter().chain(&details.tx).map(|queue| queue.stats.drops_for(reason)).sum()
    }

    /// A well-behaved slave takes the victim's next link, and traffic flows. The victim's queues must be free.
    pub(crate) fn welcomes_a_slave(&self) {
        let memif = Memif::start().unwrap();
        let slave = memif.interface(&self.socket).slave().id(VICTIM).huge_pages(HugePages::Off);
        let slave = slave.reconnect(Duration::from_millis(5)).open().unwrap();
        self.talks_to(&slave);
    }

    /// A well-behaved master is found by the victim, and traffic flows. The scripted listener must be gone.
    pub(crate) fn finds_a_master(&self) {
        let memif = Memif::start().unwrap();
        let master = memif.interface(&self.socket).master().id(VICTIM).open().unwrap();
        self.talks_to(&master);
    }

    fn talks_to(&self, peer: &Interface) {
        peer.wait_up(Some(PATIENCE)).unwrap();
        until("the victim's link", || self.victim.is_up());
        exchange((&mut peer.tx(0).unwrap(), &mut self.victim.rx(0).unwrap()), 0..200, 60..=3000);
        exchange((&mut self.victim.tx(0).unwrap(), &mut peer.rx(0).unwrap()), 0..200, 60..=3000);
    }

    /// The end of an attack on a master: it goes on as if nothing had been.
    pub(crate) fn unharmed_master(self) {
        self.welcomes_a_slave();
        self.bystander.finish();
    }

    /// The end of an attack on a slave.
    pub(crate) fn unharmed_slave(self, listener: ScriptedListener) {
        drop(listener);
        self.finds_a_master();
        self.bystander.finish();
    }
}

/// Receives what is there now, in one burst.
pub(crate) fn receive(rx: &mut RxQueue) -> Vec<Vec<u8>> {
    let mut burst = Burst::new(64).unwrap();
    rx.receive(&mut burst);
    burst.iter().map(<[u8]>::to_vec).collect()
}

/// The ways to receive.
#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    Copy,
    InPlace,
}

impl How {
    pub(crate) const ALL: [Self; 2] = [Self::Copy, Self::InPlace];

    /// One call, and the packets that it gave.
    pub(crate) fn once(self, rx: &mut RxQueue) -> Vec<Vec<u8>> {
        match self {
            Self::Copy => receive(rx),
            Self::InPlace => {
                let peeked = rx.peek(64);
                let copy = |packet: memif_pmd::Pieces<'_>| {
                    let mut bytes = vec![0; packet.bytes()];
                    assert_eq!(packet.copy_to(&mut bytes), bytes.len());
                    bytes
                };
                let packets: Vec<_> = peeked.iter().map(copy).collect();
                peeked.release(packets.len());
                packets
            }
        }
    }

    /// Everything that is there. Calls are few, as each is bounded by the ring.
    pub(crate) fn all(self, rx: &mut RxQueue) -> Vec<Vec<u8>> {
        (0..6).flat_map(|_| self.once(rx)).collect()
    }

    /// Sends one packet, if there is room; whether it left.
    pub(crate) fn send(self, tx: &mut TxQueue, packet: &[u8]) -> bool {
        match self {
            Self::Copy => {
                let mut burst = Burst::new(1).unwrap();
                burst.push(packet).unwrap();
                tx.send(&mut burst) == 1
            }
            Self::InPlace => {
                let mut room = tx.reserve(1, 2048);
                let fits = room.fill(0, packet) == packet.len();
                if fits {
                    room.commit(1);
                }
                fits
            }
        }
    }
}

/// Says that it is over, also when a test fails: threads that wait for it would keep it from ending.
pub(crate) struct Ends<'a>(pub(crate) &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Runs `mischief` on another thread, over and over, for as long as `business` takes.
pub(crate) fn meanwhile<T>(
    mischief: impl Fn(&mut Random) + Sync,
    seed: u64,
    business: impl FnOnce() -> T,
) -> T {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random::new(seed);
            while !over.load(Ordering::Acquire) {
                mischief(&mut random);
            }
        });
        let _ends = Ends(&over);
        business()
    })
}
