//! The totals that are reported.

use serde::Serialize;

use super::measures::Drops;
use crate::counters::Counts;

/// Totals of a run since its start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    /// Counts of the workers.
    pub counts: Counts,
    /// Packets that the ports dropped, by reason.
    pub drops: Drops,
    /// Counters of each queue of the memif ports.
    pub queues: Vec<QueueTotals>,
    /// Packets sent, if this process sends them. Those that have not arrived at the end are lost.
    pub sent: Option<u64>,
    /// Packets that a generator received without measuring them.
    pub other: Option<u64>,
    /// Packets of a rate that were due in long pauses and were not sent.
    pub missed: u64,
}

/// Counters of a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct QueueTotals {
    /// The port.
    pub port: String,
    /// `rx` or `tx`.
    pub direction: &'static str,
    /// Number of the queue.
    pub queue: u16,
    /// Packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets that were dropped.
    pub dropped: u64,
}

impl QueueTotals {
    fn is_of(&self, other: &Self) -> bool {
        (self.queue, self.direction, &self.port) == (other.queue, other.direction, &other.port)
    }

    fn since(&self, before: &[Self]) -> Self {
        let mut new = self.clone();
        if let Some(was) = before.iter().find(|was| was.is_of(self)) {
            new.packets = new.packets.saturating_sub(was.packets);
            new.bytes = new.bytes.saturating_sub(was.bytes);
            new.dropped = new.dropped.saturating_sub(was.dropped);
        }
        new
    }
}

impl Totals {
    /// Packets known to be lost.
    pub(crate) fn lost(&self) -> u64 {
        let missing = self.sent.map_or(0, |sent| sent.saturating_sub(self.counts.packets));
        missing.max(self.counts.findings.lost)
    }

    /// Why the packets do not verify; `None` if they do.
    pub(crate) fn failure(&self) -> Option<String> {
        let found = &self.counts.findings;
        if self.counts.packets == 0 {
            return Some("no packet arrived".to_owned());
        }
        let failures = [
            (found.corrupt, "corrupt"),
            (found.wrong_length, "of a wrong length"),
            (self.lost(), "lost"),
            (found.reordered, "out of order"),
            (found.unfilled, "sent without --verify (the generator needs it as well)"),
        ];
        let failed: Vec<String> = failures
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        (!failed.is_empty()).then(|| format!("{} packets: {}", self.counts.packets, failed.join(", ")))
    }
}

/// The difference between two totals.
pub(super) fn difference(now: &Totals, before: &Totals) -> Totals {
    let (mut counts, was) = (now.counts, &before.counts);
    let since = |now: &mut u64, before: u64| *now = now.saturating_sub(before);
    since(&mut counts.packets, was.packets);
    since(&mut counts.bytes, was.bytes);
    let (found, had) = (&mut counts.findings, &was.findings);
    since(&mut found.verified, had.verified);
    since(&mut found.corrupt, had.corrupt);
    since(&mut found.wrong_length, had.wrong_length);
    since(&mut found.unfilled, had.unfilled);
    since(&mut found.foreign, had.foreign);
    since(&mut found.lost, had.lost);
    since(&mut found.reordered, had.reordered);
    let new = |(reason, count): (&String, &u64)| {
        let count = count.saturating_sub(before.drops.get(reason).copied().unwrap_or_default());
        (count > 0).then(|| (reason.clone(), count))
    };
    let less =
        |now: Option<u64>, was: Option<u64>| now.map(|now| now.saturating_sub(was.unwrap_or_default()));
    Totals {
        counts,
        drops: now.drops.iter().filter_map(new).collect(),
        queues: now.queues.iter().map(|queue| queue.since(&before.queues)).collect(),
        // before the end, missing packets may still be in flight
        sent: None,
        other: less(now.other, before.other),
        missed: now.missed.saturating_sub(before.missed),
    }
}
