//! Histograms of latencies.

use std::thread;
use std::time::Duration;

use hdrhistogram::Histogram;
use memif_os::clock::monotonic_ns;

use crate::error::Error;
use crate::pair::Window;

/// Longest recorded latency in nanoseconds; longer ones are recorded as this.
const MAX_NS: u64 = 10_000_000_000;
/// Significant decimal digits kept.
const DIGITS: u8 = 3;

/// Quantiles of round trips; 1 is the longest.
pub(crate) const ROUND_TRIP: [f64; 6] = [0.5, 0.9, 0.99, 0.999, 0.9999, 1.0];
/// Quantiles of a curve.
pub(crate) const CURVE: [f64; 10] = [0.5, 0.1, 0.25, 0.75, 0.9, 0.99, 0.999, 0.9995, 0.9999, 1.0];

/// An empty histogram of nanoseconds.
///
/// # Errors
/// Does not fail with these bounds.
pub(crate) fn new() -> Result<Histogram<u64>, Error> {
    Histogram::new_with_bounds(1, MAX_NS, DIGITS).map_err(|error| Error::Unfit(error.to_string()))
}

/// The latencies at these quantiles, in nanoseconds.
pub(crate) fn quantiles(latencies: &Histogram<u64>, at: &[f64]) -> Vec<f64> {
    at.iter().map(|quantile| latencies.value_at_quantile(*quantile) as f64).collect()
}

/// Calls `trip`, which makes a round trip, until the window ends, and sleeps for `pause` before each call. Returns the quantiles
/// [`ROUND_TRIP`], in nanoseconds, of the calls that began in the window.
///
/// # Errors
/// A round trip failed.
pub(crate) fn round_trips(
    window: Window,
    pause: Duration,
    mut trip: impl FnMut() -> Result<(), Error>,
) -> Result<Vec<f64>, Error> {
    let mut latencies = new()?;
    while monotonic_ns() < window.end {
        if !pause.is_zero() {
            thread::sleep(pause);
        }
        let start = monotonic_ns();
        trip()?;
        if start >= window.begin {
            latencies.saturating_record(monotonic_ns() - start);
        }
    }
    Ok(quantiles(&latencies, &ROUND_TRIP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_ascend() {
        let mut histogram = new().unwrap();
        for ns in 1..=10_000 {
            histogram.saturating_record(ns / 10);
        }
        assert_eq!(quantiles(&histogram, &ROUND_TRIP), [500.0, 900.0, 990.0, 999.0, 999.0, 1000.0]);
    }
}
