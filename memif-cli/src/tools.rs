//! The commands `sink`, `echo` and `forward`.

use std::hash::{BuildHasher, RandomState};

use memif_os::cpu::CoreList;
use memif_os::thread;
use memif_pmd::{Idle, RxMode, Stop, Workers};

use crate::args::{EchoArgs, ForwardArgs, RunArgs, SinkArgs};
use crate::capture::Capture;
use crate::cores::{check_cores, place};
use crate::error::ToolError;
use crate::feeds::Feeds;
use crate::packet::Framing;
use crate::ports::{Inlet, Port};
use crate::relay::Relay;
use crate::report::{Drops, LatencyKind, Measures, Totals};
use crate::run::Run;
use crate::session::{CaptureUse, Session};
use crate::sink::{Quota, Sink};
use crate::status::Voice;

pub(crate) const COUNTERS_ONLY: Measures = Measures { latency: None, verify: false };
/// Idle rounds before a worker of adaptive queues sleeps: some hundreds of microseconds.
const ADAPTIVE_ROUNDS: u32 = 10_000;

/// The same beside a port of the kernel's, each of whose rounds takes a system call.
const KERNEL_ROUNDS: u32 = 100;

/// A number that distinguishes the packets of this run from those of other runs.
pub(crate) fn instance() -> u32 {
    let [a, b, c, d, ..] = RandomState::new().hash_one(0).to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}

/// Starts a session after checking the cores.
pub(crate) fn start(args: &RunArgs, voice: Voice) -> Result<Session, ToolError> {
    check_cores(args.core.as_ref().map_or(&[], CoreList::cores))?;
    Session::start(voice)
}

/// Every `step`th receive queue, from `first` on.
pub(crate) fn inlets(port: &dyn Port, first: u16, step: u16) -> Result<Vec<Box<dyn Inlet>>, ToolError> {
    (first..port.rx_count()).step_by(step.into()).map(|queue| port.rx(queue)).collect()
}

/// `memif sink`
///
/// # Errors
/// See [`ToolError`]; includes packets that do not verify.
pub(crate) fn sink(args: &SinkArgs) -> Result<(), ToolError> {
    let session = start(&args.run, Voice::of(args.run.span.json))?;
    let spec = args.port.parse()?;
    let port = session.open(&spec, CaptureUse::Replay(args.replay.timing(&spec)?))?;
    if port.rx_count() == 0 {
        return Err(ToolError::Usage(format!("nothing ever comes from {}: give another port", port.name())));
    }
    let quota = args.count.map(|count| Quota::new(count, session.stop.clone()));
    let make = || sinks(&*port, &session.stop, quota.as_ref(), args);
    let measures = Measures { latency: Some(LatencyKind::OneWay), verify: args.verify };
    let totals = run(&session, &[&*port], make, &args.run, measures)?;
    match totals.failure().filter(|_| args.verify) {
        Some(failure) => Err(ToolError::Verification(failure)),
        None => Ok(()),
    }
}

/// A sink for each rx queue, the first of which to see the end of all packets raises `over`.
fn sinks(
    port: &dyn Port,
    over: &Stop,
    quota: Option<&Quota>,
    args: &SinkArgs,
) -> Result<(Workers<'static>, Feeds), ToolError> {
    let mut feeds = Feeds::default();
    let mut modes = Vec::new();
    let framing = port.framing().unwrap_or(Framing::Ethernet);
    let mut workers = Workers::new().burst(args.run.burst.into());
    for queue in 0..port.rx_count() {
        let (mut sink, published, handover) = Sink::new(framing, args.verify, quota.cloned())?;
        feeds.follow_sink(published, handover);
        let rx = port.rx(queue)?;
        modes.push(rx.mode());
        let over = over.clone();
        workers = place(workers, args.run.core.as_ref(), queue, rx, move |rx, burst| {
            sink.turn(&mut **rx, burst);
            if rx.is_over() {
                over.stop();
            }
        });
    }
    Ok((workers.idle(idle_for(&modes, port.is_of_kernel())), feeds))
}

/// `memif echo`
///
/// # Errors
/// See [`ToolError`].
pub(crate) fn echo(args: &EchoArgs) -> Result<(), ToolError> {
    let session = start(&args.run, Voice::of(args.run.span.json))?;
    let port = session.open(&args.port.parse()?, CaptureUse::None)?;
    let make = || relays(&[(&*port, &*port)], &session.stop, &args.run, false);
    run(&session, &[&*port], make, &args.run, COUNTERS_ONLY).map(drop)
}

/// `memif forward`
///
/// # Errors
/// See [`ToolError`].
pub(crate) fn forward(args: &ForwardArgs) -> Result<(), ToolError> {
    let voice = if args.child { Voice::Failures } else { Voice::of(args.run.span.json) };
    let session = start(&args.run, voice)?;
    let (left, right) = (args.left.parse()?, args.right.parse()?);
    if left.is_same(&right) {
        let problem =
            "both ports are the same one: packets would go round; give two different ports, or use echo";
        return Err(ToolError::Usage(problem.to_owned()));
    }
    let timing = args.replay.timing(&left)?;
    let [left, right] = if args.zero_copy {
        session.open_sharing(&left, &right)?
    } else {
        let left = session.open(&left, CaptureUse::Replay(timing))?;
        let framing = left.framing().unwrap_or(Framing::Ethernet);
        [left, session.open(&right, CaptureUse::Write(framing))?]
    };
    if left.framing().zip(right.framing()).is_some_and(|(ours, theirs)| ours != theirs) {
        let problem = "the packets of one port begin with an Ethernet header and those of the other do not: give \
                       both the same mode=";
        return Err(ToolError::Usage(problem.to_owned()));
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
    let make = || relays(&[(&*left, &*right), (&*right, &*left)], &session.stop, &args.run, args.zero_copy);
    run(&session, &[&*left, &*right], make, &args.run, COUNTERS_ONLY).map(drop)
}

/// A relay for each tx queue of each way that has a ring; the rx queues take turns among them.
fn relays(
    ways: &[(&dyn Port, &dyn Port)],
    over: &Stop,
    args: &RunArgs,
    in_place: bool,
) -> Result<(Workers<'static>, Feeds), ToolError> {
    let mut feeds = Feeds::default();
    let mut modes = Vec::new();
    let mut workers = Workers::new().burst(args.burst.into());
    for (from, to) in ways {
        let outlets = to.tx_count().min(from.rx_count());
        for queue in 0..outlets {
            let (mut relay, published) = Relay::new(over);
            feeds.follow(published);
            let inlets = inlets(*from, queue, outlets)?;
            modes.extend(inlets.iter().map(|rx| rx.mode()));
            let queues = (inlets, to.tx(queue)?);
            workers = place(workers, args.core.as_ref(), queue, queues, move |(from, tx), burst| {
                if in_place {
                    relay.turn_in_place(from, &mut **tx, burst.capacity());
                } else {
                    relay.turn(from, &mut **tx, burst);
                }
            });
        }
    }
    let beside_the_kernel = ways.iter().any(|(from, _)| from.is_of_kernel());
    Ok((workers.idle(idle_for(&modes, beside_the_kernel)), feeds))
}

/// How workers idle that receive on queues of these modes: none sleeps over a queue that is polled, unless there is a port of
/// the kernel's, which needs the processor as well.
pub(crate) fn idle_for(modes: &[RxMode], beside_the_kernel: bool) -> Idle {
    if beside_the_kernel {
        Idle::Sleep { after: KERNEL_ROUNDS }
    } else if modes.contains(&RxMode::Polling) {
        Idle::Pause
    } else if modes.contains(&RxMode::Adaptive) {
        Idle::Sleep { after: ADAPTIVE_ROUNDS }
    } else {
        Idle::Sleep { after: 0 }
    }
}

/// Waits for the ports, runs the workers that `make` gives, and reports until the end.
pub(crate) fn run(
    session: &Session,
    ports: &[&dyn Port],
    make: impl FnOnce() -> Result<(Workers<'static>, Feeds), ToolError>,
    args: &RunArgs,
    measures: Measures,
) -> Result<Totals, ToolError> {
    Plan { measures, halt: None }.run(session, ports, make, args)
}

/// What is peculiar to a run.
pub(crate) struct Plan<'a> {
    /// What is measured.
    pub measures: Measures,
    /// Ends sending; what was sent is then waited for.
    pub halt: Option<&'a Stop>,
}

impl Plan<'_> {
    /// Waits for the ports, runs the workers that `make` gives, and reports until the end.
    pub(crate) fn run(
        &self,
        session: &Session,
        ports: &[&dyn Port],
        make: impl FnOnce() -> Result<(Workers<'static>, Feeds), ToolError>,
        args: &RunArgs,
    ) -> Result<Totals, ToolError> {
        let capture = args.capture.as_deref().map(|path| Capture::start(path, ports, &session.stop));
        let capture = capture.transpose()?;
        let _metrics = args.metrics.map(|address| session.serve(address, ports)).transpose()?;
        session.wait_up(ports, args.span.wait)?;
        let (workers, feeds) = make()?;
        let cores = args.core.as_ref().map_or_else(|| "not pinned".to_owned(), ToString::to_string);
        let mut run = Run::start(session, ports, workers, feeds, (args.span.json, self.measures), &cores)?;
        let check = || ports.iter().try_for_each(|port| port.check());
        if let Some(halt) = self.halt {
            run.end_with(halt);
        }
        let ended = run.watch(args.span.seconds, check);
        if let Some(halt) = self.halt {
            halt.stop();
            run.drain(|| ports.iter().all(|port| port.is_up()));
        }
        session.stop.stop();
        ports.iter().for_each(|port| port.settle());
        let finished = run.finish(Drops::new());
        let captured = capture.map_or(Ok(()), Capture::finish);
        ended?;
        let totals = finished?;
        captured?;
        // what a worker could not do at its end
        check()?;
        Ok(totals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_with_a_polled_queue_do_not_sleep() {
        use RxMode::{Adaptive, Interrupt, Polling};
        assert_eq!(idle_for(&[Interrupt, Polling, Adaptive], false), Idle::Pause);
        assert_eq!(idle_for(&[Interrupt, Adaptive], false), Idle::Sleep { after: ADAPTIVE_ROUNDS });
        assert_eq!(idle_for(&[Interrupt, Interrupt], false), Idle::Sleep { after: 0 });
        assert_eq!(idle_for(&[Polling, Adaptive], true), Idle::Sleep { after: KERNEL_ROUNDS });
    }
}
