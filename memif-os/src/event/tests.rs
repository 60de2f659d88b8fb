#![allow(unsafe_code)] // fork

use std::ffi::c_int;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, WaitOptions, waitpid};

use super::poll::INLINE_FDS;
use super::*;

const NOW: Option<Duration> = Some(Duration::ZERO);

/// The descriptor as the peer holds it: the same file under another number.
fn dup(event: &EventFd) -> OwnedFd {
    event.as_fd().try_clone_to_owned().unwrap()
}

/// What a hostile peer does: takes the shared non-blocking mode away.
fn make_blocking(event: &EventFd) {
    fcntl_setfl(event, OFlags::empty()).unwrap();
}

#[test]
fn signals_add_up_until_drained() {
    let event = EventFd::new().unwrap();
    assert_eq!(event.drain().unwrap(), None);
    assert!(!event.wait(NOW).unwrap());
    for _ in 0..3 {
        event.signal().unwrap();
    }
    assert!(event.wait(NOW).unwrap());
    assert_eq!(event.drain().unwrap(), Some(3));
    assert_eq!(event.drain().unwrap(), None);
}

#[test]
fn a_peers_eventfd_is_the_same_counter() {
    let ours = EventFd::new().unwrap();
    let theirs = EventFd::from_peer(dup(&ours)).unwrap();
    theirs.signal().unwrap();
    assert_eq!(ours.drain().unwrap(), Some(1));
}

#[test]
fn a_full_counter_is_a_success() {
    let event = EventFd::new().unwrap();
    rustix::io::write(&event, &(u64::MAX - 1).to_ne_bytes()).unwrap();
    event.signal().unwrap();
    event.signal().unwrap();
    assert_eq!(event.drain().unwrap(), Some(u64::MAX - 1));
}

#[test]
fn draining_does_not_wait_even_if_the_peer_made_it_blocking() {
    let event = EventFd::new().unwrap();
    make_blocking(&event);
    assert_eq!(event.drain().unwrap(), None);
    event.signal().unwrap();
    assert_eq!(event.drain().unwrap(), Some(1));
    assert_eq!(event.drain().unwrap(), None);
}

#[test]
fn what_is_no_eventfd_is_refused() {
    let (reader, writer) = io::pipe().unwrap();
    let hostile: [OwnedFd; 6] = [
        reader.into(),
        writer.into(),
        File::open("/").unwrap().into(),
        File::open("/dev/zero").unwrap().into(),
        TimerFd::new().unwrap().into(),
        Epoll::new().unwrap().into(),
    ];
    for fd in hostile {
        assert!(matches!(EventFd::from_peer(fd), Err((_, EventError::NotAnEventFd { .. }))));
    }
}

#[test]
fn a_file_named_like_an_eventfd_is_refused() {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("anon_inode:[eventfd]");
    let file = File::create(&path).unwrap();
    assert!(matches!(EventFd::from_peer(file.into()), Err((_, EventError::NotAnEventFd { .. }))));
}

#[test]
fn semaphores_are_told_from_counters() {
    let made = |count, flags| {
        let fd = eventfd(0, flags).unwrap();
        rustix::io::write(&fd, &u64::to_ne_bytes(count)).unwrap();
        EventFd::from_peer(fd).unwrap()
    };
    // blocking ones too: nothing here may wait
    for flags in [EventfdFlags::empty(), EventfdFlags::NONBLOCK] {
        for count in [0, 1, 2, u64::MAX - 1] {
            let counter = made(count, flags);
            assert!(counter.empties_at_once().unwrap());
            assert_eq!(counter.drain().unwrap(), None);
            assert!(!made(count, flags | EventfdFlags::SEMAPHORE).empties_at_once().unwrap());
        }
    }
}

#[test]
fn a_waiter_wakes_up() {
    let event = EventFd::new().unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| while !event.wait(None).unwrap() {});
        event.signal().unwrap();
        waiter.join().unwrap();
    });
    assert_eq!(event.drain().unwrap(), Some(1));
}

#[test]
fn timers_expire_once_or_again_and_again() {
    let timer = TimerFd::new().unwrap();
    assert_eq!(timer.drain().unwrap(), None);
    timer.set(Some(Duration::ZERO)).unwrap();
    while poll_fds(&[timer.as_fd()], None).unwrap() == 0 {}
    assert_eq!(timer.drain().unwrap(), Some(1));
    assert_eq!(timer.drain().unwrap(), None);

    timer.set_periodic(Duration::from_millis(1)).unwrap();
    for _ in 0..3 {
        while poll_fds(&[timer.as_fd()], None).unwrap() == 0 {}
        assert!(timer.drain().unwrap().unwrap() >= 1);
    }
    timer.set(None).unwrap();
    assert_eq!(timer.drain().unwrap(), None);
}

#[test]
fn far_timers_do_not_expire() {
    let timer = TimerFd::new().unwrap();
    timer.set(Some(Duration::MAX)).unwrap();
    assert_eq!(timer.drain().unwrap(), None);
    timer.set_periodic(Duration::from_secs(1 << 30)).unwrap();
    assert_eq!(timer.drain().unwrap(), None);
}

#[test]
fn epoll_reports_by_token() {
    let epoll = Epoll::new().unwrap();
    let (a, b) = (EventFd::new().unwrap(), EventFd::new().unwrap());
    epoll.add(&a, 7, Interest::READ).unwrap();
    epoll.add(&b, u64::MAX, Interest::READ).unwrap();
    let mut events = [Event::NONE; 4];
    assert_eq!(epoll.wait(&mut events, NOW).unwrap(), 0);

    b.signal().unwrap();
    for _ in 0..2 {
        assert_eq!(epoll.wait(&mut events, NOW).unwrap(), 1);
        assert_eq!(events[0].token(), u64::MAX);
        assert!(events[0].is_readable() && !events[0].is_writable() && !events[0].is_closed());
    }
    a.signal().unwrap();
    assert_eq!(epoll.wait(&mut events, NOW).unwrap(), 2);
    assert_eq!(epoll.wait(&mut events[..1], NOW).unwrap(), 1);

    epoll.delete(&a).unwrap();
    epoll.modify(&b, 5, Interest::READ | Interest::WRITE).unwrap();
    assert_eq!(epoll.wait(&mut events, NOW).unwrap(), 1);
    assert_eq!(events[0].token(), 5);
    assert!(events[0].is_readable() && events[0].is_writable());
}

#[test]
fn edges_are_reported_once() {
    let epoll = Epoll::new().unwrap();
    let event = EventFd::new().unwrap();
    epoll.add(&event, 1, Interest::READ | Interest::EDGE).unwrap();
    let mut events = [Event::NONE; 2];
    for _ in 0..2 {
        event.signal().unwrap();
        assert_eq!(epoll.wait(&mut events, NOW).unwrap(), 1);
        assert_eq!(epoll.wait(&mut events, NOW).unwrap(), 0);
    }
}

#[test]
fn hang_ups_are_reported() {
    let epoll = Epoll::new().unwrap();
    let (a, b) = std::os::unix::net::UnixStream::pair().unwrap();
    epoll.add(&a, 1, Interest::READ).unwrap();
    drop(b);
    let mut events = [Event::NONE; 1];
    assert_eq!(epoll.wait(&mut events, NOW).unwrap(), 1);
    assert!(events[0].is_closed() && events[0].is_readable());
    assert!(format!("{:?}", events[0]).contains("token: 1"));
}

#[test]
fn epoll_misuse_is_an_error() {
    let epoll = Epoll::new().unwrap();
    let event = EventFd::new().unwrap();
    let errno = |result: io::Result<()>| result.unwrap_err().raw_os_error();
    assert_eq!(errno(epoll.modify(&event, 1, Interest::READ)), Some(libc::ENOENT));
    assert_eq!(errno(epoll.delete(&event)), Some(libc::ENOENT));
    epoll.add(&event, 1, Interest::READ).unwrap();
    assert_eq!(errno(epoll.add(&event, 1, Interest::READ)), Some(libc::EEXIST));
    assert_eq!(errno(epoll.add(File::open("/").unwrap(), 1, Interest::READ)), Some(libc::EPERM));
    assert_eq!(epoll.wait(&mut [], NOW).unwrap_err().raw_os_error(), Some(libc::EINVAL));
}

#[test]
fn an_epoll_can_be_polled_itself() {
    let epoll = Epoll::new().unwrap();
    let event = EventFd::new().unwrap();
    epoll.add(&event, 1, Interest::READ).unwrap();
    assert_eq!(poll_fds(&[epoll.as_fd()], NOW).unwrap(), 0);
    event.signal().unwrap();
    assert_eq!(poll_fds(&[epoll.as_fd()], NOW).unwrap(), 1);
}

#[test]
fn polling_few_and_many() {
    let events: Vec<EventFd> = (0..INLINE_FDS + 1).map(|_| EventFd::new().unwrap()).collect();
    let fds: Vec<BorrowedFd<'_>> = events.iter().map(AsFd::as_fd).collect();
    assert_eq!(poll_fds(&[], NOW).unwrap(), 0);
    for count in [1, INLINE_FDS, INLINE_FDS + 1] {
        assert_eq!(poll_fds(&fds[..count], NOW).unwrap(), 0);
        events[count - 1].signal().unwrap();
        events[0].signal().unwrap();
        let ready = if count == 1 { 1 } else { 2 };
        assert_eq!(poll_fds(&fds[..count], None).unwrap(), ready);
        for event in &events {
            event.drain().unwrap();
        }
    }
}

#[test]
fn notifying_never_waits_even_for_a_full_counter_in_blocking_mode() {
    let event = EventFd::new().unwrap();
    event.notify().unwrap();
    event.notify().unwrap();
    assert_eq!(event.drain().unwrap(), Some(2));
    make_blocking(&event);
    rustix::io::write(&event, &(u64::MAX - 1).to_ne_bytes()).unwrap();
    for _ in 0..100 {
        event.notify().unwrap();
    }
    assert!(event.drain().unwrap() >= Some(u64::MAX - 1));
    event.notify().unwrap();
    assert_eq!(event.drain().unwrap(), Some(1));
}

#[test]
fn a_child_of_a_fork_notifies_as_its_parent_does() {
    let event = EventFd::new().unwrap();
    event.notify().unwrap();
    // SAFETY: the child makes system calls and ends; it takes no lock and no memory.
    match unsafe { libc::fork() } {
        0 => {
            let rung = event.notify().is_ok() && event.notify().is_ok();
            // SAFETY: ends the child, and nothing else of the process.
            unsafe { libc::_exit(c_int::from(!rung)) }
        }
        child => {
            let (_, status) = waitpid(Pid::from_raw(child), WaitOptions::empty()).unwrap().unwrap();
            assert_eq!(status.exit_status(), Some(0));
        }
    }
    assert_eq!(event.drain().unwrap(), Some(3));
    event.notify().unwrap();
    assert_eq!(event.drain().unwrap(), Some(1));
}
