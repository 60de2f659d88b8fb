//! The single tools: generator, sink, echo and forwarder, each on ports of the user's choice.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread;

use memif_os::cpu::CoreList;
use memif_pmd::{Burst, Idle, RxMode, Workers};

use crate::args::{EchoArgs, ForwardArgs, GenArgs, RunArgs, SinkArgs};
use crate::error::ToolError;
use crate::generator::{Generator, Order, share};
use crate::packet::Fill;
use crate::relay::Relay;
use crate::report::{Drops, Measures, Totals};
use crate::session::{Feeds, Link, Run, Session, check_cores, place};
use crate::sink::{Quota, Sink};

const COUNTERS_ONLY: Measures = Measures { latency: false, verify: false };
/// Idle rounds before a worker of adaptive queues sleeps: some hundreds of microseconds.
const ADAPTIVE_ROUNDS: u32 = 10_000;

/// A number that tells this run's packets from those of others.
pub(crate) fn instance() -> u32 {
    let [a, b, c, d, ..] = RandomState::new().hash_one(0).to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}

/// Whether packets are filled for a sink that verifies.
pub(crate) fn fill(verify: bool) -> Fill {
    if verify { Fill::BySequence } else { Fill::Plain }
}

/// A session, once the cores are known to be usable.
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
    let link = session.open(&args.port)?;
    let queues = link.interface.tx_count();
    let order = Order {
        instance: instance(),
        size: args.size,
        fill: fill(args.verify),
        rate: args.rate.map(|rate| rate as f64 / f64::from(queues)),
        unfinished: Arc::new(AtomicUsize::new(queues.into())),
        halt: session.stop.clone(),
    };
    let mut feeds = Feeds::default();
    let mut workers = Workers::new().burst(args.run.burst.into());
    for queue in 0..queues {
        let count = args.count.map(|count| share(count, queues, queue));
        let (mut generator, published) = Generator::new(&order, queue, count);
        feeds.follow(published);
        // a peer that sends would stall if nobody took what it sends, and an echo with it
        let mut returned = Burst::new(args.run.burst.into())?;
        let queues = (link.interface.tx(queue)?, link.interface.rx(queue)?);
        workers = place(workers, args.run.core.as_ref(), queue, queues, move |(tx, rx), burst| {
            generator.turn(tx, burst);
            rx.receive(&mut returned);
            returned.clear();
        });
    }
    run(&session, &[&link], (workers, feeds), &args.run, COUNTERS_ONLY, || session.settle(&link)).map(drop)
}

/// `memif sink`
///
/// # Errors
/// See [`ToolError`]; packets that do not verify are one.
pub(crate) fn sink(args: &SinkArgs) -> Result<(), ToolError> {
    let session = start(&args.run, false)?;
    let link = session.open(&args.port)?;
    let quota = args.count.map(|count| Quota::new(count, session.stop.clone()));
    let mut feeds = Feeds::default();
    let mut workers = Workers::new().burst(args.run.burst.into());
    for queue in 0..link.interface.rx_count() {
        let (mut sink, published, mailbox) = Sink::new(args.verify, quota.clone())?;
        feeds.follow_sink(published, mailbox);
        let rx = link.interface.rx(queue)?;
        workers = workers.idle(idle_for(&[rx.mode()]));
        workers = place(workers, args.run.core.as_ref(), queue, rx, move |rx, burst| sink.turn(rx, burst));
    }
    let measures = Measures { latency: true, verify: args.verify };
    let totals = run(&session, &[&link], (workers, feeds), &args.run, measures, || ())?;
    match totals.failure().filter(|_| args.verify) {
        Some(failure) => Err(ToolError::Verification(failure)),
        None => Ok(()),
    }
}

/// `memif echo`
///
/// # Errors
/// See [`ToolError`].
pub(crate) fn echo(args: &EchoArgs) -> Result<(), ToolError> {
    let session = start(&args.run, false)?;
    let link = session.open(&args.port)?;
    let relays = relays(&[(&link, &link)], &args.run, false)?;
    run(&session, &[&link], relays, &args.run, COUNTERS_ONLY, || ()).map(drop)
}

/// `memif forward`
///
/// # Errors
/// See [`ToolError`].
pub(crate) fn forward(args: &ForwardArgs) -> Result<(), ToolError> {
    let session = start(&args.run, args.child)?;
    let (left, right) = if args.zero_copy {
        session.open_sharing(&args.left, &args.right)?
    } else {
        (session.open(&args.left)?, session.open(&args.right)?)
    };
    let (ours, theirs) = (left.interface.rx_count(), right.interface.rx_count());
    if ours != theirs {
        let problem = format!("the ports have {ours} and {theirs} queues: give both the same queues=N");
        return Err(ToolError::Usage(problem));
    }
    if args.child {
        let stop = session.stop.clone();
        thread::spawn(move || {
            // whatever ends it: nobody holds the other end any more
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            stop.stop();
        });
    }
    let relays = relays(&[(&left, &right), (&right, &left)], &args.run, args.zero_copy)?;
    run(&session, &[&left, &right], relays, &args.run, COUNTERS_ONLY, || ()).map(drop)
}

/// A relay for each queue of each way.
fn relays(ways: &[(&Link, &Link)], args: &RunArgs, in_place: bool) -> Result<(Workers, Feeds), ToolError> {
    let mut feeds = Feeds::default();
    let mut modes = Vec::new();
    let mut workers = Workers::new().burst(args.burst.into());
    for (from, to) in ways {
        for queue in 0..from.interface.rx_count() {
            let (mut relay, published) = Relay::new();
            feeds.follow(published);
            let queues = (from.interface.rx(queue)?, to.interface.tx(queue)?);
            modes.push(queues.0.mode());
            workers = place(workers, args.core.as_ref(), queue, queues, move |(rx, tx), burst| {
                if in_place {
                    relay.turn_in_place(rx, tx, burst.capacity());
                } else {
                    relay.turn(rx, tx, burst);
                }
            });
        }
    }
    Ok((workers.idle(idle_for(&modes)), feeds))
}

/// How workers idle that receive on queues of these modes: whoever is to be polled is not slept over.
fn idle_for(modes: &[RxMode]) -> Idle {
    if modes.contains(&RxMode::Polling) {
        Idle::Pause
    } else if modes.contains(&RxMode::Adaptive) {
        Idle::Sleep { after: ADAPTIVE_ROUNDS }
    } else {
        Idle::Sleep { after: 0 }
    }
}

/// From the links' coming up to the summary.
fn run(
    session: &Session,
    links: &[&Link],
    (workers, feeds): (Workers, Feeds),
    args: &RunArgs,
    measures: Measures,
    settle: impl FnOnce(),
) -> Result<Totals, ToolError> {
    session.wait_up(links, args.wait)?;
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
    fn a_polled_queue_keeps_its_worker_awake() {
        use RxMode::{Adaptive, Interrupt, Polling};
        assert_eq!(idle_for(&[Interrupt, Polling, Adaptive]), Idle::Pause);
        assert_eq!(idle_for(&[Interrupt, Adaptive]), Idle::Sleep { after: ADAPTIVE_ROUNDS });
        assert_eq!(idle_for(&[Interrupt, Interrupt]), Idle::Sleep { after: 0 });
    }
}
