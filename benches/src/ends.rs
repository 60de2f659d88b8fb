//! The work of an end of a link in its own process: send, receive, echo or forward.

use std::hint;
use std::io::{BufRead, Write};
use std::slice;
use std::thread;
use std::time::{Duration, Instant};

use memif_os::clock::monotonic_ns;
use memif_os::cpu::pin_current;
use memif_pmd::{Burst, Interface, Memif, RxQueue, TxQueue};

use crate::error::Error;
use crate::histogram;
use crate::idle::{Idle, NAP};
use crate::in_place::{receive_in_place, send_in_place};
use crate::open_loop;
use crate::pair::{End, OPEN, UP, Window};
use crate::relay;
use crate::turns::{TURNS, check, measured, turns, turns_of};
use crate::work::{Found, SMALLEST, Work};

/// Timeout for the link.
pub(crate) const LINK: Duration = Duration::from_secs(10);
/// Time for which senders and echoes continue after their window unless they are ended, as the other end may be late.
const AFTER_NS: u64 = 2_000_000_000;
/// Turns without a packet between two checks of the link during a round trip.
const LOST: u32 = 64;
/// Maximum time of a round trip.
const LONGEST: Duration = Duration::from_secs(2);

/// Runs an end; `text` is its [`End`].
///
/// # Errors
/// An interface or core cannot be used, there is no link, or it was lost.
pub(crate) fn run(text: &str) -> Result<(), Error> {
    let end: End = serde_json::from_str(text)?;
    let memif = Memif::start()?;
    let interfaces = relay::open(&memif, &end)?;
    say(OPEN)?;
    interfaces.iter().try_for_each(|interface| interface.wait_up(Some(LINK)))?;
    say(UP)?;
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line).map_err(Error::io("cannot read the window"))?;
    if read == 0 {
        return Ok(()); // nobody wants to know any more
    }
    let window: Window = serde_json::from_str(&line)?;
    pin_current(end.core)?;
    work(&interfaces, &end, window)?;
    // the link stays until the other end is done, too: then this process is ended
    std::io::stdin().lock().read_line(&mut line).map(drop).map_err(Error::io("cannot wait for the end"))
}

/// Does the work and prints the result. Ends that the other one may still need continue for a while.
fn work(interfaces: &[Interface], end: &End, window: Window) -> Result<(), Error> {
    let (Some(interface), Some(last)) = (interfaces.first(), interfaces.last()) else {
        return Err(Error::Unfit("an end without interfaces has nothing to do".into()));
    };
    let core = end.core;
    let found = match end.work {
        Work::Generate { ref sizes, burst, in_place } => {
            return generate(interface, core, window, (sizes, burst, in_place));
        }
        Work::Echo { burst } => return echo(interface, core, window, burst),
        Work::OpenLoop { mpps, arrivals } => {
            let mut turn = open_loop::generator(interface, mpps, arrivals)?;
            answer(&measured(core, window, 1, &mut turn)?)?;
            return turns(window.end + AFTER_NS, 1, &mut turn).map(drop);
        }
        Work::Clock { burst } => open_loop::clock(interface, core, window, burst),
        Work::Sink { burst, in_place } => sink(interface, core, window, (burst, in_place)),
        Work::Ping { packets, pause_us } => {
            ping(interface, core, window, packets, Duration::from_micros(pause_us))
        }
        Work::Circulate { size, burst } => relay::circulate(interface, last, core, window, (size, burst)),
        Work::Forward { burst, in_place } => relay::forward(interface, last, core, window, (burst, in_place)),
        Work::Rest => measured(core, window, 1, &mut || {
            thread::sleep(NAP);
            Ok(0)
        }),
    };
    answer(&found?)
}

fn answer(found: &Found) -> Result<(), Error> {
    say(&serde_json::to_string(found)?)
}

fn say(line: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(Error::io("cannot answer"))
}

fn generate(
    interface: &Interface,
    core: usize,
    window: Window,
    (sizes, burst, in_place): (&[usize], usize, bool),
) -> Result<(), Error> {
    let mut queues = Vec::new();
    for index in 0..interface.tx_count() {
        let mut sender = Sender { tx: interface.tx(index)?, packets: Burst::new(burst)?, sizes, next: 0 };
        sender.fill();
        sender.packets.iter_mut().for_each(|packet| packet.fill(0x5a));
        queues.push(sender);
    }
    let found = measured(core, window, TURNS, &mut || Ok(send(&mut queues, burst, in_place)))?;
    for sender in &mut queues {
        check(sender.tx.is_up(), sender.tx.stats().dropped())?;
    }
    answer(&found)?;
    turns(window.end + AFTER_NS, TURNS, &mut || Ok(send(&mut queues, burst, in_place))).map(drop)
}

/// Sends a burst on each queue.
#[inline]
fn send(queues: &mut [Sender<'_>], burst: usize, in_place: bool) -> usize {
    let each = queues.iter_mut().map(|sender| match sender.sizes {
        [size, ..] if in_place => send_in_place(&mut sender.tx, *size, burst),
        _ => sender.send_copies(),
    });
    each.sum()
}

/// A queue with the packets to send.
struct Sender<'s> {
    tx: TxQueue,
    packets: Burst,
    sizes: &'s [usize],
    /// Index of the next packet's size.
    next: usize,
}

impl Sender<'_> {
    /// Fills the burst.
    #[inline]
    fn fill(&mut self) {
        if let [size] = self.sizes {
            return fill(&mut self.packets, *size);
        }
        while let Some(size) = self.sizes.get(self.next)
            && self.packets.reserve(*size).is_ok()
        {
            self.next = if self.next + 1 == self.sizes.len() { 0 } else { self.next + 1 };
        }
    }

    /// Sends packets with a copy, first those that did not fit the last time.
    #[inline]
    fn send_copies(&mut self) -> usize {
        if self.packets.is_empty() {
            self.fill();
        }
        self.tx.send(&mut self.packets)
    }
}

/// Fills a burst with packets whose content is not written.
#[inline]
fn fill(packets: &mut Burst, size: usize) {
    while packets.reserve(size).is_ok() {}
}

fn sink(
    interface: &Interface,
    core: usize,
    window: Window,
    (burst, in_place): (usize, bool),
) -> Result<Found, Error> {
    let mut packets = Burst::new(burst)?;
    let mut queues = (0..interface.rx_count()).map(|i| interface.rx(i)).collect::<Result<Vec<_>, _>>()?;
    let mut idle = Idle::default();
    let count = turns_of(&queues);
    let mut turn = || {
        let each = queues
            .iter_mut()
            .map(|rx| if in_place { receive_in_place(rx, burst) } else { receive_copies(rx, &mut packets) });
        let received = each.sum();
        idle.after(received, &mut queues)?;
        Ok(received)
    };
    let found = measured(core, window, count, &mut turn)?;
    for rx in &mut queues {
        check(rx.is_up(), rx.stats().dropped())?;
    }
    Ok(found)
}

#[inline]
fn receive_copies(rx: &mut RxQueue, packets: &mut Burst) -> usize {
    let received = rx.receive(packets);
    hint::black_box(&mut *packets);
    packets.clear();
    received
}

fn ping(
    interface: &Interface,
    core: usize,
    window: Window,
    packets: usize,
    pause: Duration,
) -> Result<Found, Error> {
    let (mut tx, mut rx) = (interface.tx(0)?, interface.rx(0)?);
    let (mut out, mut back) = (Burst::new(packets)?, Burst::new(packets)?);
    let mut round_trips = histogram::new()?;
    let mut turn = || {
        if !pause.is_zero() {
            thread::sleep(pause);
        }
        fill(&mut out, SMALLEST);
        let start = monotonic_ns();
        round_trip(&mut tx, &mut rx, &mut out, &mut back)?;
        let now = monotonic_ns();
        if start >= window.begin {
            round_trips.saturating_record(now - start);
        }
        Ok(packets)
    };
    let mut found = measured(core, window, 1, &mut turn)?;
    check(rx.is_up(), rx.stats().dropped() + tx.stats().dropped())?;
    found.latencies = Some(histogram::quantiles(&round_trips, &histogram::ROUND_TRIP));
    Ok(found)
}

/// Sends all of `out` and waits until as many packets are back.
#[inline]
fn round_trip(tx: &mut TxQueue, rx: &mut RxQueue, out: &mut Burst, back: &mut Burst) -> Result<(), Error> {
    let mut missing = out.len();
    let mut idle = Idle::default();
    let mut deadline = None;
    while missing > 0 {
        tx.send(out);
        let received = rx.receive(back);
        back.clear();
        missing = missing.saturating_sub(received);
        idle.after(received, slice::from_mut(rx))?;
        if idle.turns >= LOST && idle.turns.is_multiple_of(LOST) {
            check(rx.is_up(), 0)?;
            if Instant::now() > *deadline.get_or_insert_with(|| Instant::now() + LONGEST) {
                return Err(Error::Unfit(format!("{missing} packets did not come back within {LONGEST:?}")));
            }
        }
    }
    Ok(())
}

fn echo(interface: &Interface, core: usize, window: Window, burst: usize) -> Result<(), Error> {
    let mut queues = [interface.rx(0)?];
    let mut tx = interface.tx(0)?;
    let mut packets = Burst::new(burst)?;
    let mut idle = Idle::default();
    let count = turns_of(&queues);
    let mut turn = || {
        let received = queues.iter_mut().map(|rx| rx.receive(&mut packets)).sum();
        tx.send(&mut packets);
        idle.after(received, &mut queues)?;
        Ok(received)
    };
    let found = measured(core, window, count, &mut turn)?;
    answer(&found)?;
    turns(window.end + AFTER_NS, count, &mut turn).map(drop)
}
