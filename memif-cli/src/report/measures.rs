//! What a run measures, and the machine that it runs on.

use std::collections::BTreeMap;

use serde::Serialize;

/// Dropped packets by reason, without reasons that did not occur.
pub(crate) type Drops = BTreeMap<String, u64>;

/// What a command measures besides packets and drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Measures {
    /// Latency, if it is measured.
    pub latency: Option<LatencyKind>,
    /// Content and sequence.
    pub verify: bool,
}

/// What a latency is the time between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LatencyKind {
    /// From before a burst is sent until it is received, for the first packet of each.
    OneWay,
    /// From before a burst is sent until it has come back, for the first packet of each.
    RoundTrip,
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
