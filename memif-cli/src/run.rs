//! A run: from the start of the workers to the summary.

use std::thread;
use std::time::{Duration, Instant};

use memif_os::clock::monotonic_ns;
use memif_pmd::{Running, Stop, Workers};

use crate::error::ToolError;
use crate::feeds::Feeds;
use crate::latency::{Latencies, histogram};
use crate::ports::Port;
use crate::report::{Drops, Machine, Measures, Report, Totals};
use crate::session::{STEP, Session};

/// Time without progress after which packets on their way count as lost.
const STALLED_AFTER: Duration = Duration::from_secs(2);
/// Time for a halted generator to finish its burst.
const LAST_BURST: Duration = Duration::from_millis(20);
const SECOND_NS: u64 = 1_000_000_000;
/// How long a line waits for latencies of packets that came, in steps of 2 ms.
const HANDOVER_STEPS: u32 = 50;

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
    /// Ends watching, where packets are waited for afterwards.
    halt: Option<Stop>,
    began_ns: u64,
    /// Packets up to the last line.
    line_packets: u64,
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
        Ok(Self {
            session,
            ports,
            running,
            feeds,
            report,
            latencies: histogram()?,
            machine,
            halt: None,
            began_ns,
            line_packets: 0,
        })
    }

    /// Has [`Run::watch`] end with `halt` as well.
    pub(crate) fn end_with(&mut self, halt: &Stop) {
        self.halt = Some(halt.clone());
    }

    fn is_over(&self) -> bool {
        self.session.is_over() || self.halt.as_ref().is_some_and(Stop::is_stopped)
    }

    /// Waits until all packets that were sent have arrived, or no more arrive, while `is_up`.
    pub(crate) fn drain(&self, is_up: impl Fn() -> bool) {
        let mut arrived = 0;
        let mut still = Instant::now();
        while is_up() && still.elapsed() < STALLED_AFTER {
            let now = self.feeds.counts().packets;
            if now != arrived {
                (arrived, still) = (now, Instant::now());
            } else if self.feeds.sent().is_none_or(|sent| sent <= now) && still.elapsed() > LAST_BURST {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
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
        while !self.is_over() && end.is_none_or(|end| monotonic_ns() < end) {
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
        // workers hand over between two bursts, and not while they sleep
        let before = self.feeds.counts().packets;
        let moved = before != self.line_packets;
        self.line_packets = before;
        for _ in 0..HANDOVER_STEPS {
            thread::sleep(STEP / 10);
            if !moved || self.feeds.are_handed_over() {
                break;
            }
        }
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
