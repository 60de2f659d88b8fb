#![doc = include_str!("../README.md")]
//! ## Modules
//!
//! | module | contents |
//! | --- | --- |
//! | `families` | names, help texts and values of the metrics |
//! | `labels` | the label sets |

#![deny(unsafe_code)]

mod families;
mod labels;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use memif_pmd::{Details, Interface, Memif};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

/// The media type of what [`Metrics::encode`] writes, for the header `Content-Type`.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of a control plane and of its interfaces. Clones are the same set.
///
/// It keeps neither alive: an interface that was dropped or shut down is left out from then on, and so are the metrics of
/// the control plane once that was dropped.
#[derive(Clone, Debug)]
pub struct Metrics {
    memif: Weak<Memif>,
    interfaces: Arc<Mutex<Vec<Weak<Interface>>>>,
}

impl Metrics {
    /// The metrics of the control plane, without interfaces yet.
    #[must_use]
    pub fn new(memif: &Arc<Memif>) -> Self {
        Self { memif: Arc::downgrade(memif), interfaces: Arc::default() }
    }

    /// Adds the metrics of an interface and of its queues.
    ///
    /// Their labels are the interface's socket, id and role. Of several interfaces that agree in all three, such as two
    /// slaves on one socket of which only one can have a link, the one that was added first is shown.
    pub fn add(&self, interface: &Arc<Interface>) {
        let mut interfaces = self.lock();
        interfaces.retain(|interface| interface.strong_count() > 0);
        interfaces.push(Arc::downgrade(interface));
    }

    /// A registry with these metrics alone.
    #[must_use]
    pub fn registry(&self) -> Registry {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.clone()));
        registry
    }

    /// Appends all metrics to `text`, as OpenMetrics text with its end mark.
    ///
    /// # Errors
    /// `text` refuses what is written to it; a [`String`] takes all.
    pub fn encode(&self, text: &mut impl fmt::Write) -> fmt::Result {
        text::encode(text, &self.registry())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Interface>>> {
        // nothing panics between two states of it
        self.interfaces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The details of the interfaces that exist, without those whose labels another one has.
    fn details(&self) -> Vec<Details> {
        // no control plane is asked under the lock
        let interfaces: Vec<_> = self.lock().iter().filter_map(Weak::upgrade).collect();
        let mut found: Vec<Details> = Vec::with_capacity(interfaces.len());
        for details in interfaces.iter().filter_map(|interface| interface.details().ok()) {
            let same = |other: &Details| {
                (&other.socket, other.id, other.role) == (&details.socket, details.id, details.role)
            };
            if !found.iter().any(same) {
                found.push(details);
            }
        }
        found
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(memif) = self.memif.upgrade() {
            families::of_control_plane(&mut encoder, &memif)?;
        }
        families::of_interfaces(&mut encoder, &self.details())
    }
}
