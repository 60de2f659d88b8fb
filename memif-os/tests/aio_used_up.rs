//! Somebody has used up the machine's contexts for asynchronous I/O. The only test of its process, as it disturbs others.

// io_setup has no wrapper.
#![allow(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of a test")]

use std::ffi::{c_long, c_ulong};
use std::fs;
use std::os::fd::AsRawFd;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use memif_os::event::{Epoll, Event, EventFd, Interest};
use rustix::event::{EventfdFlags, eventfd};

/// What keeps everybody else from getting a context.
struct AllContexts(Vec<c_ulong>);

impl AllContexts {
    fn take() -> Self {
        let read = |name: &str| -> c_long {
            fs::read_to_string(format!("/proc/sys/fs/{name}")).unwrap().trim().parse().unwrap()
        };
        let mut all = Self(Vec::new());
        let mut ask = (read("aio-max-nr") - read("aio-nr")).max(1);
        while ask > 0 {
            let mut context: c_ulong = 0;
            // SAFETY: the kernel writes the context's number to the local.
            match unsafe { libc::syscall(libc::SYS_io_setup, ask, &raw mut context) } {
                0 => all.0.push(context),
                _ => ask /= 2,
            }
        }
        all
    }
}

impl Drop for AllContexts {
    fn drop(&mut self) {
        for &context in &self.0 {
            // SAFETY: takes a number; nothing was submitted to the context.
            unsafe { libc::syscall(libc::SYS_io_destroy, context) };
        }
    }
}

/// [`EventFd::empties_at_once`] of an eventfd that was made like this and is 0, and is never written to.
fn tested_without_a_write(flags: EventfdFlags) -> bool {
    let event = EventFd::from_peer(eventfd(0, flags).unwrap()).unwrap();
    let epoll = Epoll::new().unwrap();
    epoll.add(&event, 0, Interest::READ | Interest::EDGE).unwrap();
    let result = event.empties_at_once().unwrap();
    assert_eq!(epoll.wait(&mut [Event::NONE], Some(Duration::ZERO)).unwrap(), 0, "somebody wrote to it");
    result
}

fn kernel_tells() -> bool {
    let event = eventfd(0, EventfdFlags::empty()).unwrap();
    fs::read_to_string(format!("/proc/self/fdinfo/{}", event.as_raw_fd())).unwrap().contains("semaphore")
}

#[test]
fn a_thread_that_found_no_context_gets_one_later() {
    let event = EventFd::new().unwrap();
    let all = AllContexts::take();
    let (found_none, wait) = mpsc::channel();
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            assert!(!event.try_notify().unwrap(), "no context, and nothing done");
            assert_eq!(event.drain().unwrap(), None);
            event.notify().unwrap();
            assert_eq!(event.drain().unwrap(), Some(1));
            assert!(tested_without_a_write(EventfdFlags::empty()));
            // from 6.5 on the kernel tells
            let semaphore = tested_without_a_write(EventfdFlags::SEMAPHORE);
            assert_eq!(semaphore, !kernel_tells());
            found_none.send(()).unwrap();
            let start = Instant::now();
            while !event.try_notify().unwrap() {
                assert!(start.elapsed() < Duration::from_secs(20));
                thread::sleep(Duration::from_millis(10));
            }
            assert_eq!(event.drain().unwrap(), Some(1));
        });
        let _ = wait.recv_timeout(Duration::from_secs(20));
        drop(all);
        thread.join().unwrap();
    });
}
