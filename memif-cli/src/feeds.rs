//! What workers publish, summed up for the report.

use std::sync::Arc;

use crate::counters::{Counts, Published};
use crate::error::ToolError;
use crate::latency::{Handover, Latencies, histogram};
use crate::ports::Port;
use crate::report::{Drops, Totals};

/// Counters and latencies that workers publish.
#[derive(Debug, Default)]
pub(crate) struct Feeds {
    published: Vec<Arc<Published>>,
    handovers: Vec<Arc<Handover>>,
    /// Workers that send what the others receive.
    senders: Vec<Arc<Published>>,
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

    /// Received so far.
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
        Totals { counts, drops: drops(ports), sent: self.sent() }
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

/// What the ports have dropped, by reason.
fn drops(ports: &[&dyn Port]) -> Drops {
    let mut drops = Drops::new();
    for (reason, count) in ports.iter().flat_map(|port| port.drops()) {
        *drops.entry(reason).or_default() += count;
    }
    drops
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
