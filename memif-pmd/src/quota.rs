//! What one interface may use of the process, so that its peer leaves enough for the peers of the others.
//!
//! The limits of the process are divided by the number of its interfaces. A slave of the field offers two or three regions,
//! so no honest one meets its quota.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use memif_os::limits;

/// Fewest and most regions of an interface.
const REGIONS: (u64, u64) = (8, 64);
/// Fewest and most bytes that all regions of an interface may have: 1 GiB, and 256 GiB, which is several times the packet
/// memory of any peer in the field.
const BYTES: (u64, u64) = (1 << 30, 1 << 38);
/// Address space for the regions of all peers: a quarter of what a process has on x86-64.
const ADDRESS_SPACE: u64 = 1 << 45;
/// The part of the process's descriptors and mappings that regions may use.
const PART: u64 = 4;

/// Interfaces of the process.
static INTERFACES: AtomicU64 = AtomicU64::new(0);

/// One interface, counted for as long as this lives.
#[derive(Debug)]
pub(crate) struct Counted(());

impl Counted {
    pub(crate) fn new() -> Self {
        INTERFACES.fetch_add(1, Ordering::Relaxed); // Relaxed: a count orders nothing
        Self(())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        INTERFACES.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the peer of an interface may use of the process. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quota {
    /// Regions of one link.
    pub(crate) regions: u16,
    /// Bytes of all regions of one link.
    pub(crate) bytes: u64,
}

impl Quota {
    /// The quota of an interface at present: more interfaces make it smaller. Asks the kernel for the limit of descriptors,
    /// which a program may change.
    pub(crate) fn now() -> Self {
        static MAPPINGS: OnceLock<u64> = OnceLock::new();
        let mappings = *MAPPINGS.get_or_init(limits::mappings);
        Self::of(INTERFACES.load(Ordering::Relaxed), limits::descriptors(), mappings)
    }

    /// Descriptors and regions that may wait to be closed or unmapped before there is a new link: what one attempt leaves.
    pub(crate) fn waiting(self, rings: u16) -> usize {
        usize::from(self.regions) + usize::from(rings)
    }

    fn of(interfaces: u64, descriptors: u64, mappings: u64) -> Self {
        let interfaces = interfaces.max(1);
        let regions = (descriptors.min(mappings) / PART / interfaces).clamp(REGIONS.0, REGIONS.1);
        Self {
            regions: u16::try_from(regions).unwrap_or(u16::MAX),
            bytes: (ADDRESS_SPACE / interfaces).clamp(BYTES.0, BYTES.1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_share_what_the_process_has() {
        for (interfaces, descriptors, regions) in [
            (0, 1024, 64),
            (4, 1024, 64),
            (8, 1024, 32),
            (32, 1024, 8),
            (1000, 1024, 8),
            (1, 20, 8),
            (256, 1 << 20, 63),
        ] {
            let quota = Quota::of(interfaces, descriptors, 65_530);
            assert_eq!(quota.regions, regions, "{interfaces} interfaces, {descriptors} descriptors");
        }
        assert_eq!(Quota::of(1, 1024, 65_530).bytes, 256 << 30);
        assert_eq!(Quota::of(1 << 20, 1024, 65_530).bytes, 1 << 30);
    }

    #[test]
    fn all_interfaces_together_stay_within_the_mappings_of_the_process() {
        for interfaces in 1..2000 {
            let quota = Quota::of(interfaces, u64::MAX, 65_530);
            assert!(u64::from(quota.regions) * interfaces <= 65_530 / 4, "{interfaces} interfaces");
            assert!(quota.bytes * interfaces <= 1 << 46);
        }
    }

    #[test]
    fn interfaces_count_while_they_live() {
        let before = INTERFACES.load(Ordering::Relaxed);
        for _ in 0..10_000 {
            drop(Counted::new());
        }
        let one = Counted::new();
        assert!(INTERFACES.load(Ordering::Relaxed) >= 1);
        drop(one);
        // other tests open interfaces at the same time
        assert!(INTERFACES.load(Ordering::Relaxed) < before + 1_000);
    }
}
