//! Links as OpenMetrics text. docs/observing.md documents the names of the metrics, which stay the same.

use std::fmt;
use std::io;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::rows::Rows;
use crate::error::ToolError;

/// Labels of a link.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfLink {
    file: String,
    socket: String,
}

/// Labels of a ring.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRing {
    file: String,
    socket: String,
    ring: String,
}

/// All links.
///
/// # Errors
/// None: the text is made in memory.
pub(crate) fn openmetrics(rows: &Rows) -> Result<String, ToolError> {
    text(rows).map_err(|error| ToolError::Output(io::Error::other(error)))
}

fn text(rows: &Rows) -> Result<String, fmt::Error> {
    let ends = Family::<OfLink, Gauge>::default();
    let problems = Family::<OfLink, Gauge>::default();
    let broken = Family::<OfLink, Gauge>::default();
    let size = Family::<OfRing, Gauge>::default();
    let used = Family::<OfRing, Gauge>::default();
    let descriptors = Family::<OfRing, Counter<u64, AtomicU64>>::default();
    let late = Family::<OfRing, Counter<u64, AtomicU64>>::default();
    let hidden = Gauge::<i64>::default();
    hidden.set(i64::try_from(rows.hidden_processes).unwrap_or(i64::MAX));
    for link in &rows.links {
        let (file, socket) = (link.file.clone(), link.socket.clone().unwrap_or_default());
        let of_link = OfLink { file: file.clone(), socket: socket.clone() };
        ends.get_or_create(&of_link).set(i64::try_from(link.ends.len()).unwrap_or(i64::MAX));
        problems.get_or_create(&of_link).set(i64::try_from(link.problems.len()).unwrap_or(i64::MAX));
        broken.get_or_create(&of_link).set(i64::from(link.broken));
        for ring in &link.rings {
            let of_ring = OfRing { file: file.clone(), socket: socket.clone(), ring: ring.name.clone() };
            descriptors.get_or_create(&of_ring).inc_by(ring.descriptors);
            late.get_or_create(&of_ring).inc_by(ring.late_looks);
            if let Some(number) = ring.size {
                size.get_or_create(&of_ring).set(number.into());
            }
            if let Some(number) = ring.used {
                used.get_or_create(&of_ring).set(number.into());
            }
        }
    }
    let mut registry = Registry::default();
    registry.register("memif_link_ends", "Processes that have the link mapped: two while it is up", ends);
    registry.register("memif_link_problems", "Number of things that are wrong with the link", problems);
    registry.register("memif_link_broken", "1 if the link's memory was cut off or overwritten", broken);
    registry.register(
        "memif_ring_descriptors",
        "Descriptors that packets took since the tool began to look",
        descriptors,
    );
    registry.register(
        "memif_ring_late_looks",
        "Looks that came late: for each, multiples of 65536 descriptors may be missing",
        late,
    );
    registry.register("memif_ring_used", "Descriptors between tail and head", used);
    registry.register("memif_ring_size", "Descriptors of the ring", size);
    registry.register("memif_hidden_processes", "Processes that could not be looked at", hidden);
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::rows::{LinkRow, RingRow};
    use super::*;

    #[test]
    fn names_and_labels_are_those_of_the_documentation() {
        let ring = RingRow {
            name: "s2m/0".to_owned(),
            direction_seen: Some(true),
            size: Some(1024),
            line: Some(64),
            head: Some(7),
            tail: Some(2),
            used: Some(5),
            masked: Some(true),
            descriptors: 7,
            late_looks: 1,
            rate: None,
        };
        let link = LinkRow {
            file: "1:2".to_owned(),
            socket: Some("/run/\"m\".sock".to_owned()),
            ends: vec![],
            regions: vec![],
            rings: vec![ring],
            problems: vec!["over".to_owned()],
            broken: true,
        };
        let text = text(&Rows { links: vec![link], hidden_processes: 3 }).unwrap();
        for line in [
            "memif_link_ends{file=\"1:2\",socket=\"/run/\\\"m\\\".sock\"} 0",
            "memif_link_problems{file=\"1:2\",socket=\"/run/\\\"m\\\".sock\"} 1",
            "memif_link_broken{file=\"1:2\",socket=\"/run/\\\"m\\\".sock\"} 1",
            "memif_ring_descriptors_total{file=\"1:2\",socket=\"/run/\\\"m\\\".sock\",ring=\"s2m/0\"} 7",
            "memif_ring_late_looks_total{file=\"1:2\",socket=\"/run/\\\"m\\\".sock\",ring=\"s2m/0\"} 1",
            "memif_ring_used{file=\"1:2\",socket=\"/run/\\\"m\\\".sock\",ring=\"s2m/0\"} 5",
            "memif_ring_size{file=\"1:2\",socket=\"/run/\\\"m\\\".sock\",ring=\"s2m/0\"} 1024",
            "memif_hidden_processes 3",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
