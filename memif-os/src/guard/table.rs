//! Where the guarded regions are written down: read by the signal handler, from any thread, without a lock.
//!
//! The table grows and never shrinks, so one peer's regions do not keep another's from being guarded, and an entry stays
//! where it is for as long as the process lives.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering, fence};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Entries that are added at once.
const CHUNK: usize = 256;

/// A region's bytes are those of its file, as far as is known.
pub(super) const WHOLE: usize = 0;
/// A thread is about to replace the region.
pub(super) const BEING_REPLACED: usize = 1;
/// The region is private memory of zeros.
pub(super) const REPLACED: usize = 2;
/// The region could not be replaced.
pub(super) const LOST: usize = 3;

/// One guarded region, or room for one.
pub(super) struct Entry {
    /// Even while the entry is still; each change takes it two further. Lets readers notice that they read what belongs to
    /// two regions.
    version: AtomicUsize,
    /// First address; 0 for an entry that is free.
    start: AtomicUsize,
    len: AtomicUsize,
    pub(super) alarm: AtomicI32,
    pub(super) state: AtomicUsize,
}

struct Chunk {
    entries: [Entry; CHUNK],
    next: OnceLock<Box<Chunk>>,
}

static TABLE: Chunk = Chunk::new();
/// Held by whoever takes or returns an entry. The handler takes no lock.
static CHANGES: Mutex<()> = Mutex::new(());

impl Chunk {
    const fn new() -> Self {
        Self { entries: [const { Entry::new() }; CHUNK], next: OnceLock::new() }
    }
}

impl Entry {
    const fn new() -> Self {
        Self {
            version: AtomicUsize::new(0),
            start: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            alarm: AtomicI32::new(-1),
            state: AtomicUsize::new(WHOLE),
        }
    }

    /// Its region; `None` when there is none, or when it is being changed.
    fn region(&self) -> Option<(usize, usize)> {
        // Acquire: pairs with the last Release of `write`
        let version = self.version.load(Ordering::Acquire);
        let region = (self.start.load(Ordering::Relaxed), self.len.load(Ordering::Relaxed));
        // pairs with the Release fence in `write`: whoever sees one of its stores sees the version of before them
        fence(Ordering::Acquire);
        let still = version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version;
        (still && region.0 != 0).then_some(region)
    }

    /// Replaces its content, under the lock.
    fn write(&self, start: usize, len: usize, alarm: RawFd) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.start.store(start, Ordering::Relaxed);
        self.len.store(len, Ordering::Relaxed);
        self.alarm.store(alarm, Ordering::Relaxed);
        self.state.store(WHOLE, Ordering::Relaxed);
        // Release: pairs with the Acquire in `region`
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }
}

/// Writes a region down.
pub(super) fn enter(start: usize, len: usize, alarm: RawFd) -> &'static Entry {
    let _lock = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
    let mut chunk = &TABLE;
    loop {
        if let Some(free) = chunk.entries.iter().find(|entry| entry.start.load(Ordering::Relaxed) == 0) {
            free.write(start, len, alarm);
            return free;
        }
        chunk = chunk.next.get_or_init(|| Box::new(Chunk::new()));
    }
}

/// Strikes a region out. Nobody accesses it any more.
pub(super) fn leave(entry: &Entry) {
    let _lock = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
    entry.write(0, 0, -1);
}

fn entries() -> impl Iterator<Item = &'static Entry> {
    std::iter::successors(Some(&TABLE), |chunk| chunk.next.get().map(Box::as_ref))
        .flat_map(|chunk| &chunk.entries)
}

/// The region that an address lies in, with its start and its length.
///
/// An entry that is being changed is passed over: that of a region in which somebody has just faulted is still.
pub(super) fn find(address: usize) -> Option<(&'static Entry, usize, usize)> {
    entries().find_map(|entry| {
        let (start, len) = entry.region()?;
        (address.checked_sub(start)? < len).then_some((entry, start, len))
    })
}

/// Regions that are guarded.
pub(super) fn count() -> usize {
    entries().filter(|entry| entry.start.load(Ordering::Relaxed) != 0).count()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    /// Addresses that are none.
    const NOWHERE: usize = usize::MAX / 2;

    #[test]
    fn the_table_has_room_for_more_than_the_regions_of_many_peers() {
        let entries: Vec<_> = (0..3000).map(|i| enter(NOWHERE + i * 8192, 8192, -1)).collect();
        for (i, entry) in entries.iter().enumerate() {
            let (found, start, len) = find(NOWHERE + i * 8192 + 5000).unwrap();
            assert!(std::ptr::eq(found, *entry));
            assert_eq!((start, len), (NOWHERE + i * 8192, 8192));
        }
        assert!(count() >= 3000);
        entries.iter().for_each(|entry| leave(entry));
        assert!(find(NOWHERE + 5000).is_none());
    }

    #[test]
    fn an_entry_that_changes_hands_is_never_read_half() {
        const FAR: usize = NOWHERE + (1 << 60);
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let changer = scope.spawn(|| {
                for i in 0..20_000 {
                    // a short one, and a long one that begins lower: a mix would contain the address in question
                    let (start, len) = if i % 2 == 0 { (FAR + 4096, 16) } else { (FAR - (1 << 20), 1 << 20) };
                    leave(enter(start, len, -1));
                }
                over.store(true, Ordering::Relaxed);
            });
            while !over.load(Ordering::Relaxed) {
                assert!(find(FAR + 4096 + 100).is_none());
            }
            changer.join().unwrap();
        });
    }
}
