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
use crate::ports::{Inlet, Moved};

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

/// Counts the packets of one run of a generator apart from all others.
#[derive(Debug)]
struct Ours {
    instance: u32,
    moved: Moved,
    /// Packets of other origin.
    others: u64,
    published: Arc<Published>,
}

/// Receives on one queue.
#[derive(Debug)]
pub(crate) struct Sink {
    framing: Framing,
    checker: Option<Checker>,
    recorder: Recorder,
    quota: Option<Quota>,
    ours: Option<Ours>,
    counts: Counts,
    published: Arc<Published>,
}

impl Ours {
    fn count(&mut self, test: Option<&TestPacket<'_>>, bytes: usize) {
        if test.is_some_and(|test| test.stream().instance == self.instance) {
            self.moved.packets += 1;
            self.moved.bytes += bytes as u64;
        } else {
            self.others += 1;
        }
    }

    fn publish(&self, now: u64) -> Moved {
        if self.others > 0 {
            let mut counts = Counts::default();
            counts.reached(self.others, 0, now);
            self.published.publish(&counts);
        }
        self.moved
    }
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
            ours: None,
            counts: Counts::default(),
            published: Arc::clone(&published),
        };
        Ok((sink, published, handover))
    }

    /// From now on counts only the packets of the generator run `instance`. Returns the counters of all other packets.
    pub(crate) fn count_only(&mut self, instance: u32) -> Arc<Published> {
        let published = Arc::<Published>::default();
        let ours = Ours { instance, moved: Moved::default(), others: 0, published: Arc::clone(&published) };
        self.ours = Some(ours);
        published
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
        let moved = match &self.ours {
            Some(ours) => ours.publish(now),
            None => rx.moved(),
        };
        self.counts.reached(moved.packets, moved.bytes, now);
        self.published.publish(&self.counts);
        if let Some(quota) = &self.quota {
            quota.count(received as u64);
        }
    }

    #[inline]
    fn inspect(&mut self, burst: &Burst, now: u64) {
        for packet in burst {
            let test = TestPacket::parse(packet, self.framing);
            if let Some(ours) = &mut self.ours {
                ours.count(test.as_ref(), packet.len());
            }
            // few are stamped: a packet of other origin, or a damaged one, is seen by its check
            let stamp = test.and_then(|test| test.stamp().filter(|_| test.numbers_are_whole()));
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
    use crate::packet::{Fill, Route, Stream, Template};

    #[test]
    fn stamped_packets_are_measured_and_all_are_checked() {
        let (mut sink, _, handover) = Sink::new(Framing::Ethernet, true, None).unwrap();
        let mut burst = Burst::new(8).unwrap();
        let mut template = Template::new(
            Stream { instance: 1, queue: 0 },
            Framing::Ethernet,
            Fill::BySequence,
            Route::default(),
        );
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
    fn a_generators_own_sink_tells_its_packets_from_others() {
        let (mut sink, _, _handover) = Sink::new(Framing::Ethernet, false, None).unwrap();
        let others = sink.count_only(7);
        let mut burst = Burst::new(8).unwrap();
        for instance in [7, 8, 7] {
            let stream = Stream { instance, queue: 0 };
            let mut template = Template::new(stream, Framing::Ethernet, Fill::Plain, Route::default());
            template.write(burst.reserve(64).unwrap(), 0, 0);
        }
        burst.push(b"another packet").unwrap();
        sink.inspect(&burst, 1000);
        let moved = sink.ours.as_ref().map(|ours| ours.publish(1000)).unwrap();
        assert_eq!((moved.packets, moved.bytes, others.read().packets), (2, 128, 2));
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
