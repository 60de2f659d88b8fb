//! Samples: taken in turns, rejected if disturbed, and summed up as medians.
//!
//! All rows of a run are measured once in each round, one after the other, so that disturbances affect all of them alike.
//! A sample during which an end lost more than [`LOST_LIMIT`] of the time on its core, or the cores were not at their
//! [usual distance](Usual), is taken again, up to [`ATTEMPTS`] times; if all are disturbed, the least disturbed one is kept
//! and marked. A sample
//! without a single packet gives no figure, and is taken again up to [`EMPTY_ATTEMPTS`] times.

use std::cmp::Ordering;
use std::io::{self, IsTerminal};

use memif_pmd::Stop;

use crate::distance::Usual;
use crate::error::Error;
use crate::measured::{Measured, median};

/// Maximum share of the time in which an end may be without its core.
pub(crate) const LOST_LIMIT: f64 = 0.02;
/// Maximum number of attempts at a sample.
const ATTEMPTS: usize = 4;
/// Maximum number of attempts while no packet has moved: on a loaded machine an end may have no core during a whole short sample.
const EMPTY_ATTEMPTS: usize = 20;

/// Number of latest distances of the cores that decide at once whether a sample is disturbed.
const LATEST: usize = 40;

/// Whether both ends had their cores, at the usual distance.
fn is_undisturbed(sample: &Measured, usual: &Usual) -> bool {
    sample.lost <= LOST_LIMIT && usual.is_of(sample)
}

/// A measure of a sample's disturbance: the smaller, the better.
fn rank(sample: &Measured, usual: &Usual) -> (bool, bool, f64) {
    (!sample.has_moved(), !usual.is_of(sample), sample.lost)
}

/// Takes one sample.
pub(crate) type Take<'a> = Box<dyn Fn() -> Result<Measured, Error> + 'a>;

/// A row of the report.
pub(crate) struct Row<'a> {
    /// Its cells, one for each of the report's columns.
    pub(crate) cells: Vec<String>,
    /// Measures it once.
    pub(crate) take: Take<'a>,
}

/// One round over all rows.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// The samples of each row: the one that is kept, and behind it those that were rejected.
    pub(crate) samples: Vec<Vec<Measured>>,
}

impl Round {
    fn kept(&self, row: usize) -> Option<&Measured> {
        self.samples.get(row)?.first()
    }
}

/// All rounds.
#[derive(Debug)]
pub(crate) struct Run {
    /// The usual distance of the cores.
    pub(crate) usual: Usual,
    /// In chronological order.
    pub(crate) rounds: Vec<Round>,
}

/// Result of a row over all rounds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Summary {
    /// Medians of all figures.
    pub(crate) medians: Vec<f64>,
    /// Minimum and maximum of the main figure.
    pub(crate) range: (f64, f64),
    /// Number of samples.
    pub(crate) samples: usize,
    /// Number of disturbed samples: all or none.
    pub(crate) disturbed: usize,
}

/// Median over the rounds of the ratio of two rows' main figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ratio {
    /// The ratio.
    pub(crate) value: f64,
    /// True if no round had both rows undisturbed: the ratio is not reliable.
    pub(crate) disturbed: bool,
}

impl Run {
    /// Takes rounds of samples. `look` measures the distance of the cores; `looks` are the distances measured before the run.
    ///
    /// The latest distances decide whether a sample is taken again. After the last round all distances decide which samples
    /// count, as the hypervisor may move the cores for the rest of the run.
    ///
    /// # Errors
    /// A row cannot be measured, or `stop` was called.
    pub(crate) fn take(
        rows: &[Row<'_>],
        rounds: usize,
        (mut looks, look): (Vec<f64>, &dyn Fn() -> Result<f64, Error>),
        stop: &Stop,
    ) -> Result<Self, Error> {
        let mut all = Vec::new();
        let watched = io::stderr().is_terminal();
        for number in 1..=rounds {
            let mut round = Round::default();
            for row in rows {
                if watched {
                    eprint!("\r\x1b[Kround {number} of {rounds}: {}", row.cells.join(" "));
                }
                round.samples.push(sample(row, (&mut looks, look), stop)?);
            }
            all.push(round);
        }
        if watched {
            eprint!("\r\x1b[K");
        }
        let usual = Usual::of(&looks);
        for samples in all.iter_mut().flat_map(|round| &mut round.samples) {
            samples.sort_by(|a, b| rank(a, &usual).partial_cmp(&rank(b, &usual)).unwrap_or(Ordering::Equal));
        }
        Ok(Self { usual, rounds: all })
    }

    /// Sums up a row: its undisturbed samples, or all if there are none.
    pub(crate) fn summary(&self, row: usize) -> Option<Summary> {
        let all: Vec<_> = self.rounds.iter().filter_map(|round| round.kept(row)).collect();
        let calm: Vec<_> = all.iter().copied().filter(|sample| is_undisturbed(sample, &self.usual)).collect();
        let (used, disturbed) = if calm.is_empty() { (&all, all.len()) } else { (&calm, 0) };
        let figures = used.first()?.values.len();
        let column = |at: usize| used.iter().filter_map(move |sample| sample.values.get(at).copied());
        let medians = (0..figures).map(|at| median(&mut column(at).collect::<Vec<_>>())).collect();
        let range = (column(0).fold(f64::INFINITY, f64::min), column(0).fold(f64::NEG_INFINITY, f64::max));
        Some(Summary { medians, range, samples: used.len(), disturbed })
    }

    /// Ratio of the main figures of two rows in the same round. Rounds in which one of them was disturbed are used only if
    /// there are no others.
    pub(crate) fn ratio(&self, row: usize, to: usize) -> Option<Ratio> {
        let pairs = self.rounds.iter().filter_map(|round| Some((round.kept(row)?, round.kept(to)?)));
        let pairs: Vec<_> = pairs.collect();
        let is_calm = |sample: &Measured| is_undisturbed(sample, &self.usual);
        let calm = pairs.iter().filter(|(a, b)| is_calm(a) && is_calm(b));
        let ratio = |(a, b): &(&Measured, &Measured)| Some(a.values.first()? / b.values.first()?);
        let mut ratios: Vec<f64> = calm.filter_map(ratio).collect();
        let disturbed = ratios.is_empty();
        if disturbed {
            ratios = pairs.iter().filter_map(ratio).collect();
        }
        (!ratios.is_empty()).then(|| Ratio { value: median(&mut ratios), disturbed })
    }

    /// Samples that were taken again.
    pub(crate) fn rejected(&self) -> usize {
        self.rounds
            .iter()
            .flat_map(|round| &round.samples)
            .map(|samples| samples.len().saturating_sub(1))
            .sum()
    }
}

/// Takes samples of a row, up to one that is not disturbed. Adds the distances of the cores to `looks`.
fn sample(
    row: &Row<'_>,
    (looks, look): (&mut Vec<f64>, &dyn Fn() -> Result<f64, Error>),
    stop: &Stop,
) -> Result<Vec<Measured>, Error> {
    let mut samples: Vec<Measured> = Vec::new();
    for attempt in 0..EMPTY_ATTEMPTS {
        if attempt >= ATTEMPTS && samples.iter().any(Measured::has_moved) {
            break;
        }
        if stop.is_stopped() {
            return Err(Error::Interrupted);
        }
        let before = look()?;
        let mut sample = (row.take)()?;
        let line_ns = match sample.line_ns {
            Some(line_ns) => line_ns,
            None => (before, look()?),
        };
        looks.extend([line_ns.0, line_ns.1]);
        sample.line_ns = Some(line_ns);
        // nothing has moved: an end had no core at all, whatever it says
        if !sample.has_moved() {
            sample.lost = 1.0;
        }
        let usual = Usual::of(looks.get(looks.len().saturating_sub(LATEST)..).unwrap_or_default());
        let is_undisturbed = is_undisturbed(&sample, &usual);
        samples.push(sample);
        if is_undisturbed {
            break;
        }
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn row(take: impl Fn() -> Measured + 'static) -> Row<'static> {
        Row { cells: Vec::new(), take: Box::new(move || Ok(take())) }
    }

    /// A row that gives these samples in turn: figure and lost share.
    fn samples(list: &'static [(f64, f64)]) -> Row<'static> {
        let next = Cell::new(0);
        row(move || {
            let (value, lost) = list[next.replace(next.get() + 1) % list.len()];
            Measured::new(vec![value], lost)
        })
    }

    /// Rounds of two cores whose usual distance is 100 ns.
    fn take(rows: &[Row<'_>], rounds: usize) -> Run {
        Run::take(rows, rounds, (vec![100.0], &|| Ok(100.0)), &Stop::new().unwrap()).unwrap()
    }

    #[test]
    fn medians_are_those_of_the_values() {
        assert!(median(&mut []).is_nan());
        assert_eq!([median(&mut [3.0, 1.0, 2.0]), median(&mut [4.0, 1.0])], [2.0, 2.5]);
    }

    #[test]
    fn disturbed_samples_are_taken_again_and_do_not_count() {
        let row = samples(&[(1.0, 0.5), (9.0, 0.0), (7.0, 0.3), (2.0, 0.2), (3.0, 0.4), (8.0, 0.01)]);
        let run = take(&[row], 2);
        let summary = run.summary(0).unwrap();
        assert_eq!(summary, Summary { medians: vec![8.5], range: (8.0, 9.0), samples: 2, disturbed: 0 });
        assert_eq!(run.rejected(), 4);
        // the least disturbed one where nothing better came
        let run = take(&[samples(&[(7.0, 0.3), (2.0, 0.2), (3.0, 0.4)])], 1);
        assert!((run.rounds[0].kept(0).unwrap().values[0] - 2.0).abs() < 1e-9);
    }

    #[test]
    fn a_sample_without_packets_is_taken_again() {
        let run = take(&[samples(&[(0.0, 0.0), (5.0, 0.01)])], 1);
        assert_eq!(run.summary(0).unwrap().range, (5.0, 5.0));
        assert_eq!(run.rejected(), 1);
    }

    #[test]
    fn samples_without_packets_are_taken_again_until_one_has_some() {
        const EMPTY: (f64, f64) = (0.0, 1.0);
        let next = Cell::new(0);
        let row = row(move || {
            let empty = next.replace(next.get() + 1) <= ATTEMPTS;
            if empty { Measured::new(vec![0.0], 1.0) } else { Measured::new(vec![5.0], 1.0) }
        });
        let run = take(&[row], 1);
        assert_eq!(run.summary(0).unwrap().range, (5.0, 5.0));
        assert_eq!(run.rejected(), ATTEMPTS + 1);
        let never = take(&[samples(&[EMPTY])], 1);
        assert_eq!(never.rejected() + 1, EMPTY_ATTEMPTS);
    }

    #[test]
    fn a_row_with_only_disturbed_samples_is_marked() {
        let run = take(&[samples(&[(5.0, 0.5)])], 2);
        let summary = run.summary(0).unwrap();
        assert_eq!((summary.samples, summary.disturbed), (2, 2));
        assert_eq!(run.ratio(0, 0), Some(Ratio { value: 1.0, disturbed: true }));
    }

    #[test]
    fn samples_at_another_distance_are_taken_again_and_do_not_count() {
        let distances = [(100.0, 100.0), (100.0, 400.0), (50.0, 100.0), (110.0, 90.0)];
        let next = Cell::new(0);
        let row = row(move || {
            let at = next.replace(next.get() + 1);
            Measured { line_ns: Some(distances[at % 4]), ..Measured::new(vec![at as f64 + 1.0], 0.0) }
        });
        let run = take(&[row], 2);
        assert_eq!(run.summary(0).unwrap().range, (1.0, 4.0));
        assert_eq!(run.rejected(), 2);
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let rows = [samples(&[(10.0, 0.0), (30.0, 0.0), (90.0, 0.0)]), samples(&[(5.0, 0.0), (10.0, 0.0)])];
        let run = take(&rows, 3);
        assert_eq!(run.ratio(0, 1), Some(Ratio { value: 3.0, disturbed: false }));
        assert_eq!(run.ratio(0, 2), None);
    }

    #[test]
    fn ctrl_c_ends_the_rounds() {
        let stop = Stop::new().unwrap();
        stop.stop();
        let result = Run::take(&[samples(&[(5.0, 0.0)])], 2, (vec![100.0], &|| Ok(100.0)), &stop);
        assert!(matches!(result, Err(Error::Interrupted)));
    }
}
