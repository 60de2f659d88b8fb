//! Where a slave puts the packets that it sends, and what the details say about it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;

use common::{Pair, exchange, until};
use memif_os::huge_pages::HugePages;
use memif_pmd::{Burst, Interface, Memif, PacketLayout, Port};

use PacketLayout::{Fixed, Packed};

fn of_tx(interface: &Interface) -> Vec<Option<PacketLayout>> {
    interface.details().unwrap().tx.iter().map(|queue| queue.packet_layout).collect()
}

fn of_rx(interface: &Interface) -> Vec<Option<PacketLayout>> {
    interface.details().unwrap().rx.iter().map(|queue| queue.packet_layout).collect()
}

#[test]
fn packets_cross_links_of_either_layout() {
    for layout in [Packed, Fixed] {
        for (ring, buffer, sizes) in [(2, 2048, 60..=2048), (64, 512, 60..=3000), (1024, 2048, 60..=9000)] {
            let pair = Pair::with(
                |builder| builder,
                |builder| builder.ring_size(ring).buffer_size(buffer).packet_layout(layout),
            );
            let (mut tx, mut rx) = (pair.slave.tx(0).unwrap(), pair.master.rx(0).unwrap());
            exchange((&mut tx, &mut rx), 0..200, sizes);
            assert_eq!(of_tx(&pair.slave), [Some(layout)]);
        }
    }
}

#[test]
fn details_tell_the_layout_of_a_slaves_transmit_queues_alone() {
    let pair = Pair::with(|builder| builder.queues(2), |builder| builder.queues(2));
    assert_eq!(of_tx(&pair.slave), [Some(Packed); 2]);
    assert_eq!(of_rx(&pair.slave), [None; 2]);
    assert_eq!((of_tx(&pair.master), of_rx(&pair.master)), (vec![None; 2], vec![None; 2]));
    let Pair { master, slave, .. } = pair;
    drop(slave);
    master.wait_down(Some(common::PATIENCE)).unwrap();
    assert_eq!(of_tx(&master), [None; 2]);
}

#[test]
fn reserved_buffers_lie_one_behind_the_other() {
    let pair = Pair::of(|builder| builder);
    let (mut tx, mut rx) = (pair.slave.tx(0).unwrap(), pair.master.rx(0).unwrap());
    let mut burst = Burst::new(64).unwrap();
    for round in 0..500 {
        let copied = round % 3 == 0;
        if copied {
            exchange((&mut tx, &mut rx), 0..10, 60..=900);
        }
        let mut room = tx.reserve(40, 100 + round);
        let count = room.len();
        assert!(count > 0, "round {round}");
        for index in 0..count {
            assert_eq!(room.fill(index, &vec![7; 100 + round]), 100 + round);
        }
        room.commit(count);
        assert_eq!(rx.receive(&mut burst), count);
        assert!(burst.iter().all(|packet| *packet == vec![7; 100 + round]));
        burst.clear();
    }
    assert_eq!(of_tx(&pair.slave), [Some(Packed)]);
}

#[test]
fn a_queue_whose_buffers_are_claimed_or_exchanged_has_fixed_ones_from_then_on() {
    let pair = Pair::with(|builder| builder.queues(3), |builder| builder.queues(3));
    let (mut tx, mut rx) = (pair.slave.tx(0).unwrap(), pair.master.rx(0).unwrap());
    exchange((&mut tx, &mut rx), 0..100, 60..=900);
    assert_eq!(of_tx(&pair.slave), [Some(Packed); 3]);
    // a poll returns the slots of what came
    until("a buffer", || rx.peek(1).is_empty() && tx.raw().claim(1, |_, _| ()) == 1);
    assert_eq!(of_tx(&pair.slave), [Some(Fixed), Some(Packed), Some(Packed)]);
    assert!(pair.slave.tx(2).unwrap().raw().swap(0, 1));
    assert_eq!(of_tx(&pair.slave), [Some(Fixed), Some(Packed), Some(Fixed)]);
}

#[test]
fn a_slave_with_packet_memory_has_fixed_buffers() {
    let memif = Memif::start().unwrap();
    let memory = memif.packet_memory().buffers(64).huge_pages(HugePages::Off).allocate().unwrap();
    let socket = common::address();
    let _master = memif.interface(&socket).master().open().unwrap();
    let slave = memif.interface(&socket).ring_size(32).packet_memory(&memory).open().unwrap();
    slave.wait_up(Some(common::PATIENCE)).unwrap();
    assert_eq!(of_tx(&slave), [Some(Fixed)]);
}

#[test]
fn a_port_says_which_layout_its_slave_has() {
    let memif = Memif::start().unwrap();
    for layout in [Packed, Fixed] {
        let socket = common::address();
        let _master = memif.interface(&socket).master().open().unwrap();
        let port: Port = format!("{socket},layout={layout},huge=off").parse().unwrap();
        assert!(port.to_string().contains(&format!(",layout={layout},")));
        let slave = port.interface(&memif).open().unwrap();
        slave.wait_up(Some(common::PATIENCE)).unwrap();
        assert_eq!(of_tx(&slave), [Some(layout)]);
    }
}
