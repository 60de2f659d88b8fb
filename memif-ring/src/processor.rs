//! Detects the processors on which the data path works differently.

use core::sync::atomic::{AtomicU8, Ordering};

/// What [`is_zen4`] has found; asking the processor takes long in a virtual machine.
static FOUND: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const OTHER: u8 = 1;
const ZEN4: u8 = 2;

/// Whether this is an AMD Zen 4.
pub(crate) fn is_zen4() -> bool {
    // Relaxed: the value orders nothing, and two threads that ask at once store the same
    let mut found = FOUND.load(Ordering::Relaxed);
    if found == UNKNOWN {
        found = if ask() { ZEN4 } else { OTHER };
        FOUND.store(found, Ordering::Relaxed);
    }
    found == ZEN4
}

/// Family 25 is Zen 3 and Zen 4, of which Zen 4 alone has AVX-512.
#[cfg(target_arch = "x86_64")]
fn ask() -> bool {
    let processor = raw_cpuid::CpuId::new();
    let is_amd = processor.get_vendor_info().is_some_and(|vendor| vendor.as_str() == "AuthenticAMD");
    let family = processor.get_feature_info().map(|info| info.family_id());
    let has_avx512 = processor.get_extended_feature_info().is_some_and(|info| info.has_avx512f());
    is_amd && family == Some(25) && has_avx512
}

#[cfg(not(target_arch = "x86_64"))]
fn ask() -> bool {
    false
}
