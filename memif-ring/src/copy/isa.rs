//! Which vector instructions the data path runs with.
//!
//! There is one body for all; [`Isa::run`] compiles it once for each instruction set, and a link chooses among them when
//! it is made. Wider stores matter more than their number says: with 32-byte moves packets of 256 bytes went 2.2 times as
//! fast as with the 16-byte ones that every x86-64 has. 64-byte moves were no faster.
#![allow(unsafe_code)] // calls what is compiled for instructions that not every processor has

/// An instruction set that this processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Level);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

/// Something to be done with the instructions of an [`Isa`]. `run` and what it calls must be `#[inline(always)]`, or it is
/// compiled apart and for the baseline.
pub trait Work {
    /// What comes of it.
    type Output;
    /// Does it.
    fn run(self) -> Self::Output;
}

impl Isa {
    /// What the target has in any case.
    pub const BASELINE: Self = Self(Level::Baseline);

    /// AVX2.
    ///
    /// # Safety
    /// The processor has AVX2, and the system keeps its registers.
    #[cfg(target_arch = "x86_64")]
    #[must_use]
    pub const unsafe fn avx2() -> Self {
        Self(Level::Avx2)
    }

    /// Does `work` with these instructions. Costs one branch that always goes the same way: ask once a burst.
    #[inline(always)]
    pub fn run<W: Work>(self, work: W) -> W::Output {
        match self.0 {
            Level::Baseline => work.run(),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: whoever made this Isa promised that the processor has AVX2.
            Level::Avx2 => unsafe { with_avx2(work) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2<W: Work>(work: W) -> W::Output {
    work.run()
}
