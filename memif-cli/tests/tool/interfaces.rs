//! Network interfaces, by AF_PACKET and AF_XDP: the two ends of a pair, in a namespace of its own.

use std::fs;

use crate::harness::{Tool, folder, number, run, wait_for};
use crate::links::{add_pair, allowed, delete, inside};

/// A tool whose namespace has the pair `v0`, `v1`.
fn holder(folder: &std::path::Path) -> Tool {
    let holder = Tool::start_in_namespace(folder, "sink m.sock,role=master");
    wait_for(folder, "m.sock");
    inside(&holder, || add_pair("v0", "v1"));
    holder
}

#[test]
fn packets_go_from_one_interface_to_the_other() {
    if !allowed() {
        return;
    }
    for (from, to) in [("packet", "packet"), ("xdp", "xdp"), ("packet", "xdp"), ("xdp", "packet")] {
        let folder = folder();
        let holder = holder(folder.path());
        let sink = Tool::start_inside(&holder, folder.path(), &format!("sink {to}:v1 --verify --json"));
        sink.next_line();
        // no more than there is room for: none is lost, however busy the machine is
        let generator = format!("gen {from}:v0 --count 1500 --size 64-1514 --verify --json");
        let sent = Tool::start_inside(&holder, folder.path(), &generator).wait();
        assert_eq!(number(&sent.success(), "/packets"), 1500, "{from}");
        let mut verified = 0;
        while verified < 1500 {
            let line = serde_json::from_str(&sink.next_line()).unwrap();
            verified += number(&line, "/verified");
        }
        sink.signal("INT");
        // the kernel sends packets of its own on the pair
        let summary = sink.wait().summary();
        assert_eq!(
            (number(&summary, "/verified"), number(&summary, "/lost")),
            (1500, 0),
            "{from} {to}: {summary}"
        );
    }
}

#[test]
fn the_packet_memory_of_an_xdp_port_lies_on_huge_pages_where_there_are_any() {
    let enabled = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    if !allowed() || enabled.is_empty() || enabled.contains("[never]") {
        return;
    }
    let folder = folder();
    let holder = holder(folder.path());
    let sink = Tool::start_inside(&holder, folder.path(), "sink xdp:v1 --json");
    sink.next_line();
    let maps = fs::read_to_string(format!("/proc/{}/smaps", sink.child.id())).unwrap();
    let sizes =
        maps.lines().filter_map(|line| line.strip_prefix("AnonHugePages:")?.trim().strip_suffix(" kB"));
    let huge: u64 = sizes.map(|size| size.parse::<u64>().unwrap()).sum();
    assert!(huge >= 2048, "{huge} KiB on huge pages");
}

#[test]
fn interfaces_of_another_namespace_are_opened_by_its_name() {
    if !allowed() {
        return;
    }
    for kind in ["packet", "xdp"] {
        let folder = folder();
        let holder = holder(folder.path());
        let namespace = format!("netns={}", holder.child.id());
        let sink = Tool::start(folder.path(), &format!("sink {kind}:v1,{namespace} --verify --json"));
        sink.next_line();
        let outside = run(folder.path(), &format!("gen {kind}:v0 --count 1"));
        assert!(outside.code == Some(1) && outside.stderr.contains("no such interface"), "{outside:?}");
        let generator = format!("gen {kind}:v0,{namespace} --count 1000 --verify --json");
        assert_eq!(number(&run(folder.path(), &generator).success(), "/packets"), 1000);
        let mut verified = 0;
        while verified < 1000 {
            verified += number(&serde_json::from_str(&sink.next_line()).unwrap(), "/verified");
        }
        inside(&holder, || delete("v0"));
        let ended = sink.wait();
        assert!(ended.code == Some(1) && ended.stderr.contains("the interface has vanished"), "{ended:?}");
        let nowhere = run(folder.path(), &format!("gen {kind}:v0,netns=memif-no-such --count 1"));
        assert_eq!((nowhere.code, nowhere.stderr.lines().count()), (Some(1), 1), "{nowhere:?}");
        assert!(nowhere.stderr.contains("no network namespace"), "{nowhere:?}");
    }
}

/// Whether a process in the namespace has packet sockets, or an XDP program on `v1`.
fn is_held(holder: &Tool) -> bool {
    let sockets = std::fs::read_to_string(format!("/proc/{}/net/packet", holder.child.id())).unwrap();
    let folder = folder();
    let again = Tool::start_inside(holder, folder.path(), "sink xdp:v1 --seconds 0.01").wait();
    assert!(again.code == Some(0) || again.stderr.contains("another program"), "{again:?}");
    // the first line has the titles
    sockets.lines().count() > 1 || again.code != Some(0)
}

#[test]
fn a_process_leaves_nothing_on_interfaces_however_it_and_its_peer_end() {
    if !allowed() {
        return;
    }
    for kind in ["packet", "xdp"] {
        for signal in ["KILL", "TERM"] {
            let folder = folder();
            let holder = holder(folder.path());
            let line = format!("forward {kind}:v1 p.sock,role=master --json");
            let forwarder = Tool::start_inside(&holder, folder.path(), &line);
            wait_for(folder.path(), "p.sock");
            // the memif peer dies while packets pass both ways, and comes again
            for _ in 0..2 {
                let peer = Tool::start(folder.path(), "gen p.sock --json");
                let sender = Tool::start_inside(&holder, folder.path(), "gen packet:v0 --json");
                peer.next_line();
                sender.next_line();
                peer.signal("KILL");
                peer.wait();
                sender.signal("INT");
                sender.wait().success();
            }
            assert!(is_held(&holder), "{kind}: a forwarder that is not seen");
            forwarder.signal(signal);
            let ended = forwarder.wait();
            assert!(signal == "KILL" || ended.code == Some(0), "{kind}: {ended:?}");
            assert!(!is_held(&holder), "{kind} after {signal}");
        }
    }
}

#[test]
fn an_interface_that_vanishes_ends_the_run() {
    if !allowed() {
        return;
    }
    for kind in ["packet", "xdp"] {
        let folder = folder();
        let holder = holder(folder.path());
        let tools = ["gen", "sink"].map(|command| {
            let interface = if command == "gen" { "v0" } else { "v1" };
            let line = format!("{command} {kind}:{interface} --json");
            let tool = Tool::start_inside(&holder, folder.path(), &line);
            tool.next_line();
            tool
        });
        if kind == "xdp" {
            let second = Tool::start_inside(&holder, folder.path(), "sink xdp:v1").wait();
            assert!(second.code == Some(1) && second.stderr.contains("another program"), "{second:?}");
        }
        inside(&holder, || delete("v0"));
        for tool in tools {
            let ended = tool.wait();
            assert_eq!(ended.code, Some(1), "{kind}: {ended:?}");
            assert!(ended.stderr.contains("the interface has vanished"), "{kind}: {ended:?}");
        }
    }
}

#[test]
fn interfaces_that_cannot_be_had_are_one_line() {
    let folder = folder();
    for (port, code) in [
        ("packet:memif-none", 1),
        ("xdp:memif-none", 1),
        ("packet:lo,queue=1", 2),
        ("xdp:lo,mode=fast", 2),
        ("xdp:", 2),
        ("tap:a/b", 2),
    ] {
        let ended = run(folder.path(), &format!("gen {port} --count 1"));
        assert_eq!((ended.code, ended.stderr.lines().count()), (Some(code), 1), "{port}: {ended:?}");
        assert!(ended.stderr.contains("port "), "{port}: {ended:?}");
    }
}
