//! The metrics: names, help texts, and where their values come from. The names are a promise: see the README.

use std::fmt;

use memif_pmd::{Details, Memif, QueueDetails, QueueStats};
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::labels::Labels;

/// A metric of each queue of one direction.
struct OfQueue {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    kind: MetricType,
    value: fn(&QueueStats) -> u64,
}

const fn counter(name: &'static str, help: &'static str, value: fn(&QueueStats) -> u64) -> OfQueue {
    OfQueue { name, help, unit: None, kind: MetricType::Counter, value }
}

const fn bytes(name: &'static str, help: &'static str, value: fn(&QueueStats) -> u64) -> OfQueue {
    OfQueue { name, help, unit: Some(Unit::Bytes), kind: MetricType::Counter, value }
}

const fn gauge(name: &'static str, help: &'static str, value: fn(&QueueStats) -> u64) -> OfQueue {
    OfQueue { name, help, unit: None, kind: MetricType::Gauge, value }
}

const RX: [OfQueue; 3] = [
    counter("memif_rx_packets", "Packets received.", |stats| stats.packets),
    bytes("memif_rx", "Bytes of packets received.", |stats| stats.bytes),
    counter("memif_rx_wakeups", "Times that a sleeping receiver was woken.", |stats| stats.wakeups),
];

const TX: [OfQueue; 6] = [
    counter("memif_tx_packets", "Packets sent.", |stats| stats.packets),
    bytes("memif_tx", "Bytes of packets sent.", |stats| stats.bytes),
    counter("memif_tx_ring_full", "Bursts that did not fit into the ring as a whole.", |stats| {
        stats.ring_full
    }),
    gauge("memif_tx_refused_at_once", "Most packets of one burst that found no room in the ring.", |stats| {
        stats.refused_at_once
    }),
    counter("memif_tx_interrupts", "Times that the peer was notified.", |stats| stats.interrupts),
    counter(
        "memif_tx_interrupts_deferred",
        "Notifications left out, as the peer makes them slow.",
        |stats| stats.interrupts_deferred,
    ),
];

/// Writes the metrics of the control plane.
pub(crate) fn of_control_plane(encoder: &mut DescriptorEncoder<'_>, memif: &Memif) -> fmt::Result {
    let stats = memif.stats();
    let mut gauge = |name, help, value: usize| {
        encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    };
    gauge(
        "memif_control_reaper_queued",
        "What waits to be closed or unmapped, of the process.",
        stats.reaper_queued,
    )?;
    gauge(
        "memif_control_reaper_busy",
        "Threads that close or unmap something, of the process.",
        stats.reaper_busy,
    )?;
    gauge(
        "memif_control_reaper_hung",
        "Threads of them that have done so for more than a second.",
        stats.reaper_hung,
    )?;
    let help = "Longest time for which the lock of the control plane was held.";
    encoder
        .encode_descriptor("memif_control_lock_held_max", help, Some(&Unit::Seconds), MetricType::Gauge)?
        .encode_gauge(&stats.longest_lock_hold.as_secs_f64())?;
    let help = "Connections refused because of a limit that protects other peers.";
    let mut refused = encoder.encode_descriptor("memif_control_refused", help, None, MetricType::Counter)?;
    count(&mut refused, stats.refused_by_quota)?;

    let faults = memif.stranger_faults();
    if faults.is_empty() {
        return Ok(());
    }
    let help = "Faults of clients that named no interface.";
    let mut family =
        encoder.encode_descriptor("memif_control_stranger_faults", help, None, MetricType::Counter)?;
    for (kind, faults) in faults {
        row(&mut family, Labels::NONE.row("kind", kind.name()), faults)?;
    }
    Ok(())
}

/// Writes the metrics of the interfaces and of their queues.
pub(crate) fn of_interfaces(encoder: &mut DescriptorEncoder<'_>, interfaces: &[Details]) -> fmt::Result {
    if interfaces.is_empty() {
        return Ok(());
    }
    let mut up =
        encoder.encode_descriptor("memif_link_up", "Whether there is a link.", None, MetricType::Gauge)?;
    for interface in interfaces {
        up.encode_family(&Labels::of(interface))?.encode_gauge(&u32::from(interface.link_up))?;
    }
    let mut links = encoder.encode_descriptor("memif_links", "Links so far.", None, MetricType::Counter)?;
    for interface in interfaces {
        row(&mut links, Labels::of(interface), interface.connects)?;
    }
    if interfaces.iter().any(|interface| interface.faults().next().is_some()) {
        let help = "Faults of peers, each of which ended a link or an attempt.";
        let mut faults = encoder.encode_descriptor("memif_faults", help, None, MetricType::Counter)?;
        for interface in interfaces {
            for (kind, count) in interface.faults() {
                row(&mut faults, Labels::of(interface).row("kind", kind.name()), count)?;
            }
        }
    }
    of_queues(encoder, interfaces, "memif_rx_drops", &RX, |interface| &interface.rx)?;
    of_queues(encoder, interfaces, "memif_tx_drops", &TX, |interface| &interface.tx)
}

/// Writes the metrics of all queues of one direction.
fn of_queues(
    encoder: &mut DescriptorEncoder<'_>,
    interfaces: &[Details],
    drops: &str,
    metrics: &[OfQueue],
    queues: impl Fn(&Details) -> &[QueueDetails],
) -> fmt::Result {
    let each = || {
        let queues = &queues;
        interfaces.iter().flat_map(move |interface| {
            let labels = move |queue: &QueueDetails| Labels::of(interface).queue(queue.index);
            queues(interface).iter().map(move |queue| (labels(queue), &queue.stats))
        })
    };
    for metric in metrics {
        let mut family =
            encoder.encode_descriptor(metric.name, metric.help, metric.unit.as_ref(), metric.kind)?;
        for (labels, stats) in each() {
            let value = (metric.value)(stats);
            match metric.kind {
                MetricType::Gauge => family.encode_family(&labels)?.encode_gauge(&value)?,
                _ => row(&mut family, labels, value)?,
            }
        }
    }
    let mut family = encoder.encode_descriptor(drops, "Packets dropped.", None, MetricType::Counter)?;
    for (labels, stats) in each() {
        for (reason, count) in stats.drops() {
            row(&mut family, labels.row("reason", reason), count)?;
        }
    }
    Ok(())
}

/// One line of a counter that has several.
fn row(family: &mut MetricEncoder<'_>, labels: Labels<'_>, value: u64) -> fmt::Result {
    count(&mut family.encode_family(&labels)?, value)
}

fn count(encoder: &mut MetricEncoder<'_>, value: u64) -> fmt::Result {
    encoder.encode_counter::<NoLabelSet, _, u64>(&value, None)
}
