//! Why nothing can be observed.

/// Why nothing can be observed. A defect of one link or process is not an error: it is part of what is reported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObserveError {
    /// The list of processes cannot be read.
    #[error("cannot list processes: {reason}; mount /proc")]
    Processes {
        /// The kernel's answer.
        reason: String,
    },
    /// No process has the id in the [`Scope`](crate::Scope).
    #[error("no process {pid}")]
    NoProcess {
        /// The id.
        pid: u32,
    },
    /// This process may not inspect the process of the [`Scope`](crate::Scope).
    #[error("process {pid} cannot be looked at: that takes root, or the right to trace it")]
    NotAllowed {
        /// The id.
        pid: u32,
    },
}
