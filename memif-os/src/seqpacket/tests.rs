use super::*;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::{UnixDatagram, UnixListener};

use tempfile::TempDir;

/// A directory with a listener and both ends of one connection.
struct Link {
    _dir: TempDir,
    _listener: Listener,
    near: Channel,
    far: Channel,
}

fn address(dir: &TempDir) -> SocketAddress {
    SocketAddress::new(dir.path().join("memif.sock")).unwrap()
}

fn link() -> Link {
    let dir = TempDir::new().unwrap();
    let listener = Listener::bind(&address(&dir), 8).unwrap();
    let near = Channel::connect(&address(&dir)).unwrap();
    let far = listener.accept().unwrap().unwrap();
    Link { _dir: dir, _listener: listener, near, far }
}

fn message(channel: &Channel, buf: &mut [u8]) -> Received {
    match channel.recv(buf).unwrap() {
        Incoming::Message(received) => received,
        other => panic!("{other:?}"),
    }
}

fn send(channel: &Channel, bytes: &[u8]) {
    assert_eq!(channel.send(bytes, None).unwrap(), SendOutcome::Sent);
}

/// Sends what no honest peer would: any number of descriptors on one message.
fn send_many(channel: &Channel, bytes: &[u8], fd: &OwnedFd, count: usize) {
    let mut control = [0u64; CONTROL_WORDS];
    let mut iov = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut header = message_header(&mut iov, &mut control);
    let payload = u32::try_from(count * size_of::<RawFd>()).unwrap();
    // SAFETY: the control buffer has room for MAX_FDS descriptors, and tests send no more.
    unsafe {
        header.msg_controllen = libc::CMSG_SPACE(payload) as usize;
        let cmsg = libc::CMSG_FIRSTHDR(&raw const header);
        (*cmsg).cmsg_level = libc::SOL_SOCKET;
        (*cmsg).cmsg_type = libc::SCM_RIGHTS;
        (*cmsg).cmsg_len = libc::CMSG_LEN(payload) as usize;
        for i in 0..count {
            libc::CMSG_DATA(cmsg).cast::<RawFd>().add(i).write_unaligned(fd.as_raw_fd());
        }
        assert!(libc::sendmsg(channel.fd.as_raw_fd(), &raw const header, 0) >= 0);
    }
}

#[test]
fn addresses_are_checked() {
    let new = |bytes: &[u8]| SocketAddress::new(OsStr::from_bytes(bytes));
    assert_eq!(new(b""), Err(AddressError::Empty));
    assert_eq!(new(b"@"), Err(AddressError::Empty));
    assert!(matches!(new(b"/a\0b"), Err(AddressError::Nul { .. })));
    assert!(matches!(new(b"@\0"), Err(AddressError::Nul { .. })));
    for first in [b'/', b'@'] {
        let mut name = vec![b'x'; 107];
        name[0] = first;
        assert!(new(&name).is_ok());
        name.push(b'x');
        assert!(matches!(new(&name), Err(AddressError::TooLong { len: 108, .. })));
    }
    assert_eq!(new(b"/run/memif.sock").unwrap().path(), Some(Path::new("/run/memif.sock")));
    assert_eq!(new(b"@memif").unwrap().path(), None);
    assert_eq!(new(b"@memif").unwrap().to_string(), "@memif");
}

#[test]
fn raw_addresses_have_the_lengths_that_peers_use() {
    let (raw, len) = SocketAddress::new("@memif").unwrap().to_raw();
    assert_eq!(len as usize, 2 + "@memif".len());
    assert_eq!(
        raw.sun_path[..3],
        [0, libc::c_char::from_ne_bytes(*b"m"), libc::c_char::from_ne_bytes(*b"e")]
    );
    let (_, len) = SocketAddress::new("/memif").unwrap().to_raw();
    assert_eq!(len as usize, 2 + "/memif".len() + 1);
}

#[test]
fn messages_keep_their_borders() {
    let link = link();
    let mut buf = [0; 128];
    assert!(matches!(link.far.recv(&mut buf).unwrap(), Incoming::WouldBlock));
    send(&link.near, b"one");
    send(&link.near, b"three");
    for expected in [&b"one"[..], b"three"] {
        let received = message(&link.far, &mut buf);
        assert_eq!(&buf[..received.len], expected);
        assert!(!received.truncated && received.fd.is_none() && received.surplus == 0);
    }
    assert!(matches!(link.far.recv(&mut buf).unwrap(), Incoming::WouldBlock));
}

#[test]
fn a_descriptor_rides_on_a_message() {
    let link = link();
    let (mut reader, writer) = io::pipe().unwrap();
    assert_eq!(link.near.send(b"pipe", Some(writer.as_fd())).unwrap(), SendOutcome::Sent);
    drop(writer);
    let fd = message(&link.far, &mut [0; 128]).fd.unwrap();
    // SAFETY: F_GETFD takes no pointer.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFD) };
    assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    File::from(fd).write_all(b"through").unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "through");
}

#[test]
fn surplus_descriptors_are_closed_and_counted() {
    let link = link();
    for count in [1, 2, 3, 252, 253] {
        let (mut reader, writer) = io::pipe().unwrap();
        let writer = OwnedFd::from(writer);
        send_many(&link.near, b"x", &writer, count);
        drop(writer);
        let received = message(&link.far, &mut [0; 128]);
        assert_eq!((received.surplus, received.truncated), (count - 1, false));
        drop(received.fd.unwrap());
        // The end of file shows that no copy of the writing end is left.
        assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0);
    }
}

#[test]
fn long_messages_are_cut_and_reported() {
    let link = link();
    let (_reader, writer) = io::pipe().unwrap();
    assert_eq!(link.near.send(&[7; 129], Some(writer.as_fd())).unwrap(), SendOutcome::Sent);
    let received = message(&link.far, &mut [0; 128]);
    assert!(received.truncated && received.fd.is_some());
    assert_eq!(received.len, 128);
}

#[test]
fn an_empty_message_with_a_descriptor_is_a_message() {
    let link = link();
    let (_reader, writer) = io::pipe().unwrap();
    assert_eq!(link.near.send(b"", Some(writer.as_fd())).unwrap(), SendOutcome::Sent);
    let received = message(&link.far, &mut [0; 128]);
    assert!(received.len == 0 && received.fd.is_some());
}

#[test]
fn a_closed_peer_is_told_from_an_error() {
    let Link { _dir, _listener, near, far } = link();
    send(&near, b"bye");
    drop(near);
    assert_eq!(message(&far, &mut [0; 128]).len, 3);
    for _ in 0..3 {
        assert!(matches!(far.recv(&mut [0; 128]).unwrap(), Incoming::Closed));
        assert_eq!(far.send(b"x", None).unwrap(), SendOutcome::Closed);
    }
}

#[test]
fn the_last_message_survives_a_reset() {
    let Link { _dir, _listener, near, far } = link();
    send(&far, b"never read");
    send(&near, b"bye");
    // Closing with unread messages resets the connection instead of ending it.
    drop(near);
    assert_eq!(message(&far, &mut [0; 128]).len, 3);
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
    let link = link();
    let mut sent = 0;
    while link.near.send(&[1; 128], None).unwrap() == SendOutcome::Sent {
        sent += 1;
        assert!(sent < 1_000_000);
    }
    assert_eq!(link.near.send(&[1; 128], None).unwrap(), SendOutcome::WouldBlock);
    for _ in 0..sent {
        assert_eq!(message(&link.far, &mut [0; 128]).len, 128);
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

#[test]
fn accept_without_a_client_returns_at_once() {
    let dir = TempDir::new().unwrap();
    let listener = Listener::bind(&address(&dir), 1).unwrap();
    assert!(listener.accept().unwrap().is_none());
    drop(Channel::connect(&address(&dir)).unwrap());
    let gone = listener.accept().unwrap().unwrap();
    assert!(matches!(gone.recv(&mut [0; 128]).unwrap(), Incoming::Closed));
}

#[test]
fn abstract_names_work_and_are_exclusive() {
    // Abstract names belong to the whole machine: one that nobody else has, taken from a directory's name.
    let dir = TempDir::new().unwrap();
    let name = format!("@{}", dir.path().display());
    let address = SocketAddress::new(name).unwrap();
    assert!(matches!(Channel::connect(&address), Err(SocketError::NoListener { .. })));
    let listener = Listener::bind(&address, 1).unwrap();
    assert!(matches!(Listener::bind(&address, 1), Err(SocketError::InUse { .. })));
    let near = Channel::connect(&address).unwrap();
    let far = listener.accept().unwrap().unwrap();
    send(&near, b"hello");
    assert_eq!(message(&far, &mut [0; 128]).len, 5);
    drop(listener);
    assert!(Listener::bind(&address, 1).is_ok());
}

#[test]
fn the_longest_path_works() {
    let dir = TempDir::new().unwrap();
    let stem = dir.path().as_os_str().len() + 1;
    let path = dir.path().join("s".repeat(MAX_ADDRESS_LEN - stem));
    let address = SocketAddress::new(&path).unwrap();
    let listener = Listener::bind(&address, 1).unwrap();
    assert!(path.exists());
    drop(Channel::connect(&address).unwrap());
    drop(listener);
    assert!(!path.exists());
}

#[test]
fn a_live_listener_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let listener = Listener::bind(&address(&dir), 8).unwrap();
    assert!(matches!(Listener::bind(&address(&dir), 8), Err(SocketError::InUse { .. })));
    assert!(address(&dir).path().unwrap().exists());
    drop(listener);

    let other = UnixListener::bind(address(&dir).path().unwrap()).unwrap();
    assert!(matches!(Listener::bind(&address(&dir), 8), Err(SocketError::InUse { .. })));
    assert!(matches!(Channel::connect(&address(&dir)), Err(SocketError::WrongType { .. })));
    drop(other);
}

#[test]
fn a_stale_socket_is_taken_over() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("memif.sock");
    // std leaves the file behind when the socket closes, as a killed process does.
    drop(UnixDatagram::bind(&path).unwrap());
    assert!(path.exists());
    assert!(matches!(Channel::connect(&address(&dir)), Err(SocketError::NoListener { .. })));
    let _listener = Listener::bind(&address(&dir), 8).unwrap();
    assert!(Channel::connect(&address(&dir)).is_ok());
}

#[test]
fn a_file_in_the_way_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("memif.sock");
    fs::write(&path, "precious").unwrap();
    match Listener::bind(&address(&dir), 8).unwrap_err() {
        SocketError::NotASocket { path: told } => assert_eq!(told, path),
        other => panic!("{other}"),
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_file(&path).unwrap();

    fs::create_dir(&path).unwrap();
    assert!(matches!(Listener::bind(&address(&dir), 8), Err(SocketError::NotASocket { .. })));
    fs::remove_dir(&path).unwrap();

    std::os::unix::fs::symlink("nowhere", &path).unwrap();
    assert!(matches!(Listener::bind(&address(&dir), 8), Err(SocketError::NotASocket { .. })));
    assert!(fs::symlink_metadata(&path).is_ok());
}

#[test]
fn missing_directories_and_rights_are_told_apart() {
    let dir = TempDir::new().unwrap();
    let inside = |name: &str| SocketAddress::new(dir.path().join(name)).unwrap();
    assert!(matches!(Listener::bind(&inside("no/s"), 8), Err(SocketError::NoDirectory { .. })));
    fs::write(dir.path().join("file"), "").unwrap();
    assert!(matches!(Listener::bind(&inside("file/s"), 8), Err(SocketError::NoDirectory { .. })));
    // Nobody, root included, creates sockets in sysfs.
    let sysfs = SocketAddress::new("/sys/memif.sock").unwrap();
    assert!(matches!(Listener::bind(&sysfs, 8), Err(SocketError::Permission { .. })));
}

#[test]
fn connecting_to_nothing_is_told() {
    let dir = TempDir::new().unwrap();
    let errno = |dir: &TempDir| match Channel::connect(&address(dir)).unwrap_err() {
        SocketError::NoListener { error, .. } => error.raw_os_error(),
        other => panic!("{other}"),
    };
    assert_eq!(errno(&dir), Some(libc::ENOENT));
    fs::write(dir.path().join("memif.sock"), "").unwrap();
    assert_eq!(errno(&dir), Some(libc::ECONNREFUSED));
}

#[test]
fn a_full_backlog_is_busy() {
    let dir = TempDir::new().unwrap();
    let listener = Listener::bind(&address(&dir), 1).unwrap();
    let mut waiting = Vec::new();
    let error = loop {
        assert!(waiting.len() < 100);
        match Channel::connect(&address(&dir)) {
            Ok(channel) => waiting.push(channel),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, SocketError::Busy { .. }), "{error}");
    // A busy listener is alive.
    assert!(matches!(Listener::bind(&address(&dir), 8), Err(SocketError::InUse { .. })));
    assert!(listener.accept().unwrap().is_some());
    assert!(Channel::connect(&address(&dir)).is_ok());
}

#[test]
fn a_dropped_listener_removes_its_own_file_only() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("memif.sock");
    drop(Listener::bind(&address(&dir), 8).unwrap());
    assert!(!path.exists());

    let first = Listener::bind(&address(&dir), 8).unwrap();
    fs::remove_file(&path).unwrap();
    let _second = Listener::bind(&address(&dir), 8).unwrap();
    drop(first);
    assert!(path.exists());
    assert!(Channel::connect(&address(&dir)).is_ok());
}

#[test]
fn somebody_elses_listener_keeps_its_file() {
    let dir = TempDir::new().unwrap();
    let owner = Listener::bind(&address(&dir), 8).unwrap();
    let guest = Listener::from_fd(owner.as_fd().try_clone_to_owned().unwrap()).unwrap();
    let _near = Channel::connect(&address(&dir)).unwrap();
    assert!(guest.accept().unwrap().is_some());
    assert!(guest.accept().unwrap().is_none());
    drop(guest);
    assert!(address(&dir).path().unwrap().exists());
}

#[test]
fn what_is_no_listener_is_refused() {
    let dir = TempDir::new().unwrap();
    let stream = UnixListener::bind(dir.path().join("stream")).unwrap();
    let (reader, _writer) = io::pipe().unwrap();
    for fd in [OwnedFd::from(stream), reader.into(), socket().unwrap(), link().near.fd] {
        assert!(matches!(Listener::from_fd(fd), Err(SocketError::NotAListener { .. })));
    }
}

#[test]
fn a_socket_file_has_the_mode_asked_for_before_it_listens() {
    let dir = tempfile::tempdir().unwrap();
    for mode in [0o600, 0o660, 0o666, 0o777] {
        let path = dir.path().join(format!("{mode:o}.sock"));
        let address = SocketAddress::new(&path).unwrap();
        let access = SocketAccess { mode: Some(mode), ..SocketAccess::default() };
        let _listener = Listener::bind_for(&address, 1, access).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode);
    }
    let own = fs::metadata(dir.path()).unwrap();
    let path = dir.path().join("owned.sock");
    let access = SocketAccess { mode: None, uid: Some(own.uid()), gid: Some(own.gid()) };
    let _listener = Listener::bind_for(&SocketAddress::new(&path).unwrap(), 1, access).unwrap();
    let made = fs::metadata(&path).unwrap();
    assert_eq!((made.uid(), made.gid()), (own.uid(), own.gid()));
}
