//! Somebody with business of their own, next to an attack: numbered packets both ways, each one checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use memif_os::huge_pages::HugePages;
use memif_pmd::{Burst, Details, Interface, Memif, RxQueue, TxQueue};

use super::longest::Longest;
use crate::common::{PATIENCE, check, fill, length, until};

/// The id of the bystander's interface.
pub(crate) const BYSTANDER: u32 = 4242;

pub(crate) struct Bystander {
    master: Interface,
    slave: Interface,
    /// The slave's end of the world; the master lives on the control plane under attack.
    _memif: Memif,
    stop: Arc<AtomicBool>,
    /// Packets that arrived, the lesser number of both directions.
    arrived: Arc<AtomicU64>,
    longest: Arc<Times>,
    thread: Option<JoinHandle<()>>,
}

/// What its packets had to wait for.
#[derive(Debug, Default)]
struct Times {
    /// A call of `receive` or `send`.
    call: Longest,
    /// From one packet's arrival to the next.
    gap: Longest,
}

impl Bystander {
    /// With its master on this control plane and socket.
    pub(crate) fn new(memif: &Memif, socket: &str) -> Self {
        let master = memif.interface(socket).master().id(BYSTANDER).open().unwrap();
        let own = Memif::start().unwrap();
        let slave = own.interface(socket).id(BYSTANDER).ring_size(64).huge_pages(HugePages::Off);
        let slave = slave.reconnect(Duration::from_millis(5)).open().unwrap();
        slave.wait_up(Some(PATIENCE)).unwrap();
        master.wait_up(Some(PATIENCE)).unwrap();
        let (stop, arrived) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut ways = [
            Way::new(slave.tx(0).unwrap(), master.rx(0).unwrap()),
            Way::new(master.tx(0).unwrap(), slave.rx(0).unwrap()),
        ];
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&arrived));
        let longest = Arc::new(Times::default());
        let times = Arc::clone(&longest);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                ways.iter_mut().for_each(|way| way.turn(true, &times));
                count.store(ways[0].expected.min(ways[1].expected), Ordering::Release);
                thread::sleep(Duration::from_micros(50)); // leaves the processor to the attack
            }
            for way in &mut ways {
                until("the bystander's last packets", || {
                    way.turn(false, &times);
                    way.expected == way.next
                });
            }
        });
        Self { master, slave, _memif: own, stop, arrived, longest, thread: Some(thread) }
    }

    /// Of its master, which shares the control plane under attack.
    pub(crate) fn details(&self) -> Details {
        self.master.details().unwrap()
    }

    /// The longest call of `receive` or `send`, and the longest time between two packets.
    pub(crate) fn longest(&self) -> (&Longest, &Longest) {
        (&self.longest.call, &self.longest.gap)
    }

    /// Traffic flows at this moment, whatever else is going on.
    pub(crate) fn moves_on(&mut self) {
        let target = self.arrived.load(Ordering::Acquire) + 50;
        until("the bystander's packets", || {
            if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
                self.join();
                panic!("the bystander stopped");
            }
            self.arrived.load(Ordering::Acquire) >= target
        });
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take()
            && let Err(panic) = thread.join()
        {
            std::panic::resume_unwind(panic);
        }
    }

    /// Not one packet was lost or changed, and the link never went.
    pub(crate) fn finish(mut self) {
        self.moves_on();
        self.stop.store(true, Ordering::Release);
        self.join();
        for end in [&self.master, &self.slave] {
            let details = end.details().unwrap();
            assert!(details.link_up);
            assert_eq!(details.connects, 1);
            assert_eq!(details.last_disconnect, None);
            assert_eq!(details.faults().count(), 0);
            let queues = details.rx.iter().chain(&details.tx);
            assert!(
                queues.clone().all(|queue| queue.stats.dropped() == 0),
                "{queues:?}",
                queues = details.rx
            );
        }
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// One direction.
struct Way {
    tx: TxQueue,
    rx: RxQueue,
    out: Burst,
    back: Burst,
    next: u64,
    expected: u64,
    /// When the last packet arrived.
    last: Instant,
}

impl Way {
    fn new(tx: TxQueue, rx: RxQueue) -> Self {
        let (out, back) = (Burst::new(16).unwrap(), Burst::new(16).unwrap());
        Self { tx, rx, out, back, next: 0, expected: 0, last: Instant::now() }
    }

    fn turn(&mut self, more: bool, times: &Times) {
        while more && let Ok(packet) = self.out.reserve(length(self.next, 60, 3000)) {
            fill(packet, self.next);
            self.next += 1;
        }
        times.call.time(|| self.tx.send(&mut self.out));
        if times.call.time(|| self.rx.receive(&mut self.back)) > 0 {
            times.gap.note(self.last.elapsed());
            self.last = Instant::now();
        }
        for packet in &self.back {
            assert_eq!(packet.len(), length(self.expected, 60, 3000), "a packet was lost");
            check(packet, self.expected);
            self.expected += 1;
        }
        self.back.clear();
    }
}
