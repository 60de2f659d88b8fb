//! Our side of the traffic: sends and receives on this thread, and checks every packet that arrives.
//!
//! Every loop ends: when its work is done, at Ctrl-C, or when nothing has moved for [`STALLED`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use memif_interop::Error;
use memif_pmd::{Burst, Interface, RxQueue, Stop, TxQueue};

use crate::packets::{Stream, check_txonly};

/// Packets in a burst.
const BURST: usize = 64;
/// Packets of a round trip under way on a queue: with two descriptors each still half of the smallest ring on the
/// way, so that no forwarder has reason to drop any.
const WINDOW: u64 = 256;
/// Without a packet for so long, none will come.
const STALLED: Duration = Duration::from_secs(3);

/// Packets that went one way or round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    /// How many.
    pub(crate) packets: u64,
    /// From the first to the last of them.
    pub(crate) time: Duration,
}

impl Flow {
    /// Millions of packets a second.
    pub(crate) fn mpps(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
        let packets = self.packets as f64;
        packets / self.time.as_secs_f64().max(1e-9) / 1e6
    }
}

/// When something last moved.
struct Pulse<'s> {
    stop: &'s Stop,
    first: Option<Instant>,
    last: Instant,
}

impl<'s> Pulse<'s> {
    fn new(stop: &'s Stop) -> Self {
        Self { stop, first: None, last: Instant::now() }
    }

    /// Takes note of `moved` packets; complains when there were none for too long.
    fn beat(&mut self, moved: usize, waiting_for: impl FnOnce() -> String) -> Result<(), Error> {
        if moved > 0 {
            self.last = Instant::now();
            self.first.get_or_insert(self.last);
            return Ok(());
        }
        // the core may be shared with the peer
        thread::yield_now();
        if self.stop.is_stopped() {
            return Err(Error::Interrupted);
        }
        if self.last.elapsed() > STALLED {
            return Err(Error::Late { what: waiting_for(), waited: STALLED });
        }
        Ok(())
    }

    fn flow(&self, packets: u64) -> Flow {
        Flow { packets, time: self.first.map_or(Duration::ZERO, |first| self.last - first) }
    }
}

/// Queue pair `index` of an interface and what is under way on it.
struct Lane {
    rx: RxQueue,
    tx: TxQueue,
    outgoing: Burst,
    incoming: Burst,
    made: Stream,
    expected: Stream,
    /// Packets that earlier links took with them.
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

    /// Makes packets as the window allows, and sends what the ring takes.
    fn send(&mut self, more: bool) -> usize {
        while more && self.made.count() < self.expected.count() + WINDOW {
            let size = self.made.size();
            let Some(packet) = self.outgoing.reserve(size) else { break };
            self.made.make(packet);
        }
        if self.outgoing.is_empty() { 0 } else { self.tx.send(&mut self.outgoing) }
    }

    /// Receives a burst and checks it: content, order, and that it came back on its own queue.
    fn receive(&mut self) -> Result<usize, Error> {
        let count = self.rx.receive(&mut self.incoming);
        for packet in self.incoming.iter() {
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

/// Queue pairs whose packets go to the peer and come back.
pub(crate) struct RoundTrip<'s> {
    lanes: Vec<Lane>,
    stop: &'s Stop,
}

impl<'s> RoundTrip<'s> {
    /// All queues of `interface`, with packets of `size` bytes. `run` tells one round trip's packets from another's.
    pub(crate) fn new(interface: &Interface, run: u16, size: usize, stop: &'s Stop) -> Result<Self, Error> {
        let lanes: Result<_, _> =
            (0..interface.tx_count()).map(|i| Lane::new(interface, i, run.into(), size)).collect();
        Ok(Self { lanes: lanes?, stop })
    }

    /// Sends for `time`, and until each packet is back: whole, in order, none missing.
    pub(crate) fn run(&mut self, time: Duration) -> Result<Flow, Error> {
        let end = Instant::now() + time;
        self.turn(|| Instant::now() < end)
    }

    /// Sends for as long as `more`, then waits for the rest.
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

    /// Goes on until the link is lost; what is under way then is lost with it, and the rest is checked.
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

    /// Forgets what was under way on a link that is lost, and begins anew as `run`.
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

/// Receives what testpmd's `txonly` sends, each packet checked, until there were as many as `total` says by then.
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
        for packet in burst.iter() {
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

/// Sends packets of `size` bytes for `time`; all that were made are in the ring in the end.
pub(crate) fn send(interface: &Interface, size: usize, time: Duration, stop: &Stop) -> Result<Flow, Error> {
    let mut tx = interface.tx(0)?;
    let mut burst = Burst::new(BURST)?;
    let mut stream = Stream::new(0, size);
    let mut pulse = Pulse::new(stop);
    let end = Instant::now() + time;
    loop {
        let more = Instant::now() < end;
        while more && let Some(packet) = burst.reserve(size) {
            stream.make(packet);
        }
        if burst.is_empty() {
            break;
        }
        let sent = tx.send(&mut burst);
        pulse.beat(sent, || "room in the ring".into())?;
    }
    let stats = tx.stats();
    if stats.dropped() > 0 || stats.packets != stream.count() {
        return Err(Error::Wrong(format!("{} packets made, ours counts {stats:?}", stream.count())));
    }
    Ok(pulse.flow(stream.count()))
}
