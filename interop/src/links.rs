//! What becomes of an interface's link: when it ends, why, and how long it takes until there is one again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use memif_pmd::{Disconnect, Event};

/// Time within which a link should be up again after a fault of the peer.
const SOON: Duration = Duration::from_millis(100);

/// Follows an interface's link by its events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Links(Arc<Mutex<History>>);

#[derive(Debug, Default)]
struct History {
    count: u64,
    down: Option<Instant>,
    /// Times between two links.
    outages: Vec<Duration>,
    reasons: BTreeMap<String, u32>,
}

impl Links {
    /// Takes note of an event.
    pub(crate) fn note(&self, event: &Event) {
        let mut history = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Connected => {
                history.count += 1;
                if let Some(since) = history.down.take() {
                    history.outages.push(since.elapsed());
                }
            }
            Event::Disconnected(reason) => {
                history.down = Some(Instant::now());
                *history.reasons.entry(name(reason)).or_default() += 1;
            }
            _ => {}
        }
    }

    /// Number of links so far.
    pub(crate) fn count(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).count
    }

    /// The outages so far, as text: how many for which reason, and how long they took.
    pub(crate) fn outages(&self) -> String {
        let history = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut times = history.outages.clone();
        times.sort_unstable();
        let (Some(median), Some(longest)) = (times.get(times.len() / 2), times.last()) else {
            return "no link lost".to_owned();
        };
        let milliseconds = |time: &Duration| time.as_secs_f64() * 1e3;
        let soon = times.iter().filter(|time| **time <= SOON).count();
        format!(
            "{} links lost ({:?}), up again after {:.1} ms (median), {:.1} ms at most, {soon} of them within {SOON:?}",
            times.len(),
            history.reasons,
            milliseconds(median),
            milliseconds(longest)
        )
    }
}

/// A reason without its numbers.
fn name(reason: &Disconnect) -> String {
    match reason {
        Disconnect::Fault(fault) => fault.kind().name().to_owned(),
        other => other.to_string(),
    }
}
