//! The generator: test packets on every tx queue, as fast as it goes or at a rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memif_os::clock::monotonic_ns;
use memif_pmd::{Burst, Stop};

use crate::counters::{Counts, Published};
use crate::packet::{Fill, Framing, Route, Stream, Template};
use crate::ports::Outlet;
use crate::sizes::Sizes;

/// After a pause, a generator makes up for the packets that were due in its last part of this length, in nanoseconds.
const CATCH_UP_NS: u64 = 100_000_000;

/// The settings that the generators of all queues share. Count and rate are for all queues together. Queues that have a ring send
/// all packets; a queue without one takes no part.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// Distinguishes this run's packets from those of other runs.
    pub instance: u32,
    /// Which header packets begin with.
    pub framing: Framing,
    /// Bytes of the packets.
    pub sizes: Sizes,
    /// Where packets come from and go to.
    pub route: Route,
    /// Whether each packet has its own body.
    pub fill: Fill,
    /// Limits all queues together; `None` for no limit.
    pub pace: Option<Pace>,
    /// Packets of all queues together; `None` for no end.
    pub count: Option<Count>,
    /// Ends generating.
    pub halt: Stop,
}

/// A number of packets for all queues together.
#[derive(Clone, Debug)]
pub(crate) struct Count(Arc<[AtomicU64; 2]>);

impl Count {
    pub(crate) fn new(packets: u64) -> Self {
        Self(Arc::new([AtomicU64::new(packets), AtomicU64::new(packets)]))
    }

    fn ungenerated(&self) -> &AtomicU64 {
        let [ungenerated, _] = &*self.0;
        ungenerated
    }

    /// Takes up to `wanted` packets to generate.
    fn take(&self, wanted: u64) -> u64 {
        let rest = |left: u64| Some(left.saturating_sub(wanted));
        let left = self.ungenerated().fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest);
        left.unwrap_or_default().min(wanted)
    }

    /// Gives back packets that were not generated, or not sent, for another queue.
    fn give_back(&self, packets: u64) {
        self.ungenerated().fetch_add(packets, Ordering::Relaxed);
    }

    /// Counts sent packets. True when these were the last ones.
    fn sent(&self, packets: u64) -> bool {
        let [_, unsent] = &*self.0;
        packets > 0 && unsent.fetch_sub(packets, Ordering::Relaxed) == packets
    }
}

/// Generates the packets of one queue.
#[derive(Debug)]
pub(crate) struct Generator {
    template: Template,
    sizes: Sizes,
    sequence: u64,
    pace: Option<Pace>,
    count: Option<Count>,
    halt: Stop,
    counts: Counts,
    published: Arc<Published>,
}

impl Generator {
    /// A generator for tx queue `queue`, and its published counters.
    pub(crate) fn new(order: &Order, queue: u16) -> (Self, Arc<Published>) {
        let published = Arc::<Published>::default();
        let stream = Stream { instance: order.instance, queue };
        let generator = Self {
            template: Template::new(stream, order.framing, order.fill, order.route),
            sizes: order.sizes,
            sequence: 0,
            pace: order.pace.clone(),
            count: order.count.clone(),
            halt: order.halt.clone(),
            counts: Counts::default(),
            published: Arc::clone(&published),
        };
        (generator, published)
    }

    /// Sends a burst, if the queue has a ring and there is anything to send.
    #[inline]
    pub(crate) fn turn(&mut self, tx: &mut (impl Outlet + ?Sized), burst: &mut Burst) {
        if self.halt.is_stopped() {
            return;
        }
        if !tx.is_up() {
            return self.withdraw(burst);
        }
        let now = monotonic_ns();
        if burst.is_empty() {
            self.fill(burst, now);
        }
        let before = burst.len();
        if tx.send(burst) > 0 {
            let moved = tx.moved();
            self.counts.reached(moved.packets, moved.bytes, now);
            self.published.publish(&self.counts);
        }
        let gone = (before - burst.len()) as u64;
        if self.count.as_ref().is_some_and(|count| count.sent(gone)) {
            self.halt.stop();
        }
    }

    fn fill(&mut self, burst: &mut Burst, now: u64) {
        let mut wanted = burst.capacity() as u64;
        if let Some(pace) = &self.pace {
            wanted = pace.take(now, wanted);
        }
        let allowed = wanted;
        if let Some(count) = &self.count {
            wanted = count.take(wanted);
        }
        let mut stamp = now;
        for _ in 0..wanted {
            // large packets fill a burst before it has its number
            let Ok(packet) = burst.reserve(self.sizes.of(self.sequence)) else { break };
            self.template.write(packet, self.sequence, stamp);
            stamp = 0;
            self.sequence += 1;
        }
        let generated = burst.len() as u64;
        if let Some(count) = &self.count
            && generated < wanted
        {
            count.give_back(wanted - generated);
        }
        if let Some(pace) = &self.pace
            && generated < allowed
        {
            pace.give_back(allowed - generated);
        }
    }

    /// The queue has no ring: leaves its unsent packets to other queues, or to itself when it has one again.
    #[cold]
    fn withdraw(&mut self, burst: &mut Burst) {
        let unsent = burst.len() as u64;
        burst.clear();
        self.sequence -= unsent;
        if let Some(count) = &self.count {
            count.give_back(unsent);
        }
    }
}

/// Fractions of a nanosecond in which [`Pace`] counts.
const FRACTIONS: u64 = 1024;

/// How many packets a rate allows by now, for all queues together.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    /// Time between two packets, in fractions.
    interval: u64,
    /// When the next packet may be sent, in fractions; 0 before the first look.
    next: Arc<AtomicU64>,
    /// Packets that were due in pauses and are not sent: see [`CATCH_UP_NS`].
    missed: Arc<AtomicU64>,
}

impl Pace {
    pub(crate) fn new(packets_a_second: u64) -> Self {
        Self {
            interval: (1_000_000_000 * FRACTIONS / packets_a_second.max(1)).max(1),
            next: Arc::default(),
            missed: Arc::default(),
        }
    }

    /// Takes up to `wanted` packets at `now`, in nanoseconds. After a pause, the packets of [`CATCH_UP_NS`] are made up
    /// for, and at least one.
    fn take(&self, now: u64, wanted: u64) -> u64 {
        let now = now.saturating_mul(FRACTIONS);
        let oldest = now.saturating_sub((CATCH_UP_NS * FRACTIONS).saturating_sub(self.interval));
        let (mut taken, mut missed) = (0, 0);
        let advance = |next: u64| {
            // the first packet is due after one interval
            missed = if next == 0 { 0 } else { oldest.saturating_sub(next) / self.interval };
            let next = if next == 0 { now.saturating_add(self.interval) } else { next.max(oldest) };
            taken = if next > now { 0 } else { ((now - next) / self.interval + 1).min(wanted) };
            Some(next.saturating_add(taken.saturating_mul(self.interval)))
        };
        // Relaxed: no other memory depends on this number
        let _ = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, advance);
        if missed > 0 {
            self.missed.fetch_add(missed, Ordering::Relaxed);
        }
        taken
    }

    /// Number of packets that were due in pauses and are not sent: see [`CATCH_UP_NS`].
    pub(crate) fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    fn give_back(&self, packets: u64) {
        self.next.fetch_sub(packets.saturating_mul(self.interval), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{TestPacket, Version};

    fn order(size: u16, rate: Option<u64>, count: Option<u64>) -> Order {
        Order {
            instance: 7,
            framing: Framing::Ethernet,
            sizes: Sizes::fixed(size),
            route: Route::default(),
            fill: Fill::BySequence,
            pace: rate.map(Pace::new),
            count: count.map(Count::new),
            halt: Stop::new().unwrap(),
        }
    }

    #[test]
    fn bursts_carry_on_the_sequence_and_one_stamp() {
        let (mut generator, _) = Generator::new(&order(100, None, Some(40)), 3);
        let mut burst = Burst::new(32).unwrap();
        let mut sequence = 0;
        for expected in [32, 8, 0] {
            generator.fill(&mut burst, 1234);
            assert_eq!(burst.len(), expected);
            for (i, packet) in burst.iter().enumerate() {
                let packet = TestPacket::parse(packet, Framing::Ethernet).unwrap();
                assert_eq!((packet.sequence(), packet.stream().queue, packet.ip_size()), (sequence, 3, 86));
                assert_eq!(packet.stamp(), (i == 0).then_some(1234));
                sequence += 1;
            }
            burst.clear();
        }
    }

    #[test]
    fn sizes_follow_the_sequence_also_after_packets_were_withdrawn() {
        for sizes in [Sizes::imix(Framing::Ethernet, Version::V4), Sizes::range(64, 9000)] {
            let order = Order { sizes, ..order(64, None, Some(100)) };
            let mut generator = Generator::new(&order, 0).0;
            let mut burst = Burst::new(16).unwrap();
            generator.fill(&mut burst, 1);
            generator.withdraw(&mut burst);
            let mut sequence = 0;
            while sequence < 100 {
                generator.fill(&mut burst, 2);
                for packet in &burst {
                    let read = TestPacket::parse(packet, Framing::Ethernet).unwrap();
                    assert_eq!((read.sequence(), packet.len()), (sequence, sizes.of(sequence)));
                    assert_eq!(read.sent_size(), read.ip_size());
                    sequence += 1;
                }
                burst.clear();
            }
        }
    }

    #[test]
    fn large_packets_make_smaller_bursts() {
        let order = order(65535, Some(1_000_000_000), Some(100));
        let (mut generator, _) = Generator::new(&order, 0);
        let mut burst = Burst::new(32).unwrap();
        generator.fill(&mut burst, 1000);
        generator.fill(&mut burst, 2000);
        let sent = burst.len() as u64;
        assert!((1..32).contains(&sent));
        assert_eq!(generator.sequence, sent);
        assert_eq!(order.count.unwrap().take(1000), 100 - sent, "what did not fit is not forgotten");
        assert_eq!(order.pace.unwrap().take(2000, 5000), 1000 - sent);
    }

    #[test]
    fn a_queue_without_a_ring_leaves_its_packets_to_the_others() {
        let order = order(64, None, Some(50));
        let (mut a, mut b) = (Generator::new(&order, 0).0, Generator::new(&order, 1).0);
        let mut bursts = [Burst::new(32).unwrap(), Burst::new(32).unwrap()];
        a.fill(&mut bursts[0], 1);
        b.fill(&mut bursts[1], 1);
        assert_eq!((bursts[0].len(), bursts[1].len()), (32, 18));
        a.withdraw(&mut bursts[0]);
        assert_eq!((bursts[0].len(), a.sequence), (0, 0));
        bursts[1].clear();
        b.fill(&mut bursts[1], 2);
        assert_eq!((bursts[1].len(), b.sequence), (32, 50));
    }

    #[test]
    fn the_last_packet_sent_ends_the_count() {
        let count = Count::new(10);
        assert_eq!((count.take(6), count.take(6), count.take(6)), (6, 4, 0));
        assert!(!count.sent(6) && !count.sent(0) && !count.sent(3) && count.sent(1) && !count.sent(0));
    }

    #[test]
    fn a_rate_is_kept_whichever_queue_asks() {
        let pace = Pace::new(1_000_000);
        let other = pace.clone();
        assert_eq!(pace.take(500, 64), 0);
        assert_eq!(other.take(1_400, 64), 0);
        assert_eq!(pace.take(1_600, 64), 1);
        assert_eq!(other.take(1_700, 64), 0);
        let mut sent = 1;
        for (turn, now) in (2_000..10_000_500).step_by(700).enumerate() {
            sent += if turn % 3 == 0 { pace.take(now, 64) } else { other.take(now, 64) };
        }
        assert_eq!(sent, 9_999);
        assert_eq!(pace.missed(), 0);
        // of a pause of a second only a tenth is made up for, and the rest is told
        assert_eq!((0..2000).map(|_| pace.take(1_010_000_000, 64)).sum::<u64>(), 100_000);
        assert_eq!(pace.missed() + 9_999 + 100_000, 1_009_999);
    }

    #[test]
    fn the_slowest_and_the_fastest_rate_are_kept() {
        let slow = Pace::new(1);
        assert_eq!((slow.take(1, 64), slow.take(900_000_000, 64)), (0, 0));
        assert_eq!((slow.take(1_000_000_001, 64), slow.take(1_000_000_002, 64)), (1, 0));
        let fast = Pace::new(u64::MAX);
        assert_eq!((fast.take(1, 64), fast.take(1000, 64)), (0, 64));
    }
}
