//! Measures how far apart the two cores are, before and after each sample.
//!
//! A hypervisor may move virtual cores at any time: to two threads of one physical core, to neighbouring cores, or to different
//! core complexes. Moving a cache line between them can then take several times as long, and so does every transfer of packets.
//! The time that a cache line takes is therefore measured before and after each sample. Samples at an unusual distance do not
//! count.

use std::thread;
use std::time::Duration;

use crate::error::Error;
use crate::measured::Measured;
use crate::pair::Cores;
use crate::ping_pong::ping_pong;

/// Number of times that the distance is measured before a run.
const LOOKS: usize = 30;
/// Time between two of them. All together take most of a second, as cores may stay in place for some tenths of one.
const BETWEEN: Duration = Duration::from_millis(25);
/// Two distances count as the same up to this ratio.
const SAME: f64 = 1.3;

/// The usual distance of two cores: the time in nanoseconds that a cache line takes to the other core and back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usual {
    /// The most frequent distance.
    pub(crate) ns: f64,
    /// The shortest and the longest distance measured.
    pub(crate) range: (f64, f64),
}

impl Usual {
    /// The most frequent of these distances; the shortest one if several are equally frequent.
    pub(crate) fn of(looks: &[f64]) -> Self {
        let mut usual = Self { ns: f64::NAN, range: (f64::INFINITY, 0.0) };
        let mut most = 0;
        for ns in looks.iter().copied() {
            let equal = looks.iter().filter(|other| same(ns, **other)).count();
            if equal > most || (equal == most && ns < usual.ns) {
                (usual.ns, most) = (ns, equal);
            }
            usual.range = (usual.range.0.min(ns), usual.range.1.max(ns));
        }
        usual
    }

    /// Whether a sample was taken at this distance. True if the distance was not measured with the sample.
    pub(crate) fn is_of(&self, sample: &Measured) -> bool {
        sample.line_ns.is_none_or(|(before, after)| same(before, self.ns) && same(after, self.ns))
    }
}

fn same(a: f64, b: f64) -> bool {
    a.max(b) <= SAME * a.min(b)
}

/// Measures the distance [`LOOKS`] times.
///
/// # Errors
/// There is no such core.
pub(crate) fn looks(cores: Cores) -> Result<Vec<f64>, Error> {
    let look = |_| {
        thread::sleep(BETWEEN);
        ping_pong(cores)
    };
    (0..LOOKS).map(look).collect()
}

/// Measures the distance, runs `measure`, and measures the distance again.
///
/// # Errors
/// The error of `measure`, or there is no such core.
pub(crate) fn between_looks(
    cores: Cores,
    measure: impl FnOnce() -> Result<Measured, Error>,
) -> Result<Measured, Error> {
    let before = ping_pong(cores)?;
    let measured = measure()?;
    Ok(Measured { line_ns: Some((before, ping_pong(cores)?)), ..measured })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_distance_is_the_most_frequent_one() {
        let usual = Usual::of(&[60.0, 600.0, 140.0, 61.0, 145.0, 150.0, 590.0]);
        assert!((140.0..=150.0).contains(&usual.ns), "{usual:?}");
        assert_eq!(usual.range, (60.0, 600.0));
    }

    #[test]
    fn samples_at_an_unusual_distance_do_not_count() {
        let usual = Usual::of(&[140.0]);
        let at = |line_ns| Measured { line_ns, ..Measured::new(vec![1.0], 0.0) };
        assert!(usual.is_of(&at(None)) && usual.is_of(&at(Some((120.0, 170.0)))));
        assert!(!usual.is_of(&at(Some((60.0, 140.0)))) && !usual.is_of(&at(Some((140.0, 600.0)))));
    }
}
