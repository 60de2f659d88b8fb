//! A process that has run out of descriptors is told so, and loses nothing but what cannot be kept. The only
//! test of its process, because it lowers the limit of the whole process.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of a test")]

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};

use memif_os::event::EventFd;
use memif_os::socket::{Channel, Incoming, Listener, SendOutcome, SocketAddress, SocketError};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

fn receive(channel: &mut Channel) -> Incoming {
    channel.recv(&mut [0; 128]).unwrap()
}

#[test]
fn running_out_of_descriptors_is_told_and_passes() {
    let dir = tempfile::tempdir().unwrap();
    let address = SocketAddress::new(dir.path().join("memif.sock")).unwrap();
    let listener = Listener::bind(&address, 8).unwrap();
    let near = Channel::connect(&address).unwrap();
    let mut far = listener.accept().unwrap().unwrap();
    let _waiting = Channel::connect(&address).unwrap();
    let event = EventFd::new().unwrap();
    let send = || assert_eq!(near.send(b"x", Some(event.as_fd())).unwrap(), SendOutcome::Sent);

    let before = getrlimit(Resource::Nofile);
    let next = File::open("/").unwrap().as_raw_fd();
    let none_left = Rlimit { current: Some(u64::try_from(next).unwrap()), ..before };
    setrlimit(Resource::Nofile, none_left).unwrap();

    assert!(matches!(listener.accept(), Err(SocketError::OutOfDescriptors { .. })));
    assert!(matches!(Channel::connect(&address), Err(SocketError::OutOfDescriptors { .. })));
    assert_eq!(EventFd::new().unwrap_err().raw_os_error(), Some(Errno::MFILE.raw_os_error()));
    send();
    for _ in 0..3 {
        assert!(matches!(receive(&mut far), Incoming::FdsLost));
    }

    setrlimit(Resource::Nofile, before).unwrap();
    assert!(listener.accept().unwrap().is_some());
    // nothing of it was lost: it is still queued
    match receive(&mut far) {
        Incoming::Message(kept) => assert!(!kept.truncated && kept.fd.is_some() && kept.len == 1),
        other => panic!("{other:?}"),
    }
}
