//! What all tools share: opening ports, waiting for links, running workers, and telling how it goes.

use std::collections::{BTreeSet, HashSet};
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use memif_os::clock::monotonic_ns;
use memif_os::cpu::{CoreList, pin_current};
use memif_pmd::{Burst, Error as MemifError, Event, FaultKind, Interface, InterfaceBuilder, Memif};
use memif_pmd::{PacketMemory, Port, Queues, RingDetails, Role, Running, Stop, Workers, ctrl_c};

use crate::counters::{Counts, Published};
use crate::error::ToolError;
use crate::latency::{Latencies, Mailbox, histogram};
use crate::report::{Drops, Machine, Measures, Report, Totals};

/// How often the main thread looks around.
const STEP: Duration = Duration::from_millis(20);
/// How long a generator waits at most for its peer to take what is in the rings.
const SETTLE: Duration = Duration::from_secs(2);
/// Reasons for a failed link that are told apart; a peer that makes up more of them is not heard.
const MAX_REASONS: usize = 32;
const SECOND_NS: u64 = 1_000_000_000;

/// Says something on standard error, where notes do not mix with results.
pub(crate) fn note(text: &str) {
    // without a standard error there is nobody to tell
    let _ = writeln!(std::io::stderr(), "memif: {text}");
}

/// An open port.
pub(crate) struct Link {
    /// Socket and id, as notes name it.
    name: String,
    role: Role,
    /// The interface.
    pub interface: Interface,
    /// Kinds of peer faults that were told.
    told: Mutex<HashSet<FaultKind>>,
}

/// The control plane and what ends the run.
pub(crate) struct Session {
    memif: Memif,
    /// Raised by SIGINT and SIGTERM.
    signal: Stop,
    /// Raised when the run has done what it was to do.
    pub stop: Stop,
    quiet: bool,
}

impl Session {
    /// A control plane. A `quiet` one keeps its notes to itself.
    ///
    /// # Errors
    /// The kernel refuses a thread, a descriptor or a signal handler.
    pub(crate) fn start(quiet: bool) -> Result<Self, ToolError> {
        Ok(Self { signal: ctrl_c()?, memif: Memif::start()?, stop: Stop::new(), quiet })
    }

    /// Opens the interface that a port describes.
    ///
    /// # Errors
    /// A number out of range, a socket that cannot be used, no memory.
    pub(crate) fn open(&self, port: &Port) -> Result<Link, ToolError> {
        self.open_with(port.socket(), port.interface(&self.memif))
    }

    /// Opens two slaves with all their buffers in one memory, which is large enough for either to reconnect while the
    /// other goes on.
    ///
    /// # Errors
    /// As [`Session::open`]; ports that cannot share memory.
    pub(crate) fn open_sharing(&self, left: &Port, right: &Port) -> Result<(Link, Link), ToolError> {
        if let Some(port) = [left, right].into_iter().find(|port| port.role() == Role::Master) {
            let problem = format!("--zero-copy needs two slaves, and {} is a master", port.socket());
            return Err(ToolError::Usage(problem));
        }
        let (ours, theirs) = (left.buffer_size(), right.buffer_size());
        if ours != theirs {
            let problem = format!(
                "the ports have buffers of {ours} and {theirs} bytes: give both the same buffer=BYTES"
            );
            return Err(ToolError::Usage(problem));
        }
        let buffers = left.buffers().saturating_add(right.buffers()).saturating_mul(2);
        let memory = PacketMemory::new(&self.memif, buffers, ours, left.huge_pages())?;
        let open =
            |port: &Port| self.open_with(port.socket(), port.interface(&self.memif).packet_memory(&memory));
        Ok((open(left)?, open(right)?))
    }

    /// Opens a master interface on a socket file.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub(crate) fn open_master(&self, socket: &str, id: u32) -> Result<Link, ToolError> {
        self.open_with(socket, self.memif.interface(socket).master().id(id))
    }

    fn open_with(&self, socket: &str, builder: InterfaceBuilder<'_>) -> Result<Link, ToolError> {
        let notes = Notes { name: socket.to_owned(), ended: self.stop.clone(), heard: Mutex::default() };
        let builder = if self.quiet { builder } else { builder.on_event(move |event| notes.take(event)) };
        let interface = builder.open()?;
        let details = interface.details()?;
        let name = format!("{socket} id {}", details.id);
        Ok(Link { name, role: details.role, interface, told: Mutex::default() })
    }

    /// Whether the run is over, whoever ended it.
    pub(crate) fn is_over(&self) -> bool {
        self.stop.is_stopped() || self.signal.is_stopped()
    }

    /// Waits until all links are up. False when the run was ended before they were.
    ///
    /// # Errors
    /// One of them was not up within `limit`.
    pub(crate) fn wait_up(&self, links: &[&Link], limit: Option<Duration>) -> Result<bool, ToolError> {
        let began = Instant::now();
        for link in links {
            while let Err(error) = link.interface.wait_up(Some(STEP)) {
                let MemifError::NoLink { last, .. } = error else { return Err(error.into()) };
                self.tell_faults(link);
                if self.is_over() {
                    return Ok(false);
                }
                if let Some(limit) = limit.filter(|limit| began.elapsed() >= *limit) {
                    let reason = match (last, link.role) {
                        (Some(last), _) => last.to_string(),
                        (None, Role::Master) => "no slave has connected; start one or wait longer".to_owned(),
                        (None, Role::Slave) => "the master has not answered yet; wait longer".to_owned(),
                    };
                    return Err(ToolError::NoLink {
                        port: link.name.clone(),
                        seconds: limit.as_secs_f64(),
                        reason,
                    });
                }
            }
        }
        Ok(true)
    }

    /// Says what a peer did wrong, each kind once: a master's refusals are seen nowhere else.
    fn tell_faults(&self, link: &Link) {
        let Ok(details) = link.interface.details() else { return };
        let mut told = link.told.lock().unwrap_or_else(PoisonError::into_inner);
        for (kind, _) in details.faults() {
            if told.insert(kind) && !self.quiet {
                note(&format!("warning: {}: a peer was turned away or dropped: {}", link.name, kind.name()));
            }
        }
    }

    /// Waits until the peer has taken what was sent, for [`SETTLE`] at most: closing takes away what it has not read.
    pub(crate) fn settle(&self, link: &Link) {
        let began = Instant::now();
        while began.elapsed() < SETTLE && link.interface.is_up() {
            let Ok(details) = link.interface.details() else { return };
            if details.tx.iter().filter_map(|queue| queue.ring).all(|ring| was_taken(link.role, &ring)) {
                return;
            }
            thread::sleep(STEP / 20);
        }
    }
}

/// Whether the receiver of a ring that we send on has taken everything: a master's tail catches up with our head, and a
/// slave posts all of its buffers again.
fn was_taken(our_role: Role, ring: &RingDetails) -> bool {
    let ahead = u32::from(ring.head.wrapping_sub(ring.tail));
    match our_role {
        Role::Slave => ahead == 0,
        Role::Master => ahead == ring.size,
    }
}

/// What is said about a port's link as it comes and goes.
struct Notes {
    name: String,
    ended: Stop,
    heard: Mutex<HashSet<String>>,
}

impl Notes {
    fn take(&self, event: &Event) {
        if self.ended.is_stopped() {
            return;
        }
        match event {
            Event::Connected => note(&format!("{}: link up", self.name)),
            Event::Disconnected(reason) => {
                note(&format!("{}: link down: {reason}; waiting for the peer", self.name));
            }
            Event::ConnectFailed(reason) => self.take_failure(reason.to_string()),
            _ => {}
        }
    }

    /// An attempt is made every two seconds: each reason is told once.
    fn take_failure(&self, reason: String) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() < MAX_REASONS && !heard.contains(&reason) {
            note(&format!("warning: {}: no link yet: {reason}; trying again", self.name));
            heard.insert(reason);
        }
    }
}

/// Where workers show what they do.
#[derive(Debug, Default)]
pub(crate) struct Feeds {
    published: Vec<Arc<Published>>,
    mailboxes: Vec<Arc<Mailbox>>,
    /// Workers of this process that send what the others receive.
    senders: Vec<Arc<Published>>,
}

impl Feeds {
    /// Follows a worker.
    pub(crate) fn follow(&mut self, worker: Arc<Published>) {
        self.published.push(worker);
    }

    /// Follows a worker that measures latencies.
    pub(crate) fn follow_sink(&mut self, worker: Arc<Published>, mailbox: Arc<Mailbox>) {
        self.published.push(worker);
        self.mailboxes.push(mailbox);
    }

    /// Follows the sender of what the other workers receive.
    pub(crate) fn follow_sender(&mut self, worker: Arc<Published>) {
        self.senders.push(worker);
    }

    /// What was received by now.
    pub(crate) fn counts(&self) -> Counts {
        sum(&self.published)
    }

    /// What was sent by now, where senders are followed.
    pub(crate) fn sent(&self) -> Option<u64> {
        (!self.senders.is_empty()).then(|| sum(&self.senders).packets)
    }

    fn totals(&self, links: &[&Link]) -> Totals {
        // first what was received: what is sent meanwhile is not missing
        let counts = self.counts();
        Totals { counts, drops: drops(links), sent: self.sent() }
    }

    fn collect(&self) -> Result<Latencies, ToolError> {
        let mut latencies = histogram()?;
        self.mailboxes.iter().for_each(|mailbox| mailbox.collect(&mut latencies));
        Ok(latencies)
    }
}

fn sum(workers: &[Arc<Published>]) -> Counts {
    workers.iter().fold(Counts::default(), |total, worker| total.join(worker.read()))
}

/// What the interfaces have dropped, by reason.
fn drops(links: &[&Link]) -> Drops {
    let mut drops = Drops::new();
    for details in links.iter().filter_map(|link| link.interface.details().ok()) {
        for queue in details.rx.iter().chain(&details.tx) {
            for (reason, count) in queue.stats.drops().filter(|(_, count)| *count > 0) {
                *drops.entry(reason.to_owned()).or_default() += count;
            }
        }
    }
    drops
}

/// Workers at work.
pub(crate) struct Run<'s> {
    session: &'s Session,
    links: &'s [&'s Link],
    /// `None` when the run was ended before the links were up.
    running: Option<Running>,
    /// Where the workers show what they do.
    pub feeds: Feeds,
    report: Report,
    latencies: Latencies,
    /// What the run runs on.
    pub machine: Machine,
    began_ns: u64,
}

impl<'s> Run<'s> {
    /// Starts workers on links that are up. Those of a run that is over already never start.
    ///
    /// # Errors
    /// A core that cannot be used, no memory, no thread.
    pub(crate) fn start(
        session: &'s Session,
        links: &'s [&'s Link],
        workers: Workers,
        feeds: Feeds,
        (json, measures): (bool, Measures),
        cores: &str,
    ) -> Result<Self, ToolError> {
        let machine = Machine { processor: processor(), cores: cores.to_owned(), memory: memory(links) };
        let running = if session.is_over() { None } else { Some(workers.start()?) };
        let began_ns = monotonic_ns();
        let report = Report::new(json, measures, began_ns);
        Ok(Self { session, links, running, feeds, report, latencies: histogram()?, machine, began_ns })
    }

    /// Reports once a second until the run is over or has taken `limit`; `check` may end it, too.
    ///
    /// # Errors
    /// Nobody reads the report any more, or `check` failed.
    pub(crate) fn watch(
        &mut self,
        limit: Option<Duration>,
        mut check: impl FnMut() -> Result<(), ToolError>,
    ) -> Result<(), ToolError> {
        let end = limit.map(|limit| self.began_ns + u64::try_from(limit.as_nanos()).unwrap_or(SECOND_NS));
        let mut next = self.began_ns + SECOND_NS;
        while !self.session.is_over() && end.is_none_or(|end| monotonic_ns() < end) {
            let until = end.map_or(next, |end| end.min(next)).saturating_sub(monotonic_ns());
            thread::sleep(STEP.min(Duration::from_nanos(until)));
            check()?;
            if monotonic_ns() >= next {
                self.line()?;
                next += SECOND_NS;
            }
        }
        Ok(())
    }

    fn line(&mut self) -> Result<(), ToolError> {
        self.feeds.mailboxes.iter().for_each(|mailbox| mailbox.request());
        self.links.iter().for_each(|link| self.session.tell_faults(link));
        // workers hand over between two bursts
        thread::sleep(STEP / 10);
        let new = self.feeds.collect()?;
        let _ = self.latencies.add(&new); // both have the same bounds, which is all that may fail
        self.report.line(self.feeds.totals(self.links), &new, monotonic_ns())
    }

    /// Ends the workers and prints the summary, with what others dropped meanwhile.
    ///
    /// # Errors
    /// A worker panicked, or nobody reads the report any more.
    pub(crate) fn finish(mut self, others: Drops) -> Result<Totals, ToolError> {
        self.session.stop.stop();
        if let Some(running) = self.running.take() {
            running.stop().stop();
            running.wait()?;
        }
        let rest = self.feeds.collect()?;
        let _ = self.latencies.add(&rest); // as above
        let mut totals = self.feeds.totals(self.links);
        for (reason, count) in others {
            *totals.drops.entry(reason).or_default() += count;
        }
        self.report.summary(&totals, &self.latencies, &self.machine)?;
        Ok(totals)
    }
}

/// Whether threads can be pinned to these cores, before anything is opened that would need it.
///
/// # Errors
/// One of them does not exist or is not allowed; the error lists those that are.
pub(crate) fn check_cores(cores: &[usize]) -> Result<(), ToolError> {
    for core in cores.iter().copied() {
        // on a thread of its own, which may stay pinned
        let pinned = thread::spawn(move || pin_current(core)).join();
        pinned.unwrap_or(Ok(())).map_err(MemifError::Core)?;
    }
    Ok(())
}

/// Gives task `index` its place: the cores of the list in turn, or none.
pub(crate) fn place<Q: Queues + 'static>(
    workers: Workers,
    cores: Option<&CoreList>,
    index: u16,
    queues: Q,
    work: impl FnMut(&mut Q, &mut Burst) + Send + 'static,
) -> Workers {
    match cores.and_then(|cores| cores.cores().iter().cycle().nth(index.into())) {
        Some(core) => workers.on_core(*core, queues, work),
        None => workers.anywhere(queues, work),
    }
}

/// What the shared memory lies on, and why not on huge pages, where this side knows it.
fn memory(links: &[&Link]) -> String {
    let details = links.iter().filter_map(|link| link.interface.details().ok());
    let regions: Vec<_> = details.flat_map(|details| details.regions).collect();
    let sizes: BTreeSet<u64> = regions.iter().map(|region| region.page_size / 1024).collect();
    if sizes.is_empty() {
        return "none".to_owned();
    }
    let sizes: Vec<String> = sizes.iter().map(|kib| format!("{kib} KiB")).collect();
    let reason = regions.iter().find_map(|region| region.fallback.as_ref());
    format!(
        "{} pages{}",
        sizes.join(" and "),
        reason.map(|reason| format!(" ({reason})")).unwrap_or_default()
    )
}

fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    model(&info).unwrap_or_else(|| "unknown".to_owned())
}

fn model(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    let (_, model) = line.split_once(':')?;
    Some(model.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use memif_pmd::Disconnect;

    #[test]
    fn reasons_are_told_once_and_their_number_is_bounded() {
        let notes = Notes { name: "@x".into(), ended: Stop::new(), heard: Mutex::default() };
        for i in 0..100 {
            for _ in 0..2 {
                notes.take(&Event::ConnectFailed(Disconnect::Failed(i.to_string())));
            }
        }
        assert_eq!(notes.heard.lock().unwrap().len(), MAX_REASONS);
        let ended = Notes { heard: Mutex::default(), ..notes };
        ended.ended.stop();
        ended.take(&Event::ConnectFailed(Disconnect::Closed));
        assert!(ended.heard.lock().unwrap().is_empty());
    }

    #[test]
    fn the_processor_is_named() {
        assert_eq!(model("processor: 0\nmodel name\t: Some CPU @ 3 GHz\n"), Some("Some CPU @ 3 GHz".into()));
        assert_eq!(model("processor: 0\n"), None);
        assert_eq!(memory(&[]), "none");
    }

    #[test]
    fn a_ring_is_empty_in_both_roles() {
        let ring =
            |head, tail| RingDetails { size: 1024, head, tail, flags: 0, region: 0, buffer_size: 2048 };
        assert!(was_taken(Role::Slave, &ring(65535, 65535)) && !was_taken(Role::Slave, &ring(0, 65535)));
        assert!(was_taken(Role::Master, &ring(1000, 65512)) && !was_taken(Role::Master, &ring(1000, 1000)));
    }

    #[test]
    fn feeds_add_up() {
        let mut feeds = Feeds::default();
        assert_eq!((feeds.counts(), feeds.sent()), (Counts::default(), None));
        for _ in 0..2 {
            let (worker, sender) = (Arc::<Published>::default(), Arc::<Published>::default());
            worker.publish(&Counts { packets: 5, ..Counts::default() });
            sender.publish(&Counts { packets: 6, ..Counts::default() });
            feeds.follow(worker);
            feeds.follow_sender(sender);
        }
        assert_eq!((feeds.counts().packets, feeds.sent()), (10, Some(12)));
    }
}
