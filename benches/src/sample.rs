//! Samples: taken in turns, looked at with suspicion, and summed up as medians.
//!
//! All rows of a run are measured once in each round, one after the other, so that what the machine does to one it does
//! to all. A sample during which an end lost more than [`LOST_LIMIT`] of the time on its core is taken again, up to
//! [`ATTEMPTS`] times; the least disturbed is kept, and marked if it is over the limit. Each round lies between two
//! ping-pongs: one that is slower than [`PING_LIMIT`] times the best says that the cores were far apart just then (the
//! hypervisor moves them), and the round counts for nothing.

use std::io::{self, IsTerminal};

use memif_pmd::Stop;

use crate::error::Error;

/// Largest share of the time that an end may be without its core.
pub(crate) const LOST_LIMIT: f64 = 0.02;
/// How often a sample is taken at most.
const ATTEMPTS: usize = 3;
/// Slowest ping-pong of a round that counts, in multiples of the run's best.
pub(crate) const PING_LIMIT: f64 = 1.5;

/// What one sample came to.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// The figures, the main one first.
    pub(crate) values: Vec<f64>,
    /// The larger share of the time that an end was without its core, 0 to 1.
    pub(crate) lost: f64,
}

impl Measured {
    /// Whether both ends had their cores.
    pub(crate) fn is_undisturbed(&self) -> bool {
        self.lost <= LOST_LIMIT
    }
}

/// Takes one sample.
pub(crate) type Take<'a> = Box<dyn Fn() -> Result<Measured, Error> + 'a>;

/// Something to measure.
pub(crate) struct Row<'a> {
    /// What tells it from the others, a cell for each of the report's columns.
    pub(crate) cells: Vec<String>,
    /// Measures it once.
    pub(crate) take: Take<'a>,
}

/// One round over all rows.
#[derive(Debug)]
pub(crate) struct Round {
    /// Nanoseconds of the ping-pongs before and after it.
    pub(crate) ping: (f64, f64),
    /// The sample that was kept of each row.
    pub(crate) kept: Vec<Measured>,
    /// The samples that were not.
    pub(crate) rejected: Vec<(usize, Measured)>,
}

impl Round {
    fn slowest_ping(&self) -> f64 {
        self.ping.0.max(self.ping.1)
    }
}

/// All rounds.
#[derive(Debug, Default)]
pub(crate) struct Run {
    /// In the order of time.
    pub(crate) rounds: Vec<Round>,
}

/// What a row came to over all rounds that count.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Summary {
    /// Medians of all figures.
    pub(crate) medians: Vec<f64>,
    /// Least and largest main figure.
    pub(crate) range: (f64, f64),
    /// Samples that this is made of.
    pub(crate) samples: usize,
    /// How many of them were disturbed: all or none.
    pub(crate) disturbed: usize,
}

/// Median over the rounds of one row's main figure by another's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ratio {
    /// How many times as large.
    pub(crate) value: f64,
    /// No round had both rows undisturbed: not to be believed.
    pub(crate) disturbed: bool,
}

impl Ratio {
    /// The lesser of two.
    pub(crate) fn min(self, other: Self) -> Self {
        if other.value < self.value { other } else { self }
    }
}

impl Run {
    /// Takes `rounds` rounds that count, or twice as many in all.
    ///
    /// # Errors
    /// A row cannot be measured, or `stop` was called.
    pub(crate) fn take(
        rows: &[Row<'_>],
        rounds: usize,
        ping: impl Fn() -> Result<f64, Error>,
        stop: &Stop,
    ) -> Result<Self, Error> {
        let mut run = Self::default();
        let watched = io::stderr().is_terminal();
        let mut before = ping()?;
        while run.counting().count() < rounds && run.rounds.len() < 2 * rounds {
            let mut round = Round { ping: (before, 0.0), kept: Vec::new(), rejected: Vec::new() };
            for (index, row) in rows.iter().enumerate() {
                if watched {
                    eprint!("\r\x1b[Kround {} of {rounds}: {}", run.rounds.len() + 1, row.cells.join(" "));
                }
                round.sample(index, row, stop)?;
            }
            before = ping()?;
            round.ping.1 = before;
            run.rounds.push(round);
        }
        if watched {
            eprint!("\r\x1b[K");
        }
        Ok(run)
    }

    /// The fastest round's slower ping-pong, in nanoseconds.
    pub(crate) fn best_ping(&self) -> f64 {
        self.rounds.iter().map(Round::slowest_ping).fold(f64::INFINITY, f64::min)
    }

    /// Whether a round counts.
    pub(crate) fn counts(&self, round: &Round) -> bool {
        round.slowest_ping() <= PING_LIMIT * self.best_ping()
    }

    fn counting(&self) -> impl Iterator<Item = &Round> {
        self.rounds.iter().filter(|round| self.counts(round))
    }

    /// Sums up a row: its undisturbed samples, or all when there is none.
    pub(crate) fn summary(&self, row: usize) -> Option<Summary> {
        let all: Vec<_> = self.counting().filter_map(|round| round.kept.get(row)).collect();
        let calm: Vec<_> = all.iter().copied().filter(|sample| sample.is_undisturbed()).collect();
        let (used, disturbed) = if calm.is_empty() { (&all, all.len()) } else { (&calm, 0) };
        let figures = used.first()?.values.len();
        let column = |at: usize| used.iter().filter_map(move |sample| sample.values.get(at).copied());
        let medians = (0..figures).map(|at| median(&mut column(at).collect::<Vec<_>>())).collect();
        let range = (column(0).fold(f64::INFINITY, f64::min), column(0).fold(f64::NEG_INFINITY, f64::max));
        Some(Summary { medians, range, samples: used.len(), disturbed })
    }

    /// A row's main figure by that of another row in the same round. Rounds in which one of the two was disturbed count
    /// only when there is no other.
    pub(crate) fn ratio(&self, row: usize, to: usize) -> Option<Ratio> {
        let pairs = self.counting().filter_map(|round| Some((round.kept.get(row)?, round.kept.get(to)?)));
        let pairs: Vec<_> = pairs.collect();
        let calm = pairs.iter().filter(|(a, b)| a.is_undisturbed() && b.is_undisturbed());
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
        self.rounds.iter().map(|round| round.rejected.len()).sum()
    }
}

impl Round {
    fn sample(&mut self, index: usize, row: &Row<'_>, stop: &Stop) -> Result<(), Error> {
        let mut best: Option<Measured> = None;
        for _ in 0..ATTEMPTS {
            if stop.is_stopped() {
                return Err(Error::Interrupted);
            }
            let mut sample = (row.take)()?;
            // nothing has moved: an end had no core at all, whatever it says
            if sample.values.first().is_none_or(|value| *value <= 0.0) {
                sample.lost = 1.0;
            }
            let better = best.as_ref().is_none_or(|best| sample.lost < best.lost);
            let worse = if better { best.replace(sample) } else { Some(sample) };
            self.rejected.extend(worse.map(|worse| (index, worse)));
            if best.as_ref().is_some_and(Measured::is_undisturbed) {
                break;
            }
        }
        self.kept.extend(best);
        Ok(())
    }
}

/// The middle one, or the mean of the two in the middle; not a number when there is none.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.len() % 2, values.get(middle)) {
        (_, None) => f64::NAN,
        (1, Some(middle)) => *middle,
        (_, Some(above)) => values.get(middle - 1).map_or(*above, |below| f64::midpoint(*below, *above)),
    }
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
            Measured { values: vec![value], lost }
        })
    }

    fn pings(list: &'static [f64]) -> impl Fn() -> Result<f64, Error> {
        let next = Cell::new(0);
        move || Ok(list[next.replace(next.get() + 1) % list.len()])
    }

    #[test]
    fn medians() {
        assert!(median(&mut []).is_nan());
        assert_eq!([median(&mut [3.0, 1.0, 2.0]), median(&mut [4.0, 1.0])], [2.0, 2.5]);
    }

    #[test]
    fn disturbed_samples_are_taken_again_and_do_not_count() {
        let row = samples(&[(1.0, 0.5), (9.0, 0.0), (7.0, 0.3), (2.0, 0.2), (3.0, 0.4), (8.0, 0.01)]);
        let run = Run::take(&[row], 3, pings(&[100.0]), &Stop::new()).unwrap();
        let summary = run.summary(0).unwrap();
        assert_eq!(summary, Summary { medians: vec![8.5], range: (8.0, 9.0), samples: 2, disturbed: 0 });
        assert_eq!(run.rejected(), 3);
        // the least disturbed of the second round, which nothing better came of
        assert!((run.rounds[1].kept[0].values[0] - 2.0).abs() < 1e-9);
    }

    #[test]
    fn a_sample_in_which_nothing_moved_is_taken_again() {
        let run =
            Run::take(&[samples(&[(0.0, 0.0), (5.0, 0.01)])], 1, pings(&[100.0]), &Stop::new()).unwrap();
        assert_eq!(run.summary(0).unwrap().range, (5.0, 5.0));
        assert_eq!(run.rejected(), 1);
    }

    #[test]
    fn samples_that_are_all_disturbed_are_shown_as_such() {
        let run = Run::take(&[samples(&[(5.0, 0.5)])], 2, pings(&[100.0]), &Stop::new()).unwrap();
        let summary = run.summary(0).unwrap();
        assert_eq!((summary.samples, summary.disturbed), (2, 2));
        assert_eq!(run.ratio(0, 0), Some(Ratio { value: 1.0, disturbed: true }));
    }

    #[test]
    fn rounds_with_the_cores_far_apart_do_not_count() {
        let row = samples(&[(5.0, 0.0), (1.0, 0.0), (1.0, 0.0), (6.0, 0.0)]);
        let run = Run::take(&[row], 2, pings(&[100.0, 110.0, 400.0, 120.0, 100.0]), &Stop::new()).unwrap();
        assert_eq!(run.rounds.len(), 4);
        assert_eq!(run.summary(0).unwrap().range, (5.0, 6.0));
    }

    #[test]
    fn rounds_end_even_when_none_is_good_enough() {
        let run =
            Run::take(&[samples(&[(5.0, 0.0)])], 2, pings(&[100.0, 400.0, 900.0]), &Stop::new()).unwrap();
        assert_eq!(run.rounds.len(), 4);
        assert!(run.summary(0).is_some());
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let rows = [samples(&[(10.0, 0.0), (30.0, 0.0), (90.0, 0.0)]), samples(&[(5.0, 0.0), (10.0, 0.0)])];
        let run = Run::take(&rows, 3, pings(&[100.0]), &Stop::new()).unwrap();
        assert_eq!(run.ratio(0, 1), Some(Ratio { value: 3.0, disturbed: false }));
        assert_eq!(run.ratio(0, 2), None);
    }

    #[test]
    fn ctrl_c_ends_it() {
        let stop = Stop::new();
        stop.stop();
        let result = Run::take(&[samples(&[(5.0, 0.0)])], 2, pings(&[100.0]), &stop);
        assert!(matches!(result, Err(Error::Interrupted)));
    }
}
