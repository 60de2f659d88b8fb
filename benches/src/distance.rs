//! How far apart the two cores are while something is measured.
//!
//! A hypervisor may move virtual cores at any time: to two threads of one core, to neighbours, or to different complexes. A
//! cache line then takes several times as long, and so does everything else. So the distance is looked at before and after
//! each sample, and samples that were taken at another one than most do not count.

use std::thread;
use std::time::Duration;

use crate::error::Error;
use crate::pair::Cores;
use crate::ping_pong::ping_pong;
use crate::sample::Measured;

/// Number of looks before a run, and the time between two of them: a second, as cores may stay for some tenths.
const LOOKS: usize = 30;
const BETWEEN: Duration = Duration::from_millis(25);
/// Two distances up to this factor apart are the same.
const SAME: f64 = 1.3;

/// The distance of two cores most of the time: nanoseconds of one cache line there and back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usual {
    /// Most of the time.
    pub(crate) ns: f64,
    /// The shortest and the longest one seen.
    pub(crate) range: (f64, f64),
}

impl Usual {
    /// The distance that most of these are equal to, the shortest of several.
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

    /// Whether a sample was taken at this distance, as far as it was looked at before and after it.
    pub(crate) fn is_of(&self, sample: &Measured) -> bool {
        sample.line_ns.is_none_or(|(before, after)| same(before, self.ns) && same(after, self.ns))
    }
}

fn same(a: f64, b: f64) -> bool {
    a.max(b) <= SAME * a.min(b)
}

/// Looks at the distance for a while.
///
/// # Errors
/// No such core.
pub(crate) fn looks(cores: Cores) -> Result<Vec<f64>, Error> {
    let look = |_| {
        thread::sleep(BETWEEN);
        ping_pong(cores)
    };
    (0..LOOKS).map(look).collect()
}

/// Measures between two looks at the distance.
///
/// # Errors
/// That of `measure`, or no such core.
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
    fn the_usual_distance_is_the_one_most_often_seen() {
        let usual = Usual::of(&[60.0, 600.0, 140.0, 61.0, 145.0, 150.0, 590.0]);
        assert!((140.0..=150.0).contains(&usual.ns), "{usual:?}");
        assert_eq!(usual.range, (60.0, 600.0));
    }

    #[test]
    fn samples_at_another_distance_do_not_count() {
        let usual = Usual::of(&[140.0]);
        let at = |line_ns| Measured { line_ns, ..Measured::new(vec![1.0], 0.0) };
        assert!(usual.is_of(&at(None)) && usual.is_of(&at(Some((120.0, 170.0)))));
        assert!(!usual.is_of(&at(Some((60.0, 140.0)))) && !usual.is_of(&at(Some((140.0, 600.0)))));
    }
}
