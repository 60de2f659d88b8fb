//! The scenarios: setup, actions and expected results.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use memif_interop::{Error, Testpmd};
use memif_pmd::{DropReason, FaultKind, Memif, QueueDetails, RingDetails};

use crate::judge::Judge;
use crate::lab::{Bench, LINK, Lab, MIX, MIXED, Peer, Setup};
use crate::links::Links;
use crate::packets::Stream;
use crate::traffic::{Flow, RoundTrip, receive, receive_mixed, send};

/// Duration of traffic in scenarios about traffic.
const LONG: Duration = Duration::from_millis(1000);
/// Duration of traffic that only has to show that the link works.
const SHORT: Duration = Duration::from_millis(300);
const SECRET: &str = "open-sesame";

type Action = fn(&Lab, &Setup) -> Result<String, Error>;

/// A scenario.
pub(crate) struct Scenario {
    /// Its name: testpmd's role and what is tested.
    pub(crate) name: String,
    setup: Setup,
    action: Action,
}

impl Scenario {
    /// Runs it. Returns a text for the report.
    pub(crate) fn run(&self, lab: &Lab) -> Result<String, Error> {
        (self.action)(lab, &self.setup)
    }
}

/// All scenarios, in the order in which they run.
pub(crate) fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    for peer in [Peer::Server, Peer::Client] {
        let role = if peer == Peer::Server { "server" } else { "client" };
        let mut add = |name: String, setup, action: Action| {
            all.push(Scenario { name: format!("{role}-{name}"), setup, action });
        };
        for size in [64, 1514, 9000] {
            let setup = Setup::new(peer, size);
            add(format!("{size}-rx"), setup.clone(), we_receive);
            add(format!("{size}-tx"), setup.clone(), we_send);
            add(format!("{size}-through"), setup, through);
        }
        let small = Setup::new(peer, 64);
        let mixed = Setup { is_mixed: true, ..small.clone() };
        add("mixed-rx".into(), mixed.clone(), we_receive_mixed);
        add("mixed-tx".into(), mixed, we_send);
        add("two-queues".into(), Setup { queues: 2, ..small.clone() }, through);
        add("abstract".into(), Setup { is_abstract: true, ..small.clone() }, through);
        let secrets = |our_secret, its_secret| Setup { our_secret, its_secret, ..small.clone() };
        add("secret-right".into(), secrets(SECRET, SECRET), through);
        add("secret-wrong".into(), secrets("open-barley", SECRET), refused_wrong);
        // the server asks for one, the client has none
        let (ours, its) = if peer == Peer::Server { ("", SECRET) } else { (SECRET, "") };
        add("secret-missing".into(), secrets(ours, its), refused_missing);
        add("restart-ours".into(), small.clone(), restart_ours);
        add("restart-testpmd".into(), small, restart_testpmd);
    }
    for size in [64, 1514, 9000] {
        let name = format!("server-in-place-{size}");
        all.push(Scenario { name, setup: Setup::new(Peer::Server, size), action: in_place });
    }
    let zero_copy: [(_, _, Action); 4] = [
        (64, "through", through),
        (1514, "rx", we_receive),
        (1514, "tx", we_send),
        (1514, "through", through),
    ];
    for (size, direction, action) in zero_copy {
        let setup = Setup { zero_copy: true, ..Setup::new(Peer::Client, size) };
        all.push(Scenario { name: format!("client-zero-copy-{size}-{direction}"), setup, action });
    }
    all
}

/// testpmd generates packets; all that its ring accepted must arrive.
fn we_receive(lab: &Lab, setup: &Setup) -> Result<String, Error> {
    let mut bench = lab.link(setup, "txonly")?;
    let total = AtomicU64::new(u64::MAX);
    let testpmd = &mut bench.testpmd;
    let (flow, sent) = lab.on_our_core(
        || receive(&bench.interface, setup.size, &total, &lab.stop),
        || {
            testpmd.command("start")?;
            thread::sleep(LONG);
            testpmd.command("stop")?;
            let sent = testpmd.counters()?.tx_packets;
            total.store(sent, Ordering::Relaxed);
            Ok(sent)
        },
    )?;
    if sent == 0 || flow.packets != sent {
        return Err(Error::Wrong(format!("testpmd sent {sent} packets and {} arrived", flow.packets)));
    }
    bench.testpmd.quit()?;
    Ok(figures("received", flow))
}

/// Says that testpmd has stopped, also when something fails before.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        // Release: pairs with the Acquire of the receiver
        self.0.store(true, Ordering::Release);
    }
}

/// testpmd generates packets of mixed sizes, and its sender has faults (README). Checks what our end makes of them.
fn we_receive_mixed(lab: &Lab, setup: &Setup) -> Result<String, Error> {
    let mut bench = lab.link(setup, "txonly")?;
    let done = AtomicBool::new(false);
    let Bench { testpmd, interface, links, .. } = &mut bench;
    let pid = AtomicU32::new(testpmd.pid());
    let mut judge = Judge::new(setup.peer, &pid, links);
    let (seen, sent) = lab.on_our_core(
        || receive_mixed(interface, &MIXED, &mut judge, &done, &lab.stop),
        || {
            let _ends = Ends(&done);
            generate_mixed(lab, setup, testpmd, &pid)
        },
    )?;
    let details = interface.details()?;
    let drops = |reason| details.rx.iter().map(|queue| queue.stats.drops_for(reason)).sum::<u64>();
    let (overrun, broken) = (drops(DropReason::Overrun), drops(DropReason::ChainBroken));
    let (links, crashes) = (details.connects, sent.crashes);
    let judged = seen.judged;
    let text = format!(
        "{} sent, {} right, {} wrong, lost {overrun} descriptors to overruns and {broken} broken chains, \
         {crashes} crashes of testpmd, {}; compared with shared memory: {} the same, {} of them wrong, {} overwritten, \
         {} undecided, {} different",
        sent.packets,
        seen.right,
        seen.wrong,
        bench.links.outages(),
        judged.same,
        judged.wrong,
        judged.overwritten,
        judged.undecided,
        judged.different
    );
    let other = details.rx.iter().map(|queue| queue.stats.dropped()).sum::<u64>() - overrun - broken;
    let faults: Vec<_> = details.faults().collect();
    // a server that crashes may do so in the middle of a handshake
    let allowed = |kind| {
        setup.peer == Peer::Server && matches!(kind, FaultKind::TailTooFar | FaultKind::HandshakeTimedOut)
    };
    let kept = setup.peer == Peer::Server || links == 1;
    if seen.right == 0
        || !judged.clears_the_library()
        || other > 0
        || !kept
        || faults.iter().any(|(kind, _)| !allowed(*kind))
    {
        return Err(Error::Wrong(format!("{text}; {other} other losses, faults {faults:?}")));
    }
    Ok(if seen.wrong == 0 { text } else { format!("{text}; the first wrong one: {}", seen.example) })
}

/// What testpmd did.
#[derive(Debug, Default)]
struct Generated {
    /// Packets that it counts, without those before a crash or the end of a link.
    packets: u64,
    crashes: u64,
}

/// Has testpmd send packets of mixed sizes for as long as asked for. A server whose client goes may crash: it is started again.
fn generate_mixed(
    lab: &Lab,
    setup: &Setup,
    testpmd: &mut Testpmd,
    pid: &AtomicU32,
) -> Result<Generated, Error> {
    let end = Instant::now() + lab.mixed_for;
    let mut generated = Generated::default();
    loop {
        match generate_until(end, lab, testpmd) {
            Ok(packets) => return Ok(Generated { packets, ..generated }),
            Err(Error::Crashed { .. }) if setup.peer == Peer::Server => {
                generated.crashes += 1;
                *testpmd = lab.testpmd(setup, "txonly")?;
                pid.store(testpmd.pid(), Ordering::Relaxed);
                testpmd.connected()?;
            }
            Err(error) => return Err(error),
        }
    }
}

fn generate_until(end: Instant, lab: &Lab, testpmd: &mut Testpmd) -> Result<u64, Error> {
    MIX.iter().chain(&["start"]).try_for_each(|command| testpmd.command(command).map(drop))?;
    while Instant::now() < end && !lab.stop.is_stopped() {
        thread::sleep(Duration::from_millis(100).min(end.saturating_duration_since(Instant::now())));
        // a crash is noticed here
        testpmd.command("")?;
    }
    testpmd.command("stop")?;
    Ok(testpmd.counters()?.tx_packets)
}

/// This process sends; testpmd must count every packet and byte.
fn we_send(lab: &Lab, setup: &Setup) -> Result<String, Error> {
    let mut bench = lab.link(setup, "rxonly")?;
    bench.testpmd.command("start")?;
    let mut stream = if setup.is_mixed { Stream::mixed(0) } else { Stream::new(0, setup.size) };
    let time = if setup.is_mixed { lab.mixed_for } else { LONG };
    let (flow, ()) = lab.on_our_core(|| send(&bench.interface, &mut stream, time, &lab.stop), || Ok(()))?;
    let end = Instant::now() + LINK;
    let bytes = stream.bytes();
    loop {
        let seen = bench.testpmd.counters()?;
        if (seen.rx_packets, seen.rx_bytes) == (flow.packets, bytes) && flow.packets > 0 {
            break;
        }
        if Instant::now() > end || seen.rx_packets > flow.packets {
            let sent = flow.packets;
            return Err(Error::Wrong(format!("we sent {sent} packets, {bytes} bytes; testpmd saw {seen:?}")));
        }
    }
    let links =
        if setup.is_mixed { format!(", {bytes} bytes, {}", bench.links.outages()) } else { String::new() };
    bench.end()?;
    Ok(figures("sent", flow) + &links)
}

/// testpmd sends all packets back; each byte is checked.
fn through(lab: &Lab, setup: &Setup) -> Result<String, Error> {
    let mut bench = lab.link(setup, "io")?;
    let flow = round_trip(lab, setup, &mut bench, LONG)?;
    if setup.queues == 1 {
        check_descriptors(&bench, setup, flow.packets)?;
    }
    let secret = if setup.its_secret.is_empty() { "" } else { ", with a secret" };
    bench.end()?;
    Ok(figures("there and back", flow) + secret)
}

fn round_trip(lab: &Lab, setup: &Setup, bench: &mut Bench, time: Duration) -> Result<Flow, Error> {
    bench.testpmd.command("start")?;
    let mut trip = RoundTrip::new(&bench.interface, 1, setup.size, &lab.stop)?;
    let (flow, ()) = lab.on_our_core(|| trip.run(time), || Ok(()))?;
    Ok(flow)
}

/// Checks that both rings have moved by the intended number of descriptors.
fn check_descriptors(bench: &Bench, setup: &Setup, packets: u64) -> Result<(), Error> {
    let details = bench.interface.details()?;
    let ring = |queues: &[QueueDetails]| queues.first().and_then(|queue| queue.ring);
    let (Some(rx), Some(tx)) = (ring(&details.rx), ring(&details.tx)) else {
        return Err(Error::Wrong("the link has no rings".into()));
    };
    // the sender's index counts descriptors, from 0 and modulo 2^16
    let sent = |s2m: RingDetails, m2s: RingDetails| [s2m.head, m2s.tail].map(u64::from);
    let seen = if setup.peer == Peer::Server { sent(tx, rx) } else { sent(rx, tx) };
    let each = setup.descriptors();
    let expected = packets * each % (1 << 16);
    if seen == [expected; 2] {
        return Ok(());
    }
    Err(Error::Wrong(format!(
        "{packets} packets of {each} descriptors should end at {expected}, not at {seen:?}"
    )))
}

/// Packets of a master in this process reach testpmd, and come back, through a zero-copy forwarder.
fn in_place(lab: &Lab, setup: &Setup) -> Result<String, Error> {
    let mut crossing = lab.crossing(setup, "io")?;
    crossing.bench.testpmd.command("start")?;
    let mut trip = RoundTrip::new(&crossing.master, 1, setup.size, &lab.stop)?;
    let (flow, ()) = lab.on_our_core(|| trip.run(LONG), || Ok(()))?;
    check_descriptors(&crossing.bench, setup, flow.packets)?;
    crossing.end()?;
    Ok(figures("across, there and back", flow))
}

fn refused_wrong(lab: &Lab, setup: &Setup) -> Result<String, Error> {
    refused(lab, setup, "Incorrect secret", FaultKind::WrongSecret)
}

fn refused_missing(lab: &Lab, setup: &Setup) -> Result<String, Error> {
    refused(lab, setup, "Secret required", FaultKind::SecretRequired)
}

/// The secrets differ: there must be no link. If testpmd is the server, its refusal must contain `words`; otherwise this
/// process must count a fault of `kind`, and testpmd must receive the refusal.
fn refused(lab: &Lab, setup: &Setup, words: &str, kind: FaultKind) -> Result<String, Error> {
    let mut bench = lab.both_ends(setup, "io")?;
    let end = Instant::now() + LINK;
    let seen = loop {
        let details = bench.interface.details()?;
        let fault = details.faults().map(|(kind, _)| format!("we refused: {}", kind.name())).next();
        if let Some(seen) = details.last_disconnect.map(|reason| reason.to_string()).or(fault) {
            break seen;
        }
        if Instant::now() > end {
            return Err(Error::Late { what: "a refusal".into(), waited: LINK });
        }
        thread::sleep(Duration::from_millis(10));
    };
    let right = match setup.peer {
        Peer::Server => seen.contains(words),
        Peer::Client => bench.interface.details()?.faults().any(|(seen, _)| seen == kind),
    };
    if !right || bench.interface.is_up() {
        return Err(Error::Wrong(format!("the reason should be {words:?}, and is: {seen}")));
    }
    if setup.peer == Peer::Client {
        bench.testpmd.logs(words)?;
    }
    bench.testpmd.quit()?;
    Ok(seen)
}

/// A process of this program is killed under traffic; testpmd must work with the next one.
fn restart_ours(lab: &Lab, setup: &Setup) -> Result<String, Error> {
    let (victim, mut testpmd) = match setup.peer {
        Peer::Server => {
            let testpmd = lab.testpmd(setup, "io")?;
            (lab.victim(setup)?, testpmd)
        }
        Peer::Client => {
            let victim = lab.victim(setup)?;
            victim.listening()?;
            (victim, lab.testpmd(setup, "io")?)
        }
    };
    testpmd.connected()?;
    testpmd.command("start")?;
    victim.flowing()?;
    // it may crash when its peer dies while it polls
    testpmd.command("stop")?;
    victim.kill();
    testpmd.logs("Disconnected")?;

    let memif = Memif::start()?;
    let interface = lab.open(&memif, setup, &Links::default())?;
    if setup.peer == Peer::Client {
        // it never connects again by itself
        testpmd.command("port stop 0")?;
        testpmd.command("port start 0")?;
    }
    interface.wait_up(Some(LINK))?;
    testpmd.connected()?;
    let mut bench = Bench::new(testpmd, interface, memif);
    let flow = round_trip(lab, setup, &mut bench, SHORT)?;
    bench.end()?;
    Ok(figures("there and back after it", flow))
}

/// testpmd is killed under traffic; the interface and its queues must work with the next one.
fn restart_testpmd(lab: &Lab, setup: &Setup) -> Result<String, Error> {
    let mut bench = lab.link(setup, "io")?;
    bench.testpmd.command("start")?;
    let mut trip = RoundTrip::new(&bench.interface, 1, setup.size, &lab.stop)?;
    lab.on_our_core(|| trip.run(SHORT), || Ok(()))?;
    let Bench { testpmd, interface, .. } = &mut bench;
    lab.on_our_core(
        || trip.until_down(),
        || {
            thread::sleep(SHORT);
            testpmd.sigkill()
        },
    )?;
    if !interface.wait_down(Some(LINK))? {
        return Err(Error::Late { what: "end of the link".into(), waited: LINK });
    }
    *testpmd = lab.testpmd(setup, "io")?;
    interface.wait_up(Some(LINK))?;
    testpmd.connected()?;
    testpmd.command("start")?;
    trip.restart(2, setup.size);
    let (flow, ()) = lab.on_our_core(|| trip.run(SHORT), || Ok(()))?;
    bench.end()?;
    Ok(figures("there and back after it", flow))
}

fn figures(what: &str, flow: Flow) -> String {
    format!("{:6.2} Mpps  {} packets {what}", flow.mpps(), flow.packets)
}
