//! Both ends of one ring on one core: the cost of a packet without a second core, cache misses and the kernel.
#![allow(missing_docs)] // criterion's macros make the public functions here

mod rings;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use rings::{Direction, Line};

fn ring(c: &mut Criterion) {
    for direction in Direction::BOTH {
        let mut group = c.benchmark_group(format!("ring/{}", direction.name()));
        for size in [64, 256, 1514] {
            for burst in [1, 8, 32, 64, 256] {
                let memory = rings::memory();
                let mut line = Line::new(&memory, direction, size, burst);
                group.throughput(Throughput::Elements(burst as u64));
                group.bench_function(BenchmarkId::new(format!("{size}B"), burst), |b| {
                    b.iter(|| {
                        line.send();
                        line.receive()
                    });
                });
            }
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = ring
}
criterion_main!(benches);
