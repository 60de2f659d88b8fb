//! Owner and mode of a socket file, also where somebody else owns its directory.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;
use crate::socket::SocketAccess;

#[test]
fn a_socket_file_has_the_mode_asked_for_before_it_listens() {
    let dir = TempDir::new().unwrap();
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

#[test]
fn setting_the_mode_leaves_no_connection_behind() {
    let dir = TempDir::new().unwrap();
    let access = SocketAccess { mode: Some(0o666), ..SocketAccess::default() };
    let listener = Listener::bind_for(&address(&dir), 1, access).unwrap();
    assert!(listener.accept().unwrap().is_none());
}

#[test]
fn a_file_that_only_changes_hands_keeps_the_usual_mode() {
    let dir = TempDir::new().unwrap();
    let usual = Listener::bind(&address(&dir), 1).unwrap();
    let mode = || fs::metadata(dir.path().join("memif.sock")).unwrap().permissions().mode();
    let before = mode();
    drop(usual);
    let own = fs::metadata(dir.path()).unwrap();
    let access = SocketAccess { mode: None, uid: Some(own.uid()), gid: Some(own.gid()) };
    let _listener = Listener::bind_for(&address(&dir), 1, access).unwrap();
    assert_eq!(mode(), before);
}

/// Puts something else in the place of a file for a moment. What fails comes too early or too late.
fn exchange(path: &Path, bait: &Path, aside: &Path, other: &Path) {
    if fs::rename(path, aside).is_ok() {
        let is_socket = bait.extension().is_some();
        let _ = if is_socket { fs::hard_link(bait, path) } else { symlink(bait, path) };
        let _ = fs::rename(path, other);
        let _ = fs::rename(aside, path);
    }
}

#[test]
fn a_file_exchanged_while_the_mode_is_set_keeps_its_own() {
    let dir = TempDir::new().unwrap();
    let (path, aside, other) =
        (dir.path().join("memif.sock"), dir.path().join("aside"), dir.path().join("other"));
    // what its owner must not have: a file of ours, and a socket of ours that is kept private
    let secret = dir.path().join("secret");
    fs::write(&secret, "").unwrap();
    let private = SocketAccess { mode: Some(0o600), ..SocketAccess::default() };
    let neighbour = SocketAddress::new(dir.path().join("neighbour.sock")).unwrap();
    let _neighbour = Listener::bind_for(&neighbour, 8, private).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();

    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 0.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let bait = if turn % 2 == 0 { &secret } else { neighbour.path().unwrap() };
                exchange(&path, bait, &aside, &other);
            }
        });
        for _ in 0..2000 {
            let access = SocketAccess { mode: Some(0o666), ..SocketAccess::default() };
            let _ = Listener::bind_for(&address(&dir), 8, access);
            for stray in [&path, &aside, &other] {
                let _ = fs::remove_file(stray);
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    for kept in [&secret, neighbour.path().unwrap()] {
        assert_eq!(fs::metadata(kept).unwrap().permissions().mode() & 0o777, 0o600, "{}", kept.display());
    }
}
