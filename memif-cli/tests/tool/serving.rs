//! Metrics over HTTP.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{PATIENCE, Tool, folder, run, wait_for};
use crate::observing::pair;

/// What is served at this URL.
pub(crate) fn get(url: &str) -> String {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut client = TcpStream::connect(host).unwrap();
    write!(client, "GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("application/openmetrics-text"), "{answer}");
    assert!(body.ends_with("# EOF\n"), "{answer}");
    body.to_owned()
}

#[test]
fn an_exporter_serves_the_links_of_the_host_until_a_signal() {
    let folder = folder();
    let (_sink, _generator) = pair(folder.path(), "--rate 1k");
    let exporter = Tool::start(folder.path(), "exporter --listen 0");
    let url = exporter.next_line();
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    // counts the packets since it began to look
    let counted = |line: &str| {
        line.starts_with("memif_ring_descriptors_total{")
            && line.contains("m.sock\"")
            && line.contains("ring=\"s2m/0\"")
            && !line.ends_with(" 0")
    };
    let began = Instant::now();
    while !get(&url).lines().any(counted) {
        assert!(began.elapsed() < PATIENCE, "{}", get(&url));
        thread::sleep(Duration::from_millis(100));
    }

    let second = run(folder.path(), &format!("exporter --listen {}", host(&url)));
    assert_eq!((second.code, second.stderr.lines().count()), (Some(1), 1), "{second:?}");
    assert!(second.stderr.contains("in use") && second.stderr.contains("another port"), "{second:?}");
    exporter.signal("TERM");
    assert_eq!(exporter.wait().code, Some(0));
}

fn host(url: &str) -> &str {
    url.trim_start_matches("http://").trim_end_matches("/metrics")
}

#[test]
fn a_command_serves_the_counters_of_its_ports() {
    let folder = folder();
    let sink = Tool::start(folder.path(), "sink m.sock,role=master --json --metrics 0");
    wait_for(folder.path(), "m.sock");
    let generator = Tool::start(folder.path(), "gen m.sock --json --rate 1k");
    generator.next_line();
    let note = sink.next_note();
    let url = note.strip_prefix("memif: metrics at ").unwrap();
    let counted = |line: &str| line.starts_with("memif_rx_packets_total{socket=\"") && !line.ends_with(" 0");
    assert!(get(url).lines().any(counted), "{}", get(url));
}

#[test]
fn addresses_that_cannot_be_listened_on_are_one_line() {
    let folder = folder();
    for (address, code, reason) in
        [("localhost:9100", 2, "write ADDRESS:PORT"), ("192.0.2.1:9100", 1, "choose an address of this host")]
    {
        let ended = run(folder.path(), &format!("exporter --listen {address}"));
        assert_eq!((ended.code, ended.lines.len()), (Some(code), 0), "{address}: {ended:?}");
        assert!(ended.stderr.contains(reason) && ended.stderr.lines().count() == 1, "{address}: {ended:?}");
    }
}
