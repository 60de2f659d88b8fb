//! Captures that are replayed and written, and `null:`.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::pcapng::{Block, PcapNgReader};
use pcap_file::{DataLink, TsResolution};

use crate::harness::{Tool, folder, number, run, wait_for};

/// The packets of a pcapng file.
fn packets(path: &Path) -> Vec<Vec<u8>> {
    let mut reader = PcapNgReader::new(File::open(path).unwrap()).unwrap();
    let mut packets = Vec::new();
    while let Some(block) = reader.next_block() {
        if let Block::EnhancedPacket(packet) = block.unwrap() {
            assert_eq!(packet.original_len as usize, packet.data.len());
            packets.push(packet.data.into_owned());
        }
    }
    packets
}

/// Writes a pcap file of packets with times in milliseconds and lengths; `cut` bytes are captured at most.
fn write(path: &Path, datalink: DataLink, cut: usize, packets: &[(u64, usize)]) {
    let header = PcapHeader { datalink, ts_resolution: TsResolution::NanoSecond, ..PcapHeader::default() };
    let mut writer = PcapWriter::with_header(File::create(path).unwrap(), header).unwrap();
    for (time, length) in packets {
        let data = vec![0x45; *length.min(&cut)];
        let packet = PcapPacket::new(Duration::from_millis(*time), u32::try_from(*length).unwrap(), &data);
        writer.write_packet(&packet).unwrap();
    }
}

#[test]
fn what_is_generated_into_a_capture_verifies_when_it_is_replayed() {
    let folder = folder();
    let sent = run(folder.path(), "gen pcap:a.pcapng --count 2k --verify --size 64-9000 --json").success();
    assert_eq!(number(&sent, "/packets"), 2000);
    let sink = run(folder.path(), "sink pcap:a.pcapng --rate max --verify --json").success();
    assert_eq!((number(&sink, "/packets"), number(&sink, "/verified")), (2000, 2000));
    let copy = run(folder.path(), "forward pcap:a.pcapng pcap:b.pcapng --rate max --json").success();
    assert_eq!(number(&copy, "/packets"), 2000);
    assert!(copy["drops"].as_object().unwrap().is_empty(), "{copy}");
    let (a, b) = (packets(&folder.path().join("a.pcapng")), packets(&folder.path().join("b.pcapng")));
    assert!(a.len() == 2000 && a == b);
    let gone = run(folder.path(), "forward pcap:a.pcapng null: --rate 100k --json").success();
    assert_eq!(number(&gone, "/packets"), 2000);
}

#[test]
fn captures_pass_memif_both_ways() {
    let folder = folder();
    run(folder.path(), "gen pcap:a.pcapng --count 3k --verify --json").success();
    let writer = Tool::start(folder.path(), "forward m.sock,role=master,queues=2 pcap:b.pcapng --json");
    wait_for(folder.path(), "m.sock");
    let replay = run(folder.path(), "forward pcap:a.pcapng m.sock --rate max --json").success();
    assert_eq!(number(&replay, "/packets"), 3000);
    writer.signal("TERM");
    assert_eq!(number(&writer.wait().success(), "/packets"), 3000);
    let (a, b) = (packets(&folder.path().join("a.pcapng")), packets(&folder.path().join("b.pcapng")));
    assert!(a.len() == 3000 && a == b);
}

#[test]
fn distances_are_kept_and_a_capture_repeats() {
    let folder = folder();
    write(&folder.path().join("slow.pcap"), DataLink::ETHERNET, 9000, &[(5, 60), (5, 61), (405, 62)]);
    let slow = run(folder.path(), "sink pcap:slow.pcap --json").success();
    assert_eq!((number(&slow, "/packets"), number(&slow, "/bytes")), (3, 183));
    // the clock of the run may begin a little later than that of the capture
    assert!(slow["seconds"].as_f64().unwrap() >= 0.3, "{slow}");
    let looped = run(folder.path(), "sink pcap:slow.pcap --loop --rate max --count 1k --json").success();
    assert!(number(&looped, "/packets") >= 1000, "{looped}");
}

#[test]
fn packets_that_cannot_be_replayed_are_counted() {
    let folder = folder();
    write(&folder.path().join("cut.pcap"), DataLink::ETHERNET, 128, &[(1, 60), (2, 1500), (3, 128)]);
    let cut = run(folder.path(), "forward pcap:cut.pcap null: --json").success();
    assert_eq!((number(&cut, "/packets"), number(&cut, "/drops/truncated")), (2, 1));
    // packets to a capture that is replayed have nowhere to go
    let generator = Tool::start(folder.path(), "gen m.sock,role=master --count 100 --json");
    wait_for(folder.path(), "m.sock");
    let replay = Tool::start(folder.path(), "forward pcap:cut.pcap m.sock --loop --json");
    generator.wait().success();
    // a second worker that polls for them would take a core
    let threads = fs::read_dir(format!("/proc/{}/task", replay.child.id())).unwrap().flatten();
    let names = threads.map(|thread| fs::read_to_string(thread.path().join("comm")).unwrap_or_default());
    assert_eq!(names.filter(|name| name.trim() == "memif-worker").count(), 1);
    replay.signal("INT");
    assert_eq!(number(&replay.wait().success(), "/drops/sent_to_replay"), 100);
}

#[test]
fn a_capture_that_is_cut_off_is_replayed_up_to_there() {
    let folder = folder();
    run(folder.path(), "gen pcap:a.pcapng --count 500 --json").success();
    let path = folder.path().join("a.pcapng");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 70]).unwrap();
    let ended = run(folder.path(), "forward pcap:a.pcapng pcap:b.pcapng --rate max --json");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.ends_with("a.pcapng: it is cut off behind packet 499\n"), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    assert_eq!(number(&ended.summary(), "/packets"), 499);
    assert_eq!(packets(&folder.path().join("b.pcapng")).len(), 499);
}

#[test]
fn any_damage_is_an_error_or_a_shorter_replay() {
    let folder = folder();
    run(folder.path(), "gen pcap:a.pcapng --count 20 --json").success();
    let path = folder.path().join("a.pcapng");
    let whole = fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 30) {
        let mut damaged = whole.clone();
        for byte in damaged.iter_mut().skip(at).take(4) {
            *byte ^= 0xa5;
        }
        fs::write(&path, &damaged).unwrap();
        let ended = run(folder.path(), "sink pcap:a.pcapng --rate max --json");
        assert!(matches!(ended.code, Some(0 | 1)), "{at}: {ended:?}");
        assert!(ended.stderr.lines().count() <= 1 && !ended.stderr.contains("panic"), "{at}: {ended:?}");
    }
}

#[test]
fn bad_ports_are_one_line() {
    let folder = folder();
    fs::write(folder.path().join("text"), "no capture").unwrap();
    fs::write(folder.path().join("empty"), "").unwrap();
    write(&folder.path().join("ip.pcap"), DataLink::RAW, 9000, &[(1, 60)]);
    write(&folder.path().join("usb.pcap"), DataLink::USB_LINUX, 9000, &[(1, 60)]);
    for (line, code, reason) in [
        ("sink pcap:missing", 1, "cannot replay the capture missing: No such file"),
        ("sink pcap:text", 1, "it is not a capture"),
        ("sink pcap:empty", 1, "it is not a capture"),
        ("sink pcap:.", 1, "directory"),
        ("sink pcap:usb.pcap", 1, "neither Ethernet nor raw IP"),
        ("gen pcap:missing/out --count 1", 1, "cannot write the capture missing/out"),
        ("gen pcap:/dev/full --count 1M", 1, "cannot write the capture /dev/full: No space left"),
        ("gen pcap:/dev/full --count 1", 1, "cannot write the capture /dev/full: No space left"),
        ("gen pcap:", 2, "write pcap:FILE"),
        ("gen null:x", 2, "behind the colon"),
        ("echo pcap:text", 2, "pcap:FILE is for forward, sink and gen"),
        ("sink null:", 2, "nothing ever comes from null:"),
        ("sink m.sock --rate max", 2, "for a capture that is replayed"),
        ("forward m.sock pcap:text --loop", 2, "for a capture that is replayed"),
        ("forward --zero-copy m.sock null:", 2, "two memif ports"),
        ("forward pcap:ip.pcap m.sock,role=master", 2, "Ethernet header"),
        ("forward pcap:ip.pcap null: --rate 0", 2, "max"),
    ] {
        let ended = run(folder.path(), line);
        assert_eq!(ended.code, Some(code), "{line}: {ended:?}");
        assert!(ended.stderr.lines().count() == 1 && ended.stderr.contains(reason), "{line}: {ended:?}");
    }
}
