//! Packets between two cores without any protocol, as fast as a simple loop can move them: the bound of every link.
//!
//! Each packet has a 16-byte descriptor and is copied at both ends, as on a link; nothing is checked. What a loop may
//! choose is in [`Knobs`]; [`crate::floor_search`] finds the best setting on this machine.

// The floor is raw memory between two threads: that is the point of it.
#![allow(unsafe_code)]

use std::fmt;
use std::hint;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crossbeam_utils::CachePadded;
use memif_os::clock::monotonic_ns;
use memif_os::cpu::pin_current;
use memif_os::huge_pages::HugePages;
use memif_os::region_file::RegionFile;

use crate::direction::Direction;
use crate::error::Error;
use crate::floor_copy::{Copies, Kernel, Loop, ask_to_read, ask_to_write};
use crate::measured::Measured;
use crate::pair::{Cores, Timing};
use crate::ping_pong::{StopAtEnd, joined};
use crate::presence::Watch;

/// Bytes of private packets at both ends: these are in use again and again, and stay in the caches next to the core.
const PRIVATE: usize = 64 * 1024;
/// Size of a descriptor, as in memif.
const DESC: usize = 16;

/// The task: what a link with these settings does, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Bytes of a packet, up to [`Knobs::stride`].
    pub(crate) size: usize,
    /// Packets between two publications, up to [`Shape::slots`].
    pub(crate) batch: usize,
    /// Descriptors in the ring, a power of two.
    pub(crate) slots: usize,
    /// S2M: the sender writes the whole descriptor. M2S: the receiver writes where the buffer is, the sender reads that
    /// and adds the length.
    pub(crate) direction: Direction,
}

/// How the task is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Knobs {
    /// The copy at both ends.
    pub(crate) kernel: Kernel,
    /// Bytes from one buffer to the next.
    pub(crate) stride: usize,
    /// Descriptor and payload of a packet in turn, or the payloads of a burst and then its descriptors.
    pub(crate) in_turn: bool,
    /// How many packets ahead the sender prefetches the buffer, to write it; 0: it does not prefetch.
    pub(crate) ahead_tx: usize,
    /// How many packets ahead the receiver prefetches the buffer, within the burst; 0: it does not prefetch.
    pub(crate) ahead_rx: usize,
}

impl fmt::Display for Knobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = if self.in_turn { "in turn" } else { "payloads first" };
        write!(f, "{}; {order}; stride {}", self.kernel, self.stride)?;
        write!(f, "; prefetchw {}; rx prefetch {}", self.ahead_tx, self.ahead_rx)
    }
}

/// The indices of one direction, each on cache lines of its own.
#[derive(Debug, Default)]
struct Indices {
    /// Written by the producer. Release, pairs with the consumer's Acquire: what lies before it has been written.
    head: CachePadded<AtomicUsize>,
    /// Written by the consumer. Release, pairs with the producer's Acquire: what lies before it has been read.
    tail: CachePadded<AtomicUsize>,
    stop: CachePadded<AtomicBool>,
}

/// Descriptors, and buffers behind them.
#[derive(Debug)]
struct Slots {
    shape: Shape,
    knobs: Knobs,
    file: RegionFile,
    indices: Indices,
}

// SAFETY: the memory is reached through `desc` and `buffer` alone, whose callers take turns by the indices.
unsafe impl Sync for Slots {}

impl Slots {
    fn new(shape: Shape, knobs: Knobs) -> Result<Self, Error> {
        let fits = shape.slots.is_power_of_two()
            && (1..=shape.slots).contains(&shape.batch)
            && (1..=knobs.stride).contains(&shape.size)
            && shape.size <= PRIVATE;
        let bytes = shape.slots.checked_mul(DESC + knobs.stride);
        let bytes = bytes.filter(|bytes| fits && u32::try_from(*bytes).is_ok());
        let bytes =
            bytes.ok_or_else(|| Error::Unfit(format!("there is no such floor: {shape:?}, {knobs:?}")))?;
        let file = RegionFile::create("memif floor", bytes, HugePages::Off)?;
        let slots = Self { shape, knobs, file, indices: Indices::default() };
        (0..shape.slots).for_each(|slot| slots.post(slot));
        Ok(slots)
    }

    fn index(&self, count: usize) -> usize {
        count & (self.shape.slots - 1)
    }

    fn desc(&self, count: usize) -> NonNull<[u32; 4]> {
        // SAFETY: the index is below `slots`, and the region begins with so many descriptors; it is aligned to a page.
        unsafe { self.file.as_ptr().cast::<[u32; 4]>().add(self.index(count)) }
    }

    /// The buffer at an offset below `slots * stride`.
    fn buffer(&self, offset: u32) -> NonNull<u8> {
        // SAFETY: the region has the descriptors, and so many bytes behind them.
        unsafe { self.file.as_ptr().add(DESC * self.shape.slots + offset as usize) }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a region of a floor is below 4 GiB: see `new`")]
    fn offset(&self, count: usize) -> u32 {
        (self.index(count) * self.knobs.stride) as u32
    }

    /// The receiver's descriptor of an empty buffer.
    #[inline(always)]
    fn post(&self, count: usize) {
        // SAFETY: the descriptor lies in the region; before the start, or between `tail` and `head` as its consumer sees
        // them, nobody else is at it.
        unsafe { self.desc(count).write([0, 0, self.offset(count), 0]) }
    }

    /// The sender's descriptor of a packet.
    #[inline(always)]
    fn describe(&self, count: usize, offset: u32) {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "below the region's length, which is below 4 GiB"
        )]
        let size = self.shape.size as u32;
        // SAFETY: the descriptor lies in the region; the producer is at it alone until it has moved `head`.
        unsafe { self.desc(count).write([0, size, offset, 0]) }
    }

    /// Where the sender may put a packet.
    #[inline(always)]
    fn place<const POSTED: bool>(&self, count: usize) -> u32 {
        if POSTED {
            // SAFETY: as in `describe`; the consumer wrote it before it moved `tail`, or `new` did.
            unsafe { self.desc(count).read()[2] }
        } else {
            self.offset(count)
        }
    }

    fn stopped(&self) -> bool {
        self.indices.stop.load(Ordering::Relaxed) // orders nothing: a batch more or less
    }
}

/// Bytes from one private packet to the next.
const fn private_step(size: usize) -> usize {
    size.next_multiple_of(64)
}

/// The sender, until it is stopped.
struct Produce<'s, const IN_TURN: bool, const POSTED: bool>(&'s Slots);

impl<const IN_TURN: bool, const POSTED: bool> Loop for Produce<'_, IN_TURN, POSTED> {
    type Output = ();

    #[inline(always)]
    fn run<C: Copies>(self) {
        let slots = self.0;
        let (Shape { size, batch, slots: count, .. }, ahead) = (slots.shape, slots.knobs.ahead_tx);
        let private = vec![7_u8; PRIVATE + size];
        let step = private_step(size);
        let (mut head, mut tail) = (0, 0);
        loop {
            while head + batch - tail > count {
                tail = slots.indices.tail.load(Ordering::Acquire);
                if slots.stopped() {
                    return;
                }
            }
            for i in 0..batch {
                if ahead > 0 {
                    ask_to_write(slots.buffer(slots.offset(head + i + ahead)).as_ptr(), size);
                }
                let offset = slots.place::<POSTED>(head + i);
                if IN_TURN {
                    slots.describe(head + i, offset);
                }
                let from = private.as_ptr().wrapping_add(i * step % PRIVATE);
                // SAFETY: at most `slots` ahead of the consumer's tail, so it is not at this buffer, which lies in the
                // region and has `size` bytes; `private` has them from every place below PRIVATE.
                unsafe { C::copy(slots.buffer(offset).as_ptr(), from, size) };
            }
            if !IN_TURN {
                (head..head + batch).for_each(|at| slots.describe(at, slots.place::<POSTED>(at)));
            }
            head += batch;
            slots.indices.head.store(head, Ordering::Release);
            if slots.stopped() {
                return;
            }
        }
    }
}

/// The receiver, until a time of the clock, or until it is stopped.
struct Consume<'s, 'p, const POSTED: bool> {
    slots: &'s Slots,
    place: &'p mut Place,
    private: &'p mut [u8],
    until: u64,
}

/// How far the receiver is.
#[derive(Debug, Default)]
struct Place {
    /// Packets received.
    tail: usize,
    /// Packets that the sender knows to be received.
    published: usize,
}

impl<const POSTED: bool> Loop for Consume<'_, '_, POSTED> {
    type Output = ();

    #[inline(always)]
    fn run<C: Copies>(self) {
        let (slots, place) = (self.slots, self.place);
        let (batch, quarter) = (slots.shape.batch, slots.shape.slots / 4);
        let mut head = place.tail;
        while monotonic_ns() < self.until {
            // the clock once every few batches
            for _ in 0..8 {
                while place.tail + batch > head {
                    head = slots.indices.head.load(Ordering::Acquire);
                    if place.tail + batch > head && place.published != place.tail {
                        place.published = place.tail;
                        slots.indices.tail.store(place.tail, Ordering::Release);
                    }
                    if slots.stopped() {
                        return;
                    }
                }
                take_batch::<C, POSTED>(slots, place.tail, self.private);
                hint::black_box(&mut *self.private);
                place.tail += batch;
                if place.tail - place.published > quarter {
                    place.published = place.tail;
                    slots.indices.tail.store(place.tail, Ordering::Release);
                }
            }
        }
    }
}

/// Copies a batch that the sender has published.
#[inline(always)]
fn take_batch<C: Copies, const POSTED: bool>(slots: &Slots, tail: usize, private: &mut [u8]) {
    let (Shape { batch, size, .. }, ahead) = (slots.shape, slots.knobs.ahead_rx);
    let step = private_step(size);
    for i in 0..batch {
        if ahead > 0 && i + ahead < batch {
            // SAFETY: published by the sender, which is not at it.
            let [_, _, offset, _] = unsafe { slots.desc(tail + i + ahead).read() };
            ask_to_read(slots.buffer(offset).as_ptr(), size);
        }
        let to = private.as_mut_ptr().wrapping_add(i * step % PRIVATE);
        // SAFETY: before the producer's head, so it has written this descriptor and this buffer and is not at them: what
        // it says lies in the region, and `private` has that much room from every place below PRIVATE.
        unsafe {
            let [_, size, offset, _] = slots.desc(tail + i).read();
            C::copy(to, slots.buffer(offset).as_ptr(), size as usize);
        }
    }
    if POSTED {
        (tail..tail + batch).for_each(|at| slots.post(at));
    }
}

impl Slots {
    fn produce(&self) {
        let kernel = self.knobs.kernel;
        match (self.knobs.in_turn, self.shape.direction) {
            (true, Direction::S2m) => kernel.run(Produce::<true, false>(self)),
            (false, Direction::S2m) => kernel.run(Produce::<false, false>(self)),
            (true, Direction::M2s) => kernel.run(Produce::<true, true>(self)),
            (false, Direction::M2s) => kernel.run(Produce::<false, true>(self)),
        }
    }

    fn consume(&self, place: &mut Place, private: &mut [u8], until: u64) {
        let kernel = self.knobs.kernel;
        match self.shape.direction {
            Direction::S2m => kernel.run(Consume::<false> { slots: self, place, private, until }),
            Direction::M2s => kernel.run(Consume::<true> { slots: self, place, private, until }),
        }
    }
}

/// Mpps through shared memory between the two cores, both ends copying.
///
/// # Errors
/// Shape and knobs are inconsistent, there is no memory, or no such core.
pub(crate) fn packets(shape: Shape, knobs: Knobs, cores: Cores, timing: Timing) -> Result<Measured, Error> {
    let slots = Slots::new(shape, knobs)?;
    thread::scope(|scope| {
        let producer = scope.spawn(|| {
            let _stop = StopAtEnd(&slots.indices.stop);
            pin_current(cores.tx)?;
            let watch = Watch::start(cores.tx)?;
            slots.produce();
            Ok(watch.end()?.lost)
        });
        let consumer = scope.spawn(|| {
            let _stop = StopAtEnd(&slots.indices.stop);
            pin_current(cores.rx)?;
            let mut private = vec![0; PRIVATE + shape.size];
            let mut place = Place::default();
            let window = timing.window();
            slots.consume(&mut place, &mut private, window.begin);
            let (watch, start, before) = (Watch::start(cores.rx)?, monotonic_ns(), place.tail);
            slots.consume(&mut place, &mut private, window.end);
            let ns = monotonic_ns() - start;
            Ok((place.tail - before, ns, watch.end()?.lost))
        });
        let (packets, ns, ours) = joined(consumer)?;
        let theirs = joined(producer)?;
        Ok(Measured::new(vec![packets as f64 * 1e3 / ns.max(1) as f64], ours.max(theirs)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { size: 64, batch: 64, slots: 1024, direction: Direction::S2m };
    const KNOBS: Knobs =
        Knobs { kernel: Kernel::Memcpy, stride: 2048, in_turn: true, ahead_tx: 0, ahead_rx: 0 };

    #[test]
    fn inconsistent_shapes_are_rejected() {
        assert!(Slots::new(SHAPE, KNOBS).is_ok());
        for bad in [
            Shape { size: 2049, ..SHAPE },
            Shape { size: 0, ..SHAPE },
            Shape { batch: 0, ..SHAPE },
            Shape { batch: 2048, ..SHAPE },
            Shape { slots: 1000, ..SHAPE },
        ] {
            assert!(Slots::new(bad, KNOBS).is_err(), "{bad:?}");
        }
        assert!(Slots::new(SHAPE, Knobs { stride: 1 << 23, ..KNOBS }).is_err());
    }

    #[test]
    fn every_buffer_lies_in_the_region() {
        let shape = Shape { batch: 4, slots: 8, ..SHAPE };
        let slots = Slots::new(shape, Knobs { stride: 192, ..KNOBS }).unwrap();
        let base = slots.file.as_ptr().as_ptr() as usize;
        assert_eq!(slots.desc(15).as_ptr() as usize - base, 7 * DESC);
        assert_eq!(slots.buffer(slots.offset(15)).as_ptr() as usize - base, 8 * DESC + 7 * 192);
        assert!(8 * DESC + 8 * 192 <= slots.file.len());
    }

    #[test]
    fn packets_arrive_in_both_directions_with_every_knob() {
        for direction in Direction::BOTH {
            for kernel in Kernel::available() {
                for (in_turn, ahead) in [(true, 0), (false, 4)] {
                    let shape = Shape { size: 100, batch: 4, slots: 8, direction };
                    let knobs = Knobs { kernel, stride: 128, in_turn, ahead_tx: ahead, ahead_rx: ahead / 2 };
                    assert_eq!(one_ring_full(shape, knobs), vec![7; 100], "{direction} {knobs}");
                }
            }
        }
    }

    /// The first private packet of a receiver that took what a sender sent until the ring was full.
    fn one_ring_full(shape: Shape, knobs: Knobs) -> Vec<u8> {
        let slots = Slots::new(shape, knobs).unwrap();
        let mut private = vec![0; PRIVATE + shape.size];
        let mut place = Place::default();
        thread::scope(|scope| {
            scope.spawn(|| slots.produce());
            while slots.indices.head.load(Ordering::Acquire) < shape.slots {
                thread::yield_now();
            }
            let _stop = StopAtEnd(&slots.indices.stop);
            while place.tail == 0 {
                slots.consume(&mut place, &mut private, monotonic_ns() + 1_000_000);
            }
        });
        private.truncate(shape.size);
        private
    }
}
