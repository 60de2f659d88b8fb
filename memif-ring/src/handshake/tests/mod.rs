extern crate std;

mod conversations;
mod master;
mod places;
mod slave;
mod stages;

use super::*;
use crate::fault::{PeerFault, REFUSED};
use crate::layout::LineSize;
use crate::message::{
    AddRegion, AddRing, Direction, Hello, Init, Message, MessageKind, Mode, Name, Reason, Secret, VERSION,
};
use crate::region::MAX_REGIONS;
use std::mem::size_of;
use std::vec::Vec;

const NO_FD: Option<u32> = None;
const FD: Option<u32> = Some(7);
/// What [`master_in_setup`] admits in each direction.
const QUEUES: u16 = 3;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// What one ring tells of its layout, in a region with room behind it.
const OPEN: Places = Places::LeaveOpen { otherwise: Ok(LineSize::Bytes64) };

fn hello_params() -> HelloParams {
    HelloParams {
        name: name("master"),
        max_region: 255,
        max_m2s_ring: 255,
        max_s2m_ring: 255,
        max_log2_ring_size: 14,
    }
}

fn slave_params() -> SlaveParams {
    SlaveParams {
        id: 5,
        mode: Mode::Ethernet,
        secret: Secret::default(),
        name: name("slave"),
        if_name: name("slave0"),
        s2m_rings: 1,
        m2s_rings: 1,
        log2_ring_size: 10,
        line: LineSize::Bytes64,
    }
}

fn hello() -> Hello {
    Hello {
        name: name("master"),
        min_version: VERSION,
        max_version: VERSION,
        max_region: 255,
        max_m2s_ring: 255,
        max_s2m_ring: 255,
        max_log2_ring_size: 14,
    }
}

fn init() -> Init {
    Init { version: VERSION, id: 5, mode: Mode::Ethernet, secret: Secret::default(), name: name("slave") }
}

fn region(index: u16) -> Message {
    Message::AddRegion(AddRegion { index, size: 1 << 20 })
}

fn a_ring(direction: Direction, index: u16, offset: u32) -> AddRing {
    AddRing { direction, index, region: 0, offset, log2_size: 4, private_hdr_size: 0 }
}

fn ring(direction: Direction, index: u16, offset: u32) -> Message {
    Message::AddRing(a_ring(direction, index, offset))
}

fn connect() -> Message {
    Message::Connect { if_name: name("slave0") }
}

fn connected() -> Message {
    Message::Connected { if_name: name("master0") }
}

fn bye() -> Message {
    Message::Disconnect { code: 3, reason: Reason::truncated("bye") }
}

/// One message of each kind, each good in its place.
fn one_of_each() -> [Message; 8] {
    [
        Message::Ack,
        Message::Hello(hello()),
        Message::Init(init()),
        region(0),
        ring(Direction::S2M, 0, 0),
        connect(),
        connected(),
        bye(),
    ]
}

fn fd_for(message: &Message) -> Option<u32> {
    message.kind().carries_fd().then_some(7)
}

/// What waits to be sent, parsed; nothing may wait behind it.
fn sent_by_master(master: &mut MasterHandshake) -> Option<Message> {
    let transmit = master.poll_transmit()?;
    assert_eq!(master.poll_transmit(), None);
    assert_eq!(transmit.fd, None);
    Some(Message::parse(&transmit.bytes).unwrap())
}

fn sent_by_slave(slave: &mut SlaveHandshake) -> Option<(Message, Option<FdToken>)> {
    let transmit = slave.poll_transmit()?;
    assert_eq!(slave.poll_transmit(), None);
    Some((Message::parse(&transmit.bytes).unwrap(), transmit.fd))
}

/// Hands over a good message with the right descriptor.
fn tell(master: &mut MasterHandshake, message: Message) -> Result<MasterEvent<u32>, PeerFault> {
    master.handle(&message.emit(), fd_for(&message), 0)
}

fn tell_slave(slave: &mut SlaveHandshake, message: Message) -> Result<SlaveEvent, PeerFault> {
    slave.handle(&message.emit(), NO_FD, 0)
}

const NO_SECRET: &Secret = &Secret::from_field([0; 24]);

const fn interface(s2m_rings: u16, m2s_rings: u16) -> Admission<'static> {
    Admission::Interface { mode: Mode::Ethernet, secret: NO_SECRET, s2m_rings, m2s_rings }
}

fn new_master() -> MasterHandshake {
    let mut master = MasterHandshake::new(hello_params());
    assert_eq!(sent_by_master(&mut master), Some(Message::Hello(hello())));
    master
}

fn master_in_admission() -> MasterHandshake {
    let mut master = new_master();
    assert_eq!(tell(&mut master, Message::Init(init())), Ok(MasterEvent::Init(init())));
    assert_eq!(sent_by_master(&mut master), None);
    master
}

fn master_in_setup() -> MasterHandshake {
    let mut master = master_in_admission();
    assert_eq!(master.admit(interface(QUEUES, QUEUES)), Ok(()));
    assert_eq!(sent_by_master(&mut master), Some(Message::Ack));
    master
}

/// With region 0 of 1 MiB and one ring at its start.
fn master_with_a_ring() -> MasterHandshake {
    let mut master = master_in_setup();
    for message in [region(0), ring(Direction::S2M, 0, 0)] {
        tell(&mut master, message).unwrap();
        assert_eq!(sent_by_master(&mut master), Some(Message::Ack));
    }
    master
}

fn master_in_attach() -> MasterHandshake {
    let mut master = master_with_a_ring();
    assert_eq!(
        tell(&mut master, connect()),
        Ok(MasterEvent::Connect { if_name: name("slave0"), places: OPEN })
    );
    assert_eq!(sent_by_master(&mut master), None);
    master
}

fn master_up() -> MasterHandshake {
    let mut master = master_in_attach();
    assert_eq!(master.connected(name("master0")), Ok(()));
    assert_eq!(sent_by_master(&mut master), Some(connected()));
    master
}

fn new_slave() -> SlaveHandshake {
    SlaveHandshake::new(slave_params()).unwrap()
}

fn slave_awaiting_admission() -> SlaveHandshake {
    let mut slave = new_slave();
    assert_eq!(
        tell_slave(&mut slave, Message::Hello(hello())),
        Ok(SlaveEvent::Hello { name: name("master") })
    );
    assert_eq!(sent_by_slave(&mut slave), Some((Message::Init(init()), None)));
    slave
}

fn slave_allocating() -> SlaveHandshake {
    let mut slave = slave_awaiting_admission();
    assert!(matches!(tell_slave(&mut slave, Message::Ack), Ok(SlaveEvent::Offer(_))));
    assert_eq!(sent_by_slave(&mut slave), None);
    slave
}

fn slave_offering() -> SlaveHandshake {
    let mut slave = slave_allocating();
    assert_eq!(slave.offer(&[1 << 20]), Ok(()));
    assert_eq!(sent_by_slave(&mut slave), Some((region(0), Some(FdToken::Region(0)))));
    slave
}

fn slave_awaiting_connected() -> SlaveHandshake {
    let mut slave = slave_offering();
    for _ in 0..3 {
        assert_eq!(tell_slave(&mut slave, Message::Ack), Ok(SlaveEvent::Progress));
        assert!(sent_by_slave(&mut slave).is_some());
    }
    assert_eq!(slave.stage(), Stage::AwaitConnected);
    slave
}

fn slave_up() -> SlaveHandshake {
    let mut slave = slave_awaiting_connected();
    assert_eq!(tell_slave(&mut slave, connected()), Ok(SlaveEvent::Connected { if_name: name("master0") }));
    assert_eq!(sent_by_slave(&mut slave), None);
    slave
}

/// The fault closed the master, and the peer is told why, once.
#[track_caller]
fn assert_refused(master: &mut MasterHandshake, fault: PeerFault) {
    assert_eq!(master.stage(), Stage::Closed);
    let reason = fault.reason_text();
    assert_eq!(sent_by_master(master), Some(Message::Disconnect { code: REFUSED, reason }));
    assert_eq!(tell(master, Message::Init(init())), Ok(MasterEvent::Ignored));
    assert_eq!(sent_by_master(master), None);
}

#[track_caller]
fn assert_slave_refused(slave: &mut SlaveHandshake, fault: PeerFault) {
    assert_eq!(slave.stage(), Stage::Closed);
    let reason = fault.reason_text();
    assert_eq!(sent_by_slave(slave), Some((Message::Disconnect { code: REFUSED, reason }, None)));
    assert_eq!(tell_slave(slave, Message::Hello(hello())), Ok(SlaveEvent::Ignored));
    assert_eq!(sent_by_slave(slave), None);
}

/// The slave's message is refused with this fault.
#[track_caller]
fn assert_fault(mut master: MasterHandshake, message: Message, fault: PeerFault) {
    assert_eq!(tell(&mut master, message), Err(fault));
    assert_refused(&mut master, fault);
}

/// What a master learnt of a slave's memory.
#[derive(Default)]
struct Learnt {
    regions: Vec<u64>,
    s2m: Vec<u32>,
    m2s: Vec<u32>,
}

/// Runs both to the end, or to the first fault of either, with the queues that the master's interface has.
fn run(
    master: &mut MasterHandshake,
    slave: &mut SlaveHandshake,
    queues: (u16, u16),
    regions: &[u64],
) -> Result<Learnt, PeerFault> {
    let mut learnt = Learnt::default();
    // Two messages a region and a ring, and the rest: far below this.
    for _ in 0..4000 {
        if let Some(transmit) = master.poll_transmit() {
            if let SlaveEvent::Offer(_) = slave.handle(&transmit.bytes, NO_FD, 0)? {
                slave.offer(regions).unwrap();
            }
        } else if let Some(transmit) = slave.poll_transmit() {
            match master.handle(&transmit.bytes, transmit.fd, 0)? {
                MasterEvent::Init(_) => master.admit(interface(queues.0, queues.1)).unwrap(),
                MasterEvent::Region { index, size, fd } => {
                    assert_eq!(fd, FdToken::Region(index));
                    learnt.regions.push(size);
                }
                MasterEvent::Ring { direction, index, region, offset, log2_size, fd } => {
                    assert_eq!((fd, region), (FdToken::Ring(direction, index), 0));
                    assert_eq!(log2_size, slave_params().log2_ring_size);
                    match direction {
                        Direction::S2M => learnt.s2m.push(offset),
                        Direction::M2S => learnt.m2s.push(offset),
                    }
                }
                MasterEvent::Connect { .. } => master.connected(name("master0")).unwrap(),
                MasterEvent::Disconnected { .. } | MasterEvent::Ignored => panic!("closed"),
            }
        } else {
            return Ok(learnt);
        }
    }
    panic!("the two never come to an end");
}

#[test]
fn a_link_comes_up_with_equal_and_unequal_ring_counts() {
    for (s2m, m2s) in [(1, 1), (2, 2), (256, 256), (1, 256), (256, 1), (2, 5), (0, 1), (1, 0), (0, 256)] {
        let params = SlaveParams { s2m_rings: s2m, m2s_rings: m2s, ..slave_params() };
        let (mut master, mut slave) =
            (MasterHandshake::new(hello_params()), SlaveHandshake::new(params).unwrap());
        let regions = [1 << 27 | 1 << 18, 1 << 20];
        let learnt = run(&mut master, &mut slave, (256, 256), &regions).unwrap();
        assert_eq!((master.stage(), slave.stage()), (Stage::Up, Stage::Up));
        assert_eq!(learnt.regions, regions);
        let stride = 128 + 16 * 1024;
        let offsets =
            |range: core::ops::Range<u16>| range.map(|place| u32::from(place) * stride).collect::<Vec<_>>();
        assert_eq!(learnt.s2m, offsets(0..s2m));
        assert_eq!(learnt.m2s, offsets(s2m..s2m + m2s));
    }
}

#[test]
fn a_link_comes_up_with_the_most_regions() {
    let (mut master, mut slave) = (MasterHandshake::new(hello_params()), new_slave());
    let learnt = run(&mut master, &mut slave, (1, 1), &[1 << 20; MAX_REGIONS]).unwrap();
    assert_eq!(learnt.regions.len(), MAX_REGIONS);
    assert_eq!((master.stage(), slave.stage()), (Stage::Up, Stage::Up));
}

#[test]
fn a_slave_offers_no_more_rings_than_hello_allows() {
    let mut master = MasterHandshake::new(HelloParams { max_s2m_ring: 0, max_m2s_ring: 1, ..hello_params() });
    let params = SlaveParams { s2m_rings: 4, m2s_rings: 4, ..slave_params() };
    let mut slave = SlaveHandshake::new(params).unwrap();
    let learnt = run(&mut master, &mut slave, (256, 256), &[1 << 20]).unwrap();
    assert_eq!((learnt.s2m.len(), learnt.m2s.len()), (1, 2));
}

#[test]
fn more_rings_than_the_interface_has_are_refused() {
    let mut master = MasterHandshake::new(hello_params());
    let mut slave = SlaveHandshake::new(SlaveParams { m2s_rings: 3, ..slave_params() }).unwrap();
    let fault = run(&mut master, &mut slave, (1, 2), &[1 << 20]).err();
    let want = PeerFault::TooManyRings { direction: Direction::M2S, got: 3, limit: 2 };
    assert_eq!(fault, Some(want));
    let refusal = master.poll_transmit().unwrap();
    assert_eq!(
        slave.handle(&refusal.bytes, NO_FD, 0),
        Ok(SlaveEvent::Disconnected { code: REFUSED, reason: want.reason_text() })
    );
    assert_eq!((slave.stage(), slave.poll_transmit()), (Stage::Closed, None));
    assert_eq!(slave.refused_ring(), Some((Direction::M2S, 2)));
}

#[test]
fn a_slave_knows_which_ring_was_refused_and_that_nothing_else_was() {
    let refuse_after = |acknowledged: usize| {
        let params = SlaveParams { s2m_rings: 2, m2s_rings: 2, ..slave_params() };
        let mut slave = SlaveHandshake::new(params).unwrap();
        for message in [Message::Hello(hello()), Message::Ack].into_iter().take(acknowledged + 1) {
            tell_slave(&mut slave, message).unwrap();
            let _sent = slave.poll_transmit();
        }
        if acknowledged > 0 {
            slave.offer(&[1 << 20, 1 << 20]).unwrap();
            let _region = slave.poll_transmit();
        }
        for _ in 1..acknowledged {
            tell_slave(&mut slave, Message::Ack).unwrap();
            let _sent = slave.poll_transmit();
        }
        assert_eq!(slave.refused_ring(), None);
        tell_slave(&mut slave, bye()).unwrap();
        slave.refused_ring()
    };
    // INIT, two regions, S2M 0 and 1, M2S 0 and 1, CONNECT: the first ring of a direction says nothing of their number
    let refused = [None, None, None, None, Some((Direction::S2M, 1)), None, Some((Direction::M2S, 1)), None];
    assert_eq!(std::array::from_fn(refuse_after), refused);
    let mut slave = slave_up();
    tell_slave(&mut slave, bye()).unwrap();
    assert_eq!(slave.refused_ring(), None);
}
