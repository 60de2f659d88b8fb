//! The commands `sink`, `echo` and `forward`.

use std::hash::{BuildHasher, RandomState};

use memif_os::cpu::CoreList;
use memif_os::thread;
use memif_pmd::{Burst, Idle, RxMode, Stop, Workers};

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

/// A run that measures no latency and verifies nothing.
pub(crate) const COUNTERS_ONLY: Measures = Measures { latency: None, verify: false };
/// Rounds without packets after which a worker of adaptive queues sleeps: some hundreds of microseconds.
const ADAPTIVE_ROUNDS: u32 = 10_000;
/// The same for a worker with a port of the kernel, each of whose rounds takes a system call.
const KERNEL_ROUNDS: u32 = 100;

/// A random number that distinguishes the packets of this run from those of other runs.
pub(crate) fn instance() -> u32 {
    let [a, b, c, d, ..] = RandomState::new().hash_one(0).to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}

/// Starts a session after checking the cores.
pub(crate) fn start(args: &RunArgs, voice: Voice) -> Result<Session, ToolError> {
    check_cores(args.core.as_ref().map_or(&[], CoreList::cores))?;
    Session::start(voice)
}

/// Takes every `step`th receive queue, from `first` on.
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

/// A worker with a sink for each rx queue. The first sink whose queue will receive no more packets raises `over`.
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
            // standard input ends when the parent process has ended
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            stop.stop();
        };
        thread::spawn("memif-stdin", None, watch).map_err(ToolError::Thread)?;
    }
    let make = || relays(&[(&*left, &*right), (&*right, &*left)], &session.stop, &args.run, args.zero_copy);
    run(&session, &[&*left, &*right], make, &args.run, COUNTERS_ONLY).map(drop)
}

/// A worker with a relay for each usable tx queue, for each pair of ports to receive from and to send to. The rx queues are
/// distributed among the relays in turn.
fn relays(
    ways: &[(&dyn Port, &dyn Port)],
    over: &Stop,
    args: &RunArgs,
    in_place: bool,
) -> Result<(Workers<'static>, Feeds), ToolError> {
    let mut feeds = Feeds::default();
    let mut modes = Vec::new();
    let mut workers = Workers::new().burst(args.burst.into());
    for (from, to) in ways.iter().filter(|(_, to)| !to.only_replays()) {
        let outlets = to.tx_count().min(from.rx_count());
        for queue in 0..outlets {
            let (mut relay, published) = Relay::new(over);
            feeds.follow(published);
            // what comes back to a replay is dropped: a worker of its own would poll for that alone
            let (mut drains, mut back) = (Vec::new(), Vec::new());
            if from.only_replays() {
                let (relay, published) = Relay::new(over);
                feeds.follow(published);
                drains.push((relay, Burst::new(args.burst.into())?));
                back.push((inlets(*to, 0, 1)?, from.tx(0)?));
            }
            let inlets = inlets(*from, queue, outlets)?;
            let all = inlets.iter().chain(back.iter().flat_map(|(from, _)| from));
            modes.extend(all.map(|rx| rx.mode()));
            let queues = (inlets, to.tx(queue)?, back);
            workers = place(workers, args.core.as_ref(), queue, queues, move |(from, tx, back), burst| {
                if in_place {
                    relay.turn_in_place(from, &mut **tx, burst.capacity());
                } else {
                    relay.turn(from, &mut **tx, burst);
                }
                for ((relay, burst), (from, tx)) in drains.iter_mut().zip(back) {
                    relay.turn(from, &mut **tx, burst);
                }
            });
        }
    }
    let beside_the_kernel = ways.iter().any(|(from, _)| from.is_of_kernel());
    Ok((workers.idle(idle_for(&modes, beside_the_kernel)), feeds))
}

/// How workers with rx queues of these modes spend rounds without packets. Workers with a polled queue do not sleep, unless a
/// port of the kernel is in use: then the kernel needs the core as well.
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

/// Waits until the ports are up, runs the workers that `make` returns, and reports until the run ends.
pub(crate) fn run(
    session: &Session,
    ports: &[&dyn Port],
    make: impl FnOnce() -> Result<(Workers<'static>, Feeds), ToolError>,
    args: &RunArgs,
    measures: Measures,
) -> Result<Totals, ToolError> {
    Plan { measures, halt: None }.run(session, ports, make, args)
}

/// How a run is measured and ended.
pub(crate) struct Plan<'a> {
    /// What is measured.
    pub measures: Measures,
    /// Raised at the end to stop the senders. The run then waits for the packets that are in flight.
    pub halt: Option<&'a Stop>,
}

impl Plan<'_> {
    /// Waits until the ports are up, runs the workers that `make` returns, and reports until the run ends.
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
        // an error of a queue that was dropped with its worker
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
