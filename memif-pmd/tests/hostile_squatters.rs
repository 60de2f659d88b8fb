//! Processes that take the socket of a master before it does, in order to get what its slaves send: the secret, and
//! packet memory. A slave that allows only some users says nothing to the others.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;
mod hostile_peer;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use common::packet_memory::{BUFFERS, memory};
use common::{PATIENCE, address, events, exchange, next, until};
use hostile_peer::bystander::Bystander;
use hostile_peer::child::{Actor, arrived, part};
use hostile_peer::master::{ScriptedListener, hello};
use memif_pmd::{Disconnect, Event, FaultKind, Interface, InterfaceBuilder, Memif, PeerFault};
use memif_ring::message::Message;
use rustix::fs::Uid;
use rustix::process::geteuid;
use rustix::thread::set_thread_uid;

/// How many attempts of the slave a squatter sees.
const ATTEMPTS: u64 = 3;

/// A user that none of these processes runs as.
const NOBODY: u32 = 65534;

/// The squatter's part: takes the socket, says HELLO to those who come, and is told nothing but that it is not allowed.
fn squat(socket: &str, user: &str) {
    if user != "same" {
        set_thread_uid(Uid::from_raw(user.parse().unwrap())).unwrap();
    }
    let listener = ScriptedListener::new(socket);
    for _ in 0..ATTEMPTS {
        let wire = listener.accept();
        wire.send(&Message::Hello(hello()), &[]);
        match (wire.hear(), wire.hear()) {
            (Some((Message::Disconnect { reason, .. }, None)), None) => {
                assert_eq!(reason.to_string(), "Not allowed");
            }
            heard => panic!("the squatter got {heard:?}"),
        }
    }
    arrived();
}

/// A slave, and its events.
fn slave<'m>(memif: &'m Memif, socket: &str) -> (InterfaceBuilder<'m>, Receiver<Event>) {
    let (handler, heard) = events();
    let slave = memif.interface(socket).secret("known to few").ring_size(64).on_event(handler);
    (slave.reconnect(Duration::from_millis(5)), heard)
}

/// The slave has refused the squatter at each attempt, and its operator knows whom. Later attempts may find the squatter's
/// backlog full.
fn refused(slave: &Interface, heard: &Receiver<Event>, uid: u32, gid: u32) {
    let fault = PeerFault::NotAllowed { uid, gid };
    let told = Event::ConnectFailed(Disconnect::Fault(fault));
    for _ in 0..ATTEMPTS {
        until("a refusal", || next(heard) == told);
    }
    let details = slave.details().unwrap();
    let count = details.faults().find(|(kind, _)| *kind == FaultKind::NotAllowed).unwrap().1;
    assert!(count >= ATTEMPTS && details.faults().count() == 1, "{count} refusals");
    let text = fault.to_string();
    assert!(text.contains(&format!("user {uid}, group {gid}")) && text.contains("allow this one"), "{text}");
}

fn ids() -> (u32, u32) {
    let me = fs::metadata("/proc/self").unwrap();
    (me.uid(), me.gid())
}

#[test]
fn a_listener_that_is_not_allowed_gets_neither_secret_nor_memory() {
    const TEST: &str = "a_listener_that_is_not_allowed_gets_neither_secret_nor_memory";
    if let Some(part) = part() {
        return squat(&part[0], &part[1]);
    }
    let memif = Memif::start().unwrap();
    let mut bystander = Bystander::new(&memif, &address());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memif.sock").to_str().unwrap().to_owned();
    let (uid, gid) = ids();
    for socket in [address(), path] {
        let mut squatter = Actor::new(TEST, &format!("{socket} same"));
        let packets = memory(&memif);
        let (slave, heard) = slave(&memif, &socket);
        let slave = slave.packet_memory(&packets).allow_uid(uid + 1).allow_gid(gid + 1).open().unwrap();
        squatter.wait_arrived();
        refused(&slave, &heard, uid, gid);
        assert_eq!(packets.free_buffers(), BUFFERS);
        bystander.moves_on();
        squatter.finish();
    }
    bystander.finish();
}

/// The slave allows the user of its master. Another user takes the socket first, which takes the right to do so: of root
/// here, who alone can be two users.
#[test]
fn a_slave_goes_on_to_its_master_when_the_squatter_is_gone() {
    const TEST: &str = "a_slave_goes_on_to_its_master_when_the_squatter_is_gone";
    if let Some(part) = part() {
        return squat(&part[0], &part[1]);
    }
    let memif = Memif::start().unwrap();
    let mut bystander = Bystander::new(&memif, &address());
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    let path = dir.path().join("memif.sock").to_str().unwrap().to_owned();
    let (uid, gid) = ids();
    for socket in [address(), path] {
        let (slave, heard) = slave(&memif, &socket);
        let slave = slave.allow_uid(uid).open().unwrap();
        if geteuid().is_root() {
            let mut squatter = Actor::new(TEST, &format!("{socket} {NOBODY}"));
            squatter.wait_arrived();
            refused(&slave, &heard, NOBODY, gid);
            bystander.moves_on();
            squatter.finish();
        }
        let own = Memif::start().unwrap();
        let master = own.interface(&socket).master().secret("known to few").open().unwrap();
        slave.wait_up(Some(PATIENCE)).unwrap();
        until("the master's link", || master.is_up());
        exchange((&mut slave.tx(0).unwrap(), &mut master.rx(0).unwrap()), 0..200, 60..=3000);
        exchange((&mut master.tx(0).unwrap(), &mut slave.rx(0).unwrap()), 0..200, 60..=3000);
    }
    bystander.finish();
}
