//! Echo and forwarder.

use serde_json::Value;

use crate::harness::{Tool, assert_empty, folder, number, run, wait_for};

#[test]
fn an_echo_sends_all_packets_back() {
    let folder = folder();
    let echo = Tool::start(folder.path(), "echo m.sock,role=master,queues=2 --json");
    wait_for(folder.path(), "m.sock");
    // more than all rings hold: it would stall if nothing came back
    let sent = run(folder.path(), "gen m.sock,queues=2,ring=64 --count 20k --json").success();
    assert_eq!(number(&sent, "/packets"), 20_000);
    // what the generator did not wait for has no link to go back on
    let accounted = |record: &Value| {
        number(record, "/packets") + record["drops"].get("link_down").and_then(Value::as_u64).unwrap_or(0)
    };
    let mut seen = 0;
    let mut lines = Vec::new();
    while seen < 20_000 && lines.len() < 30 {
        lines.push(echo.next_line());
        seen += accounted(&serde_json::from_str(&lines[lines.len() - 1]).unwrap());
    }
    assert_eq!(seen, 20_000, "{lines:?}");
    echo.signal("TERM");
    assert_eq!(accounted(&echo.wait().success()), 20_000);
    assert_empty(folder.path());
}

#[test]
fn a_forwarder_forwards_all_packets() {
    forwards("forward a.sock,queues=2 b.sock,queues=2 --json", 300);
}

#[test]
fn a_zero_copy_forwarder_forwards_all_packets() {
    forwards("forward --zero-copy a.sock,queues=2,ring=256 b.sock,queues=2 --json", 300);
    // packets of five buffers
    forwards("forward --zero-copy a.sock,queues=2 b.sock,queues=2 --json", 9000);
}

#[test]
fn a_forwarder_forwards_all_packets_when_a_link_has_fewer_rings() {
    for copy in ["", "--zero-copy"] {
        let line = format!("forward {copy} a.sock,queues=3 b.sock,queues=3 --json");
        for (left, right) in [(3, 1), (1, 3), (3, 2)] {
            forwards_between(&line, 300, left, right);
        }
    }
}

#[test]
fn queues_of_either_direction_may_differ_in_ip_mode_over_abstract_sockets() {
    let folder = folder();
    let name = |side: &str| format!("@memif-test-{side}-{}", std::process::id());
    let (a, b) = (name("a"), name("b"));
    let sink = Tool::start(
        folder.path(),
        &format!("sink {b},role=master,mode=ip,rx-queues=3 --count 20k --verify --json"),
    );
    let line = format!("forward {a},mode=ip,rx-queues=2,tx-queues=4 {b},mode=ip,tx-queues=3 --json");
    let forwarder = Tool::start(folder.path(), &line);
    let line = format!("gen {a},role=master,mode=ip,tx-queues=2 --count 20k --size 100-3000 --verify --json");
    assert_eq!(number(&run(folder.path(), &line).success(), "/packets"), 20_000);
    assert_eq!(number(&sink.wait().success(), "/verified"), 20_000);
    forwarder.signal("INT");
    assert_eq!(number(&forwarder.wait().success(), "/packets"), 20_000);
}

fn forwards(line: &str, size: u16) {
    forwards_between(line, size, 2, 2);
}

/// Passes packets from a generator to a sink, which have so many queues.
fn forwards_between(line: &str, size: u16, left: u16, right: u16) {
    let folder = folder();
    let sink = format!("sink b.sock,role=master,queues={right} --count 20k --verify --json");
    let sink = Tool::start(folder.path(), &sink);
    let generator = format!("gen a.sock,role=master,queues={left} --count 20k --size {size} --verify --json");
    let generator = Tool::start(folder.path(), &generator);
    wait_for(folder.path(), "a.sock");
    wait_for(folder.path(), "b.sock");
    let forwarder = Tool::start(folder.path(), line);
    assert_eq!(number(&generator.wait().success(), "/packets"), 20_000);
    assert_eq!(number(&sink.wait().success(), "/verified"), 20_000);
    forwarder.signal("INT");
    assert_eq!(number(&forwarder.wait().success(), "/packets"), 20_000);
    assert_empty(folder.path());
}
