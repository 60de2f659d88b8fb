//! Sums up the counters and latencies of all workers for the report.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::counters::{Counts, Published};
use crate::error::ToolError;
use crate::generator::Pace;
use crate::latency::{Handover, Latencies, histogram};
use crate::ports::Port;
use crate::report::{Drops, QueueTotals, Totals};

/// Counters and latencies that workers publish.
#[derive(Debug, Default)]
pub(crate) struct Feeds {
    published: Vec<Arc<Published>>,
    handovers: Vec<Arc<Handover>>,
    /// Counters of the senders whose packets the other workers receive.
    senders: Vec<Arc<Published>>,
    /// Counters of packets that a generator receives without measuring them.
    other: Vec<Arc<Published>>,
    /// The rate of a generator.
    pace: Option<Pace>,
    /// Answers that a host dropped because there was no room to send them.
    unanswered: Option<Arc<AtomicU64>>,
}

impl Feeds {
    /// Adds a worker.
    pub(crate) fn follow(&mut self, worker: Arc<Published>) {
        self.published.push(worker);
    }

    /// Adds a worker that measures latencies.
    pub(crate) fn follow_sink(&mut self, worker: Arc<Published>, handover: Arc<Handover>) {
        self.published.push(worker);
        self.handovers.push(handover);
    }

    /// Adds the sender of the packets that the other workers receive.
    pub(crate) fn follow_sender(&mut self, worker: Arc<Published>) {
        self.senders.push(worker);
    }

    /// Adds counters of packets that a generator receives without measuring them.
    pub(crate) fn follow_other(&mut self, worker: Arc<Published>) {
        self.other.push(worker);
    }

    /// Adds the rate of generators, which may fall behind.
    pub(crate) fn follow_pace(&mut self, pace: Option<Pace>) {
        self.pace = pace;
    }

    /// Adds the counter of answers that a host dropped because there was no room to send them.
    pub(crate) fn follow_unanswered(&mut self, count: Arc<AtomicU64>) {
        self.unanswered = Some(count);
    }

    /// Whether all workers have handed over the latencies that were requested.
    pub(crate) fn are_handed_over(&self) -> bool {
        self.handovers.iter().all(|handover| handover.is_done())
    }

    /// Counters of the workers so far, without senders.
    pub(crate) fn counts(&self) -> Counts {
        sum(&self.published)
    }

    /// Packets sent so far, if there is a sender.
    pub(crate) fn sent(&self) -> Option<u64> {
        (!self.senders.is_empty()).then(|| sum(&self.senders).packets)
    }

    /// Counters of workers and ports so far.
    pub(crate) fn totals(&self, ports: &[&dyn Port]) -> Totals {
        // receivers first: packets sent in between must not count as missing
        let counts = self.counts();
        let mut drops = drops(ports);
        let unanswered = self.unanswered.as_ref().map_or(0, |count| count.load(Ordering::Relaxed));
        if unanswered > 0 {
            drops.insert("unanswered".to_owned(), unanswered);
        }
        Totals {
            counts,
            drops,
            queues: queues(ports),
            sent: self.sent(),
            other: (!self.other.is_empty()).then(|| sum(&self.other).packets),
            missed: self.pace.as_ref().map_or(0, Pace::missed),
        }
    }

    /// Asks the workers for their latencies.
    pub(crate) fn request_latencies(&self) {
        self.handovers.iter().for_each(|handover| handover.request());
    }

    /// Latencies that workers have handed over since the last call.
    pub(crate) fn collect(&self) -> Result<Latencies, ToolError> {
        let mut latencies = histogram()?;
        self.handovers.iter().for_each(|handover| handover.collect(&mut latencies));
        Ok(latencies)
    }
}

fn sum(workers: &[Arc<Published>]) -> Counts {
    workers.iter().fold(Counts::default(), |total, worker| total.join(worker.read()))
}

/// Number of packets that the ports have dropped, by reason.
fn drops(ports: &[&dyn Port]) -> Drops {
    let mut drops = Drops::new();
    for (reason, count) in ports.iter().flat_map(|port| port.drops()) {
        *drops.entry(reason).or_default() += count;
    }
    drops
}

/// Counters of each queue of the memif ports.
fn queues(ports: &[&dyn Port]) -> Vec<QueueTotals> {
    let mut totals = Vec::new();
    for (port, details) in ports.iter().filter_map(|port| Some((port.name(), port.details()?))) {
        for (direction, queues) in [("rx", &details.rx), ("tx", &details.tx)] {
            for (queue, stats) in (0..).zip(queues.iter().map(|queue| &queue.stats)) {
                let dropped = stats.drops().map(|(_, count)| count).sum();
                let (packets, bytes) = (stats.packets, stats.bytes);
                totals.push(QueueTotals { port: port.to_owned(), direction, queue, packets, bytes, dropped });
            }
        }
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_workers_are_added() {
        let mut feeds = Feeds::default();
        assert_eq!((feeds.counts(), feeds.sent()), (Counts::default(), None));
        for _ in 0..2 {
            let (worker, sender) = (Arc::<Published>::default(), Arc::<Published>::default());
            worker.publish(&Counts { packets: 5, ..Counts::default() });
            sender.publish(&Counts { packets: 6, ..Counts::default() });
            feeds.follow(worker);
            feeds.follow_sender(sender);
        }
        assert_eq!((feeds.counts().packets, feeds.sent()), (10, Some(12)));
    }
}
