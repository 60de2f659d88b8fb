//! Sizes of packets: one, or a mix.

use std::fmt;
use std::str::FromStr;

/// The library's default buffer size in bytes: larger packets take several buffers.
pub(crate) const BUFFER: u16 = 2048;
/// Smallest and largest size.
const RANGE: std::ops::RangeInclusive<u16> = 64..=9000;
/// The simple IMIX: 64, 570 and 1514 bytes, 7 : 4 : 1.
const IMIX: [u16; 12] = [64, 570, 64, 64, 570, 64, 1514, 64, 570, 64, 570, 64];

/// Sizes of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sizes {
    /// All alike.
    One(u16),
    /// 64, 570 and 1514 bytes, 7 : 4 : 1.
    Imix,
}

impl Sizes {
    /// The sizes in turn, over and over.
    pub(crate) fn pattern(&self) -> Vec<usize> {
        match self {
            Self::One(size) => vec![(*size).into()],
            Self::Imix => IMIX.map(usize::from).into(),
        }
    }

    /// Whether packets take several buffers.
    pub(crate) const fn are_chains(self) -> bool {
        matches!(self, Self::One(size) if size > BUFFER)
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(size) => write!(f, "{size}"),
            Self::Imix => f.write_str("imix"),
        }
    }
}

/// Neither a size nor a mix.
#[derive(Debug, thiserror::Error)]
#[error("neither `imix` nor a number of bytes from {} to {}", RANGE.start(), RANGE.end())]
pub(crate) struct NoSize;

impl FromStr for Sizes {
    type Err = NoSize;

    fn from_str(text: &str) -> Result<Self, NoSize> {
        if text == "imix" {
            return Ok(Self::Imix);
        }
        text.parse().ok().filter(|size| RANGE.contains(size)).map(Self::One).ok_or(NoSize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mix_has_its_shares() {
        let count = |size| Sizes::Imix.pattern().iter().filter(|each| **each == size).count();
        assert_eq!([64, 570, 1514].map(count), [7, 4, 1]);
    }

    #[test]
    fn packets_larger_than_a_buffer_are_chains() {
        let sizes = ["2048", "2049", "imix"].map(|text| text.parse::<Sizes>().unwrap().are_chains());
        assert_eq!(sizes, [false, true, false]);
    }

    #[test]
    fn sizes_are_read_and_written_alike() {
        for text in ["64", "9000", "imix"] {
            assert_eq!(text.parse::<Sizes>().unwrap().to_string(), text);
        }
        for text in ["63", "9001", "mix", ""] {
            assert!(text.parse::<Sizes>().unwrap_err().to_string().contains("64 to 9000"));
        }
    }
}
