//! A slave that forwards packets between two masters without copying them.

extern crate std;
use std::{collections::VecDeque, vec, vec::Vec};

use proptest::prelude::*;

use super::LINE;
use crate::buffer_swap::{Forwarded, forward, swap_buffers};
use crate::buffers::BufferAddr;
use crate::burst::{PacketSink, Tally};
use crate::end::{Receiver, Sender};
use crate::fault::{DropReason, PeerFault};
use crate::head_side::{HeadReceiver, HeadSender};
use crate::layout::{Desc, DescFlags};
use crate::mock::{HeapTable, MockRegion, MockRing};
use crate::shm::RingMemory;
use crate::tail_side::{TailReceiver, TailSender};

const CAPACITY: u32 = 128;

#[derive(Default)]
struct Inbox(Vec<Vec<u8>>);

impl PacketSink for Inbox {
    fn push(&mut self, len: usize) -> Option<&mut [u8]> {
        self.0.push(vec![0; len]);
        self.0.last_mut().map(Vec::as_mut_slice)
    }
    fn room(&self) -> usize {
        usize::MAX
    }
}

/// A sending master on the left, a receiving one on the right, and all buffers in the left one's region.
struct Crossing<'a> {
    left: &'a MockRegion,
    right: &'a MockRegion,
    source: TailSender<MockRing<'a>>,
    from: HeadReceiver<MockRing<'a>, HeapTable>,
    to: HeadSender<MockRing<'a>, HeapTable>,
    target: TailReceiver<MockRing<'a>>,
    received: Tally,
    sent: Tally,
    places: Vec<(u16, u32)>,
}

/// The memory of both links.
struct Regions {
    left: MockRegion,
    right: MockRegion,
}

impl Regions {
    /// Rings of these sizes; the right one is not the larger.
    fn new(log2_left: u8, log2_right: u8) -> Self {
        let left = MockRegion::laid_out(LINE, 2, log2_left, CAPACITY, CAPACITY);
        Self { left, right: MockRegion::laid_out(LINE, 1, log2_right, CAPACITY, CAPACITY) }
    }
}

impl<'a> Crossing<'a> {
    fn new(regions: &'a Regions) -> Self {
        let mut crossing = Self::unposted(regions);
        crossing.from.flush();
        crossing
    }

    fn unposted(Regions { left, right }: &'a Regions) -> Self {
        let from = HeadReceiver::new(left.ring(), left.buffers_of(0));
        let to = HeadSender::new(right.ring(), left.buffers_of(1));
        let (source, target) = (TailSender::new(left.ring()), TailReceiver::new(right.ring()));
        let (received, sent) = Default::default();
        let mut crossing = Self { left, right, source, from, to, target, received, sent, places: Vec::new() };
        crossing.places = crossing.all_addresses();
        crossing
    }

    /// Every buffer of both tables, sorted.
    fn all_addresses(&self) -> Vec<(u16, u32)> {
        let (from, to) = (self.from.buffers().table(), self.to.buffers().table());
        let mut places: Vec<_> =
            from.iter().chain(to).map(|place| (place.region(), place.offset())).collect();
        places.sort_unstable();
        places
    }

    fn forward(&mut self, max: usize) -> Result<Forwarded, PeerFault> {
        self.from.ready(max)?;
        self.to.room(max)?;
        let regions = self.left.regions();
        let done = forward(&mut self.from, &mut self.to, regions, max, &mut self.received, &mut self.sent);
        assert_eq!(self.all_addresses(), self.places, "each buffer is in one place");
        Ok(done)
    }

    fn send(&mut self, packets: &[Vec<u8>]) -> usize {
        let packets: Vec<_> = packets.iter().map(Vec::as_slice).collect();
        self.source.send(self.left.regions(), &packets[..], &mut Tally::default()).unwrap()
    }

    /// The target reads its descriptors' places in the left one's region.
    fn take(&mut self) -> Vec<Vec<u8>> {
        let mut inbox = Inbox::default();
        let (regions, mut tally) = (self.left.regions(), Tally::default());
        while self.target.receive(regions, &mut inbox, &mut tally).unwrap() > 0 {}
        assert_eq!(tally.dropped(), 0);
        inbox.0
    }
}

fn packet(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| (seed * 31 + i * 7) as u8).collect()
}

/// Packets of all sizes, in bursts of `burst`, until `packets` have arrived.
fn carry(log2_left: u8, log2_right: u8, sizes: &[usize], burst: usize, packets: usize) {
    let regions = Regions::new(log2_left, log2_right);
    let mut crossing = Crossing::new(&regions);
    let mut on_their_way = VecDeque::new();
    let (mut sent, mut arrived, mut turns) = (0, 0, 0);
    while arrived < packets {
        let next: Vec<_> =
            (sent..packets.min(sent + burst)).map(|n| packet(n, sizes[n % sizes.len()])).collect();
        let done = crossing.send(&next);
        on_their_way.extend(next.into_iter().take(done));
        sent += done;
        crossing.forward(burst).unwrap();
        for got in crossing.take() {
            assert_eq!(Some(got), on_their_way.pop_front(), "packet {arrived}");
            arrived += 1;
        }
        turns += 1;
        assert!(turns < 10 * packets, "stuck at {arrived}");
    }
    assert_eq!(crossing.received.packets, packets as u64);
    assert_eq!(crossing.received, crossing.sent);
}

#[test]
fn packets_cross_whole_and_in_order() {
    for (left, right) in [(1, 1), (3, 3), (4, 3), (6, 2), (8, 8)] {
        for burst in [1, 2, 7, 32, 64] {
            carry(left, right, &[1, 64, 17, 128], burst, 500);
        }
    }
}

#[test]
fn chains_cross_whole_and_indices_wrap() {
    for burst in [1, 5, 64] {
        carry(5, 5, &[60, 128, 129, 1000, 256, 3], burst, 400);
    }
    carry(3, 2, &[60, 500, 64, 200], 8, 40_000);
}

#[test]
fn forwarded_bytes_are_not_copied() {
    let regions = Regions::new(3, 3);
    let mut crossing = Crossing::new(&regions);
    let posted: Vec<_> = (0..3).map(|index| crossing.left.desc(index).offset).collect();
    let spare: Vec<_> = crossing.to.buffers().table().iter().take(3).map(BufferAddr::offset).collect();
    crossing.send(&[packet(0, 60), packet(1, 200)]);
    assert_eq!(crossing.forward(64), Ok(Forwarded { packets: 2, consumed: 3, full: false }));
    let sent: Vec<_> = (0..3).map(|index| crossing.right.desc(index)).collect();
    assert_eq!(sent.iter().map(|desc| desc.offset).collect::<Vec<_>>(), posted);
    assert_eq!(
        sent.iter().map(|desc| (desc.flags, desc.length)).collect::<Vec<_>>(),
        [(DescFlags::empty(), 60), (DescFlags::NEXT, 128), (DescFlags::empty(), 72)]
    );
    // what was free there is posted here
    let again: Vec<_> = (8..11).map(|index| crossing.left.desc(index).offset).collect();
    assert_eq!((crossing.left.ring().head(), again), (11, spare));
}

#[test]
fn packets_that_do_not_fit_stay_in_the_receiving_ring() {
    let regions = Regions::new(4, 2);
    let mut crossing = Crossing::new(&regions);
    let packets: Vec<_> = (0..6).map(|n| packet(n, 60)).collect();
    crossing.send(&packets);
    assert_eq!(crossing.forward(64), Ok(Forwarded { packets: 4, consumed: 4, full: true }));
    assert_eq!(crossing.forward(64), Ok(Forwarded { packets: 0, consumed: 0, full: true }));
    assert_eq!(crossing.take(), packets[..4]);
    assert_eq!(crossing.forward(1), Ok(Forwarded { packets: 1, consumed: 1, full: false }));
    assert_eq!(crossing.forward(64), Ok(Forwarded { packets: 1, consumed: 1, full: false }));
    assert_eq!(crossing.take(), packets[4..]);
}

#[test]
fn a_chain_waits_until_all_of_it_fits_and_is_dropped_when_it_never_can() {
    let regions = Regions::new(4, 2);
    let mut crossing = Crossing::new(&regions);
    crossing.send(&[packet(0, 60), packet(1, 512), packet(2, 513), packet(3, 60)]);
    assert_eq!(crossing.forward(64), Ok(Forwarded { packets: 1, consumed: 1, full: true }));
    crossing.take();
    // the sender's count of free slots is stale: a burst that did not fit looks again
    assert_eq!(crossing.forward(1).map(|done| done.packets), Ok(1));
    assert_eq!(crossing.take(), [packet(1, 512)]);
    assert_eq!(crossing.forward(64), Ok(Forwarded { packets: 1, consumed: 6, full: false }));
    assert_eq!(crossing.sent.dropped_for(DropReason::TooLarge), 1);
    assert_eq!(crossing.received.packets, 4);
    assert_eq!(crossing.take(), [packet(3, 60)]);
}

#[test]
fn forward_drops_what_receive_drops() {
    let good = |crossing: &Crossing<'_>, index| Desc { length: 60, ..crossing.left.desc(index) };
    let cases: [(&dyn Fn(Desc) -> Desc, DropReason); 6] = [
        (&|desc| Desc { offset: desc.offset + 1, ..desc }, DropReason::BufferChanged),
        (&|desc| Desc { region: 3, ..desc }, DropReason::BufferChanged),
        (&|desc| Desc { length: CAPACITY + 1, ..desc }, DropReason::OutOfRegion),
        (&|desc| Desc { length: u32::MAX, ..desc }, DropReason::OutOfRegion),
        (&|desc| Desc { length: 0, ..desc }, DropReason::Empty),
        (&|desc| Desc { flags: DescFlags::NEXT, offset: 0, ..desc }, DropReason::BufferChanged),
    ];
    for (spoil, reason) in cases {
        let regions = Regions::new(3, 3);
        let mut crossing = Crossing::new(&regions);
        for index in 0..4 {
            crossing.left.set_desc(index, good(&crossing, index));
        }
        crossing.left.set_desc(1, spoil(good(&crossing, 1)));
        crossing.left.set_tail(4);
        let lost = if spoil(Desc::default()).has_next() { 2 } else { 1 };
        let want = Forwarded { packets: 4 - lost, consumed: 4, full: false };
        assert_eq!(crossing.forward(64), Ok(want), "{reason}");
        assert_eq!(crossing.received.dropped_for(reason), 1, "{reason}");
        assert_eq!(crossing.received.dropped(), 1, "{reason}");
        assert_eq!(crossing.take().len(), 4 - lost);
    }
}

#[test]
fn a_chain_without_end_is_dropped() {
    let regions = Regions::new(3, 3);
    let mut crossing = Crossing::new(&regions);
    for index in 0..8 {
        let desc = crossing.left.desc(index);
        crossing.left.set_desc(index, Desc { flags: DescFlags::NEXT, length: 1, ..desc });
    }
    crossing.left.set_tail(8);
    assert_eq!(crossing.forward(64), Ok(Forwarded { packets: 0, consumed: 8, full: false }));
    assert_eq!(crossing.received.dropped_for(DropReason::ChainBroken), 1);
    assert_eq!(crossing.right.ring().head(), 0);
}

#[test]
fn tables_that_do_not_match_exchange_nothing() {
    let regions = Regions::new(3, 3);
    let mut crossing = Crossing::new(&regions);
    crossing.send(&[packet(0, 60)]);
    let (regions, mut tally) = (crossing.left.regions(), Tally::default());
    let short = crossing.left.buffers_at([BufferAddr::new(0, 4096); 7], CAPACITY);
    let mut to = HeadSender::new(crossing.right.ring(), short);
    let mut sent = Tally::default();
    crossing.from.ready(64).unwrap();
    let done = forward(&mut crossing.from, &mut to, regions, 64, &mut tally, &mut sent);
    assert_eq!(done, Forwarded::default());
    let smaller = crossing.left.buffers_at([BufferAddr::new(0, 4096); 8], CAPACITY - 1);
    let mut to = HeadSender::new(crossing.right.ring(), smaller);
    let done = forward(&mut crossing.from, &mut to, regions, 64, &mut tally, &mut sent);
    assert_eq!((done, tally, sent), (Forwarded::default(), Tally::default(), Tally::default()));
    assert!(!swap_buffers(&mut crossing.from, 0, &mut to, 0));
}

#[test]
fn descriptors_without_bytes_are_not_forwarded() {
    // the lengths of each packet's pieces, and those that arrive
    for (lengths, want) in [
        (&[60, 0, 40][..], &[60, 40][..]),
        (&[0, 60], &[60]),
        (&[60, 0], &[60]),
        (&[0, 0, 128, 0, 128, 0], &[128, 128]),
        (&[0, 0, 0], &[]),
        (&[0; 8], &[]),
    ] {
        let regions = Regions::new(3, 3);
        let mut crossing = Crossing::new(&regions);
        let last = lengths.len() - 1;
        for (slot, length) in lengths.iter().enumerate() {
            let slot = slot as u16;
            let flags = DescFlags::next_if(usize::from(slot) < last);
            crossing.left.set_desc(slot, Desc { flags, length: *length, ..crossing.left.desc(slot) });
        }
        crossing.left.ring().publish_tail(lengths.len() as u16);
        let done = crossing.forward(64).unwrap();
        assert_eq!((done.packets, done.consumed), (usize::from(!want.is_empty()), lengths.len() as u16));
        assert_eq!(crossing.right.ring().head(), want.len() as u16, "{lengths:?}");
        let arrived: Vec<_> = (0..want.len() as u16).map(|slot| crossing.right.desc(slot)).collect();
        assert_eq!(arrived.iter().map(|desc| desc.length).collect::<Vec<_>>(), want);
        let goes_on = arrived.iter().map(crate::layout::Desc::has_next).collect::<Vec<_>>();
        assert_eq!(goes_on, (0..want.len()).map(|piece| piece + 1 < want.len()).collect::<Vec<_>>());
        assert_eq!(crossing.received.dropped_for(DropReason::Empty), u64::from(want.is_empty()));
        // an idle round posts them again
        crossing.forward(64).unwrap();
        assert_eq!(crossing.left.ring().head(), 8 + lengths.len() as u16);
    }
}

#[test]
fn posted_buffers_begin_behind_their_headroom() {
    let regions = Regions::new(3, 3);
    let mut crossing = Crossing::unposted(&regions);
    let base = crossing.from.buffers().table()[0].offset();
    assert_eq!(crossing.from.post(2, 28), 2);
    assert_eq!((crossing.left.desc(0).offset, crossing.left.desc(0).length), (base + 28, CAPACITY - 28));
    assert_eq!(crossing.left.ring().head(), 2);
    assert_eq!(crossing.send(&[packet(0, 100), packet(1, 40), packet(2, 40)]), 2);
    assert_eq!(crossing.forward(1).map(|done| done.packets), Ok(1));
    assert_eq!(crossing.right.desc(0).offset, base + 28);
    assert_eq!(crossing.take(), [packet(0, 100)]);
    // a master that reports bytes in the headroom, or past the end, is detected
    crossing.left.set_desc(1, Desc { offset: base + CAPACITY, ..crossing.left.desc(1) });
    crossing.forward(1).unwrap();
    assert_eq!(crossing.received.dropped_for(DropReason::BufferChanged), 1);
    crossing.from = HeadReceiver::new(crossing.left.ring(), crossing.left.buffers_of(0));
    assert_eq!(crossing.from.post(8, u16::MAX), 8);
    assert_eq!(crossing.left.desc(7).length, 0);
}

#[test]
fn explicit_posting_posts_only_on_request() {
    let regions = Regions::new(3, 3);
    let mut crossing = Crossing::unposted(&regions);
    let from = HeadReceiver::new(crossing.left.ring(), crossing.left.buffers_of(0));
    crossing.from = from.with_explicit_posting();
    assert_eq!(crossing.from.post(6, 0), 6);
    let packets: Vec<_> = (0..6).map(|n| packet(n, 60)).collect();
    assert_eq!(crossing.send(&packets), 6);
    let (mut inbox, mut tally) = (Inbox::default(), Tally::default());
    for _ in 0..3 {
        crossing.from.receive(crossing.left.regions(), &mut inbox, &mut tally).unwrap();
    }
    assert_eq!((inbox.0.len(), crossing.left.ring().head(), crossing.from.held()), (6, 6, 8));
    assert_eq!(crossing.from.post(3, 0), 3);
    assert_eq!((crossing.left.ring().head(), crossing.from.held()), (9, 5));
    assert_eq!(crossing.send(&packets), 3);
    crossing.forward(64).unwrap();
    assert_eq!(crossing.left.ring().head(), 9);
    assert_eq!(crossing.from.post(u16::MAX, 0), 8);
}

#[test]
fn explicit_return_gives_back_only_on_request() {
    let shared = MockRegion::laid_out(LINE, 1, 3, CAPACITY, CAPACITY);
    let mut slave = HeadSender::new(shared.ring(), shared.buffers());
    let mut master = TailReceiver::new(shared.ring()).with_explicit_return();
    let (mut inbox, mut tally) = (Inbox::default(), Tally::default());
    let eight: [&[u8]; 8] = [b"packet"; 8];
    assert_eq!(slave.send(shared.regions(), &eight[..], &mut tally), Ok(8));
    for _ in 0..3 {
        master.receive(shared.regions(), &mut inbox, &mut tally).unwrap();
    }
    assert_eq!((inbox.0.len(), shared.ring().tail(), master.held()), (8, 0, 8));
    assert_eq!((master.post(3, 0), shared.ring().tail()), (3, 3));
    assert_eq!((master.post(9, 0), shared.ring().tail(), master.held()), (5, 8, 0));
}

#[test]
fn only_held_slots_exchange_buffers() {
    let regions = Regions::new(3, 3);
    let mut crossing = Crossing::new(&regions);
    let offsets = |table: &HeapTable| table.iter().map(BufferAddr::offset).collect::<Vec<_>>();
    let before = (offsets(crossing.from.buffers().table()), offsets(crossing.to.buffers().table()));
    assert_eq!(crossing.to.free(8), Ok(8));
    assert!(!crossing.from.swap_buffers(0, 1), "all are posted");
    assert!(!swap_buffers(&mut crossing.from, 0, &mut crossing.to, 0));
    assert!(crossing.to.swap_buffers(2, 7) && !crossing.to.swap_buffers(2, 8));
    crossing.send(&[packet(0, 60), packet(1, 60)]);
    crossing.from.ready(2).unwrap();
    crossing.from.release(2);
    assert!(crossing.from.swap_buffers(0, 1) && !crossing.from.swap_buffers(0, 2));
    assert!(swap_buffers(&mut crossing.from, 0, &mut crossing.to, 3));
    assert!(!swap_buffers(&mut crossing.from, 0, &mut crossing.to, 8));
    assert_eq!(crossing.all_addresses(), crossing.places);
    let after = (offsets(crossing.from.buffers().table()), offsets(crossing.to.buffers().table()));
    assert_eq!((after.0[1], after.0[0], after.1[3]), (before.0[0], before.1[3], before.0[1]));
    assert_eq!((after.1[2], after.1[7]), (before.1[7], before.1[2]));
}

#[test]
fn packets_may_begin_within_their_buffer() {
    let regions = Regions::new(3, 3);
    let mut crossing = Crossing::new(&regions);
    crossing.to.free(8).unwrap();
    let base = crossing.to.buffers().table()[0].offset();
    for (start, length, want) in
        [(0, 60, (0, 60)), (28, 100, (28, 100)), (29, 100, (29, 99)), (500, 9, (128, 0))]
    {
        crossing.to.complete(0, DescFlags::empty(), start, length);
        let desc = crossing.right.desc(0);
        assert_eq!((desc.offset - base, desc.length), want);
    }
}

/// What may happen at a crossing.
#[derive(Clone, Debug)]
enum Act {
    Send(Vec<u16>),
    Forward(usize),
    Take,
    Post(u16, u16),
    Swap(u16, u16),
    SpoilLeft(u16, Desc),
    SpoilRight(u16, Desc),
    MoveLeft(u16),
    MoveRight(u16),
}

fn any_act() -> impl Strategy<Value = Act> {
    let desc = || {
        (0u16..2, 0u16..3, 0u32..300, 0u32..8192).prop_map(|(flags, region, length, offset)| Desc {
            flags: DescFlags::from_bits_retain(flags),
            region,
            length,
            offset,
            metadata: 0,
        })
    };
    prop_oneof![
        4 => proptest::collection::vec(1u16..600, 1..8).prop_map(Act::Send),
        4 => (0usize..20).prop_map(Act::Forward),
        2 => Just(Act::Take),
        2 => (0u16..20, 0u16..140).prop_map(|(slots, headroom)| Act::Post(slots, headroom)),
        1 => (0u16..9, 0u16..9).prop_map(|(one, other)| Act::Swap(one, other)),
        1 => (0u16..16, desc()).prop_map(|(index, desc)| Act::SpoilLeft(index, desc)),
        1 => (0u16..16, desc()).prop_map(|(index, desc)| Act::SpoilRight(index, desc)),
        1 => (0u16..12).prop_map(Act::MoveLeft),
        1 => (0u16..12).prop_map(Act::MoveRight),
    ]
}

impl Crossing<'_> {
    /// False once a peer has lost its link.
    fn act(&mut self, act: Act) -> bool {
        match act {
            Act::Send(lengths) => {
                let packets: Vec<_> = lengths.iter().map(|len| packet(0, (*len).into())).collect();
                let packets: Vec<_> = packets.iter().map(Vec::as_slice).collect();
                // a hostile master: its own side may find our ring odd after what it did to it
                let _ = self.source.send(self.left.regions(), &packets[..], &mut Tally::default());
            }
            Act::Forward(max) => return self.forward(max).is_ok(),
            Act::Take => {
                let _ =
                    self.target.receive(self.left.regions(), &mut Inbox::default(), &mut Tally::default());
            }
            Act::Post(slots, headroom) => {
                self.from.post(slots, headroom);
            }
            Act::Swap(one, other) => {
                self.from.swap_buffers(one, other);
                self.to.swap_buffers(one, other);
                swap_buffers(&mut self.from, one, &mut self.to, other);
            }
            Act::SpoilLeft(index, desc) => self.left.set_desc(index, desc),
            Act::SpoilRight(index, desc) => self.right.set_desc(index, desc),
            Act::MoveLeft(by) => self.left.set_tail(self.left.ring().tail().wrapping_add(by)),
            Act::MoveRight(by) => self.right.set_tail(self.right.ring().tail().wrapping_add(by)),
        }
        true
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever the peers do and in whatever order we do what: each buffer is in one place, what waits for the right
    /// peer is no longer the left one's, and every packet is accounted for.
    #[test]
    fn each_buffer_is_in_one_place(
        acts in proptest::collection::vec(any_act(), 1..120),
        explicit: bool,
    ) {
        let regions = Regions::new(4, 3);
        let mut crossing = Crossing::unposted(&regions);
        if explicit {
            let from = HeadReceiver::new(crossing.left.ring(), crossing.left.buffers_of(0));
            crossing.from = from.with_explicit_posting();
        } else {
            crossing.from.flush();
        }
        for act in acts {
            let up = crossing.act(act);
            prop_assert_eq!(crossing.all_addresses(), crossing.places.clone());
            let (received, sent) = (&crossing.received, &crossing.sent);
            prop_assert_eq!(received.packets, sent.packets + sent.dropped());
            if !up {
                break;
            }
        }
    }
}
