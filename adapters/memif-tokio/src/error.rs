//! Errors of interfaces and queues.

use std::io;

/// Why there is no interface, or why waiting is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The interface was dropped or shut down, or its control plane was: no packet will come or go again.
    #[error("the interface was dropped or shut down: open it again")]
    Closed,
    /// The runtime cannot watch the queue's eventfd.
    #[error("the runtime cannot watch the eventfd of queue {queue}: {error}")]
    Watch {
        /// Index of the queue.
        queue: u16,
        /// What the kernel said.
        error: io::Error,
    },
    /// A burst was given to a sink that was not ready: call `poll_ready` first, as `SinkExt` does.
    #[error("the sink has a burst that it has not sent yet: wait until it is ready")]
    NotReady,
    /// The interface, its queues or their memory.
    #[error(transparent)]
    Memif(#[from] memif_pmd::Error),
}
