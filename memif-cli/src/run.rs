//! A run: from the start of the workers to the summary.

use std::thread;
use std::time::Duration;

use memif_os::clock::monotonic_ns;
use memif_pmd::{Running, Workers};

use crate::error::ToolError;
use crate::feeds::Feeds;
use crate::latency::{Latencies, histogram};
use crate::ports::Port;
use crate::report::{Drops, Machine, Measures, Report, Totals};
use crate::session::{STEP, Session};

const SECOND_NS: u64 = 1_000_000_000;

/// A run: workers, their counters and the report.
pub(crate) struct Run<'s> {
    session: &'s Session,
    ports: &'s [&'s dyn Port],
    /// `None` if the run was interrupted before the ports were up.
    running: Option<Running>,
    /// What the workers publish.
    pub feeds: Feeds,
    report: Report,
    latencies: Latencies,
    /// What the run runs on.
    pub machine: Machine,
    began_ns: u64,
}

impl<'s> Run<'s> {
    /// Starts the workers on ports that are up, unless the run is complete already.
    ///
    /// # Errors
    /// A core that cannot be used, no memory, no thread.
    pub(crate) fn start(
        session: &'s Session,
        ports: &'s [&'s dyn Port],
        workers: Workers<'static>,
        feeds: Feeds,
        (json, measures): (bool, Measures),
        cores: &str,
    ) -> Result<Self, ToolError> {
        let machine = Machine::of(ports, cores);
        let running = if session.is_over() { None } else { Some(workers.start()?) };
        let began_ns = monotonic_ns();
        let report = Report::new(json, measures, began_ns);
        Ok(Self { session, ports, running, feeds, report, latencies: histogram()?, machine, began_ns })
    }

    /// Reports once a second until the run is complete or `limit` has passed. An error of `check` ends it as well.
    ///
    /// # Errors
    /// The report cannot be written, or `check` failed.
    pub(crate) fn watch(
        &mut self,
        limit: Option<Duration>,
        mut check: impl FnMut() -> Result<(), ToolError>,
    ) -> Result<(), ToolError> {
        let end = limit.map(|limit| self.began_ns + u64::try_from(limit.as_nanos()).unwrap_or(SECOND_NS));
        let mut next = self.began_ns + SECOND_NS;
        while !self.session.is_over() && end.is_none_or(|end| monotonic_ns() < end) {
            let until = end.map_or(next, |end| end.min(next)).saturating_sub(monotonic_ns());
            thread::sleep(STEP.min(Duration::from_nanos(until)));
            check()?;
            if monotonic_ns() >= next {
                self.line()?;
                next += SECOND_NS;
            }
        }
        Ok(())
    }

    fn line(&mut self) -> Result<(), ToolError> {
        self.feeds.request_latencies();
        self.ports.iter().for_each(|port| self.session.report_faults(*port));
        // time for the workers, which hand over between two bursts
        thread::sleep(STEP / 10);
        let new = self.feeds.collect()?;
        let _ = self.latencies.add(&new); // both have the same bounds, which is all that may fail
        self.report.line(self.feeds.totals(self.ports), &new, monotonic_ns())
    }

    /// Stops the workers and prints the summary, to which `others` adds drops of other processes.
    ///
    /// # Errors
    /// A worker panicked, or the report cannot be written.
    pub(crate) fn finish(mut self, others: Drops) -> Result<Totals, ToolError> {
        self.session.stop.stop();
        if let Some(running) = self.running.take() {
            running.stop().stop();
            running.wait()?;
        }
        let rest = self.feeds.collect()?;
        let _ = self.latencies.add(&rest); // as above
        let mut totals = self.feeds.totals(self.ports);
        for (reason, count) in others {
            *totals.drops.entry(reason).or_default() += count;
        }
        self.report.summary(&totals, &self.latencies, &self.machine)?;
        Ok(totals)
    }
}
