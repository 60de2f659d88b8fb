//! Every order in which the control plane and data threads can meet at a mailbox, as far as the memory model allows.
//!
//! Mailboxes and handles are the real ones. The end of a link is a stand-in: it knows whether it and the memory under it
//! still exist, and tells loom of each use. Loom reports a use that is not ordered with another thread's, and in the end
//! whatever was not dropped.
//!
//! The models with `should_panic` contain one mistake, and show that the others could fail.
#![allow(clippy::unwrap_used)] // tests

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed as Count};

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use loom::thread;
use memif_os::event::EventFd;
use memif_ring::fault::PeerFault;

use super::mailbox::{Handle, Mailbox};
use super::mode::Interrupts;
use super::report::{Report, Reports};
use crate::config::RxMode;

const OWNER: u64 = 7;
const FAULT: PeerFault = PeerFault::RegionLost { region: 0 };
const A: usize = 0;
const B: usize = 1;

/// What has been dropped, by link: not known to loom, so that reading it orders nothing.
#[derive(Default)]
struct Fates {
    ends: [AtomicUsize; 2],
    memory: [AtomicUsize; 2],
}

/// What a link's mapped memory is: shared with the control plane.
struct Memory {
    link: usize,
    /// The ring's flag.
    masked: AtomicBool,
    index: AtomicU64,
    fates: Arc<Fates>,
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.fates.memory[self.link].fetch_add(1, Count);
    }
}

/// One end of a link's ring.
struct End {
    memory: loom::sync::Arc<Memory>,
    /// Touched by whoever uses or drops the end.
    side: UnsafeCell<()>,
    bursts: u32,
}

impl End {
    fn check(&self) {
        let Memory { link, fates, .. } = &*self.memory;
        assert_eq!(fates.ends[*link].load(Count), 0, "an end was used after its drop");
        assert_eq!(fates.memory[*link].load(Count), 0, "memory was used after it went");
    }

    /// A burst: threads may switch in the middle of it.
    fn carry(&mut self) {
        self.check();
        self.side.with_mut(|_| ());
        self.memory.index.fetch_add(1, Ordering::Relaxed);
        self.bursts += 1;
        self.check();
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.side.with_mut(|_| ());
        self.memory.fates.ends[self.memory.link].fetch_add(1, Count);
    }
}

/// The control plane's view of one queue.
#[derive(Clone)]
struct Control {
    mailbox: Arc<Mailbox<End>>,
    reports: Arc<Reports>,
    fates: Arc<Fates>,
}

/// What the control plane keeps of a link that is up.
type Held = loom::sync::Arc<Memory>;

impl Control {
    fn new() -> Self {
        let reports = Arc::new(Reports::new().unwrap());
        let mailbox = Mailbox::new(0, RxMode::Polling, &reports, OWNER);
        Self { mailbox, reports, fates: Arc::default() }
    }

    fn end(&self, link: usize) -> End {
        let (masked, index) = (AtomicBool::new(true), AtomicU64::new(0));
        let memory = Memory { link, masked, index, fates: Arc::clone(&self.fates) };
        End { memory: loom::sync::Arc::new(memory), side: UnsafeCell::new(()), bursts: 0 }
    }

    fn install(&self, link: usize) -> Held {
        let end = self.end(link);
        let held = end.memory.clone();
        self.mailbox.install(end);
        held
    }

    fn clear(&self, held: Held) {
        self.mailbox.clear();
        drop(held);
    }

    /// Like [`crate::Interface::rx`]: one handle at a time.
    fn handle(&self) -> Option<Handle<End>> {
        self.mailbox.take().then(|| Handle::new(Arc::clone(&self.mailbox)))
    }

    /// Whether any of the faults that came in belongs to the present link, as the control plane finds that out.
    fn ends_link(&self) -> bool {
        let reports = self.reports.take();
        let present = self.mailbox.epoch();
        reports
            .iter()
            .any(|report| matches!(*report, Report::Fault { owner: OWNER, epoch, .. } if epoch == present))
    }

    /// Drops the mailbox with whatever is in it. Everything of links A and `last` is gone then, once each.
    fn finish(self, last: usize) {
        let Self { mailbox, fates, .. } = self;
        assert!(Arc::into_inner(mailbox).is_some(), "somebody still has the mailbox");
        for link in A..=last {
            let count = (fates.ends[link].load(Count), fates.memory[link].load(Count));
            assert_eq!(count, (1, 1), "ends and memory dropped of link {link}");
        }
    }
}

/// What a burst saw of its link, if there was one: the link, and the number of the burst on it.
type Seen = Option<(usize, u32)>;

/// One burst.
fn burst(handle: &mut Handle<End>) -> Seen {
    let end = handle.link()?;
    end.carry();
    Some((end.memory.link, end.bursts))
}

/// Runs a model to the end, and prints the number of executions.
fn explore(name: &'static str, model: impl Fn() + Send + Sync + 'static) {
    let executions = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&executions);
    loom::model(move || {
        counted.fetch_add(1, Count);
        model();
    });
    let executions = executions.load(Count);
    println!("{name}: {executions} executions");
    assert!(executions > 1, "{name}: nothing was explored");
}

/// The link comes, goes and comes again while bursts run.
fn reconnect() {
    let control = Control::new();
    let mut handle = control.handle().unwrap();
    let connecting = thread::spawn({
        let control = control.clone();
        move || {
            let held = control.install(A);
            control.clear(held);
            control.install(B)
        }
    });
    let mut last = None;
    for _ in 0..3 {
        let seen = burst(&mut handle);
        match (last, seen) {
            // on with the same link, or with the first
            (Some((before, count)), Some((now, next))) if before == now => assert_eq!(next, count + 1),
            (None, None | Some((_, 1))) => {}
            (Some((A, _)), None | Some((B, 1))) => {
                assert_eq!(control.fates.ends[A].load(Count), 1, "a link that is gone was kept");
            }
            other => panic!("from one link to another: {other:?}"),
        }
        last = seen.or(last);
    }
    let held = connecting.join().unwrap();
    assert!(matches!(burst(&mut handle), Some((B, _))), "the last link never came");
    drop(handle);
    drop(held);
    control.finish(B);
}

#[test]
fn a_handle_goes_from_link_to_link() {
    explore("queue reconnect", reconnect);
}

/// The epoch moves before the link is there, as it would without the mailbox's lock.
#[test]
#[should_panic(expected = "the last link never came")]
fn an_epoch_that_moves_too_early_loses_the_link() {
    loom::model(|| {
        let control = Control::new();
        let mut handle = control.handle().unwrap();
        let connecting = thread::spawn({
            let control = control.clone();
            move || control.mailbox.install_epoch_first(|| control.end(A))
        });
        burst(&mut handle);
        connecting.join().unwrap();
        assert!(burst(&mut handle).is_some(), "the last link never came");
    });
}

#[test]
fn a_link_lost_during_a_burst_lives_to_its_end() {
    explore("queue link loss", || {
        let control = Control::new();
        let mut handle = control.handle().unwrap();
        let held = control.install(A);
        let down = loom::sync::Arc::new(AtomicBool::new(false));
        assert_eq!(burst(&mut handle), Some((A, 1)));
        let losing = thread::spawn({
            let (control, down) = (control.clone(), down.clone());
            move || {
                control.clear(held);
                down.store(true, Ordering::Release);
            }
        });
        for _ in 0..3 {
            let gone = down.load(Ordering::Acquire);
            // the stand-in checks that its memory is there, before and after the switch in its middle
            let seen = burst(&mut handle);
            assert!(!(gone && seen.is_some()), "a burst on a link that is gone");
        }
        losing.join().unwrap();
        assert_eq!(burst(&mut handle), None);
        drop(handle);
        control.finish(A);
    });
}

/// One thread drops the handle that it had, another tries to take the next, and `change` happens to the link. Returns
/// what the second saw, if it got the handle, and what a third handle sees after all that.
fn hand_over<T>(control: &Control, change: impl FnOnce() -> T) -> (Option<Seen>, Seen) {
    let mut first = control.handle().unwrap();
    assert_eq!(burst(&mut first), Some((A, 1)));
    let dropping = thread::spawn(move || drop(first));
    let taking = thread::spawn({
        let control = control.clone();
        move || control.handle().map(|mut second| burst(&mut second))
    });
    let held = change();
    dropping.join().unwrap();
    let second = taking.join().unwrap();
    let third = burst(&mut control.handle().unwrap());
    drop(held);
    (second, third)
}

#[test]
fn the_next_handle_goes_on_with_the_link() {
    explore("queue handles", || {
        let control = Control::new();
        let held = control.install(A);
        match hand_over(&control, || held) {
            (None, third) => assert_eq!(third, Some((A, 2))),
            (second, third) => assert_eq!((second, third), (Some(Some((A, 2))), Some((A, 3)))),
        }
        control.finish(A);
    });
}

#[test]
fn the_next_handle_gets_the_next_link() {
    explore("queue handles and links", || {
        let control = Control::new();
        let held = control.install(A);
        let reconnect = || {
            control.clear(held);
            control.install(B)
        };
        match hand_over(&control, reconnect) {
            (Some(Some((B, 1))), third) => assert_eq!(third, Some((B, 2))),
            (None | Some(None | Some((A, 2))), third) => assert_eq!(third, Some((B, 1))),
            other => panic!("{other:?}"),
        }
        control.finish(B);
    });
}

#[test]
fn a_dropped_handle_brings_no_link_back() {
    explore("queue handles and link loss", || {
        let control = Control::new();
        let held = control.install(A);
        let (second, third) = hand_over(&control, || control.clear(held));
        assert!(matches!(second, None | Some(None | Some((A, 2)))), "{second:?}");
        assert_eq!(third, None, "a link that is gone came back");
        control.finish(A);
    });
}

/// Link A is broken. Its fault, reported by `report`, may end it, but not the link that comes next.
fn fault(report: fn(&mut Handle<End>)) {
    let control = Control::new();
    let mut handle = control.handle().unwrap();
    let held = control.install(A);
    let receiving = thread::spawn(move || {
        for _ in 0..2 {
            if let Some((A, _)) = burst(&mut handle) {
                report(&mut handle);
                assert_ne!(burst(&mut handle).map(|(link, _)| link), Some(A), "a broken link was used again");
            }
        }
        handle
    });
    // A itself may be ended by it
    control.ends_link();
    control.clear(held);
    assert!(!control.ends_link(), "a fault ended no link");
    let held = control.install(B);
    assert!(!control.ends_link(), "an old fault ended the next link");
    let mut handle = receiving.join().unwrap();
    assert!(!control.ends_link(), "an old fault ended the next link");
    assert!(matches!(burst(&mut handle), Some((B, _))));
    drop(handle);
    drop(held);
    control.finish(B);
}

#[test]
fn an_old_fault_does_not_end_the_next_link() {
    explore("queue faults", || fault(|handle| handle.fail(FAULT)));
}

#[test]
#[should_panic(expected = "an old fault ended the next link")]
fn a_fault_with_the_mailboxs_epoch_ends_the_next_link() {
    loom::model(|| {
        fault(|handle| {
            handle.epoch = handle.mailbox.epoch();
            handle.fail(FAULT);
        });
    });
}

/// A thread that finds no link and goes to sleep is woken when one comes.
fn doorbell(looked_before: bool) {
    let control = Control::new();
    let mut handle = control.handle().unwrap();
    let bell = Arc::new(EventFd::new().unwrap());
    let connecting = thread::spawn({
        let control = control.clone();
        move || control.install(A)
    });
    let before = looked_before.then(|| burst(&mut handle));
    handle.ring_on_change(&bell);
    // with an earlier look, the caller sleeps on what it saw then
    let seen = before.unwrap_or_else(|| burst(&mut handle));
    let held = connecting.join().unwrap();
    assert!(seen.is_some() || bell.drain().unwrap().is_some(), "a sleeper missed the link");
    assert!(burst(&mut handle).is_some());
    drop(handle);
    drop(held);
    control.finish(A);
}

#[test]
fn a_sleeper_is_woken_by_a_new_link() {
    explore("queue doorbell", || doorbell(false));
    explore("queue late doorbell", || doorbell(true));
}

impl Interrupts for Memory {
    fn mask(&self, masked: bool) {
        self.masked.store(masked, Ordering::Relaxed);
    }

    // the ring's own model shows who is woken
    fn wake(&self) -> bool {
        true
    }
}

/// What a queue with a new mode must never be left with.
fn not_masked(memory: &Memory) {
    assert!(!memory.masked.load(Ordering::Relaxed), "in interrupt mode, and masked");
}

/// A data thread asks for interrupts while the link comes; `notice` is the control plane's last step.
fn mode_and_link(notice: fn(&Mailbox<End>, &Memory)) {
    let control = Control::new();
    let mut handle = control.handle().unwrap();
    let changing = thread::spawn({
        let mailbox = Arc::clone(&control.mailbox);
        move || mailbox.change_mode(RxMode::Interrupt, || handle.link().map(|end| &*end.memory))
    });
    let end = control.end(A);
    let held = end.memory.clone();
    control.mailbox.apply_mode(&*held);
    control.mailbox.install(end);
    notice(&control.mailbox, &held);
    changing.join().unwrap();
    not_masked(&held);
    drop(held);
    control.finish(A);
}

/// The control plane asks for interrupts while a receiver wakes up; `notice` is the receiver's last step.
fn mode_and_sleeper(notice: fn(&Mailbox<End>, &Memory)) {
    let control = Control::new();
    let held = control.install(A);
    let waking = thread::spawn({
        let (mailbox, held) = (Arc::clone(&control.mailbox), held.clone());
        move || {
            mailbox.apply_mode(&*held);
            notice(&mailbox, &held);
        }
    });
    control.mailbox.change_mode(RxMode::Interrupt, || Some(&*held));
    waking.join().unwrap();
    not_masked(&held);
    drop(held);
    control.finish(A);
}

#[test]
fn a_change_of_mode_is_never_lost() {
    explore("queue mode and link", || mode_and_link(|mailbox, ring| mailbox.notice_mode(ring)));
    explore("queue mode and sleeper", || mode_and_sleeper(|mailbox, ring| mailbox.notice_mode(ring)));
}

#[test]
#[should_panic(expected = "in interrupt mode, and masked")]
fn a_link_that_does_not_look_again_loses_a_change_of_mode() {
    loom::model(|| mode_and_link(|_, _| ()));
}

#[test]
#[should_panic(expected = "in interrupt mode, and masked")]
fn a_sleeper_that_does_not_look_again_loses_a_change_of_mode() {
    loom::model(|| mode_and_sleeper(|_, _| ()));
}
