//! The sink: receives, measures and checks what arrives on one rx queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memif_os::clock::monotonic_ns;
use memif_pmd::{Burst, Stop};

use crate::check::Checker;
use crate::counters::{Counts, Published};
use crate::error::ToolError;
use crate::latency::{Handover, Recorder};
use crate::packet::{Framing, TestPacket};
use crate::ports::Inlet;

/// The number of packets on all queues after which the sink ends.
#[derive(Clone, Debug)]
pub(crate) struct Quota {
    left: Arc<AtomicU64>,
    stop: Stop,
}

impl Quota {
    /// Raises `stop` after `count` packets.
    pub(crate) fn new(count: u64, stop: Stop) -> Self {
        Self { left: Arc::new(AtomicU64::new(count)), stop }
    }

    fn count(&self, packets: u64) {
        let before = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(packets)));
        if before.is_ok_and(|left| left <= packets) {
            self.stop.stop();
        }
    }
}

/// Receives on one queue.
#[derive(Debug)]
pub(crate) struct Sink {
    framing: Framing,
    checker: Option<Checker>,
    recorder: Recorder,
    quota: Option<Quota>,
    counts: Counts,
    published: Arc<Published>,
}

impl Sink {
    /// A sink of one queue, and where it publishes its counters and latencies.
    ///
    /// # Errors
    /// See [`Recorder::new`].
    pub(crate) fn new(
        framing: Framing,
        verify: bool,
        quota: Option<Quota>,
    ) -> Result<(Self, Arc<Published>, Arc<Handover>), ToolError> {
        let published = Arc::<Published>::default();
        let (recorder, handover) = Recorder::new()?;
        let sink = Self {
            framing,
            checker: verify.then(|| Checker::new(framing)),
            recorder,
            quota,
            counts: Counts::default(),
            published: Arc::clone(&published),
        };
        Ok((sink, published, handover))
    }

    /// Receives a burst if there is one, and inspects it.
    #[inline]
    pub(crate) fn turn(&mut self, rx: &mut (impl Inlet + ?Sized), burst: &mut Burst) {
        self.recorder.hand_over_if_wanted();
        let received = rx.receive(burst);
        if received == 0 {
            return;
        }
        let now = monotonic_ns();
        self.inspect(burst, now);
        burst.clear();
        let moved = rx.moved();
        self.counts.reached(moved.packets, moved.bytes, now);
        self.published.publish(&self.counts);
        if let Some(quota) = &self.quota {
            quota.count(received as u64);
        }
    }

    #[inline]
    fn inspect(&mut self, burst: &Burst, now: u64) {
        for packet in burst {
            let stamp = TestPacket::parse(packet, self.framing).and_then(|packet| packet.stamp());
            if let Some(latency) = stamp.and_then(|stamp| now.checked_sub(stamp)) {
                self.recorder.record(latency);
            }
            if let Some(checker) = &mut self.checker {
                checker.check(packet);
            }
        }
        if let Some(checker) = &self.checker {
            self.counts.findings = checker.findings;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::histogram;
    use crate::packet::{Fill, Stream, Template};

    #[test]
    fn stamped_packets_are_measured_and_all_are_checked() {
        let (mut sink, _, handover) = Sink::new(Framing::Ethernet, true, None).unwrap();
        let mut burst = Burst::new(8).unwrap();
        let mut template =
            Template::new(Stream { instance: 1, queue: 0 }, Framing::Ethernet, Fill::BySequence);
        // the third has a stamp in the future, which only a hostile peer sends
        for (sequence, stamp) in [(0, 400), (1, 0), (2, 5000)] {
            template.write(burst.reserve(64).unwrap(), sequence, stamp);
        }
        burst.push(b"another packet").unwrap();
        sink.inspect(&burst, 1000);
        assert_eq!((sink.counts.findings.verified, sink.counts.findings.corrupt), (3, 1));
        drop(sink);
        let mut latencies = histogram().unwrap();
        handover.collect(&mut latencies);
        assert_eq!((latencies.len(), latencies.max()), (1, 600));
    }

    #[test]
    fn a_quota_counts_the_packets_of_all_queues() {
        let stop = Stop::new().unwrap();
        let (a, b) = {
            let quota = Quota::new(10, stop.clone());
            (quota.clone(), quota)
        };
        a.count(6);
        b.count(3);
        assert!(!stop.is_stopped());
        a.count(5);
        b.count(64);
        assert!(stop.is_stopped());
    }
}
