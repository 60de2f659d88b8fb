//! Listeners, their files, and connecting to them.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener};

use super::*;
use crate::socket::raw::seqpacket;
use crate::socket::{MAX_ADDRESS_LEN, SocketError};

#[test]
fn accept_without_a_client_returns_at_once() {
    let dir = TempDir::new().unwrap();
    let listener = Listener::bind(&address(&dir), 1).unwrap();
    assert!(listener.accept().unwrap().is_none());
    drop(Channel::connect(&address(&dir)).unwrap());
    let mut gone = listener.accept().unwrap().unwrap();
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
    let mut far = listener.accept().unwrap().unwrap();
    send(&near, b"hello");
    assert_eq!(message(&mut far, &mut [0; 128]).len, 5);
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
    // a socket whose owner is gone
    let gone = UnixDatagram::bind(dir.path().join("memif.sock")).unwrap();
    drop(gone);
    assert_eq!(errno(&dir), Some(libc::ECONNREFUSED));
    for other in ["file", "folder"] {
        let path = dir.path().join(other);
        if other == "file" { fs::write(&path, "") } else { fs::create_dir(&path) }.unwrap();
        let error = Channel::connect(&SocketAddress::new(&path).unwrap()).unwrap_err();
        assert!(matches!(error, SocketError::NotASocket { .. }), "{error}");
    }
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
    for fd in [OwnedFd::from(stream), reader.into(), seqpacket().unwrap(), link().near.into()] {
        assert!(matches!(Listener::from_fd(fd), Err(SocketError::NotAListener { .. })));
    }
}

#[test]
fn a_closed_listener_gives_its_address_and_its_clients_back() {
    let dir = TempDir::new().unwrap();
    for address in [address(&dir), SocketAddress::new(format!("@{}", dir.path().display())).unwrap()] {
        let listener = Listener::bind(&address, 8).unwrap();
        let mut clients: Vec<Channel> = (0..5).map(|_| Channel::connect(&address).unwrap()).collect();
        let left = listener.close();
        assert!(matches!(Channel::connect(&address), Err(SocketError::NoListener { .. })));
        drop(Listener::bind(&address, 8).unwrap());
        for client in &mut clients {
            assert!(matches!(client.recv(&mut [0; 128]).unwrap(), Incoming::WouldBlock));
        }
        assert_eq!(left.len(), clients.len());
        drop(left);
        for client in &mut clients {
            assert!(matches!(client.recv(&mut [0; 128]).unwrap(), Incoming::Closed));
        }
    }
}

#[test]
fn closing_somebody_elses_listener_leaves_it_open() {
    let dir = TempDir::new().unwrap();
    let owner = Listener::bind(&address(&dir), 8).unwrap();
    let guest = Listener::from_fd(owner.as_fd().try_clone_to_owned().unwrap()).unwrap();
    let _waiting = Channel::connect(&address(&dir)).unwrap();
    assert_eq!(guest.close().len(), 1);
    assert!(owner.accept().unwrap().is_some());
    assert!(Channel::connect(&address(&dir)).is_ok());
}

#[test]
fn looking_for_a_live_listener_leaves_no_connection_with_it() {
    let dir = TempDir::new().unwrap();
    let listener = Listener::bind(&address(&dir), 8).unwrap();
    Listener::bind(&address(&dir), 8).unwrap_err();
    assert!(listener.accept().unwrap().is_none());
}
