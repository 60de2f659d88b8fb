//! Packets of other processes, copied as they pass.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use pcap_file::DataLink;
use pcap_file::pcapng::blocks::interface_statistics::InterfaceStatisticsOption;
use pcap_file::pcapng::{Block, PcapNgReader};

use crate::harness::{Ended, Tool, folder, program, run, wait_for};
use crate::observing::pair;

/// Sequence numbers of the test packets in a capture, and the numbers of its statistics blocks.
pub(crate) fn read(path: &Path) -> (Vec<u64>, Vec<(u64, u64)>) {
    let mut reader = PcapNgReader::new(File::open(path).unwrap()).unwrap();
    let (mut sequences, mut statistics) = (Vec::new(), Vec::new());
    while let Some(block) = reader.next_block() {
        match block.unwrap() {
            Block::EnhancedPacket(packet) => {
                assert_eq!(packet.original_len as usize, packet.data.len());
                assert!(etherparse::PacketHeaders::from_ethernet_slice(&packet.data).is_ok());
                // see memif-cli/src/packet
                assert_eq!(packet.data[42..44], 0x9e66u16.to_le_bytes());
                sequences.push(u64::from_le_bytes(packet.data[48..56].try_into().unwrap()));
            }
            Block::InterfaceStatistics(block) => {
                let (mut received, mut dropped) = (None, None);
                for option in &block.options {
                    match option {
                        InterfaceStatisticsOption::IsbIfRecv(number) => received = Some(*number),
                        InterfaceStatisticsOption::IsbIfDrop(number) => dropped = Some(*number),
                        _ => {}
                    }
                }
                statistics.push((received.unwrap(), dropped.unwrap()));
            }
            _ => {}
        }
    }
    (sequences, statistics)
}

fn dump(folder: &Path, pid: u32, options: &str) -> Ended {
    run(folder, &format!("dump --pid {pid} {options}"))
}

#[test]
fn a_capture_has_packets_in_order_and_says_what_was_missed() {
    let folder = folder();
    let (_sink, generator) = pair(folder.path(), "--rate 2k --verify --size 64-1500");
    let ended = dump(folder.path(), generator.child.id(), "-c 300 -w out.pcapng");
    assert_eq!((ended.code, ended.lines.len()), (Some(0), 0), "{ended:?}");
    let (sequences, statistics) = read(&folder.path().join("out.pcapng"));
    assert_eq!(sequences.len(), 300);
    assert!(sequences.is_sorted_by(|one, next| one < next), "{sequences:?}");
    let [(received, dropped), (0, 0)] = statistics.as_slice() else { panic!("{statistics:?}") };
    assert!(*received >= 300 + dropped, "{statistics:?}");
}

#[test]
fn all_rings_of_a_link_with_ip_packets_have_one_link_type() {
    let folder = folder();
    let _sink = Tool::start(folder.path(), "sink m.sock,role=master,mode=ip --json");
    wait_for(folder.path(), "m.sock");
    let generator = Tool::start(folder.path(), "gen m.sock,mode=ip --json --rate 1k");
    generator.next_line();
    let ended = dump(folder.path(), generator.child.id(), "-c 20 -w out.pcapng");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let mut reader = PcapNgReader::new(File::open(folder.path().join("out.pcapng")).unwrap()).unwrap();
    let mut types = Vec::new();
    while let Some(block) = reader.next_block() {
        if let Block::InterfaceDescription(block) = block.unwrap() {
            types.push(block.linktype);
        }
    }
    // nothing passes m2s/0
    assert_eq!(types, [DataLink::RAW, DataLink::RAW]);
}

#[test]
fn lines_are_those_of_the_ring_and_the_filter() {
    let folder = folder();
    let (_sink, generator) = pair(folder.path(), "--rate 1k");
    let pid = generator.child.id();
    let ended = dump(folder.path(), pid, "-c 5 --ring s2m/0 udp and dst port 9 and not vlan");
    assert_eq!((ended.code, ended.lines.len()), (Some(0), 5), "{ended:?}");
    for line in &ended.lines {
        assert!(line.contains(" s2m/0 198.18.") && line.ends_with("UDP, length 64"), "{line}");
    }
    assert!(ended.stderr.contains("s2m/0: 5 packets"), "{ended:?}");
}

#[test]
fn a_dump_ends_with_the_link() {
    let folder = folder();
    let (sink, generator) = pair(folder.path(), "--rate 1k");
    let dump = Tool::start(folder.path(), &format!("dump --pid {} udp", generator.child.id()));
    dump.next_line();
    drop((sink, generator));
    let ended = dump.wait();
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
}

#[test]
fn bad_input_is_one_line() {
    let folder = folder();
    let (_sink, generator) = pair(folder.path(), "--rate 1k");
    let pid = generator.child.id();
    for (options, code, reason) in [
        ("port one", 2, "a port, 0 to 65535 expected"),
        ("-c 0", 2, "0"),
        ("-s 65536", 2, "65536"),
        ("--ring s2m/7", 1, "the rings are: s2m/0, m2s/0"),
        ("-w missing/out.pcapng", 1, "missing/out.pcapng"),
    ] {
        let ended = dump(folder.path(), pid, options);
        assert_eq!((ended.code, ended.lines.len()), (Some(code), 0), "{options}: {ended:?}");
        assert!(ended.stderr.lines().count() == 1 && ended.stderr.contains(reason), "{options}: {ended:?}");
    }
    let full = dump(folder.path(), pid, "-w /dev/full");
    assert_eq!(full.code, Some(1), "{full:?}");
    assert!(full.stderr.lines().last().unwrap().contains("cannot write the capture /dev/full"), "{full:?}");
}

#[test]
fn a_reader_that_closes_the_pipe_ends_it() {
    let folder = folder();
    let (_sink, generator) = pair(folder.path(), "--rate 1k");
    let mut dump = Command::new(program())
        .args(["dump", "--pid", &generator.child.id().to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(dump.stdout.take());
    assert_eq!(dump.wait().unwrap().code(), Some(0));
}
