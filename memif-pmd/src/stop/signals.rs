//! Signals that ask the program to end.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level::pipe};

use super::Stop;
use crate::error::Error;

/// Signals of one request to end: `timeout` sends one to the process and one to its group, and a terminal that closes sends
/// SIGHUP to all.
const ONE_REQUEST: Duration = Duration::from_secs(1);
/// Stack of the thread that waits for the time above.
const STACK: usize = 64 << 10;

/// A [`Stop`] that SIGINT (Ctrl-C), SIGTERM and SIGHUP call. A program that then returns from `main` leaves no socket file
/// behind.
///
/// The signal handler itself calls it, so [`Stop::is_stopped`] holds and the descriptor is readable by the time that a
/// system call fails with `EINTR`. SIGHUP stays ignored in a program that is started with it ignored, as by `nohup`.
///
/// Signals within a second of the first one are taken for the same request. A later one ends the process at once, in case the
/// first one has no effect; so does the first one a second or more after [`Stop::stop`].
///
/// # Errors
/// [`Error::OutOfDescriptors`], [`Error::OutOfThreads`], [`Error::System`]: the kernel refuses descriptors, a thread or handlers.
pub fn ctrl_c() -> Result<Stop, Error> {
    let stop = Stop::new()?;
    let mut signals = vec![SIGINT, SIGTERM];
    if !is_ignored(SIGHUP) {
        signals.push(SIGHUP);
    }
    // first what may well fail: from the first handler on, the signal does not end the process
    let callers = signals.iter().map(|_| stop.0.caller.try_clone()).collect::<Result<Vec<_>, _>>();
    let callers = callers.map_err(Error::system("dup"))?;
    let again = Arc::new(AtomicBool::new(false));
    let (first, at_once) = (stop.clone(), Arc::clone(&again));
    let arm = move || {
        let _ = first.wait(None); // it does not return before
        thread::sleep(ONE_REQUEST);
        at_once.store(true, Ordering::SeqCst); // as the handler reads it
    };
    memif_os::thread::spawn("memif-signals", Some(STACK), arm).map_err(Error::thread)?;
    for (signal, caller) in signals.into_iter().zip(callers) {
        // in the order of what a handler does
        flag::register_conditional_default(signal, Arc::clone(&again))
            .and_then(|_| flag::register(signal, Arc::clone(&stop.0.stopped)))
            .and_then(|_| pipe::register(signal, caller))
            .map_err(Error::system("sigaction"))?;
    }
    Ok(stop)
}

/// Whether the process ignores the signal. Without `/proc`, it is taken not to.
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 << (signal - 1) != 0)
}
