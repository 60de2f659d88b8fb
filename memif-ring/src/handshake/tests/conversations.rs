//! Random messages and calls: no panic, no descriptor leaked, rings within their regions.

use super::*;
use proptest::prelude::*;
use std::cell::Cell;
use std::rc::Rc;
use std::vec;

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
    fn random_messages_neither_panic_nor_leak_in_a_master((stage, steps) in conversation(), slow in any::<bool>()) {
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
    fn random_messages_neither_panic_nor_leak_in_a_slave((stage, steps) in conversation(), slow in any::<bool>()) {
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
    fn accepted_rings_do_not_overlap_and_stay_within_their_regions(
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
