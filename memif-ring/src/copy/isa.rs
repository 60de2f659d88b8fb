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

    /// The widest that this processor has, that its system keeps the registers of, and that pays.
    #[must_use]
    pub fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if has_avx2() {
            return Self(Level::Avx2);
        }
        Self::BASELINE
    }

    /// Does `work` with these instructions. Costs one branch that always goes the same way: ask once a burst.
    #[inline(always)]
    pub fn run<W: Work>(self, work: W) -> W::Output {
        match self.0 {
            Level::Baseline => work.run(),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `best` made this Isa, the only one that makes others than the baseline: the processor has AVX2.
            Level::Avx2 => unsafe { with_avx2(work) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2<W: Work>(work: W) -> W::Output {
    work.run()
}

/// As Intel's manual has it (volume 1, "Detection of AVX2"): the processor has it, and the system saves its registers.
#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    use core::arch::x86_64::{__cpuid, __cpuid_count};

    const OSXSAVE_AND_AVX: u32 = 1 << 27 | 1 << 28;
    const AVX2: u32 = 1 << 5;
    const XMM_AND_YMM: u64 = 0b110;
    let (highest, features) = (__cpuid(0).eax, __cpuid(1).ecx);
    // SAFETY: the processor has `xgetbv` where it says OSXSAVE, which is asked first.
    let kept = || unsafe { enabled_registers() } & XMM_AND_YMM == XMM_AND_YMM;
    highest >= 7
        && features & OSXSAVE_AND_AVX == OSXSAVE_AND_AVX
        && __cpuid_count(7, 0).ebx & AVX2 != 0
        && kept()
}

/// Which registers the system saves when it switches threads.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "xsave")]
fn enabled_registers() -> u64 {
    // SAFETY: register 0 is there wherever the instruction is.
    unsafe { core::arch::x86_64::_xgetbv(0) }
}
