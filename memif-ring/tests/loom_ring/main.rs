//! Every order in which two threads can meet on a ring, as far as the memory model allows: loom runs each model once
//! for every interleaving and every value that a load may return.
//!
//! The sides are the real ones; the ring under them is on the heap, its indices and its interrupt flag loom's atomics,
//! its descriptors loom's cells, which report any access that is not ordered with another thread's. Packet bytes are
//! plain memory, out of loom's sight: what orders them are the same two index accesses that order the descriptors, and
//! the models compare every byte that arrives.
//!
//! The models with `should_panic` take one ordering away, and show that the others could fail.
#![cfg(loom)]
#![allow(unsafe_code)] // a loom cell is read and written through raw pointers
#![allow(clippy::unwrap_used)] // tests

mod modes;

use std::sync::Arc; // loom's cannot be dropped by a thread whose deadlock was found
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed as Count};

use loom::cell::UnsafeCell;
use loom::sync::Notify;
use loom::sync::atomic::{AtomicU16, Ordering};
use loom::thread;

use memif_ring::burst::{PacketSink, Tally};
use memif_ring::end::{Receiver, Sender};
use memif_ring::head_side::{HeadReceiver, HeadSender};
use memif_ring::layout::{Desc, DescFlags, RingFlags};
use memif_ring::mock::{HeapTable, MockRegion};
use memif_ring::shm::{RingMemory, wake_fence};
use memif_ring::tail_side::{TailReceiver, TailSender};

const LOG2_SIZE: u8 = 1;
const SIZE: u16 = 1 << LOG2_SIZE;
const CAPACITY: u32 = 8;

/// Which ordering a model has; the sides know nothing of it.
#[derive(Clone, Copy)]
struct Publish(Ordering);

const RELEASE: Publish = Publish(Ordering::Release);
const RELAXED: Publish = Publish(Ordering::Relaxed);

/// A ring of loom's, the buffers of a mock region, and what stands for the eventfd.
struct Shared {
    head: AtomicU16,
    tail: AtomicU16,
    flags: AtomicU16,
    descs: Vec<UnsafeCell<Desc>>,
    publish: Publish,
    memory: MockRegion,
    event: Notify,
}

// SAFETY: loom runs one thread at a time, and reports any access to a cell that is not ordered with another thread's.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

/// One side's handle.
#[derive(Clone)]
struct End(Arc<Shared>);

impl End {
    fn new(publish: Publish) -> Self {
        Self(Arc::new(Shared {
            head: AtomicU16::new(0),
            tail: AtomicU16::new(0),
            flags: AtomicU16::new(RingFlags::MASK_INT.bits()),
            descs: (0..SIZE).map(|_| UnsafeCell::new(Desc::default())).collect(),
            publish,
            memory: MockRegion::new(LOG2_SIZE, CAPACITY, CAPACITY),
            event: Notify::new(),
        }))
    }

    fn cell(&self, index: u16) -> &UnsafeCell<Desc> {
        &self.0.descs[usize::from(index & self.mask())]
    }

    /// As [`memif_ring::shm::Ring::mask_interrupts`].
    fn mask_interrupts(&self, masked: bool) {
        self.0.flags.store(if masked { RingFlags::MASK_INT.bits() } else { 0 }, Ordering::Relaxed);
    }

    /// As [`memif_ring::shm::Ring::interrupts_masked`].
    fn interrupts_masked(&self) -> bool {
        self.0.flags.load(Ordering::Relaxed) & RingFlags::MASK_INT.bits() != 0
    }
}

// SAFETY: descriptors are those that were stored here.
unsafe impl RingMemory for End {
    fn mask(&self) -> u16 {
        SIZE - 1
    }
    fn head(&self) -> u16 {
        self.0.head.load(Ordering::Acquire)
    }
    fn publish_head(&self, index: u16) {
        self.0.head.store(index, self.0.publish.0);
    }
    fn tail(&self) -> u16 {
        self.0.tail.load(Ordering::Acquire)
    }
    fn publish_tail(&self, index: u16) {
        self.0.tail.store(index, self.0.publish.0);
    }
    fn desc(&self, index: u16) -> Desc {
        // SAFETY: loom reports any access that is not ordered with this one.
        self.cell(index).with(|desc| unsafe { *desc })
    }
    fn set_desc(&self, index: u16, desc: Desc) {
        // SAFETY: as in `desc`.
        self.cell(index).with_mut(|to| unsafe { *to = desc });
    }
    fn complete_desc(&self, index: u16, flags: DescFlags, length: u32) {
        // SAFETY: as in `desc`.
        self.cell(index).with_mut(|to| unsafe { *to = Desc { flags, length, ..*to } });
    }
    fn set_flags(&self, index: u16, flags: DescFlags) {
        // SAFETY: as in `desc`.
        self.cell(index).with_mut(|to| unsafe { *to = Desc { flags, ..*to } });
    }
}

#[derive(Default)]
struct Inbox(Vec<Vec<u8>>);

impl PacketSink for Inbox {
    fn push(&mut self, len: usize) -> Option<&mut [u8]> {
        self.0.push(vec![0; len]);
        self.0.last_mut().map(Vec::as_mut_slice)
    }
    fn room(&self) -> usize {
        8
    }
}

/// Packets in one direction, with the sending end and the receiving end of it.
trait Direction {
    type Sender: Send + 'static;
    type Receiver;
    fn ends(ring: &End) -> (Self::Sender, Self::Receiver);
    /// How many of `packets` are done with.
    fn send(sender: &mut Self::Sender, shared: &Shared, packets: &[&[u8]], tally: &mut Tally) -> usize;
    fn receive(receiver: &mut Self::Receiver, shared: &Shared, inbox: &mut Inbox, tally: &mut Tally)
    -> usize;
    /// Whether a look at the ring, the last before sleeping, finds a packet.
    fn is_ready(receiver: &mut Self::Receiver) -> bool;
}

struct S2m;

impl Direction for S2m {
    type Sender = HeadSender<End, HeapTable>;
    type Receiver = TailReceiver<End>;
    fn ends(ring: &End) -> (Self::Sender, Self::Receiver) {
        let receiver = TailReceiver::new(ring.clone());
        (HeadSender::new(ring.clone(), ring.0.memory.buffers()), receiver)
    }
    fn send(sender: &mut Self::Sender, shared: &Shared, packets: &[&[u8]], tally: &mut Tally) -> usize {
        sender.send(shared.memory.regions(), packets, tally).unwrap()
    }
    fn receive(
        receiver: &mut Self::Receiver,
        shared: &Shared,
        inbox: &mut Inbox,
        tally: &mut Tally,
    ) -> usize {
        receiver.receive(shared.memory.regions(), inbox, tally).unwrap()
    }
    fn is_ready(receiver: &mut Self::Receiver) -> bool {
        receiver.ready(1).unwrap() > 0
    }
}

struct M2s;

impl Direction for M2s {
    type Sender = TailSender<End>;
    type Receiver = HeadReceiver<End, HeapTable>;
    fn ends(ring: &End) -> (Self::Sender, Self::Receiver) {
        let sender = TailSender::new(ring.clone());
        let mut receiver = HeadReceiver::new(ring.clone(), ring.0.memory.buffers());
        receiver.flush();
        (sender, receiver)
    }
    fn send(sender: &mut Self::Sender, shared: &Shared, packets: &[&[u8]], tally: &mut Tally) -> usize {
        sender.send(shared.memory.regions(), packets, tally).unwrap()
    }
    fn receive(
        receiver: &mut Self::Receiver,
        shared: &Shared,
        inbox: &mut Inbox,
        tally: &mut Tally,
    ) -> usize {
        receiver.receive(shared.memory.regions(), inbox, tally).unwrap()
    }
    fn is_ready(receiver: &mut Self::Receiver) -> bool {
        receiver.ready(1).unwrap() > 0
    }
}

/// Runs a model to the end, and says how many executions that took.
fn explore(name: &'static str, model: impl Fn() + Send + Sync + 'static) {
    run(&loom::model::Builder::new(), name, model);
}

/// Works like [`explore`] for models that would take hours: runs only executions in which threads are preempted three times at
/// most.
fn explore_three_stops(name: &'static str, model: impl Fn() + Send + Sync + 'static) {
    let mut bounded = loom::model::Builder::new();
    bounded.preemption_bound = Some(3);
    run(&bounded, name, model);
}

fn run(builder: &loom::model::Builder, name: &'static str, model: impl Fn() + Send + Sync + 'static) {
    let executions = Arc::new(AtomicUsize::new(0));
    let counted = executions.clone();
    builder.check(move || {
        counted.fetch_add(1, Count);
        model();
    });
    let executions = executions.load(Count);
    println!("{name}: {executions} executions");
    assert!(executions > 1, "{name}: nothing was explored");
}

/// One thread sends `bursts`, the other receives until everything is there, whole and in order. Nobody sleeps.
fn carry<D: Direction>(publish: Publish, bursts: &'static [&'static [&'static [u8]]]) {
    let ring = End::new(publish);
    let (mut sender, mut receiver) = D::ends(&ring);
    let sending = thread::spawn({
        let ring = ring.clone();
        move || {
            let mut tally = Tally::default();
            for burst in bursts {
                let mut rest = *burst;
                loop {
                    rest = &rest[D::send(&mut sender, &ring.0, rest, &mut tally)..];
                    if rest.is_empty() {
                        break;
                    }
                    thread::yield_now();
                }
            }
            assert_eq!(tally.dropped(), 0);
        }
    });
    let expected = bursts.concat();
    let (mut inbox, mut tally) = (Inbox::default(), Tally::default());
    while inbox.0.len() < expected.len() {
        if D::receive(&mut receiver, &ring.0, &mut inbox, &mut tally) == 0 {
            thread::yield_now();
        }
    }
    sending.join().unwrap();
    assert_eq!((inbox.0, tally.dropped()), (expected.iter().map(|packet| packet.to_vec()).collect(), 0));
}

/// More packets than slots: each slot and its buffer are used again.
const SINGLES: &[&[&[u8]]] = &[&[b"first"], &[b"second"], &[b"third"]];
const BURSTS: &[&[&[u8]]] = &[&[b"first", b"second"], &[b"third", b"fourth"]];
/// Both slots for one packet, twice.
const CHAINS: &[&[&[u8]]] = &[&[b"twelve bytes"], &[b"and one more"]];

#[test]
fn s2m_slots_are_used_again() {
    explore("s2m singles", || carry::<S2m>(RELEASE, SINGLES));
}

#[test]
fn m2s_buffers_are_posted_again() {
    explore("m2s singles", || carry::<M2s>(RELEASE, SINGLES));
}

#[test]
fn s2m_bursts() {
    explore("s2m bursts", || carry::<S2m>(RELEASE, BURSTS));
}

#[test]
fn m2s_bursts() {
    explore("m2s bursts", || carry::<M2s>(RELEASE, BURSTS));
}

#[test]
fn s2m_chains() {
    explore("s2m chains", || carry::<S2m>(RELEASE, CHAINS));
}

#[test]
fn m2s_chains() {
    explore("m2s chains", || carry::<M2s>(RELEASE, CHAINS));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn s2m_without_release_is_detected() {
    loom::model(|| carry::<S2m>(RELAXED, SINGLES));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn m2s_without_release_is_detected() {
    loom::model(|| carry::<M2s>(RELAXED, SINGLES));
}

/// Which of the two wake-up fences are there.
#[derive(Clone, Copy)]
struct Fences {
    sender: bool,
    receiver: bool,
}

const BOTH: Fences = Fences { sender: true, receiver: true };

/// One thread sends two packets, and notifies the other unless interrupts are masked. The other masks them while it has
/// packets; before it sleeps it clears the mask and looks once more. A lost wake-up is a deadlock, which loom reports.
/// `wake_fence` is loom's here.
fn sleep_and_wake<D: Direction>(fences: Fences) {
    let ring = End::new(RELEASE);
    let (mut sender, mut receiver) = D::ends(&ring);
    let sending = thread::spawn({
        let ring = ring.clone();
        move || {
            let mut tally = Tally::default();
            for packet in [&b"first"[..], b"second"] {
                assert_eq!(D::send(&mut sender, &ring.0, &[packet], &mut tally), 1);
                if fences.sender {
                    wake_fence();
                }
                if !ring.interrupts_masked() {
                    ring.0.event.notify();
                }
            }
        }
    });
    let (mut inbox, mut tally) = (Inbox::default(), Tally::default());
    while inbox.0.len() < 2 {
        if D::receive(&mut receiver, &ring.0, &mut inbox, &mut tally) > 0 {
            continue;
        }
        ring.mask_interrupts(false);
        if fences.receiver {
            wake_fence();
        }
        if !D::is_ready(&mut receiver) {
            ring.0.event.wait();
        }
        ring.mask_interrupts(true);
    }
    sending.join().unwrap();
    assert_eq!(inbox.0, [b"first".to_vec(), b"second".to_vec()]);
}

#[test]
fn s2m_wakeups_are_not_lost() {
    explore("s2m sleep", || sleep_and_wake::<S2m>(BOTH));
}

#[test]
fn m2s_wakeups_are_not_lost() {
    explore("m2s sleep", || sleep_and_wake::<M2s>(BOTH));
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_sender_without_fence_is_detected() {
    loom::model(|| sleep_and_wake::<S2m>(Fences { sender: false, ..BOTH }));
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_receiver_without_fence_is_detected() {
    loom::model(|| sleep_and_wake::<M2s>(Fences { receiver: false, ..BOTH }));
}
