//! Waiting: eventfds (a ring's interrupts), timerfds, folders, epoll, and poll for a sleeping worker.
//!
//! An eventfd is shared with the peer, who may write, read and reconfigure it at any time: it may fill the
//! counter, empty it, and take our non-blocking mode away, which belongs to the shared file and not to our
//! descriptor. So nothing here relies on that mode where a peer is involved. Reading asks the kernel not to wait, call
//! by call; for writing, [`EventFd::notify`] goes another way than `write`.

mod epoll;
mod eventfd;
mod folder;
mod notify_budget;
mod poll;
mod timerfd;

pub use epoll::{Epoll, Event, Interest};
pub use eventfd::{EventError, EventFd};
pub use folder::{Change, FolderId, FolderWatch};
pub use notify_budget::{Notified, NotifyBudget};
pub use poll::poll_fds;
pub use timerfd::TimerFd;

#[cfg(test)]
mod tests;
