//! Ports as command lines give them.

use std::fmt;

use memif_pmd::Port;

use crate::error::ToolError;

/// A port as it was written. Parsed outside of clap, whose errors repeat the whole text and with it the secret.
#[derive(Clone)]
pub(crate) struct PortText(String);

impl PortText {
    /// Reads the port.
    ///
    /// # Errors
    /// [`memif_pmd::Error::Port`] says what is wrong with it.
    pub(crate) fn parse(&self) -> Result<Port, ToolError> {
        Ok(self.0.parse()?)
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
