//! Histograms of round trips.

use hdrhistogram::Histogram;

use crate::error::Error;

/// Longest round trip recorded, in nanoseconds; longer ones count as this.
const MAX_NS: u64 = 10_000_000_000;
/// Significant decimal digits kept.
const DIGITS: u8 = 3;

/// An empty one, for nanoseconds.
///
/// # Errors
/// None with these bounds; the histogram's type says otherwise.
pub(crate) fn new() -> Result<Histogram<u64>, Error> {
    Histogram::new_with_bounds(1, MAX_NS, DIGITS).map_err(|error| Error::Unfit(error.to_string()))
}

/// p50, p90, p99, p99.9 and the longest, in nanoseconds.
pub(crate) fn quantiles(round_trips: &Histogram<u64>) -> [f64; 5] {
    [0.5, 0.9, 0.99, 0.999, 1.0].map(|quantile| round_trips.value_at_quantile(quantile) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_ascend() {
        let mut histogram = new().unwrap();
        for ns in 1..=1000 {
            histogram.saturating_record(ns);
        }
        assert_eq!(quantiles(&histogram), [500.0, 900.0, 990.0, 999.0, 1000.0]);
    }
}
