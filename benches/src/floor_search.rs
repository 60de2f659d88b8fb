//! Finds the best setting of a floor on this machine, so that the floor is a bound that no link exceeds.

use std::cell::Cell;
use std::time::Duration;

use crate::direction::Direction;
use crate::distance::Usual;
use crate::error::Error;
use crate::floor::{Knobs, Shape, packets};
use crate::floor_copy::Kernel;
use crate::measured::Measured;
use crate::pair::{Cores, Timing};
use crate::ping_pong::ping_pong;

/// Packets in a burst, and descriptors in the ring, of every floor.
pub(crate) const BATCH: usize = 64;
/// See [`BATCH`].
pub(crate) const SLOTS: usize = 1024;
/// Shortest and longest sample of the search.
const POINT: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(25));
/// Settings that are measured again after one sample of each, and samples of each of these; the best one counts, as others have
/// been disturbed.
const FINALISTS: usize = 8;
/// See [`FINALISTS`].
const SAMPLES: usize = 3;
/// Most attempts for one sample: a sample with the cores at another distance does not count.
const ATTEMPTS: usize = 3;

/// Where buffers may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Packets one behind the other.
    Packed,
    /// Buffers of 2048 bytes, or of the packet if that is larger.
    Fixed,
    /// The better one of the two.
    Any,
}

impl Layout {
    /// The strides to try for packets of `size` bytes.
    fn strides(self, size: usize) -> Vec<usize> {
        // to the next line, or to the next pair of lines: some processors fetch lines in pairs
        let mut packed = vec![size.next_multiple_of(128), size.next_multiple_of(64)];
        packed.dedup();
        let least = size.max(2048);
        // as most peers lay out their buffers, and an odd number of line pairs, which spreads them over all cache sets
        let fixed = [least.next_multiple_of(2048), 128 * (least.div_ceil(128) | 1)];
        match self {
            Self::Packed => packed,
            Self::Fixed => fixed.into(),
            Self::Any => [&packed[..], &fixed].concat(),
        }
    }
}

/// A floor with the best setting that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Floor {
    /// The task.
    pub(crate) shape: Shape,
    /// Its best setting.
    pub(crate) knobs: Knobs,
}

/// Searches the best setting for packets of `size` bytes: one sample of each, and more of the best ones. One knob after the other would
/// not find it, as they depend on each other. `timing` is that of the samples to come; those of the search are shorter. Samples
/// count at the `usual` distance of the cores.
///
/// # Errors
/// See [`packets`].
pub(crate) fn search(
    size: usize,
    direction: Direction,
    layout: Layout,
    (cores, usual, timing): (Cores, Usual, Timing),
) -> Result<Floor, Error> {
    let time = (timing.time / 20).clamp(POINT.0, POINT.1);
    let point = Timing { warm_up: time / 5, time };
    let shape = Shape { size, batch: BATCH, slots: SLOTS, direction };
    // the look after a sample is the one before the next
    let last = Cell::new(ping_pong(cores)?);
    let knobs = best(settings(&layout.strides(size)), |knobs| {
        for _ in 0..ATTEMPTS {
            let sample = packets(shape, knobs, cores, point)?;
            let after = ping_pong(cores)?;
            let sample = Measured { line_ns: Some((last.replace(after), after)), ..sample };
            if usual.is_of(&sample) {
                return Ok(sample.values.first().copied().unwrap_or_default());
            }
        }
        Ok(0.0)
    })?;
    Ok(Floor { shape, knobs })
}

/// Every setting with one of these strides.
fn settings(strides: &[usize]) -> Vec<Knobs> {
    let mut all = Vec::new();
    for kernel in Kernel::available() {
        for stride in strides.iter().copied() {
            for in_turn in [true, false] {
                for ahead_tx in [0, 2, 4, 8] {
                    all.extend([0, 4].map(|ahead_rx| Knobs { kernel, stride, in_turn, ahead_tx, ahead_rx }));
                }
            }
        }
    }
    all
}

/// The setting with the highest rate.
fn best(settings: Vec<Knobs>, rate: impl Fn(Knobs) -> Result<f64, Error>) -> Result<Knobs, Error> {
    let one_each = settings.into_iter().map(|knobs| Ok((rate(knobs)?, knobs)));
    let mut found = one_each.collect::<Result<Vec<_>, Error>>()?;
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found.truncate(FINALISTS);
    for (top, knobs) in &mut found {
        for _ in 1..SAMPLES {
            *top = rate(*knobs)?.max(*top);
        }
    }
    let best = found.into_iter().max_by(|a, b| a.0.total_cmp(&b.0));
    best.map(|(_, knobs)| knobs).ok_or_else(|| Error::Unfit("a floor needs a stride".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_are_at_least_the_packet_size() {
        assert_eq!(Layout::Any.strides(64), [128, 64, 2048, 2176]);
        assert_eq!(Layout::Packed.strides(1514), [1536]);
        assert_eq!(Layout::Fixed.strides(9000), [10240, 9088]);
    }

    #[test]
    fn the_search_finds_the_best_setting_also_where_knobs_depend_on_each_other() {
        let all = settings(&[128, 2048]);
        let wanted =
            *all.iter().find(|knobs| knobs.stride == 2048 && !knobs.in_turn && knobs.ahead_tx == 4).unwrap();
        let tries = Cell::new(0);
        let found = best(all.clone(), |knobs| {
            tries.set(tries.get() + 1);
            Ok(if knobs == wanted {
                101.0
            } else if knobs.in_turn {
                100.0
            } else {
                50.0
            })
        });
        assert_eq!(found.unwrap(), wanted);
        assert_eq!(tries.get(), all.len() + FINALISTS * (SAMPLES - 1));
    }

    #[test]
    fn one_good_sample_among_bad_ones_counts() {
        let wanted = settings(&[128])[3];
        let tries = Cell::new(0);
        let found = best(settings(&[128]), |knobs| {
            tries.set(tries.get() + 1);
            Ok(if knobs != wanted {
                90.0
            } else if tries.get() < 10 {
                91.0
            } else {
                100.0 * f64::from(tries.get() % 2)
            })
        });
        assert_eq!(found.unwrap(), wanted);
    }

    #[test]
    fn without_a_stride_there_is_no_floor() {
        assert!(best(settings(&[]), |_| Ok(1.0)).is_err());
    }
}
