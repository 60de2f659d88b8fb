//! Rings that are looked at step by step: what the tap reads is written between its looks.

use std::fs::File;
use std::os::unix::fs::FileExt;

use memif_ring::layout::{Desc, DescFlags, LineSize, RingHeader};
use zerocopy::IntoBytes;

use super::*;

const SIZE: u16 = 32;
const SHAPE: Shape = Shape { line: LineSize::Bytes64, log2_size: 5 };
const BUFFER: u32 = 64;
/// A test that stands still for shorter than this does not look late.
const GAP: Duration = Duration::from_secs(600);
/// Where the buffers of the observed ring begin.
const BUFFERS: u32 = 8192;

/// A ring that is observed, S2M or M2S, and behind it the M2S ring that tells how long buffers are.
struct Bench {
    file: File,
    tap: Tap,
    head: u16,
    tail: u16,
    /// Lengths of the packets that were shown.
    shown: Vec<u32>,
}

impl Bench {
    fn new(direction: Direction) -> Self {
        let file = tempfile::tempfile_in("/dev/shm").unwrap();
        file.set_len(1 << 16).unwrap();
        let region = Arc::new(ObservedRegion::map(&file).unwrap());
        let other = SHAPE.bytes();
        let (ring, posting) = match direction {
            Direction::S2m => (0, vec![other]),
            Direction::M2s => (0, vec![0]),
        };
        let tap = Tap {
            regions: vec![(0, region)],
            ring,
            shape: SHAPE,
            direction,
            bytes: 4096,
            elsewhere: false,
            next: 0,
            looked: Instant::now(),
            gap: GAP,
            batch: Batch::default(),
            posting,
            posted: 0,
            continued: u32::MAX,
            doubtful: false,
            proven: true,
            tally: Tally::default(),
        };
        let bench = Self { file, tap, head: 0, tail: 0, shown: Vec::new() };
        bench.publish_at(other, SIZE, 0);
        for slot in 0..SIZE {
            bench.desc_at(other, slot, BUFFER, false);
            bench.desc(slot, BUFFER, false);
        }
        bench
    }

    fn desc_at(&self, ring: usize, index: u16, length: u32, next: bool) {
        self.desc_in(0, ring, index, length, next);
    }

    fn desc_in(&self, region: u16, ring: usize, index: u16, length: u32, next: bool) {
        let slot = index % SIZE;
        let flags = DescFlags::next_if(next);
        let desc = Desc { flags, region, length, offset: BUFFERS + u32::from(slot) * BUFFER, metadata: 0 };
        let at = ring + SHAPE.line.header_size() + usize::from(slot) * size_of::<Desc>();
        self.file.write_all_at(desc.as_bytes(), at as u64).unwrap();
    }

    fn desc(&self, index: u16, length: u32, next: bool) {
        self.desc_at(0, index, length, next);
    }

    fn publish_at(&self, ring: usize, head: u16, tail: u16) {
        self.file.write_all_at(RingHeader { head, ..RingHeader::FRESH }.as_bytes(), ring as u64).unwrap();
        self.file.write_all_at(&tail.to_ne_bytes(), (ring + SHAPE.line.tail_offset()) as u64).unwrap();
    }

    /// Writes the indices, and looks. `late` is a look that comes after any number of laps.
    fn look(&mut self, late: bool) {
        self.publish_at(0, self.head, self.tail);
        self.tap.looked = if late { Instant::now() - 2 * GAP } else { Instant::now() };
        let shown = &mut self.shown;
        self.tap.look(|packet| shown.push(packet.length));
    }
}

/// Lengths of the pieces of a packet: those of all but the last are a buffer's.
const CHAIN: [u32; 4] = [BUFFER, BUFFER, BUFFER, 20];
const WHOLE: u32 = 3 * BUFFER + 20;

#[test]
fn a_chain_whose_marks_are_cleared_while_it_is_read_is_whole_or_missed() {
    // each set of marks that the tap can find: a receiver clears them in any order, and before it moves its index
    for cleared in 0..8u32 {
        let mut bench = Bench::new(Direction::S2m);
        for (index, length) in (0..).zip(CHAIN) {
            bench.desc(index, length, index < 3 && cleared & (1 << index) == 0);
        }
        bench.desc(4, 30, false);
        bench.desc(5, 31, false);
        bench.head = 6;
        bench.look(false);
        let expected = if cleared == 0 { vec![WHOLE, 30, 31] } else { vec![30, 31] };
        assert_eq!(bench.shown, expected, "cleared: {cleared:#b}");
        assert_eq!(bench.tap.tally().missed, if cleared == 0 { 0 } else { 4 });
    }
}

#[test]
fn a_chain_that_is_posted_again_while_it_is_read_is_whole_or_missed() {
    for posted in 0..16u32 {
        let mut bench = Bench::new(Direction::M2s);
        bench.head = SIZE;
        bench.look(false);
        for (index, length) in (0..).zip(CHAIN) {
            let again = posted & (1 << index) != 0;
            bench.desc(index, if again { BUFFER } else { length }, !again && index < 3);
        }
        for index in 4..8 {
            bench.desc(index, 30 + u32::from(index), false);
        }
        bench.tail = 8;
        bench.look(false);
        let expected: &[u32] = match posted {
            0 => &[WHOLE, 34, 35, 36, 37],
            1..8 => &[34, 35, 36, 37],
            // its end is no end any more
            _ => &[35, 36, 37],
        };
        assert_eq!(bench.shown, expected, "posted: {posted:#b}");
    }
}

#[test]
fn after_a_gap_the_rest_of_a_packet_is_no_packet() {
    for direction in [Direction::S2m, Direction::M2s] {
        for waiting in 1..4u16 {
            let mut bench = Bench::new(direction);
            (bench.head, bench.tail) = (SIZE, 0);
            if direction == Direction::S2m {
                bench.head = 0;
            }
            bench.look(false);
            // laps that nobody saw: a packet of four pieces lies across the slot that would be the next one
            let from = bench.tap.next;
            for (index, length) in (0..).zip(CHAIN) {
                bench.desc(from.wrapping_sub(waiting).wrapping_add(index), length, index < 3);
            }
            let end = from.wrapping_sub(waiting).wrapping_add(4);
            bench.desc(end, 30, false);
            match direction {
                Direction::S2m => bench.head = end.wrapping_add(1),
                Direction::M2s => (bench.tail, bench.head) = (end.wrapping_add(1), SIZE - 4),
            }
            bench.look(true);
            assert_eq!(bench.shown, [30], "{direction:?}: {waiting} pieces were before");
        }
    }
}

#[test]
fn a_slot_that_was_overwritten_shows_no_end() {
    let mut bench = Bench::new(Direction::M2s);
    (bench.head, bench.tail) = (SIZE + 9, 10);
    bench.look(false);
    bench.shown.clear();
    // after a gap: the rest of a packet, and in the slot before it an end that the master wrote a lap later
    for (posted, expected) in [(SIZE + 9, &[BUFFER + 20][..]), (SIZE + 10, &[])] {
        bench.tap.next = 10;
        bench.desc(9, 30, false);
        bench.desc(10, BUFFER, true);
        bench.desc(11, 20, false);
        (bench.head, bench.tail) = (posted, 12);
        bench.look(true);
        assert_eq!(bench.shown, expected, "posted up to {posted}");
        bench.shown.clear();
    }
}

#[test]
fn nothing_is_shown_before_it_is_known_how_long_buffers_are() {
    let mut bench = Bench::new(Direction::S2m);
    bench.publish_at(SHAPE.bytes(), 0, 0);
    bench.desc(0, 10, false);
    bench.desc(1, 11, false);
    bench.head = 2;
    bench.look(false);
    bench.publish_at(SHAPE.bytes(), SIZE, 0);
    bench.desc(2, 12, false);
    bench.head = 3;
    bench.look(false);
    assert_eq!(bench.shown, [12]);
}

#[test]
fn the_master_that_fills_posted_buffers_does_not_hide_how_long_they_are() {
    let mut bench = Bench::new(Direction::M2s);
    bench.head = SIZE;
    // all of the ring is filled, and not yet published
    (0..SIZE).for_each(|index| bench.desc(index, 8 + u32::from(index), false));
    bench.look(false);
    assert!(bench.tap.may_go_on(BUFFER));
    bench.tail = 4;
    // two are posted again, and not yet published
    (0..2).for_each(|index| bench.desc(index, BUFFER, false));
    bench.look(false);
    assert_eq!(bench.shown, [11], "and the one behind them is missed");
}

#[test]
fn a_sender_that_does_not_fill_its_buffers_is_not_believed() {
    let mut bench = Bench::new(Direction::S2m);
    bench.desc(0, 20, true);
    bench.desc(1, 9, false);
    bench.desc(2, 25, false);
    bench.desc(3, 10, false);
    bench.desc(4, 11, false);
    bench.head = 5;
    bench.look(false);
    assert_eq!(bench.shown, [29, 11], "that of 25 may be a piece, and that of 10 the rest");
}

#[test]
fn bytes_that_were_used_again_before_the_copy_are_not_shown() {
    for (offset, expected) in [(BUFFERS + BUFFER, 1), (BUFFERS + 4, 0)] {
        let bench = Bench::new(Direction::S2m);
        let memory = Arc::clone(bench.tap.memory().unwrap());
        // both packets were published before the copy, and the master has taken both
        let desc = Desc { length: 12, offset, ..Desc::default() };
        let slot = SHAPE.line.header_size() + size_of::<Desc>();
        bench.file.write_all_at(desc.as_bytes(), slot as u64).unwrap();
        bench.publish_at(0, 2, 2);
        let mut batch = Batch::default();
        batch.start(Duration::ZERO);
        batch.pieces.push(Piece { region: 0, start: BUFFERS as usize, end: BUFFERS as usize + 10 });
        batch.add((0, 0, 1), &bench.tap.regions, 100);
        let now = Instant::now();
        batch.copied(now, 2);
        let context = Context { memory: &memory, ring: 0, shape: SHAPE, head: 2, late: false };
        assert_eq!(batch.judge(&context, &bench.tap.regions, now + GAP), Verdict::Decided);
        assert_eq!(batch.items().iter().filter(|item| item.is_certain()).count(), expected);
    }
}

#[test]
fn what_a_zero_copy_slave_has_received_is_missed_and_it_is_known_why() {
    for (region, shown) in [(0, vec![30]), (1, vec![])] {
        let mut bench = Bench::new(Direction::M2s);
        let memory = Arc::clone(&bench.tap.regions[0].1);
        bench.tap.regions.push((1, memory));
        bench.head = SIZE;
        bench.look(false);
        assert!(!bench.tap.lies_elsewhere());
        bench.desc_in(region, 0, 0, 30, false);
        bench.tail = 1;
        bench.look(false);
        assert_eq!((&bench.shown, bench.tap.lies_elsewhere()), (&shown, region == 1));
        assert_eq!(bench.tap.tally().missed, u64::from(region == 1));
    }
}
