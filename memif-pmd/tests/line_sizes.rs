//! Rings laid out for cache lines of 64 and of 128 bytes: the slave chooses, the master finds out, and what tells nothing or
//! contradicts itself is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;
mod hostile_peer;

use std::os::fd::AsFd;

use common::{Pair, exchange, packet, until};
use hostile_peer::memory::{Memory, memfd};
use hostile_peer::slave::{ScriptedSlave, Step, connect, event};
use hostile_peer::{Arena, VICTIM, receive};
use memif_os::huge_pages::HugePages;
use memif_pmd::{LineSize, Memif, PeerFault};
use memif_ring::layout::{COOKIE, Desc};
use memif_ring::message::{AddRegion, AddRing, Direction, Message, MessageKind};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals};

use Direction::{M2S, S2M};
use LineSize::{Bytes64, Bytes128};

#[test]
fn packets_cross_links_of_either_layout_in_both_directions() {
    for line in LineSize::ALL {
        for (queues, ring) in [(1, 2), (1, 4), (1, 1024), (3, 16), (16, 64)] {
            let pair = Pair::with(
                |builder| builder.queues(queues),
                |builder| builder.queues(queues).ring_size(ring).buffer_size(512).line_size(line),
            );
            for end in [&pair.master, &pair.slave] {
                assert_eq!(end.details().unwrap().line_size, Some(line), "{queues} queues of {ring}");
            }
            for queue in [0, queues - 1] {
                let mut s2m = (pair.slave.tx(queue).unwrap(), pair.master.rx(queue).unwrap());
                let mut m2s = (pair.master.tx(queue).unwrap(), pair.slave.rx(queue).unwrap());
                exchange((&mut s2m.0, &mut s2m.1), 0..100, 60..=900);
                exchange((&mut m2s.0, &mut m2s.1), 0..100, 60..=900);
            }
        }
    }
}

#[test]
fn packets_cross_links_of_either_layout_between_numbers_of_queues_that_differ() {
    for line in LineSize::ALL {
        let pair = Pair::with(
            |builder| builder.rx_queues(2).tx_queues(5),
            |builder| builder.tx_queues(2).rx_queues(3).ring_size(8).line_size(line),
        );
        assert_eq!(pair.master.details().unwrap().line_size, Some(line));
        exchange((&mut pair.slave.tx(1).unwrap(), &mut pair.master.rx(1).unwrap()), 0..100, 60..=900);
        exchange((&mut pair.master.tx(2).unwrap(), &mut pair.slave.rx(2).unwrap()), 0..100, 60..=900);
    }
}

#[test]
fn the_layout_of_rings_without_buffers_behind_them_is_told() {
    let memif = Memif::start().unwrap();
    for line in LineSize::ALL {
        let memory = memif.packet_memory().buffers(64).huge_pages(HugePages::Off).allocate().unwrap();
        let socket = common::address();
        let master = memif.interface(&socket).master().open().unwrap();
        let slave = memif.interface(&socket).ring_size(32).line_size(line).huge_pages(HugePages::Off);
        let slave = slave.packet_memory(&memory).open().unwrap();
        slave.wait_up(Some(common::PATIENCE)).unwrap();
        assert_eq!(master.details().unwrap().line_size, Some(line));
        exchange((&mut slave.tx(0).unwrap(), &mut master.rx(0).unwrap()), 0..100, 60..=3000);
        exchange((&mut master.tx(0).unwrap(), &mut slave.rx(0).unwrap()), 0..100, 60..=3000);
    }
}

#[test]
fn an_interface_without_a_link_has_no_line_size() {
    let memif = Memif::start().unwrap();
    let master = memif.interface(common::address()).master().open().unwrap();
    assert_eq!(master.details().unwrap().line_size, None);
}

/// Memory of a scripted slave, in this layout.
fn laid_out(line: LineSize) -> Memory {
    let memory = Memory::laid_out(line, memfd(MemfdFlags::ALLOW_SEALING), 4, 2048);
    fcntl_add_seals(memory.fd(), SealFlags::SHRINK).unwrap();
    memory
}

/// A slave with this memory that has offered it as a region of `size` bytes, and this one ring.
fn with_one_ring(arena: &Arena, memory: Memory, size: u64) -> ScriptedSlave {
    let slave = ScriptedSlave::with_memory(&arena.socket, VICTIM, memory, Step::Admitted);
    slave.tell(&Message::AddRegion(AddRegion { index: 0, size }), Some(slave.memory.fd()));
    slave.tell(&slave.ring_message(S2M), Some(slave.event(S2M).as_fd()));
    slave.run(Step::Rings, Step::Up);
    slave
}

/// It sends a packet, and the victim has it.
fn sends(arena: &Arena, slave: &ScriptedSlave) {
    slave.s2m().publish([slave.memory.packet(0, 100, 1)]);
    let (mut rx, mut got) = (arena.victim.rx(0).unwrap(), Vec::new());
    until("the packet", || {
        got.extend(receive(&mut rx));
        !got.is_empty()
    });
    assert_eq!(got, [packet(100, 1)]);
}

#[test]
fn a_single_ring_is_told_by_the_buffer_size_in_its_first_descriptor() {
    for line in LineSize::ALL {
        let arena = Arena::master();
        let memory = laid_out(line);
        // as VPP, DPDK and libmemif do: each descriptor names its buffer from the start
        for index in 0..16 {
            memory.ring(S2M).set_desc(index, memory.slot(S2M, index));
        }
        let size = memory.len();
        let slave = with_one_ring(&arena, memory, size);
        assert_eq!(arena.details().line_size, Some(line));
        sends(&arena, &slave);
        drop(slave);
        arena.unharmed_master();
    }
}

#[test]
fn a_single_ring_with_empty_descriptors_is_told_by_the_size_of_its_region() {
    for line in LineSize::ALL {
        let arena = Arena::master();
        let memory = laid_out(line);
        let slave = with_one_ring(&arena, memory, line.ring_bytes(4) as u64);
        assert_eq!(arena.details().line_size, Some(line));
        drop(slave);
        arena.unharmed_master();
    }
}

#[test]
fn a_single_ring_that_nothing_tells_of_has_lines_of_64() {
    let arena = Arena::master();
    let memory = laid_out(Bytes64);
    let size = memory.len();
    let slave = with_one_ring(&arena, memory, size);
    assert_eq!(arena.details().line_size, Some(Bytes64));
    sends(&arena, &slave);
    drop(slave);
    arena.unharmed_master();
}

/// A slave that offers rings at these offsets, S2M and M2S in turn, and connects: its last words from the master.
fn offers(arena: &Arena, offsets: &[u32], size: u64, lengths: &[(u64, u32)]) -> Option<String> {
    let memory = laid_out(Bytes64);
    for &offset in offsets {
        rustix::io::pwrite(memory.fd(), &COOKIE.to_ne_bytes(), offset.into()).unwrap();
    }
    for &(at, length) in lengths {
        rustix::io::pwrite(memory.fd(), &length.to_ne_bytes(), at + 4).unwrap();
    }
    let slave = ScriptedSlave::with_memory(&arena.socket, VICTIM, memory, Step::Admitted);
    slave.tell(&Message::AddRegion(AddRegion { index: 0, size }), Some(slave.memory.fd()));
    for (place, &offset) in offsets.iter().enumerate() {
        let direction = if place % 2 == 0 { S2M } else { M2S };
        let ring = AddRing { index: u16::try_from(place / 2).unwrap(), offset, ..slave.add_ring(direction) };
        slave.tell(&Message::AddRing(ring), Some(event().as_fd()));
    }
    slave.wire.send(&connect(), &[]);
    match slave.wire.hear()? {
        (Message::Disconnect { code, reason }, _) => {
            assert_ne!(code, 0);
            Some(reason.to_string())
        }
        (Message::Connected { .. }, _) => None,
        other => panic!("{other:?}"),
    }
}

/// Bytes of the rings of a scripted slave.
const NARROW: u32 = 128 + 16 * 16;
const WIDE: u32 = 256 + 16 * 16;

#[test]
fn rings_at_offsets_that_fit_neither_layout_are_refused() {
    let arena = Arena::master();
    for (times, next) in (1..).zip([WIDE + 16, WIDE + 160, 4096]) {
        let words = offers(&arena, &[0, next], 1 << 16, &[]);
        assert_eq!(
            words.as_deref(),
            Some("Ring layout unknown: neither 64-byte nor 128-byte cache lines fit")
        );
        arena.blames(PeerFault::RingLayoutUnknown { region: 0, offset: 0, next }, times);
    }
    // with a first descriptor that tells, they are taken
    assert_eq!(offers(&arena, &[0, 4096], 1 << 16, &[(Bytes128.header_size() as u64, 2048)]), None);
    arena.unharmed_master();
}

#[test]
fn rings_of_both_layouts_on_one_link_are_refused() {
    const WORDS: &str = "Ring layouts differ: use one cache line size for all rings";
    let arena = Arena::master_with(|builder| builder.queues(2));
    let mixed = |offset, line, other| PeerFault::RingLayoutMixed { region: 0, offset, line, other };
    // by their places
    assert_eq!(offers(&arena, &[0, NARROW, NARROW + WIDE], 1 << 16, &[]).as_deref(), Some(WORDS));
    arena.blames(mixed(NARROW, Bytes128, Bytes64), 1);
    // by what is in them
    let (narrow, wide) = (Bytes64.header_size() as u64, 4096 + Bytes128.header_size() as u64);
    let lengths = [(narrow, 2048), (wide, 2048)];
    assert_eq!(offers(&arena, &[0, 4096], 1 << 16, &lengths).as_deref(), Some(WORDS));
    arena.blames(mixed(4096, Bytes128, Bytes64), 2);
    arena.unharmed_master();
}

#[test]
fn a_ring_that_would_run_past_its_region_in_the_layout_of_the_others_is_refused() {
    let arena = Arena::master();
    for (times, size) in (1..).zip([WIDE + NARROW, 2 * WIDE - 16]) {
        let words = offers(&arena, &[0, WIDE], size.into(), &[]);
        assert_eq!(words.as_deref(), Some("Ring layouts differ: use one cache line size for all rings"));
        let (line, other) = (Bytes64, Bytes128);
        arena.blames(PeerFault::RingLayoutMixed { region: 0, offset: WIDE, line, other }, times);
    }
    assert_eq!(offers(&arena, &[0, WIDE], (2 * WIDE).into(), &[]), None);
    arena.unharmed_master();
}

#[test]
fn what_a_slave_writes_where_its_layout_has_no_field_changes_nothing() {
    for line in LineSize::ALL {
        let arena = Arena::master();
        let slave = ScriptedSlave::with_memory(&arena.socket, VICTIM, laid_out(line), Step::Admitted);
        // the padding of the header, and of the other layout the fields
        for at in (8..line.header_size() as u64).filter(|at| at / 2 != line.tail_offset() as u64 / 2) {
            rustix::io::pwrite(slave.memory.fd(), &[0xff], at).unwrap();
        }
        slave.run(Step::Admitted, Step::Up);
        assert_eq!(arena.details().line_size, Some(line));
        sends(&arena, &slave);
        let desc = slave.s2m().desc(0);
        assert_eq!(Desc { length: 100, ..slave.memory.slot(S2M, 0) }, desc);
        drop(slave);
        arena.unharmed_master();
    }
}

#[test]
fn a_region_that_is_smaller_than_its_rings_in_the_longer_layout_is_not_read_past_its_end() {
    let arena = Arena::master();
    // to the last byte of its file
    let memory = laid_out(Bytes64);
    let slave = ScriptedSlave::with_memory(&arena.socket, VICTIM, memory, Step::Admitted);
    let size = slave.memory.len();
    slave.tell(&Message::AddRegion(AddRegion { index: 0, size }), Some(slave.memory.fd()));
    let offset = u32::try_from(size).unwrap() - NARROW;
    rustix::io::pwrite(slave.memory.fd(), &COOKIE.to_ne_bytes(), offset.into()).unwrap();
    let ring = AddRing { offset, ..slave.add_ring(S2M) };
    slave.tell(&Message::AddRing(ring), Some(event().as_fd()));
    slave.wire.send(&connect(), &[]);
    slave.wire.expect(MessageKind::Connected);
    assert_eq!(arena.details().line_size, Some(Bytes64));
    drop(slave);
    arena.unharmed_master();
}
