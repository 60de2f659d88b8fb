//! Proves that memif-ring needs neither std, nor alloc, nor a C library: this program has none of them, and sets a link
//! up, moves packets both ways and finds a peer's fault out. Exits with 0 when everything was right, else with the
//! number of the step that was not.
#![no_std]
#![no_main]
#![allow(unsafe_code)] // stands in for a mapping

mod bare;

use core::cell::UnsafeCell;
use core::ptr::NonNull;

use memif_ring::buffer_swap::forward;
use memif_ring::buffers::{BufferAddr, Buffers};
use memif_ring::burst::{PacketSink, PacketSource, Tally};
use memif_ring::end::{Receiver, Sender};
use memif_ring::fault::PeerFault;
use memif_ring::handshake::{
    Admission, HelloParams, MasterEvent, MasterHandshake, SlaveEvent, SlaveHandshake, SlaveParams, Stage,
};
use memif_ring::head_side::{HeadReceiver, HeadSender};
use memif_ring::layout::LineSize;
use memif_ring::message::{Direction, Mode, Name, Secret};
use memif_ring::region::RegionMap;
use memif_ring::shm::{Ring, RingMemory};
use memif_ring::tail_side::{TailReceiver, TailSender};

const LOG2_SIZE: u8 = 4;
const CAPACITY: u32 = 128;
/// Rounds of a burst: the 16-bit indices wrap.
const ROUNDS: usize = 12_000;
/// Bytes of the packets of a burst; the last one needs a chain.
const SIZES: [usize; 6] = [1, 60, 64, 65, 128, 300];
const LARGEST: usize = 300;

/// Shared memory of both rings and their buffers.
#[repr(C, align(4096))]
struct Memory(UnsafeCell<[u8; REGION_SIZE]>);

const RING_BYTES: usize = LineSize::NATIVE.ring_bytes(LOG2_SIZE);
const RINGS_SIZE: u32 = 2 * RING_BYTES as u32;
const BUFFERS_SIZE: u32 = CAPACITY << LOG2_SIZE;
const REGION_SIZE: usize = (RINGS_SIZE + 2 * BUFFERS_SIZE) as usize;

// SAFETY: the program has one thread, and touches the bytes through rings and spans alone.
unsafe impl Sync for Memory {}

static MEMORY: Memory = Memory(UnsafeCell::new([0; REGION_SIZE]));

/// Packets of the sizes of [`SIZES`], each of its own bytes.
struct Burst {
    bytes: [[u8; LARGEST]; SIZES.len()],
}

impl Burst {
    fn new(round: usize) -> Self {
        let mut bytes = [[0; LARGEST]; SIZES.len()];
        for (number, packet) in bytes.iter_mut().enumerate() {
            for (at, byte) in packet.iter_mut().enumerate() {
                *byte = (round.wrapping_mul(31) + number * 57 + at * 7) as u8;
            }
        }
        Self { bytes }
    }
}

impl PacketSource for Burst {
    fn count(&self) -> usize {
        SIZES.len()
    }

    fn packets(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.bytes.iter().zip(SIZES).map(|(bytes, len)| bytes.get(..len).unwrap_or_default())
    }
}

struct Inbox {
    count: usize,
    lengths: [usize; SIZES.len()],
    bytes: [[u8; LARGEST]; SIZES.len()],
}

impl PacketSink for Inbox {
    fn push(&mut self, len: usize) -> Option<&mut [u8]> {
        *self.lengths.get_mut(self.count)? = len;
        let bytes = self.bytes.get_mut(self.count)?.get_mut(..len)?;
        self.count += 1;
        Some(bytes)
    }

    fn room(&self) -> usize {
        SIZES.len() - self.count
    }
}

impl Inbox {
    const fn new() -> Self {
        Self { count: 0, lengths: [0; SIZES.len()], bytes: [[0; LARGEST]; SIZES.len()] }
    }

    fn holds(&self, burst: &Burst) -> bool {
        self.count == SIZES.len()
            && self.lengths == SIZES
            && self.bytes.iter().zip(burst.packets()).all(|(got, sent)| got.starts_with(sent))
    }
}

/// The buffers of a ring, in a table without an allocator.
type Table = Buffers<[BufferAddr; 1 << LOG2_SIZE]>;

/// Where everything lies.
fn place(ring: u32) -> (NonNull<u8>, Table) {
    let base = NonNull::from(&MEMORY.0).cast::<u8>();
    // SAFETY: there are two rings, 0 and 1, at the start of the memory.
    let ring_base = unsafe { base.add(ring as usize * RING_BYTES) };
    let first = RINGS_SIZE + ring * BUFFERS_SIZE;
    let places = core::array::from_fn(|slot| BufferAddr::new(0, first + slot as u32 * CAPACITY));
    // SAFETY: the buffers of both rings lie one behind the other.
    (ring_base, unsafe { Buffers::new(places, CAPACITY) })
}

/// The slave's and the master's handle on a ring.
fn both_ends(ring: u32) -> Option<(Ring, Ring, Table)> {
    let (base, buffers) = place(ring);
    let line = LineSize::NATIVE;
    // SAFETY: `RING_BYTES` bytes of static memory lie there, which nothing else touches.
    let ends =
        unsafe { (Ring::create(base, LOG2_SIZE, line).ok()?, Ring::attach(base, LOG2_SIZE, line).ok()?) };
    Some((ends.0, ends.1, buffers))
}

fn slave_to_master(regions: &RegionMap) -> Option<()> {
    let (ours, theirs, buffers) = both_ends(0)?;
    let (mut slave, mut master) = (HeadSender::new(ours, buffers), TailReceiver::new(theirs));
    let mut tally = Tally::default();
    for round in 0..ROUNDS {
        let (burst, mut inbox) = (Burst::new(round), Inbox::new());
        (slave.send(regions, &burst, &mut tally) == Ok(SIZES.len())).then_some(())?;
        master.receive(regions, &mut inbox, &mut tally).ok()?;
        inbox.holds(&burst).then_some(())?;
    }
    slave.ring().publish_head(0x8000);
    let fault = master.receive(regions, &mut Inbox::new(), &mut tally);
    (tally.dropped() == 0 && matches!(fault, Err(PeerFault::HeadTooFar { .. }))).then_some(())
}

fn master_to_slave(regions: &RegionMap) -> Option<()> {
    let (ours, theirs, buffers) = both_ends(1)?;
    let (mut slave, mut master) = (HeadReceiver::new(ours, buffers), TailSender::new(theirs));
    slave.flush();
    let mut tally = Tally::default();
    for round in 0..ROUNDS {
        let (burst, mut inbox) = (Burst::new(round), Inbox::new());
        (master.send(regions, &burst, &mut tally) == Ok(SIZES.len())).then_some(())?;
        slave.receive(regions, &mut inbox, &mut tally).ok()?;
        inbox.holds(&burst).then_some(())?;
    }
    master.ring().publish_tail(0x8000);
    let fault = slave.receive(regions, &mut Inbox::new(), &mut tally);
    (tally.dropped() == 0 && matches!(fault, Err(PeerFault::TailTooFar { .. }))).then_some(())
}

/// What the slave receives on one ring leaves on the other, untouched.
fn ring_to_ring(regions: &RegionMap) -> Option<()> {
    let ((to, target, free), (from, source, posted)) = (both_ends(0)?, both_ends(1)?);
    let (mut target, mut source) = (TailReceiver::new(target), TailSender::new(source));
    let (mut from, mut to) = (HeadReceiver::new(from, posted), HeadSender::new(to, free));
    from.flush();
    let (mut received, mut sent) = (Tally::default(), Tally::default());
    for round in 0..ROUNDS {
        let (burst, mut inbox) = (Burst::new(round), Inbox::new());
        (source.send(regions, &burst, &mut Tally::default()) == Ok(SIZES.len())).then_some(())?;
        from.ready(SIZES.len()).ok()?;
        to.room(1 << LOG2_SIZE).ok()?;
        let done = forward(&mut from, &mut to, regions, SIZES.len(), &mut received, &mut sent);
        target.receive(regions, &mut inbox, &mut Tally::default()).ok()?;
        (done.packets == SIZES.len() && inbox.holds(&burst)).then_some(())?;
    }
    (received == sent).then_some(())
}

/// Both roles until the link is up.
fn link_up() -> Option<()> {
    let name = Name::new("proof").ok()?;
    let secret = Secret::new("no libc").ok()?;
    let mut master = MasterHandshake::new(HelloParams {
        name,
        max_region: 255,
        max_m2s_ring: 255,
        max_s2m_ring: 255,
        max_log2_ring_size: 14,
    });
    let mut slave = SlaveHandshake::new(SlaveParams {
        id: 0,
        mode: Mode::Ethernet,
        secret,
        name,
        if_name: name,
        s2m_rings: 1,
        m2s_rings: 1,
        log2_ring_size: LOG2_SIZE,
        line: LineSize::NATIVE,
    })
    .ok()?;
    let found = Admission::Interface { mode: Mode::Ethernet, secret: &secret, s2m_rings: 1, m2s_rings: 1 };
    let mut rings = 0;
    while let Some(transmit) = master.poll_transmit() {
        if let SlaveEvent::Offer(_) = slave.handle(&transmit.bytes, None::<u8>, 0).ok()? {
            slave.offer(&[REGION_SIZE as u64]).ok()?;
        }
        let Some(transmit) = slave.poll_transmit() else { break };
        match master.handle(&transmit.bytes, transmit.fd, 0).ok()? {
            MasterEvent::Init(_) => master.admit(found).ok()?,
            MasterEvent::Ring { direction: Direction::S2M | Direction::M2S, .. } => rings += 1,
            MasterEvent::Connect { .. } => master.connected(name).ok()?,
            _ => {}
        }
    }
    (rings == 2 && master.stage() == Stage::Up && slave.stage() == Stage::Up).then_some(())
}

extern "C" fn main() -> ! {
    let mut regions = RegionMap::new();
    // SAFETY: static memory of this size, which no reference points into.
    let known = unsafe { regions.push(NonNull::from(&MEMORY.0).cast(), REGION_SIZE) };
    let steps = [
        known.then_some(()),
        link_up(),
        slave_to_master(&regions),
        master_to_slave(&regions),
        ring_to_ring(&regions),
    ];
    bare::exit(steps.iter().zip(1..).find(|(step, _)| step.is_none()).map_or(0, |(_, number)| number))
}
