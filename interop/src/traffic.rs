//! Traffic of this process: sends and receives on this thread, and checks every packet that arrives.
//!
//! Every loop ends: when it is complete, at Ctrl-C, or when no packet has moved for [`STALLED`].

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use memif_interop::Error;
use memif_pmd::{Burst, Interface, RxQueue, Stop, TxQueue};

use crate::judge::{Judge, Judged};
use crate::packets::{Stream, check_mixed, check_txonly};

/// Descriptors of a ring.
const WHOLE_RING: usize = 1024;
/// Packets in a burst.
const BURST: usize = 64;
/// Maximum number of packets under way on a queue. With two descriptors each, they fill half of the smallest ring on the
/// path, so that no forwarder has to drop any.
const WINDOW: u64 = 256;
/// Time without a packet after which none is expected.
const STALLED: Duration = Duration::from_secs(3);
/// Longest time between two looks that counts in full.
const LOOK: Duration = Duration::from_millis(100);

/// A number of packets, and the time they took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    /// Number of packets.
    pub(crate) packets: u64,
    /// Time from the first to the last one.
    pub(crate) time: Duration,
}

impl Flow {
    /// Millions of packets per second.
    pub(crate) fn mpps(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
        let packets = self.packets as f64;
        packets / self.time.as_secs_f64().max(1e-9) / 1e6
    }
}

/// When a packet last moved.
struct Pulse<'s> {
    stop: &'s Stop,
    first: Option<Instant>,
    last: Instant,
    /// The last look, and time without a packet up to it. A look that comes late, on a machine that stops for a while, counts as
    /// [`LOOK`].
    looked: Instant,
    idle: Duration,
}

impl<'s> Pulse<'s> {
    fn new(stop: &'s Stop) -> Self {
        let now = Instant::now();
        Self { stop, first: None, last: now, looked: now, idle: Duration::ZERO }
    }

    /// Notes that `moved` packets have moved. An error if none has for too long.
    fn beat(&mut self, moved: usize, waiting_for: impl FnOnce() -> String) -> Result<(), Error> {
        let now = Instant::now();
        self.idle += (now - self.looked).min(LOOK);
        self.looked = now;
        if moved > 0 {
            self.last = now;
            self.first.get_or_insert(now);
            self.idle = Duration::ZERO;
            return Ok(());
        }
        // the core may be shared with the peer
        thread::yield_now();
        if self.stop.is_stopped() {
            return Err(Error::Interrupted);
        }
        if self.idle > STALLED {
            return Err(Error::Late { what: waiting_for(), waited: STALLED });
        }
        Ok(())
    }

    fn flow(&self, packets: u64) -> Flow {
        Flow { packets, time: self.first.map_or(Duration::ZERO, |first| self.last - first) }
    }
}

/// A queue pair of an interface, and the packets under way on it.
struct Lane {
    rx: RxQueue,
    tx: TxQueue,
    outgoing: Burst,
    incoming: Burst,
    made: Stream,
    expected: Stream,
    /// Packets lost with earlier links.
    forgiven: u64,
}

impl Lane {
    fn new(interface: &Interface, index: u16, run: u32, size: usize) -> Result<Self, Error> {
        let tag = run << 16 | u32::from(index);
        Ok(Self {
            rx: interface.rx(index)?,
            tx: interface.tx(index)?,
            outgoing: Burst::new(BURST)?,
            incoming: Burst::new(BURST)?,
            made: Stream::new(tag, size),
            expected: Stream::new(tag, size),
            forgiven: 0,
        })
    }

    /// Generates packets as the window allows, and sends as many as the ring accepts.
    fn send(&mut self, more: bool) -> usize {
        while more && self.made.count() < self.expected.count() + WINDOW {
            let size = self.made.size();
            let Ok(packet) = self.outgoing.reserve(size) else { break };
            self.made.make(packet);
        }
        if self.outgoing.is_empty() { 0 } else { self.tx.send(&mut self.outgoing) }
    }

    /// Receives a burst and checks it: content, order, and that it came back on its own queue.
    fn receive(&mut self) -> Result<usize, Error> {
        let count = self.rx.receive(&mut self.incoming);
        for packet in &self.incoming {
            self.expected.expect(packet).map_err(Error::Wrong)?;
        }
        self.incoming.clear();
        Ok(count)
    }

    fn is_done(&self) -> bool {
        self.made.count() == self.expected.count()
    }

    fn dropped(&self) -> u64 {
        self.rx.stats().dropped() + self.tx.stats().dropped()
    }

    fn no_drops(&self) -> Result<(), Error> {
        if self.dropped() == self.forgiven { Ok(()) } else { Err(drops(&self.rx, &self.tx)) }
    }
}

#[cold]
fn drops(rx: &RxQueue, tx: &TxQueue) -> Error {
    let (rx, tx) = (rx.stats(), tx.stats());
    let all: Vec<_> = rx.drops().chain(tx.drops()).filter(|(_, count)| *count > 0).collect();
    Error::Wrong(format!("our side dropped packets: {all:?}"))
}

/// Queue pairs whose packets the peer sends back.
pub(crate) struct RoundTrip<'s> {
    lanes: Vec<Lane>,
    stop: &'s Stop,
}

impl<'s> RoundTrip<'s> {
    /// All queues of `interface`, with packets of `size` bytes. `run` distinguishes the packets of several runs.
    pub(crate) fn new(interface: &Interface, run: u16, size: usize, stop: &'s Stop) -> Result<Self, Error> {
        let lanes: Result<_, _> =
            (0..interface.tx_count()).map(|i| Lane::new(interface, i, run.into(), size)).collect();
        Ok(Self { lanes: lanes?, stop })
    }

    /// Sends for `time` and waits until all packets have come back, correct and in order.
    pub(crate) fn run(&mut self, time: Duration) -> Result<Flow, Error> {
        let end = Instant::now() + time;
        self.turn(|| Instant::now() < end)
    }

    /// Sends while `more` is true, then waits for the remaining packets.
    fn turn(&mut self, more: impl Fn() -> bool) -> Result<Flow, Error> {
        let mut pulse = Pulse::new(self.stop);
        loop {
            let more = more();
            let mut moved = 0;
            for lane in &mut self.lanes {
                lane.send(more);
                moved += lane.receive()?;
            }
            if !more && self.lanes.iter().all(Lane::is_done) {
                break;
            }
            pulse.beat(moved, || self.missing())?;
        }
        self.lanes.iter().try_for_each(Lane::no_drops)?;
        if let Some(idle) = self.lanes.iter().find(|lane| lane.expected.count() == 0) {
            return Err(Error::Wrong(format!("nothing went over queue {}", idle.rx.index())));
        }
        Ok(pulse.flow(self.lanes.iter().map(|lane| lane.expected.count()).sum()))
    }

    fn missing(&self) -> String {
        let counts: Vec<_> = self
            .lanes
            .iter()
            .map(|lane| format!("{} of {} back", lane.expected.count(), lane.made.count()))
            .collect();
        format!("return of all packets ({})", counts.join(", "))
    }

    /// Continues until the link ends. Packets under way are lost with it; all others are checked.
    pub(crate) fn until_down(&mut self) -> Result<(), Error> {
        let mut pulse = Pulse::new(self.stop);
        while self.lanes.iter_mut().all(|lane| lane.rx.is_up()) {
            let mut moved = 0;
            for lane in &mut self.lanes {
                lane.send(true);
                moved += lane.receive()?;
            }
            pulse.beat(moved, || "end of the link".into())?;
        }
        Ok(())
    }

    /// Gives up packets under way on a link that has ended, and starts again as `run`.
    pub(crate) fn restart(&mut self, run: u16, size: usize) {
        for lane in &mut self.lanes {
            let tag = u32::from(run) << 16 | u32::from(lane.rx.index());
            lane.outgoing.clear();
            lane.forgiven = lane.dropped();
            lane.made = Stream::new(tag, size);
            lane.expected = Stream::new(tag, size);
        }
    }
}

/// Receives and checks packets of testpmd's `txonly`, until there are as many as `total` returns.
pub(crate) fn receive(
    interface: &Interface,
    size: usize,
    total: &AtomicU64,
    stop: &Stop,
) -> Result<Flow, Error> {
    let mut rx = interface.rx(0)?;
    let mut burst = Burst::new(BURST)?;
    let mut pulse = Pulse::new(stop);
    let mut packets = 0;
    loop {
        let count = rx.receive(&mut burst);
        packets += count as u64;
        for packet in &burst {
            check_txonly(packet, size).map_err(Error::Wrong)?;
        }
        burst.clear();
        // Relaxed: only the number itself matters
        let total = total.load(Ordering::Relaxed);
        if packets >= total {
            break;
        }
        pulse.beat(count, || format!("packet {} of {total}", packets + 1))?;
    }
    let dropped = rx.stats().dropped();
    if dropped > 0 {
        return Err(Error::Wrong(format!("our side dropped {dropped} of the packets it received")));
    }
    Ok(pulse.flow(packets))
}

/// What arrived of packets of mixed sizes.
#[derive(Debug, Default)]
pub(crate) struct Mixed {
    /// Packets that are what they should be.
    pub(crate) right: u64,
    /// Packets that are not.
    pub(crate) wrong: u64,
    /// What is wrong with the first one.
    pub(crate) example: String,
    /// How they compare with what was in shared memory.
    pub(crate) judged: Judged,
}

/// Receives and checks packets of testpmd's `txonly` with mixed `sizes`, until there are none and `done` is set. Links may
/// come and go.
pub(crate) fn receive_mixed(
    interface: &Interface,
    sizes: &[usize],
    judge: &mut Judge<'_>,
    done: &AtomicBool,
    stop: &Stop,
) -> Result<Mixed, Error> {
    let mut rx = interface.rx(0)?;
    // room for a whole ring: the library then looks for new packets at each call, so it sees no fewer than the judge
    let mut burst = Burst::new(WHOLE_RING)?;
    let mut seen = Mixed::default();
    loop {
        // Acquire: pairs with the Release of whoever has stopped testpmd, so that all of its packets are found
        let last = done.load(Ordering::Acquire);
        let dropped = rx.stats().dropped();
        judge.look(&mut rx);
        let count = rx.receive(&mut burst);
        judge.compare(&burst, |packet| check_mixed(packet, sizes).is_err());
        for packet in &burst {
            match check_mixed(packet, sizes) {
                Ok(()) => seen.right += 1,
                Err(problem) => {
                    seen.wrong += 1;
                    seen.example.is_empty().then(|| seen.example = problem);
                }
            }
        }
        burst.clear();
        if stop.is_stopped() {
            return Err(Error::Interrupted);
        }
        if count == 0 && rx.stats().dropped() == dropped {
            if last {
                seen.judged = judge.judged;
                return Ok(seen);
            }
            thread::yield_now();
        }
    }
}

/// Sends the packets of `stream` for `time`, until the ring has accepted all of them.
pub(crate) fn send(
    interface: &Interface,
    stream: &mut Stream,
    time: Duration,
    stop: &Stop,
) -> Result<Flow, Error> {
    let mut tx = interface.tx(0)?;
    let mut burst = Burst::new(BURST)?;
    let mut pulse = Pulse::new(stop);
    let end = Instant::now() + time;
    loop {
        let more = Instant::now() < end;
        while more && let Ok(packet) = burst.reserve(stream.size()) {
            stream.make(packet);
        }
        if burst.is_empty() {
            break;
        }
        let sent = tx.send(&mut burst);
        pulse.beat(sent, || "room in the ring".into())?;
    }
    let stats = tx.stats();
    if stats.dropped() > 0 || (stats.packets, stats.bytes) != (stream.count(), stream.bytes()) {
        return Err(Error::Wrong(format!("{} packets made, ours counts {stats:?}", stream.count())));
    }
    Ok(pulse.flow(stream.count()))
}
