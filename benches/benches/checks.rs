//! Validation and filling a burst: the cost of a packet without ring and copy.
#![allow(missing_docs)] // criterion's macros make the public functions here

mod rings;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use memif_ring::end::Receiver;
use memif_ring::layout::{Desc, DescFlags};
use memif_ring::mock::MockRegion;
use memif_ring::tail_side::TailReceiver;

const DESCRIPTORS: u16 = 1024;

/// 1024 valid descriptors of adjacent buffers.
fn span(c: &mut Criterion) {
    let shared = MockRegion::new(rings::LOG2_SIZE, 2176, 2048);
    let first = shared.geometry().0;
    let places: Vec<(u32, u32)> = (0..u32::from(DESCRIPTORS)).map(|slot| (first + slot * 2176, 64)).collect();
    let mut group = c.benchmark_group("checks");
    group.throughput(Throughput::Elements(u64::from(DESCRIPTORS)));
    group.bench_function("span", |b| {
        b.iter(|| {
            for &(offset, len) in black_box(&places) {
                let _ = black_box(shared.span(offset, len));
            }
        });
    });
    group.finish();
}

/// Peeks at a ring full of chains: walking and checking, no copy.
fn chains(c: &mut Criterion) {
    let mut group = c.benchmark_group("checks/chain");
    group.throughput(Throughput::Elements(u64::from(DESCRIPTORS)));
    for segments in [1, 2, 8, 32] {
        let shared = MockRegion::new(rings::LOG2_SIZE, 2176, 2048);
        for index in 0..DESCRIPTORS {
            let flags = DescFlags::next_if((index + 1) % segments != 0);
            let offset = shared.geometry().0 + u32::from(index) * 2176;
            shared.set_desc(index, Desc { flags, region: 0, length: 64, offset, metadata: 0 });
        }
        let mut receiver = TailReceiver::new(shared.ring());
        shared.set_head(DESCRIPTORS);
        let ready = receiver.ready(usize::from(DESCRIPTORS)).unwrap_or_default();
        assert_eq!(ready, DESCRIPTORS, "the ring is full");
        group.bench_function(BenchmarkId::from_parameter(segments), |b| {
            b.iter(|| {
                let mut ahead = 0;
                while ahead < ready {
                    let (slots, verdict) = receiver.peek(shared.regions(), ahead, |piece| {
                        black_box(piece.desc);
                    });
                    assert_eq!(verdict, Ok(()));
                    ahead += slots;
                }
            });
        });
    }
    group.finish();
}

/// Packets into a burst: reserving space, and copying.
fn burst(c: &mut Criterion) {
    let mut group = c.benchmark_group("burst");
    for size in [64, 256, 1514] {
        let packet = vec![7; size];
        let mut burst = rings::empty(64);
        group.throughput(Throughput::Elements(64));
        group.bench_function(BenchmarkId::new("reserve", size), |b| {
            b.iter(|| {
                burst.clear();
                while black_box(burst.reserve(black_box(size))).is_ok() {}
            });
        });
        group.bench_function(BenchmarkId::new("push", size), |b| {
            b.iter(|| {
                burst.clear();
                while burst.push(black_box(&packet)).is_ok() {}
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = span, chains, burst
}
criterion_main!(benches);
