//! The signal handler: what stands in for a region whose pages a peer took away.
#![allow(unsafe_code)] // a signal handler and the mapping it makes

use std::ffi::{c_int, c_void};
use std::io;
use std::mem;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use rustix::mm::munlock;

use super::table::{self, BEING_REPLACED, Entry, LOST, REPLACED, WHOLE};

/// Who handled SIGBUS before us.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// Installs the handler, once. The error is the kernel's.
pub(super) fn install() -> io::Result<()> {
    static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();
    let install = || {
        let mut previous = default_action();
        // SAFETY: a null new action only asks for the present one, which `previous` has room for.
        unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut previous) };
        // known to the handler before it can run
        let _ = PREVIOUS.set(previous);
        match arm() {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error().raw_os_error().unwrap_or(0)),
        }
    };
    INSTALLED.get_or_init(install).map_err(io::Error::from_raw_os_error)
}

/// Makes ours the handler; 0 when it is.
fn arm() -> c_int {
    let mut action = default_action();
    action.sa_sigaction = on_sigbus as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the handler has the signature that SA_SIGINFO asks for and does only what is safe in a handler.
    unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) }
}

fn default_action() -> libc::sigaction {
    // SAFETY: an all-zero sigaction is a valid one: the default action, no flags, an empty mask.
    unsafe { mem::zeroed() }
}

extern "C" fn on_sigbus(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo; si_addr is set for a fault, which the code tells.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr().addr()) };
    // What somebody sent (`kill`) is no fault, and is dropped. Not passed on, either: whoever handled it before may withdraw all
    // handlers, as Rust's runtime does, and a fault on another thread would end the process before ours is back.
    if code <= 0 {
        return;
    }
    // errno is this thread's own, and the interrupted code may be about to read it
    // SAFETY: the pointer is valid for as long as the thread lives.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let before = unsafe { *errno };
    let region = if code == libc::BUS_ADRERR { table::find(address) } else { None };
    match region {
        Some((entry, start, len)) if stand_in(entry, start, len) => {}
        _ => pass_on(signal, code, info, context),
    }
    // SAFETY: as above.
    unsafe { *errno = before };
}

/// Sees to it that the region is there again, if as zeros. False when the kernel gives no memory.
fn stand_in(entry: &Entry, start: usize, len: usize) -> bool {
    // AcqRel: a thread that finds the region replaced goes on after that
    match entry.state.compare_exchange(WHOLE, BEING_REPLACED, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {}
        // faults again for as long as another thread is at it
        Err(state) => return state != LOST,
    }
    let replaced = replace(start, len);
    // Release: pairs with the Acquire of whoever asks for the state
    entry.state.store(if replaced { REPLACED } else { LOST }, Ordering::Release);
    if replaced {
        let one: u64 = 1;
        // SAFETY: writes eight bytes of a local to a descriptor that the guard keeps open; our own eventfd does not
        // block, and when it is full, its reader has not come yet.
        unsafe { libc::write(entry.alarm.load(Ordering::Relaxed), (&raw const one).cast(), 8) };
    }
    replaced
}

/// Puts one private mapping of zeros in the place of a whole region: page by page, a peer that takes every second one away
/// would use up the mappings that a process may have (`vm.max_map_count`).
fn replace(start: usize, len: usize) -> bool {
    let zeros = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let region = ptr::with_exposed_provenance_mut::<c_void>(start);
    // SAFETY: makes a new mapping, which nobody knows, and moves it over a guarded one. That one's owner keeps it for as
    // long as somebody can fault in it, so nothing else lies there; all access to it is by raw pointers to bytes that may
    // change at any time. What is replaced is shared with a peer that took part of it away, and is given up as a whole.
    unsafe {
        // where all memory is locked (`mlockall`), a mapping that can be accessed is filled at once; this one is not
        let new = libc::mmap(ptr::null_mut(), len, libc::PROT_NONE, zeros, -1, 0);
        if new != libc::MAP_FAILED {
            // the system call itself: AddressSanitizer has the C library's `munlock` do nothing
            let ready = munlock(new, len).is_ok() && libc::mprotect(new, len, access) == 0;
            let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
            if ready && libc::mremap(new, len, len, flags, region) != libc::MAP_FAILED {
                return true;
            }
            libc::munmap(new, len);
        }
        // a process that has no mapping left to spare
        libc::mmap(region, len, access, zeros | libc::MAP_FIXED, -1, 0) != libc::MAP_FAILED
    }
}

/// Not ours: does what would have happened without us.
fn pass_on(signal: c_int, code: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let previous = PREVIOUS.get();
    let handler = previous.map_or(libc::SIG_DFL, |previous| previous.sa_sigaction);
    if handler == libc::SIG_DFL || handler == libc::SIG_IGN {
        return by_default(signal, code);
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

/// A fault ends the process.
fn by_default(signal: c_int, code: c_int) {
    // SAFETY: restores the default action; the faulting instruction runs again and ends the process.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    if code != libc::BUS_ADRERR && code != libc::BUS_ADRALN && code != libc::BUS_MCEERR_AR {
        // no instruction faulted: delivered when the handler returns
        // SAFETY: sends a signal to the thread itself.
        unsafe { libc::raise(signal) };
    }
}
