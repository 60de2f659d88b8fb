//! Threads of a library, which leave the program's signals alone, and what every thread needs that touches shared memory.
//!
//! The kernel delivers a signal for the process to any thread that does not block it. A program expects its handlers to run
//! on its own threads, or blocks signals everywhere to take them with `signalfd`; so a library's threads block them all.
//! Those that tell a thread of its own fault must not be blocked: the kernel ends the process at once when they are,
//! whatever handler there is, and the one of [`guard`](crate::guard) could not do its work.
#![allow(unsafe_code)] // signal masks

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::thread::{Builder, JoinHandle, Scope, ScopedJoinHandle};

use memmap2::MmapOptions;

/// Signals that a thread gets for what it does itself.
const FAULTS: [libc::c_int; 6] =
    [libc::SIGBUS, libc::SIGSEGV, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS];

/// Rust's usual stack.
const USUAL_STACK: usize = 2 << 20;
/// What a thread takes of memory beside its stack before it runs. Where it is missing, the standard library ends the process.
const START: usize = 4 << 20;

/// Starts a thread that takes none of the program's signals and can meet faults in guarded regions.
///
/// `stack` is its size in bytes, Rust's usual 2 MiB if `None`.
///
/// # Errors
/// The kernel's answer: `EAGAIN` for too many threads, `ENOMEM` for too little memory.
pub fn spawn<T: Send + 'static>(
    name: &str,
    stack: Option<usize>,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    find_room(stack.unwrap_or(USUAL_STACK))?;
    let mut builder = Builder::new().name(name.to_owned());
    if let Some(stack) = stack {
        builder = builder.stack_size(stack);
    }
    // a thread begins with its maker's mask, so that there is no moment at which it could take a signal
    let _before = Restored(change(libc::SIG_SETMASK, &all_but_faults())?);
    builder.spawn(body)
}

/// As [`spawn`], for a thread that borrows from its scope; with the usual stack.
///
/// # Errors
/// As [`spawn`].
pub fn spawn_scoped<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    body: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    find_room(USUAL_STACK)?;
    let _before = Restored(change(libc::SIG_SETMASK, &all_but_faults())?);
    Builder::new().name(name.to_owned()).spawn_scoped(scope, body)
}

/// Whether there is memory for a thread, at this moment.
fn find_room(stack: usize) -> io::Result<()> {
    MmapOptions::new().len(stack.saturating_add(START)).map_anon().map(drop)
}

/// Lets the calling thread meet faults in guarded regions: unblocks `SIGBUS` and the other signals that a thread gets for
/// what it does itself.
///
/// To be called once by each thread that receives or sends, in a program that blocks all signals, as those do that use
/// `signalfd`. Otherwise a peer that takes pages of a region away ends the process.
///
/// # Errors
/// The kernel's answer to `pthread_sigmask`; none is known.
pub fn unblock_faults() -> io::Result<()> {
    change(libc::SIG_UNBLOCK, &faults()).map(drop)
}

/// Sets the mask of the thread on drop.
struct Restored(libc::sigset_t);

impl Drop for Restored {
    fn drop(&mut self) {
        // it was the thread's mask before
        let _ = change(libc::SIG_SETMASK, &self.0);
    }
}

/// Changes the calling thread's mask and returns what it was.
fn change(how: libc::c_int, set: &libc::sigset_t) -> io::Result<libc::sigset_t> {
    let mut before = MaybeUninit::uninit();
    // SAFETY: `set` is a signal set that outlives the call, and there is room for one where the old one goes.
    match unsafe { libc::pthread_sigmask(how, ptr::from_ref(set), before.as_mut_ptr()) } {
        // SAFETY: the call succeeded, so it has written the old mask.
        0 => Ok(unsafe { before.assume_init() }),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

fn faults() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset makes a set of the local, which has room for one; the signals are valid ones.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in FAULTS {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}

fn all_but_faults() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigfillset makes a set of the local, which has room for one; the signals are valid ones.
    unsafe {
        libc::sigfillset(set.as_mut_ptr());
        for signal in FAULTS {
            libc::sigdelset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::thread;

    use super::*;

    /// The calling thread's blocked signals, the lowest bit for signal 1.
    fn blocked() -> u64 {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
        u64::from_str_radix(mask.trim(), 16).unwrap()
    }

    fn bits(signals: &[libc::c_int]) -> u64 {
        signals.iter().map(|signal| 1 << (signal - 1)).sum()
    }

    #[test]
    fn a_library_thread_blocks_all_but_its_own_faults() {
        let before = blocked();
        let (mask, name) =
            spawn("a-name", Some(128 << 10), || (blocked(), thread::current().name().map(str::to_owned)))
                .unwrap()
                .join()
                .unwrap();
        assert_eq!(name.as_deref(), Some("a-name"));
        assert_eq!(mask & bits(&FAULTS), 0);
        let programs =
            [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGCHLD, libc::SIGUSR1, libc::SIGALRM];
        assert_eq!(mask & bits(&programs), bits(&programs));
        assert_eq!(blocked(), before, "the maker's mask is as it was");
        let mut borrowed = 0;
        thread::scope(|scope| spawn_scoped(scope, "scoped", || borrowed = blocked()).map(drop)).unwrap();
        assert_eq!(borrowed, mask);
        assert_eq!(blocked(), before, "the maker's mask is as it was");
    }

    #[test]
    fn a_thread_that_blocks_everything_can_unblock_its_faults() {
        thread::spawn(|| {
            let mut all = all_but_faults();
            // SAFETY: a valid set.
            unsafe { libc::sigfillset(&raw mut all) };
            change(libc::SIG_SETMASK, &all).unwrap();
            assert_eq!(blocked() & bits(&FAULTS), bits(&FAULTS));
            unblock_faults().unwrap();
            assert_eq!(blocked() & bits(&FAULTS), 0);
            assert_ne!(blocked() & bits(&[libc::SIGTERM]), 0);
            // and its own threads are no worse for it
            let mask = spawn("inner", None, blocked).unwrap().join().unwrap();
            assert_eq!(mask & bits(&FAULTS), 0);
        })
        .join()
        .unwrap();
    }
}
