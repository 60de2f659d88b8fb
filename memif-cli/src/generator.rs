//! The generator: test packets on every tx queue, as fast as it goes or at a rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use memif_os::clock::monotonic_ns;
use memif_pmd::{Burst, Stop, TxQueue};

use crate::counters::{Counts, Published};
use crate::packet::{Fill, Stream, Template};

/// Longest span of a rate that is made up for after a pause, in nanoseconds.
const CATCH_UP_NS: f64 = 1e6;

/// What the generators of all queues share.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// Tells this run's packets from those of others.
    pub instance: u32,
    /// Bytes of a packet.
    pub size: u16,
    /// Whether each packet has a body of its own.
    pub fill: Fill,
    /// Packets a second on one queue; `None` for no limit.
    pub rate: Option<f64>,
    /// Queues with packets left to send: the last one to finish raises `halt`.
    pub unfinished: Arc<AtomicUsize>,
    /// Ends generating.
    pub halt: Stop,
}

/// Generates the packets of one queue.
#[derive(Debug)]
pub(crate) struct Generator {
    template: Template,
    size: usize,
    sequence: u64,
    /// Packets still to be made.
    left: u64,
    finished: bool,
    pace: Option<Pace>,
    unfinished: Arc<AtomicUsize>,
    halt: Stop,
    counts: Counts,
    published: Arc<Published>,
}

impl Generator {
    /// A generator of `count` packets for tx queue `queue`, without end for `None`, and where it shows its counters.
    pub(crate) fn new(order: &Order, queue: u16, count: Option<u64>) -> (Self, Arc<Published>) {
        let size = usize::from(order.size);
        let published = Arc::<Published>::default();
        let generator = Self {
            template: Template::new(Stream { instance: order.instance, queue }, size, order.fill),
            size,
            sequence: 0,
            left: count.unwrap_or(u64::MAX),
            finished: false,
            pace: order.rate.map(Pace::new),
            unfinished: Arc::clone(&order.unfinished),
            halt: order.halt.clone(),
            counts: Counts::default(),
            published: Arc::clone(&published),
        };
        (generator, published)
    }

    /// Sends a burst, if there is a link and anything to send.
    #[inline]
    pub(crate) fn turn(&mut self, tx: &mut TxQueue, burst: &mut Burst) {
        if self.finished || self.halt.is_stopped() || !tx.is_up() {
            return;
        }
        let now = monotonic_ns();
        if burst.is_empty() {
            self.fill(burst, now);
        }
        if tx.send(burst) > 0 {
            let stats = tx.stats();
            self.counts.reached(stats.packets, stats.bytes, now);
            self.published.publish(&self.counts);
        }
        if self.left == 0 && burst.is_empty() {
            self.finish();
        }
    }

    fn fill(&mut self, burst: &mut Burst, now: u64) {
        let mut wanted = self.left.min(burst.capacity() as u64);
        if let Some(pace) = &mut self.pace {
            wanted = pace.take(now, wanted);
        }
        let mut stamp = now;
        for _ in 0..wanted {
            // large packets fill a burst before it has its number
            let Some(packet) = burst.reserve(self.size) else { break };
            self.template.write(packet, self.sequence, stamp);
            stamp = 0;
            self.sequence += 1;
            self.left -= 1;
        }
        if let Some(pace) = &mut self.pace {
            pace.give_back(wanted - burst.len() as u64);
        }
    }

    #[cold]
    fn finish(&mut self) {
        self.finished = true;
        if self.unfinished.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.halt.stop();
        }
    }
}

/// How many packets a rate allows by now.
#[derive(Debug)]
struct Pace {
    /// Packets a nanosecond.
    rate: f64,
    /// Packets that may be sent now.
    credit: f64,
    /// Most that `credit` may become: a stalled generator makes up for little of what it missed.
    most: f64,
    last_ns: Option<u64>,
}

impl Pace {
    fn new(packets_a_second: f64) -> Self {
        let rate = packets_a_second / 1e9;
        Self { rate, credit: 0.0, most: (rate * CATCH_UP_NS).max(1.0), last_ns: None }
    }

    /// Takes up to `wanted` packets.
    fn take(&mut self, now: u64, wanted: u64) -> u64 {
        let passed = now.saturating_sub(self.last_ns.replace(now).unwrap_or(now));
        self.credit = (self.credit + passed as f64 * self.rate).min(self.most);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole packets, and never negative"
        )]
        let taken = (self.credit as u64).min(wanted);
        self.credit -= taken as f64;
        taken
    }

    fn give_back(&mut self, packets: u64) {
        self.credit += packets as f64;
    }
}

/// Splits `total` among `queues` queues; the first ones get the remainder.
pub(crate) fn share(total: u64, queues: u16, queue: u16) -> u64 {
    let queues = u64::from(queues.max(1));
    total / queues + u64::from(u64::from(queue) < total % queues)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::TestPacket;

    fn order(size: u16, rate: Option<f64>) -> Order {
        Order {
            instance: 7,
            size,
            fill: Fill::BySequence,
            rate,
            unfinished: Arc::new(AtomicUsize::new(1)),
            halt: Stop::new(),
        }
    }

    #[test]
    fn bursts_carry_on_the_sequence_and_one_stamp() {
        let (mut generator, _) = Generator::new(&order(100, None), 3, Some(40));
        let mut burst = Burst::new(32).unwrap();
        let mut sequence = 0;
        for expected in [32, 8, 0] {
            generator.fill(&mut burst, 1234);
            assert_eq!(burst.len(), expected);
            for (i, packet) in burst.iter().enumerate() {
                let packet = TestPacket::parse(packet).unwrap();
                assert_eq!((packet.sequence(), packet.stream().queue, packet.size()), (sequence, 3, 100));
                assert_eq!(packet.stamp(), (i == 0).then_some(1234));
                sequence += 1;
            }
            burst.clear();
        }
    }

    #[test]
    fn large_packets_make_smaller_bursts() {
        let (mut generator, _) = Generator::new(&order(65535, Some(1e9)), 0, None);
        let mut burst = Burst::new(32).unwrap();
        generator.fill(&mut burst, 0);
        generator.fill(&mut burst, 1000);
        let sent = burst.len() as u64;
        assert!((1..32).contains(&sent));
        assert_eq!(generator.sequence, sent);
        let pace = generator.pace.unwrap();
        assert!((pace.credit - (1000 - sent) as f64).abs() < 1e-6, "what did not fit is not forgotten");
    }

    #[test]
    fn the_last_queue_to_finish_halts() {
        let order = Order { unfinished: Arc::new(AtomicUsize::new(2)), ..order(64, None) };
        let (mut a, _) = Generator::new(&order, 0, Some(1));
        let (mut b, _) = Generator::new(&order, 1, Some(1));
        a.finish();
        assert!(!order.halt.is_stopped());
        b.finish();
        assert!(order.halt.is_stopped());
    }

    #[test]
    fn a_rate_is_kept() {
        let mut pace = Pace::new(1e6);
        assert_eq!(pace.take(500, 64), 0);
        assert_eq!(pace.take(1_400, 64), 0);
        assert_eq!(pace.take(1_600, 64), 1);
        let mut sent = 1;
        for now in (2_000..10_000_500).step_by(700) {
            sent += pace.take(now, 64);
        }
        assert_eq!(sent, 9_999);
        // after a pause of a second only a millisecond is made up for
        let mut late = 0;
        for _ in 0..100 {
            late += pace.take(1_010_000_000, 64);
        }
        assert_eq!(late, 1000);
    }

    #[test]
    fn counts_are_shared_out() {
        for (total, queues) in [(0, 1), (1, 3), (10, 3), (12, 4), (u64::MAX, 256)] {
            let shares: Vec<u64> = (0..queues).map(|queue| share(total, queues, queue)).collect();
            assert_eq!(shares.iter().sum::<u64>(), total);
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
        }
    }
}
