//! `respond` and `ping`.

use std::time::Instant;

use etherparse::PacketBuilder;
use memif_pmd::{Burst, Memif, Port};

use crate::harness::{PATIENCE, Tool, assert_empty, folder, number, run, wait_for};
use crate::links::{add_pair, allowed, inside};

const OURS: &str = "10.0.0.1/24,2001:db8::1/64";
const THEIRS: &str = "10.0.0.2/24,2001:db8::2/64";

/// Pings a responder over a link with these keys, and returns how many packets the responder sent.
fn answers(keys: &str, ping_is_master: bool, targets: [&str; 2]) -> u64 {
    let folder = folder();
    let (master, slave) = (format!("m.sock,role=master{keys}"), format!("m.sock{keys}"));
    let (ours, theirs) = if ping_is_master { (master, slave) } else { (slave, master) };
    let responder = Tool::start(folder.path(), &format!("respond {theirs} --ip {THEIRS} --json"));
    if !ping_is_master {
        wait_for(folder.path(), "m.sock");
    }
    for target in targets {
        let ping = format!("ping {ours} {target} --ip {OURS} -c 4 --interval 0.001 --json");
        let ended = run(folder.path(), &ping);
        let summary = ended.success();
        assert_eq!((number(&summary, "/sent"), number(&summary, "/answered")), (4, 4), "{ended:?}");
        assert_eq!((number(&summary, "/lost"), number(&summary, "/unexpected")), (0, 0), "{ended:?}");
        assert!(number(&summary, "/round_trip_ns/p50") > 0 && summary["target"] == target, "{ended:?}");
        let lines: Vec<_> = ended.lines[..4].iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        for (sequence, line) in (1..).zip(&lines) {
            assert_eq!((number(line, "/sequence"), number(line, "/bytes")), (sequence, 64));
            assert_eq!(line["from"], target);
        }
    }
    responder.signal("INT");
    let sent = number(&responder.wait().success(), "/packets");
    assert_empty(folder.path());
    sent
}

#[test]
fn hosts_answer_in_both_modes_families_and_roles() {
    for ping_is_master in [false, true] {
        // each link's first answer is to ARP or to a neighbour solicitation, and IPv6 may ask back
        let ethernet = answers("", ping_is_master, ["10.0.0.2", "2001:db8::2"]);
        assert!((10..=14).contains(&ethernet), "{ethernet}");
        assert_eq!(answers(",mode=ip", ping_is_master, ["2001:db8::2", "10.0.0.2"]), 8);
    }
}

#[test]
fn hosts_answer_on_all_queues_and_in_every_rx_mode() {
    for keys in [",queues=3,mode=ip", ",rx=interrupt,mode=ip", ",rx=adaptive,queues=2,ring=4,mode=ip"] {
        assert_eq!(answers(keys, false, ["10.0.0.2", "10.0.0.2"]), 8);
    }
}

#[test]
fn a_ping_prints_a_line_for_each_answer_and_a_summary() {
    let folder = folder();
    let _responder = Tool::start(folder.path(), &format!("respond m.sock,role=master --ip {THEIRS}"));
    wait_for(folder.path(), "m.sock");
    let ping = Tool::start(folder.path(), &format!("ping m.sock --ip {OURS} 10.0.0.2 --interval 0.001"));
    for sequence in 1..=3 {
        let line = ping.next_line();
        assert!(line.starts_with(&format!("64 bytes from 10.0.0.2: sequence {sequence}, ")), "{line}");
    }
    ping.signal("INT");
    let ended = ping.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for part in ["target        10.0.0.2", "sent ", "answered ", "lost ", "round trip    p50 "] {
        assert!(ended.lines.iter().any(|line| line.starts_with(part)), "{part}: {ended:?}");
    }
}

#[test]
fn a_ping_that_nothing_answers_fails() {
    let folder = folder();
    let _sink = Tool::start(folder.path(), "sink m.sock,role=master");
    wait_for(folder.path(), "m.sock");
    let ended = run(folder.path(), &format!("ping m.sock --ip {OURS} 10.0.0.2 --seconds 0.2 --json"));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(number(&ended.summary(), "/sent") > 0 && number(&ended.summary(), "/answered") == 0);
    assert!(ended.stderr.lines().last().unwrap().contains("10.0.0.2 did not answer"), "{ended:?}");
    // nothing of an address that the responder does not have
    let _responder = Tool::start(folder.path(), &format!("respond r.sock,role=master,mode=ip --ip {THEIRS}"));
    wait_for(folder.path(), "r.sock");
    let ended = run(folder.path(), &format!("ping r.sock,mode=ip --ip {OURS} 10.0.0.3 --seconds 0.2 --json"));
    assert_eq!((ended.code, number(&ended.summary(), "/answered")), (Some(1), 0), "{ended:?}");
}

#[test]
fn hosts_answer_over_interfaces_of_the_kernel() {
    if !allowed() {
        return;
    }
    for (ours, theirs) in [("packet", "xdp"), ("xdp", "packet")] {
        let folder = folder();
        let holder = Tool::start_in_namespace(folder.path(), "sink m.sock,role=master");
        wait_for(folder.path(), "m.sock");
        inside(&holder, || add_pair("v0", "v1"));
        let responder = format!("respond {theirs}:v1 --ip {THEIRS} --json");
        let responder = Tool::start_inside(&holder, folder.path(), &responder);
        responder.next_line();
        for target in ["10.0.0.2", "2001:db8::2"] {
            let line = format!("ping {ours}:v0 {target} --ip {OURS} -c 4 --interval 0.001 --json");
            let summary = Tool::start_inside(&holder, folder.path(), &line).wait().success();
            assert_eq!((number(&summary, "/sent"), number(&summary, "/answered")), (4, 4), "{ours} {target}");
        }
        responder.signal("INT");
        assert!(number(&responder.wait().success(), "/packets") >= 10);
    }
    // the kernel resolves the responder's address on a TAP
    let folder = folder();
    let line = format!("respond tap:t0,ip=10.0.0.1/24 --ip {THEIRS} --json");
    let responder = Tool::start_in_namespace(folder.path(), &line);
    responder.next_line();
    let answer = inside(&responder, || {
        // nobody has the port: only the answer to ARP matters
        let socket = std::net::UdpSocket::bind("10.0.0.1:0").unwrap();
        socket.connect("10.0.0.2:9").unwrap();
        socket.send(b"x").unwrap();
        let began = std::time::Instant::now();
        loop {
            let table = std::fs::read_to_string("/proc/thread-self/net/arp").unwrap();
            if table.contains("02:6d:0a:00:00:02") {
                return table;
            }
            assert!(began.elapsed() < PATIENCE, "{table}");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    });
    assert!(answer.contains("10.0.0.2"));
    responder.signal("TERM");
    assert!(number(&responder.wait().success(), "/packets") >= 1);
}

/// The peer sends requests and receives no answers.
#[test]
fn answers_without_room_are_counted() {
    let folder = folder();
    let responder = format!("respond m.sock,role=master,mode=ip --ip {THEIRS} --json");
    let responder = Tool::start(folder.path(), &responder);
    wait_for(folder.path(), "m.sock");
    let memif = Memif::start().unwrap();
    let port = format!("{},mode=ip,ring=64", folder.path().join("m.sock").display());
    let interface = port.parse::<Port>().unwrap().interface(&memif).open().unwrap();
    interface.wait_up(Some(PATIENCE)).unwrap();
    let mut request = Vec::new();
    let builder = PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
    builder.icmpv4_echo_request(1, 1).write(&mut request, b"data").unwrap();
    let mut tx = interface.tx(0).unwrap();
    let mut burst = Burst::new(32).unwrap();
    let mut sent = 0;
    let began = Instant::now();
    while sent < 1000 {
        assert!(began.elapsed() < PATIENCE, "{sent}");
        while burst.len() + burst.waiting() < 32 && burst.push(&request).is_ok() {}
        sent += tx.send(&mut burst);
    }
    drop(burst);
    loop {
        let line: serde_json::Value = serde_json::from_str(&responder.next_line()).unwrap();
        let unanswered = line["drops"].get("unanswered").and_then(serde_json::Value::as_u64);
        // the ring and the responder's burst hold some answers
        if unanswered.is_some_and(|unanswered| (800..sent as u64).contains(&unanswered)) {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{line}");
    }
    responder.signal("INT");
    responder.wait().success();
}
