//! Many interfaces on one listener.
#![allow(clippy::unwrap_used, reason = "a helper of a test")]

mod common;

use common::{MANY_DESCRIPTORS, PATIENCE, address, exchange, in_child_process};
use memif_pmd::Memif;

const INTERFACES: u32 = 100;
const QUEUES: u16 = 8;

#[test]
fn a_hundred_interfaces_of_eight_queue_pairs_share_a_listener() {
    // two eventfds a ring, one at each end
    if !in_child_process("a_hundred_interfaces_of_eight_queue_pairs_share_a_listener", MANY_DESCRIPTORS) {
        return;
    }
    let memif = Memif::start().unwrap();
    let socket = address();
    let open = |id| memif.interface(&socket).id(id).queues(QUEUES).ring_size(64).buffer_size(256);
    let masters: Vec<_> = (0..INTERFACES).map(|id| open(id).master().open().unwrap()).collect();
    let slaves: Vec<_> = (0..INTERFACES).map(|id| open(id).slave().open().unwrap()).collect();
    for (master, slave) in masters.iter().zip(&slaves) {
        slave.wait_up(Some(PATIENCE)).unwrap();
        master.wait_up(Some(PATIENCE)).unwrap();
    }
    for ((master, slave), id) in masters.iter().zip(&slaves).zip(0..) {
        for queue in 0..QUEUES {
            // numbers that no other queue uses: a packet that strays is found out
            let number = (id << 32) + (u64::from(queue) << 16);
            let (mut tx, mut rx) = (slave.tx(queue).unwrap(), master.rx(queue).unwrap());
            exchange((&mut tx, &mut rx), number..number + 100, 8..=1000);
            let (mut tx, mut rx) = (master.tx(queue).unwrap(), slave.rx(queue).unwrap());
            exchange((&mut tx, &mut rx), number + 1000..number + 1100, 8..=1000);
        }
    }
    for (master, slave) in masters.iter().zip(&slaves) {
        assert!(master.is_up() && slave.is_up());
        for queue in &master.details().unwrap().rx {
            assert_eq!((queue.stats.packets, queue.stats.dropped()), (100, 0));
        }
    }
}
