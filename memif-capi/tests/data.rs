//! The data path of 4.0, called as C calls it: also with buffers that are not what they say, and by peers that write
//! anything into the rings.
#![allow(unsafe_code)] // calls what is exported to C
#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_truncation, reason = "tests")]

mod common;

use std::ptr;

use common::{EMPTY, OK, Pair, alloc, at, bytes, code, delete, fill, make_conn, rx, send, tx};
use memif::abi::{BUFFER_FLAG_NEXT, Buffer, Details, Handle, QUEUE_FLAG_POLLING};
use memif::code::Code;
use memif::v4::*;

/// Rings of 16 and buffers of 256 bytes.
fn small() -> Pair {
    let pair = Pair::with(|args| (args.log2_ring_size, args.buffer_size) = (4, 256));
    pair.refill_all();
    pair
}

fn refill(conn: Handle, count: usize) {
    assert_eq!(memif_refill_queue(conn, 0, u16::try_from(count).unwrap(), 0), OK);
}

fn enq_tx(conn: Handle, bufs: &mut [Buffer]) -> common::Moved {
    let mut out = 0;
    // SAFETY: the array has as many elements as the call is told.
    let code = unsafe { memif_buffer_enq_tx(conn, 0, bufs.as_mut_ptr(), bufs.len() as u16, at(&mut out)) };
    (code, out.into())
}

fn requeue(conn: Handle, a: &mut Buffer, b: &mut Buffer) -> i32 {
    memif_buffer_requeue(conn, at(a), at(b))
}

fn set_next_free(conn: Handle, buf: &mut Buffer) -> i32 {
    memif_set_next_free_buffer(conn, 0, at(buf))
}

fn details(conn: Handle) -> (Details, Vec<u8>) {
    let mut text = vec![0u8; 4096];
    let (code, details) = common::details(conn, &mut text);
    assert_eq!(code, OK);
    (details, text)
}

/// Where the slave's memory is mapped, rings first.
fn rings(pair: &Pair) -> *mut u8 {
    let (details, _text) = details(pair.slave);
    assert_eq!(details.regions_num, 1);
    // SAFETY: points to one region's details in the text, which is still there.
    unsafe { (*details.regions).addr.cast() }
}

/// Head and tail of the master's receive ring.
fn indices(pair: &Pair) -> (u16, u16) {
    let (details, _text) = details(pair.master);
    // SAFETY: points to one queue's details in the text, which is still there.
    let queue = unsafe { *details.rx_queues };
    (queue.head, queue.tail)
}

/// Writes a field of a descriptor as a hostile peer does. Rings of 16: S2M at 0, M2S behind it.
fn corrupt<T>(pair: &Pair, m2s: bool, slot: usize, field: usize, value: T) {
    let offset = usize::from(m2s) * (128 + 16 * 16) + 128 + slot * 16 + field;
    // SAFETY: within the rings, which stay mapped while the link is up.
    unsafe { rings(pair).add(offset).cast::<T>().write_volatile(value) };
}

const FLAGS: usize = 0;
const LENGTH: usize = 4;
const OFFSET: usize = 8;

#[test]
fn packets_arrive_in_order_past_the_wrap_of_the_indices() {
    let pair = small();
    for (from, to) in [(pair.slave, pair.master), (pair.master, pair.slave)] {
        let (mut sent, mut received) = (0u32, 0u32);
        while received < 70_000 {
            let mut bufs = [EMPTY; 7];
            let (outcome, count) = alloc(from, &mut bufs, 7, 60);
            assert!(outcome == OK && count == 7 || outcome == code(Code::NobufRing), "{outcome} {count}");
            for buf in &bufs[..count] {
                fill(buf, &sent.to_ne_bytes().repeat(15));
                sent += 1;
            }
            assert_eq!(tx(from, &mut bufs[..count]), (OK, count));
            let mut bufs = [EMPTY; 5];
            let (outcome, count) = rx(to, &mut bufs);
            assert!(outcome == OK || outcome == code(Code::Nobuf));
            for buf in &bufs[..count] {
                assert_eq!(bytes(buf), received.to_ne_bytes().repeat(15));
                received += 1;
            }
            refill(to, count);
        }
    }
}

#[test]
fn buffers_stay_as_they_are_until_they_are_given_back() {
    let pair = small();
    for (from, to) in [(pair.slave, pair.master), (pair.master, pair.slave)] {
        let mut bufs = [EMPTY; 16];
        for number in 0..16u8 {
            send(from, &[number; 100]);
            assert_eq!(rx(to, &mut bufs[number.into()..][..1]), (OK, 1));
        }
        assert_eq!(alloc(from, &mut [EMPTY; 1], 1, 100), (code(Code::NobufRing), 0), "all are held");
        for (number, buf) in (0u8..).zip(&bufs) {
            assert_eq!(bytes(buf), [number; 100]);
        }
        refill(to, 3);
        assert_eq!(alloc(from, &mut [EMPTY; 4], 4, 100), (code(Code::NobufRing), 3));
        refill(to, usize::from(u16::MAX));
    }
}

#[test]
fn a_master_may_send_before_the_slave_has_posted() {
    let pair = Pair::new();
    assert_eq!(alloc(pair.master, &mut [EMPTY; 4], 4, 64), (code(Code::NobufRing), 0));
    pair.refill_all();
    send(pair.master, b"now");
    assert_eq!(rx(pair.slave, &mut [EMPTY; 4]), (OK, 1));
}

#[test]
fn more_than_asked_for_is_said_and_waits() {
    let pair = small();
    (0..5).for_each(|_| send(pair.slave, b"packet"));
    let mut bufs = [EMPTY; 3];
    assert_eq!(rx(pair.master, &mut bufs), (code(Code::Nobuf), 3));
    assert_eq!(rx(pair.master, &mut bufs[..2]), (OK, 2));
    assert_eq!(rx(pair.master, &mut bufs), (OK, 0));
}

#[test]
fn chains_are_made_sent_and_received_whole_and_in_parts() {
    let pair = small();
    for (from, to) in [(pair.slave, pair.master), (pair.master, pair.slave)] {
        for round in 0..40u8 {
            let mut bufs = [EMPTY; 4];
            assert_eq!(alloc(from, &mut bufs, 1, 600), (OK, 3));
            assert_eq!(bufs.map(|buf| buf.len)[..3], [256, 256, 88]);
            assert_eq!(bufs.map(|buf| buf.flags)[..3], [BUFFER_FLAG_NEXT, BUFFER_FLAG_NEXT, 0]);
            bufs[..3].iter().for_each(|buf| fill(buf, &vec![round; buf.len as usize]));
            assert_eq!(tx(from, &mut bufs[..3]), (OK, 3));
            // a chain that does not fit behind another packet stays whole
            send(from, b"single");
            let parts = if round % 2 == 0 { 4 } else { 2 };
            let mut lens = Vec::new();
            while lens.len() < 4 {
                let mut bufs = [EMPTY; 4];
                let (_, count) = rx(to, &mut bufs[..parts]);
                lens.extend(bufs[..count].iter().map(|buf| (buf.len, buf.flags)));
                refill(to, count);
            }
            assert_eq!(lens, [(256, 1), (256, 1), (88, 0), (6, 0)]);
        }
    }
}

#[test]
fn a_chain_that_does_not_fit_leaves_nothing_taken() {
    let pair = small();
    for from in [pair.slave, pair.master] {
        let mut bufs = [EMPTY; 64];
        assert_eq!(alloc(from, &mut bufs, 64, 1000), (code(Code::NobufRing), 16), "four of four buffers");
        assert_eq!(set_next_free(from, &mut bufs[2]), OK);
        assert_eq!(alloc(from, &mut bufs[2..], 64 - 2, 4000), (code(Code::NobufRing), 0));
        assert_eq!(alloc(from, &mut bufs[2..], 1, 3584), (OK, 14));
    }
}

#[test]
fn what_c_writes_into_a_buffer_is_checked() {
    let pair = small();
    for from in [pair.slave, pair.master] {
        let mut good = [EMPTY; 2];
        assert_eq!(alloc(from, &mut good, 2, 256), (OK, 2));
        let data = good[0].data.cast::<u8>();
        let bad = [
            Buffer { desc_index: good[0].desc_index.wrapping_add(1), ..good[0] },
            Buffer { desc_index: good[0].desc_index.wrapping_sub(1), ..good[0] },
            Buffer { queue: ptr::null_mut(), ..good[0] },
            Buffer { queue: ptr::without_provenance_mut(usize::MAX), ..good[0] },
            Buffer { len: 257, ..good[0] },
            Buffer { len: u32::MAX, ..good[0] },
            Buffer { data: ptr::null_mut(), ..good[0] },
            Buffer { data: ptr::without_provenance_mut(usize::MAX), ..good[0] },
            Buffer { data: data.wrapping_sub(1).cast(), ..good[0] },
            Buffer { data: data.wrapping_add(1).cast(), ..good[0] },
            Buffer { data: data.wrapping_add(257).cast(), len: 0, ..good[0] },
        ];
        for bad in bad {
            assert_eq!(tx(from, &mut [bad]), (code(Code::InvalArg), 0), "{bad:?}");
        }
        // what is in order before it goes
        assert_eq!(tx(from, &mut [good[0], good[0]]), (code(Code::InvalArg), 1));
        let chained = Buffer { flags: 0xFF, ..good[1] };
        assert_eq!(tx(from, &mut [chained]), (code(Code::InvalArg), 0), "half a packet");
        assert_eq!(tx(from, &mut good[1..]), (OK, 1));
        assert_eq!(tx(from, &mut good), (code(Code::InvalArg), 0), "sent already");
    }
}

#[test]
fn a_slave_moves_data_within_its_buffers() {
    let pair = small();
    let mut bufs = [EMPTY; 1];
    assert_eq!(alloc(pair.slave, &mut bufs, 1, 0), (OK, 1));
    assert_eq!(bufs[0].len, 256, "a whole buffer");
    bufs[0].data = bufs[0].data.cast::<u8>().wrapping_add(56).cast();
    bufs[0].len = 200;
    fill(&bufs[0], &[7; 200]);
    assert_eq!(tx(pair.slave, &mut bufs), (OK, 1));
    assert_eq!(rx(pair.master, &mut bufs), (OK, 1));
    assert_eq!(bytes(&bufs[0]), [7; 200]);
}

#[test]
fn headroom_is_left_in_front_of_what_a_slave_receives() {
    let pair = Pair::with(|args| (args.log2_ring_size, args.buffer_size) = (4, 256));
    for headroom in [256, u16::MAX] {
        assert_eq!(memif_refill_queue(pair.slave, 0, u16::MAX, headroom), code(Code::InvalArg));
    }
    assert_eq!(memif_refill_queue(pair.slave, 0, u16::MAX, 100), OK);
    let mut bufs = [EMPTY; 1];
    assert_eq!(alloc(pair.master, &mut bufs, 1, 0), (OK, 1));
    assert_eq!(bufs[0].len, 156);
    fill(&bufs[0], &[1; 156]);
    assert_eq!(tx(pair.master, &mut bufs), (OK, 1));
    assert_eq!(rx(pair.slave, &mut bufs), (OK, 1));
    // a header goes in front, and the packet out again without a copy
    bufs[0].data = bufs[0].data.cast::<u8>().wrapping_sub(100).cast();
    bufs[0].len = 256;
    fill(&bufs[0], &[2; 100]);
    assert_eq!(enq_tx(pair.slave, &mut bufs), (OK, 1));
    assert_eq!(tx(pair.slave, &mut bufs), (OK, 1));
    assert_eq!(rx(pair.master, &mut bufs), (OK, 1));
    assert_eq!(bytes(&bufs[0]), [&[2; 100][..], &[1; 156]].concat());
}

#[test]
fn received_buffers_move_to_a_transmit_queue_uncopied() {
    let pair = small();
    for round in 0..5000u32 {
        let packets: Vec<_> = (0..5).map(|number| (round * 5 + number).to_ne_bytes()).collect();
        packets.iter().for_each(|packet| send(pair.master, packet));
        let mut bufs = [EMPTY; 5];
        assert_eq!(rx(pair.slave, &mut bufs), (OK, 5));
        let places = bufs.map(|buf| buf.data);
        assert_eq!(enq_tx(pair.slave, &mut bufs), (OK, 5));
        assert_eq!(bufs.map(|buf| buf.data), places);
        assert_eq!(tx(pair.slave, &mut bufs), (OK, 5));
        refill(pair.slave, 5);
        assert_eq!(rx(pair.master, &mut bufs), (OK, 5));
        assert_eq!(bufs.iter().map(bytes).collect::<Vec<_>>(), packets);
        refill(pair.master, 5);
    }
}

#[test]
fn only_what_was_received_moves() {
    let pair = small();
    send(pair.master, b"packet");
    let mut bufs = [EMPTY; 1];
    assert_eq!(rx(pair.slave, &mut bufs), (OK, 1));
    for bad in [
        Buffer { desc_index: 1, ..bufs[0] },
        Buffer { queue: ptr::null_mut(), ..bufs[0] },
        Buffer { queue: ptr::without_provenance_mut(0xdead_beef_dead_beef), ..bufs[0] },
    ] {
        assert_eq!(enq_tx(pair.slave, &mut [bad]), (code(Code::InvalArg), 0));
        assert_eq!(requeue(pair.slave, &mut { bad }, &mut bufs[0]), code(Code::InvalArg));
        assert_eq!(requeue(pair.slave, &mut bufs[0], &mut { bad }), code(Code::InvalArg));
    }
    let mut moved = bufs;
    assert_eq!(enq_tx(pair.slave, &mut moved), (OK, 1));
    refill(pair.slave, 1);
    assert_eq!(enq_tx(pair.slave, &mut bufs), (code(Code::InvalArg), 0), "given back");
    assert_eq!(enq_tx(pair.master, &mut moved), (code(Code::InvalArg), 0), "a master has no buffers");
    assert_eq!(requeue(pair.master, &mut moved[0], &mut bufs[0]), code(Code::InvalArg));
}

#[test]
fn two_buffers_exchange_their_slots() {
    let pair = Pair::with(|args| {
        (args.log2_ring_size, args.buffer_size, args.num_s2m_rings, args.num_m2s_rings) = (4, 256, 2, 2);
    });
    let on = |queue: u16, conn: Handle, call: &str, packet: &[u8]| -> Buffer {
        let (mut buf, mut count) = (EMPTY, 0);
        let buf_at = &raw mut buf;
        // SAFETY: points to one buffer and a number.
        let outcome = unsafe {
            match call {
                "alloc" => memif_buffer_alloc(conn, queue, buf_at, 1, at(&mut count), packet.len() as u16),
                _ => memif_rx_burst(conn, queue, buf_at, 1, at(&mut count)),
            }
        };
        assert_eq!((outcome, count), (OK, 1), "{call} {queue}");
        if call == "alloc" {
            fill(&buf, packet);
        }
        buf
    };
    let send_on = |queue: u16, conn: Handle, buf: &mut Buffer| {
        let mut count = 0;
        // SAFETY: points to one buffer and a number.
        assert_eq!(unsafe { memif_tx_burst(conn, queue, buf, 1, at(&mut count)) }, OK);
    };
    for queue in 0..2 {
        assert_eq!(memif_refill_queue(pair.slave, queue, u16::MAX, 0), OK);
        let mut buf = on(queue, pair.master, "alloc", &[queue as u8; 8]);
        send_on(queue, pair.master, &mut buf);
    }
    // two receive queues, two transmit queues, and one of each
    let (mut rx0, mut rx1) = (on(0, pair.slave, "rx", b""), on(1, pair.slave, "rx", b""));
    let (mut tx0, mut tx1) = (on(0, pair.slave, "alloc", b"zero"), on(1, pair.slave, "alloc", b"one!"));
    assert_eq!(requeue(pair.slave, &mut rx0, &mut rx1), OK);
    assert_eq!((bytes(&rx0), bytes(&rx1)), (vec![0; 8], vec![1; 8]), "each keeps its bytes");
    assert_eq!(requeue(pair.slave, &mut tx0, &mut tx1), OK);
    assert_eq!(requeue(pair.slave, &mut rx0, &mut tx0), OK);
    let mut same = rx0;
    assert_eq!(requeue(pair.slave, &mut rx0, &mut same), OK, "with itself");
    // rx0 is now where tx1 was at first, and so on
    send_on(1, pair.slave, &mut rx0);
    send_on(0, pair.slave, &mut tx1);
    assert_eq!(bytes(&on(1, pair.master, "rx", b"")), [0; 8]);
    assert_eq!(bytes(&on(0, pair.master, "rx", b"")), b"one!");
    // one of a link that is gone, in a cell that the other is locked in
    let mut stale = Buffer { queue: ptr::without_provenance_mut(tx0.queue.addr() + (1 << 25)), ..tx0 };
    assert_eq!(requeue(pair.slave, &mut tx0, &mut stale), code(Code::InvalArg));
}

#[test]
fn allocated_buffers_go_back_unused() {
    let pair = small();
    for from in [pair.slave, pair.master] {
        let mut bufs = [EMPTY; 16];
        assert_eq!(alloc(from, &mut bufs, 16, 64), (OK, 16));
        assert_eq!(set_next_free(from, &mut bufs[9]), OK);
        assert_eq!(set_next_free(from, &mut bufs[9]), code(Code::InvalArg), "not allocated");
        let mut again = [EMPTY; 16];
        assert_eq!(alloc(from, &mut again, 16, 64), (code(Code::NobufRing), 7));
        assert_eq!(again[0].desc_index, bufs[9].desc_index);
        assert_eq!(set_next_free(from, &mut bufs[0]), OK);
    }
}

#[test]
fn broken_descriptors_cost_their_packets_and_no_slots() {
    let pair = small();
    (0..6u8).for_each(|number| send(pair.slave, &[number; 50]));
    corrupt(&pair, false, 0, LENGTH, u32::MAX);
    corrupt(&pair, false, 2, OFFSET, u32::MAX);
    corrupt(&pair, false, 3, LENGTH, 0u32);
    let mut bufs = [EMPTY; 16];
    assert_eq!(rx(pair.master, &mut bufs), (OK, 3));
    assert_eq!(bufs.map(|buf| if buf.len > 0 { bytes(&buf)[0] } else { 0 })[..3], [1, 4, 5]);
    refill(pair.master, 1);
    assert_eq!(indices(&pair), (6, 4), "the broken ones in front, one, and the broken ones behind");
    refill(pair.master, 2);
    assert_eq!(indices(&pair), (6, 6));
    // a chain without an end takes what is there with it
    (0..4).for_each(|_| send(pair.slave, b"packet"));
    corrupt(&pair, false, 7, FLAGS, 1u16);
    corrupt(&pair, false, 8, FLAGS, 1u16);
    corrupt(&pair, false, 9, FLAGS, 1u16);
    assert_eq!(rx(pair.master, &mut bufs), (OK, 1));
    refill(pair.master, 1);
    assert_eq!(indices(&pair), (10, 10));
    send(pair.slave, b"and it goes on");
    assert_eq!(rx(pair.master, &mut bufs), (OK, 1));
}

#[test]
fn a_master_that_moves_our_buffers_loses_its_packets() {
    let pair = small();
    for _ in 0..20 {
        (0..4u8).for_each(|number| send(pair.master, &[number; 50]));
        let (details, _text) = details(pair.slave);
        // SAFETY: points to one queue's details in the text.
        let first = usize::from(unsafe { (*details.rx_queues).tail }.wrapping_sub(4));
        corrupt(&pair, true, first % 16, OFFSET, 0u32);
        corrupt(&pair, true, (first + 2) % 16, LENGTH, 257u32);
        let mut bufs = [EMPTY; 16];
        assert_eq!(rx(pair.slave, &mut bufs), (OK, 2));
        assert_eq!((bytes(&bufs[0])[0], bytes(&bufs[1])[0]), (1, 3));
        refill(pair.slave, 2);
    }
}

#[test]
fn a_slave_that_posts_nonsense_is_not_written_to() {
    let pair = small();
    corrupt(&pair, true, 0, OFFSET, u32::MAX);
    corrupt(&pair, true, 2, LENGTH, u32::MAX);
    let mut bufs = [EMPTY; 16];
    // the first is skipped; the second bad one waits for those before it
    assert_eq!(alloc(pair.master, &mut bufs, 16, 64), (code(Code::NobufRing), 1));
    fill(&bufs[0], &[1; 64]);
    // made smaller behind our back
    corrupt(&pair, true, 1, LENGTH, 63u32);
    assert_eq!(tx(pair.master, &mut bufs[..1]), (code(Code::InvalArg), 0));
    corrupt(&pair, true, 1, LENGTH, 256u32);
    assert_eq!(tx(pair.master, &mut bufs[..1]), (OK, 1));
    assert_eq!(alloc(pair.master, &mut bufs, 16, 64), (code(Code::NobufRing), 13));
    // tiny buffers make chains, and no more of them than the caller has entries for
    pair.until("quiet", || true);
    assert_eq!(set_next_free(pair.master, &mut bufs[0]), OK);
    (3..16).for_each(|slot| corrupt(&pair, true, slot, LENGTH, 1u32));
    assert_eq!(alloc(pair.master, &mut bufs, 1, 256), (code(Code::NobufRing), 0));
    assert_eq!(alloc(pair.master, &mut bufs, 1, 1), (OK, 1));
}

#[test]
fn buffers_of_an_old_link_are_nothing_to_the_next() {
    let mut pair = small();
    let told = pair.told[1].ups();
    send(pair.slave, b"old");
    let (mut kept, mut old) = ([EMPTY; 1], [EMPTY; 2]);
    assert_eq!(rx(pair.master, &mut kept), (OK, 1));
    assert_eq!(alloc(pair.master, &mut old, 2, 64), (OK, 2));
    delete(&mut pair.slave);
    pair.until("end", || pair.told[0].downs() == 1);
    // it may still be read: a data thread learns of the end with its next call
    assert_eq!(bytes(&kept[0]), b"old");
    assert_eq!(tx(pair.master, &mut old), (code(Code::Disconnected), 0));
    assert_eq!(rx(pair.master, &mut kept), (code(Code::Disconnected), 0));
    let mut args = common::conn_args(pair.sockets[1], false);
    (args.log2_ring_size, args.buffer_size) = (4, 256);
    pair.slave = make_conn(&mut args, &pair.told[1]);
    pair.connect(told + 1);
    pair.refill_all();
    let mut new = [EMPTY; 2];
    assert_eq!(alloc(pair.master, &mut new, 2, 64), (OK, 2));
    assert_eq!(new[0].desc_index, old[0].desc_index, "the same slot");
    assert_eq!(tx(pair.master, &mut old), (code(Code::InvalArg), 0));
    assert_eq!(set_next_free(pair.master, &mut old[0]), code(Code::InvalArg));
    assert_eq!(tx(pair.master, &mut new), (OK, 2));
}

#[test]
fn buffers_in_use_are_still_there_after_a_delete() {
    let mut pair = small();
    send(pair.slave, b"still here");
    let mut bufs = [EMPTY; 1];
    assert_eq!(rx(pair.master, &mut bufs), (OK, 1));
    let stale = pair.master;
    delete(&mut pair.master);
    assert_eq!(bytes(&bufs[0]), b"still here");
    assert_eq!(rx(stale, &mut bufs), (code(Code::NoConn), 0));
    assert_eq!(alloc(stale, &mut bufs, 1, 64), (code(Code::NoConn), 0));
}

#[test]
fn interrupts_come_until_everything_is_received() {
    let pair = small();
    send(pair.slave, b"one");
    send(pair.slave, b"two");
    let told = &pair.told[0];
    pair.until("interrupt", || told.interrupts() > 0);
    let mut bufs = [EMPTY; 1];
    assert_eq!(rx(pair.master, &mut bufs), (code(Code::Nobuf), 1));
    let before = told.interrupts();
    pair.until("another", || told.interrupts() > before);
    assert_eq!(rx(pair.master, &mut bufs), (OK, 1));
    let before = told.interrupts();
    (0..5).for_each(|_| pair.turn());
    assert_eq!(told.interrupts(), before);

    assert_eq!(memif_set_rx_mode(pair.master, 1, 0), OK);
    send(pair.slave, b"unseen");
    (0..5).for_each(|_| pair.turn());
    assert_eq!(told.interrupts(), before, "whoever polls is not told");
    let (details, _text) = details(pair.master);
    // SAFETY: points to one queue's details in the text.
    assert_eq!(unsafe { *details.rx_queues }.flags, QUEUE_FLAG_POLLING);
    assert_eq!(memif_set_rx_mode(pair.master, 0, 0), OK);
    pair.until("what waits", || told.interrupts() > before);
    assert_eq!(rx(pair.master, &mut bufs), (OK, 1));
}

#[test]
fn queues_that_do_not_exist_are_refused() {
    let pair = small();
    let mut count = 77;
    for qid in [1, 254, 255, 256, u16::MAX] {
        let mut buf = EMPTY;
        // SAFETY: points to one buffer and a number.
        unsafe {
            let (buf, count) = (&raw mut buf, at(&mut count));
            assert_eq!(memif_rx_burst(pair.slave, qid, buf, 1, count), code(Code::Qid));
            assert_eq!(memif_tx_burst(pair.slave, qid, buf, 1, count), code(Code::Qid));
            assert_eq!(memif_buffer_alloc(pair.slave, qid, buf, 1, count, 64), code(Code::Qid));
            assert_eq!(memif_buffer_enq_tx(pair.slave, qid, buf, 1, count), code(Code::Qid));
        }
        assert_eq!(memif_set_next_free_buffer(pair.slave, qid, at(&mut buf)), code(Code::Qid));
        assert_eq!(memif_refill_queue(pair.slave, qid, 1, 0), code(Code::Qid));
        assert_eq!(count, 0);
    }
}

#[test]
fn no_pointer_is_followed_that_is_null() {
    let pair = small();
    let (mut buf, mut count) = (EMPTY, 0);
    let invalid = code(Code::InvalArg);
    // SAFETY: NULL, or to what it says.
    unsafe {
        assert_eq!(memif_rx_burst(pair.slave, 0, ptr::null_mut(), 1, at(&mut count)), invalid);
        assert_eq!(memif_rx_burst(pair.slave, 0, &raw mut buf, 1, None), invalid);
        assert_eq!(memif_rx_burst(pair.slave, 0, ptr::null_mut(), 0, at(&mut count)), OK);
        assert_eq!(memif_tx_burst(pair.slave, 0, ptr::null_mut(), 1, at(&mut count)), invalid);
        assert_eq!(memif_tx_burst(pair.slave, 0, &raw mut buf, 1, None), invalid);
        assert_eq!(memif_tx_burst(pair.slave, 0, ptr::null_mut(), 0, at(&mut count)), OK);
        assert_eq!(memif_buffer_alloc(pair.slave, 0, ptr::null_mut(), 1, at(&mut count), 64), invalid);
        assert_eq!(memif_buffer_alloc(pair.slave, 0, &raw mut buf, 1, None, 64), invalid);
        assert_eq!(memif_buffer_enq_tx(pair.slave, 0, ptr::null_mut(), 1, at(&mut count)), invalid);
        assert_eq!(memif_get_details(pair.slave, None, ptr::null_mut(), 0), invalid);
    }
    assert_eq!(memif_buffer_requeue(pair.slave, None, at(&mut buf)), invalid);
    assert_eq!(memif_buffer_requeue(pair.slave, at(&mut buf), None), invalid);
    assert_eq!(memif_set_next_free_buffer(pair.slave, 0, None), invalid);
    assert_eq!(memif_get_queue_efd(pair.slave, 0, None), invalid);
}

#[test]
fn a_receiver_that_polls_gives_slots_back_in_lots_and_forgets_none() {
    let pair = small();
    let mut bufs = [EMPTY; 16];
    for (from, to) in [(pair.slave, pair.master), (pair.master, pair.slave)] {
        assert_eq!(memif_set_rx_mode(to, 1, 0), OK);
        (0..16).for_each(|_| send(from, b"packet"));
        assert_eq!(rx(to, &mut bufs), (OK, 16));
        refill(to, 2);
        assert_eq!(alloc(from, &mut [EMPTY; 1], 1, 64), (code(Code::NobufRing), 0), "too few for a lot");
        refill(to, 3);
        assert_eq!(alloc(from, &mut [EMPTY; 16], 16, 64), (code(Code::NobufRing), 5));
        refill(to, 1);
        assert_eq!(rx(to, &mut bufs[15..]), (OK, 0));
        assert_eq!(alloc(from, &mut [EMPTY; 16], 16, 64), (code(Code::NobufRing), 1), "nothing else to do");
        refill(to, 2);
        assert_eq!(enq_tx(to, &mut bufs[7..8]), (code(Code::InvalArg), 0), "given back");
        refill(to, 1);
        assert_eq!(memif_set_rx_mode(to, 0, 0), OK);
        refill(to, 0);
        assert_eq!(alloc(from, &mut [EMPTY; 16], 16, 64), (code(Code::NobufRing), 3), "it may sleep now");
        refill(to, usize::from(u16::MAX));
    }
}
