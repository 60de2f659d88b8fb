//! A run: starts the workers, prints a line every second, and prints the summary at the end.

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

/// If no packet arrives for this long, the missing ones count as lost.
const STALLED_AFTER: Duration = Duration::from_secs(2);
/// Time in which a halted generator finishes its burst.
const LAST_BURST: Duration = Duration::from_millis(20);
const SECOND_NS: u64 = 1_000_000_000;
/// How often a line waits [`STEP`]` / 10` for the workers to hand over their latencies.
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
    /// The machine that it runs on.
    pub machine: Machine,
    /// Ends [`Run::watch`] without stopping the workers, so that packets in flight can still arrive.
    halt: Option<Stop>,
    began_ns: u64,
    /// Number of packets at the last line.
    line_packets: u64,
}

impl<'s> Run<'s> {
    /// Starts the workers, unless the run is complete or interrupted already. The ports are up.
    ///
    /// # Errors
    /// A core that cannot be used, no memory, or no thread.
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

    /// Makes [`Run::watch`] end when `halt` is raised, too.
    pub(crate) fn end_with(&mut self, halt: &Stop) {
        self.halt = Some(halt.clone());
    }

    fn is_over(&self) -> bool {
        self.session.is_over() || self.halt.as_ref().is_some_and(Stop::is_stopped)
    }

    /// Waits until all packets that were sent have arrived, none has arrived for two seconds, or `is_up` returns false.
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

    /// Prints a line every second until the run is complete or `limit` has passed. Calls `check` every few milliseconds.
    ///
    /// # Errors
    /// Standard output cannot be written. The error of `check`, which ends the run.
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
        // workers hand over latencies between two bursts, not while they sleep
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
        let _ = self.latencies.add(&new); // fails only if the bounds differ
        self.report.line(self.feeds.totals(self.ports), &new, monotonic_ns())
    }

    /// Stops the workers and prints the summary. `others` are drops of other processes, which are added.
    ///
    /// # Errors
    /// A worker panicked, or standard output cannot be written.
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
