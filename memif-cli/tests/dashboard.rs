//! The dashboard of docs/ shows metrics that there are.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use memif_metrics::Metrics;
use memif_pmd::Memif;
use serde_json::Value;

const DASHBOARD: &str = include_str!("../../docs/grafana-dashboard.json");

/// Names of the samples in OpenMetrics text, by its lines of types.
fn names(text: &str) -> BTreeSet<String> {
    let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let name = |(name, kind): (&str, &str)| {
        if kind == "counter" { format!("{name}_total") } else { name.to_owned() }
    };
    kinds.map(name).collect()
}

/// Of the exporter, and of programs: names of metrics for which there is a link.
fn exported() -> BTreeSet<String> {
    let memif = Arc::new(Memif::start().unwrap());
    let socket = format!("@memif-dashboard-{}", std::process::id());
    let interface = Arc::new(memif.interface(&socket).master().open().unwrap());
    let slave = memif.interface(&socket).slave().open().unwrap();
    slave.wait_up(Some(Duration::from_secs(120))).unwrap();
    let program = std::env::var("CARGO_BIN_EXE_memif");
    let program = program.unwrap_or_else(|_| env!("CARGO_BIN_EXE_memif").to_owned());
    let shown = Command::new(program).args(["show", "--openmetrics"]).output().unwrap();
    let mut text = String::from_utf8(shown.stdout).unwrap();
    let metrics = Metrics::new(&memif);
    metrics.add(&interface);
    metrics.encode(&mut text).unwrap();
    names(&text)
}

/// All strings below these keys.
fn strings<'v>(value: &'v Value, keys: &[&str], found: &mut Vec<&'v str>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| strings(value, keys, found)),
        Value::Object(fields) => {
            for (key, value) in fields {
                if let (true, Value::String(text)) = (keys.contains(&key.as_str()), value) {
                    found.push(text);
                }
                strings(value, keys, found);
            }
        }
        _ => {}
    }
}

#[test]
fn every_metric_of_the_dashboard_is_exported() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut texts = Vec::new();
    strings(&dashboard, &["expr", "query", "definition"], &mut texts);
    let words = |text: &&str| -> Vec<String> {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        words.filter(|word| word.starts_with("memif_")).map(str::to_owned).collect()
    };
    let used: BTreeSet<String> = texts.iter().flat_map(words).collect();
    let exported = exported();
    let unknown: Vec<_> = used.difference(&exported).collect();
    assert!(used.len() > 10 && unknown.is_empty(), "{unknown:?} are none of {exported:?}");
}
