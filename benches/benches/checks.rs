//! Validation alone, and filling a burst: the parts of a packet's cost that are neither ring nor copy.
#![allow(missing_docs)] // criterion's macros make the public functions here

mod rings;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use memif_ring::layout::{DESC_FLAG_NEXT, Desc};
use memif_ring::mock::MockRegion;
use memif_ring::tail_side::TailReceiver;

const DESCRIPTORS: u16 = 1024;

/// 1024 descriptors that name good places, one after the other.
fn span(c: &mut Criterion) {
    let shared = MockRegion::new(rings::LOG2_SIZE, 2176, 2048);
    let (regions, first) = (shared.regions(), shared.geometry().0);
    let places: Vec<(u16, u32, u32)> =
        (0..u32::from(DESCRIPTORS)).map(|slot| (0, first + slot * 2176, 64)).collect();
    let mut group = c.benchmark_group("checks");
    group.throughput(Throughput::Elements(u64::from(DESCRIPTORS)));
    group.bench_function("span", |b| {
        b.iter(|| {
            for &(region, offset, len) in black_box(&places) {
                let _ = black_box(regions.span(region, offset, len));
            }
        });
    });
    group.finish();
}

/// A ring full of chains, looked at in place: the walk and the checks, no copy.
fn chains(c: &mut Criterion) {
    let mut group = c.benchmark_group("checks/chain");
    group.throughput(Throughput::Elements(u64::from(DESCRIPTORS)));
    for segments in [1, 2, 8, 32] {
        let shared = MockRegion::new(rings::LOG2_SIZE, 2176, 2048);
        for index in 0..DESCRIPTORS {
            let flags = if (index + 1) % segments == 0 { 0 } else { DESC_FLAG_NEXT };
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
                    let (slots, verdict) = receiver.peek(shared.regions(), ahead, |desc| {
                        black_box(desc);
                    });
                    assert_eq!(verdict, Ok(()));
                    ahead += slots;
                }
            });
        });
    }
    group.finish();
}

/// Packets into a burst: places for received ones, and copies of ready ones.
fn burst(c: &mut Criterion) {
    let mut group = c.benchmark_group("burst");
    for size in [64, 256, 1514] {
        let packet = vec![7; size];
        let mut burst = rings::empty(64);
        group.throughput(Throughput::Elements(64));
        group.bench_function(BenchmarkId::new("reserve", size), |b| {
            b.iter(|| {
                burst.clear();
                while black_box(burst.reserve(black_box(size))).is_some() {}
            });
        });
        group.bench_function(BenchmarkId::new("push", size), |b| {
            b.iter(|| {
                burst.clear();
                while burst.push(black_box(&packet)) {}
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
