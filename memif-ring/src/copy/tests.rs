use super::*;
use crate::isa::{Isa, Work};
use proptest::prelude::*;
extern crate std;
use std::{vec, vec::Vec};

const GUARD: usize = 64;

struct Copy<'a> {
    dst: &'a mut [u8],
    src: &'a [u8],
}

impl Work for Copy<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let len = self.src.len().min(self.dst.len());
        // SAFETY: both slices hold `len` bytes, and they are distinct.
        unsafe { copy(self.dst.as_mut_ptr(), self.src.as_ptr(), len) }
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_best_is_what_the_standard_library_detects() {
    assert_eq!(Isa::best() != Isa::BASELINE, std::is_x86_feature_detected!("avx2"));
}

/// Copies `len` bytes at the given misalignments inside guarded buffers and compares with the oracle, guards included.
fn check(len: usize, dst_skew: usize, src_skew: usize) {
    for isa in Isa::available() {
        check_with(isa, len, dst_skew, src_skew);
    }
}

fn check_with(isa: Isa, len: usize, dst_skew: usize, src_skew: usize) {
    let src: Vec<u8> = (0..len + src_skew + GUARD).map(|i| (i * 131 + 7) as u8).collect();
    let mut got = vec![0xEE; dst_skew + len + GUARD];
    let mut want = got.clone();
    let from = &src[src_skew..src_skew + len];
    naive::copy(&mut want[dst_skew..dst_skew + len], from);
    isa.run(Copy { dst: &mut got[dst_skew..dst_skew + len], src: from });
    assert_eq!(got, want, "{isa:?}, len {len}, skews {dst_skew} and {src_skew}");
}

#[test]
fn every_size_up_to_twice_the_inline_limit() {
    for len in 0..=2 * INLINE_MAX {
        check(len, 0, 0);
        check(len, 1, 3);
    }
}

proptest! {
    #[test]
    fn agrees_with_the_oracle(len in 0usize..=9216, dst_skew in 0usize..GUARD, src_skew in 0usize..GUARD) {
        check(len, dst_skew, src_skew);
    }
}
