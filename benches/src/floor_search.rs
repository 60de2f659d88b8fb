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
/// Samples of each setting; the best one counts, as others have been disturbed.
const SAMPLES: usize = 2;
/// Most attempts for one sample: a sample with the cores at another distance does not count.
const ATTEMPTS: usize = 3;
/// Ratio by which the rate of a setting must exceed that of another to replace it: smaller differences are noise.
const BETTER: f64 = 1.02;

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

/// Searches the best setting for packets of `size` bytes: from a good one, one knob after the other, twice. `timing` is that of the
/// samples to come; those of the search are shorter. Samples count at the `usual` distance of the cores.
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
    let knobs = best(&choices(layout.strides(size)), |knobs| {
        let (mut best, mut samples) = (0.0_f64, 0);
        for _ in 0..ATTEMPTS {
            let sample = packets(shape, knobs, cores, point)?;
            let after = ping_pong(cores)?;
            let sample = Measured { line_ns: Some((last.replace(after), after)), ..sample };
            if usual.is_of(&sample) {
                best = sample.values.first().copied().unwrap_or_default().max(best);
                samples += 1;
            }
            if samples == SAMPLES {
                break;
            }
        }
        Ok(best)
    })?;
    Ok(Floor { shape, knobs })
}

/// The values of each knob, the first ones to begin with.
#[derive(Debug)]
struct Choices {
    kernels: Vec<Kernel>,
    strides: Vec<usize>,
    in_turn: [bool; 2],
    ahead_tx: [usize; 4],
    ahead_rx: [usize; 2],
}

fn choices(strides: Vec<usize>) -> Choices {
    let mut kernels = Kernel::available();
    kernels.reverse();
    Choices { kernels, strides, in_turn: [true, false], ahead_tx: [8, 0, 2, 4], ahead_rx: [0, 4] }
}

/// The setting with the highest rate.
fn best(choices: &Choices, rate: impl Fn(Knobs) -> Result<f64, Error>) -> Result<Knobs, Error> {
    let (Some(kernel), Some(stride)) = (choices.kernels.first(), choices.strides.first()) else {
        return Err(Error::Unfit("a floor needs a copy and a stride".into()));
    };
    let [in_turn, ..] = choices.in_turn;
    let ([ahead_tx, ..], [ahead_rx, ..]) = (choices.ahead_tx, choices.ahead_rx);
    let mut knobs = Knobs { kernel: *kernel, stride: *stride, in_turn, ahead_tx, ahead_rx };
    let mut top = rate(knobs)?;
    let mut tried = vec![knobs];
    for _ in 0..2 {
        let before = knobs;
        for knob in 0..5 {
            for candidate in choices.turned(knobs, knob) {
                if tried.contains(&candidate) {
                    continue;
                }
                tried.push(candidate);
                let got = rate(candidate)?;
                if got > top * BETTER {
                    (knobs, top) = (candidate, got);
                }
            }
        }
        if knobs == before {
            break;
        }
    }
    Ok(knobs)
}

impl Choices {
    /// The setting with each value of one knob.
    fn turned(&self, knobs: Knobs, knob: usize) -> Vec<Knobs> {
        match knob {
            0 => self.strides.iter().map(|stride| Knobs { stride: *stride, ..knobs }).collect(),
            1 => self.kernels.iter().map(|kernel| Knobs { kernel: *kernel, ..knobs }).collect(),
            2 => self.ahead_tx.map(|ahead_tx| Knobs { ahead_tx, ..knobs }).into(),
            3 => self.in_turn.map(|in_turn| Knobs { in_turn, ..knobs }).into(),
            _ => self.ahead_rx.map(|ahead_rx| Knobs { ahead_rx, ..knobs }).into(),
        }
    }
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
    fn the_search_finds_the_best_setting_and_tries_none_twice() {
        let tries = Cell::new(0);
        let found = best(&choices(vec![128, 2048]), |knobs| {
            tries.set(tries.get() + 1);
            let good = [
                knobs.kernel == Kernel::Memcpy,
                knobs.stride == 2048,
                !knobs.in_turn,
                knobs.ahead_tx == 4,
                knobs.ahead_rx == 4,
            ];
            Ok(100.0 + 10.0 * good.into_iter().filter(|good| *good).count() as f64)
        })
        .unwrap();
        let wanted = Knobs { kernel: Kernel::Memcpy, stride: 2048, in_turn: false, ahead_tx: 4, ahead_rx: 4 };
        assert_eq!(found, wanted);
        assert!(tries.get() <= 2 * (1 + 1 + 2 + 3 + 1 + 1), "{}", tries.get());
    }

    #[test]
    fn what_is_no_better_than_noise_replaces_nothing() {
        let choices = choices(vec![128, 2048]);
        let first = choices.kernels[0];
        let found = best(&choices, |knobs| Ok(if knobs.stride == 128 { 100.0 } else { 101.0 })).unwrap();
        assert_eq!((found.stride, found.kernel), (128, first));
    }
}
