//! Run to completion: threads pinned to cores, each of which polls its queues and hands bursts to your code.
//!
//! A worker runs its tasks in turn until it is told to stop. A task is some queues and a function that gets them with a
//! burst. The burst stays with the task: what a full ring did not take is sent before what comes later, and shown no more.

mod forward;
mod idle;
mod queues;
mod running;
mod thread;
mod workers;

pub use forward::{forward, forward_in_place};
pub use idle::Idle;
pub use queues::Queues;
pub use running::Running;
pub use thread::WorkerStats;
pub use workers::Workers;
