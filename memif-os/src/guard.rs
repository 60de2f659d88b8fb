//! Surviving a peer that takes memory away under us.
//!
//! A page of a shared file can vanish: the file is cut short where no seal forbids it, or a hole is punched into one on
//! huge pages when none are left to fill it again. The next access is SIGBUS, and by default the end of the process. So a
//! handler stands in for such pages: where the fault lies in a guarded region it puts a private page of zeros in place,
//! marks the region as damaged and rings an alarm; the access goes on and finds zeros. Faults elsewhere go to whoever
//! handled SIGBUS before.
//!
//! The handler is installed once, with the first guard, and stays. A program that installs its own afterwards should pass
//! on what it does not know, as this one does.
#![allow(unsafe_code)] // a signal handler and the mapping it makes

use std::ffi::{c_int, c_void};
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::event::EventFd;

/// Most regions that can be guarded at once.
pub const MAX_GUARDS: usize = 8192;

/// No region.
const FREE: usize = 0;
/// A region that is being written down; no address has this value.
const TAKEN: usize = 1;

/// Why a region cannot be guarded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// All places are taken.
    #[error("more than {MAX_GUARDS} shared regions at once: use fewer interfaces in one process")]
    TooMany,
    /// The kernel refuses the handler.
    #[error("cannot handle SIGBUS: {0}")]
    Handler(io::Error),
}

/// One guarded region, as the handler reads it: without a lock, from any thread.
struct Entry {
    /// First address, [`FREE`] or [`TAKEN`]. Stored last, with Release, and loaded first, with Acquire.
    start: AtomicUsize,
    len: AtomicUsize,
    page_size: AtomicUsize,
    alarm: AtomicI32,
    damaged: AtomicBool,
}

static ENTRIES: [Entry; MAX_GUARDS] = [const {
    Entry {
        start: AtomicUsize::new(FREE),
        len: AtomicUsize::new(0),
        page_size: AtomicUsize::new(0),
        alarm: AtomicI32::new(-1),
        damaged: AtomicBool::new(false),
    }
}; MAX_GUARDS];

/// Who handled SIGBUS before us.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// Guards one mapping for as long as it lives. Owned by the region, and dropped before it is unmapped.
#[derive(Debug)]
pub(crate) struct Guard {
    index: usize,
    /// Keeps the descriptor open that the handler writes to.
    _alarm: Arc<EventFd>,
}

impl Guard {
    /// Guards `len` bytes, whole pages of `page_size`, from `start`; `alarm` is rung when one is lost.
    pub(crate) fn new(
        start: NonNull<u8>,
        len: usize,
        page_size: usize,
        alarm: Arc<EventFd>,
    ) -> Result<Self, GuardError> {
        install()?;
        // Acquire: what the last holder's handler wrote is over
        let take = |entry: &Entry| {
            entry.start.compare_exchange(FREE, TAKEN, Ordering::Acquire, Ordering::Relaxed).is_ok()
        };
        let index = ENTRIES.iter().position(take).ok_or(GuardError::TooMany)?;
        let entry = &ENTRIES[index];
        entry.len.store(len, Ordering::Relaxed);
        entry.page_size.store(page_size, Ordering::Relaxed);
        entry.alarm.store(alarm.as_fd().as_raw_fd(), Ordering::Relaxed);
        entry.damaged.store(false, Ordering::Relaxed);
        // Release: pairs with the Acquire in `find`
        entry.start.store(start.addr().get(), Ordering::Release);
        Ok(Self { index, _alarm: alarm })
    }

    /// Whether a page was lost.
    pub(crate) fn is_damaged(&self) -> bool {
        ENTRIES[self.index].damaged.load(Ordering::Acquire)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Release: pairs with the Acquire of the next holder. Nobody faults here any more: whoever could holds the region.
        ENTRIES[self.index].start.store(FREE, Ordering::Release);
    }
}

/// Installs the handler, once.
fn install() -> Result<(), GuardError> {
    static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();
    let install = || {
        // SAFETY: an all-zero sigaction is a valid one: the default action, no flags, an empty mask.
        let (mut action, mut previous): (libc::sigaction, libc::sigaction) = unsafe { mem::zeroed() };
        action.sa_sigaction = on_sigbus as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: a null new action only asks for the present one, which `previous` has room for.
        unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut previous) };
        // known to the handler before it can run
        let _ = PREVIOUS.set(previous);
        // SAFETY: the handler has the signature that SA_SIGINFO asks for and does only what is safe in a handler.
        match unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error().raw_os_error().unwrap_or(0)),
        }
    };
    INSTALLED.get_or_init(install).map_err(|errno| GuardError::Handler(io::Error::from_raw_os_error(errno)))
}

/// The region that an address lies in.
fn find(address: usize) -> Option<(&'static Entry, usize)> {
    ENTRIES.iter().find_map(|entry| {
        // Acquire: pairs with the Release in `Guard::new`
        let start = entry.start.load(Ordering::Acquire);
        let offset = address.checked_sub(start)?;
        (start > TAKEN && offset < entry.len.load(Ordering::Relaxed)).then_some((entry, start))
    })
}

extern "C" fn on_sigbus(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo; si_addr is set for a fault, which the code tells.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr().addr()) };
    if code == libc::BUS_ADRERR
        && find(address).is_some_and(|(entry, start)| replace_page(entry, start, address))
    {
        return;
    }
    pass_on(signal, info, context);
}

/// Puts a page of zeros where one was lost. False when the kernel gives none.
fn replace_page(entry: &Entry, start: usize, address: usize) -> bool {
    // SAFETY: errno is this thread's own; restored below, as the interrupted code may be about to read it.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let before = unsafe { *errno };
    let page_size = entry.page_size.load(Ordering::Relaxed);
    let page = start + (address - start) / page_size * page_size;
    // SAFETY: the page lies in a guarded mapping, which its owner keeps for as long as somebody can fault in it. What is
    // replaced is a page that has no memory behind it, so nothing is lost; all access is by raw pointers.
    let mapped = unsafe {
        libc::mmap(
            ptr::with_exposed_provenance_mut(page),
            page_size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
            -1,
            0,
        )
    };
    let replaced = mapped != libc::MAP_FAILED;
    // one ring is enough
    if replaced && !entry.damaged.swap(true, Ordering::Release) {
        let one: u64 = 1;
        // SAFETY: writes eight bytes of a local to a descriptor that the guard keeps open; our own eventfd does not
        // block. That it may be full is fine: it is rung then.
        unsafe { libc::write(entry.alarm.load(Ordering::Relaxed), (&raw const one).cast(), 8) };
    }
    // SAFETY: as above.
    unsafe { *errno = before };
    replaced
}

/// Not ours: does what would have happened without us.
fn pass_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let previous = PREVIOUS.get();
    let handler = previous.map_or(libc::SIG_DFL, |previous| previous.sa_sigaction);
    if handler == libc::SIG_DFL || handler == libc::SIG_IGN {
        // SAFETY: restores the default action; the faulting instruction runs again and ends the process.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        return;
    }
    let with_info = previous.is_some_and(|previous| previous.sa_flags & libc::SA_SIGINFO != 0);
    if with_info {
        // SAFETY: the previous owner registered it with SA_SIGINFO, so it has this signature.
        let handler = unsafe {
            mem::transmute::<usize, extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void)>(handler)
        };
        handler(signal, info, context);
    } else {
        // SAFETY: the previous owner registered it without SA_SIGINFO, so it has this signature.
        let handler = unsafe { mem::transmute::<usize, extern "C" fn(c_int)>(handler) };
        handler(signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::huge_pages::HugePages;
    use crate::region_file::{PeerRegion, RegionFile, SealState, ShrinkSeal};
    use std::fs::File;
    use std::os::fd::OwnedFd;

    /// A file on tmpfs, which has no seals: what a hostile peer would send.
    fn shrinkable(len: u64) -> File {
        let file = tempfile::tempfile_in("/dev/shm").unwrap();
        file.set_len(len).unwrap();
        file
    }

    fn touch(region: &PeerRegion, at: usize) -> u8 {
        assert!(at < region.len());
        // SAFETY: within the mapping, by raw pointers only.
        unsafe {
            let byte = region.as_ptr().add(at);
            byte.write_volatile(7);
            byte.read_volatile()
        }
    }

    #[test]
    fn a_file_cut_short_costs_the_region_and_not_the_process() {
        let file = shrinkable(1 << 20);
        let fd = OwnedFd::from(file.try_clone().unwrap());
        let mut region = PeerRegion::map(fd, 1 << 20, ShrinkSeal::Prefer).unwrap();
        assert!(matches!(region.shrink_seal(), SealState::Missing { .. }));
        let alarm = Arc::new(EventFd::new().unwrap());
        region.guard(Arc::clone(&alarm)).unwrap();
        touch(&region, 12345);
        assert!(!region.is_damaged());

        file.set_len(4096).unwrap();
        assert_eq!(touch(&region, 100), 7, "what is left is still shared");
        assert!(!region.is_damaged());
        for at in [4096, 5000, (1 << 20) - 1] {
            assert_eq!(touch(&region, at), 7);
        }
        assert!(region.is_damaged());
        assert_eq!(alarm.drain().unwrap(), Some(1), "rung once");
    }

    #[test]
    fn guards_come_and_go_and_are_told_apart() {
        let alarm = Arc::new(EventFd::new().unwrap());
        for _ in 0..3 {
            let (lost, kept) = (shrinkable(8192), shrinkable(8192));
            let map = |file: &File| {
                let fd = OwnedFd::from(file.try_clone().unwrap());
                let mut region = PeerRegion::map(fd, 8192, ShrinkSeal::Prefer).unwrap();
                region.guard(Arc::clone(&alarm)).unwrap();
                region
            };
            let (lost_region, kept_region) = (map(&lost), map(&kept));
            lost.set_len(0).unwrap();
            touch(&lost_region, 0);
            touch(&kept_region, 0);
            assert!(lost_region.is_damaged());
            assert!(!kept_region.is_damaged());
        }
    }

    #[test]
    fn our_own_regions_can_be_guarded_too() {
        let mut region = RegionFile::create("guarded", 4096, HugePages::Off).unwrap();
        region.guard(Arc::new(EventFd::new().unwrap())).unwrap();
        assert!(!region.is_damaged());
    }
}
