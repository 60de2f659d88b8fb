//! The command `gen`.

use std::sync::Arc;

use memif_pmd::{Burst, Stop, Workers};

use crate::args::GenArgs;
use crate::cores::place;
use crate::counters::{Counts, Published};
use crate::error::ToolError;
use crate::feeds::Feeds;
use crate::generator::{Count, Generator, Order, Pace};
use crate::packet::{Fill, Framing};
use crate::ports::{Inlet, Moved, Port};
use crate::report::{LatencyKind, Measures};
use crate::session::{CaptureUse, Session};
use crate::sink::Sink;
use crate::status::Voice;
use crate::tools::{COUNTERS_ONLY, Plan, inlets, instance, run, start};

/// A random number of 24 bits that distinguishes the packets of this run from those of other generators.
pub(crate) fn generator_instance() -> u32 {
    instance() >> 8
}

/// How packets are filled: with content of their own if the sink verifies them.
pub(crate) fn fill(verify: bool) -> Fill {
    if verify { Fill::BySequence } else { Fill::Plain }
}

/// `memif gen`
///
/// # Errors
/// See [`ToolError`]; with `--rtt` it is also an error if no packet comes back.
pub(crate) fn generate(args: &GenArgs) -> Result<(), ToolError> {
    let addresses = args.addresses()?;
    let session = start(&args.run, Voice::of(args.run.span.json))?;
    let port = session.open(&args.port.parse()?, CaptureUse::Write(Framing::Ethernet))?;
    let framing = port.framing().unwrap_or(Framing::Ethernet);
    let route = args.route(framing, addresses)?;
    let halt = if args.rtt { Stop::new()? } else { session.stop.clone() };
    let order = Order {
        instance: generator_instance(),
        framing,
        sizes: args.sizes(framing, addresses.version())?,
        route,
        fill: fill(args.verify),
        pace: args.rate.map(Pace::new),
        count: args.count.map(Count::new),
        halt: halt.clone(),
    };
    if args.rtt {
        return round_trips(&session, &*port, &order, args);
    }
    let make = || generators(&*port, &order, args);
    run(&session, &[&*port], make, &args.run, COUNTERS_ONLY).map(drop)
}

/// `memif gen --rtt`: measures the round trip of the packets that the peer sends back. After the last packet is sent, waits until
/// all have come back or none has come back for two seconds.
fn round_trips(session: &Session, port: &dyn Port, order: &Order, args: &GenArgs) -> Result<(), ToolError> {
    if port.rx_count() == 0 {
        return Err(ToolError::Usage(format!(
            "nothing ever comes back from {}: --rtt needs an echo",
            port.name()
        )));
    }
    let measures = Measures { latency: Some(LatencyKind::RoundTrip), verify: args.verify };
    let plan = Plan { measures, halt: Some(&order.halt) };
    let make = || generators(port, order, args);
    let totals = plan.run(session, &[port], make, &args.run)?;
    let failure = totals.failure().filter(|_| args.verify || totals.counts.packets == 0);
    match failure {
        Some(_) if totals.counts.packets == 0 => Err(ToolError::NothingBack(port.name().to_owned())),
        Some(failure) => Err(ToolError::Verification(failure)),
        None => Ok(()),
    }
}

/// A worker with a generator for each tx queue. Each worker also receives on its share of the rx queues: an echo whose packets
/// are not received would stop receiving.
fn generators(
    port: &dyn Port,
    order: &Order,
    args: &GenArgs,
) -> Result<(Workers<'static>, Feeds), ToolError> {
    let mut feeds = Feeds::default();
    feeds.follow_pace(order.pace.clone());
    let mut workers = Workers::new().burst(args.run.burst.into());
    let outlets = port.tx_count();
    for queue in 0..outlets {
        let (mut generator, published) = Generator::new(order, queue);
        let mut returned = Burst::new(args.run.burst.into())?;
        let from = inlets(port, queue, outlets)?;
        let mut sinks = Vec::new();
        let mut others = Others::default();
        if args.rtt {
            feeds.follow_sender(published);
            for _ in &from {
                let (mut sink, received, handover) = Sink::new(order.framing, args.verify, None)?;
                feeds.follow_sink(received, handover);
                feeds.follow_other(sink.count_only(order.instance));
                sinks.push(sink);
            }
        } else {
            feeds.follow(published);
            feeds.follow_other(others.published.clone());
        }
        let queues = (port.tx(queue)?, from);
        workers = place(workers, args.run.core.as_ref(), queue, queues, move |(tx, from), burst| {
            generator.turn(&mut **tx, burst);
            if sinks.is_empty() {
                others.receive(from, &mut returned);
            }
            for (sink, rx) in sinks.iter_mut().zip(from) {
                sink.turn(&mut **rx, &mut returned);
            }
        });
    }
    Ok((workers, feeds))
}

/// Counts and drops the packets that a generator receives without measuring them.
#[derive(Default)]
struct Others {
    counts: Counts,
    published: Arc<Published>,
}

impl Others {
    #[inline]
    fn receive(&mut self, from: &mut [Box<dyn Inlet>], burst: &mut Burst) {
        let mut received = 0;
        for rx in from.iter_mut() {
            received += rx.receive(burst);
            burst.clear();
        }
        if received > 0 {
            self.count(from);
        }
    }

    #[cold]
    fn count(&mut self, from: &[Box<dyn Inlet>]) {
        let mut sum = Moved::default();
        for moved in from.iter().map(|rx| rx.moved()) {
            sum = Moved { packets: sum.packets + moved.packets, bytes: sum.bytes + moved.bytes };
        }
        self.counts.reached(sum.packets, sum.bytes, 1);
        self.published.publish(&self.counts);
    }
}
