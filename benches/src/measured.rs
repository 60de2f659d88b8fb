//! What one sample has measured.

/// Result of a sample.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// The figures, the main one first.
    pub(crate) values: Vec<f64>,
    /// Share of the time in which an end was without its core, 0 to 1; the larger one of both ends.
    pub(crate) lost: f64,
    /// The distance of the cores right before and right after the sample, in nanoseconds. `None` if it is measured before and
    /// after the sample is taken instead.
    pub(crate) line_ns: Option<(f64, f64)>,
}

impl Measured {
    /// Figures, and the share of the time in which an end was without its core. The distance of the cores is not known.
    pub(crate) fn new(values: Vec<f64>, lost: f64) -> Self {
        Self { values, lost, line_ns: None }
    }

    /// Whether any packet moved: the main figure is zero if none did.
    pub(crate) fn has_moved(&self) -> bool {
        self.values.first().is_some_and(|value| value.is_nan() || *value > 0.0)
    }
}

/// The median; not a number if there are no values.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.len() % 2, values.get(middle)) {
        (_, None) => f64::NAN,
        (1, Some(middle)) => *middle,
        (_, Some(above)) => values.get(middle - 1).map_or(*above, |below| f64::midpoint(*below, *above)),
    }
}
