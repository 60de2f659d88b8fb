//! `respond` and `ping`.

use crate::harness::{Tool, assert_empty, folder, number, run, wait_for};

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
