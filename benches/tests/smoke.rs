//! Each command once, with tiny samples: the report is whole, its samples parse, and packets moved. No figure is judged.

// helpers of tests fail as tests do
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};
use std::thread;

use tempfile::TempDir;

/// Short, and yet not so short that an end may come too late on a busy machine, three times in a row.
const TINY: &str = "--rounds 1 --warm-up 50 --time 100";

/// The program, which may have been copied to where the tests run from.
fn program() -> String {
    std::env::var("CARGO_BIN_EXE_memif-bench")
        .unwrap_or_else(|_| env!("CARGO_BIN_EXE_memif-bench").to_owned())
}

static TURN: Mutex<()> = Mutex::new(());

fn run(line: &str, folder: &TempDir) -> Output {
    let mut command = Command::new(program());
    command.args(line.split_whitespace()).arg("--out").arg(folder.path()).env("TMPDIR", folder.path());
    command.output().unwrap()
}

/// A sample's cells, figures at the end.
type Record = Vec<String>;

/// Runs a command; returns what it printed and the samples that it wrote, heads first.
fn measure(line: &str) -> Option<(String, TempDir, Vec<Record>)> {
    let folder = tempfile::tempdir().unwrap();
    // one after the other: each wants two cores for itself
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let output = run(&format!("{line} {TINY}"), &folder);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if thread::available_parallelism().unwrap().get() < 2 {
        assert!(err.contains("two cores are needed"), "{line}: {err}");
        return None;
    }
    assert!(output.status.success(), "{line}: {out}{err}");
    let name = line.split_whitespace().next().unwrap();
    let mut reader = csv::ReaderBuilder::new();
    let mut reader = reader.has_headers(false).from_path(folder.path().join(format!("{name}.csv"))).unwrap();
    let cells = |record: csv::StringRecord| record.iter().map(str::to_owned).collect();
    let records = reader.records().map(|record| cells(record.unwrap())).collect();
    Some((out.into_owned(), folder, records))
}

/// Every row has a sample that was kept, and its main figure, `from_end` cells from the end, is above zero.
fn check(text: &str, records: &[Record], rows: usize, from_end: usize) {
    for part in ["machine ", "commit ", "settings ", "ping-pong ", "samples "] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (heads, samples) = records.split_first().unwrap();
    let kept_at = heads.iter().position(|head| head == "kept").unwrap();
    // a round that the machine spoilt is followed by another
    let first: Vec<_> =
        samples.iter().filter(|record| record[0] == "1" && record[kept_at] == "true").collect();
    assert_eq!(first.len(), rows, "{text}");
    for record in first {
        assert_eq!(record.len(), heads.len());
        let figure: f64 = record[record.len() - from_end].parse().unwrap();
        assert!(figure > 0.0, "{record:?}");
    }
}

#[test]
fn lines_both_ways_and_in_place() {
    let line = "line --size 64,9000 --direction s2m,m2s --access copy,in-place --rx poll,adaptive";
    let Some((text, folder, records)) = measure(line) else { return };
    check(&text, &records, 16 + 4, 1);
    assert!(text.contains("64 B S2M, of the floor"), "{text}");
    assert!(folder.path().join("line-size.svg").metadata().unwrap().len() > 0);
}

#[test]
fn lines_that_sleep() {
    let Some((text, _, records)) = measure("line --rx interrupt --ring 256 --burst 1,8") else { return };
    check(&text, &records, 2 + 2, 1);
}

#[test]
fn floors() {
    let Some((text, _, records)) = measure("floors --size 64,2112 --stride 2048,2176") else { return };
    check(&text, &records, 3 + 1, 1);
}

#[test]
fn latencies() {
    let Some((text, _, records)) = measure("latency --in-flight 8") else { return };
    let (heads, samples) = records.split_first().unwrap();
    let p50 = heads.iter().position(|head| head == "p50 ns").unwrap();
    let load = heads.iter().position(|head| head == "load").unwrap();
    // nothing goes round at rest
    let mut moving: Vec<_> = samples.iter().filter(|record| record[load] != "at rest").cloned().collect();
    moving.insert(0, heads.clone());
    check(&text, &moving, 3 + 3 * 3, heads.len() - p50);
    assert!(text.contains("polling, p50 / ping-pong"), "{text}");
}

#[test]
fn scales() {
    let Some((text, _, records)) = measure("scale --queues 1,2 --polled 1,4") else { return };
    check(&text, &records, 2 * 2 + 3, 1);
}

#[test]
fn forwarding() {
    let Some((text, _, records)) = measure("forward --size 64,1514") else { return };
    check(&text, &records, 2 * 2, 2);
    assert!(text.contains("in place, 1514 B / 64 B"), "{text}");
}

#[test]
fn mistakes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for (line, culprit) in [
        ("line --size 63", "63"),
        ("line --direction up", "up"),
        ("line --ring 100", "100"),
        ("line --cores 0", "two cores are needed"),
        ("floors --rounds 0", "0"),
        ("latency --in-flight 1", "1"),
    ] {
        let output = run(&format!("{line} --warm-up 5 --time 20"), &folder);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(culprit), "{line}: {error}");
    }
}
