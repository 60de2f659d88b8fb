//! The record of a line or of the summary, which is printed as JSON or as text.

use serde::Serialize;

use super::measures::{Drops, LatencyKind, Machine, Measures};
use super::totals::{QueueTotals, Totals};
use crate::latency::Quantiles;
use crate::output::unix_seconds;

/// One JSON object.
#[derive(Debug, Serialize)]
pub(super) struct Record<'a> {
    /// Seconds of the Unix epoch.
    pub(super) time: f64,
    pub(super) r#final: bool,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) seconds: f64,
    pub(super) mpps: f64,
    pub(super) gbps: f64,
    pub(super) drops: &'a Drops,
    pub(super) queues: &'a [QueueTotals],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) latency: Option<LatencyKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) latency_ns: Option<Quantiles>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sent: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) other: Option<u64>,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) missed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lost: Option<u64>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(super) checks: Option<Checks>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) machine: Option<&'a Machine>,
}

#[derive(Debug, Serialize)]
pub(super) struct Checks {
    pub(super) verified: u64,
    pub(super) corrupt: u64,
    pub(super) wrong_length: u64,
    pub(super) reordered: u64,
    pub(super) unfilled: u64,
    pub(super) foreign: u64,
}

impl<'a> Record<'a> {
    /// Of a line or, if it is the `last`, of the summary.
    pub(super) fn new(
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
            time: unix_seconds(),
            r#final: last,
            packets: counts.packets,
            bytes: counts.bytes,
            seconds,
            mpps: per(counts.packets, seconds) / 1e6,
            gbps: per(counts.bytes, seconds) * 8.0 / 1e9,
            drops: &totals.drops,
            queues: &totals.queues,
            latency: measures.latency.filter(|_| latency.is_some()),
            latency_ns: latency,
            other: totals.other,
            missed: totals.missed,
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

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}
