//! The control plane in somebody's event loop, which watches each of its descriptors on its own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{PATIENCE, address, events, exchange, until};
use memif_os::event::{Epoll, Event as Ready, Interest};
use memif_pmd::{Burst, Disconnect, Error, Event, FdRegistry, Memif, RxMode};

/// An event loop that insists on order: nothing is watched twice, and nothing is closed that is still watched.
#[derive(Clone)]
struct Loop {
    epoll: Arc<Epoll>,
    watched: Arc<Mutex<HashSet<RawFd>>>,
}

impl Loop {
    fn new() -> Self {
        Self { epoll: Arc::new(Epoll::new().unwrap()), watched: Arc::default() }
    }

    /// One turn: waits a little, and hands over each descriptor that is ready.
    fn turn(&self, memif: &Memif) {
        let mut ready = [Ready::NONE; 8];
        let count = self.epoll.wait(&mut ready, Some(Duration::from_millis(20))).unwrap();
        for event in &ready[..count] {
            memif.handle_fd(RawFd::try_from(event.token()).unwrap()).unwrap();
        }
    }

    fn until(&self, memif: &Memif, what: &str, mut condition: impl FnMut() -> bool) {
        until(what, || {
            self.turn(memif);
            condition()
        });
    }

    fn watched(&self) -> usize {
        self.watched.lock().unwrap().len()
    }
}

impl FdRegistry for Loop {
    fn watch(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        assert!(
            self.watched.lock().unwrap().insert(fd.as_raw_fd()),
            "{fd:?} was closed while it was watched"
        );
        self.epoll.add(fd, u64::from(fd.as_raw_fd().unsigned_abs()), Interest::READ)
    }

    fn unwatch(&self, fd: BorrowedFd<'_>) {
        assert!(self.watched.lock().unwrap().remove(&fd.as_raw_fd()), "{fd:?} is not watched");
        self.epoll.delete(fd).unwrap(); // fails for one that was closed
    }
}

#[test]
fn a_whole_life_in_an_event_loop_of_ones_own() {
    let watch = Loop::new();
    let memif = Memif::with_registry(watch.clone()).unwrap();
    let idle = watch.watched();
    let socket = address();
    for _ in 0..5 {
        let (handler, seen) = events();
        let master = memif.interface(&socket).master().queues(2).rx_mode(RxMode::Interrupt);
        let master = master.notify_interrupts().on_event(handler).open().unwrap();
        let slave = memif.interface(&socket).queues(2).open().unwrap();
        watch.until(&memif, "the link", || master.is_up() && slave.is_up());
        assert_eq!(seen.try_recv().unwrap(), Event::Connected);

        for queue in [1, 0] {
            let (mut tx, mut rx) = (slave.tx(queue).unwrap(), master.rx(queue).unwrap());
            let mut burst = Burst::new(4).unwrap();
            burst.push(b"ring").unwrap();
            assert_eq!(tx.send(&mut burst), 1);
            watch.until(&memif, "the interrupt", || seen.try_recv() == Ok(Event::Interrupt { queue }));
            assert_eq!(rx.receive(&mut burst), 1);
            exchange((&mut tx, &mut rx), 0..200, 60..=3000);
        }
        watch.until(&memif, "quiet", || seen.try_recv().is_err());

        drop(slave);
        watch.until(&memif, "the end", || !master.is_up());
        assert!(matches!(seen.try_recv(), Ok(Event::Disconnected(Disconnect::Peer { .. }))));
        drop(master);
        assert_eq!(watch.watched(), idle, "an interface leaves nothing behind");
    }
    drop(memif);
    assert_eq!(watch.watched(), 0);
}

#[test]
fn timers_run_in_an_event_loop_of_ones_own() {
    let watch = Loop::new();
    let memif = Memif::with_registry(watch.clone()).unwrap();
    let socket = address();
    let slave = memif.interface(&socket).reconnect(Duration::from_millis(1)).open().unwrap();
    let master = memif.interface(&socket).master().open().unwrap();
    watch.until(&memif, "the slave to try again", || slave.is_up() && master.is_up());
    // links that are up when the control plane goes
    drop(memif);
    assert_eq!(watch.watched(), 0);
}

#[test]
fn others_may_wait_while_the_loop_turns() {
    let watch = Loop::new();
    let memif = Memif::with_registry(watch.clone()).unwrap();
    let socket = address();
    let master = memif.interface(&socket).master().open().unwrap();
    let slave = memif.interface(&socket).open().unwrap();
    assert!(matches!(slave.wait_up(Some(Duration::from_millis(5))), Err(Error::NoLink { .. })));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| slave.wait_up(Some(PATIENCE)).unwrap());
        watch.until(&memif, "the one who waits", || waiting.is_finished());
        waiting.join().unwrap();
    });
    watch.until(&memif, "the master", || master.is_up());
}

#[test]
fn descriptors_of_others_are_ignored() {
    let watch = Loop::new();
    let memif = Memif::with_registry(watch.clone()).unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    for fd in [-1, RawFd::MAX, file.as_raw_fd()] {
        memif.handle_fd(fd).unwrap();
    }
    let _master = memif.interface(address()).master().open().unwrap();
}

/// An event loop that takes so many descriptors and no more.
struct Full(AtomicUsize);

impl FdRegistry for Full {
    fn watch(&self, _: BorrowedFd<'_>) -> io::Result<()> {
        let take = |left: usize| left.checked_sub(1);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .map_err(|_| io::ErrorKind::OutOfMemory)?;
        Ok(())
    }

    fn unwatch(&self, _: BorrowedFd<'_>) {}
}

#[test]
fn a_registry_that_refuses_is_an_error() {
    assert!(matches!(Memif::with_registry(Full(0.into())), Err(Error::System { .. })));
    let memif = Memif::with_registry(Full(2.into())).unwrap();
    let socket = address();
    let error = memif.interface(&socket).master().open().unwrap_err();
    assert!(matches!(error, Error::System { call: "watching the listener", .. }), "{error}");
    // nothing listens there now
    Memif::start().unwrap().interface(&socket).master().open().unwrap();
}
