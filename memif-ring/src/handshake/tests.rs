extern crate std;

use super::*;
use crate::message::{AddRegion, AddRing, Hello, Init, Mode, Name, Secret, VERSION};
use crate::region::MAX_REGIONS;
use proptest::prelude::*;
use std::cell::Cell;
use std::mem::size_of;
use std::rc::Rc;
use std::vec;
use std::vec::Vec;

const NO_FD: Option<u32> = None;
const FD: Option<u32> = Some(7);
/// What [`master_in_setup`] admits in each direction.
const QUEUES: u16 = 3;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

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
    assert_eq!(tell(&mut master, connect()), Ok(MasterEvent::Connect { if_name: name("slave0") }));
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
    assert_eq!(sent_by_master(master), Some(Message::Disconnect { code: 0, reason }));
    assert_eq!(tell(master, Message::Init(init())), Ok(MasterEvent::Ignored));
    assert_eq!(sent_by_master(master), None);
}

#[track_caller]
fn assert_slave_refused(slave: &mut SlaveHandshake, fault: PeerFault) {
    assert_eq!(slave.stage(), Stage::Closed);
    let reason = fault.reason_text();
    assert_eq!(sent_by_slave(slave), Some((Message::Disconnect { code: 0, reason }, None)));
    assert_eq!(tell_slave(slave, Message::Hello(hello())), Ok(SlaveEvent::Ignored));
    assert_eq!(sent_by_slave(slave), None);
}

/// The slave's message is refused with this fault.
#[track_caller]
fn assert_fault(mut master: MasterHandshake, message: Message, fault: PeerFault) {
    assert_eq!(tell(&mut master, message), Err(fault));
    assert_refused(&mut master, fault);
}

// ---- both roles against each other ----

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
fn both_roles_come_up_with_equal_and_unequal_ring_counts() {
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
fn both_roles_come_up_with_as_many_regions_as_there_may_be() {
    let (mut master, mut slave) = (MasterHandshake::new(hello_params()), new_slave());
    let learnt = run(&mut master, &mut slave, (1, 1), &[1 << 20; MAX_REGIONS]).unwrap();
    assert_eq!(learnt.regions.len(), MAX_REGIONS);
    assert_eq!((master.stage(), slave.stage()), (Stage::Up, Stage::Up));
}

#[test]
fn a_slave_takes_fewer_rings_where_the_masters_hello_says_so() {
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
        Ok(SlaveEvent::Disconnected { code: 0, reason: want.reason_text() })
    );
    assert_eq!((slave.stage(), slave.poll_transmit()), (Stage::Closed, None));
}

// ---- what a master refuses ----

#[test]
fn init_of_another_version_is_refused() {
    for version in [0, 0x01ff, 0x0201, 0x0300, u16::MAX] {
        let fault = PeerFault::VersionMismatch { min: version, max: version, want: VERSION };
        assert_fault(new_master(), Message::Init(Init { version, ..init() }), fault);
    }
}

#[test]
fn admission_is_refused_for_each_reason() {
    let secret = &Secret::new("open").unwrap();
    let guarded = Admission::Interface { mode: Mode::Ethernet, secret, s2m_rings: 1, m2s_rings: 1 };
    let ip = Admission::Interface { mode: Mode::Ip, secret, s2m_rings: 1, m2s_rings: 1 };
    let wrong = Init { secret: Secret::new("opem").unwrap(), ..init() };
    let longer = Init { secret: Secret::new("open!").unwrap(), ..init() };
    for (init, admission, fault) in [
        (init(), Admission::Unknown, PeerFault::UnknownId { id: 5 }),
        (init(), Admission::Busy, PeerFault::AlreadyConnected { id: 5 }),
        (init(), ip, PeerFault::ModeMismatch { got: Mode::Ethernet, want: Mode::Ip }),
        (init(), guarded, PeerFault::SecretRequired { id: 5 }),
        (wrong, guarded, PeerFault::WrongSecret { id: 5 }),
        (longer, guarded, PeerFault::WrongSecret { id: 5 }),
    ] {
        let mut master = new_master();
        assert_eq!(tell(&mut master, Message::Init(init)), Ok(MasterEvent::Init(init)));
        assert_eq!(master.admit(admission), Err(AdmitError::Refused(fault)));
        assert_refused(&mut master, fault);
    }
}

#[test]
fn the_right_secret_is_admitted_and_a_needless_one_too() {
    let secret = Secret::new("open").unwrap();
    for own in [&secret, NO_SECRET] {
        let mut master = new_master();
        tell(&mut master, Message::Init(Init { secret, ..init() })).unwrap();
        let admission =
            Admission::Interface { mode: Mode::Ethernet, secret: own, s2m_rings: 1, m2s_rings: 1 };
        assert_eq!(master.admit(admission), Ok(()));
        assert_eq!((sent_by_master(&mut master), master.stage()), (Some(Message::Ack), Stage::Setup));
    }
}

#[test]
fn regions_out_of_turn_are_refused() {
    for got in [1, 2, u16::MAX] {
        assert_fault(master_in_setup(), region(got), PeerFault::RegionIndex { got, want: 0 });
    }
    for got in [0, 2] {
        assert_fault(master_with_a_ring(), region(got), PeerFault::RegionIndex { got, want: 1 });
    }
}

#[test]
fn region_sizes_are_bounded() {
    for size in [0, MAX_REGION_SIZE + 1, 1 << 63, u64::MAX] {
        let message = Message::AddRegion(AddRegion { index: 0, size });
        let fault = PeerFault::RegionSize { region: 0, got: size, limit: MAX_REGION_SIZE };
        assert_fault(master_in_setup(), message, fault);
    }
    for size in [1, MAX_REGION_SIZE] {
        let event = tell(&mut master_in_setup(), Message::AddRegion(AddRegion { index: 0, size }));
        assert_eq!(event, Ok(MasterEvent::Region { index: 0, size, fd: 7 }));
    }
}

#[test]
fn regions_are_bounded_in_number() {
    for (max_region, limit) in [(0, 1), (254, 255), (255, 256), (256, 256), (u16::MAX, 256)] {
        let mut master = MasterHandshake::new(HelloParams { max_region, ..hello_params() });
        let _hello = master.poll_transmit();
        tell(&mut master, Message::Init(init())).unwrap();
        master.admit(interface(1, 1)).unwrap();
        for index in 0..limit {
            assert_eq!(sent_by_master(&mut master), Some(Message::Ack));
            tell(&mut master, region(index)).unwrap();
        }
        assert_eq!(sent_by_master(&mut master), Some(Message::Ack));
        let limit = u32::from(limit);
        let last = u16::try_from(limit).unwrap();
        assert_fault(master, region(last), PeerFault::TooManyRegions { got: limit + 1, limit });
    }
}

#[test]
fn rings_out_of_turn_are_refused() {
    let direction = Direction::S2M;
    for got in [0, 2, u16::MAX] {
        let fault = PeerFault::RingIndex { direction, got, want: 1 };
        assert_fault(master_with_a_ring(), ring(direction, got, 4096), fault);
    }
    let direction = Direction::M2S;
    let fault = PeerFault::RingIndex { direction, got: 1, want: 0 };
    assert_fault(master_with_a_ring(), ring(direction, 1, 4096), fault);
}

#[test]
fn rings_are_bounded_by_the_interface_and_by_what_hello_said() {
    for direction in [Direction::S2M, Direction::M2S] {
        for (highest, queues, limit) in
            [(255, 0, 0), (255, 3, 3), (1, 3, 2), (255, 256, 256), (256, 300, 256), (u16::MAX, u16::MAX, 256)]
        {
            let params = HelloParams { max_s2m_ring: highest, max_m2s_ring: highest, ..hello_params() };
            let mut master = MasterHandshake::new(params);
            let _hello = master.poll_transmit();
            tell(&mut master, Message::Init(init())).unwrap();
            master.admit(interface(queues, queues)).unwrap();
            let _ack = master.poll_transmit();
            tell(&mut master, region(0)).unwrap();
            for index in 0..limit {
                assert_eq!(sent_by_master(&mut master), Some(Message::Ack));
                tell(&mut master, ring(direction, index, u32::from(index) * 384)).unwrap();
            }
            assert_eq!(sent_by_master(&mut master), Some(Message::Ack));
            let fault =
                PeerFault::TooManyRings { direction, got: u32::from(limit) + 1, limit: u32::from(limit) };
            assert_fault(master, ring(direction, limit, 500 * 384), fault);
        }
    }
}

#[test]
fn directions_may_mix_and_regions_may_follow_rings() {
    let mut master = master_with_a_ring();
    let in_region_1 = Message::AddRing(AddRing { region: 1, ..a_ring(Direction::M2S, 1, 0) });
    for message in [
        ring(Direction::M2S, 0, 384),
        ring(Direction::S2M, 1, 768),
        region(1),
        in_region_1,
        ring(Direction::S2M, 2, 1152),
    ] {
        tell(&mut master, message).unwrap();
        assert_eq!(sent_by_master(&mut master), Some(Message::Ack));
    }
}

#[test]
fn ring_geometry_is_checked() {
    let good = AddRing { index: 0, ..a_ring(Direction::M2S, 0, 4096) };
    for (ring, fault) in [
        (AddRing { private_hdr_size: 1, ..good }, PeerFault::PrivateHeader { got: 1 }),
        (AddRing { private_hdr_size: 256, ..good }, PeerFault::PrivateHeader { got: 256 }),
        (AddRing { log2_size: 0, ..good }, PeerFault::RingSize { log2_size: 0, limit: 14 }),
        (AddRing { log2_size: 15, ..good }, PeerFault::RingSize { log2_size: 15, limit: 14 }),
        (AddRing { log2_size: 64, ..good }, PeerFault::RingSize { log2_size: 64, limit: 14 }),
        (AddRing { log2_size: 255, ..good }, PeerFault::RingSize { log2_size: 255, limit: 14 }),
        (AddRing { region: 1, ..good }, PeerFault::UnknownRegion { region: 1, known: 1 }),
        (AddRing { region: u16::MAX, ..good }, PeerFault::UnknownRegion { region: u16::MAX, known: 1 }),
        (AddRing { offset: 4097, ..good }, PeerFault::RingMisaligned { offset: 4097 }),
        (AddRing { offset: 4104, ..good }, PeerFault::RingMisaligned { offset: 4104 }),
        (AddRing { offset: u32::MAX, ..good }, PeerFault::RingMisaligned { offset: u32::MAX }),
    ] {
        assert_fault(master_with_a_ring(), Message::AddRing(ring), fault);
    }
}

#[test]
fn a_ring_ends_within_its_region() {
    let ring = |offset, log2_size| {
        Message::AddRing(AddRing { log2_size, region: 0, ..a_ring(Direction::S2M, 0, offset) })
    };
    let top = u32::MAX - 15;
    let largest = 128 + (16 << 14);
    for (size, offset, log2_size, end) in [
        (384, 0, 4, 384),
        (160, 0, 1, 160),
        (384, 16, 4, 400),
        (383, 0, 4, 384),
        (1, 0, 1, 160),
        (largest, 0, 14, largest),
        (largest - 1, 0, 14, largest),
        (u64::from(top), top, 14, u64::from(top) + largest),
        (u64::from(top) + largest, top, 14, u64::from(top) + largest),
        (u64::from(top) + largest - 1, top, 14, u64::from(top) + largest),
        (1 << 20, top, 4, u64::from(top) + 384),
    ] {
        let mut master = master_in_setup();
        tell(&mut master, Message::AddRegion(AddRegion { index: 0, size })).unwrap();
        let _ack = master.poll_transmit();
        if end <= size {
            assert!(tell(&mut master, ring(offset, log2_size)).is_ok(), "{size} {offset} {log2_size}");
        } else {
            let fault = PeerFault::RingOutsideRegion { region: 0, end, size };
            assert_fault(master, ring(offset, log2_size), fault);
        }
    }
}

#[test]
fn overlapping_rings_are_refused_and_touching_ones_are_not() {
    let start = |first, offset| {
        let mut master = master_in_setup();
        for message in [region(0), region(1), ring(first, 0, offset)] {
            tell(&mut master, message).unwrap();
            let _ack = master.poll_transmit();
        }
        master
    };
    let region = 0;
    let (s2m, m2s) = (Direction::S2M, Direction::M2S);
    for (first, direction, index) in [(s2m, m2s, 0), (m2s, s2m, 0), (s2m, s2m, 1), (m2s, m2s, 1)] {
        for offset in [4096 - 384 + 16, 4096 - 16, 4096, 4096 + 16, 4096 + 384 - 16] {
            let fault = PeerFault::RingOverlap { direction, index, region, offset };
            assert_fault(start(first, 4096), ring(direction, index, offset), fault);
        }
        for offset in [0, 4096 - 384, 4096 + 384] {
            assert!(tell(&mut start(first, 4096), ring(direction, index, offset)).is_ok(), "{offset}");
        }
        let elsewhere = AddRing { region: 1, ..a_ring(direction, index, 4096) };
        assert!(tell(&mut start(first, 4096), Message::AddRing(elsewhere)).is_ok());
    }
}

#[test]
fn connect_without_rings_is_refused() {
    assert_fault(master_in_setup(), connect(), PeerFault::NoRings);
    let mut master = master_in_setup();
    tell(&mut master, region(0)).unwrap();
    let _ack = master.poll_transmit();
    assert_fault(master, connect(), PeerFault::NoRings);
}

#[test]
fn the_driver_may_refuse_and_disconnect_at_any_stage() {
    let fault = PeerFault::BadCookie { got: 1 };
    for master in [
        || MasterHandshake::new(hello_params()),
        new_master,
        master_in_admission,
        master_in_setup,
        master_in_attach,
        master_up,
    ] {
        let mut refused = master();
        refused.refuse(fault);
        assert_refused(&mut refused, fault);
        let mut left = master();
        left.disconnect(3, Reason::truncated("bye"));
        left.refuse(fault);
        assert_eq!((sent_by_master(&mut left), left.stage()), (Some(bye()), Stage::Closed));
    }
    for slave in [new_slave, slave_awaiting_admission, slave_allocating, slave_offering, slave_up] {
        let mut refused = slave();
        refused.refuse(fault);
        assert_slave_refused(&mut refused, fault);
        let mut left = slave();
        left.disconnect(3, Reason::truncated("bye"));
        left.refuse(fault);
        assert_eq!((sent_by_slave(&mut left), left.stage()), (Some((bye(), None)), Stage::Closed));
    }
}

#[test]
fn calls_out_of_turn_change_nothing() {
    for (master, stage) in [
        (new_master as fn() -> MasterHandshake, Stage::AwaitInit),
        (master_in_admission, Stage::Admission),
        (master_in_setup, Stage::Setup),
        (master_in_attach, Stage::Attach),
        (master_up, Stage::Up),
    ] {
        let mut master = master();
        if stage != Stage::Admission {
            let error = AdmitError::OutOfTurn(OutOfTurn { stage });
            assert_eq!(master.admit(interface(1, 1)), Err(error));
        }
        if stage != Stage::Attach {
            assert_eq!(master.connected(name("x")), Err(OutOfTurn { stage }));
        }
        assert_eq!((master.stage(), sent_by_master(&mut master)), (stage, None));
    }
    for (slave, stage) in [
        (new_slave as fn() -> SlaveHandshake, Stage::AwaitHello),
        (slave_awaiting_admission, Stage::AwaitAdmission),
        (slave_offering, Stage::Offering),
        (slave_awaiting_connected, Stage::AwaitConnected),
        (slave_up, Stage::Up),
    ] {
        let mut slave = slave();
        assert_eq!(slave.offer(&[1 << 20]), Err(OfferError::OutOfTurn(OutOfTurn { stage })));
        assert_eq!((slave.stage(), sent_by_slave(&mut slave)), (stage, None));
    }
}

// ---- every message at every stage ----

#[test]
fn a_master_takes_only_the_messages_of_each_stage() {
    use MessageKind::{AddRegion, AddRing, Connect, Init};
    // What Setup takes depends on what it took before: see the tests on regions and rings.
    for (master, stage, takes) in [
        (new_master as fn() -> MasterHandshake, Stage::AwaitInit, &[Init][..]),
        (master_in_admission, Stage::Admission, &[]),
        (master_with_a_ring, Stage::Setup, &[AddRegion, AddRing, Connect]),
        (master_in_attach, Stage::Attach, &[]),
        (master_up, Stage::Up, &[]),
    ] {
        assert_eq!(master().stage(), stage);
        for message in one_of_each() {
            let got = message.kind();
            if got == MessageKind::Disconnect {
                let mut master = master();
                let reason = Reason::truncated("bye");
                assert_eq!(tell(&mut master, message), Ok(MasterEvent::Disconnected { code: 3, reason }));
                assert_eq!((master.stage(), sent_by_master(&mut master)), (Stage::Closed, None));
            } else if !takes.contains(&got) {
                assert_fault(master(), message, PeerFault::UnexpectedMessage { got, stage });
            }
        }
    }
}

#[test]
fn a_slave_takes_only_the_messages_of_each_stage() {
    use MessageKind::{Ack, Connected, Hello};
    for (slave, stage, takes) in [
        (new_slave as fn() -> SlaveHandshake, Stage::AwaitHello, &[Hello][..]),
        (slave_awaiting_admission, Stage::AwaitAdmission, &[Ack]),
        (slave_allocating, Stage::Allocate, &[]),
        (slave_offering, Stage::Offering, &[Ack]),
        (slave_awaiting_connected, Stage::AwaitConnected, &[Connected]),
        (slave_up, Stage::Up, &[]),
    ] {
        assert_eq!(slave().stage(), stage);
        for message in one_of_each() {
            let mut slave = slave();
            let got = message.kind();
            let event = tell_slave(&mut slave, message);
            if got == MessageKind::Disconnect {
                let reason = Reason::truncated("bye");
                assert_eq!(event, Ok(SlaveEvent::Disconnected { code: 3, reason }));
                assert_eq!((slave.stage(), sent_by_slave(&mut slave)), (Stage::Closed, None));
            } else if takes.contains(&got) {
                assert!(event.is_ok(), "{got} at {stage}");
            } else {
                let fault = PeerFault::UnexpectedMessage { got, stage };
                assert_eq!(event, Err(fault));
                assert_slave_refused(&mut slave, fault);
            }
        }
    }
}

#[test]
fn a_message_before_the_last_was_answered_is_a_fault() {
    let mut master = MasterHandshake::new(hello_params());
    let fault = PeerFault::UnexpectedMessage { got: MessageKind::Init, stage: Stage::AwaitInit };
    assert_eq!(tell(&mut master, Message::Init(init())), Err(fault));
    assert_refused(&mut master, fault);

    let mut master = master_in_setup();
    tell(&mut master, region(0)).unwrap();
    let fault = PeerFault::UnexpectedMessage { got: MessageKind::AddRegion, stage: Stage::Setup };
    assert_fault(master, region(1), fault);

    let mut slave = new_slave();
    tell_slave(&mut slave, Message::Hello(hello())).unwrap();
    let fault = PeerFault::UnexpectedMessage { got: MessageKind::Ack, stage: Stage::AwaitAdmission };
    assert_eq!(tell_slave(&mut slave, Message::Ack), Err(fault));
    assert_slave_refused(&mut slave, fault);
}

#[test]
fn a_disconnect_clears_what_waits_to_be_sent() {
    let mut master = MasterHandshake::new(hello_params());
    assert!(matches!(tell(&mut master, bye()), Ok(MasterEvent::Disconnected { .. })));
    assert_eq!(sent_by_master(&mut master), None);

    let mut slave = new_slave();
    tell_slave(&mut slave, Message::Hello(hello())).unwrap();
    assert!(matches!(tell_slave(&mut slave, bye()), Ok(SlaveEvent::Disconnected { .. })));
    assert_eq!(sent_by_slave(&mut slave), None);
}

// ---- file descriptors ----

/// Every master that would take a message of this kind.
fn master_for(kind: MessageKind) -> MasterHandshake {
    match kind {
        MessageKind::AddRegion => master_in_setup(),
        MessageKind::AddRing => {
            let mut master = master_in_setup();
            tell(&mut master, region(0)).unwrap();
            let _ack = master.poll_transmit();
            master
        }
        MessageKind::Connect => master_with_a_ring(),
        _ => new_master(),
    }
}

#[test]
fn a_master_wants_exactly_the_descriptors_of_each_message() {
    for message in one_of_each() {
        let on = message.kind();
        let bytes = message.emit();
        for (fd, surplus, fault) in [
            (FD, 0, PeerFault::FdUnexpected { on }),
            (NO_FD, 0, PeerFault::FdMissing { on }),
            (FD, 1, PeerFault::SurplusFds { on, surplus: 1 }),
            (FD, usize::MAX, PeerFault::SurplusFds { on, surplus: usize::MAX }),
            (NO_FD, 2, PeerFault::SurplusFds { on, surplus: 2 }),
        ] {
            let fault = match fault {
                PeerFault::FdUnexpected { .. } if on.carries_fd() => continue,
                PeerFault::FdMissing { .. } if !on.carries_fd() => continue,
                _ if fd.is_some() && !on.carries_fd() => PeerFault::FdUnexpected { on },
                fault => fault,
            };
            let mut master = master_for(on);
            assert_eq!(master.handle(&bytes, fd, surplus), Err(fault));
            assert_refused(&mut master, fault);
        }
    }
}

#[test]
fn a_slave_takes_no_descriptors_at_all() {
    for message in one_of_each() {
        let on = message.kind();
        for (fd, surplus, fault) in [
            (FD, 0, PeerFault::FdUnexpected { on }),
            (FD, 1, PeerFault::FdUnexpected { on }),
            (NO_FD, 1, PeerFault::SurplusFds { on, surplus: 1 }),
        ] {
            let mut slave = slave_offering();
            assert_eq!(slave.handle(&message.emit(), fd, surplus), Err(fault));
            assert_slave_refused(&mut slave, fault);
        }
    }
}

#[test]
fn garbage_is_a_fault_at_every_stage() {
    for bytes in [&[][..], &[1], &[0; 127], &[0; 128], &[0xff; 128], &[1; 129], &[0; 4096]] {
        let fault = Message::parse(bytes).unwrap_err();
        for master in [new_master, master_in_admission, master_in_setup, master_in_attach, master_up] {
            let mut master = master();
            assert_eq!(master.handle(bytes, FD, 0), Err(fault));
            assert_refused(&mut master, fault);
        }
        for slave in [new_slave, slave_awaiting_admission, slave_allocating, slave_offering, slave_up] {
            let mut slave = slave();
            assert_eq!(slave.handle(bytes, FD, 0), Err(fault));
            assert_slave_refused(&mut slave, fault);
        }
    }
}

// ---- what a slave wants, takes and offers ----

#[test]
fn slave_params_are_checked() {
    let new = |s2m_rings, m2s_rings, log2_ring_size| {
        SlaveHandshake::new(SlaveParams { s2m_rings, m2s_rings, log2_ring_size, ..slave_params() }).err()
    };
    let too_many = |direction, got| Some(SlaveParamsError::TooManyRings { direction, got });
    assert_eq!(new(0, 0, 10), Some(SlaveParamsError::NoRings));
    assert_eq!(new(257, 1, 10), too_many(Direction::S2M, 257));
    assert_eq!(new(0, u16::MAX, 10), too_many(Direction::M2S, u16::MAX));
    assert_eq!(new(1, 1, 0), Some(SlaveParamsError::RingSize { log2_size: 0 }));
    assert_eq!(new(1, 1, 15), Some(SlaveParamsError::RingSize { log2_size: 15 }));
    assert_eq!((new(256, 256, 14), new(1, 0, 1), new(0, 1, 1)), (None, None, None));
}

/// What a slave with these wishes agrees to after this HELLO.
fn agree(params: SlaveParams, hello: Hello) -> Result<Negotiated, PeerFault> {
    let mut slave = SlaveHandshake::new(params).unwrap();
    tell_slave(&mut slave, Message::Hello(hello))?;
    let _init = slave.poll_transmit();
    match tell_slave(&mut slave, Message::Ack)? {
        SlaveEvent::Offer(agreed) => Ok(agreed),
        event => panic!("{event:?}"),
    }
}

#[test]
fn the_lesser_of_wish_and_limit_is_agreed() {
    let wish = SlaveParams { s2m_rings: 256, m2s_rings: 4, log2_ring_size: 12, ..slave_params() };
    for (highest, s2m, m2s) in
        [(0, 1, 1), (2, 3, 3), (254, 255, 4), (255, 256, 4), (256, 256, 4), (u16::MAX, 256, 4)]
    {
        let hello = Hello { max_s2m_ring: highest, max_m2s_ring: highest, max_region: highest, ..hello() };
        let agreed = agree(wish, hello).unwrap();
        assert_eq!((agreed.s2m_rings(), agreed.m2s_rings(), agreed.log2_ring_size()), (s2m, m2s, 12));
        assert_eq!(agreed.max_regions(), MAX_REGIONS.min(usize::from(highest) + 1));
    }
    for (highest, log2) in [(1, 1), (11, 11), (12, 12), (14, 12), (255, 12)] {
        let agreed = agree(wish, Hello { max_log2_ring_size: highest, ..hello() }).unwrap();
        assert_eq!(agreed.log2_ring_size(), log2);
    }
    let fault = agree(wish, Hello { max_log2_ring_size: 0, ..hello() }).unwrap_err();
    assert_eq!(fault, PeerFault::RingSize { log2_size: 0, limit: 14 });
}

#[test]
fn a_slave_speaks_to_masters_whose_versions_include_its_own() {
    for (min, max, good) in [
        (VERSION, VERSION, true),
        (0, u16::MAX, true),
        (0x0100, 0x01ff, false),
        (0x0201, 0x0300, false),
        (0x0300, 0x0100, false),
    ] {
        let agreed = agree(slave_params(), Hello { min_version: min, max_version: max, ..hello() });
        let fault = PeerFault::VersionMismatch { min, max, want: VERSION };
        assert_eq!(agreed.err(), (!good).then_some(fault), "{min:#x} {max:#x}");
    }
}

#[test]
fn rings_lie_one_after_the_other_at_multiples_of_128() {
    for log2_ring_size in 1..=14 {
        let params = SlaveParams { s2m_rings: 256, m2s_rings: 256, log2_ring_size, ..slave_params() };
        let agreed = agree(params, hello()).unwrap();
        let bytes = 128 + (16_u64 << log2_ring_size);
        let mut end = 0;
        for direction in [Direction::S2M, Direction::M2S] {
            for index in 0..256 {
                let offset = u64::from(agreed.ring_offset(direction, index).unwrap());
                assert!(offset >= end && offset < end + 128 && offset % 128 == 0);
                end = offset + bytes;
            }
            assert_eq!(agreed.ring_offset(direction, 256), None);
        }
        assert!(agreed.rings_size() >= end && agreed.rings_size() < end + 128);
    }
}

#[test]
fn an_offer_that_the_master_would_refuse_is_not_made() {
    let rings = agree(slave_params(), hello()).unwrap().rings_size();
    for (regions, error) in [
        (&[][..], OfferError::Regions { got: 0, limit: 256 }),
        (&[rings; 257], OfferError::Regions { got: 257, limit: 256 }),
        (&[rings - 1], OfferError::RingsOutside { rings, size: rings - 1 }),
        (&[rings, 0], OfferError::RegionSize { region: 1, got: 0 }),
        (&[rings, MAX_REGION_SIZE + 1], OfferError::RegionSize { region: 1, got: MAX_REGION_SIZE + 1 }),
    ] {
        let mut slave = slave_allocating();
        assert_eq!(slave.offer(regions), Err(error));
        assert_eq!((slave.stage(), sent_by_slave(&mut slave)), (Stage::Allocate, None));
        assert_eq!(slave.offer(&[rings]), Ok(()));
    }
}

#[test]
fn machines_are_as_large_as_their_docs_say() {
    assert!((5 * 1024..7 * 1024).contains(&size_of::<MasterHandshake>()));
    assert!((2 * 1024..3 * 1024).contains(&size_of::<SlaveHandshake>()));
}

// ---- random conversations ----

/// A descriptor that counts how many of its like are open.
#[derive(Debug, PartialEq, Eq)]
struct Token(Rc<Cell<isize>>);

impl Token {
    fn open(count: &Rc<Cell<isize>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// What a hostile peer, or our driver, does next.
#[derive(Debug, Clone)]
enum Step {
    Message { message: Message, fd: bool, surplus: usize },
    Bytes { bytes: Vec<u8>, fd: bool },
    Admit(u16, u16),
    Connected,
    Offer(Vec<u64>),
    Disconnect,
}

/// Messages that are good often enough to get far, whose numbers sit at the edges of what is good.
fn some_message() -> impl Strategy<Value = Message> {
    let index = prop_oneof![8 => 0_u16..3, 1 => any::<u16>()];
    let size = prop_oneof![4 => Just(1_u64 << 20), 1 => 0_u64..1000, 1 => any::<u64>()];
    let offset =
        prop_oneof![4 => (0_u32..64).prop_map(|place| place * 384), 1 => 0_u32..2000, 1 => any::<u32>()];
    let place = (0_u16..2, offset, prop_oneof![6 => 1_u8..6, 1 => any::<u8>()]);
    let ring = (any::<bool>(), index.clone(), place, prop_oneof![12 => Just(0_u16), 1 => any::<u16>()]);
    prop_oneof![
        4 => Just(Message::Ack),
        1 => (any::<u16>(), any::<u8>()).prop_map(|(highest, log2)| Message::Hello(Hello {
            max_region: highest, max_s2m_ring: highest, max_m2s_ring: highest, max_log2_ring_size: log2, ..hello()
        })),
        2 => Just(Message::Init(init())),
        4 => (index, size).prop_map(|(index, size)| Message::AddRegion(AddRegion { index, size })),
        6 => ring.prop_map(|(s2m, index, (region, offset, log2_size), private_hdr_size)| {
            let direction = if s2m { Direction::S2M } else { Direction::M2S };
            Message::AddRing(AddRing { direction, index, region, offset, log2_size, private_hdr_size })
        }),
        2 => Just(connect()),
        1 => Just(connected()),
        1 => Just(bye()),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (some_message(), prop::bool::weighted(0.05), prop_oneof![20 => Just(0_usize), 1 => any::<usize>()])
            .prop_map(|(message, wrong_fd, surplus)| {
                Step::Message { message, fd: message.kind().carries_fd() ^ wrong_fd, surplus }
            }),
        1 => (prop::collection::vec(any::<u8>(), 0..200), any::<bool>())
            .prop_map(|(bytes, fd)| Step::Bytes { bytes, fd }),
        4 => (0_u16..300, 0_u16..300).prop_map(|(s2m, m2s)| Step::Admit(s2m, m2s)),
        4 => Just(Step::Connected),
        4 => prop::collection::vec(prop_oneof![4 => Just(1_u64 << 20), 1 => any::<u64>()], 0..4)
            .prop_map(Step::Offer),
        1 => Just(Step::Disconnect),
    ]
}

/// A few right steps first, so that the random ones meet every stage.
fn conversation() -> impl Strategy<Value = (usize, Vec<Step>)> {
    (0_usize..8, prop::collection::vec(step(), 0..40))
}

proptest! {
    #[test]
    fn a_master_survives_any_conversation((stage, steps) in conversation(), slow in any::<bool>()) {
        let starts = [new_master, master_in_admission, master_in_setup, master_with_a_ring, master_in_attach, master_up];
        let mut master = starts[stage % starts.len()]();
        let open = Rc::new(Cell::new(0));
        let mut kept = vec![];
        for step in steps {
            let was_closed = master.stage() == Stage::Closed;
            let (bytes, fd, surplus) = match step {
                Step::Message { message, fd, surplus } => (message.emit().to_vec(), fd, surplus),
                Step::Bytes { bytes, fd } => (bytes, fd, 0),
                Step::Admit(s2m, m2s) => { let _ = master.admit(interface(s2m, m2s)); continue }
                Step::Connected => { let _ = master.connected(name("x")); continue }
                Step::Offer(_) => continue,
                Step::Disconnect => { master.disconnect(0, Reason::default()); continue }
            };
            let before = open.get();
            let event = master.handle(&bytes, fd.then(|| Token::open(&open)), surplus);
            let holds = matches!(event, Ok(MasterEvent::Region { .. } | MasterEvent::Ring { .. }));
            prop_assert_eq!(open.get(), before + isize::from(holds));
            prop_assert_eq!(matches!(event, Ok(MasterEvent::Ignored)), was_closed);
            prop_assert!(event.is_ok() || master.stage() == Stage::Closed);
            if holds {
                kept.push(event);
            }
            if !slow {
                let _sent = master.poll_transmit();
                prop_assert!(master.poll_transmit().is_none());
            }
            prop_assert!(!was_closed || master.stage() == Stage::Closed);
        }
        prop_assert_eq!(open.get(), isize::try_from(kept.len()).unwrap());
        drop(kept);
        prop_assert_eq!(open.get(), 0);
    }

    #[test]
    fn a_slave_survives_any_conversation((stage, steps) in conversation(), slow in any::<bool>()) {
        let starts = [
            new_slave, slave_awaiting_admission, slave_allocating, slave_offering, slave_awaiting_connected, slave_up,
        ];
        let mut slave = starts[stage % starts.len()]();
        let open = Rc::new(Cell::new(0));
        for step in steps {
            let was_closed = slave.stage() == Stage::Closed;
            let (bytes, fd, surplus) = match step {
                Step::Message { message, fd, surplus } => (message.emit().to_vec(), fd, surplus),
                Step::Bytes { bytes, fd } => (bytes, fd, 0),
                Step::Offer(regions) => { let _ = slave.offer(&regions); continue }
                Step::Disconnect => { slave.disconnect(0, Reason::default()); continue }
                Step::Admit(..) | Step::Connected => continue,
            };
            let event = slave.handle(&bytes, fd.then(|| Token::open(&open)), surplus);
            prop_assert_eq!(open.get(), 0);
            prop_assert_eq!(matches!(event, Ok(SlaveEvent::Ignored)), was_closed);
            prop_assert!(event.is_ok() || slave.stage() == Stage::Closed);
            if !slow {
                let _sent = slave.poll_transmit();
                prop_assert!(slave.poll_transmit().is_none());
            }
            prop_assert!(!was_closed || slave.stage() == Stage::Closed);
        }
    }

    #[test]
    fn rings_that_a_master_took_lie_apart_and_within_their_regions(
        rings in prop::collection::vec((0_u32..260, 1_u8..8), 1..20),
    ) {
        let mut taken: Vec<(u64, u64)> = vec![];
        for (place, log2_size) in rings {
            // A fault closes the handshake, so each attempt replays what was taken before.
            let mut master = new_master();
            tell(&mut master, Message::Init(init())).unwrap();
            master.admit(interface(256, 256)).unwrap();
            let _ack = master.poll_transmit();
            tell(&mut master, Message::AddRegion(AddRegion { index: 0, size: 4096 })).unwrap();
            let _ack = master.poll_transmit();
            for (index, &(start, end)) in taken.iter().enumerate() {
                let log2_size = u8::try_from((end - start - 128).trailing_zeros() - 4).unwrap();
                let offset = u32::try_from(start).unwrap();
                let index = u16::try_from(index).unwrap();
                let ring = AddRing { log2_size, ..a_ring(Direction::S2M, index, offset) };
                prop_assert!(tell(&mut master, Message::AddRing(ring)).is_ok());
                let _ack = master.poll_transmit();
            }
            let (start, size) = (u64::from(place) * 16, 128 + (16_u64 << log2_size));
            let index = u16::try_from(taken.len()).unwrap();
            let ring = AddRing { log2_size, ..a_ring(Direction::S2M, index, place * 16) };
            let good = start + size <= 4096
                && taken.iter().all(|&(other, end)| start + size <= other || end <= start);
            prop_assert_eq!(tell(&mut master, Message::AddRing(ring)).is_ok(), good);
            if good {
                taken.push((start, start + size));
            }
        }
    }
}
