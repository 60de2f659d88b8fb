//! Peers that misbehave before the link is up, in both roles: what they say, when, with what, and about which sizes.
//! Each is refused with a reason, is counted, and costs nobody else anything.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

pub(crate) mod common;
mod hostile_peer;

use std::os::fd::AsFd;

use common::Random;
use hostile_peer::memory::{Memory, memfd};
use hostile_peer::slave::{ScriptedSlave, Step, connect, event, init};
use hostile_peer::wire::Wire;
use hostile_peer::{Arena, VICTIM, master};
use memif_pmd::{Disconnect, FaultKind, Mode, PeerFault};
use memif_ring::handshake::Stage;
use memif_ring::message::{
    AddRegion, AddRing, Direction, Hello, Init, Message, MessageKind, Name, ParseError, Reason, Secret,
};
use rustix::fs::MemfdFlags;

/// One message of each kind, as a slave with this memory might send it.
fn one_of_each(slave: &ScriptedSlave) -> [Message; 8] {
    let if_name = Name::new("any").unwrap();
    [
        Message::Ack,
        Message::Hello(master::hello()),
        slave.init(),
        slave.region(),
        slave.ring_message(Direction::S2M),
        Message::Connect { if_name },
        Message::Connected { if_name },
        Message::Disconnect { code: 3, reason: Reason::truncated("enough") },
    ]
}

/// Sends a message with the descriptors that it should have.
fn send_whole(slave: &ScriptedSlave, message: &Message) {
    match message {
        Message::AddRegion(_) => slave.wire.send(message, &[slave.memory.fd()]),
        Message::AddRing(ring) => slave.wire.send(message, &[slave.event(ring.direction).as_fd()]),
        _ => slave.wire.send(message, &[]),
    }
}

/// What must come of a message that a slave sends out of turn.
fn verdict(step: Step, message: &Message) -> PeerFault {
    let stage = match step {
        Step::Hello => Stage::AwaitInit,
        Step::Up => Stage::Up,
        _ => Stage::Setup,
    };
    match (step, message) {
        (Step::Admitted, Message::AddRing(_)) => PeerFault::UnknownRegion { region: 0, known: 0 },
        (Step::Admitted | Step::Region, Message::Connect { .. }) => PeerFault::NoRings,
        (Step::Region | Step::Rings, Message::AddRegion(_)) => PeerFault::RegionIndex { got: 0, want: 1 },
        (Step::Rings, Message::AddRing(_)) => {
            PeerFault::RingIndex { direction: Direction::S2M, got: 0, want: 1 }
        }
        _ => PeerFault::UnexpectedMessage { got: message.kind(), stage },
    }
}

/// Whether a message is right at this step.
fn in_order(step: Step, kind: MessageKind) -> bool {
    use MessageKind::{AddRegion, AddRing, Connect, Disconnect, Init};
    match step {
        Step::Hello => matches!(kind, Init | Disconnect),
        Step::Admitted => matches!(kind, AddRegion | Disconnect),
        Step::Region => matches!(kind, AddRing | Disconnect),
        Step::Rings => matches!(kind, Connect | Disconnect),
        Step::Up => matches!(kind, Disconnect),
    }
}

#[test]
fn a_slave_sends_every_message_at_every_wrong_time() {
    let mut arena = Arena::master();
    for step in Step::ALL {
        for place in 0..8 {
            let slave = ScriptedSlave::until(&arena.socket, VICTIM, step);
            let message = one_of_each(&slave)[place];
            if in_order(step, message.kind()) {
                continue;
            }
            let fault = verdict(step, &message);
            let before = arena.faults_at(step, fault.kind());
            send_whole(&slave, &message);
            assert_eq!(slave.wire.last_words().as_deref(), Some(fault.reason()), "{message:?} at {step:?}");
            assert_eq!(arena.faults_at(step, fault.kind()), before + 1);
            if step != Step::Hello {
                arena.ended_with(&fault.into());
            }
        }
        arena.bystander.moves_on();
    }
    arena.unharmed_master();
}

#[test]
fn a_slave_takes_its_leave_at_every_step() {
    let arena = Arena::master();
    for step in Step::ALL {
        let slave = ScriptedSlave::until(&arena.socket, VICTIM, step);
        // no NUL at the end, and a terminal's control characters inside
        let reason = Reason::from_field([b'\x1b'; 96]);
        slave.wire.send(&Message::Disconnect { code: u32::MAX, reason }, &[]);
        assert_eq!(slave.wire.last_words(), None, "nothing to say to somebody who left");
        if step != Step::Hello {
            let ended = Disconnect::Peer { code: u32::MAX, reason };
            assert!(!ended.to_string().contains('\x1b'));
            arena.ended_with(&ended);
        }
    }
    arena.unharmed_master();
}

#[test]
fn a_slave_closes_at_every_step() {
    let arena = Arena::master();
    for step in Step::ALL {
        drop(ScriptedSlave::until(&arena.socket, VICTIM, step));
        if step != Step::Hello {
            arena.ended_with(&Disconnect::Closed);
        }
        // so that the next end cannot be taken for this one
        let other = ScriptedSlave::until(&arena.socket, VICTIM, Step::Admitted);
        other.wire.send(&Message::Ack, &[]);
        other.wire.last_words();
    }
    arena.unharmed_master();
}

#[test]
fn datagrams_of_every_wrong_size() {
    let arena = Arena::master();
    for step in Step::ALL {
        for len in [1, 2, 3, 64, 127, 129, 200, 255, 256, 257, 1000, 65536, 200_000] {
            let slave = ScriptedSlave::until(&arena.socket, VICTIM, step);
            let kind = if len < 128 { FaultKind::ShortMessage } else { FaultKind::LongMessage };
            let before = arena.faults_at(step, kind);
            let mut bytes = vec![0; len];
            bytes[0] = 1;
            slave.wire.send_bytes(&bytes, &[]);
            assert_eq!(slave.wire.last_words().as_deref(), Some("Invalid message size"), "{len} at {step:?}");
            assert_eq!(arena.faults_at(step, kind), before + 1);
        }
    }
    arena.unharmed_master();
}

#[test]
fn a_message_of_nothing_ends_the_connection() {
    let arena = Arena::master();
    for step in Step::ALL {
        let slave = ScriptedSlave::until(&arena.socket, VICTIM, step);
        slave.wire.send_bytes(&[], &[]);
        assert_eq!(slave.wire.last_words(), None);
        let slave = ScriptedSlave::until(&arena.socket, VICTIM, step);
        slave.wire.send_bytes(&[], &[slave.memory.fd()]);
        assert_eq!(slave.wire.last_words().as_deref(), Some("Invalid message size"));
    }
    arena.unharmed_master();
}

#[test]
fn garbage_of_the_right_size() {
    let arena = Arena::master();
    let mut random = Random::new(0xBAD);
    for round in 0..200 {
        let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::ALL[round % 5]);
        let mut bytes = [0u8; 128];
        bytes.fill_with(|| random.next().to_le_bytes()[0]);
        // half of them with a type that exists
        bytes[1] = 0;
        bytes[0] = u8::try_from(random.range(0, 16)).unwrap();
        slave.wire.send_bytes(&bytes, &[]);
        slave.wire.send(&Message::Disconnect { code: 0, reason: Reason::truncated("") }, &[]);
        slave.wire.last_words();
    }
    for number in [0, 9, 255, 256, 0x0801, u16::MAX] {
        let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::Admitted);
        let mut bytes = [0; 128];
        bytes[..2].copy_from_slice(&number.to_ne_bytes());
        slave.wire.send_bytes(&bytes, &[]);
        assert_eq!(slave.wire.last_words().as_deref(), Some("unknown message type"));
        arena.ended_with(&PeerFault::Message(ParseError::UnknownType { got: number }).into());
    }
    arena.unharmed_master();
}

#[test]
fn a_slave_that_asks_for_what_it_may_not_have() {
    let arena = Arena::master_with(|builder| builder.secret("sesame"));
    let good = Init { secret: Secret::new("sesame").unwrap(), ..init(VICTIM) };
    let wrong = |secret: &[u8]| Init { secret: Secret::new(secret).unwrap(), ..good };
    let ask = |init: Init| {
        let wire = Wire::connect(&arena.socket);
        wire.expect(MessageKind::Hello);
        wire.send(&Message::Init(init), &[]);
        wire
    };
    let id = VICTIM;
    let cases = [
        (wrong(b"sesam"), PeerFault::WrongSecret { id }),
        (wrong(b"sesame!"), PeerFault::WrongSecret { id }),
        (wrong(&[0xFF; 24]), PeerFault::WrongSecret { id }),
        (wrong(b""), PeerFault::SecretRequired { id }),
        (Init { mode: Mode::Ip, ..good }, PeerFault::ModeMismatch { got: Mode::Ip, want: Mode::Ethernet }),
    ];
    for (init, fault) in cases {
        let before = arena.faults(fault.kind());
        assert_eq!(ask(init).last_words().as_deref(), Some(fault.reason()));
        assert_eq!(arena.faults(fault.kind()), before + 1);
    }
    // whoever names no interface of ours is refused all the same
    for id in [0, 8, u32::MAX] {
        assert_eq!(ask(Init { id, ..good }).last_words().as_deref(), Some("ID not found"));
    }
    for version in [0, 0x0100, 0x0201, u16::MAX] {
        assert_eq!(ask(Init { version, ..good }).last_words().as_deref(), Some("Incompatible memif version"));
    }
    assert_eq!(arena.stranger_faults(FaultKind::UnknownId), 3);
    assert_eq!(arena.stranger_faults(FaultKind::VersionMismatch), 4);
    let mut bytes = Message::Init(good).emit();
    for mode in [3, 255] {
        bytes[8] = mode;
        let wire = Wire::connect(&arena.socket);
        wire.expect(MessageKind::Hello);
        wire.send_bytes(&bytes, &[]);
        assert_eq!(wire.last_words().as_deref(), Some("mode mismatch"));
    }
    // the first keeps its place
    let first = ask(good);
    first.expect(MessageKind::Ack);
    assert_eq!(ask(good).last_words().as_deref(), Some("Already connected"));
    assert_eq!(arena.faults(FaultKind::AlreadyConnected), 1);
    let memory = Memory::new(4, 2048);
    let first = ScriptedSlave::unconnected(first, VICTIM, memory);
    first.run(Step::Admitted, Step::Up);
    assert_eq!(ask(good).last_words().as_deref(), Some("Already connected"));
    assert!(arena.victim.is_up(), "a second slave cannot push out the first");
    drop(first);
    arena.bystander.finish();
}

#[test]
fn regions_of_absurd_sizes_and_numbers() {
    let arena = Arena::master();
    let offer = |index: u16, size: u64| {
        let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::Admitted);
        slave.wire.send(&Message::AddRegion(AddRegion { index, size }), &[slave.memory.fd()]);
        slave.wire.last_words()
    };
    let limit = 1 << 36;
    for got in [0, limit + 1, 1 << 40, 1 << 63, u64::MAX - 4095, u64::MAX] {
        assert_eq!(offer(0, got).as_deref(), Some("Invalid region size"), "{got}");
        arena.ended_with(&PeerFault::RegionSize { region: 0, got, limit }.into());
    }
    for got in [1, 2, 255, 256, u16::MAX] {
        assert_eq!(offer(got, 4096).as_deref(), Some("Invalid region index"));
        arena.ended_with(&PeerFault::RegionIndex { got, want: 0 }.into());
    }
    arena.unharmed_master();
}

/// The quota depends on how many interfaces the process has: other tests run at the same time.
#[test]
fn hundreds_of_regions_are_refused_from_the_quota_on() {
    let arena = Arena::master();
    let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::Admitted);
    let mut taken = 0;
    for index in 0..256 {
        slave.wire.send(&Message::AddRegion(AddRegion { index, size: 4096 }), &[slave.memory.fd()]);
        match slave.wire.hear() {
            Some((Message::Ack, _)) => taken += 1,
            Some((Message::Disconnect { reason, .. }, _)) => {
                assert_eq!(reason.to_string(), "too many regions");
                break;
            }
            other => panic!("neither ACK nor DISCONNECT: {other:?}"),
        }
    }
    assert!((8..=64).contains(&taken), "{taken} regions were taken");
    arena.blames(PeerFault::TooManyRegions { got: taken + 1, limit: taken }, 1);
    assert_eq!(arena.memif.stats().refused_by_quota, 1);
    arena.unharmed_master();
}

#[test]
fn regions_larger_than_their_files() {
    let arena = Arena::master();
    for (log2, announced) in [(4u8, u64::from(u32::MAX)), (4, 1 << 32), (4, (1 << 32) + 1), (4, 1 << 36)] {
        let memory = Memory::new(log2, 2048);
        let file = memory.len();
        let slave = ScriptedSlave::with_memory(&arena.socket, VICTIM, memory, Step::Admitted);
        let region = Message::AddRegion(AddRegion { index: 0, size: announced });
        slave.tell(&region, Some(slave.memory.fd()));
        slave.run(Step::Region, Step::Rings);
        slave.wire.send(&connect(), &[]);
        assert_eq!(slave.wire.last_words().as_deref(), Some("Invalid region size"));
        arena.ended_with(&PeerFault::RegionTooSmall { region: 0, file, announced }.into());
    }
    // one byte more than there is
    let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::Admitted);
    let (file, announced) = (slave.memory.len(), slave.memory.len() + 1);
    let region = Message::AddRegion(AddRegion { index: 0, size: announced });
    slave.tell(&region, Some(slave.memory.fd()));
    slave.run(Step::Region, Step::Rings);
    slave.wire.send(&connect(), &[]);
    assert_eq!(slave.wire.last_words().as_deref(), Some("Invalid region size"));
    arena.ended_with(&PeerFault::RegionTooSmall { region: 0, file, announced }.into());
    assert_eq!(arena.faults(FaultKind::RegionTooSmall), 5);
    arena.unharmed_master();
}

#[test]
fn rings_where_none_can_be() {
    let arena = Arena::master();
    let direction = Direction::S2M;
    let (region, size) = (0, Memory::new(4, 2048).len());
    let good = AddRing { direction, index: 0, region: 0, offset: 0, log2_size: 4, private_hdr_size: 0 };
    let outside = |offset: u32, log2_size: u8| {
        let end = u64::from(offset) + 128 + (16 << log2_size);
        (AddRing { offset, log2_size, ..good }, PeerFault::RingOutsideRegion { region, end, size })
    };
    let end = u32::try_from(size).unwrap();
    let mut cases = vec![
        outside(0, 14),
        outside(end, 1),
        outside(end - 128, 1),
        outside(end - 128 - 16 * 16 + 16, 4),
        outside(u32::MAX - 15, 14),
        outside(1 << 31, 4),
    ];
    for offset in [1, 2, 4, 8, 15, 127, u32::MAX] {
        cases.push((AddRing { offset, ..good }, PeerFault::RingMisaligned { offset }));
    }
    for log2_size in [0, 15, 16, 31, 32, 63, 64, 128, 255] {
        cases.push((AddRing { log2_size, ..good }, PeerFault::RingSize { log2_size, limit: 14 }));
    }
    for got in [1, 2, 128, u16::MAX] {
        cases.push((AddRing { private_hdr_size: got, ..good }, PeerFault::PrivateHeader { got }));
    }
    for region in [1, 2, 255, 256, u16::MAX] {
        cases.push((AddRing { region, ..good }, PeerFault::UnknownRegion { region, known: 1 }));
    }
    for got in [1, 2, 255, 256, u16::MAX] {
        cases.push((AddRing { index: got, ..good }, PeerFault::RingIndex { direction, got, want: 0 }));
    }
    for (ring, fault) in cases {
        let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::Region);
        slave.wire.send(&Message::AddRing(ring), &[slave.event(direction).as_fd()]);
        assert_eq!(slave.wire.last_words().as_deref(), Some(fault.reason()), "{ring:?}");
        arena.ended_with(&fault.into());
    }
    arena.unharmed_master();
}

#[test]
fn rings_too_many_twice_and_on_top_of_each_other() {
    let arena = Arena::master();
    let (direction, region) = (Direction::S2M, 0);
    let add = |slave: &ScriptedSlave, ring: AddRing| {
        slave.wire.send(&Message::AddRing(ring), &[slave.event(ring.direction).as_fd()]);
        slave.wire.last_words()
    };
    // twice the same index
    let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::Rings);
    assert_eq!(add(&slave, slave.add_ring(direction)).as_deref(), Some("unexpected ring index"));
    arena.blames(PeerFault::RingIndex { direction, got: 0, want: 1 }, 1);
    // more than the interface has queues
    let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::Rings);
    let second = AddRing { index: 1, offset: 4096, ..slave.add_ring(direction) };
    assert_eq!(add(&slave, second).as_deref(), Some("Invalid ring index"));
    arena.blames(PeerFault::TooManyRings { direction, got: 2, limit: 1 }, 1);
    // the other way's ring over the same bytes
    let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::Region);
    slave.tell(&slave.ring_message(direction), Some(event().as_fd()));
    let offset = 128 + 15 * 16;
    let over = AddRing { offset, ..slave.add_ring(Direction::M2S) };
    assert_eq!(add(&slave, over).as_deref(), Some("Rings overlap"));
    arena.blames(PeerFault::RingOverlap { direction: Direction::M2S, index: 0, region, offset }, 1);
    arena.unharmed_master();
}

#[test]
fn rings_by_the_hundred() {
    let arena = Arena::master_with(|builder| builder.queues(256));
    let slave = ScriptedSlave::with_memory(&arena.socket, VICTIM, Memory::new(12, 64), Step::Region);
    for direction in [Direction::S2M, Direction::M2S] {
        for index in 0..256u16 {
            let place = u32::from(index) + if direction == Direction::S2M { 0 } else { 256 };
            let ring = AddRing { index, offset: 160 * place, log2_size: 1, ..slave.add_ring(direction) };
            slave.tell(&Message::AddRing(ring), Some(event().as_fd()));
        }
    }
    let ring = AddRing { index: 256, offset: 160 * 512, log2_size: 1, ..slave.add_ring(Direction::M2S) };
    slave.wire.send(&Message::AddRing(ring), &[slave.event(Direction::M2S).as_fd()]);
    assert_eq!(slave.wire.last_words().as_deref(), Some("Invalid ring index"));
    arena.blames(PeerFault::TooManyRings { direction: Direction::M2S, got: 257, limit: 256 }, 1);
    arena.unharmed_master();
}

#[test]
fn cookies_of_the_wrong_kind() {
    let arena = Arena::master();
    for direction in [Direction::S2M, Direction::M2S] {
        for got in [0, 1, 0x03E3_1F21, 0x201F_E303, u32::MAX] {
            let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::Rings);
            slave.memory.ring(direction).set_cookie(got);
            slave.wire.send(&connect(), &[]);
            assert_eq!(slave.wire.last_words().as_deref(), Some("Wrong ring cookie"));
            arena.ended_with(&PeerFault::BadCookie { got }.into());
        }
    }
    assert_eq!(arena.faults(FaultKind::BadCookie), 10);
    arena.unharmed_master();
}

#[test]
fn a_slave_that_never_reads_its_answers() {
    let mut arena = Arena::master_with(|builder| builder.queues(256));
    let slave = ScriptedSlave::with_memory(&arena.socket, VICTIM, Memory::new(12, 64), Step::Admitted);
    slave.wire.send(&slave.region(), &[slave.memory.fd()]);
    for direction in [Direction::S2M, Direction::M2S] {
        for index in 0..256u16 {
            let place = u32::from(index) + if direction == Direction::S2M { 0 } else { 256 };
            let ring = AddRing { index, offset: 160 * place, log2_size: 1, ..slave.add_ring(direction) };
            slave.wire.send(&Message::AddRing(ring), &[slave.event(direction).as_fd()]);
        }
    }
    arena.ended_with(&Disconnect::Failed("the peer does not read its messages".into()));
    arena.bystander.moves_on();
    arena.unharmed_master();
}

fn in_order_from_a_master(step: master::Step, kind: MessageKind) -> bool {
    use MessageKind::{Ack, Connected, Disconnect, Hello};
    match step {
        master::Step::Accepted => matches!(kind, Hello | Disconnect),
        master::Step::Init | master::Step::Region => matches!(kind, Ack | Disconnect),
        master::Step::Connect => matches!(kind, Connected | Disconnect),
        master::Step::Up => matches!(kind, Disconnect),
    }
}

const fn slaves_stage(step: master::Step) -> Stage {
    match step {
        master::Step::Accepted => Stage::AwaitHello,
        master::Step::Init => Stage::AwaitAdmission,
        master::Step::Region => Stage::Offering,
        master::Step::Connect => Stage::AwaitConnected,
        master::Step::Up => Stage::Up,
    }
}

#[test]
fn a_master_sends_every_message_at_every_wrong_time() {
    let (mut arena, listener) = Arena::slave();
    let mut times = 0;
    for step in master::Step::ALL {
        for message in master::one_of_each() {
            if in_order_from_a_master(step, message.kind()) {
                continue;
            }
            let scripted = listener.until(step);
            scripted.wire.send(&message, &[]);
            assert_eq!(
                scripted.wire.last_words().as_deref(),
                Some("unexpected message received"),
                "{message:?}"
            );
            times += 1;
            let stage = slaves_stage(step);
            arena.blames(PeerFault::UnexpectedMessage { got: message.kind(), stage }, times);
        }
        arena.bystander.moves_on();
    }
    arena.unharmed_slave(listener);
}

#[test]
fn a_master_refuses_or_closes_at_every_step() {
    let (arena, listener) = Arena::slave();
    for step in master::Step::ALL {
        let scripted = listener.until(step);
        let reason = Reason::from_field([0xFF; 96]);
        scripted.wire.send(&Message::Disconnect { code: 9, reason }, &[]);
        assert_eq!(scripted.wire.last_words(), None);
        arena.ended_with(&match step {
            master::Step::Up => Disconnect::Peer { code: 9, reason },
            _ => Disconnect::Refused { code: 9, reason },
        });
        drop(listener.until(step));
        arena.ended_with(&Disconnect::Closed);
    }
    arena.unharmed_slave(listener);
}

#[test]
fn a_master_with_datagrams_of_every_wrong_size_and_with_descriptors() {
    let (arena, listener) = Arena::slave();
    for step in master::Step::ALL {
        for len in [1, 127, 129, 256, 257, 65536] {
            let scripted = listener.until(step);
            scripted.wire.send_bytes(&vec![1; len], &[]);
            assert_eq!(scripted.wire.last_words().as_deref(), Some("Invalid message size"));
        }
        for number in [0u16, 9, u16::MAX] {
            let scripted = listener.until(step);
            let mut bytes = [0; 128];
            bytes[..2].copy_from_slice(&number.to_ne_bytes());
            scripted.wire.send_bytes(&bytes, &[]);
            assert_eq!(scripted.wire.last_words().as_deref(), Some("unknown message type"));
        }
        for count in [1, 2, 253] {
            let scripted = listener.until(step);
            let fd = memfd(MemfdFlags::empty());
            scripted.wire.send(&Message::Ack, &vec![fd.as_fd(); count]);
            assert_eq!(scripted.wire.last_words().as_deref(), Some("Unexpected file descriptor"));
            arena.ended_with(&PeerFault::FdUnexpected { on: MessageKind::Ack }.into());
        }
    }
    assert_eq!(arena.faults(FaultKind::ShortMessage), 10);
    assert_eq!(arena.faults(FaultKind::LongMessage), 20);
    assert_eq!(arena.faults(FaultKind::UnknownType), 15);
    assert_eq!(arena.faults(FaultKind::FdUnexpected), 15);
    arena.unharmed_slave(listener);
}

#[test]
fn a_master_with_odd_limits() {
    let (arena, listener) = Arena::slave();
    let hello = master::hello();
    let refused = [
        (Hello { min_version: 0x0201, max_version: 0x0300, ..hello }, "Incompatible memif version"),
        (Hello { min_version: 0, max_version: 0x0100, ..hello }, "Incompatible memif version"),
        (Hello { min_version: u16::MAX, max_version: 0, ..hello }, "Incompatible memif version"),
        (Hello { max_log2_ring_size: 0, ..hello }, "Invalid ring size"),
    ];
    for (hello, words) in refused {
        let wire = listener.accept();
        wire.send(&Message::Hello(hello), &[]);
        assert_eq!(wire.last_words().as_deref(), Some(words));
    }
    assert_eq!(arena.faults(FaultKind::VersionMismatch), 3);
    assert_eq!(arena.faults(FaultKind::RingSize), 1);
    // these are generous or stingy, and fine
    let taken = [
        Hello { max_region: u16::MAX, max_m2s_ring: u16::MAX, max_s2m_ring: u16::MAX, ..hello },
        Hello { max_region: 0, max_m2s_ring: 0, max_s2m_ring: 0, max_log2_ring_size: 1, ..hello },
        Hello { min_version: 0, max_version: u16::MAX, max_log2_ring_size: 255, ..hello },
        Hello { name: Name::from_field([0xFF; 32]), ..hello },
    ];
    for hello in taken {
        let wire = listener.accept();
        wire.send(&Message::Hello(hello), &[]);
        wire.expect(MessageKind::Init);
        wire.send(&Message::Ack, &[]);
        wire.expect(MessageKind::AddRegion);
    }
    arena.unharmed_slave(listener);
}
