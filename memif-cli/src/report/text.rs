//! A line and a summary as text.

use std::fmt::Write as _;

use super::measures::{Drops, LatencyKind, Measures};
use super::record::Record;

/// A row of the table, with the header before the first one.
pub(super) fn row(record: &Record<'_>, lines: u64, measures: Measures) -> String {
    let mut row = String::new();
    if lines == 0 {
        row += &format!("{:>6} {:>14} {:>14} {:>10}", "second", "packets/s", "bits/s", "drops");
        if measures.latency.is_some() {
            row += &format!(" {:>10} {:>10}", "p50 us", "p99 us");
        }
        if measures.verify {
            row += &format!(" {:>10} {:>10}", "lost", "wrong");
        }
        row.push('\n');
    }
    let dropped: u64 = record.drops.values().sum();
    let second = lines + 1;
    row += &format!("{second:>6} {:>14} {:>14} {dropped:>10}", packets(record), bits(record));
    if measures.latency.is_some() {
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

fn micros(ns: u64) -> f64 {
    ns as f64 / 1e3
}

/// The summary as text: a name and a value on each line.
pub(super) fn list(record: &Record<'_>, any_dash: bool) -> String {
    let mut list = String::new();
    let mut item = |name: &str, value: String| {
        let _ = write!(list, "\n{name:<14}{value}"); // writing to a string cannot fail
    };
    if let Some(sent) = record.sent {
        item("sent", format!("{sent} packets"));
    }
    if record.missed > 0 {
        item("behind", format!("{} packets of --rate, in pauses too long to make up for", record.missed));
    }
    if let Some(other) = record.other.filter(|other| *other > 0) {
        let what = if record.sent.is_some() {
            "of other origin"
        } else {
            "that were dropped; --rtt measures what comes back"
        };
        item("received", format!("{other} packets {what}"));
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
    item("rate", format!("{}, {}", packets(record), bits(record)));
    if let (Some(q), Some(kind)) = (&record.latency_ns, record.latency) {
        let (name, until) = match kind {
            LatencyKind::OneWay => ("latency", "until it is received"),
            LatencyKind::RoundTrip => ("round trip", "until it is back"),
        };
        item(name, q.text());
        item("", format!("of the first packet of each burst, from before it is sent {until}"));
    }
    if any_dash {
        item("-", "in a second in which no packet came that carries its time of sending".to_owned());
    }
    for direction in ["rx", "tx"] {
        let queues: Vec<_> = record.queues.iter().filter(|queue| queue.direction == direction).collect();
        if queues.iter().any(|queue| queue.queue > 0) {
            let each =
                queues.iter().map(|queue| format!("{} {}: {}", queue.port, queue.queue, queue.packets));
            item(&format!("{direction} queues"), each.collect::<Vec<_>>().join(", "));
        }
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

fn packets(record: &Record<'_>) -> String {
    scaled(record.mpps * 1e6, &[("kpps", 1e3), ("Mpps", 1e6)], "pps")
}

fn bits(record: &Record<'_>) -> String {
    scaled(record.gbps * 1e9, &[("kb/s", 1e3), ("Mb/s", 1e6), ("Gb/s", 1e9)], "b/s")
}

/// In the largest of `units` of which it is one at least, with three decimals; else in the `smallest`, without any.
fn scaled(value: f64, units: &[(&str, f64)], smallest: &str) -> String {
    match units.iter().rev().find(|(_, size)| value >= *size) {
        Some((unit, size)) => format!("{:.3} {unit}", value / size),
        None => format!("{value:.0} {smallest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_the_unit_that_suits_them() {
        let units = [("kpps", 1e3), ("Mpps", 1e6)];
        for (value, text) in
            [(0.0, "0 pps"), (0.6, "1 pps"), (999.0, "999 pps"), (1e3, "1.000 kpps"), (79.9e6, "79.900 Mpps")]
        {
            assert_eq!(scaled(value, &units, "pps"), text);
        }
    }
}
