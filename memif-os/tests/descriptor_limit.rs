//! A process that has run out of descriptors is told so, and loses nothing but what cannot be kept. The only
//! test of its process, because it lowers the limit of the whole process.

// Limits have no wrapper in std.
#![allow(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of a test")]

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};

use memif_os::event::EventFd;
use memif_os::seqpacket::{Channel, Incoming, Listener, Received, SendOutcome, SocketAddress, SocketError};

fn limit() -> libc::rlimit {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one rlimit to where the pointer says.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
    limit
}

fn set_limit(limit: libc::rlimit) {
    // SAFETY: the kernel reads one rlimit from where the pointer says.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
}

fn receive(channel: &Channel) -> Received {
    match channel.recv(&mut [0; 128]).unwrap() {
        Incoming::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn running_out_of_descriptors_is_told_and_passes() {
    let dir = tempfile::tempdir().unwrap();
    let address = SocketAddress::new(dir.path().join("memif.sock")).unwrap();
    let listener = Listener::bind(&address, 8).unwrap();
    let near = Channel::connect(&address).unwrap();
    let far = listener.accept().unwrap().unwrap();
    let _waiting = Channel::connect(&address).unwrap();
    let event = EventFd::new().unwrap();
    let send = || assert_eq!(near.send(b"x", Some(event.as_fd())).unwrap(), SendOutcome::Sent);

    let before = limit();
    let next = File::open("/").unwrap().as_raw_fd();
    set_limit(libc::rlimit { rlim_cur: u64::try_from(next).unwrap(), ..before });

    assert!(matches!(listener.accept(), Err(SocketError::OutOfDescriptors { .. })));
    assert!(matches!(Channel::connect(&address), Err(SocketError::OutOfDescriptors { .. })));
    assert_eq!(EventFd::new().unwrap_err().raw_os_error(), Some(libc::EMFILE));
    send();
    let lost = receive(&far);
    assert!(lost.truncated && lost.fd.is_none() && lost.len == 1);

    set_limit(before);
    assert!(listener.accept().unwrap().is_some());
    send();
    let kept = receive(&far);
    assert!(!kept.truncated && kept.fd.is_some());
}
