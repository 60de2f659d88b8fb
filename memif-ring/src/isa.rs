//! Vector instructions for the data path.
//!
//! The loops have one source. [`Isa::run`] compiles it once for each instruction set; a link selects one when it is
//! made. With 32-byte moves, packets of 256 bytes went 2.2 times as fast as with the 16-byte moves that every x86-64
//! has. AVX-512, whose moves have 64 bytes, is not used: on the Xeon it was no faster, and on a Zen 4 it made packets of 64
//! bytes from master to slave 1.15 times as fast, but 256 and 1514 bytes in bursts of 8 fell to 0.77 and 0.7.
#![allow(unsafe_code)] // calls code compiled for instructions that not every processor has

#[cfg(target_arch = "x86_64")]
cpufeatures::new!(avx2, "avx2");

/// An instruction set that this processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Level);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2,
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
        #[cfg(target_arch = "x86_64")]
        if avx2::get() {
            return Self(Level::Avx2);
        }
        Self::BASELINE
    }

    /// Runs `work` with these instructions. Costs one well-predicted branch: call it once a burst.
    #[inline(always)]
    pub fn run<W: Work>(self, work: W) -> W::Output {
        match self.0 {
            Level::Baseline => work.run(),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the processor has AVX2: `best` alone makes this Isa, after it looked.
            Level::Avx2 => unsafe { with_avx2(work) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2<W: Work>(work: W) -> W::Output {
    work.run()
}
