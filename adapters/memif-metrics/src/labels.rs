//! The label sets of the metrics.

use std::fmt;

use memif_pmd::Details;
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};

/// Labels of an interface, of one of its queues, and of one row of a counter that has several.
#[derive(Clone, Copy)]
pub(crate) struct Labels<'a> {
    pub(crate) interface: Option<&'a Details>,
    pub(crate) queue: Option<u16>,
    /// What the rows of a counter differ in.
    pub(crate) row: Option<(&'static str, &'static str)>,
}

impl<'a> Labels<'a> {
    /// The metric of the whole control plane.
    pub(crate) const NONE: Self = Self { interface: None, queue: None, row: None };

    pub(crate) fn of(interface: &'a Details) -> Self {
        Self { interface: Some(interface), ..Self::NONE }
    }

    pub(crate) fn queue(self, index: u16) -> Self {
        Self { queue: Some(index), ..self }
    }

    pub(crate) fn row(self, name: &'static str, value: &'static str) -> Self {
        Self { row: Some((name, value)), ..self }
    }
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        if let Some(interface) = self.interface {
            label(encoder, "socket", &interface.socket)?;
            label(encoder, "id", &interface.id)?;
            label(encoder, "role", &interface.role)?;
        }
        if let Some(queue) = &self.queue {
            label(encoder, "queue", queue)?;
        }
        if let Some((name, value)) = &self.row {
            label(encoder, name, value)?;
        }
        Ok(())
    }
}

/// Writes one label; the encoder escapes its value.
fn label(encoder: &mut LabelSetEncoder<'_>, name: &str, value: &dyn fmt::Display) -> fmt::Result {
    use fmt::Write as _;
    let mut label = encoder.encode_label();
    let mut key = label.encode_label_key()?;
    key.write_str(name)?;
    let mut text = key.encode_label_value()?;
    write!(text, "{value}")?;
    text.finish()
}
