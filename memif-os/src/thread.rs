//! Threads of a library, which leave the program's signals alone, and what every thread needs that touches shared memory.
//!
//! The kernel delivers a signal for the process to any thread that does not block it. A program expects its handlers to run
//! on its own threads, or blocks signals everywhere to take them with `signalfd`; so a library's threads block them all.
//! Those that tell a thread of its own fault must not be blocked: the kernel ends the process at once when they are,
//! whatever handler there is, and the one of [`guard`](crate::guard) could not do its work.
#![allow(unsafe_code)] // signal masks, and threads without the standard library's start

use std::io;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
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

/// Starts a thread as [`spawn`] does. The thread may borrow from its scope, and has the usual stack.
///
/// # Errors
/// Those of [`spawn`].
pub fn spawn_scoped<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    body: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    find_room(USUAL_STACK)?;
    let _before = Restored(change(libc::SIG_SETMASK, &all_but_faults())?);
    Builder::new().name(name.to_owned()).spawn_scoped(scope, body)
}

/// Starts a thread that nobody joins, and that may be started while memory runs out. A thread of [`spawn`] has a stack of its own
/// to handle signals on: the standard library ends the process if there is no memory for it, and [`spawn`] cannot keep other
/// threads from taking that memory. This thread has no such stack. A panic of `body` ends the thread and nothing else.
///
/// `stack` is its size in bytes.
///
/// # Errors
/// Those of [`spawn`].
pub fn spawn_detached(
    name: &'static str,
    stack: usize,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    find_room(stack)?;
    let _before = Restored(change(libc::SIG_SETMASK, &all_but_faults())?);
    let attributes = Attributes::detached(stack)?;
    let start = Box::into_raw(Box::new(Start { name, body: Box::new(body) }));
    let mut thread = MaybeUninit::uninit();
    // SAFETY: the attributes are initialised, and `begin` takes what `start` points to, which is its own from here on.
    match unsafe { libc::pthread_create(thread.as_mut_ptr(), &raw const attributes.0, begin, start.cast()) } {
        0 => Ok(()),
        error => {
            // SAFETY: no thread has begun, so it is still ours, as it came out of the box.
            drop(unsafe { Box::from_raw(start) });
            Err(io::Error::from_raw_os_error(error))
        }
    }
}

/// What a thread begins with.
struct Start {
    name: &'static str,
    body: Box<dyn FnOnce() + Send>,
}

extern "C" fn begin(start: *mut libc::c_void) -> *mut libc::c_void {
    // SAFETY: made from a box by `spawn_detached`, which gave it to this thread alone.
    let Start { name, body } = *unsafe { Box::from_raw(start.cast::<Start>()) };
    let mut bytes = [0; 16]; // what a name may have, with its end
    bytes.iter_mut().zip(name.bytes()).take(15).for_each(|(to, from)| *to = from);
    // SAFETY: a string that ends within the array.
    unsafe { libc::prctl(libc::PR_SET_NAME, bytes.as_ptr()) };
    // a panic has printed its message, and must not leave Rust
    let _ = catch_unwind(AssertUnwindSafe(body));
    ptr::null_mut()
}

/// How a thread is to be.
struct Attributes(libc::pthread_attr_t);

impl Attributes {
    fn detached(stack: usize) -> io::Result<Self> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: there is room for the attributes.
        check(unsafe { libc::pthread_attr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: initialised above.
        let mut attributes = Self(unsafe { attributes.assume_init() });
        // SAFETY: initialised, as above; both calls check their values.
        check(unsafe { libc::pthread_attr_setstacksize(&raw mut attributes.0, stack) })?;
        // SAFETY: as above.
        check(unsafe {
            libc::pthread_attr_setdetachstate(&raw mut attributes.0, libc::PTHREAD_CREATE_DETACHED)
        })?;
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised, and not used again.
        unsafe { libc::pthread_attr_destroy(&raw mut self.0) };
    }
}

/// The result of a function of pthreads.
fn check(error: libc::c_int) -> io::Result<()> {
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
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
    use std::sync::mpsc::channel;
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
    fn a_detached_thread_has_a_name_and_its_panic_ends_it_alone() {
        let before = blocked();
        let (tell, told) = channel();
        let name = || fs::read_to_string("/proc/thread-self/comm").unwrap();
        spawn_detached("a-name-of-more-than-15", 128 << 10, move || tell.send((blocked(), name())).unwrap())
            .unwrap();
        let (mask, name) = told.recv().unwrap();
        assert_eq!(name, "a-name-of-more-\n");
        assert_eq!(mask & bits(&FAULTS), 0);
        assert_ne!(mask & bits(&[libc::SIGTERM]), 0);
        assert_eq!(blocked(), before, "the maker's mask is as it was");
        let (tell, told) = channel::<()>();
        spawn_detached("panics", 128 << 10, move || {
            let _held = tell;
            panic!("on purpose");
        })
        .unwrap();
        assert!(told.recv().is_err(), "what it held is dropped");
        assert!(spawn_detached("too little", 1, || ()).is_err());
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
