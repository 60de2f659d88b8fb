//! Ports as command lines give them.

use std::fmt;

use crate::error::ToolError;
use crate::ports::Spec;

/// A port as it was written. Parsed outside of clap, whose errors repeat the whole text and with it the secret.
#[derive(Clone)]
pub(crate) struct PortText(String);

impl PortText {
    /// Reads the port.
    ///
    /// # Errors
    /// The error says what is wrong with it.
    pub(crate) fn parse(&self) -> Result<Spec, ToolError> {
        Spec::parse(&self.0)
    }
}

impl From<String> for PortText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for PortText {
    /// Nothing of the text, which may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortText").finish_non_exhaustive()
    }
}
