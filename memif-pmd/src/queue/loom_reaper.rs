//! Every order in which a link's memory can get from its last user to the reaper.
//!
//! Mailbox and handle are the real ones. The reaper's queue is a stand-in of the same form: what owns a mapping hands it
//! over when it is dropped, and another thread unmaps it. Loom reports a use of the mapping that is not ordered before the
//! unmapping. The model with `should_panic` unmaps when the link is cleared, and shows that the other one could fail.
#![allow(clippy::unwrap_used)] // tests

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed as Count};

use loom::cell::UnsafeCell;
use loom::thread;

use super::mailbox::{Handle, Mailbox};
use super::report::Reports;
use crate::config::RxMode;

/// Mapped memory: used by whoever has the link, unmapped by the reaper.
struct Mapping {
    bytes: UnsafeCell<()>,
    unmapped: Arc<AtomicUsize>,
}

impl Mapping {
    fn unmap(&self) {
        self.bytes.with_mut(|_| ());
        self.unmapped.fetch_add(1, Count);
    }
}

/// What waits for the reaper.
type Queue = loom::sync::Arc<loom::sync::Mutex<Vec<loom::sync::Arc<Mapping>>>>;

/// A link, whose drop hands its mapping over.
struct Link {
    mapping: loom::sync::Arc<Mapping>,
    queue: Queue,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.queue.lock().unwrap().push(self.mapping.clone());
    }
}

/// One end of the link's ring.
struct End(loom::sync::Arc<Link>);

impl End {
    fn carry(&self) {
        self.0.mapping.bytes.with(|_| ());
    }
}

/// A link that comes and goes under a data thread, while the reaper looks for work.
/// `times`: how often its mapping is unmapped by then.
fn link_comes_and_goes(times: usize, end_link: impl Fn(&Mailbox<End>, loom::sync::Arc<Link>)) {
    let reports = Arc::new(Reports::new().unwrap());
    let mailbox = Mailbox::<End>::new(0, RxMode::Polling, &reports, 7);
    let (queue, unmapped) = (Queue::default(), Arc::new(AtomicUsize::new(0)));
    let mapping = Mapping { bytes: UnsafeCell::new(()), unmapped: Arc::clone(&unmapped) };
    let link = Link { mapping: loom::sync::Arc::new(mapping), queue: queue.clone() };
    let held = loom::sync::Arc::new(link);
    assert!(mailbox.take());
    let mut handle = Handle::new(Arc::clone(&mailbox));
    let data = thread::spawn(move || {
        for _ in 0..2 {
            if let Some(end) = handle.link() {
                end.carry();
            }
        }
    });
    let reaper = {
        let queue = queue.clone();
        thread::spawn(move || reap(&queue))
    };
    mailbox.install(End(held.clone()));
    end_link(&mailbox, held);
    data.join().unwrap();
    reaper.join().unwrap();
    drop(mailbox);
    reap(&queue);
    assert_eq!(unmapped.load(Count), times);
}

fn reap(queue: &Queue) {
    let waiting = std::mem::take(&mut *queue.lock().unwrap());
    waiting.iter().for_each(|mapping| mapping.unmap());
}

#[test]
fn a_mapping_is_unmapped_once_after_its_last_use() {
    loom::model(|| {
        link_comes_and_goes(1, |mailbox, held| {
            mailbox.clear();
            drop(held);
        });
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn unmapping_at_the_end_of_the_link_would_race_with_a_data_thread() {
    loom::model(|| {
        link_comes_and_goes(2, |mailbox, held| {
            mailbox.clear();
            held.mapping.unmap();
        });
    });
}
