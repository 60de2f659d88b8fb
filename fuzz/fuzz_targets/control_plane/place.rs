//! Where peers meet our interfaces: sockets, a control plane that the fuzzer polls, and a link beside the attacks.

use std::cell::{Cell, RefCell};
use std::fs;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use memif_os::event::poll_fds;
use memif_pmd::{FaultKind, HugePages, Interface, Memif, Polled, RxQueue, TxQueue};

use crate::HANDSHAKE;
use crate::common::{PATIENCE, address, exchange, shared_mappings};
use crate::hostile_peer::VICTIM;
use crate::hostile_peer::bystander::BYSTANDER;
use crate::hostile_peer::master::ScriptedListener;
use crate::peers::server::Server;

/// Polls after which the control plane must have nothing left to do.
const MOST_POLLS: usize = 2000;

/// An interface under attack and its queues.
pub(crate) struct Victim {
    pub(crate) interface: Interface,
    queues: Option<(RxQueue, TxQueue)>,
}

impl Victim {
    fn new(interface: Interface) -> Self {
        let mut victim = Self { interface, queues: None };
        victim.take_queues_again();
        victim
    }

    /// Gives the queues back, and takes them again.
    pub(crate) fn take_queues_again(&mut self) {
        self.queues = None;
        self.queues = Some((self.interface.rx(0).unwrap(), self.interface.tx(0).unwrap()));
    }

    pub(crate) fn rx(&mut self) -> &mut RxQueue {
        &mut self.queues.as_mut().unwrap().0
    }

    pub(crate) fn tx(&mut self) -> &mut TxQueue {
        &mut self.queues.as_mut().unwrap().1
    }
}

pub(crate) struct Victims {
    pub(crate) master: Victim,
    pub(crate) slave: Victim,
}

impl Victims {
    pub(crate) fn open(place: &Place) -> Self {
        Self { master: Self::open_master(place), slave: Self::open_slave(place) }
    }

    fn open_master(place: &Place) -> Victim {
        let master = place.memif.interface(&place.masters).master().id(VICTIM);
        Victim::new(master.handshake_timeout(HANDSHAKE).open().unwrap())
    }

    fn open_slave(place: &Place) -> Victim {
        let slave = place.memif.interface(&place.scripted).slave().id(VICTIM).ring_size(16);
        let slave = slave.buffer_size(512).huge_pages(HugePages::Off).reconnect(Duration::from_millis(1));
        Victim::new(slave.handshake_timeout(HANDSHAKE).open().unwrap())
    }

    pub(crate) fn end(&mut self, master: bool) -> &mut Victim {
        if master { &mut self.master } else { &mut self.slave }
    }

    pub(crate) fn reopen(&mut self, place: &Place, master: bool) {
        self.end(master).interface.shut_down();
        // the id is free from now on, while the old queues are still there
        *self.end(master) = if master { Self::open_master(place) } else { Self::open_slave(place) };
    }

    /// Only time may have been too short, as other programs use the machine, and one client may find another one there.
    pub(crate) fn nobody_is_blamed(&self) {
        for victim in [&self.master, &self.slave] {
            let details = victim.interface.details().unwrap();
            let chance = [FaultKind::HandshakeTimedOut, FaultKind::AlreadyConnected];
            let faults: Vec<_> = details.faults().filter(|(kind, _)| !chance.contains(kind)).collect();
            assert!(faults.is_empty(), "{faults:?} of peers that did nothing wrong");
        }
    }
}

pub(crate) struct Place {
    pub(crate) memif: Memif,
    /// Where our masters listen.
    pub(crate) masters: String,
    /// Where masters by script listen.
    pub(crate) scripted: String,
    listener: ScriptedListener,
    bystander: [Interface; 2],
    queues: [RefCell<(TxQueue, RxQueue)>; 2],
    /// Packets that the bystander has exchanged.
    exchanged: Cell<u64>,
    /// Descriptors and mappings when nothing is going on.
    rest: Option<[usize; 2]>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let memif = Memif::new().unwrap();
        let [masters, scripted] = [address(), address()];
        let listener = ScriptedListener::new(&scripted);
        let master = memif.interface(&masters).master().id(BYSTANDER).open().unwrap();
        let slave = memif.interface(&masters).id(BYSTANDER).ring_size(16).huge_pages(HugePages::Off);
        let slave = slave.reconnect(Duration::from_millis(5)).open().unwrap();
        slave.wait_up(Some(PATIENCE)).unwrap();
        master.wait_up(Some(PATIENCE)).unwrap();
        let ways = [(&slave, &master), (&master, &slave)];
        let queues = ways.map(|(from, to)| (from.tx(0).unwrap(), to.rx(0).unwrap()).into());
        let bystander = [master, slave];
        Self { memif, masters, scripted, listener, bystander, queues, exchanged: Cell::new(0), rest: None }
    }

    /// Handles everything that is there to be handled, and what builder threads are about to finish.
    pub(crate) fn come_to_rest(&self) {
        for polls in 0.. {
            assert!(polls < MOST_POLLS, "the control plane does not come to rest");
            if self.memif.poll(Some(Duration::ZERO)).unwrap() == Polled::TimedOut {
                return;
            }
        }
    }

    /// Polls until `done` gives something.
    pub(crate) fn until<T>(&self, what: &str, mut done: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = done() {
                return found;
            }
            assert!(Instant::now() < end, "still waiting: {what}");
            self.memif.poll(Some(Duration::from_millis(1))).unwrap();
        }
    }

    /// A slave of ours that waits at the scripted listener, if there is one.
    pub(crate) fn accept(&self) -> Option<Server> {
        let waits = poll_fds(&[self.listener.as_fd()], Some(Duration::ZERO)).unwrap() > 0;
        waits.then(|| Server::new(self.listener.accept()))
    }

    /// Packets of the link beside the attacks arrive, which has never gone down.
    pub(crate) fn bystander_exchanges(&self) {
        let from = self.exchanged.get();
        for way in &self.queues {
            let (tx, rx) = &mut *way.borrow_mut();
            exchange((tx, rx), from..from + 4, 60..=3000);
        }
        self.exchanged.set(from + 4);
        for end in &self.bystander {
            let details = end.details().unwrap();
            assert!(details.link_up && details.connects == 1, "{:?}", details.last_disconnect);
        }
    }

    /// What there is now is there whenever nothing is going on.
    pub(crate) fn remember(&mut self) {
        self.rest = Some([descriptors().len(), shared_mappings()]);
    }

    /// Waits until everything that came from peers is closed and unmapped.
    pub(crate) fn nothing_is_left(&self) {
        let end = Instant::now() + PATIENCE;
        loop {
            self.come_to_rest();
            while self.accept().is_some() {}
            let stats = self.memif.stats();
            let now = [descriptors().len(), shared_mappings()];
            let rest = self.rest.unwrap_or(now);
            if stats.reaper_queued + stats.reaper_busy == 0 && now == rest {
                return;
            }
            assert!(
                Instant::now() < end,
                "{now:?} descriptors and mappings left, {rest:?} at rest; {stats:?}; {:?}",
                descriptors()
            );
            let _ = self.memif.poll(Some(Duration::from_millis(1)));
        }
    }
}

/// What each descriptor of this process is, but for pipes: the sanitizer's symbolizer has some, and no peer passes one.
fn descriptors() -> Vec<PathBuf> {
    let fds = fs::read_dir("/proc/self/fd").unwrap();
    let files = fds.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
    files.filter(|file| !file.starts_with("/proc") && !file.to_string_lossy().starts_with("pipe:")).collect()
}
