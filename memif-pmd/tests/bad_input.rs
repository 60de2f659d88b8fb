//! What users and machines get wrong: one error each, that names the thing, and nothing left behind.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::time::Duration;

use common::{
    PATIENCE, Pair, address, events, exchange, in_child_process, next, open_descriptors, until, variant,
};
use memif_pmd::{Burst, Disconnect, Error, Event, FaultKind, HugePages, Interface, Memif, Workers};

const SHORT: Duration = Duration::from_millis(5);

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn listen(memif: &Memif, path: &Path) -> Result<Interface, Error> {
    memif.interface(text(path)).master().open()
}

/// Why a slave does not get through to this socket.
fn unreachable(memif: &Memif, path: &Path) -> String {
    let (handler, seen) = events();
    let slave = memif.interface(text(path)).reconnect(SHORT).on_event(handler).open().unwrap();
    let Event::ConnectFailed(reason) = next(&seen) else { panic!() };
    let Err(Error::NoLink { last, .. }) = slave.wait_up(Some(SHORT)) else { panic!() };
    assert_eq!(last, Some(reason.clone()));
    reason.to_string()
}

#[test]
fn addresses_have_107_bytes_at_most() {
    let memif = Memif::start().unwrap();
    let longest = format!("{:x<107}", address());
    let _master = memif.interface(&longest).master().open().unwrap();
    memif.interface(&longest).open().unwrap().wait_up(Some(PATIENCE)).unwrap();
    for wrong in [format!("{longest}x"), format!("/tmp/{}", "x".repeat(103)), "/x".repeat(40_000)] {
        for builder in [memif.interface(&wrong).master(), memif.interface(&wrong).slave()] {
            let error = builder.open().unwrap_err();
            assert!(matches!(error, Error::Address(_)), "{error}");
            let text = error.to_string();
            assert!(text.contains(&wrong) && text.contains(&wrong.len().to_string()), "{text}");
        }
    }
    for wrong in ["", "@", "/tmp/a\0b"] {
        assert!(matches!(memif.interface(wrong).open(), Err(Error::Address(_))), "{wrong:?}");
    }
}

#[test]
fn a_directory_that_is_missing_is_named() {
    let memif = Memif::start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("missing").join("memif.sock");
    let error = listen(&memif, &path).unwrap_err();
    assert!(matches!(error, Error::NoDirectory(_)), "{error}");
    assert!(error.to_string().contains(&text(&path)), "{error}");
    assert!(unreachable(&memif, &path).contains(&text(&path)));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_directory_that_is_not_ours_is_named() {
    let memif = Memif::start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o555)).unwrap();
    // root may write there all the same, but nobody may here
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let path = if root { Path::new("/sys").join("memif.sock") } else { dir.path().join("memif.sock") };
    let error = listen(&memif, &path).unwrap_err();
    assert!(matches!(error, Error::Permission(_)), "{error}");
    assert!(error.to_string().contains(&text(&path)), "{error}");
}

#[test]
fn a_file_in_the_way_is_left_alone() {
    let memif = Memif::start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memif.sock");
    fs::write(&path, "precious").unwrap();
    let error = listen(&memif, &path).unwrap_err();
    assert!(matches!(error, Error::NotAMemifSocket(_)), "{error}");
    assert!(error.to_string().contains(&text(&path)), "{error}");
    assert!(unreachable(&memif, &path).contains(&text(&path)));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_listener_that_lives_keeps_its_place() {
    let (memif, other) = (Memif::start().unwrap(), Memif::start().unwrap());
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().join("memif.sock"), address().into()] {
        let master = listen(&memif, &path).unwrap();
        let error = listen(&other, &path).unwrap_err();
        assert!(matches!(error, Error::AddressInUse(_)), "{error}");
        assert!(error.to_string().contains(&text(&path)), "{error}");
        let slave = other.interface(text(&path)).reconnect(SHORT).open().unwrap();
        slave.wait_up(Some(PATIENCE)).unwrap();
        drop(master);
        // and now its place is free
        listen(&other, &path).unwrap();
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_stale_socket_file_is_taken_over() {
    let memif = Memif::start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memif.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(unreachable(&memif, &path).contains(&text(&path)));
    let master = listen(&memif, &path).unwrap();
    let slave = memif.interface(text(&path)).open().unwrap();
    slave.wait_up(Some(PATIENCE)).unwrap();
    drop((master, slave));
    assert!(!path.exists());
}

#[test]
fn sockets_of_other_kinds_are_not_taken_for_ours() {
    let memif = Memif::start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (stream, datagram) = (dir.path().join("stream"), dir.path().join("datagram"));
    let _stream = UnixListener::bind(&stream).unwrap();
    let _datagram = UnixDatagram::bind(&datagram).unwrap();
    for path in [stream, datagram] {
        let reason = unreachable(&memif, &path);
        assert!(reason.contains(&text(&path)) && reason.contains("SOCK_SEQPACKET"), "{reason}");
        let error = listen(&memif, &path).unwrap_err();
        assert!(matches!(error, Error::AddressInUse(_)), "{error}");
    }
}

#[test]
fn huge_pages_that_are_required_are_had_or_missed() {
    let memif = Memif::start().unwrap();
    let socket = address();
    let _master = memif.interface(&socket).master().open().unwrap();
    let builder = memif.interface(&socket).huge_pages(HugePages::Require).reconnect(SHORT);
    let slave = builder.open().unwrap();
    match slave.wait_up(Some(20 * SHORT)) {
        Ok(()) => assert!(slave.details().unwrap().regions[0].page_size > 4096),
        Err(error) => {
            let Error::NoLink { last: Some(Disconnect::Failed(reason)), .. } = &error else {
                panic!("{error}")
            };
            assert!(reason.contains("huge pages"), "{reason}");
        }
    }
    drop(slave);
    // more than any machine has
    let error = Workers::new().huge_pages(HugePages::Require).burst(1 << 20).anywhere((), |(), _| ());
    let error = (0..4096).fold(error, |workers, _| workers.anywhere((), |(), _| ())).start().unwrap_err();
    assert!(matches!(error, Error::NoHugePages(_)) && error.to_string().contains("huge pages"), "{error}");
}

#[test]
fn huge_pages_that_are_preferred_are_had_or_done_without() {
    let pair = Pair::of(|builder| builder.huge_pages(HugePages::Prefer));
    let region = &pair.slave.details().unwrap().regions[0];
    match &region.fallback {
        None => assert!(region.page_size > 4096),
        Some(why) => assert!(why.contains("huge pages") && region.page_size == 4096, "{why}"),
    }
    let pair = Pair::of(|builder| builder.huge_pages(HugePages::Off));
    let region = &pair.slave.details().unwrap().regions[0];
    assert_eq!((&region.fallback, region.page_size), (&None, 4096));
}

#[test]
fn running_out_of_descriptors_is_said_and_passes() {
    if !in_child_process("running_out_of_descriptors_is_said_and_passes", "ulimit -n 32") {
        return;
    }
    let memif = Memif::start().unwrap();
    let socket = address();
    let master = memif.interface(&socket).master().queues(16).open().unwrap();
    let before = open_descriptors();
    // two for the connection, one for the region, and one or two for each of 32 rings
    let slave = memif.interface(&socket).queues(16).reconnect(SHORT).open().unwrap();
    until("a failed attempt", || slave.details().unwrap().last_disconnect.is_some());
    let error = slave.wait_up(Some(20 * SHORT)).unwrap_err();
    let Error::NoLink { last: Some(Disconnect::Failed(reason)), .. } = &error else { panic!("{error}") };
    assert!(reason.contains("Too many open files") || reason.contains("ulimit -n"), "{reason}");
    drop(slave);
    until("everything to be freed", || open_descriptors() == before && !master.is_up());

    let mut files = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
    for error in [
        Memif::new().unwrap_err(),
        memif.interface(address()).master().open().unwrap_err(),
        Workers::new().anywhere((), |(), _| ()).start().unwrap_err(),
    ] {
        assert!(matches!(error, Error::OutOfDescriptors(_)), "{error:?}");
        assert!(error.to_string().contains("Too many open files"), "{error}");
    }
    let slave = memif.interface(&socket).reconnect(SHORT).open().unwrap();
    let error = slave.wait_up(Some(20 * SHORT)).unwrap_err();
    assert!(error.to_string().contains("Too many open files"), "{error}");
    // none of it has done harm
    drop(files);
    slave.wait_up(Some(PATIENCE)).unwrap();
    master.wait_up(Some(PATIENCE)).unwrap();
    exchange((&mut slave.tx(0).unwrap(), &mut master.rx(0).unwrap()), 0..100, 60..=60);
}

#[test]
fn memory_that_no_region_holds_is_refused() {
    let memif = Memif::start().unwrap();
    let wish = memif.interface(address()).queues(8).ring_size(16384).buffer_size(65535);
    let error = wish.clone().open().unwrap_err().to_string();
    assert!(error.contains("a region holds 4 GiB") && error.contains("fewer"), "{error}");
    // a master takes what its slave brings
    wish.master().open().unwrap();
}

#[test]
fn who_may_connect_is_up_to_the_master() {
    let memif = Memif::start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memif.sock");
    let me = fs::metadata("/proc/self").unwrap();
    let (uid, gid) = (me.uid(), me.gid());
    let builder = memif.interface(text(&path)).master().socket_owner(Some(uid), Some(gid));
    let master = builder.socket_mode(0o640).allow_uid(uid).open().unwrap();
    let made = fs::metadata(&path).unwrap();
    assert_eq!((made.mode() & 0o777, made.uid(), made.gid()), (0o640, uid, gid));
    let slave = memif.interface(text(&path)).open().unwrap();
    slave.wait_up(Some(PATIENCE)).unwrap();
    drop((master, slave));

    let master = memif.interface(text(&path)).master().allow_uid(uid + 1).allow_gid(gid + 1).open().unwrap();
    let reason = unreachable(&memif, &path);
    assert!(reason.contains("Not allowed"), "{reason}");
    until("the count", || master.details().unwrap().faults().any(|(kind, _)| kind == FaultKind::NotAllowed));
}

#[test]
fn bursts_of_absurd_sizes_are_refused() {
    for capacity in [usize::MAX, usize::MAX / 2048, 1 << 40, (1 << 20) + 1] {
        for error in [
            Burst::new(capacity).unwrap_err(),
            Workers::new().burst(capacity).anywhere((), |(), _| ()).start().unwrap_err(),
        ] {
            assert!(matches!(error, Error::OutOfRange { got, .. } if got == capacity as u64), "{error}");
        }
    }
}

#[test]
fn queues_are_given_out_once() {
    let memif = Memif::start().unwrap();
    let interface = memif.interface(address()).queues(3).open().unwrap();
    let (rx, _tx) = (interface.rx(2).unwrap(), interface.tx(2).unwrap());
    let error = interface.rx(2).unwrap_err();
    assert!(matches!(error, Error::QueueInUse { direction: "rx", index: 2 }), "{error}");
    let error = interface.tx(2).unwrap_err();
    assert!(matches!(error, Error::QueueInUse { direction: "tx", index: 2 }), "{error}");
    drop(rx);
    interface.rx(2).unwrap();
    for index in [3, u16::MAX] {
        let error = interface.rx(index).unwrap_err();
        assert!(matches!(error, Error::NoSuchQueue { direction: "rx", count: 3, .. }), "{error}");
        let error = interface.tx(index).unwrap_err();
        assert!(matches!(error, Error::NoSuchQueue { direction: "tx", count: 3, .. }), "{error}");
        assert!(error.to_string().contains(&index.to_string()), "{error}");
    }
}

#[test]
fn ports_as_text_are_checked_like_any_other() {
    let memif = Memif::start().unwrap();
    for (wrong, hint) in [
        ("x,colour=red", "part 1"),
        ("x,id=1,id=1", "id is given twice"),
        ("x,queues=70000", "queues must be a number"),
        ("x,role=boss", "use master or slave"),
    ] {
        let error = wrong.parse::<memif_pmd::Port>().unwrap_err();
        assert!(matches!(&error, Error::Port { socket, .. } if socket == "x"), "{error}");
        assert!(error.to_string().contains(hint), "{error}");
    }
    for (wrong, name) in [
        ("x,queues=0", "OutOfRange"),
        ("x,ring=5", "RingSize"),
        ("x,buffer=1", "OutOfRange"),
        ("x,secret=more-than-twenty-four-bytes", "Text"),
    ] {
        let port: memif_pmd::Port = wrong.parse().unwrap();
        let error = port.interface(&memif).open().unwrap_err();
        assert_eq!(variant(&error), name, "{wrong}: {error}");
    }
    let socket = address();
    let [master, slave] = ["role=master", "role=slave"].map(|role| {
        let text =
            format!("{socket},{role},id=9,mode=ip,secret=psst,queues=2,ring=64,buffer=512,rx=adaptive");
        text.parse::<memif_pmd::Port>().unwrap().interface(&memif).open().unwrap()
    });
    slave.wait_up(Some(PATIENCE)).unwrap();
    master.wait_up(Some(PATIENCE)).unwrap();
    exchange((&mut slave.tx(1).unwrap(), &mut master.rx(1).unwrap()), 0..100, 60..=2000);
}
