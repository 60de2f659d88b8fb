//! Run to completion: threads pinned to cores, each of which polls its queues and hands bursts to your code.
//!
//! A worker runs its tasks in turn until it is told to stop. A task is some queues and a function that gets them with a
//! burst. What the function leaves in the burst is there the next time, so what a full ring did not take is sent again, in
//! order.

mod forward;
mod idle;
mod queues;
mod stop;
mod thread;
mod workers;

pub use forward::{forward, forward_in_place};
pub use idle::Idle;
pub use queues::Queues;
pub use stop::{Stop, ctrl_c};
pub use thread::WorkerStats;
pub use workers::{Running, Workers};
