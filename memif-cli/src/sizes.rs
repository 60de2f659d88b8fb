//! Sizes of generated packets: a fixed size, a range, or the mix IMIX.

use crate::packet::{Framing, MAX_SIZE, MIN_SIZE, Version};

/// Frame sizes of the Internet mix, in the order in which they are sent: 7 of 64 bytes, 4 of 570, and one of 1514.
const IMIX: [u16; 12] = [64, 64, 570, 64, 64, 570, 64, 570, 64, 64, 570, 1514];

/// A size or a range of sizes from the command line, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SizeRange {
    min: u16,
    max: u16,
}

impl SizeRange {
    /// Packets of so many bytes.
    pub(crate) fn fixed(size: u16) -> Self {
        Self { min: size, max: size }
    }

    /// The smallest size.
    pub(crate) fn min(self) -> u16 {
        self.min
    }

    /// Reads `1514` or `64-9000`: 64 to 65535 bytes.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let size =
            |text: &str| text.parse().ok().filter(|size| (MIN_SIZE..=MAX_SIZE).contains(&usize::from(*size)));
        let (min, max) = text.split_once('-').unwrap_or((text, text));
        match (size(min), size(max)) {
            (Some(min), Some(max)) if min <= max => Ok(Self { min, max }),
            _ => Err(format!("write bytes in {MIN_SIZE}..={MAX_SIZE}, or a range such as 64-9000")),
        }
    }
}

/// Sizes of a stream's packets: each follows from the packet's sequence number alone, so every run of a generator has the
/// same ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sizes {
    /// All packets have so many bytes.
    Fixed(u16),
    /// Any size of a range, each as likely as any other.
    Range {
        /// The smallest size.
        min: u16,
        /// Number of sizes.
        count: u32,
    },
    /// These sizes in turn, repeatedly.
    Cycle([u16; IMIX.len()]),
}

impl Sizes {
    /// Packets of `size` bytes.
    pub(crate) const fn fixed(size: u16) -> Self {
        Self::Fixed(size)
    }

    /// Packets of `min` to `max` bytes.
    pub(crate) fn range(min: u16, max: u16) -> Self {
        Self::Range { min, count: u32::from(max.saturating_sub(min)) + 1 }
    }

    /// The mix of [`IMIX`]; in IP mode the same packets without their Ethernet headers. Those that are too short for this version
    /// of IP are longer.
    pub(crate) fn imix(framing: Framing, version: Version) -> Self {
        let shorter = Framing::Ethernet.min_size(version) - framing.min_size(version);
        let size = |size| (usize::from(size) - shorter).max(framing.min_size(version));
        Self::Cycle(IMIX.map(|of_frame| u16::try_from(size(of_frame)).unwrap_or_default()))
    }

    /// A mix of packets that are each `more` bytes longer.
    pub(crate) fn longer(self, more: u16) -> Self {
        match self {
            Self::Cycle(sizes) => Self::Cycle(sizes.map(|size| size.saturating_add(more))),
            other => other,
        }
    }

    /// Bytes of packet `sequence`.
    #[inline(always)]
    pub(crate) fn of(&self, sequence: u64) -> usize {
        match self {
            Self::Fixed(size) => usize::from(*size),
            Self::Range { min, count } => usize::from(*min) + spread(sequence, *count),
            Self::Cycle(sizes) => {
                let at = usize::try_from(sequence % sizes.len() as u64).unwrap_or_default();
                usize::from(sizes[at])
            }
        }
    }
}

impl From<SizeRange> for Sizes {
    fn from(SizeRange { min, max }: SizeRange) -> Self {
        if min == max { Self::fixed(min) } else { Self::range(min, max) }
    }
}

/// A number below `count`: the upper half of SplitMix64's output for `sequence`, scaled.
fn spread(sequence: u64, count: u32) -> usize {
    let mut mixed = sequence.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    let upper = (mixed ^ mixed >> 31) >> 32;
    ((upper * u64::from(count)) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_internet_mix_has_its_proportions() {
        for (framing, version, expected) in [
            (Framing::Ethernet, Version::V4, [64, 570, 1514]),
            (Framing::Ip, Version::V4, [50, 556, 1500]),
            (Framing::Ethernet, Version::V6, [84, 570, 1514]),
            (Framing::Ip, Version::V6, [70, 556, 1500]),
        ] {
            let sizes = Sizes::imix(framing, version);
            for first in [0, 1, u64::MAX - 40] {
                let seen: Vec<_> = (first..first + 12).map(|sequence| sizes.of(sequence)).collect();
                let counts = expected.map(|size| seen.iter().filter(|seen| **seen == size).count());
                // the cycle breaks at 2^64, which is not a multiple of 12; no run gets that far
                assert_eq!(counts, [7, 4, 1], "{framing:?} from {first}");
            }
        }
    }

    #[test]
    fn a_range_has_all_its_sizes_equally_often_and_no_other() {
        let sizes = Sizes::from(SizeRange::parse("64-163").unwrap());
        let mut counts = [0u32; 100];
        for sequence in 0..100_000 {
            counts[sizes.of(sequence) - 64] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
        assert_eq!(Sizes::range(64, 65535).of(u64::MAX), Sizes::range(64, 65535).of(u64::MAX));
    }

    #[test]
    fn sizes_of_a_range_are_the_same_in_every_run() {
        let first: Vec<_> = (0..6).map(|sequence| Sizes::range(64, 9000).of(sequence)).collect();
        // the first is of SplitMix64's known first output, 0xe220_a839_7b1d_cdaf
        assert_eq!(first, [7958, 3920, 300, 8740, 1014, 2989]);
    }

    #[test]
    fn sizes_are_parsed() {
        assert_eq!(SizeRange::parse("64").map(Sizes::from), Ok(Sizes::Fixed(64)));
        assert_eq!(SizeRange::parse("64-64").map(Sizes::from), Ok(Sizes::Fixed(64)));
        assert_eq!(SizeRange::parse("64-65535").map(Sizes::from), Ok(Sizes::range(64, 65535)));
        for text in ["", "63", "65536", "-", "64-", "-64", "65-64", "64-65536", "64-128-256", "64 - 128"] {
            assert!(SizeRange::parse(text).unwrap_err().contains("64-9000"), "{text}");
        }
    }
}
