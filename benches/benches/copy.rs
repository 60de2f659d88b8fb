//! The copy kernels, with the baseline's instructions and with the best that there are, out of shared memory into private
//! memory, next to the platform's `memcpy` and the naive oracle.
#![allow(missing_docs)] // criterion's macros make the public functions here

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use memif_ring::isa::{Isa, Work};
use memif_ring::mock::MockRegion;
use memif_ring::shm::{Span, SpanMut};

/// Powers of two, their neighbours, and the sizes that packets have.
const SIZES: [usize; 30] = [
    1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 33, 60, 63, 64, 65, 100, 127, 128, 129, 200, 255, 256, 257, 512, 1024,
    1514, 2048, 4096, 9000, 9216,
];
const LARGEST: usize = 9216;

struct Kernel<'a> {
    span: Span<'a>,
    dst: &'a mut [u8],
}

impl Work for Kernel<'_> {
    type Output = usize;

    #[inline(always)]
    fn run(self) -> usize {
        self.span.copy_to(self.dst)
    }
}

fn naive(dst: &mut [u8], src: &[u8]) {
    for (to, from) in dst.iter_mut().zip(src) {
        // hidden, or the compiler knows the loop for a memcpy
        *to = black_box(*from);
    }
}

fn copy(c: &mut Criterion) {
    let shared = MockRegion::new(1, 16 * 1024, 16 * 1024);
    let first = shared.geometry().0;
    let src = vec![7; LARGEST];
    let mut dst = vec![0; LARGEST];
    let mut group = c.benchmark_group("copy");
    for size in SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        let len = u32::try_from(size).unwrap_or_default();
        let Ok(span) = shared.span(first, len).map(SpanMut::into_span) else { continue };
        for (name, isa) in [("baseline", Isa::BASELINE), ("best", Isa::best())] {
            group.bench_with_input(BenchmarkId::new(name, size), &size, |b, &size| {
                b.iter(|| isa.run(Kernel { span: black_box(span), dst: black_box(&mut dst[..size]) }));
            });
        }
        group.bench_with_input(BenchmarkId::new("memcpy", size), &size, |b, &size| {
            b.iter(|| black_box(&mut dst[..size]).copy_from_slice(black_box(&src[..size])));
        });
        group.bench_with_input(BenchmarkId::new("naive", size), &size, |b, &size| {
            b.iter(|| naive(black_box(&mut dst[..size]), black_box(&src[..size])));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(600));
    targets = copy
}
criterion_main!(benches);
