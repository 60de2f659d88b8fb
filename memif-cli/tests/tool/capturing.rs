//! `--capture`: what passes a command, in a file.

use crate::dumping::read;
use crate::harness::{Tool, folder, number, run, wait_for};

#[test]
fn both_ends_of_a_link_capture_the_same_packets() {
    let folder = folder();
    let sink = "sink m.sock,role=master --count 3k --verify --json --capture in.pcapng";
    let sink = Tool::start(folder.path(), sink);
    wait_for(folder.path(), "m.sock");
    let line = "gen m.sock --count 3k --size 64-9000 --verify --json --capture out.pcapng --rate 10k";
    let generator = run(folder.path(), line);
    assert_eq!(number(&generator.success(), "/packets"), 3000);
    let sink = sink.wait();
    assert_eq!(number(&sink.success(), "/verified"), 3000);
    for (ended, file) in [(generator, "out.pcapng"), (sink, "in.pcapng")] {
        let (sequences, statistics) = read(&folder.path().join(file));
        let dropped: u64 = statistics.iter().map(|(_, dropped)| dropped).sum();
        // a disk may be slow, and is not waited for
        assert_eq!(sequences.len() as u64 + dropped, 3000, "{file}: {statistics:?}");
        assert!(sequences.is_sorted_by(|one, next| one < next), "{file}");
        assert_eq!(statistics.len(), 2, "an interface for each ring: {statistics:?}");
        let said = format!("{file}: {} packets, {dropped} not captured", sequences.len());
        assert!(ended.stderr.contains(&said), "{ended:?}");
    }
}

#[test]
fn a_forwarder_captures_what_comes_and_what_goes() {
    for copy in ["", "--zero-copy"] {
        let folder = folder();
        let sink = Tool::start(folder.path(), "sink b.sock,role=master --count 500 --verify --json");
        let generator = "gen a.sock,role=master --count 500 --verify --json --rate 5k";
        let generator = Tool::start(folder.path(), generator);
        wait_for(folder.path(), "a.sock");
        wait_for(folder.path(), "b.sock");
        let line = format!("forward {copy} a.sock b.sock --json --capture all.pcapng");
        let forwarder = Tool::start(folder.path(), &line);
        assert_eq!(number(&generator.wait().success(), "/packets"), 500);
        assert_eq!(number(&sink.wait().success(), "/verified"), 500);
        forwarder.signal("INT");
        forwarder.wait().success();
        let (sequences, statistics) = read(&folder.path().join("all.pcapng"));
        let received: Vec<_> = statistics.iter().map(|(received, _)| *received).collect();
        assert_eq!(received, [500, 0, 0, 500], "{copy}");
        let dropped: u64 = statistics.iter().map(|(_, dropped)| dropped).sum();
        assert_eq!(sequences.len() as u64 + dropped, 1000, "{copy}");
    }
}

#[test]
fn a_file_that_cannot_be_written_is_one_line() {
    let folder = folder();
    for (line, code, reason) in [
        (
            "sink m.sock,role=master --capture missing/a.pcapng",
            1,
            "cannot write the capture missing/a.pcapng",
        ),
        ("sink m.sock,role=master --capture -", 2, "--capture needs a file"),
        ("forward null: null: --capture a.pcapng", 2, "memif port"),
        ("echo m.sock --metrics here", 2, "write ADDRESS:PORT"),
        ("echo m.sock,role=master --metrics 192.0.2.1:80", 1, "choose an address of this host"),
    ] {
        let ended = run(folder.path(), line);
        assert_eq!((ended.code, ended.lines.len()), (Some(code), 0), "{line}: {ended:?}");
        assert!(ended.stderr.contains(reason) && ended.stderr.lines().count() == 1, "{line}: {ended:?}");
    }
    // a disk that fills up ends the run
    let sink = Tool::start(folder.path(), "sink m.sock,role=master --json --capture /dev/full");
    wait_for(folder.path(), "m.sock");
    let _generator = Tool::start(folder.path(), "gen m.sock --size 9000 --json");
    let ended = sink.wait();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.lines().last().unwrap().contains("cannot write the capture /dev/full"), "{ended:?}");
}
