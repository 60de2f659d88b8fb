//! The commands `gen`, `sink`, `echo` and `forward`.

use std::hash::{BuildHasher, RandomState};

use memif_os::cpu::CoreList;
use memif_os::thread;
use memif_pmd::{Burst, Idle, RxMode, RxQueue, Workers};

use crate::args::{EchoArgs, ForwardArgs, GenArgs, RunArgs, SinkArgs};
use crate::cores::{check_cores, place};
use crate::error::ToolError;
use crate::feeds::Feeds;
use crate::generator::{Count, Generator, Order, Pace};
use crate::link::Link;
use crate::packet::{Fill, Framing};
use crate::relay::Relay;
use crate::report::{Drops, Measures, Totals};
use crate::run::Run;
use crate::session::Session;
use crate::sink::{Quota, Sink};

const COUNTERS_ONLY: Measures = Measures { latency: false, verify: false };
/// Idle rounds before a worker of adaptive queues sleeps: some hundreds of microseconds.
const ADAPTIVE_ROUNDS: u32 = 10_000;

/// A number that distinguishes the packets of this run from those of other runs.
pub(crate) fn instance() -> u32 {
    let [a, b, c, d, ..] = RandomState::new().hash_one(0).to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}

/// How packets are filled, for a sink that verifies or not.
pub(crate) fn fill(verify: bool) -> Fill {
    if verify { Fill::BySequence } else { Fill::Plain }
}

/// Starts a session after checking the cores.
fn start(args: &RunArgs, quiet: bool) -> Result<Session, ToolError> {
    check_cores(args.core.as_ref().map_or(&[], CoreList::cores))?;
    Session::start(quiet)
}

/// `memif gen`
///
/// # Errors
/// See [`ToolError`].
pub(crate) fn generate(args: &GenArgs) -> Result<(), ToolError> {
    let session = start(&args.run, false)?;
    let port = args.port.parse()?;
    let link = session.open(&port)?;
    let framing = Framing::of(port.mode());
    let order = Order {
        instance: instance(),
        framing,
        sizes: args.sizes(framing),
        fill: fill(args.verify),
        pace: args.rate.map(Pace::new),
        count: args.count.map(Count::new),
        halt: session.stop.clone(),
    };
    let make = || generators(&link, &order, &args.run);
    run(&session, &[&link], make, &args.run, COUNTERS_ONLY, || link.settle()).map(drop)
}

/// A generator for each tx queue.
fn generators(link: &Link, order: &Order, args: &RunArgs) -> Result<(Workers<'static>, Feeds), ToolError> {
    let mut feeds = Feeds::default();
    let mut workers = Workers::new().burst(args.burst.into());
    for queue in 0..link.interface.tx_count() {
        let (mut generator, published) = Generator::new(order, queue);
        feeds.follow(published);
        // an echo that cannot send its packets back would stop receiving
        let mut returned = Burst::new(args.burst.into())?;
        let queues = (link.interface.tx(queue)?, link.interface.rx(queue)?);
        workers = place(workers, args.core.as_ref(), queue, queues, move |(tx, rx), burst| {
            generator.turn(tx, burst);
            rx.receive(&mut returned);
            returned.clear();
        });
    }
    Ok((workers, feeds))
}

/// `memif sink`
///
/// # Errors
/// See [`ToolError`]; includes packets that do not verify.
pub(crate) fn sink(args: &SinkArgs) -> Result<(), ToolError> {
    let session = start(&args.run, false)?;
    let port = args.port.parse()?;
    let link = session.open(&port)?;
    let quota = args.count.map(|count| Quota::new(count, session.stop.clone()));
    let make = || sinks(&link, Framing::of(port.mode()), quota.as_ref(), args);
    let measures = Measures { latency: true, verify: args.verify };
    let totals = run(&session, &[&link], make, &args.run, measures, || ())?;
    match totals.failure().filter(|_| args.verify) {
        Some(failure) => Err(ToolError::Verification(failure)),
        None => Ok(()),
    }
}

/// A sink for each rx queue.
fn sinks(
    link: &Link,
    framing: Framing,
    quota: Option<&Quota>,
    args: &SinkArgs,
) -> Result<(Workers<'static>, Feeds), ToolError> {
    let mut feeds = Feeds::default();
    let mut workers = Workers::new().burst(args.run.burst.into());
    for queue in 0..link.interface.rx_count() {
        let (mut sink, published, handover) = Sink::new(framing, args.verify, quota.cloned())?;
        feeds.follow_sink(published, handover);
        let rx = link.interface.rx(queue)?;
        workers = workers.idle(idle_for(&[rx.mode()]));
        workers = place(workers, args.run.core.as_ref(), queue, rx, move |rx, burst| sink.turn(rx, burst));
    }
    Ok((workers, feeds))
}

/// `memif echo`
///
/// # Errors
/// See [`ToolError`].
pub(crate) fn echo(args: &EchoArgs) -> Result<(), ToolError> {
    let session = start(&args.run, false)?;
    let link = session.open(&args.port.parse()?)?;
    let make = || relays(&[(&link, &link)], &args.run, false);
    run(&session, &[&link], make, &args.run, COUNTERS_ONLY, || ()).map(drop)
}

/// `memif forward`
///
/// # Errors
/// See [`ToolError`].
pub(crate) fn forward(args: &ForwardArgs) -> Result<(), ToolError> {
    let session = start(&args.run, args.child)?;
    let (left, right) = (args.left.parse()?, args.right.parse()?);
    let (left, right) = if args.zero_copy {
        session.open_sharing(&left, &right)?
    } else {
        (session.open(&left)?, session.open(&right)?)
    };
    let (ours, theirs) = (left.interface.rx_count(), right.interface.rx_count());
    if ours != theirs {
        let problem = format!("the ports have {ours} and {theirs} queues: give both the same queues=N");
        return Err(ToolError::Usage(problem));
    }
    if args.child {
        let stop = session.stop.clone();
        let watch = move || {
            // at its end or on an error, the process at the other end is gone
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            stop.stop();
        };
        thread::spawn("memif-stdin", None, watch).map_err(ToolError::Thread)?;
    }
    let make = || relays(&[(&left, &right), (&right, &left)], &args.run, args.zero_copy);
    run(&session, &[&left, &right], make, &args.run, COUNTERS_ONLY, || ()).map(drop)
}

/// A relay for each tx queue of each way that has a ring; the rx queues take turns among them.
fn relays(
    ways: &[(&Link, &Link)],
    args: &RunArgs,
    in_place: bool,
) -> Result<(Workers<'static>, Feeds), ToolError> {
    let mut feeds = Feeds::default();
    let mut modes = Vec::new();
    let mut workers = Workers::new().burst(args.burst.into());
    for (from, to) in ways {
        let outlets = to.tx_rings().min(from.interface.rx_count());
        for queue in 0..outlets {
            let (mut relay, published) = Relay::new();
            feeds.follow(published);
            let inlets = (queue..from.interface.rx_count()).step_by(outlets.into());
            let inlets = inlets.map(|queue| from.interface.rx(queue)).collect::<Result<Vec<_>, _>>()?;
            modes.extend(inlets.iter().map(RxQueue::mode));
            let queues = (inlets, to.interface.tx(queue)?);
            workers = place(workers, args.core.as_ref(), queue, queues, move |(from, tx), burst| {
                if in_place {
                    relay.turn_in_place(from, tx, burst.capacity());
                } else {
                    relay.turn(from, tx, burst);
                }
            });
        }
    }
    Ok((workers.idle(idle_for(&modes)), feeds))
}

/// How workers idle that receive on queues of these modes: none sleeps over a queue that is polled.
fn idle_for(modes: &[RxMode]) -> Idle {
    if modes.contains(&RxMode::Polling) {
        Idle::Pause
    } else if modes.contains(&RxMode::Adaptive) {
        Idle::Sleep { after: ADAPTIVE_ROUNDS }
    } else {
        Idle::Sleep { after: 0 }
    }
}

/// Waits for the links, runs the workers that `make` gives, and reports until the end.
fn run(
    session: &Session,
    links: &[&Link],
    make: impl FnOnce() -> Result<(Workers<'static>, Feeds), ToolError>,
    args: &RunArgs,
    measures: Measures,
    settle: impl FnOnce(),
) -> Result<Totals, ToolError> {
    session.wait_up(links, args.wait)?;
    let (workers, feeds) = make()?;
    let cores = args.core.as_ref().map_or_else(|| "not pinned".to_owned(), ToString::to_string);
    let mut run = Run::start(session, links, workers, feeds, (args.json, measures), &cores)?;
    run.watch(args.seconds, || Ok(()))?;
    session.stop.stop();
    settle();
    run.finish(Drops::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_with_a_polled_queue_do_not_sleep() {
        use RxMode::{Adaptive, Interrupt, Polling};
        assert_eq!(idle_for(&[Interrupt, Polling, Adaptive]), Idle::Pause);
        assert_eq!(idle_for(&[Interrupt, Adaptive]), Idle::Sleep { after: ADAPTIVE_ROUNDS });
        assert_eq!(idle_for(&[Interrupt, Interrupt]), Idle::Sleep { after: 0 });
    }
}
