//! Why nothing can be observed.

/// An error of this crate. What is wrong with one link or one process is not an error, but part of what is seen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObserveError {
    /// The list of processes cannot be read.
    #[error("cannot list processes: {reason}; mount /proc")]
    Processes {
        /// The kernel's answer.
        reason: String,
    },
    /// There is no process of the id in the [`Scope`](crate::Scope).
    #[error("no process {pid}")]
    NoProcess {
        /// The id.
        pid: u32,
    },
    /// The process of the [`Scope`](crate::Scope) cannot be looked at.
    #[error("process {pid} cannot be looked at: that takes root, or the right to trace it")]
    NotAllowed {
        /// The id.
        pid: u32,
    },
}
