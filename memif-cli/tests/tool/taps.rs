//! TAP interfaces. They take rights that most users do not have: without, it is checked that their lack is named.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use memif_os::socket::NetNamespace;

use crate::harness::{Ended, PATIENCE, Tool, assert_empty, folder, number, run, wait_for};
use crate::links::{allowed, delete, inside};

/// Names of the interfaces in the namespace of a tool, without `lo`.
fn interfaces(tool: &Tool) -> Vec<String> {
    let path = format!("/proc/{}/net/dev", tool.child.id());
    let text = std::fs::read_to_string(path).unwrap();
    let names = text.lines().skip(2).filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim());
    names.filter(|name| *name != "lo").map(str::to_owned).collect()
}

fn wait_for_interface(tool: &Tool, name: &str) {
    let began = Instant::now();
    while !interfaces(tool).iter().any(|other| other == name) {
        assert!(began.elapsed() < PATIENCE, "no {name}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Without the right.
fn is_refused(folder: &Path) {
    let ended = run(folder, "gen tap:memif-t0 --count 1");
    assert_eq!((ended.code, ended.stderr.lines().count()), (Some(1), 1), "{ended:?}");
    assert!(ended.stderr.starts_with("memif: port tap:memif-t0: "), "{ended:?}");
}

/// Two tools in namespaces of their own, each with a TAP interface, joined by memif.
fn joined(folder: &Path, options: &str) -> (Tool, Tool) {
    let line = |number: u8, role: &str| {
        format!("forward tap:t{number},ip=10.77.0.{number}/24{options} m.sock,role={role}{options} --json")
    };
    let one = Tool::start_in_namespace(folder, &line(1, "master"));
    wait_for(folder, "m.sock");
    let other = Tool::start_in_namespace(folder, &line(2, "slave"));
    wait_for_interface(&one, "t1");
    wait_for_interface(&other, "t2");
    (one, other)
}

fn pattern(len: usize) -> Vec<u8> {
    (0..=252).cycle().step_by(31).take(len).collect()
}

#[test]
fn connections_of_the_kernel_pass_memif_with_segments_and_checksums_made_here() {
    let folder = folder();
    if !allowed() {
        return is_refused(folder.path());
    }
    for options in ["", ",queues=2"] {
        let (one, other) = joined(folder.path(), options);
        let listener = inside(&other, || TcpListener::bind("10.77.0.2:7000").unwrap());
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut received = Vec::new();
            stream.read_to_end(&mut received).unwrap();
            stream.write_all(&received[..1_000_000]).unwrap();
            received
        });
        let sent = pattern(5_000_000);
        let mut stream = inside(&one, || TcpStream::connect("10.77.0.2:7000").unwrap());
        stream.write_all(&sent).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        assert!(server.join().unwrap() == sent && back == sent[..1_000_000]);
        other.signal("TERM");
        one.signal("INT");
        for summary in [one.wait().success(), other.wait().success()] {
            // segments of 1448 bytes there, and acknowledgements back
            assert!(number(&summary, "/packets") > 3000, "{summary}");
            assert_eq!(summary["drops"].get("bad_offload"), None, "{summary}");
        }
        assert_empty(folder.path());
    }
}

#[test]
fn an_interface_that_is_deleted_ends_the_run_and_leaves_nothing() {
    let folder = folder();
    if !allowed() {
        return is_refused(folder.path());
    }
    let tool = Tool::start_in_namespace(folder.path(), "forward tap:t1 m.sock,role=master --json");
    wait_for_interface(&tool, "t1");
    wait_for(folder.path(), "m.sock");
    // the run begins with the link
    let peer = Tool::start(folder.path(), "gen m.sock --rate 100 --json");
    tool.next_line();
    inside(&tool, || delete("t1"));
    let Ended { code, stderr, .. } = tool.wait();
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.lines().last().unwrap().contains("port tap:t1: the interface has vanished"), "{stderr}");
    peer.signal("INT");
    peer.wait();
    assert_empty(folder.path());
}

#[test]
fn an_interface_is_made_in_another_namespace_and_goes_with_the_process() {
    let folder = folder();
    if !allowed() {
        return is_refused(folder.path());
    }
    let holder = Tool::start_in_namespace(folder.path(), "sink m.sock,role=master");
    wait_for(folder.path(), "m.sock");
    let namespace = holder.child.id();
    assert!(NetNamespace::new(&namespace.to_string()).is_ok());
    for (end, persist) in [("INT", ""), ("KILL", ""), ("TERM", ",persist")] {
        let line = format!(
            "gen tap:t5,netns={namespace},mtu=1400,mac=02:00:00:00:00:05,ip=fd77::1/64{persist} --json"
        );
        let tool = Tool::start(folder.path(), &line);
        wait_for_interface(&holder, "t5");
        tool.next_line();
        let busy = run(folder.path(), &format!("gen tap:t5,netns={namespace} --count 1"));
        assert!(
            busy.code == Some(1) && busy.stderr.contains("another program uses the interface"),
            "{busy:?}"
        );
        tool.signal(end);
        let ended = tool.wait();
        assert!(ended.code == Some(0) || end == "KILL", "{ended:?}");
        let stays = !persist.is_empty();
        assert_eq!(interfaces(&holder).iter().any(|name| name == "t5"), stays, "{end}");
    }
    for (port, reason) in [
        ("tap:lo", "is not a TAP"),
        ("tap:t6,netns=/proc/self/ns/mnt", "no network namespace"),
        ("tap:t6,netns=memif-no-such", "no network namespace"),
    ] {
        let ended = run(folder.path(), &format!("gen {port} --count 1"));
        assert_eq!((ended.code, ended.stderr.lines().count()), (Some(1), 1), "{port}: {ended:?}");
        assert!(ended.stderr.contains(reason), "{port}: {ended:?}");
    }
}

/// Whether there is a program `ping`, which a minimal system lacks. With `MEMIF_NETNS`, as in `ci/netns.sh`, there must be.
fn has_ping() -> bool {
    let found = Command::new("ping").arg("-V").output().is_ok();
    assert!(found || std::env::var_os("MEMIF_NETNS").is_none(), "no ping");
    found
}

/// Pings by the kernel from the namespace of a tool, until three are answered: the first ones may wait for the link.
fn kernel_pings(tool: &Tool, target: &'static str) {
    let ping = move || Command::new("ping").args(["-c", "3", "-i", "0.01", "-w", "60", target]).output();
    let output = inside(tool, ping).unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn pings_of_the_kernel_pass_from_tap_to_tap_and_to_a_responder() {
    let folder = folder();
    if !allowed() {
        return is_refused(folder.path());
    }
    if !has_ping() {
        return;
    }
    let (one, other) = joined(folder.path(), "");
    kernel_pings(&one, "10.77.0.2");
    kernel_pings(&other, "10.77.0.1");
    other.signal("TERM");
    other.wait().success();
    // the master has a new peer
    let addresses = "10.77.0.3/24,fd77::3/64";
    let responder = Tool::start(folder.path(), &format!("respond m.sock --ip {addresses} --json"));
    kernel_pings(&one, "10.77.0.3");
    responder.signal("INT");
    assert!(number(&responder.wait().success(), "/packets") >= 4, "an answer to ARP, and three to pings");
    one.signal("TERM");
    one.wait().success();
    assert_empty(folder.path());
}

#[test]
fn a_ping_through_a_tap_is_answered_by_the_kernel() {
    let folder = folder();
    if !allowed() {
        return is_refused(folder.path());
    }
    for (own, target) in [("10.77.0.2/24", "10.77.0.1"), ("fd77::2/64", "fd77::1")] {
        let line = format!("ping tap:t1,ip=10.77.0.1/24,ip=fd77::1/64 --ip {own} {target} -c 3 --json");
        // the kernel checks its new IPv6 address for a duplicate before it answers
        let summary = Tool::start_in_namespace(folder.path(), &line).wait().summary();
        assert_eq!(number(&summary, "/sent"), 3, "{summary}");
        assert!(number(&summary, "/answered") > 0, "{summary}");
    }
}

#[test]
fn a_killed_peer_beside_a_tap_is_replaced_and_the_tap_goes_with_the_forwarder() {
    let folder = folder();
    if !allowed() {
        return is_refused(folder.path());
    }
    if !has_ping() {
        return;
    }
    let holder = Tool::start_in_namespace(folder.path(), "sink h.sock,role=master");
    wait_for(folder.path(), "h.sock");
    let line = "forward tap:t1,ip=10.77.0.1/24 m.sock,role=master --json";
    let forwarder = Tool::start_inside(&holder, folder.path(), line);
    wait_for(folder.path(), "m.sock");
    for end in ["KILL", "KILL", "INT"] {
        let peer = Tool::start(folder.path(), "respond m.sock --ip 10.77.0.2/24");
        kernel_pings(&holder, "10.77.0.2");
        peer.signal(end);
        peer.wait();
        assert_eq!(interfaces(&holder), ["t1"], "{end}");
    }
    forwarder.signal("TERM");
    let ended = forwarder.wait();
    let links: Vec<_> = ended
        .events
        .iter()
        .filter_map(|event| event.split('"').find(|word| word.starts_with("link-")))
        .collect();
    assert_eq!(links[..5], ["link-up", "link-down", "link-up", "link-down", "link-up"], "{ended:?}");
    ended.success();
    assert!(interfaces(&holder).is_empty());
    holder.signal("INT");
    holder.wait();
    assert_empty(folder.path());
}
