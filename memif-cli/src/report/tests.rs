use super::*;
use std::sync::{Arc, Mutex};

use crate::check::Findings;
use crate::counters::Counts;
use crate::latency::histogram;

#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn totals(packets: u64) -> Totals {
    let findings = Findings { verified: packets, lost: 3, ..Findings::default() };
    let counts =
        Counts { packets, bytes: packets * 64, first_ns: 1_000_000_000, last_ns: 3_000_000_000, findings };
    Totals { counts, drops: Drops::from([("out of region".to_owned(), packets / 1000)]), ..Totals::default() }
}

/// Two lines, at one second and at two, and the summary.
fn print(json: bool, measures: Measures) -> String {
    let output = Output::default();
    let mut report = Report::to(Box::new(output.clone()), json, measures, 1_000_000_000);
    let [processor, cores, memory, rings] =
        ["a processor", "0-1", "4 KiB pages", "lines of 64 bytes"].map(str::to_owned);
    let machine = Machine { processor, cores, memory, rings };
    let mut latencies = histogram().unwrap();
    report.line(totals(2_000_000), &latencies, 2_000_000_000).unwrap();
    latencies.saturating_record(1500);
    report.line(totals(2_500_000), &latencies, 3_000_000_000).unwrap();
    report.summary(&totals(2_500_000), &latencies, &machine).unwrap();
    String::from_utf8(output.0.lock().unwrap().clone()).unwrap()
}

#[test]
fn each_json_record_is_a_line_and_the_last_one_is_final() {
    let text = print(true, Measures { latency: Some(LatencyKind::OneWay), verify: true });
    let records: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [first, second, last] = &records[..] else { panic!("{text}") };
    assert_eq!((&first["final"], &first["packets"]), (&false.into(), &2_000_000.into()));
    assert_eq!((&second["packets"], &second["lost"]), (&500_000.into(), &0.into()));
    assert_eq!(second["drops"]["out of region"], 500);
    assert!(first.get("latency_ns").is_none() && second["latency_ns"]["p50"].is_u64());
    assert_eq!(last["final"], true);
    assert_eq!((&last["packets"], &last["bytes"]), (&2_500_000.into(), &160_000_000.into()));
    assert!((last["seconds"].as_f64().unwrap() - 2.0).abs() < 1e-9);
    assert!((last["mpps"].as_f64().unwrap() - 1.25).abs() < 1e-9);
    assert!((last["gbps"].as_f64().unwrap() - 0.64).abs() < 1e-9);
    assert_eq!(
        (&last["verified"], &last["corrupt"], &last["lost"]),
        (&2_500_000.into(), &0.into(), &3.into())
    );
    for quantile in ["p50", "p90", "p99", "p999", "max"] {
        assert!(last["latency_ns"][quantile].is_u64(), "{quantile}");
    }
}

#[test]
fn without_verify_no_checks_are_reported() {
    let text = print(true, Measures { latency: None, verify: false });
    assert!(!text.contains("verified") && !text.contains("lost"), "{text}");
}

#[test]
fn the_table_is_aligned_under_one_header() {
    for latency in [None, Some(LatencyKind::OneWay), Some(LatencyKind::RoundTrip)] {
        for verify in [false, true] {
            let text = print(false, Measures { latency, verify });
            let lines: Vec<&str> = text.lines().collect();
            assert!(lines[0].contains("packets/s") && lines[0].contains("bits/s"), "{text}");
            assert_eq!(lines[0].contains("us"), latency.is_some());
            assert_eq!(text.contains("from before it is sent"), latency.is_some(), "{text}");
            assert_eq!(
                text.contains("\n-             in a second"),
                latency.is_some(),
                "the first has none: {text}"
            );
            assert!(lines[1].trim_start().starts_with("1 ") && lines[2].trim_start().starts_with("2 "));
            assert_eq!(lines[0].len(), lines[1].len(), "{text}");
            assert_eq!(lines[0].len(), lines[2].len(), "{text}");
            assert_eq!(
                text.matches("second").count() - usize::from(latency.is_some()),
                1,
                "one header: {text}"
            );
            assert!(text.contains("1.250 Mpps, 640.000 Mb/s"), "{text}");
            assert_eq!(text.contains("verified"), verify);
            assert!(text.contains("dropped       2500 (out of region 2500)") && text.contains("a processor"));
        }
    }
}

#[test]
fn packets_missing_at_the_end_are_lost() {
    let totals = Totals { sent: Some(1010), ..totals(1000) };
    assert_eq!(totals.lost(), 10);
    assert!(totals.failure().unwrap().contains("10 lost"));
}

#[test]
fn failures_are_named() {
    let mut all = Totals::default();
    assert!(all.failure().unwrap().contains("no packet"));
    all.counts.packets = 13;
    all.counts.findings = Findings { verified: 9, foreign: 4, ..Findings::default() };
    assert_eq!(all.failure(), None, "other packets are no failure");
    all.counts.findings =
        Findings { corrupt: 1, lost: 2, reordered: 3, unfilled: 4, wrong_length: 5, ..Findings::default() };
    let text = all.failure().unwrap();
    for part in ["1 corrupt", "2 lost", "3 out of order", "4 sent without --verify", "5 of a wrong length"] {
        assert!(text.contains(part), "{text}");
    }
}
