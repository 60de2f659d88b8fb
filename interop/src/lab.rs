//! The setup of a scenario: testpmd and an interface of this process with a link between them, on two cores.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use memif_interop::{Error, Output, Reserved, Testpmd};
use memif_os::cpu::{allowed_cores, pin_current};
use memif_pmd::{HugePages, Interface, Memif, Port, Running, Stop, Workers, forward_in_place};
use tempfile::TempDir;

use crate::links::Links;

/// Timeout for a link to come up or go down: more than a slave's reconnection interval of two seconds.
pub(crate) const LINK: Duration = Duration::from_secs(8);
/// Packets above this size use two buffers of [`LARGE_BUFFER`] bytes.
const LARGE: usize = 2048;
const LARGE_BUFFER: usize = 8192;
/// Number of huge pages for testpmd's `-m 128` and its memif driver.
const HUGE_PAGES: u64 = 72;
const HUGE_PAGE: u64 = 2 << 20;

/// Bytes of the packets of testpmd after [`MIX`]: it sends the first one, two or three pieces.
pub(crate) const MIXED: [usize; 3] = [64, 64 + 1514, 64 + 1514 + 9000];
/// What makes testpmd send packets of mixed sizes.
pub(crate) const MIX: [&str; 2] = ["set txpkts 64,1514,9000", "set txsplit rand"];

/// testpmd's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// It listens; this process is the slave.
    Server,
    /// It connects; this process is the master.
    Client,
}

/// How both ends are set up.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// testpmd's role.
    pub(crate) peer: Peer,
    /// Bytes of a packet, which determine the size of buffers and packet memory.
    pub(crate) size: usize,
    /// Queue pairs.
    pub(crate) queues: u16,
    /// An abstract socket instead of a path.
    pub(crate) is_abstract: bool,
    /// Packets of [`MIXED`] sizes, of up to six descriptors, instead of `size`.
    pub(crate) is_mixed: bool,
    /// testpmd, as a client, shares its own packet memory on huge pages.
    pub(crate) zero_copy: bool,
    /// This process's secret; empty for none.
    pub(crate) our_secret: &'static str,
    /// testpmd's secret; empty for none.
    pub(crate) its_secret: &'static str,
}

impl Setup {
    /// One queue pair, a socket file, copying, no secrets.
    pub(crate) const fn new(peer: Peer, size: usize) -> Self {
        let (our_secret, its_secret) = ("", "");
        let (is_abstract, is_mixed, zero_copy) = (false, false, false);
        Self { peer, size, queues: 1, is_abstract, is_mixed, zero_copy, our_secret, its_secret }
    }

    /// Number of descriptors of a packet.
    pub(crate) const fn descriptors(&self) -> u64 {
        if self.size > LARGE { 2 } else { 1 }
    }
}

/// What all scenarios share.
#[derive(Debug)]
pub(crate) struct Lab {
    testpmd: PathBuf,
    /// The core of this process, and the one on which testpmd forwards.
    cores: (usize, usize),
    folder: TempDir,
    /// Duration of traffic of mixed sizes.
    pub(crate) mixed_for: Duration,
    /// Raised by Ctrl-C.
    pub(crate) stop: Stop,
}

impl Lab {
    /// Uses the testpmd in `dpdk` and the first two allowed cores.
    pub(crate) fn new(dpdk: &Path, mixed_for: Duration, stop: Stop) -> Result<Self, Error> {
        let allowed = allowed_cores();
        let ours = allowed.first().copied().unwrap_or_default();
        let its = allowed.get(1).copied().unwrap_or(ours);
        if ours == its {
            eprintln!("note: one core for both ends, so packets wait for the scheduler");
        }
        let folder = tempfile::Builder::new().prefix("memif-interop-").tempdir();
        let folder = folder.map_err(Error::io("cannot make a temporary folder"))?;
        Ok(Self { testpmd: dpdk.join("testpmd"), cores: (ours, its), folder, mixed_for, stop })
    }

    /// The socket's address without the mark of an abstract one.
    fn socket(&self, setup: &Setup) -> String {
        let path = self.folder.path().join("memif.sock").display().to_string();
        if setup.is_abstract { path.trim_start_matches('/').replace('/', "-") } else { path }
    }

    /// The port of this process, as text.
    fn port(&self, setup: &Setup) -> String {
        let at = if setup.is_abstract { "@" } else { "" };
        let role = if setup.peer == Peer::Server { "slave" } else { "master" };
        let buffer = if setup.size > LARGE { LARGE_BUFFER } else { LARGE };
        let mut port =
            format!("{at}{},role={role},queues={},buffer={buffer}", self.socket(setup), setup.queues);
        if !setup.our_secret.is_empty() {
            port = port + ",secret=" + setup.our_secret;
        }
        port
    }

    fn arguments(&self, setup: &Setup, mode: &str) -> Vec<String> {
        let (main, worker) = self.cores;
        let role = if setup.peer == Peer::Server { "server" } else { "client" };
        let is_abstract = if setup.is_abstract { "yes" } else { "no" };
        let mut device = format!(
            "net_memif0,role={role},id=0,socket={},socket-abstract={is_abstract}",
            self.socket(setup)
        );
        if !setup.its_secret.is_empty() {
            device = device + ",secret=" + setup.its_secret;
        }
        if setup.size > LARGE {
            device += &format!(",bsize={LARGE_BUFFER}");
        }
        if setup.zero_copy {
            device += ",zero-copy=yes";
        }
        let memory = if setup.zero_copy {
            "--in-memory --single-file-segments -m 128"
        } else {
            "--no-huge --no-shconf -m 256"
        };
        // one segment a packet in its memory
        let mbufs = if setup.is_mixed {
            "--total-num-mbufs=8192 --mbuf-size=9216 --burst=64"
        } else if setup.size > LARGE {
            "--total-num-mbufs=4096 --mbuf-size=10240"
        } else {
            "--total-num-mbufs=8192"
        };
        let queues = setup.queues;
        let text = format!(
            "{memory} --no-pci --no-telemetry --lcores 0@{main},1@{worker} --log-level=pmd.net.memif:debug \
             --vdev {device} -- -i --no-flush-rx --disable-link-check {mbufs} --rxq={queues} --txq={queues} \
             --forward-mode={mode} --txpkts={}",
            setup.size
        );
        text.split(' ').map(str::to_owned).collect()
    }

    /// Starts testpmd with its port in forward mode `mode`; it does not forward yet.
    pub(crate) fn testpmd(&self, setup: &Setup, mode: &str) -> Result<Testpmd, Error> {
        if setup.peer == Peer::Server && !setup.is_abstract {
            // a killed server leaves it, and the next one would run without its port
            match std::fs::remove_file(self.socket(setup)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("cannot remove the old socket")(error));
                }
                _ => {}
            }
        }
        Testpmd::start(&self.testpmd, &self.arguments(setup, mode), &self.stop)
    }

    /// Opens the interface of this process.
    pub(crate) fn open(&self, memif: &Memif, setup: &Setup, links: &Links) -> Result<Interface, Error> {
        let links = links.clone();
        let builder = self.port(setup).parse::<Port>()?.interface(memif);
        Ok(builder.on_event(move |event| links.note(event)).open()?)
    }

    /// Starts both ends in the order that testpmd needs.
    pub(crate) fn both_ends(&self, setup: &Setup, mode: &str) -> Result<Bench, Error> {
        let huge_pages = setup.zero_copy.then(|| Reserved::new(HUGE_PAGES)).transpose()?;
        let memif = Memif::start()?;
        let links = Links::default();
        let (testpmd, interface) = match setup.peer {
            Peer::Server => {
                let testpmd = self.testpmd(setup, mode)?;
                (testpmd, self.open(&memif, setup, &links)?)
            }
            Peer::Client => {
                let interface = self.open(&memif, setup, &links)?;
                (self.testpmd(setup, mode)?, interface)
            }
        };
        Ok(Bench { testpmd, interface, links, _memif: memif, _huge_pages: huge_pages })
    }

    /// Starts both ends and waits until both have a link.
    pub(crate) fn link(&self, setup: &Setup, mode: &str) -> Result<Bench, Error> {
        let mut bench = self.both_ends(setup, mode)?;
        bench.interface.wait_up(Some(LINK))?;
        bench.testpmd.connected()?;
        let regions = bench.interface.details()?.regions;
        if setup.zero_copy && !regions.iter().any(|region| region.index > 0 && region.page_size >= HUGE_PAGE)
        {
            return Err(Error::Wrong(format!("testpmd shares no huge pages: {regions:?}")));
        }
        Ok(bench)
    }

    /// Starts testpmd as a server, a master in this process, and between them a zero-copy forwarder that is slave of both.
    pub(crate) fn crossing(&self, setup: &Setup, mode: &str) -> Result<Crossing, Error> {
        let memif = Memif::start()?;
        let mut testpmd = self.testpmd(setup, mode)?;
        let port: Port = self.port(setup).parse()?;
        let memory = memif.packet_memory().buffers(4 * port.buffers()).buffer_size(port.buffer_size());
        let memory = memory.huge_pages(HugePages::Off).allocate()?;
        let socket = self.folder.path().join("crossing.sock").display().to_string();
        let master = memif.interface(&socket).master().open()?;
        let inner = memif.interface(&socket).packet_memory(&memory).open()?;
        let outer = port.interface(&memif).packet_memory(&memory).open()?;
        for interface in [&master, &inner, &outer] {
            interface.wait_up(Some(LINK))?;
        }
        testpmd.connected()?;
        let workers = Workers::new()
            .anywhere((inner.rx(0)?, outer.tx(0)?), forward_in_place)
            .anywhere((outer.rx(0)?, inner.tx(0)?), forward_in_place)
            .start()?;
        Ok(Crossing { bench: Bench::new(testpmd, outer, memif), workers, master, _inner: inner })
    }

    /// Runs `traffic` on the core of this process, and `meanwhile` on this thread. Returns both results.
    pub(crate) fn on_our_core<T: Send, U>(
        &self,
        traffic: impl FnOnce() -> Result<T, Error> + Send,
        meanwhile: impl FnOnce() -> Result<U, Error>,
    ) -> Result<(T, U), Error> {
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                pin_current(self.cores.0)?;
                traffic()
            });
            let seen = meanwhile();
            let done = worker.join().unwrap_or_else(|_| Err(Error::Wrong("our worker panicked".into())));
            // testpmd's own words explain more than that nothing arrived
            let seen = seen?;
            Ok((done?, seen))
        })
    }

    /// Starts a second process with this process's end and traffic, to be killed.
    pub(crate) fn victim(&self, setup: &Setup) -> Result<Victim, Error> {
        let program = std::env::current_exe().map_err(Error::io("cannot find this program"))?;
        let mut child = Command::new(program)
            .args(["--victim", &self.port(setup)])
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(Error::io("cannot start a process of our own"))?;
        let output = child.stdout.take().map(Output::collect).unwrap_or_default();
        Ok(Victim { child, output })
    }
}

/// Both ends of a link.
pub(crate) struct Bench {
    /// testpmd.
    pub(crate) testpmd: Testpmd,
    /// The interface of this process.
    pub(crate) interface: Interface,
    /// What became of its link.
    pub(crate) links: Links,
    // dropped in this order: memory is free before the pool shrinks
    _memif: Memif,
    _huge_pages: Option<Reserved>,
}

/// A forwarder between testpmd and a master in this process.
pub(crate) struct Crossing {
    workers: Running,
    /// testpmd, and the forwarder's link with it.
    pub(crate) bench: Bench,
    /// The master, which receives what testpmd sends back.
    pub(crate) master: Interface,
    _inner: Interface,
}

impl Crossing {
    /// Stops the forwarder, then testpmd.
    pub(crate) fn end(self) -> Result<(), Error> {
        self.bench.end()?;
        self.workers.stop().stop();
        self.workers.wait().map(drop)?;
        Ok(())
    }
}

impl Bench {
    /// From parts that were started separately.
    pub(crate) fn new(testpmd: Testpmd, interface: Interface, memif: Memif) -> Self {
        Self { testpmd, interface, links: Links::default(), _memif: memif, _huge_pages: None }
    }

    /// Stops testpmd first, as it may crash when its peer dies.
    pub(crate) fn end(mut self) -> Result<(), Error> {
        self.testpmd.command("stop")?;
        self.testpmd.quit()
    }
}

/// Printed by a victim when its interface is open.
pub(crate) const LISTENING: &str = "listening";
/// Printed by a victim when packets come back and verify.
pub(crate) const FLOWING: &str = "flowing";

/// A process of this program that is to be killed; killed on drop.
pub(crate) struct Victim {
    child: Child,
    output: Arc<Output>,
}

impl Victim {
    /// Waits until its interface is open.
    pub(crate) fn listening(&self) -> Result<(), Error> {
        self.says(LISTENING)
    }

    /// Waits until its packets come back.
    pub(crate) fn flowing(&self) -> Result<(), Error> {
        self.says(FLOWING)
    }

    fn says(&self, word: &str) -> Result<(), Error> {
        match self.output.wait(0, word, LINK) {
            Some(_) => Ok(()),
            None => Err(Error::Late { what: format!("{word:?} of our other process"), waited: LINK }),
        }
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(self) {
        drop(self);
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // fails only for one that has ended, and been waited for
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
