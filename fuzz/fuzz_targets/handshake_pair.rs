//! Both roles against each other over a network that loses, repeats, swaps, delays and damages messages: whatever it
//! does, no file descriptor is lost and both come to rest; when it does nothing, they agree, to the last ring.
#![no_main]

use std::collections::VecDeque;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use memif_fuzz::draft::{Damage, Fd, Table, secret};
use memif_fuzz::memory::line_of;
use memif_ring::handshake::{
    Admission, FdToken, HelloParams, MasterEvent, MasterHandshake, Places, SlaveEvent, SlaveHandshake,
    SlaveParams, Stage,
};
use memif_ring::message::{Direction, MESSAGE_SIZE, Mode, Name, Reason};

#[derive(Arbitrary, Debug)]
struct Input {
    master: Master,
    slave: Slave,
    regions: Vec<u32>,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
struct Master {
    max_region: u16,
    max_rings: (u16, u16),
    max_log2: u8,
    queues: (u16, u16),
    secret: u8,
    id: u8,
}

#[derive(Arbitrary, Debug)]
struct Slave {
    rings: (u8, u8),
    log2_size: u8,
    secret: u8,
    id: u8,
}

/// What the network does next, in the direction to the master or to the slave.
#[derive(Arbitrary, Debug)]
enum Step {
    Deliver { to_master: bool, times: u8 },
    Lose { to_master: bool },
    Repeat { to_master: bool },
    Swap { to_master: bool },
    Damage { to_master: bool, damage: Damage },
    Leave { master: bool },
}

/// A message on its way.
struct Packet {
    bytes: Vec<u8>,
    fds: Vec<Fd>,
}

/// What the master was let to know.
#[derive(Debug, Default, PartialEq)]
struct Learnt {
    regions: Vec<u64>,
    rings: Vec<(Direction, u16, u32, u8)>,
}

struct Run<'a> {
    input: &'a Input,
    master: MasterHandshake,
    slave: SlaveHandshake,
    to_master: VecDeque<Packet>,
    to_slave: VecDeque<Packet>,
    table: Table,
    kept: Vec<Fd>,
    learnt: Learnt,
    offered: Learnt,
    /// The network and both drivers have done nothing wrong so far.
    faithful: bool,
}

fn name() -> Name {
    Name::truncated("fuzz")
}

impl<'a> Run<'a> {
    fn new(input: &'a Input) -> Option<Self> {
        let Input { master, slave, .. } = input;
        let master = MasterHandshake::new(HelloParams {
            name: name(),
            max_region: master.max_region,
            max_m2s_ring: master.max_rings.0,
            max_s2m_ring: master.max_rings.1,
            max_log2_ring_size: master.max_log2,
        });
        let slave = SlaveHandshake::new(SlaveParams {
            id: (slave.id / 200).into(),
            mode: Mode::Ethernet,
            secret: secret(slave.secret / 64),
            name: name(),
            if_name: name(),
            s2m_rings: slave.rings.0.into(),
            m2s_rings: slave.rings.1.into(),
            log2_ring_size: 1 + slave.log2_size % 14,
            line: line_of(slave.log2_size),
        });
        Some(Self {
            input,
            master,
            slave: slave.ok()?,
            to_master: VecDeque::new(),
            to_slave: VecDeque::new(),
            table: Table::default(),
            kept: Vec::new(),
            learnt: Learnt::default(),
            offered: Learnt::default(),
            faithful: true,
        })
    }

    fn queue(&mut self, to_master: bool) -> &mut VecDeque<Packet> {
        if to_master { &mut self.to_master } else { &mut self.to_slave }
    }

    /// Puts what both have to say on its way.
    fn flush(&mut self) {
        while let Some(transmit) = self.master.poll_transmit() {
            assert_eq!(transmit.fd, None);
            self.to_slave.push_back(Packet { bytes: transmit.bytes.to_vec(), fds: Vec::new() });
        }
        while let Some(transmit) = self.slave.poll_transmit() {
            let fds = transmit.fd.iter().map(|_| self.table.open()).collect();
            self.check_token(transmit.fd);
            self.to_master.push_back(Packet { bytes: transmit.bytes.to_vec(), fds });
        }
    }

    /// A slave only names descriptors of what it has offered.
    fn check_token(&self, fd: Option<FdToken>) {
        match fd {
            None => {}
            Some(FdToken::Region(index)) => assert!(usize::from(index) < self.offered.regions.len()),
            Some(FdToken::Ring(direction, index)) => {
                assert!(self.offered.rings.iter().any(|ring| (ring.0, ring.1) == (direction, index)));
            }
        }
    }

    /// Whether there was anything to deliver.
    fn deliver(&mut self, to_master: bool) -> bool {
        self.flush();
        let Some(packet) = self.queue(to_master).pop_front() else { return false };
        if to_master {
            self.master_hears(packet)
        } else {
            self.slave_hears(&packet)
        }
        assert!(self.kept.len() <= 256 + 2 * 256);
        true
    }

    fn master_hears(&mut self, packet: Packet) {
        let Packet { bytes, mut fds } = packet;
        let surplus = fds.len().saturating_sub(1);
        fds.truncate(1);
        match self.master.handle(&bytes, fds.pop(), surplus) {
            Ok(MasterEvent::Init(init)) => {
                let (s2m_rings, m2s_rings) = self.input.master.queues;
                let secret = &secret(self.input.master.secret / 64);
                let mine = init.id == u32::from(self.input.master.id / 200);
                let interface = Admission::Interface { mode: Mode::Ethernet, secret, s2m_rings, m2s_rings };
                // a refusal is as good an answer as any here
                let _welcome = self.master.admit(if mine { interface } else { Admission::Unknown });
            }
            Ok(MasterEvent::Region { index, size, fd }) => {
                assert_eq!(usize::from(index), self.learnt.regions.len());
                self.learnt.regions.push(size);
                self.kept.push(fd);
            }
            Ok(MasterEvent::Ring { direction, index, region, offset, log2_size, fd }) => {
                assert!(usize::from(region) < self.learnt.regions.len());
                self.learnt.rings.push((direction, index, offset, log2_size));
                self.kept.push(fd);
            }
            Ok(MasterEvent::Connect { places, .. }) => {
                if self.faithful && self.learnt.rings.len() > 1 {
                    assert_eq!(places, Places::Tell(line_of(self.input.slave.log2_size)));
                }
                self.master.connected(name()).unwrap();
            }
            Ok(MasterEvent::Disconnected { .. } | MasterEvent::Ignored) | Err(_) => {}
        }
    }

    fn slave_hears(&mut self, packet: &Packet) {
        let fd = packet.fds.first().map(|_| self.table.open());
        let surplus = packet.fds.len().saturating_sub(1);
        if let Ok(SlaveEvent::Offer(agreed)) = self.slave.handle(&packet.bytes, fd, surplus) {
            let more = self.input.regions.iter().map(|size| u64::from(*size) + 1);
            let regions = std::iter::once(agreed.rings_size()).chain(more).take(agreed.max_regions());
            self.offered.regions = regions.collect();
            for (direction, count) in
                [(Direction::S2M, agreed.s2m_rings()), (Direction::M2S, agreed.m2s_rings())]
            {
                let ring = |index| {
                    (direction, index, agreed.ring_offset(direction, index).unwrap(), agreed.log2_ring_size())
                };
                self.offered.rings.extend((0..count).map(ring));
            }
            self.slave.offer(&self.offered.regions).unwrap();
        }
    }

    fn step(&mut self, step: &Step) {
        self.flush();
        match *step {
            Step::Deliver { to_master, times } => {
                for turn in 0..=times {
                    self.deliver(to_master ^ (turn % 2 == 1));
                }
                return;
            }
            Step::Lose { to_master } => drop(self.queue(to_master).pop_front()),
            Step::Repeat { to_master } => self.repeat(to_master),
            Step::Swap { to_master } => {
                let queue = self.queue(to_master);
                if queue.len() > 1 {
                    queue.swap(0, 1);
                }
            }
            Step::Damage { to_master, ref damage } => self.damage(to_master, damage),
            Step::Leave { master: true } => self.master.disconnect(1, Reason::truncated("enough")),
            Step::Leave { master: false } => self.slave.disconnect(1, Reason::truncated("enough")),
        }
        self.faithful = false;
    }

    fn repeat(&mut self, to_master: bool) {
        let table = self.table.clone();
        let queue = self.queue(to_master);
        let Some(first) = queue.front() else { return };
        let fds = first.fds.iter().map(|_| table.open()).collect();
        let again = Packet { bytes: first.bytes.clone(), fds };
        queue.push_front(again);
    }

    fn damage(&mut self, to_master: bool, damage: &Damage) {
        let table = self.table.clone();
        let Some(packet) = self.queue(to_master).front_mut() else { return };
        let Ok(bytes) = <&[u8; MESSAGE_SIZE]>::try_from(&packet.bytes[..]) else { return };
        packet.bytes = damage.bytes(bytes);
        packet.fds.resize_with(damage.fds(packet.fds.len()), || table.open());
    }

    /// A faithful network from here on: both come to rest in as many messages as the largest link takes.
    fn finish(mut self) {
        let mut quiet = 0;
        for turn in 0..4000 {
            quiet = if self.deliver(turn % 2 == 0) { 0 } else { quiet + 1 };
            if quiet == 2 {
                break;
            }
        }
        assert_eq!(quiet, 2, "the two never come to an end");
        let in_flight: usize =
            self.to_master.iter().chain(&self.to_slave).map(|packet| packet.fds.len()).sum();
        assert_eq!(
            (self.table.count(), in_flight),
            (self.kept.len(), 0),
            "a file descriptor was lost, or kept"
        );
        if self.faithful {
            self.check_agreement();
        }
    }

    /// Both up, or both closed: with a faithful network nothing lies between.
    fn check_agreement(&self) {
        let Input { master, slave, .. } = self.input;
        match (self.master.stage(), self.slave.stage()) {
            (Stage::Up, Stage::Up) => assert_eq!(self.learnt, self.offered),
            (Stage::Closed, Stage::Closed) => {
                // there has to be a reason: id, secret, fewer queues than HELLO announces, no ring size at all
                let own = secret(master.secret / 64);
                let fewer = |wish: u8, highest: u16, queues: u16| {
                    u32::from(wish).min(u32::from(highest) + 1) > u32::from(queues)
                };
                assert!(
                    master.id / 200 != slave.id / 200
                        || (!own.is_empty() && own != secret(slave.secret / 64))
                        || fewer(slave.rings.0, master.max_rings.1, master.queues.0)
                        || fewer(slave.rings.1, master.max_rings.0, master.queues.1)
                        || master.max_log2 == 0,
                    "closed for no reason"
                );
            }
            (master, slave) => panic!("master {master:?}, slave {slave:?}"),
        }
    }
}

fuzz_target!(|input: Input| {
    let Some(mut run) = Run::new(&input) else { return };
    input.steps.iter().take(64).for_each(|step| run.step(step));
    run.finish();
});
