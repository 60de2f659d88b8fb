//! Vector instructions for the data path.
//!
//! The loops have one source. [`Isa::run`] compiles it once for each instruction set; a link selects one when it is
//! made. With 32-byte moves, packets of 256 bytes went 2.2 times as fast as with the 16-byte moves that every x86-64
//! has.
//!
//! AVX-512, whose moves have 64 bytes, is used on Zen 4 alone; on the Xeon it was no faster. A packet of 64 bytes is one store
//! then. Mpps on Zen 4, cores near each other, medians of 3 in turn, bursts of 8 / 64; S2M is the same with both:
//!
//! | instructions | 64 B M2S | 256 B M2S | 1514 B M2S |
//! | --- | --- | --- | --- |
//! | AVX2 | 61 / 85 | 38 / 61 | 23 / 21 |
//! | **AVX-512** | 61 / 96 | 54 / 66 | 22 / 21 |
#![allow(unsafe_code)] // calls code compiled for instructions that not every processor has

#[cfg(target_arch = "x86_64")]
use crate::processor::is_zen4;

#[cfg(target_arch = "x86_64")]
cpufeatures::new!(avx2, "avx2");
#[cfg(target_arch = "x86_64")]
cpufeatures::new!(avx512, "avx512f", "avx512vl");

/// An instruction set that this processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Level);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// A kernel for [`Isa::run`]. `run` and what it calls must be `#[inline(always)]`: otherwise it is compiled separately,
/// for the baseline.
pub trait Work {
    /// The output.
    type Output;
    /// Runs the kernel with the instructions of the caller.
    fn run(self) -> Self::Output;
}

impl Isa {
    /// The instructions that every processor of the target has.
    pub const BASELINE: Self = Self(Level::Baseline);

    /// The fastest instruction set that the processor has and the operating system enables.
    #[must_use]
    pub fn best() -> Self {
        Self::available().last().unwrap_or(Self::BASELINE)
    }

    /// The instruction sets that links may use on this processor: it has them, the operating system enables them, and they were
    /// measured to be faster than those before them. The fastest one is last.
    pub fn available() -> impl Iterator<Item = Self> {
        let levels = [
            Some(Level::Baseline),
            #[cfg(target_arch = "x86_64")]
            avx2::get().then_some(Level::Avx2),
            #[cfg(target_arch = "x86_64")]
            (avx512::get() && is_zen4()).then_some(Level::Avx512),
        ];
        levels.into_iter().flatten().map(Self)
    }

    /// Runs `work` with these instructions. Costs one well-predicted branch: call it once a burst.
    #[inline(always)]
    pub fn run<W: Work>(self, work: W) -> W::Output {
        match self.0 {
            Level::Baseline => work.run(),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the processor has AVX2: `available` alone makes this Isa, after it looked.
            Level::Avx2 => unsafe { with_avx2(work) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the processor has AVX-512F and AVX-512VL: as above.
            Level::Avx512 => unsafe { with_avx512(work) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2<W: Work>(work: W) -> W::Output {
    work.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl")]
fn with_avx512<W: Work>(work: W) -> W::Output {
    work.run()
}
