//! Output of a run: one line a second and a summary, as text or as JSON.
//!
//! | file | what |
//! | --- | --- |
//! | `measures` | what a run measures, on which machine |
//! | `totals` | what is reported, and its difference to what was |
//! | `record` | one line or the summary: a JSON object |
//! | `text` | the same as text |

mod measures;
mod record;
#[cfg(test)]
mod tests;
mod text;
mod totals;

use std::io::{self, Write};

use crate::error::ToolError;
use crate::latency::{Latencies, Quantiles};
use crate::output::json;
use record::Record;
use text::{list, row};
use totals::difference;

pub(crate) use measures::{Drops, LatencyKind, Machine, Measures};
pub(crate) use totals::{QueueTotals, Totals};

/// Writes a run's lines and its summary.
pub(crate) struct Report {
    out: Box<dyn Write>,
    json: bool,
    measures: Measures,
    lines: u64,
    before: Totals,
    before_ns: u64,
    /// Whether there was a line without a latency.
    any_dash: bool,
}

impl Report {
    /// A report on standard output of a run that starts at `now_ns`.
    pub(crate) fn new(json: bool, measures: Measures, now_ns: u64) -> Self {
        Self::to(Box::new(io::stdout()), json, measures, now_ns)
    }

    fn to(out: Box<dyn Write>, json: bool, measures: Measures, now_ns: u64) -> Self {
        Self { out, json, measures, lines: 0, before: Totals::default(), before_ns: now_ns, any_dash: false }
    }

    /// Prints the line for the time since the last one.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(crate) fn line(
        &mut self,
        totals: Totals,
        latencies: &Latencies,
        now_ns: u64,
    ) -> Result<(), ToolError> {
        let seconds = now_ns.saturating_sub(self.before_ns) as f64 / 1e9;
        let since = difference(&totals, &self.before);
        let record = Record::new(false, &since, seconds, Quantiles::of(latencies), self.measures);
        let text = if self.json { json(&record) } else { row(&record, self.lines, self.measures) };
        self.any_dash |= self.measures.latency.is_some() && record.latency_ns.is_none();
        self.before = totals;
        self.before_ns = now_ns;
        self.lines += 1;
        self.print(&text)
    }

    /// Prints the summary.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(crate) fn summary(
        &mut self,
        totals: &Totals,
        latencies: &Latencies,
        machine: &Machine,
    ) -> Result<(), ToolError> {
        let latency = Quantiles::of(latencies);
        let mut record = Record::new(true, totals, totals.counts.seconds(), latency, self.measures);
        record.machine = Some(machine);
        let text = if self.json { json(&record) } else { list(&record, self.any_dash) };
        self.print(&text)
    }

    fn print(&mut self, text: &str) -> Result<(), ToolError> {
        writeln!(self.out, "{text}").and_then(|()| self.out.flush()).map_err(ToolError::Output)
    }
}
