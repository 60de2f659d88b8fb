//! The data path of 4.0, called as C calls it: also with buffers that are not what they say.
#![allow(unsafe_code)] // calls what is exported to C
#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_truncation, reason = "tests")]

mod common;

use std::ptr;

use common::{EMPTY, OK, Pair, alloc, bytes, code, fill, rx, send, tx};
use memif::abi::{BUFFER_FLAG_NEXT, Buffer, Handle};
use memif::code::Code;
use memif::v4::*;

/// Rings of 16 and buffers of 256 bytes.
fn small() -> Pair {
    Pair::with(|args| (args.log2_ring_size, args.buffer_size) = (4, 256))
}

fn refill(conn: Handle, count: usize) {
    assert_eq!(memif_refill_queue(conn, 0, u16::try_from(count).unwrap(), 0), OK);
}

#[test]
fn packets_arrive_in_order_past_the_wrap_of_the_indices() {
    let pair = small();
    pair.refill_all();
    for (from, to) in [(pair.slave, pair.master), (pair.master, pair.slave)] {
        let (mut sent, mut received) = (0u32, 0u32);
        while received < 150_000 {
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
