use super::*;
use proptest::prelude::*;
extern crate std;
use std::{vec, vec::Vec};

const GUARD: usize = 64;

/// Copies `len` bytes at the given misalignments inside guarded buffers and compares with the oracle, guards included.
fn check(len: usize, dst_skew: usize, src_skew: usize) {
    let src: Vec<u8> = (0..len + src_skew + GUARD).map(|i| (i * 131 + 7) as u8).collect();
    let mut got = vec![0xEE; dst_skew + len + GUARD];
    let mut want = got.clone();
    let from = &src[src_skew..src_skew + len];
    naive::copy(&mut want[dst_skew..dst_skew + len], from);
    // SAFETY: both ranges lie within vectors made for them, which are distinct.
    unsafe { copy(got.as_mut_ptr().add(dst_skew), from.as_ptr(), len) };
    assert_eq!(got, want, "len {len}, skews {dst_skew} and {src_skew}");
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
