//! Messages, and how connections end.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use super::*;

#[test]
fn messages_keep_their_borders() {
    let mut link = link();
    let mut buf = [0; 128];
    assert!(matches!(link.far.recv(&mut buf).unwrap(), Incoming::WouldBlock));
    send(&link.near, b"one");
    send(&link.near, b"three");
    for expected in [&b"one"[..], b"three"] {
        let received = message(&mut link.far, &mut buf);
        assert_eq!(&buf[..received.len], expected);
        assert!(!received.truncated && received.fd.is_none() && received.surplus.is_none());
    }
    assert!(matches!(link.far.recv(&mut buf).unwrap(), Incoming::WouldBlock));
}

#[test]
fn long_messages_are_cut_and_reported() {
    let mut link = link();
    let (_reader, writer) = io::pipe().unwrap();
    assert_eq!(link.near.send(&[7; 129], Some(writer.as_fd())).unwrap(), SendOutcome::Sent);
    let received = message(&mut link.far, &mut [0; 128]);
    assert!(received.truncated && received.fd.is_some());
    assert_eq!(received.len, 128);
}

#[test]
fn a_closed_peer_is_told_from_an_error() {
    let Link { _dir, _listener, near, mut far } = link();
    send(&near, b"bye");
    drop(near);
    assert_eq!(message(&mut far, &mut [0; 128]).len, 3);
    for _ in 0..3 {
        assert!(matches!(far.recv(&mut [0; 128]).unwrap(), Incoming::Closed));
        assert_eq!(far.send(b"x", None).unwrap(), SendOutcome::Closed);
    }
}

#[test]
fn the_last_message_survives_a_reset() {
    let Link { _dir, _listener, near, mut far } = link();
    send(&far, b"never read");
    send(&near, b"bye");
    // Closing with unread messages resets the connection instead of ending it.
    drop(near);
    assert_eq!(message(&mut far, &mut [0; 128]).len, 3);
    assert!(matches!(far.recv(&mut [0; 128]).unwrap(), Incoming::Closed));
}

#[test]
fn sending_after_a_reset_is_closed() {
    let Link { _dir, _listener, near, far } = link();
    send(&far, b"never read");
    drop(near);
    for _ in 0..3 {
        assert_eq!(far.send(b"x", None).unwrap(), SendOutcome::Closed);
    }
}

#[test]
fn a_full_queue_does_not_block() {
    let mut link = link();
    let mut sent = 0;
    while link.near.send(&[1; 128], None).unwrap() == SendOutcome::Sent {
        sent += 1;
        assert!(sent < 1_000_000);
    }
    assert_eq!(link.near.send(&[1; 128], None).unwrap(), SendOutcome::WouldBlock);
    for _ in 0..sent {
        assert_eq!(message(&mut link.far, &mut [0; 128]).len, 128);
    }
    send(&link.near, b"room again");
}

#[test]
fn credentials_are_the_peers() {
    let link = link();
    let credentials = link.far.peer_credentials().unwrap();
    assert_eq!(credentials.pid.unsigned_abs(), std::process::id());
    let own = fs::metadata("/proc/self").unwrap();
    assert_eq!((credentials.uid, credentials.gid), (own.uid(), own.gid()));
}
