//! Runs each command once with short samples: the report is complete, its samples can be parsed, and packets have moved. No
//! figure is judged.

// helpers of tests fail as tests do
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};
use std::thread;

use tempfile::TempDir;

/// Short, but long enough that no end is late three times in a row on a busy machine.
const TINY: &str = "--rounds 1 --warm-up 50 --time 100";

/// Path of the program, which may have been copied next to the tests.
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
    for part in ["machine ", "commit ", "settings ", "distance ", "samples "] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (heads, samples) = records.split_first().unwrap();
    let kept_at = heads.iter().position(|head| head == "kept").unwrap();
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
fn line_measures_both_directions_and_in_place() {
    let line = "line --size 64,9000 --direction s2m,m2s --access copy,in-place --rx poll,adaptive";
    let Some((text, folder, records)) = measure(line) else { return };
    check(&text, &records, 16 + 4, 1); // the floors of two sizes in two directions
    assert!(text.contains("64 B S2M, of the floor"), "{text}");
    assert!(folder.path().join("line-size.svg").metadata().unwrap().len() > 0);
}

#[test]
fn line_measures_sleeping_receivers() {
    let Some((text, _, records)) = measure("line --rx interrupt --ring 256 --burst 1,8") else { return };
    check(&text, &records, 2 + 1, 1);
}

#[test]
fn floors_are_measured() {
    let Some((text, _, records)) = measure("floors --size 64,2112") else { return };
    check(&text, &records, 1 + 2 * 2 * 2, 1);
    assert!(text.contains("prefetchw"), "{text}");
}

#[test]
fn latencies_are_measured() {
    let Some((text, _, records)) = measure("latency --in-flight 8") else { return };
    let (heads, samples) = records.split_first().unwrap();
    let p50 = heads.iter().position(|head| head == "p50 ns").unwrap();
    let load = heads.iter().position(|head| head == "load").unwrap();
    // nothing goes round at rest
    let mut moving: Vec<_> = samples.iter().filter(|record| record[load] != "at rest").cloned().collect();
    moving.insert(0, heads.clone());
    check(&text, &moving, 4 + 3 * 3, heads.len() - p50);
    assert!(text.contains("polling, p50 / ping-pong"), "{text}");
}

#[test]
fn latencies_at_a_set_rate_are_measured() {
    let line = "load --mpps 0.02 --arrivals constant,poisson,bursts --rx poll,adaptive";
    let Some((text, _, records)) = measure(line) else { return };
    check(&text, &records, 1 + 3 * 2, 11);
}

#[test]
fn several_queues_are_measured() {
    let Some((text, _, records)) = measure("scale --queues 1,2 --polled 1,4") else { return };
    check(&text, &records, 2 * 2 + 3, 1);
}

#[test]
fn forwarding_is_measured() {
    let Some((text, _, records)) = measure("forward --size 64,1514") else { return };
    check(&text, &records, 2 * 2, 2);
    assert!(text.contains("in place, 1514 B / 64 B"), "{text}");
}

#[test]
fn stalls_are_measured() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let line = "stalls --rounds 1 --linger 1 --region 8 --times 1";
    let output = Command::new(program()).args(line.split_whitespace()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(text.matches("hold of the lock").count(), 6, "{text}");
}

#[test]
fn a_table_grows_by_rounds() {
    let folder = tempfile::tempdir().unwrap();
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if thread::available_parallelism().unwrap().get() < 2 {
        return;
    }
    for _ in 0..2 {
        let output = run(&format!("floors --size 64 --direction s2m --append {TINY}"), &folder);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let text = fs::read_to_string(folder.path().join("floors.csv")).unwrap();
    let rounds: Vec<_> = text.lines().skip(1).map(|line| line.split(',').next().unwrap()).collect();
    assert!(rounds.first() == Some(&"1") && rounds.last() != Some(&"1"), "{text}");
    assert_eq!(text.matches("round,").count(), 1, "{text}");
}

#[test]
fn tables_and_plots_are_made_from_a_record() {
    let folder = tempfile::tempdir().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/record");
    for file in ["machine.txt", "peers.csv", "load.csv", "latency.csv"] {
        fs::copy(golden.join(file), folder.path().join(file)).unwrap();
    }
    let readme = folder.path().join("top.md");
    fs::write(&readme, "<!-- figures: of a test -->\n<!-- end of figures -->\n").unwrap();
    let mut command = Command::new(program());
    let output = command.arg("plots").arg(folder.path()).arg("--readme").arg(&readme).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let made = |file: &str| fs::read_to_string(folder.path().join(file)).unwrap();
    assert_eq!(made("README.md"), fs::read_to_string(golden.join("expected.md")).unwrap());
    assert!(made("top.md").contains("| 64 | S2M | **100** (90.0 – 110) | 20 | 0.80 | 40.0 (25.11) | 2.50 |"));
    for (file, word) in
        [("rates-s2m.svg", "ours → DPDK 25.11"), ("rates-m2s.svg", "M2S"), ("load.svg", "p99.99")]
    {
        assert!(made(file).contains(word), "{file}");
    }
}

#[test]
fn wrong_options_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for (line, culprit) in [
        ("line --size 63", "63"),
        ("line --direction up", "up"),
        ("line --ring 100", "100"),
        ("line --cores 0", "two cores are needed"),
        ("floors --rounds 0", "0"),
        ("latency --in-flight 1", "1"),
        ("load --mpps 0", "0.001"),
        ("peers --size 63", "63"),
    ] {
        let output = run(&format!("{line} --warm-up 5 --time 20"), &folder);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(culprit), "{line}: {error}");
    }
}
