//! The device over a loopback: bursts, full rings, and what it declares.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use memif_pmd::{Burst, LoopbackEnd, LoopbackRx, LoopbackTx, Memif, Mode, Receive, Transmit, loopback};
use memif_smoltcp::{DEFAULT_ETHERNET_MTU, DEFAULT_IP_MTU, Device, Error};
use smoltcp::phy::{Device as _, Medium, RxToken as _, TxToken as _};
use smoltcp::time;

/// The time does not matter to the device.
const NOW: time::Instant = time::Instant::ZERO;

fn device(end: LoopbackEnd) -> Device<LoopbackRx, LoopbackTx> {
    Device::new(end.rx, end.tx, Medium::Ip).unwrap()
}

/// Sends one packet of `len` bytes of the same value; false where the device gives no token.
fn send(device: &mut Device<LoopbackRx, LoopbackTx>, len: usize, value: u8) -> bool {
    let token = device.transmit(NOW);
    token.map(|token| token.consume(len, |packet| packet.fill(value))).is_some()
}

/// The first byte of each packet that is there.
fn all(rx: &mut LoopbackRx) -> Vec<u8> {
    let mut burst = Burst::new(256).unwrap();
    rx.receive(&mut burst);
    burst.iter().map(|packet| packet[0]).collect()
}

#[test]
fn a_burst_is_handed_out_one_packet_at_a_time() {
    let (near, mut far) = loopback(256);
    let mut device = device(near);
    let mut burst = Burst::new(200).unwrap();
    for number in 0..200 {
        burst.push(&[number; 40]).unwrap();
    }
    far.tx.send(&mut burst);
    for number in 0..200 {
        let (packet, _) = device.receive(NOW).unwrap();
        packet.consume(|packet| assert_eq!(packet, [number; 40]));
    }
    assert!(device.receive(NOW).is_none());
}

#[test]
fn packets_are_collected_and_sent_when_all_was_received() {
    let (near, mut far) = loopback(256);
    let mut device = device(near);
    for number in 0..3 {
        assert!(send(&mut device, 40, number));
    }
    assert_eq!(all(&mut far.rx), [0; 0]);
    assert!(device.receive(NOW).is_none());
    assert_eq!(all(&mut far.rx), [0, 1, 2]);
    assert!(send(&mut device, 40, 3));
    assert_eq!(device.flush(), 0);
    assert_eq!(all(&mut far.rx), [3]);
    // a whole burst is sent as soon as there is one packet more
    for number in 0..65 {
        assert!(send(&mut device, 40, number));
    }
    assert_eq!(all(&mut far.rx), (0..64).collect::<Vec<_>>());
}

#[test]
fn a_full_ring_holds_data_back_and_drops_answers_alone() {
    let (near, mut far) = loopback(8);
    let mut device = device(near);
    let mut sent = 0;
    while send(&mut device, 40, sent) {
        sent += 1;
    }
    // in the ring and in the burst
    assert_eq!((sent, device.flush(), device.dropped()), (72, 64, 0));

    let mut burst = Burst::new(1).unwrap();
    burst.push(&[1; 40]).unwrap();
    far.tx.send(&mut burst);
    let (request, answer) = device.receive(NOW).expect("received packets do not wait for room");
    request.consume(|packet| assert_eq!(packet, [1; 40]));
    answer.consume(40, |packet| packet.fill(99));
    assert_eq!(device.dropped(), 1);

    let mut received = Vec::new();
    while received.len() < 72 {
        received.extend(all(&mut far.rx));
        device.flush();
    }
    assert_eq!(received, (0..72).collect::<Vec<_>>());
}

#[test]
fn a_whole_burst_of_the_largest_packets_fits() {
    for mtu in [576, 1500, 2049, 9000, 65535] {
        let (near, mut far) = loopback(256);
        let mut device = device(near).with_mtu(mtu).unwrap();
        for number in 0..64 {
            assert!(send(&mut device, mtu, number));
        }
        device.flush();
        let (mut received, mut burst) = (Vec::new(), Burst::new(8).unwrap());
        while far.rx.receive(&mut burst) > 0 {
            assert!(burst.iter().all(|packet| packet.len() == mtu));
            received.extend(burst.iter().map(|packet| packet[0]));
            burst.clear();
        }
        assert_eq!((received, device.dropped()), ((0..64).collect(), 0));
    }
}

#[test]
fn packets_begin_as_zeros_and_impossible_ones_are_dropped() {
    let (near, mut far) = loopback(256);
    let mut device = device(near);
    for round in 0..3 {
        let token = device.transmit(NOW).unwrap();
        token.consume(1500, |packet| {
            assert!(packet.iter().all(|byte| *byte == 0), "round {round}");
            packet.fill(0xff);
        });
        device.flush();
    }
    for len in [0, 65536] {
        device.transmit(NOW).unwrap().consume(len, |packet| assert_eq!(packet.len(), len));
    }
    device.flush();
    assert_eq!((all(&mut far.rx).len(), device.dropped()), (3, 2));
}

#[test]
fn medium_mtu_and_checksums_are_declared() {
    let memif = Memif::start().unwrap();
    let socket = format!("@memif-smoltcp-declared-{}", std::process::id());
    let cases =
        [(Mode::Ethernet, Medium::Ethernet, DEFAULT_ETHERNET_MTU), (Mode::Ip, Medium::Ip, DEFAULT_IP_MTU)];
    for (mode, medium, mtu) in cases {
        let interface = memif.interface(&socket).mode(mode).open().unwrap();
        let device = Device::open(&interface, 0).unwrap();
        let capabilities = device.capabilities();
        assert_eq!((capabilities.medium, capabilities.max_transmission_unit), (medium, mtu));
        let sums = capabilities.checksum;
        for sum in [sums.ipv4, sums.tcp, sums.udp, sums.icmpv4] {
            assert!(sum.rx() && sum.tx(), "smoltcp verifies and computes");
        }
        for mtu in [575, 65536] {
            let interface = memif.interface(&socket).mode(mode).open().unwrap();
            let device = Device::open(&interface, 0).unwrap();
            assert!(matches!(device.with_mtu(mtu), Err(Error::Mtu { mtu: got }) if got == mtu));
        }
    }
    let punt = memif.interface(&socket).mode(Mode::PuntInject).open().unwrap();
    let error = Device::open(&punt, 0).unwrap_err();
    assert!(error.to_string().contains("punt"), "{error}");
    assert!(matches!(Device::open(&memif.interface(&socket).open().unwrap(), 1), Err(Error::Memif(_))));
}

#[test]
fn a_wait_ends_when_a_packet_comes_and_at_its_time() {
    let memif = Memif::start().unwrap();
    let socket = format!("@memif-smoltcp-wait-{}", std::process::id());
    let master = memif.interface(&socket).mode(Mode::Ip).master().open().unwrap();
    let slave = memif.interface(&socket).mode(Mode::Ip).open().unwrap();
    slave.wait_up(Some(Duration::from_secs(30))).unwrap();
    let mut device = Device::open(&master, 0).unwrap();
    let mut tx = slave.tx(0).unwrap();

    device.wait(Some(time::Duration::from_millis(5))).unwrap();
    assert!(device.receive(NOW).is_none());

    let sender = std::thread::spawn(move || {
        let mut burst = Burst::new(2).unwrap();
        burst.push(&[1; 40]).unwrap();
        burst.push(&[2; 40]).unwrap();
        tx.send(&mut burst);
        tx
    });
    let mut received = 0;
    while received < 2 {
        // without limit: a wake-up that is lost stops the test
        device.wait(None).unwrap();
        received += usize::from(device.receive(NOW).is_some());
    }
    drop(sender.join().unwrap());
}
