//! What a peer attaches to its messages.

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::{FdFlags, fcntl_getfd};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg, sockopt};

use super::*;

/// How long closing a lingering socket takes.
const LINGER: Duration = Duration::from_secs(60);
/// Far below, and far above what receiving takes.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Sends what no honest peer would: any number of descriptors on one message.
fn send_many(channel: &Channel, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
    sendmsg(channel, &[IoSlice::new(bytes)], &mut control, SendFlags::empty()).unwrap();
}

/// A socket with bytes that nobody takes. Its last `close` waits for them, as long as the other end is there.
struct Lingering {
    fd: OwnedFd,
    other_end: TcpStream,
}

impl Lingering {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (other_end, _) = listener.accept().unwrap();
        sockopt::set_socket_linger(&stream, Some(LINGER)).unwrap();
        stream.set_nonblocking(true).unwrap();
        let bytes = [0; 1 << 16];
        while !matches!(stream.write(&bytes), Err(error) if error.kind() == ErrorKind::WouldBlock) {}
        stream.set_nonblocking(false).unwrap();
        Self { fd: stream.into(), other_end }
    }
}

/// Drops what holds the last reference to a lingering socket, which takes until the other end goes.
fn dropping_waits(last: impl Send + 'static, other_end: TcpStream) {
    let dropping = thread::spawn(|| drop(last));
    thread::sleep(Duration::from_millis(50));
    assert!(!dropping.is_finished());
    drop(other_end);
    dropping.join().unwrap();
}

#[test]
fn a_descriptor_rides_on_a_message() {
    let mut link = link();
    let (mut reader, writer) = io::pipe().unwrap();
    assert_eq!(link.near.send(b"pipe", Some(writer.as_fd())).unwrap(), SendOutcome::Sent);
    drop(writer);
    let fd = message(&mut link.far, &mut [0; 128]).fd.unwrap();
    assert_eq!(fcntl_getfd(&fd).unwrap(), FdFlags::CLOEXEC);
    File::from(fd).write_all(b"through").unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "through");
}

#[test]
fn the_second_descriptor_is_handed_out_too() {
    let mut link = link();
    let (mut reader, writer) = io::pipe().unwrap();
    send_many(&link.near, b"x", &[writer.as_fd(), writer.as_fd()]);
    drop(writer);
    let received = message(&mut link.far, &mut [0; 128]);
    assert!(received.fd.is_some() && received.surplus.is_some());
    assert_eq!(fcntl_getfd(received.surplus.as_ref().unwrap()).unwrap(), FdFlags::CLOEXEC);
    drop(received);
    // the end of file shows that no copy of the writing end is left
    assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0);
    assert!(matches!(link.far.recv(&mut [0; 128]).unwrap(), Incoming::WouldBlock));
}

#[test]
fn a_message_with_more_than_two_descriptors_stays_queued_until_the_channel_closes() {
    for count in [3, 4, 252, 253] {
        let mut link = link();
        let (mut reader, writer) = io::pipe().unwrap();
        send_many(&link.near, b"x", &vec![writer.as_fd(); count]);
        send(&link.near, b"behind it");
        drop(writer);
        for _ in 0..3 {
            let mut buf = [0; 128];
            match link.far.recv(&mut buf).unwrap() {
                Incoming::TooManyFds(received) => {
                    assert_eq!(&buf[..received.len], b"x");
                    assert!(received.fd.is_some() && received.surplus.is_some());
                }
                other => panic!("{count}: {other:?}"),
            }
        }
        drop(link.far);
        assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0);
    }
}

#[test]
fn an_empty_message_with_a_descriptor_is_a_message() {
    let mut link = link();
    let (_reader, writer) = io::pipe().unwrap();
    assert_eq!(link.near.send(b"", Some(writer.as_fd())).unwrap(), SendOutcome::Sent);
    let received = message(&mut link.far, &mut [0; 128]);
    assert!(received.len == 0 && received.fd.is_some());
}

#[test]
fn receiving_does_not_close_a_lingering_socket_that_comes_first_or_second() {
    for place in 0..2 {
        let mut link = link();
        let (pipe, _writer) = io::pipe().unwrap();
        let lingering = Lingering::new();
        let mut fds = [pipe.as_fd(); 2];
        fds[place] = lingering.fd.as_fd();
        send_many(&link.near, b"x", &fds[..=place]);
        drop(lingering.fd);
        let start = Instant::now();
        let received = message(&mut link.far, &mut [0; 128]);
        assert!(start.elapsed() < AT_ONCE);
        dropping_waits(received, lingering.other_end);
    }
}

#[test]
fn receiving_does_not_close_a_lingering_socket_that_has_no_room() {
    let mut link = link();
    let (pipe, _writer) = io::pipe().unwrap();
    let lingering = Lingering::new();
    send_many(&link.near, b"x", &[pipe.as_fd(), pipe.as_fd(), lingering.fd.as_fd()]);
    drop(lingering.fd);
    let start = Instant::now();
    for _ in 0..3 {
        assert!(matches!(link.far.recv(&mut [0; 128]).unwrap(), Incoming::TooManyFds(_)));
    }
    assert!(start.elapsed() < AT_ONCE);
    dropping_waits(link.far, lingering.other_end);
}

#[test]
fn closing_a_listener_closes_nothing_of_those_who_wait() {
    let dir = TempDir::new().unwrap();
    let listener = Listener::bind(&address(&dir), 8).unwrap();
    let waiting = Channel::connect(&address(&dir)).unwrap();
    let lingering = Lingering::new();
    send_many(&waiting, b"x", &[lingering.fd.as_fd()]);
    drop((lingering.fd, waiting));
    let start = Instant::now();
    let left = listener.close();
    assert!(start.elapsed() < AT_ONCE);
    assert_eq!(left.len(), 1);
    dropping_waits(left, lingering.other_end);
}

#[test]
fn credentials_asked_for_by_the_listeners_maker_leave_the_room_to_descriptors() {
    let dir = TempDir::new().unwrap();
    let owner = Listener::bind(&address(&dir), 8).unwrap();
    sockopt::set_socket_passcred(&owner, true).unwrap();
    let listener = Listener::from_fd(owner.as_fd().try_clone_to_owned().unwrap()).unwrap();
    let near = Channel::connect(&address(&dir)).unwrap();
    let mut far = listener.accept().unwrap().unwrap();
    let (pipe, _writer) = io::pipe().unwrap();
    send_many(&near, b"x", &[pipe.as_fd(), pipe.as_fd()]);
    let received = message(&mut far, &mut [0; 128]);
    assert!(received.fd.is_some() && received.surplus.is_some());
}

#[test]
fn a_channel_knows_whether_messages_are_left() {
    assert!(link().far.is_empty_for_good());

    let mut link = link();
    assert_eq!(link.near.send(b"read", None).unwrap(), SendOutcome::Sent);
    assert!(matches!(link.far.recv(&mut [0; 8]).unwrap(), Incoming::Message(_)));
    assert!(link.far.is_empty_for_good());
    assert_eq!(link.near.send(b"late", None).unwrap(), SendOutcome::Closed);
    // the other way it is still open
    assert_eq!(link.far.send(b"bye", None).unwrap(), SendOutcome::Sent);
    assert!(matches!(link.near.recv(&mut [0; 8]).unwrap(), Incoming::Message(_)));
    assert!(matches!(link.near.recv(&mut [0; 8]).unwrap(), Incoming::WouldBlock | Incoming::Closed));

    for bytes in [&b"unread"[..], b""] {
        let link = super::link();
        assert_eq!(link.near.send(bytes, None).unwrap(), SendOutcome::Sent);
        drop(link.near); // also once the peer is gone
        assert!(!link.far.is_empty_for_good(), "{bytes:?}");
    }
    let link = super::link();
    let file = tempfile::tempfile().unwrap();
    send_many(&link.near, b"", &[file.as_fd(); 200]);
    assert!(!link.far.is_empty_for_good(), "no bytes but descriptors");
}
