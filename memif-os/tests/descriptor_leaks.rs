//! No descriptor stays behind, whatever a peer attaches. The only test of its process, because it counts
//! the descriptors of the whole process.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of a test")]

use std::fs::{self, File};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use memif_os::event::EventFd;
use memif_os::huge_pages::HugePages;
use memif_os::region_file::{PeerRegion, RegionFile, ShrinkSeal};
use memif_os::socket::{Channel, Incoming, Listener, SocketAddress};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// A hostile `sendmsg`: `count` copies of `fd` on a message of `len` bytes.
fn send_many(channel: &Channel, len: usize, fd: BorrowedFd<'_>, count: usize) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = vec![fd; count];
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    sendmsg(channel, &[IoSlice::new(&[0; 512][..len])], &mut control, SendFlags::empty()).unwrap();
}

/// One round of everything that brings or opens descriptors.
fn round(address: &SocketAddress, listener: &Listener) {
    let near = Channel::connect(address).unwrap();
    let mut far = listener.accept().unwrap().unwrap();
    let region = RegionFile::create("leaks", 4096, HugePages::Off).unwrap();
    let mut buf = [0; 128];

    for (len, count) in [(128, 1), (128, 2), (0, 1), (400, 2)] {
        send_many(&near, len, region.as_fd(), count);
        match far.recv(&mut buf).unwrap() {
            Incoming::Message(message) => {
                assert_eq!(message.surplus.is_some(), count > 1);
                assert_eq!(message.truncated, len > buf.len());
                assert!(message.fd.is_some());
            }
            other => panic!("{other:?}"),
        }
    }
    // too many, and some on messages that nobody reads before the connection closes
    for count in [3, 7, 253] {
        send_many(&near, 128, region.as_fd(), count);
        assert!(matches!(far.recv(&mut buf).unwrap(), Incoming::TooManyFds(_)));
    }

    let mapped = PeerRegion::map(&region, 4096, ShrinkSeal::Require).unwrap();
    assert_eq!(mapped.populate(&region, 4096), 4096);
    PeerRegion::map(&region, 4097, ShrinkSeal::Require).unwrap_err();
    PeerRegion::map(&region, 0, ShrinkSeal::Require).unwrap_err();
    let (reader, writer) = io::pipe().unwrap();
    for fd in [OwnedFd::from(reader), writer.into(), File::open("/").unwrap().into()] {
        PeerRegion::map(&fd, 4096, ShrinkSeal::Prefer).unwrap_err();
        EventFd::from_peer(fd.try_clone().unwrap()).unwrap_err();
        Listener::from_fd(fd).unwrap_err();
    }
    drop(EventFd::from_peer(EventFd::new().unwrap().as_fd().try_clone_to_owned().unwrap()).unwrap());
    Listener::bind(address, 1).unwrap_err();
    send_many(&Channel::connect(address).unwrap(), 128, region.as_fd(), 253);
    let _ = RegionFile::create("leaks", 4096, HugePages::Require);
}

#[test]
fn nothing_that_a_peer_sends_stays_open() {
    let dir = tempfile::tempdir().unwrap();
    let address = SocketAddress::new(dir.path().join("memif.sock")).unwrap();
    let listener = Listener::bind(&address, 8).unwrap();
    round(&address, &listener);
    while listener.accept().unwrap().is_some() {}
    let before = open_descriptors();
    for _ in 0..100 {
        round(&address, &listener);
        while listener.accept().unwrap().is_some() {}
    }
    assert_eq!(open_descriptors(), before);
    round(&address, &listener);
    drop(listener.close());
    assert_eq!(open_descriptors(), before - 1);
}
