//! Changes of the receive mode, while another thread sends.

use std::sync::Arc;

use loom::sync::Notify;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use memif_ring::burst::Tally;
use memif_ring::shm::wake_fence;

use super::{Direction, End, Inbox, M2s, RELEASE, S2m, explore, explore_three_stops};

/// Stands for an eventfd. Without a lock of loom's, for the same reason as [`Arc`].
struct Bell {
    rung: AtomicBool,
    changed: Notify,
}

impl Bell {
    fn ring(&self) {
        self.rung.swap(true, Ordering::AcqRel);
        self.changed.notify();
    }

    fn wait(&self) {
        while !self.rung.load(Ordering::Acquire) {
            self.changed.wait();
        }
    }

    fn drain(&self) {
        self.rung.swap(false, Ordering::AcqRel);
    }
}

/// How a receiver learns of packets while its mode changes.
#[derive(Clone, Copy)]
enum Waiting {
    /// Before each sleep it clears the mask and looks once more; afterwards it sets the mask as the mode says.
    Armed,
    /// A program's event loop: it looks when it was notified, and leaves the mask to the mode.
    EventLoop,
}

/// What a change of mode does once the flag is written.
#[derive(Clone, Copy)]
struct Switch {
    interrupts: bool,
    fence: bool,
    ring: bool,
}

const TO_POLLING: Switch = Switch { interrupts: false, fence: true, ring: true };
const TO_INTERRUPTS: Switch = Switch { interrupts: true, fence: true, ring: true };

struct ModeModel {
    ring: End,
    interrupts: AtomicBool,
    bell: Bell,
}

impl ModeModel {
    fn new(interrupts: bool) -> Arc<Self> {
        let ring = End::new(RELEASE);
        ring.mask_interrupts(!interrupts);
        let bell = Bell { rung: AtomicBool::new(false), changed: Notify::new() };
        Arc::new(Self { ring, interrupts: AtomicBool::new(interrupts), bell })
    }

    fn send<D: Direction>(&self, mut sender: D::Sender) {
        assert_eq!(D::send(&mut sender, &self.ring.0, &[b"only"], &mut Tally::default()), 1);
        wake_fence();
        if !self.ring.interrupts_masked() {
            self.bell.ring();
        }
    }

    fn switch(&self, to: Switch) {
        self.interrupts.store(to.interrupts, Ordering::Relaxed);
        self.ring.mask_interrupts(!to.interrupts);
        if to.fence {
            wake_fence();
        }
        if to.ring {
            self.bell.ring();
        }
    }

    fn wait_armed<D: Direction>(&self, receiver: &mut D::Receiver) {
        self.ring.mask_interrupts(false);
        wake_fence();
        if !D::is_ready(receiver) {
            self.bell.wait();
        }
        self.ring.mask_interrupts(!self.interrupts.load(Ordering::Relaxed));
        self.bell.drain();
    }
}

/// One thread sends a packet, another changes the receiver's mode, and the receiver must get the packet.
fn modes<D: Direction>(waiting: Waiting, to: Switch) {
    let model = ModeModel::new(!to.interrupts);
    let (sender, mut receiver) = D::ends(&model.ring);
    let sending = thread::spawn({
        let model = model.clone();
        move || model.send::<D>(sender)
    });
    let switching = thread::spawn({
        let model = model.clone();
        move || model.switch(to)
    });
    let (mut inbox, mut tally) = (Inbox::default(), Tally::default());
    while D::receive(&mut receiver, &model.ring.0, &mut inbox, &mut tally) == 0 {
        match waiting {
            Waiting::Armed => model.wait_armed::<D>(&mut receiver),
            Waiting::EventLoop => {
                model.bell.wait();
                model.bell.drain();
            }
        }
    }
    sending.join().unwrap();
    switching.join().unwrap();
    assert_eq!(inbox.0, [b"only".to_vec()]);
}

#[test]
fn a_mode_change_wakes_a_sleeping_receiver() {
    explore_three_stops("s2m sleep to polling", || modes::<S2m>(Waiting::Armed, TO_POLLING));
    explore_three_stops("m2s sleep to polling", || modes::<M2s>(Waiting::Armed, TO_POLLING));
    explore_three_stops("s2m sleep to interrupts", || modes::<S2m>(Waiting::Armed, TO_INTERRUPTS));
    explore_three_stops("m2s sleep to interrupts", || modes::<M2s>(Waiting::Armed, TO_INTERRUPTS));
}

#[test]
fn no_packet_is_missed_when_interrupts_are_enabled() {
    explore("s2m event loop", || modes::<S2m>(Waiting::EventLoop, TO_INTERRUPTS));
    explore("m2s event loop", || modes::<M2s>(Waiting::EventLoop, TO_INTERRUPTS));
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_mode_change_without_notification_is_detected() {
    loom::model(|| modes::<S2m>(Waiting::Armed, Switch { ring: false, ..TO_POLLING }));
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_mode_change_without_fence_is_detected() {
    loom::model(|| modes::<S2m>(Waiting::EventLoop, Switch { fence: false, ..TO_INTERRUPTS }));
}
