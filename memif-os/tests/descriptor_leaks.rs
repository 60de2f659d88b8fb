//! No descriptor stays behind, whatever a peer attaches. The only test of its process, because it counts
//! the descriptors of the whole process.

// Sending many descriptors on one message is what the library refuses to do, so the test does it by hand.
#![allow(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of a test")]

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use memif_os::event::EventFd;
use memif_os::huge_pages::HugePages;
use memif_os::region_file::{PeerRegion, RegionFile, ShrinkSeal};
use memif_os::seqpacket::{Channel, Incoming, Listener, SocketAddress};

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// A hostile `sendmsg`: `count` copies of `fd` on a message of `len` bytes.
fn send_many(channel: &Channel, len: usize, fd: RawFd, count: usize) {
    let bytes = [0u8; 512];
    let mut control = [0u64; 256];
    let mut iov = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: len.min(bytes.len()) };
    let payload = u32::try_from(count * size_of::<RawFd>()).unwrap();
    // SAFETY: the control buffer is aligned and has room for 253 descriptors, the kernel's limit; all
    // buffers outlive the call.
    unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_iov = &raw mut iov;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = libc::CMSG_SPACE(payload) as usize;
        let cmsg = libc::CMSG_FIRSTHDR(&raw const header);
        (*cmsg).cmsg_level = libc::SOL_SOCKET;
        (*cmsg).cmsg_type = libc::SCM_RIGHTS;
        (*cmsg).cmsg_len = libc::CMSG_LEN(payload) as usize;
        for i in 0..count {
            libc::CMSG_DATA(cmsg).cast::<RawFd>().add(i).write_unaligned(fd);
        }
        let sent = libc::sendmsg(channel.as_fd().as_raw_fd(), &raw const header, 0);
        assert!(sent >= 0, "{}", io::Error::last_os_error());
    }
}

/// One round of everything that brings or opens descriptors.
fn round(address: &SocketAddress, listener: &Listener) {
    let near = Channel::connect(address).unwrap();
    let far = listener.accept().unwrap().unwrap();
    let region = RegionFile::create("leaks", 4096, HugePages::Off).unwrap();
    let mut buf = [0; 128];

    for (len, count) in [(128, 1), (128, 2), (0, 7), (400, 253)] {
        send_many(&near, len, region.as_fd().as_raw_fd(), count);
        match far.recv(&mut buf).unwrap() {
            Incoming::Message(message) => {
                assert_eq!(message.surplus, count - 1);
                assert_eq!(message.truncated, len > buf.len());
                assert!(message.fd.is_some());
            }
            other => panic!("{other:?}"),
        }
    }
    // Descriptors on messages that nobody reads before the connection closes.
    send_many(&near, 128, region.as_fd().as_raw_fd(), 253);

    let copy = || region.as_fd().try_clone_to_owned().unwrap();
    drop(PeerRegion::map(copy(), 4096, ShrinkSeal::Require).unwrap());
    PeerRegion::map(copy(), 4097, ShrinkSeal::Require).unwrap_err();
    PeerRegion::map(copy(), 0, ShrinkSeal::Require).unwrap_err();
    let (reader, writer) = io::pipe().unwrap();
    for fd in [OwnedFd::from(reader), writer.into(), File::open("/").unwrap().into()] {
        PeerRegion::map(fd.try_clone().unwrap(), 4096, ShrinkSeal::Prefer).unwrap_err();
        EventFd::from_peer(fd.try_clone().unwrap()).unwrap_err();
        Listener::from_fd(fd).unwrap_err();
    }
    drop(EventFd::from_peer(EventFd::new().unwrap().as_fd().try_clone_to_owned().unwrap()).unwrap());
    Listener::bind(address, 1).unwrap_err();
    let _ = RegionFile::create("leaks", 4096, HugePages::Require);
}

#[test]
fn nothing_that_a_peer_sends_stays_open() {
    let dir = tempfile::tempdir().unwrap();
    let address = SocketAddress::new(dir.path().join("memif.sock")).unwrap();
    let listener = Listener::bind(&address, 8).unwrap();
    round(&address, &listener);
    // The attempt to bind again has left a connection in the backlog.
    while listener.accept().unwrap().is_some() {}
    let before = open_descriptors();
    for _ in 0..100 {
        round(&address, &listener);
        while listener.accept().unwrap().is_some() {}
    }
    assert_eq!(open_descriptors(), before);
}
