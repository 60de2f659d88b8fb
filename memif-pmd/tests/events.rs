//! The order of events, and what is called back when: rules that programs with locks of their own depend on.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::{PATIENCE, address, events, next, until};
use memif_os::event::{Epoll, Event as Ready, Interest};
use memif_pmd::{Disconnect, Error, Event, FdRegistry, Memif, Polled};

const SHORT: Duration = Duration::from_millis(1);

/// Everything that an interface was told, and whether it may still be told anything.
#[derive(Default)]
struct Log {
    events: Mutex<Vec<Event>>,
    gone: AtomicBool,
    late: AtomicUsize,
}

impl Log {
    fn handler(self: &Arc<Self>) -> impl Fn(&Event) + Send + Sync + 'static {
        let log = Arc::clone(self);
        move |event| {
            log.late.fetch_add(usize::from(log.gone.load(Ordering::SeqCst)), Ordering::SeqCst);
            log.events.lock().unwrap().push(event.clone());
            thread::yield_now(); // the interface may be dropped while this runs
            log.late.fetch_add(usize::from(log.gone.load(Ordering::SeqCst)), Ordering::SeqCst);
        }
    }

    /// Connected before Disconnected, each once a link; attempts fail only in between.
    fn check(&self) {
        let mut up = false;
        for event in self.events.lock().unwrap().iter() {
            match event {
                Event::Connected => assert!(!std::mem::replace(&mut up, true), "connected twice"),
                Event::Disconnected(_) => assert!(std::mem::replace(&mut up, false), "no link to end"),
                Event::ConnectFailed(_) => assert!(!up, "an attempt failed while the link was up"),
                _ => {}
            }
        }
        assert!(!up, "the end of the link was not told");
        assert_eq!(self.late.load(Ordering::SeqCst), 0, "called back after the drop had returned");
    }
}

#[test]
fn nothing_is_called_back_after_an_interface_was_dropped() {
    let memif = Memif::start().unwrap();
    let socket = address();
    for round in 0..300u32 {
        let (master_log, slave_log) = (Arc::<Log>::default(), Arc::<Log>::default());
        let slave = memif.interface(&socket).reconnect(SHORT).ring_size(16);
        let slave = slave.on_event(slave_log.handler()).open().unwrap();
        let master = memif.interface(&socket).master().on_event(master_log.handler()).open().unwrap();
        if round % 2 == 0 {
            slave.wait_up(Some(PATIENCE)).unwrap();
        }
        // both at once, while the control thread delivers what happens to either
        thread::scope(|scope| {
            for (interface, log) in [(master, &master_log), (slave, &slave_log)] {
                scope.spawn(move || {
                    drop(interface);
                    log.gone.store(true, Ordering::SeqCst);
                });
            }
        });
        for log in [master_log, slave_log] {
            log.check();
        }
    }
}

#[test]
fn nothing_is_called_back_after_the_control_plane_was_shut_down() {
    for _ in 0..50 {
        let memif = Arc::new(Memif::start().unwrap());
        let socket = address();
        let log = Arc::<Log>::default();
        let master = memif.interface(&socket).master().on_event(log.handler()).open().unwrap();
        let slave = memif.interface(&socket).reconnect(SHORT).on_event(|_| ()).open().unwrap();
        thread::yield_now();
        memif.shut_down();
        log.gone.store(true, Ordering::SeqCst);
        log.check();
        assert!(!master.is_up() && !slave.is_up());
        assert!(matches!(master.rx(0), Err(Error::Deleted)));
    }
}

#[test]
fn a_drop_waits_for_a_handler_that_runs_on_another_thread() {
    let memif = Memif::start().unwrap();
    let (inside, left) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let handler = {
        let (inside, left) = (Arc::clone(&inside), Arc::clone(&left));
        move |_: &Event| {
            inside.store(true, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(200));
            left.store(true, Ordering::SeqCst);
        }
    };
    // nobody listens: an attempt fails, which is told
    let slave = memif.interface(address()).reconnect(SHORT).on_event(handler).open().unwrap();
    until("the handler", || inside.load(Ordering::SeqCst));
    drop(slave);
    assert!(left.load(Ordering::SeqCst), "the drop returned while the handler ran");
}

#[test]
fn a_drop_from_within_a_handler_of_another_interface_delivers_its_end() {
    let memif = Memif::start().unwrap();
    let socket = address();
    let victim = Arc::new(Mutex::new(None));
    let log = Arc::<Log>::default();
    let handler = {
        let victim = Arc::clone(&victim);
        move |_: &Event| drop(victim.lock().unwrap().take())
    };
    let other = memif.interface(&socket).id(1).master().on_event(log.handler()).open().unwrap();
    let peer = memif.interface(&socket).id(1).open().unwrap();
    peer.wait_up(Some(PATIENCE)).unwrap();
    *victim.lock().unwrap() = Some(other);
    let _slave = memif.interface(address()).reconnect(SHORT).on_event(handler).open().unwrap();
    until("the drop", || victim.lock().unwrap().is_none());
    log.check();
    let last = log.events.lock().unwrap().last().cloned();
    assert_eq!(last, Some(Event::Disconnected(Disconnect::Local("the interface was deleted"))));
}

#[test]
fn cancelling_ends_a_wait_for_a_link_that_drives_the_control_plane() {
    let memif = Memif::new().unwrap();
    let slave = memif.interface(address()).open().unwrap();
    let waker = memif.waker();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| slave.wait_up(None));
        waker.cancel();
        let error = waiting.join().unwrap().unwrap_err();
        assert!(matches!(error, Error::Cancelled), "{error}");
    });
    // it was told, once
    until("quiet", || memif.poll(Some(Duration::ZERO)).unwrap() != Polled::Cancelled);
}

/// An event loop with a lock of the program's own, which its registry takes as well.
struct Locking {
    lock: Arc<Mutex<()>>,
    epoll: Arc<Epoll>,
}

impl FdRegistry for Locking {
    fn watch(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let _held = self.lock.lock().unwrap();
        self.epoll.add(fd, u64::from(fd.as_raw_fd().unsigned_abs()), Interest::READ)
    }

    fn unwatch(&self, fd: BorrowedFd<'_>) {
        let _held = self.lock.lock().unwrap();
        self.epoll.delete(fd).unwrap();
    }
}

#[test]
fn a_registry_may_call_back_into_the_control_plane() {
    struct CallsBack(Arc<Mutex<Option<Arc<Memif>>>>, AtomicUsize);
    impl FdRegistry for CallsBack {
        fn watch(&self, _: BorrowedFd<'_>) -> io::Result<()> {
            if let Some(memif) = self.0.lock().unwrap().clone() {
                assert!(memif.stats().refused_by_quota == 0);
                assert!(memif.with_listener("@nobody", |_| ()).is_none());
                self.1.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }
        fn unwatch(&self, _: BorrowedFd<'_>) {
            if let Some(memif) = self.0.lock().unwrap().clone() {
                assert!(memif.with_listener("@nobody", |_| ()).is_none());
            }
        }
    }
    let plane = Arc::new(Mutex::new(None));
    let memif = Memif::with_registry(CallsBack(Arc::clone(&plane), AtomicUsize::new(0))).unwrap();
    let memif = Arc::new(memif);
    *plane.lock().unwrap() = Some(Arc::clone(&memif));
    let master = memif.interface(address()).master().open().unwrap();
    drop(master);
    plane.lock().unwrap().take();
}

#[test]
fn a_lock_around_calls_that_the_registry_takes_too_does_not_deadlock() {
    let (lock, epoll) = (Arc::<Mutex<()>>::default(), Arc::new(Epoll::new().unwrap()));
    let registry = Locking { lock: Arc::clone(&lock), epoll: Arc::clone(&epoll) };
    let memif = Memif::with_registry(registry).unwrap();
    let (socket, done) = (address(), AtomicBool::new(false));
    let master = memif.interface(&socket).master().open().unwrap();
    thread::scope(|scope| {
        // links come and go, and with them descriptors that are watched by the thread that polls
        scope.spawn(|| {
            let others = Memif::start().unwrap();
            for _ in 0..100 {
                let slave = others.interface(&socket).ring_size(16).reconnect(SHORT).open().unwrap();
                slave.wait_up(Some(PATIENCE)).unwrap();
            }
            done.store(true, Ordering::SeqCst);
        });
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let _held = lock.lock().unwrap();
                master.details().unwrap();
                master.set_reconnect(Some(SHORT)).unwrap();
                assert_eq!(memif.stats().refused_by_quota, 0);
            }
        });
        while !done.load(Ordering::SeqCst) {
            turn(&memif, &epoll).unwrap();
        }
    });
}

/// An event loop that refuses from some descriptor on.
struct Refuses {
    epoll: Arc<Epoll>,
    left: Arc<AtomicUsize>,
}

impl FdRegistry for Refuses {
    fn watch(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let take = |left: usize| left.checked_sub(1);
        let taken = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take);
        taken.map_err(|_| io::ErrorKind::OutOfMemory)?;
        self.epoll.add(fd, u64::from(fd.as_raw_fd().unsigned_abs()), Interest::READ)
    }

    fn unwatch(&self, fd: BorrowedFd<'_>) {
        self.epoll.delete(fd).unwrap(); // fails for one that is not watched
    }
}

fn refusing(left: usize) -> (Memif, Arc<Epoll>, Arc<AtomicUsize>) {
    let (epoll, left) = (Arc::new(Epoll::new().unwrap()), Arc::new(AtomicUsize::new(left)));
    let registry = Refuses { epoll: Arc::clone(&epoll), left: Arc::clone(&left) };
    (Memif::with_registry(registry).unwrap(), epoll, left)
}

/// One turn of the loop; the first error that a descriptor met.
fn turn(memif: &Memif, epoll: &Epoll) -> Result<(), Error> {
    let mut ready = [Ready::NONE; 8];
    let count = epoll.wait(&mut ready, Some(SHORT)).unwrap();
    let ready = ready[..count].iter();
    ready.map(|event| memif.handle_fd(RawFd::try_from(event.token()).unwrap())).fold(Ok(()), Result::and)
}

#[test]
fn a_client_that_cannot_be_watched_is_an_error_of_the_call_that_accepts_it() {
    let (memif, epoll, left) = refusing(3);
    let socket = address();
    let (handler, seen) = events();
    let master = memif.interface(&socket).master().on_event(handler).open().unwrap();
    let others = Memif::start().unwrap();
    let slave = others.interface(&socket).reconnect(SHORT).open().unwrap();
    let mut met = None;
    until("the error", || {
        met = turn(&memif, &epoll).err();
        met.is_some()
    });
    assert!(matches!(met, Some(Error::System { call: "watching a connection", .. })), "{met:?}");
    assert!(seen.try_recv().is_err(), "no link, no event");
    left.store(usize::MAX, Ordering::SeqCst);
    until("a link after all", || {
        turn(&memif, &epoll).unwrap();
        master.is_up() && slave.is_up()
    });
    assert_eq!(next(&seen), Event::Connected);
}

#[test]
fn a_slave_that_cannot_be_watched_is_not_opened() {
    let (memif, _epoll, left) = refusing(2);
    let others = Memif::start().unwrap();
    let socket = address();
    let _master = others.interface(&socket).master().open().unwrap();
    let error = memif.interface(&socket).open().unwrap_err();
    assert!(matches!(error, Error::System { call: "watching a connection", .. }), "{error}");
    left.store(usize::MAX, Ordering::SeqCst);
    memif.interface(&socket).open().unwrap();
}

#[test]
fn interrupts_that_cannot_be_watched_fail_the_attempt() {
    // waker, timer, connection
    let (memif, epoll, left) = refusing(3);
    let others = Memif::start().unwrap();
    let socket = address();
    let _master = others.interface(&socket).master().open().unwrap();
    let (handler, seen) = events();
    let slave =
        memif.interface(&socket).notify_interrupts().reconnect(SHORT).on_event(handler).open().unwrap();
    until("the failure", || {
        turn(&memif, &epoll).ok();
        match seen.try_recv() {
            Ok(Event::ConnectFailed(Disconnect::Failed(reason))) => reason.contains("watching an interrupt"),
            Ok(Event::ConnectFailed(_)) | Err(_) => false,
            Ok(event) => panic!("{event:?}"),
        }
    });
    left.store(usize::MAX, Ordering::SeqCst);
    until("a link after all", || {
        turn(&memif, &epoll).unwrap();
        slave.is_up()
    });
    until("the event", || seen.try_recv() == Ok(Event::Connected));
}
