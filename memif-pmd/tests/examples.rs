//! The examples are run as a user runs them, with packets from interfaces of this program. `cargo test` has built them; a
//! run of this test program alone needs `cargo build -p memif-pmd --examples` before it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{PATIENCE, address, check, exchange, packet, until};
use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
use memif_pmd::{Burst, Interface, Memif, RxQueue, TxQueue};
use rustix::process::{Pid, Signal, kill_process};

/// A running example.
struct Example(Child);

impl Example {
    /// Starts it in `folder`.
    fn start_in(folder: &Path, name: &str, args: &[&str]) -> Self {
        let folder_of_profile =
            std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().to_owned();
        let program = folder_of_profile.join("examples").join(name);
        assert!(program.exists(), "{} is missing: cargo build -p memif-pmd --examples", program.display());
        let child = Command::new(program).args(args).current_dir(folder).stdout(Stdio::piped()).spawn();
        Self(child.unwrap())
    }

    fn start(name: &str, args: &[&str]) -> Self {
        Self::start_in(Path::new("/"), name, args)
    }

    /// Ends it as Ctrl-C does; returns what it has printed.
    fn interrupt(mut self) -> String {
        kill_process(Pid::from_child(&self.0), Signal::INT).unwrap();
        let mut status = None;
        until("the end of the example", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        assert!(status.unwrap().success(), "{status:?}");
        let mut printed = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        printed
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
    }
}

/// The other end of an example's port: a slave, while the example is `master`.
fn slave(memif: &Memif, socket: &str, queues: u16) -> Interface {
    let slave = memif.interface(socket).queues(queues).reconnect(std::time::Duration::from_millis(5));
    let slave = slave.open().unwrap();
    slave.wait_up(Some(PATIENCE)).unwrap();
    slave
}

fn queues(interface: &Interface) -> (TxQueue, RxQueue) {
    (interface.tx(0).unwrap(), interface.rx(0).unwrap())
}

fn send(tx: &mut TxQueue, packets: &[&[u8]]) {
    let mut burst = Burst::new(packets.len()).unwrap();
    packets.iter().for_each(|packet| burst.push(packet).unwrap());
    until("room", || {
        tx.send(&mut burst);
        burst.is_empty()
    });
}

/// The next `count` packets.
fn receive(rx: &mut RxQueue, count: usize) -> Vec<Vec<u8>> {
    let mut burst = Burst::new(count).unwrap();
    until("packets", || {
        rx.receive(&mut burst);
        burst.len() == count
    });
    burst.iter().map(<[u8]>::to_vec).collect()
}

fn receive_some(rx: &mut RxQueue) -> Vec<Vec<u8>> {
    let mut burst = Burst::new(64).unwrap();
    rx.receive(&mut burst);
    burst.iter().map(<[u8]>::to_vec).collect()
}

/// Sends packets until one gets through, as a link is up on one side before it is on the other; takes all that do.
fn wait_for_way((tx, rx): (&mut TxQueue, &mut RxQueue)) {
    let mut number = 0;
    until("the way", || {
        number += 1;
        send(tx, &[&packet(60, number)]);
        !receive_some(rx).is_empty()
    });
    let last = packet(60, number + 1);
    send(tx, &[&last]);
    until("the last one", || receive_some(rx).contains(&last));
}

#[test]
fn the_program_of_the_readme_forwards_and_is_what_the_readme_shows() {
    let text = include_str!("../examples/readme.rs");
    assert!(include_str!("../../README.md").contains(&format!("```rust,no_run\n{text}```\n")));

    let folder = tempfile::tempdir().unwrap();
    let memif = Memif::start().unwrap();
    let socket = |name| folder.path().join(name).to_str().unwrap().to_owned();
    let right = memif.interface(socket("right.sock")).master().id(3).secret("psst").open().unwrap();
    let example = Example::start_in(folder.path(), "readme", &[]);
    let left = slave(&memif, &socket("left.sock"), 1);
    right.wait_up(Some(PATIENCE)).unwrap();
    let ((mut left_tx, mut left_rx), (mut right_tx, mut right_rx)) = (queues(&left), queues(&right));
    wait_for_way((&mut right_tx, &mut left_rx));
    let mut ipv4 = packet(60, 7);
    ipv4[12..14].copy_from_slice(&[0x08, 0x00]);
    send(&mut left_tx, &[&ipv4, &packet(60, 1), &ipv4]);
    assert_eq!(receive(&mut right_rx, 3), [ipv4.clone(), packet(60, 1), ipv4]);
    exchange((&mut left_tx, &mut right_rx), 0..5000, 60..=60);
    exchange((&mut right_tx, &mut left_rx), 0..5000, 60..=3000);
    let numbers_like_ipv4 = (0..5000).filter(|number| packet(60, *number)[12..14] == [0x08, 0x00]).count();
    let printed = example.interrupt();
    assert_eq!(printed, format!("{} IPv4 packets went from left to right\n", 2 + numbers_like_ipv4));
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        1,
        "the example's socket file is still there"
    );
}

#[test]
fn echo_sends_back_on_every_queue() {
    let (socket, memif) = (address(), Memif::start().unwrap());
    let example = Example::start("echo", &[&format!("{socket},role=master,queues=3")]);
    let slave = slave(&memif, &socket, 3);
    for queue in 0..3 {
        let (mut tx, mut rx) = (slave.tx(queue).unwrap(), slave.rx(queue).unwrap());
        exchange((&mut tx, &mut rx), 0..1000, 60..=3000);
    }
    assert_eq!(example.interrupt(), "queue 0: 1000 packets\nqueue 1: 1000 packets\nqueue 2: 1000 packets\n");
}

#[test]
fn forward_passes_every_queue_both_ways() {
    let (sockets, memif) = ([address(), address()], Memif::start().unwrap());
    let ports = [0, 1].map(|side| format!("{},role=master,queues=2", sockets[side]));
    let example = Example::start("forward", &[&ports[0], &ports[1]]);
    let ends = [0, 1].map(|side| slave(&memif, &sockets[side], 2));
    for queue in 0..2 {
        for (from, to) in [(0, 1), (1, 0)] {
            let (mut tx, mut rx) = (ends[from].tx(queue).unwrap(), ends[to].rx(queue).unwrap());
            exchange((&mut tx, &mut rx), 0..500, 60..=1500);
        }
    }
    let printed = example.interrupt();
    for side in ["left", "right"] {
        for queue in 0..2 {
            let line = format!("{side}, queue {queue}: 500 packets in, 500 out\n");
            assert!(printed.contains(&line), "{printed}");
        }
    }
    let mut child = Example::start("forward", &[&format!("{},role=master", address()), &ports[1]]);
    assert!(!child.0.wait().unwrap().success(), "one queue here, and two there");
}

/// An echo in an event loop: one packet at a time, so that it sleeps in between; many at once; then more than its rings and its
/// burst hold, while nobody takes them back; and after a new link, too.
fn echoes_in_an_event_loop(name: &str) {
    let (socket, memif) = (address(), Memif::start().unwrap());
    let example = Example::start(name, &[&format!("{socket},role=master")]);
    for _link in 0..2 {
        let slave = slave(&memif, &socket, 1);
        let (mut tx, mut rx) = queues(&slave);
        for number in 0..200 {
            exchange((&mut tx, &mut rx), number..number + 1, 60..=1500);
        }
        exchange((&mut tx, &mut rx), 0..5000, 60..=1500);
        // two rings of 1024 and a burst of 64
        let (mut burst, mut sent) = (Burst::new(64).unwrap(), 0);
        until("full rings", || {
            while burst.push(&packet(60, sent)).is_ok() {
                sent += 1;
            }
            tx.send(&mut burst);
            slave.details().unwrap().tx[0].stats.packets >= 1024 + 5200 && !burst.is_empty()
        });
        let mut expected = 0;
        until("what waited", || {
            tx.send(&mut burst);
            for packet in receive_some(&mut rx) {
                check(&packet, expected);
                expected += 1;
            }
            expected == sent
        });
    }
    assert_eq!(example.interrupt(), "");
}

#[test]
fn poll_echoes_in_an_event_loop() {
    echoes_in_an_event_loop("poll");
}

#[test]
fn mio_echoes_in_an_event_loop() {
    echoes_in_an_event_loop("mio");
}

const US: [u8; 4] = [192, 0, 2, 1];
const PEER: [u8; 4] = [192, 0, 2, 9];
const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

fn arp_request(target: [u8; 4]) -> Vec<u8> {
    let ethernet = [&[0xff; 6], &PEER_MAC[..], &[8, 6]].concat();
    [&ethernet[..], &[0, 1, 8, 0, 6, 4, 0, 1], &PEER_MAC, &PEER, &[0; 6], &target].concat()
}

fn ping(mac: [u8; 6], target: [u8; 4]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(PEER_MAC, mac).ipv4(PEER, target, 64).icmpv4_echo_request(7, 1);
    let mut ping = Vec::new();
    builder.write(&mut ping, b"what is sent back").unwrap();
    ping
}

#[test]
fn icmp_responder_answers_arp_and_pings_for_its_address() {
    let (socket, memif) = (address(), Memif::start().unwrap());
    let example = Example::start("icmp_responder", &[&format!("{socket},role=master"), "192.0.2.1"]);
    let slave = slave(&memif, &socket, 1);
    let (mut tx, mut rx) = queues(&slave);
    let mut corrupt = ping([2; 6], US);
    *corrupt.last_mut().unwrap() ^= 1;
    let mut short_addresses = arp_request(US);
    short_addresses[18..20].copy_from_slice(&[1, 1]);
    let ignored = [arp_request(PEER), ping([2; 6], PEER), corrupt, short_addresses, vec![8; 13], vec![8; 60]];
    send(&mut tx, &ignored.iter().map(|packet| &packet[..]).collect::<Vec<_>>());
    send(&mut tx, &[&arp_request(US)]);

    let answer = receive(&mut rx, 1).remove(0);
    let mac: [u8; 6] = answer[6..12].try_into().unwrap();
    let arp = [&[0, 1, 8, 0, 6, 4, 0, 2], &mac[..], &US, &PEER_MAC, &PEER].concat();
    assert_eq!(answer, [&PEER_MAC[..], &mac, &[8, 6], &arp].concat());

    send(&mut tx, &[&ping(mac, US)]);
    let answer = receive(&mut rx, 1).remove(0);
    let sliced = SlicedPacket::from_ethernet(&answer).unwrap();
    let Some(TransportSlice::Icmpv4(icmp)) = sliced.transport else { panic!("{sliced:?}") };
    let mut expected = Vec::new();
    let builder = PacketBuilder::ethernet2(mac, PEER_MAC).ipv4(US, PEER, 64).icmpv4_echo_reply(7, 1);
    builder.write(&mut expected, icmp.payload()).unwrap();
    assert_eq!(icmp.payload(), b"what is sent back");
    assert_eq!(answer, expected, "checksums too");
    example.interrupt();
}

/// A frame between the hosts with these numbers; 255 is the broadcast address.
fn frame(to: u8, from: u8, number: u8) -> Vec<u8> {
    let mac = |host| if host == 255 { [255; 6] } else { [2, 0, 0, 0, 0, host] };
    [&mac(to)[..], &mac(from), &[8, 0, number], &[0; 45]].concat()
}

#[test]
fn switch_floods_and_then_learns() {
    let (sockets, memif) = ([0; 3].map(|_| address()), Memif::start().unwrap());
    let ports = [0, 1, 2].map(|port| format!("{},role=master", sockets[port]));
    let example = Example::start("switch", &ports.each_ref().map(|port| &port[..]));
    let ends = [0, 1, 2].map(|port| slave(&memif, &sockets[port], 1));
    let [(mut tx0, mut rx0), (mut tx1, mut rx1), (mut tx2, mut rx2)] = ends.each_ref().map(queues);
    // nobody knows host 1: all others get it; host 0 is known from then on
    send(&mut tx0, &[&frame(1, 0, 1)]);
    assert_eq!([receive(&mut rx1, 1), receive(&mut rx2, 1)], [[frame(1, 0, 1)], [frame(1, 0, 1)]]);
    send(&mut tx1, &[&frame(0, 1, 2)]);
    assert_eq!(receive(&mut rx0, 1), [frame(0, 1, 2)]);
    // what is for the port that it comes from, or no frame, goes nowhere
    send(&mut tx0, &[&frame(0, 9, 3), b"no frame", &frame(1, 0, 4)]);
    assert_eq!(receive(&mut rx1, 1), [frame(1, 0, 4)]);
    send(&mut tx2, &[&frame(255, 2, 5)]);
    assert_eq!([receive(&mut rx0, 1), receive(&mut rx1, 1)], [[frame(255, 2, 5)], [frame(255, 2, 5)]]);
    // and port 2 got nothing since the first one
    send(&mut tx0, &[&frame(2, 0, 6)]);
    assert_eq!(receive(&mut rx2, 1), [frame(2, 0, 6)]);
    assert_eq!(example.interrupt(), "4 addresses, 0 frames dropped\n");
}

#[test]
fn filter_keeps_out_what_goes_to_its_port() {
    let (sockets, memif) = ([address(), address()], Memif::start().unwrap());
    let ports = [0, 1].map(|side| format!("{},role=master", sockets[side]));
    let example = Example::start("filter", &[&ports[0], &ports[1], "22"]);
    let ends = [0, 1].map(|side| slave(&memif, &sockets[side], 1));
    let [(mut outside_tx, mut outside_rx), (mut inside_tx, mut inside_rx)] = ends.each_ref().map(queues);
    let ip = || PacketBuilder::ethernet2(PEER_MAC, [2; 6]).ipv4(PEER, US, 64);
    let written = |port: u16, tcp: bool| {
        let mut packet = Vec::new();
        match tcp {
            true => ip().tcp(4000, port, 1, 1024).write(&mut packet, b"data").unwrap(),
            false => ip().udp(4000, port).write(&mut packet, b"data").unwrap(),
        }
        packet
    };
    let (ssh, web, dns) = (written(22, true), written(80, true), written(22, false));
    let cut = &web[..40];
    send(&mut outside_tx, &[&ssh, &web, cut, &ssh, &arp_request(US), &dns]);
    assert_eq!(receive(&mut inside_rx, 3), [web, arp_request(US), dns]);
    send(&mut inside_tx, &[&ssh]);
    assert_eq!(receive(&mut outside_rx, 1), [ssh]);
    assert_eq!(example.interrupt(), "3 packets refused\n");
}
