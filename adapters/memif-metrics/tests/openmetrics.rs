//! The text is OpenMetrics, has the names of the README, and says what was sent.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use memif_metrics::Metrics;
use memif_pmd::{Burst, Interface, Memif};
use prometheus_client::registry::Registry;

/// How long anything may take that must happen; nothing in a sound test takes a tenth of it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A text, taken apart.
#[derive(Debug, Default)]
struct Parsed {
    /// Type by name of the family.
    types: BTreeMap<String, String>,
    /// Value by name and labels, as they are written.
    samples: BTreeMap<String, String>,
}

impl Parsed {
    /// Takes a text apart by the rules of OpenMetrics that apply to it; fails where it breaks one.
    fn new(text: &str) -> Self {
        let mut parsed = Self::default();
        let mut family = String::new();
        let body = text.strip_suffix("# EOF\n").expect("the end mark comes last");
        assert!(!body.contains("# EOF"));
        for line in body.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let (keyword, rest) = comment.split_once(' ').unwrap();
                let (name, value) = rest.split_once(' ').unwrap();
                match keyword {
                    "HELP" => assert!(!parsed.types.contains_key(name), "{name} twice"),
                    "TYPE" => {
                        family = name.to_owned();
                        parsed.types.insert(name.to_owned(), value.to_owned());
                    }
                    "UNIT" => assert!(name.ends_with(&format!("_{value}")), "{line}"),
                    _ => panic!("{line}"),
                }
                continue;
            }
            let (sample, value) = line.rsplit_once(' ').unwrap();
            value.parse::<f64>().unwrap();
            let name = sample.split('{').next().unwrap();
            let total = name.strip_suffix("_total");
            let counter = parsed.types[&family] == "counter";
            assert_eq!(if counter { total } else { Some(name) }, Some(family.as_str()), "{line}");
            let before = parsed.samples.insert(sample.to_owned(), value.to_owned());
            assert_eq!(before, None, "{sample} twice");
        }
        parsed
    }

    fn of(metrics: &Metrics) -> Self {
        let mut text = String::new();
        metrics.encode(&mut text).unwrap();
        Self::new(&text)
    }

    /// The value of a sample with these labels, of queue 0 if it is that of a queue.
    fn value(&self, name: &str, labels: &str) -> u64 {
        let sample = format!("{name}{{{labels}}}");
        self.samples.get(&sample).unwrap_or_else(|| panic!("no {sample} in {self:#?}")).parse().unwrap()
    }

    fn names(&self) -> BTreeSet<&str> {
        self.samples.keys().map(|sample| sample.split('{').next().unwrap()).collect()
    }
}

fn address(test: &str) -> String {
    format!("@memif-metrics-{test}-{}", std::process::id())
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "still waiting: {what}");
        std::thread::yield_now();
    }
}

/// A slave and a master with a link, whose rings have 8 slots.
fn pair(memif: &Memif, socket: &str) -> (Arc<Interface>, Arc<Interface>) {
    let master = memif.interface(socket).id(7).master().open().unwrap();
    let slave = memif.interface(socket).id(7).ring_size(8).open().unwrap();
    master.wait_up(Some(PATIENCE)).unwrap();
    slave.wait_up(Some(PATIENCE)).unwrap();
    (Arc::new(slave), Arc::new(master))
}

#[test]
fn the_values_are_what_was_sent_and_received() {
    let memif = Arc::new(Memif::start().unwrap());
    let socket = address("values");
    let (slave, master) = pair(&memif, &socket);
    let metrics = Metrics::new(&memif);
    metrics.add(&slave);
    metrics.add(&master);

    let (mut tx, mut rx) = (slave.tx(0).unwrap(), master.rx(0).unwrap());
    let (mut burst, mut received) = (Burst::new(32).unwrap(), Burst::new(32).unwrap());
    for len in 61..=80 {
        burst.push(&vec![0; len]).unwrap();
    }
    // 20 packets for 8 slots
    assert_eq!(tx.send(&mut burst), 8);
    until("all packets", || {
        rx.receive(&mut received);
        tx.send(&mut burst);
        received.len() == 20
    });

    let parsed = Parsed::of(&metrics);
    let (sender, receiver) = (
        format!(r#"socket="{socket}",id="7",role="slave""#),
        format!(r#"socket="{socket}",id="7",role="master""#),
    );
    let (tx0, rx0) = (format!(r#"{sender},queue="0""#), format!(r#"{receiver},queue="0""#));
    let bytes: u64 = (61..=80).sum();
    assert_eq!(parsed.value("memif_tx_packets_total", &tx0), 20);
    assert_eq!(parsed.value("memif_tx_bytes_total", &tx0), bytes);
    assert_eq!(parsed.value("memif_rx_packets_total", &rx0), 20);
    assert_eq!(parsed.value("memif_rx_bytes_total", &rx0), bytes);
    assert_eq!(parsed.value("memif_tx_refused_at_once", &tx0), 12);
    assert_eq!(parsed.value("memif_tx_ring_full_total", &tx0), tx.stats().ring_full);
    assert_eq!(parsed.value("memif_tx_packets_total", &rx0), 0);
    assert_eq!(parsed.value("memif_tx_refused_at_once", &rx0), 0);
    assert_eq!(parsed.value("memif_link_up", &sender), 1);
    assert_eq!(parsed.value("memif_links_total", &receiver), 1);

    drop((tx, slave));
    assert!(master.wait_down(Some(PATIENCE)).unwrap());
    let mut tx = master.tx(0).unwrap();
    burst.clear();
    burst.push(b"nowhere to go").unwrap();
    tx.send(&mut burst);
    let parsed = Parsed::of(&metrics);
    assert_eq!(parsed.value("memif_link_up", &receiver), 0);
    assert_eq!(parsed.value("memif_tx_drops_total", &format!(r#"{rx0},reason="link_down""#)), 1);
    assert!(parsed.samples.keys().all(|sample| !sample.contains("slave")), "the slave is gone");
}

#[test]
fn names_and_types_are_those_of_the_readme() {
    let memif = Arc::new(Memif::start().unwrap());
    let (slave, master) = pair(&memif, &address("names"));
    let metrics = Metrics::new(&memif);
    metrics.add(&slave);
    metrics.add(&master);
    let parsed = Parsed::of(&metrics);

    let table: BTreeMap<&str, &str> = include_str!("../README.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `memif_"))
        .map(|row| {
            let mut cells = row.split(" | ");
            (cells.next().unwrap().trim_end_matches('`'), cells.next().unwrap())
        })
        .collect();
    // what no peer has done is not shown
    let quiet = ["faults_total", "control_stranger_faults_total"];
    let shown: BTreeSet<&str> =
        parsed.names().iter().map(|name| name.strip_prefix("memif_").unwrap()).collect();
    let documented: BTreeSet<&str> = table.keys().copied().filter(|name| !quiet.contains(name)).collect();
    assert_eq!(shown, documented);
    for (name, kind) in table.iter().filter(|(name, _)| !quiet.contains(name)) {
        let family = format!("memif_{}", name.strip_suffix("_total").unwrap_or(name));
        assert_eq!(&parsed.types[&family], kind, "{family}");
    }
}

#[test]
fn faults_are_shown_by_kind() {
    let memif = Arc::new(Memif::start().unwrap());
    let socket = address("faults");
    let master = Arc::new(memif.interface(&socket).secret("right").master().open().unwrap());
    let metrics = Metrics::new(&memif);
    metrics.add(&master);
    let _slave = memif.interface(&socket).secret("wrong").open().unwrap();
    let _stranger = memif.interface(&socket).id(99).open().unwrap();
    let labels = format!(r#"socket="{socket}",id="0",role="master",kind="wrong_secret""#);
    let strangers = r#"memif_control_stranger_faults_total{kind="unknown_id"}"#;
    until("both faults", || {
        let samples = Parsed::of(&metrics).samples;
        let ours = samples.get(&format!("memif_faults_total{{{labels}}}"));
        ours.is_some_and(|count| count != "0") && samples.get(strangers).is_some_and(|count| count != "0")
    });
}

#[test]
fn labels_are_escaped_and_never_twice() {
    let memif = Arc::new(Memif::start().unwrap());
    let socket = address("escaped \"quoted\" \\ and\nbroken");
    let interfaces: Vec<_> = (0..2).map(|_| Arc::new(memif.interface(&socket).open().unwrap())).collect();
    let metrics = Metrics::new(&memif);
    interfaces.iter().for_each(|interface| metrics.add(interface));
    let parsed = Parsed::of(&metrics);
    let up: Vec<_> = parsed.samples.keys().filter(|sample| sample.starts_with("memif_link_up")).collect();
    assert_eq!(up.len(), 1);
    assert!(up[0].contains(r#"escaped \"quoted\" \\ and\nbroken"#), "{up:?}");
}

#[test]
fn what_was_dropped_is_not_shown_and_not_kept_alive() {
    let memif = Arc::new(Memif::start().unwrap());
    let socket = address("dropped");
    let interface = Arc::new(memif.interface(&socket).master().open().unwrap());
    let metrics = Metrics::new(&memif);
    metrics.add(&interface);
    drop(interface);
    assert!(Parsed::of(&metrics).names().iter().all(|name| name.starts_with("memif_control_")));
    memif.interface(&socket).master().open().expect("the address is free again");
    drop(memif);
    assert!(Parsed::of(&metrics).samples.is_empty());
}

#[test]
fn a_registry_of_the_program_takes_the_collector() {
    let memif = Arc::new(Memif::start().unwrap());
    let metrics = Metrics::new(&memif);
    let mut registry = Registry::with_prefix("router");
    registry.register_collector(Box::new(metrics.clone()));
    // added later, through a clone
    let interface = Arc::new(memif.interface(address("registry")).open().unwrap());
    metrics.add(&interface);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains("\nrouter_memif_link_up{"), "{text}");
}
