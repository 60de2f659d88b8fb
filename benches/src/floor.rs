//! What two cores can do at best, with no protocol at all: the floors that figures are held against.
//!
//! [`packets`] moves packets through shared memory with a 16-byte descriptor each, [`ping_pong`] one cache line there and
//! back. Both between two pinned threads, and both copy or touch exactly what any memif link must.

// The floor is raw memory between two threads: that is the point of it.
#![allow(unsafe_code)]

use std::hint;
use std::ptr::NonNull;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;

use crossbeam_utils::CachePadded;
use memif_os::clock::monotonic_ns;
use memif_os::cpu::pin_current;
use memif_os::huge_pages::HugePages;
use memif_os::region_file::RegionFile;

use crate::error::Error;
use crate::pair::{Cores, Timing};
use crate::presence::Watch;
use crate::sample::{Measured, median};

/// Private packets at both ends lie in so many bytes, that stay in the first-level cache, or as many as one packet takes.
const PRIVATE: usize = 4096;
/// From one private packet to the next.
const PRIVATE_STRIDE: usize = 64;
/// As large as memif's.
const DESC: usize = 16;

/// A floor of packets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Bytes of a packet, up to [`Shape::stride`].
    pub(crate) size: usize,
    /// Packets from one publication to the next, up to [`Shape::slots`].
    pub(crate) batch: usize,
    /// A power of two.
    pub(crate) slots: usize,
    /// Bytes from one buffer to the next.
    pub(crate) stride: usize,
}

/// The indices of one direction, each on its own lines.
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
    file: RegionFile,
    indices: Indices,
}

// SAFETY: the memory is reached through `desc` and `buffer` alone, whose callers take turns by the indices.
unsafe impl Sync for Slots {}

impl Slots {
    fn new(shape: Shape) -> Result<Self, Error> {
        let fits = shape.slots.is_power_of_two()
            && (1..=shape.slots).contains(&shape.batch)
            && (1..=shape.stride).contains(&shape.size);
        let bytes = shape.slots.checked_mul(DESC + shape.stride).filter(|_| fits);
        let bytes = bytes.ok_or_else(|| Error::Unfit(format!("there is no such floor: {shape:?}")))?;
        let file = RegionFile::create("memif floor", bytes, HugePages::Off)?;
        Ok(Self { shape, file, indices: Indices::default() })
    }

    fn index(&self, count: usize) -> usize {
        count & (self.shape.slots - 1)
    }

    fn desc(&self, count: usize) -> NonNull<[u32; 4]> {
        // SAFETY: the index is below `slots`, and the region begins with so many descriptors; it is aligned to a page.
        unsafe { self.file.as_ptr().cast::<[u32; 4]>().add(self.index(count)) }
    }

    /// Where the buffers are that descriptors point into.
    fn buffers(&self) -> NonNull<u8> {
        // SAFETY: the region is longer than its descriptors.
        unsafe { self.file.as_ptr().add(DESC * self.index(self.shape.slots - 1) + DESC) }
    }

    fn stopped(&self) -> bool {
        self.indices.stop.load(Ordering::Relaxed) // orders nothing: a batch more or less
    }

    fn produce(&self) {
        let Shape { size, batch, slots, stride } = self.shape;
        let private = vec![7; PRIVATE + size];
        let (mut head, mut tail) = (0, 0);
        loop {
            while head + batch - tail > slots {
                tail = self.indices.tail.load(Ordering::Acquire);
                if self.stopped() {
                    return;
                }
            }
            for i in 0..batch {
                #[expect(clippy::cast_possible_truncation, reason = "a region of a floor is below 4 GiB")]
                let desc = [0, size as u32, (self.index(head + i) * stride) as u32, 0];
                let from = i * PRIVATE_STRIDE % PRIVATE;
                // SAFETY: at most `slots` behind the consumer's tail, so it is not at this descriptor and this buffer;
                // both lie in the region, and `private` has `size` bytes from every `from` below PRIVATE.
                unsafe {
                    self.desc(head + i).write(desc);
                    let to = self.buffers().add(desc[2] as usize);
                    to.copy_from_nonoverlapping(NonNull::from(&private[from..]).cast(), size);
                }
            }
            head += batch;
            self.indices.head.store(head, Ordering::Release);
            if self.stopped() {
                return;
            }
        }
    }

    /// Consumes until the clock says so, or the producer is stopped; returns how many so far.
    fn consume(&self, tail: &mut usize, private: &mut [u8], until: u64) {
        let batch = self.shape.batch;
        let mut head = *tail;
        while monotonic_ns() < until {
            // the clock once every few batches
            for _ in 0..8 {
                while *tail + batch > head {
                    head = self.indices.head.load(Ordering::Acquire);
                    if self.stopped() {
                        return;
                    }
                }
                for i in 0..batch {
                    let to = NonNull::from(&mut private[i * PRIVATE_STRIDE % PRIVATE..]).cast();
                    // SAFETY: before the producer's head, so it has written this descriptor and this buffer and is not
                    // at them: what it says lies in the region, and `private` has that much room from every `to`.
                    unsafe {
                        let [_, size, offset, _] = self.desc(*tail + i).read();
                        self.buffers().add(offset as usize).copy_to_nonoverlapping(to, size as usize);
                    }
                }
                hint::black_box(&mut *private);
                *tail += batch;
                self.indices.tail.store(*tail, Ordering::Release);
            }
        }
    }
}

/// Ends the other thread when one ends, however it does.
struct StopAtEnd<'s>(&'s Slots);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.indices.stop.store(true, Ordering::Relaxed);
    }
}

/// Mpps through shared memory between the two cores, both ends copying.
///
/// # Errors
/// A shape that does not fit together, no memory, or no such core.
pub(crate) fn packets(shape: Shape, cores: Cores, timing: Timing) -> Result<Measured, Error> {
    let slots = Slots::new(shape)?;
    thread::scope(|scope| {
        let producer = scope.spawn(|| {
            let _stop = StopAtEnd(&slots);
            pin_current(cores.tx)?;
            let watch = Watch::start(cores.tx)?;
            slots.produce();
            Ok(watch.end()?.lost)
        });
        let consumer = scope.spawn(|| {
            let _stop = StopAtEnd(&slots);
            pin_current(cores.rx)?;
            let mut private = vec![0; PRIVATE + shape.size];
            let mut tail = 0;
            let window = timing.window();
            slots.consume(&mut tail, &mut private, window.begin);
            let (watch, start, before) = (Watch::start(cores.rx)?, monotonic_ns(), tail);
            slots.consume(&mut tail, &mut private, window.end);
            let ns = monotonic_ns() - start;
            Ok((tail - before, ns, watch.end()?.lost))
        });
        let (packets, ns, ours) = joined(consumer)?;
        let theirs = joined(producer)?;
        Ok(Measured { values: vec![packets as f64 * 1e3 / ns.max(1) as f64], lost: ours.max(theirs) })
    })
}

/// Round trips in one of the parts whose median counts.
const ROUND_TRIPS: u64 = 100;
/// Parts, and nanoseconds after which there need not be more: cores that are not ours alone take for ever.
const PARTS: usize = 500;
const LONGEST_NS: u64 = 200_000_000;
/// Says that there is no next round trip.
const END: u64 = u64::MAX;

/// Nanoseconds of a round trip between the two cores, one cache line each way.
///
/// # Errors
/// No such core.
pub(crate) fn ping_pong(cores: Cores) -> Result<f64, Error> {
    let (there, back) = (CachePadded::new(AtomicU64::new(0)), CachePadded::new(AtomicU64::new(0)));
    let both = Barrier::new(2);
    thread::scope(|scope| {
        let echo = scope.spawn(|| {
            let pinned = pin_current(cores.rx);
            both.wait();
            send_back(&there, &back);
            pinned.map_err(Error::from)
        });
        let ping = scope.spawn(|| {
            let pinned = pin_current(cores.tx);
            both.wait();
            let ns = round_trips(&there, &back);
            there.store(END, Ordering::Release);
            pinned.map(|()| ns).map_err(Error::from)
        });
        joined(echo)?;
        joined(ping)
    })
}

// Acquire pairs with the Release of the other's store, both ways: a line with nothing else in it.

fn send_back(there: &AtomicU64, back: &AtomicU64) {
    let mut seen = 0;
    while seen != END {
        let trip = there.load(Ordering::Acquire);
        if trip != seen {
            back.store(trip, Ordering::Release);
            seen = trip;
        }
    }
}

fn round_trips(there: &AtomicU64, back: &AtomicU64) -> f64 {
    let mut parts = Vec::with_capacity(PARTS);
    let first = monotonic_ns();
    let (mut start, mut trip) = (first, 0);
    while parts.len() < PARTS && (parts.is_empty() || start - first < LONGEST_NS) {
        for _ in 0..ROUND_TRIPS {
            trip += 1;
            there.store(trip, Ordering::Release);
            while back.load(Ordering::Acquire) != trip {}
        }
        let now = monotonic_ns();
        parts.push((now - start) as f64 / ROUND_TRIPS as f64);
        start = now;
    }
    median(&mut parts)
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, Result<T, Error>>) -> Result<T, Error> {
    thread.join().unwrap_or_else(|_| Err(Error::End("thread of a floor")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_that_does_not_fit_together_is_refused() {
        let good = Shape { size: 64, batch: 64, slots: 1024, stride: 2048 };
        assert!(Slots::new(good).is_ok());
        for bad in [
            Shape { size: 2049, ..good },
            Shape { size: 0, ..good },
            Shape { batch: 0, ..good },
            Shape { batch: 2048, ..good },
            Shape { slots: 1000, ..good },
        ] {
            assert!(Slots::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_buffer_lies_in_the_region() {
        let slots = Slots::new(Shape { size: 64, batch: 4, slots: 8, stride: 192 }).unwrap();
        let base = slots.file.as_ptr().as_ptr() as usize;
        assert_eq!(slots.desc(15).as_ptr() as usize - base, 7 * DESC);
        assert_eq!(slots.buffers().as_ptr() as usize - base, 8 * DESC);
        assert!(8 * DESC + 8 * 192 <= slots.file.len());
    }
}
