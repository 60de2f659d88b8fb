//! Names, reasons and secrets: fields of fixed size that a peer may fill with any bytes.

use core::{fmt, hint};

/// Bytes in a secret field.
pub const SECRET_SIZE: usize = 24;

/// The name of an application or of an interface: a 32-byte field.
pub type Name = Text<32>;

/// The reason of a DISCONNECT: a 96-byte field.
pub type Reason = Text<96>;

/// Why bytes cannot become a [`Text`] or a [`Secret`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Longer than the field.
    #[error("text of {got} bytes: the field holds at most {limit}")]
    TooLong {
        /// Bytes given.
        got: usize,
        /// Most bytes that the field holds.
        limit: usize,
    },
    /// A NUL byte, which would end the string for a C peer.
    #[error("text with a NUL at byte {at}: remove it")]
    HoldsNul {
        /// Index of the first NUL.
        at: usize,
    },
}

/// A field that begins with `bytes`, at most `limit` of them, and is zero behind them.
fn fill<const N: usize>(bytes: &[u8], limit: usize) -> Result<[u8; N], TextError> {
    if let Some(at) = bytes.iter().position(|&byte| byte == 0) {
        return Err(TextError::HoldsNul { at });
    }
    let too_long = TextError::TooLong { got: bytes.len(), limit };
    if bytes.len() > limit {
        return Err(too_long);
    }
    let mut field = [0; N];
    field.get_mut(..bytes.len()).ok_or(too_long)?.copy_from_slice(bytes);
    Ok(field)
}

/// A string field of `N` bytes: the bytes before the first NUL, or all `N` when there is none. They need not be UTF-8.
///
/// `Display` and `Debug` escape everything but printable ASCII, so that a peer cannot write control characters into
/// a log or a terminal.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Text<const N: usize> {
    // Zero from the first NUL on, so that equal texts are equal arrays.
    field: [u8; N],
}

impl<const N: usize> Text<N> {
    /// Text of our own: at most `N - 1` bytes, because some C peers read on until a NUL.
    ///
    /// # Errors
    /// [`TextError::TooLong`], [`TextError::HoldsNul`].
    pub fn new(text: impl AsRef<[u8]>) -> Result<Self, TextError> {
        Ok(Self { field: fill(text.as_ref(), N.saturating_sub(1))? })
    }

    /// The start of `text`: whole characters, as many as fit before a final NUL, up to the first NUL in `text`.
    #[must_use]
    pub fn truncated(text: &str) -> Self {
        let text = text.split('\0').next().unwrap_or_default();
        let end = text.floor_char_boundary(N.saturating_sub(1));
        let mut field = [0; N];
        for (to, from) in field.iter_mut().zip(text.bytes().take(end)) {
            *to = from;
        }
        Self { field }
    }

    /// A field as a peer sent it. Bytes after the first NUL are dropped.
    #[must_use]
    pub fn from_field(mut field: [u8; N]) -> Self {
        let mut ended = false;
        for byte in &mut field {
            ended |= *byte == 0;
            if ended {
                *byte = 0;
            }
        }
        Self { field }
    }

    /// The text without its padding: 0 to `N` bytes, none of them NUL.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.field.split(|&byte| byte == 0).next().unwrap_or_default()
    }

    /// Whether there is no text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }

    /// The field as it is sent: the text, then NULs.
    #[must_use]
    pub const fn as_field(&self) -> &[u8; N] {
        &self.field
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self { field: [0; N] }
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.as_bytes().escape_ascii(), f)
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// The secret that guards an interface: up to 24 bytes, NUL padded; empty for none.
///
/// Comparison takes the same time for every pair of secrets. `Debug` does not show the bytes.
#[derive(Clone, Copy, Default)]
pub struct Secret {
    field: [u8; SECRET_SIZE],
}

impl Secret {
    /// A secret of our own: at most 24 bytes, none of them NUL.
    ///
    /// # Errors
    /// [`TextError::TooLong`], [`TextError::HoldsNul`].
    pub fn new(secret: impl AsRef<[u8]>) -> Result<Self, TextError> {
        Ok(Self { field: fill(secret.as_ref(), SECRET_SIZE)? })
    }

    /// A field as a peer sent it. All 24 bytes count, also those after a NUL.
    #[must_use]
    pub const fn from_field(field: [u8; SECRET_SIZE]) -> Self {
        Self { field }
    }

    /// Whether there is no secret: 24 NULs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The field as it is sent.
    #[must_use]
    pub const fn as_field(&self) -> &[u8; SECRET_SIZE] {
        &self.field
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        // black_box prevents the optimiser from leaving the loop at the first difference
        let difference = self
            .field
            .iter()
            .zip(&other.field)
            .fold(0, |difference, (a, b)| hint::black_box(difference | (a ^ b)));
        hint::black_box(difference) == 0
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "Secret(none)" } else { "Secret(redacted)" })
    }
}
