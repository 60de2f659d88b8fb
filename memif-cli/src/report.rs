//! Output of a run: one line a second and a summary, as text or as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;

use crate::counters::Counts;
use crate::error::ToolError;
use crate::latency::{Latencies, Quantiles};

/// Dropped packets by reason, without reasons that did not occur.
pub(crate) type Drops = BTreeMap<String, u64>;

/// What a command measures besides packets and drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Measures {
    /// One-way latency.
    pub latency: bool,
    /// Content and sequence.
    pub verify: bool,
}

/// The machine of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    /// The processor's name.
    pub processor: String,
    /// The cores used.
    pub cores: String,
    /// The pages of the shared memory, and why they are not huge pages.
    pub memory: String,
    /// The cache lines that the rings are laid out for.
    pub rings: String,
}

/// Totals of a run since its start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    /// Counts of the workers.
    pub counts: Counts,
    /// Packets that the interfaces dropped.
    pub drops: Drops,
    /// Packets sent, if this process sends them: then all that are missing at the end are lost.
    pub sent: Option<u64>,
}

impl Totals {
    /// Packets known to be lost.
    pub(crate) fn lost(&self) -> u64 {
        let missing = self.sent.map_or(0, |sent| sent.saturating_sub(self.counts.packets));
        missing.max(self.counts.findings.lost)
    }

    /// Why the packets do not verify; `None` if they do.
    pub(crate) fn failure(&self) -> Option<String> {
        let found = &self.counts.findings;
        if self.counts.packets == 0 {
            return Some("no packet arrived".to_owned());
        }
        let failures = [
            (found.corrupt, "corrupt"),
            (found.wrong_length, "of a wrong length"),
            (self.lost(), "lost"),
            (found.reordered, "out of order"),
            (found.unfilled, "sent without --verify (the generator needs it as well)"),
        ];
        let failed: Vec<String> = failures
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        (!failed.is_empty()).then(|| format!("{} packets: {}", self.counts.packets, failed.join(", ")))
    }
}

/// One JSON object.
#[derive(Debug, Serialize)]
struct Record<'a> {
    r#final: bool,
    packets: u64,
    bytes: u64,
    seconds: f64,
    mpps: f64,
    gbps: f64,
    drops: &'a Drops,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ns: Option<Quantiles>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<u64>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    checks: Option<Checks>,
    #[serde(skip_serializing_if = "Option::is_none")]
    machine: Option<&'a Machine>,
}

#[derive(Debug, Serialize)]
struct Checks {
    verified: u64,
    corrupt: u64,
    wrong_length: u64,
    reordered: u64,
    unfilled: u64,
    foreign: u64,
}

impl<'a> Record<'a> {
    fn new(
        last: bool,
        totals: &'a Totals,
        seconds: f64,
        latency: Option<Quantiles>,
        measures: Measures,
    ) -> Self {
        let counts = &totals.counts;
        let found = &counts.findings;
        let checks = Checks {
            verified: found.verified,
            corrupt: found.corrupt,
            wrong_length: found.wrong_length,
            reordered: found.reordered,
            unfilled: found.unfilled,
            foreign: found.foreign,
        };
        Self {
            r#final: last,
            packets: counts.packets,
            bytes: counts.bytes,
            seconds,
            mpps: per(counts.packets, seconds) / 1e6,
            gbps: per(counts.bytes, seconds) * 8.0 / 1e9,
            drops: &totals.drops,
            latency_ns: latency,
            sent: totals.sent,
            // before the end, missing packets may still be on their way
            lost: (measures.verify || (last && totals.sent.is_some())).then(|| totals.lost()),
            checks: measures.verify.then_some(checks),
            machine: None,
        }
    }
}

/// `count` per second; 0 if no time has passed, as with a single burst.
fn per(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// Writes a run's lines and its summary.
pub(crate) struct Report {
    out: Box<dyn Write>,
    json: bool,
    measures: Measures,
    lines: u64,
    before: Totals,
    before_ns: u64,
}

impl Report {
    /// A report on standard output of a run that starts at `now_ns`.
    pub(crate) fn new(json: bool, measures: Measures, now_ns: u64) -> Self {
        Self::to(Box::new(io::stdout()), json, measures, now_ns)
    }

    fn to(out: Box<dyn Write>, json: bool, measures: Measures, now_ns: u64) -> Self {
        Self { out, json, measures, lines: 0, before: Totals::default(), before_ns: now_ns }
    }

    /// Prints the line for the time since the last one.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(crate) fn line(
        &mut self,
        totals: Totals,
        latencies: &Latencies,
        now_ns: u64,
    ) -> Result<(), ToolError> {
        let seconds = now_ns.saturating_sub(self.before_ns) as f64 / 1e9;
        let since = difference(&totals, &self.before);
        let record = Record::new(false, &since, seconds, Quantiles::of(latencies), self.measures);
        let text = if self.json { json(&record) } else { self.row(&record) };
        self.before = totals;
        self.before_ns = now_ns;
        self.lines += 1;
        self.print(&text)
    }

    /// Prints the summary.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(crate) fn summary(
        &mut self,
        totals: &Totals,
        latencies: &Latencies,
        machine: &Machine,
    ) -> Result<(), ToolError> {
        let latency = Quantiles::of(latencies);
        let mut record = Record::new(true, totals, totals.counts.seconds(), latency, self.measures);
        record.machine = Some(machine);
        let text = if self.json { json(&record) } else { list(&record) };
        self.print(&text)
    }

    fn row(&self, record: &Record<'_>) -> String {
        let mut row = String::new();
        if self.lines == 0 {
            row += &format!("{:>6} {:>9} {:>9} {:>10}", "second", "Mpps", "Gb/s", "drops");
            if self.measures.latency {
                row += &format!(" {:>10} {:>10}", "p50 us", "p99 us");
            }
            if self.measures.verify {
                row += &format!(" {:>10} {:>10}", "lost", "wrong");
            }
            row.push('\n');
        }
        let dropped: u64 = record.drops.values().sum();
        let second = self.lines + 1;
        row += &format!("{second:>6} {:>9.3} {:>9.3} {dropped:>10}", record.mpps, record.gbps);
        if self.measures.latency {
            match &record.latency_ns {
                Some(q) => row += &format!(" {:>10.1} {:>10.1}", micros(q.p50), micros(q.p99)),
                None => row += &format!(" {:>10} {:>10}", "-", "-"),
            }
        }
        if let (Some(lost), Some(checks)) = (record.lost, &record.checks) {
            row += &format!(" {lost:>10} {:>10}", checks.corrupt + checks.wrong_length);
        }
        row
    }

    fn print(&mut self, text: &str) -> Result<(), ToolError> {
        writeln!(self.out, "{text}").and_then(|()| self.out.flush()).map_err(ToolError::Output)
    }
}

fn json(record: &Record<'_>) -> String {
    // numbers, and keys that are strings: cannot fail
    serde_json::to_string(record).unwrap_or_default()
}

fn micros(ns: u64) -> f64 {
    ns as f64 / 1e3
}

/// The summary as text: a name and a value on each line.
fn list(record: &Record<'_>) -> String {
    let mut list = String::new();
    let mut item = |name: &str, value: String| {
        let _ = write!(list, "\n{name:<14}{value}"); // writing to a string cannot fail
    };
    if let Some(sent) = record.sent {
        item("sent", format!("{sent} packets"));
    }
    item("packets", format!("{}, {} bytes", record.packets, record.bytes));
    if let Some(checks) = &record.checks {
        item("verified", checks.verified.to_string());
        item("corrupt", checks.corrupt.to_string());
        item("out of order", checks.reordered.to_string());
        for (name, count) in [
            ("wrong length", checks.wrong_length),
            ("unverifiable", checks.unfilled),
            ("foreign", checks.foreign),
        ] {
            if count > 0 {
                item(name, count.to_string());
            }
        }
    }
    if let Some(lost) = record.lost {
        item("lost", lost.to_string());
    }
    item("dropped", drops(record.drops));
    item("time", format!("{:.3} s from the first packet to the last", record.seconds));
    item("rate", format!("{:.3} Mpps, {:.3} Gb/s", record.mpps, record.gbps));
    if let Some(q) = &record.latency_ns {
        let [p50, p90, p99, p999, max] = [q.p50, q.p90, q.p99, q.p999, q.max].map(micros);
        item(
            "latency",
            format!("p50 {p50:.1} us, p90 {p90:.1} us, p99 {p99:.1} us, p99.9 {p999:.1} us, max {max:.1} us"),
        );
    }
    if let Some(machine) = record.machine {
        item("processor", machine.processor.clone());
        item("cores", machine.cores.clone());
        item("memory", machine.memory.clone());
        item("rings", machine.rings.clone());
    }
    list.trim_start().to_owned()
}

fn drops(drops: &Drops) -> String {
    if drops.is_empty() {
        return "0".to_owned();
    }
    let reasons: Vec<String> = drops.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    format!("{} ({})", drops.values().sum::<u64>(), reasons.join(", "))
}

/// The difference between two totals.
fn difference(now: &Totals, before: &Totals) -> Totals {
    let (mut counts, was) = (now.counts, &before.counts);
    let since = |now: &mut u64, before: u64| *now = now.saturating_sub(before);
    since(&mut counts.packets, was.packets);
    since(&mut counts.bytes, was.bytes);
    let (found, had) = (&mut counts.findings, &was.findings);
    since(&mut found.verified, had.verified);
    since(&mut found.corrupt, had.corrupt);
    since(&mut found.wrong_length, had.wrong_length);
    since(&mut found.unfilled, had.unfilled);
    since(&mut found.foreign, had.foreign);
    since(&mut found.lost, had.lost);
    since(&mut found.reordered, had.reordered);
    let new = |(reason, count): (&String, &u64)| {
        let count = count.saturating_sub(before.drops.get(reason).copied().unwrap_or_default());
        (count > 0).then(|| (reason.clone(), count))
    };
    Totals { counts, drops: now.drops.iter().filter_map(new).collect(), sent: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    use crate::check::Findings;
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
        let counts = Counts {
            packets,
            bytes: packets * 64,
            first_ns: 1_000_000_000,
            last_ns: 3_000_000_000,
            findings,
        };
        Totals { counts, drops: Drops::from([("out of region".to_owned(), packets / 1000)]), sent: None }
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
        let text = print(true, Measures { latency: true, verify: true });
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
        let text = print(true, Measures { latency: false, verify: false });
        assert!(!text.contains("verified") && !text.contains("lost"), "{text}");
    }

    #[test]
    fn the_table_is_aligned_under_one_header() {
        for latency in [false, true] {
            for verify in [false, true] {
                let text = print(false, Measures { latency, verify });
                let lines: Vec<&str> = text.lines().collect();
                assert!(lines[0].contains("Mpps") && lines[0].contains("Gb/s"), "{text}");
                assert_eq!(lines[0].contains("us"), latency);
                assert!(lines[1].trim_start().starts_with("1 ") && lines[2].trim_start().starts_with("2 "));
                assert_eq!(lines[0].len(), lines[1].len(), "{text}");
                assert_eq!(lines[0].len(), lines[2].len(), "{text}");
                assert_eq!(text.matches("Mpps").count(), 2, "header and summary: {text}");
                assert_eq!(text.contains("verified"), verify);
                assert!(
                    text.contains("dropped       2500 (out of region 2500)") && text.contains("a processor")
                );
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
        all.counts.findings = Findings {
            corrupt: 1,
            lost: 2,
            reordered: 3,
            unfilled: 4,
            wrong_length: 5,
            ..Findings::default()
        };
        let text = all.failure().unwrap();
        for part in
            ["1 corrupt", "2 lost", "3 out of order", "4 sent without --verify", "5 of a wrong length"]
        {
            assert!(text.contains(part), "{text}");
        }
    }
}
