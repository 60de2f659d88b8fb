//! Packets that lie one behind the other.

use std::ops::Range;

use crate::tuning::{burst_gap, spread_up_to};

use super::*;

/// What is in flight: the bytes of each slot, in the order in which they were sent.
#[derive(Default)]
struct InFlight(VecDeque<Range<u32>>);

impl InFlight {
    /// The sender, whose index was `head` before, knows of as many as it has looked for.
    fn known(&mut self, slave: &HeadSender<MockRing<'_>, HeapTable>, head: u16) {
        let known = slave.position().wrapping_sub(slave.known_tail()) as usize;
        let new = slave.position().wrapping_sub(head) as usize;
        while self.0.len() > known - new {
            self.0.pop_front();
        }
    }

    /// The slots `from..to` were filled. Their bytes must be in the area and in no other packet.
    fn sent(&mut self, shared: &MockRegion, from: u16, to: u16) {
        let (start, stride) = shared.geometry();
        let end = start + stride * u32::from(shared.ring().size());
        let mut index = from;
        while index != to {
            let desc = shared.desc(index);
            let bytes = desc.offset..desc.offset + desc.length;
            assert!(desc.length > 0 && desc.region == 0);
            assert!(start <= bytes.start && bytes.end <= end, "{bytes:?} is not in {start}..{end}");
            assert_eq!((bytes.start - start) % PACKET_ALIGN, 0);
            for other in &self.0 {
                assert!(bytes.end <= other.start || other.end <= bytes.start, "{bytes:?} and {other:?}");
            }
            self.0.push_back(bytes);
            index = index.wrapping_add(1);
        }
    }
}

/// Reserves up to `count` buffers of `bytes` bytes, and commits those for which there is a length.
fn reserve(
    slave: &mut HeadSender<MockRing<'_>, HeapTable>,
    shared: &MockRegion,
    (bytes, count): (u32, u16),
    lengths: &[u32],
) -> Result<u16, PeerFault> {
    slave.reservable(count.into())?;
    let least = bytes.min(slave.buffers().capacity());
    let mut reserved = 0;
    while reserved < count
        && let Some(found) = slave.reserve(shared.regions(), reserved, bytes as usize)
    {
        assert!(found.unwrap().span.len() >= least as usize);
        reserved += 1;
    }
    let filled = reserved.min(lengths.len() as u16);
    for (ahead, length) in (0..filled).zip(lengths) {
        slave.complete(ahead, LAST, 0, *length);
    }
    slave.commit(filled);
    Ok(filled)
}

#[derive(Clone, Debug)]
enum Step {
    Send(Vec<usize>),
    /// Reserves buffers: the bytes of each, their number, and the lengths to which those that are committed are filled.
    Reserve(u32, u16, Vec<u32>),
    /// The master gives back so many slots of those in flight, or of as many as there are.
    Take(u16),
    /// The master writes this as its index.
    Jump(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => proptest::collection::vec(prop_oneof![1usize..70, 1usize..700], 1..20).prop_map(Step::Send),
        4 => (1u32..400, 0u16..20, proptest::collection::vec(1u32..400, 0..20))
            .prop_map(|(bytes, count, lengths)| Step::Reserve(bytes, count, lengths)),
        3 => (0u16..24).prop_map(Step::Take),
        1 => any::<u16>().prop_map(Step::Jump),
    ]
}

proptest! {
    #[test]
    fn no_two_packets_in_flight_overlap_whatever_the_master_publishes(
        steps in proptest::collection::vec(step(), 1..200),
        log2_size in 1u8..6,
        capacity in 1u32..300,
        wound: bool,
    ) {
        let shared = region(log2_size, capacity);
        let mut link = Packed::over(&shared);
        if wound {
            while link.0.slave.position() < u16::MAX - 40 {
                link.send(&shared, &[b"x"]).unwrap();
                shared.set_tail(link.0.slave.position());
            }
        }
        let mut tail = link.0.slave.position();
        let mut flying = InFlight::default();
        for step in steps {
            let head = link.0.slave.position();
            match step {
                Step::Take(slots) => tail = tail.wrapping_add(slots.min(head.wrapping_sub(tail))),
                Step::Jump(to) => tail = to,
                Step::Reserve(bytes, count, lengths) => {
                    if reserve(&mut link.0.slave, &shared, (bytes, count), &lengths).is_err() {
                        prop_assert!(head.wrapping_sub(tail) as usize > flying.0.len());
                        return Ok(());
                    }
                    flying.known(&link.0.slave, head);
                    flying.sent(&shared, head, link.0.slave.position());
                }
                Step::Send(sizes) => {
                    let packets: Vec<_> = sizes.iter().map(|len| packet(*len, *len)).collect();
                    let slices: Vec<_> = packets.iter().map(Vec::as_slice).collect();
                    if link.send(&shared, &slices).is_err() {
                        prop_assert!(head.wrapping_sub(tail) as usize > flying.0.len());
                        return Ok(());
                    }
                    flying.known(&link.0.slave, head);
                    flying.sent(&shared, head, link.0.slave.position());
                }
            }
            shared.set_tail(tail);
        }
    }
}

#[test]
fn packets_lie_one_behind_the_other() {
    let shared = region(3, 2048);
    let mut link = Packed::over(&shared);
    let (small, large) = (packet(0, 60), packet(1, 65));
    assert_eq!(link.send(&shared, &[&small, &large, &small]), Ok(3));
    let offsets: Vec<_> = (0..3).map(|index| shared.desc(index).offset - shared.geometry().0).collect();
    let gap = if spread_up_to() >= 65 { 64 } else { 0 };
    assert_eq!(offsets, [0, 64 + gap, 192 + 2 * gap]);
}

#[test]
fn reserved_buffers_lie_as_close_as_they_are_long() {
    let shared = region(3, 2048);
    let mut link = Packed::over(&shared);
    assert_eq!(reserve(&mut link.0.slave, &shared, (1000, 3), &[10, 1000, 700]), Ok(3));
    assert_eq!(reserve(&mut link.0.slave, &shared, (9000, 2), &[2048, 64]), Ok(2));
    assert!(link.0.slave.is_packed());
    let bytes: Vec<_> = (0..5).map(|index| shared.desc(index)).collect();
    let offsets: Vec<_> = bytes.iter().map(|desc| desc.offset - shared.geometry().0).collect();
    // behind the last of a reservation there is no more than it has used
    let gap = u32::from(burst_gap());
    assert_eq!(offsets, [0, 1024, 2048, 2752 + gap, 4800 + gap]);
    assert_eq!(bytes.iter().map(|desc| desc.length).collect::<Vec<_>>(), [10, 1000, 700, 2048, 64]);
}

#[test]
fn of_a_reservation_that_is_sent_in_part_the_rest_is_free_again() {
    let shared = region(3, 2048);
    let mut link = Packed::over(&shared);
    assert_eq!(reserve(&mut link.0.slave, &shared, (640, 4), &[640, 640]), Ok(2));
    assert_eq!(reserve(&mut link.0.slave, &shared, (640, 4), &[]), Ok(0), "given up");
    assert_eq!(link.send(&shared, &[&packet(0, 500)]), Ok(1));
    let offsets: Vec<_> = (0..3).map(|index| shared.desc(index).offset - shared.geometry().0).collect();
    assert_eq!(offsets, [0, 640, 1280 + u32::from(burst_gap())]);
    link.0.slave.complete(0, LAST, 0, 5);
    link.0.slave.commit(1);
    assert_eq!(shared.ring().head(), 3, "nothing is reserved");
}

#[test]
fn a_reservation_without_bytes_finds_them_when_the_master_has_taken_packets() {
    let shared = region(3, 256);
    let mut link = Packed::over(&shared);
    for round in 0..30 {
        assert_eq!(reserve(&mut link.0.slave, &shared, (10, 1), &[10]), Ok(1), "round {round}");
        let filled = reserve(&mut link.0.slave, &shared, (256, 7), &[256; 7]);
        assert!(filled.is_ok_and(|filled| filled >= 6), "round {round}: {filled:?}");
        link.receive(&shared, &mut Inbox::new(8)).unwrap();
        link.0.master.flush();
    }
}

#[test]
fn a_packet_of_all_bytes_fits_when_nothing_is_in_flight() {
    let shared = region(3, 256);
    let mut link = Packed::over(&shared);
    let (small, large) = (packet(0, 10), packet(1, 8 * 256));
    for round in 0..20 {
        assert_eq!(link.send(&shared, &[&small]), Ok(1), "round {round}");
        link.receive(&shared, &mut Inbox::new(8)).unwrap();
        link.0.master.flush();
        assert_eq!(link.send(&shared, &[&large]), Ok(1), "round {round}");
        // as after a burst that did not fit
        link.0.slave.short = round % 2 == 0;
        link.receive(&shared, &mut Inbox::new(8)).unwrap();
        link.0.master.flush();
    }
}

#[test]
fn a_burst_that_finds_too_few_bytes_looks_for_more() {
    let shared = region(3, 256);
    let mut link = Packed::over(&shared);
    let (small, large) = (packet(0, 10), packet(1, 256));
    for _ in 0..50 {
        assert_eq!(link.send(&shared, &[&large[..], &large, &large]), Ok(3));
        link.receive(&shared, &mut Inbox::new(8)).unwrap();
        link.0.master.flush();
        assert_eq!(link.send(&shared, &[&small[..], &large, &large, &large, &large]), Ok(5));
        link.receive(&shared, &mut Inbox::new(8)).unwrap();
        link.0.master.flush();
    }
}

#[test]
fn a_ring_takes_as_many_whole_buffers_as_it_has_slots() {
    for capacity in [64, 100, 2048] {
        let shared = region(4, capacity);
        let mut link = Packed::over(&shared);
        let full = packet(0, capacity as usize);
        assert_eq!(link.send(&shared, &[&full[..]; 20]), Ok(16));
        assert_eq!(link.send(&shared, &[&full]), Ok(0));
        link.receive(&shared, &mut Inbox::new(20)).unwrap();
        link.0.master.flush();
        assert_eq!(link.send(&shared, &[&full[..]; 16]), Ok(16));
    }
}

#[test]
fn use_in_place_waits_until_the_master_has_taken_what_is_packed() {
    let shared = region(3, 64);
    let mut link = Packed::over(&shared);
    let small = packet(0, 10);
    assert_eq!(link.send(&shared, &[&small, &small]), Ok(2));
    assert_eq!(link.0.slave.free(4), Ok(0));
    assert!(link.0.slave.buffer(shared.regions(), 0).is_none());
    assert!(!link.0.slave.swap_buffers(0, 1));
    link.0.slave.complete(0, LAST, 0, 5);
    link.0.slave.commit(1);
    assert_eq!((shared.ring().head(), link.0.slave.known_free()), (2, 0));
    assert_eq!(link.send(&shared, &[&small]), Ok(0), "nothing is sent before");
    let mut inbox = Inbox::new(8);
    link.receive(&shared, &mut inbox).unwrap();
    link.0.master.flush();
    assert_eq!(link.0.slave.free(8), Ok(8));
    for ahead in 0..8 {
        let found = link.0.slave.buffer(shared.regions(), ahead).unwrap().unwrap();
        let slot = u32::from((2 + ahead) % 8);
        assert_eq!((found.desc.offset, found.desc.length), (shared.geometry().0 + 64 * slot, 64));
    }
    assert_eq!(link.send(&shared, &[&small]), Ok(1));
    link.receive(&shared, &mut inbox).unwrap();
    assert_eq!(inbox.packets, [small.clone(), small.clone(), small]);
}

#[test]
fn an_area_outside_of_its_region_drops_packets_and_uses_no_slot() {
    let shared = region(3, 64);
    let mut slave = HeadSender::new(shared.ring(), shared.packed_buffers_in(shared.len() as u32));
    let mut tally = Tally::default();
    let small = packet(0, 10);
    assert_eq!(slave.send(shared.regions(), &[&small[..], &small][..], &mut tally), Ok(2));
    assert_eq!((tally.dropped_for(DropReason::OutOfRegion), shared.ring().head()), (2, 0));
}
