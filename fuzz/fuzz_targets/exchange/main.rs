//! Buffers that change places between the rings of two links, with masters on both sides that write what they like between
//! two calls: each buffer is in exactly one slot of one ring, what we publish names our own buffers and lies within them,
//! no byte of a packet is touched, indices stay within their rings, and what is counted is what was moved.
#![no_main]

mod peer;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use memif_fuzz::memory::{Inbox, line_of, packet};
use memif_ring::buffer_swap::{Forwarded, forward, swap_buffers, swap_free, swap_held};
use memif_ring::buffers::BufferAddr;
use memif_ring::burst::Tally;
use memif_ring::end::{Receiver as _, Sender as _};
use memif_ring::head_side::{HeadReceiver, HeadSender};
use memif_ring::layout::DescFlags;
use memif_ring::mock::{HeapTable, MockRegion, MockRing};
use memif_ring::shm::RingMemory as _;

use peer::{Act, arrive, depart};

#[derive(Arbitrary, Debug)]
struct Input {
    log2_sizes: [u8; 2],
    capacity: u8,
    /// Slots are posted by the program alone.
    explicit: [bool; 2],
    steps: Vec<Step>,
}

/// Of `side`, and towards the other one where two are concerned.
#[derive(Arbitrary, Debug)]
enum Step {
    Forward {
        side: bool,
        max: u8,
    },
    Receive {
        side: bool,
        room: u8,
    },
    Send {
        side: bool,
        len: u16,
        count: u8,
    },
    Release {
        side: bool,
        slots: u8,
    },
    Post {
        side: bool,
        slots: u8,
        headroom: u8,
    },
    Flush {
        side: bool,
    },
    Commit {
        side: bool,
        length: u16,
        next: bool,
    },
    Swap {
        side: bool,
        kind: Kind,
        one: u8,
        other: u8,
    },
    /// The master sends that many packets in good order, of so many descriptors each.
    Arrive {
        side: bool,
        packets: u8,
        pieces: u8,
        len: u8,
    },
    /// The master takes that many descriptors.
    Depart {
        side: bool,
        slots: u8,
    },
    Mischief {
        side: bool,
        m2s: bool,
        act: Act,
    },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Kind {
    HeldAndFree,
    Held,
    Free,
    WithinHeld,
    WithinFree,
}

/// The slave's ends of one link. The buffers of both links are in one region, `shared`.
struct Side<'a> {
    rx: HeadReceiver<MockRing<'a>, HeapTable>,
    tx: HeadSender<MockRing<'a>, HeapTable>,
    m2s: &'a MockRegion,
    s2m: &'a MockRegion,
    received: Tally,
    sent: Tally,
}

struct Run<'a> {
    sides: [Side<'a>; 2],
    shared: &'a MockRegion,
    capacity: u32,
    /// All buffers, sorted.
    buffers: Vec<(u16, u32)>,
}

impl<'a> Run<'a> {
    fn new(shared: &'a MockRegion, rings: &'a [MockRegion; 4], input: &Input) -> Self {
        let (first, stride) = shared.geometry();
        let mut row = BufferAddr::row(0, first, stride);
        let capacity = 1 + u32::from(input.capacity);
        let mut table =
            |ring: &MockRegion| shared.buffers_at(row.by_ref().take(ring.ring().size().into()), capacity);
        let sides = [0, 1].map(|side| {
            let [m2s, s2m] = [&rings[side * 2], &rings[side * 2 + 1]];
            let rx = HeadReceiver::new(m2s.ring(), table(m2s));
            let mut rx = if input.explicit[side] { rx.with_explicit_posting() } else { rx };
            rx.flush();
            let tx = HeadSender::new(s2m.ring(), table(s2m));
            Side { rx, tx, m2s, s2m, received: Tally::default(), sent: Tally::default() }
        });
        let mut run = Self { sides, shared, capacity, buffers: Vec::new() };
        run.buffers = run.all_buffers();
        run
    }

    fn all_buffers(&self) -> Vec<(u16, u32)> {
        let tables =
            self.sides.iter().flat_map(|side| [side.rx.buffers().table(), side.tx.buffers().table()]);
        let mut all: Vec<_> = tables.flatten().map(|addr| (addr.region(), addr.offset())).collect();
        all.sort_unstable();
        all
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Forward { side, max } => self.forward(side, max.into()),
            Step::Receive { side, room } => {
                let Side { rx, received, .. } = &mut self.sides[usize::from(side)];
                let mut inbox = Inbox::new(room.into());
                let slots = rx.receive(self.shared.regions(), &mut inbox, received).unwrap_or(0);
                assert!(slots <= rx.ring().size().into());
            }
            Step::Send { side, len, count } => {
                let Side { tx, sent, .. } = &mut self.sides[usize::from(side)];
                let packets: Vec<_> =
                    (0..count % 16).map(|seed| packet(seed, usize::from(len % 2048))).collect();
                let packets: Vec<_> = packets.iter().map(Vec::as_slice).collect();
                let done = tx.send(self.shared.regions(), &packets[..], sent).unwrap_or(0);
                assert!(done <= packets.len());
            }
            Step::Release { side, slots } => {
                let rx = &mut self.sides[usize::from(side)].rx;
                let _ = rx.ready(slots.into());
                rx.release(slots.into());
            }
            Step::Post { side, slots, headroom } => self.post(side, slots.into(), headroom.into()),
            Step::Flush { side } => self.sides[usize::from(side)].rx.flush(),
            Step::Commit { side, length, next } => self.commit(side, length.into(), next),
            Step::Swap { side, kind, one, other } => self.swap(side, kind, one.into(), other.into()),
            Step::Arrive { side, packets, pieces, len } => {
                arrive(self.sides[usize::from(side)].m2s, packets, 1 + u16::from(pieces % 4), len.into());
            }
            Step::Depart { side, slots } => depart(self.sides[usize::from(side)].s2m, slots.into()),
            Step::Mischief { side, m2s, ref act } => {
                let side = &self.sides[usize::from(side)];
                act.commit(if m2s { side.m2s } else { side.s2m }, self.shared);
            }
        }
        self.check();
    }

    /// What holds at any time.
    fn check(&self) {
        assert_eq!(self.all_buffers(), self.buffers, "each buffer is in one place");
        for side in &self.sides {
            assert!(side.rx.held() <= side.rx.ring().size());
        }
    }

    fn forward(&mut self, side: bool, max: usize) {
        let [left, right] = &mut self.sides;
        let (from, to) = if side { (right, left) } else { (left, right) };
        if from.rx.ready(max).is_err() || to.tx.room(max).is_err() {
            return;
        }
        let (bytes, position, first) = (self.shared.bytes(), from.rx.position(), to.tx.position());
        let (received, sent) = (from.received.clone(), to.sent.clone());
        let regions = self.shared.regions();
        let done = forward(&mut from.rx, &mut to.tx, regions, max, &mut from.received, &mut to.sent);
        let Forwarded { packets, consumed, full } = done;
        assert!(packets <= max && consumed <= from.rx.ring().size());
        assert_eq!(consumed, from.rx.position().wrapping_sub(position));
        assert!(!full || packets < max, "full, with all that was asked for");
        let too_large = to.sent.dropped() - sent.dropped();
        assert_eq!(from.received.packets - received.packets, packets as u64 + too_large);
        assert_eq!(to.sent.packets - sent.packets, packets as u64);
        let dropped = from.received.dropped() - received.dropped();
        assert!(packets as u64 + too_large + dropped <= consumed.into(), "a descriptor is in one packet");
        assert!(self.shared.bytes() == bytes, "a byte of a buffer was touched");
        self.published(side, first, packets, self.sides[usize::from(!side)].sent.bytes - sent.bytes);
    }

    /// What was published since `first` is these packets, in buffers that are ours.
    fn published(&self, side: bool, first: u16, packets: usize, bytes: u64) {
        let Side { tx, s2m, .. } = &self.sides[usize::from(!side)];
        let slots = tx.position().wrapping_sub(first);
        assert!(slots <= tx.ring().size());
        let (mut ends, mut sum) = (0, 0);
        for index in (0..slots).map(|ahead| first.wrapping_add(ahead)) {
            let desc = s2m.desc(index);
            let addr = tx.buffers().table()[usize::from(index & (tx.ring().size() - 1))];
            assert_eq!(desc.region, addr.region());
            let into = desc.offset.wrapping_sub(addr.offset());
            assert!(u64::from(into) + u64::from(desc.length) <= self.capacity.into(), "{desc:?} of {addr:?}");
            assert!(desc.length > 0 && desc.flags.difference(DescFlags::NEXT).is_empty());
            sum += u64::from(desc.length);
            ends += usize::from(!desc.has_next());
        }
        assert_eq!((ends, sum), (packets, bytes));
        assert_eq!(s2m.ring().head(), if slots > 0 { tx.position() } else { s2m.ring().head() });
    }

    fn post(&mut self, side: bool, slots: u16, headroom: u16) {
        let Side { rx, m2s, .. } = &mut self.sides[usize::from(side)];
        let (held, size) = (rx.held(), rx.ring().size());
        let end = rx.position().wrapping_add(size - held);
        let posted = rx.post(slots, headroom);
        assert_eq!((posted, rx.held()), (slots.min(held), held - posted));
        for index in (0..posted).map(|ahead| end.wrapping_add(ahead)) {
            let (desc, addr) = (m2s.desc(index), rx.buffers().table()[usize::from(index & (size - 1))]);
            let room = u32::from(headroom).min(self.capacity);
            assert_eq!((desc.region, desc.offset), (addr.region(), addr.offset() + room));
            assert_eq!(desc.length, self.capacity - room);
        }
    }

    /// A packet that is filled in place.
    fn commit(&mut self, side: bool, length: u32, next: bool) {
        let tx = &mut self.sides[usize::from(side)].tx;
        if tx.free(1).is_ok_and(|free| free > 0) {
            tx.complete(0, DescFlags::next_if(next), 0, length);
            tx.commit(1);
        }
    }

    fn swap(&mut self, side: bool, kind: Kind, one: u16, other: u16) {
        let [left, right] = &mut self.sides;
        let (from, to) = if side { (right, left) } else { (left, right) };
        let held = from.rx.held();
        let _ = (from.tx.free(one.into()), to.tx.free(other.into()));
        let did = match kind {
            Kind::HeldAndFree => swap_buffers(&mut from.rx, one, &mut to.tx, other),
            Kind::Held => swap_held(&mut from.rx, one, &mut to.rx, other),
            Kind::Free => swap_free(&mut from.tx, one, &mut to.tx, other),
            Kind::WithinHeld => from.rx.swap_buffers(one, other),
            Kind::WithinFree => from.tx.swap_buffers(one, other),
        };
        let of_held = matches!(kind, Kind::HeldAndFree | Kind::Held | Kind::WithinHeld);
        assert!(!(did && of_held) || one < held, "a slot that the master has");
    }
}

fuzz_target!(|input: Input| {
    let sizes = input.log2_sizes.map(|log2| 1 + log2 % 5);
    let line = line_of(input.log2_sizes[0]);
    let stride = (1 + u32::from(input.capacity)).next_multiple_of(64);
    // the larger ring of each link sets how many buffers there are
    let shared = MockRegion::laid_out(line, 4, sizes[0].max(sizes[1]), stride, 1 + u32::from(input.capacity));
    let rings = [sizes[0], sizes[1], sizes[1], sizes[0]];
    let rings = rings.map(|log2| MockRegion::laid_out(line, 1, log2, 64, 64));
    let mut run = Run::new(&shared, &rings, &input);
    input.steps.iter().take(64).for_each(|step| run.step(step));
});
