//! Errors of a device.

use memif_pmd::Mode;

/// Why there is no device, or why it cannot sleep.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The interface's packets are neither Ethernet frames nor IP packets.
    #[error("smoltcp has no medium for an interface in mode {mode}: open it in mode ethernet or ip")]
    Medium {
        /// The interface's mode.
        mode: Mode,
    },
    /// The MTU is out of range.
    #[error("MTU of {mtu} bytes: use 576 to 65535")]
    Mtu {
        /// The MTU that was asked for.
        mtu: usize,
    },
    /// The queues or their memory.
    #[error(transparent)]
    Memif(#[from] memif_pmd::Error),
}
