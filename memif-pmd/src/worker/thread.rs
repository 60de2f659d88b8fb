//! One worker: a thread that runs its tasks in turn until it is told to stop.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use std::{hint, mem, thread};

use memif_os::event::EventFd;
use memif_os::page_pool::{Block, PagePool};

use super::idle::{Idle, Rest};
use super::queues::Queues;
use crate::error::Error;
use crate::packet::Burst;
use crate::queue::{RxQueue, nap, until_woken};
use crate::stop::Stop;

/// The longest sleep.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

/// A task with its queues, of whatever type.
pub(super) trait Task: Send {
    /// One turn; returns [`Task::activity`] after it.
    fn run(&mut self, burst: &mut Burst) -> u64;
    /// A number that changes when a turn has moved a packet.
    fn activity(&self) -> u64;
    fn each_rx<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut RxQueue));
    fn each_fd(&self, visit: &mut dyn FnMut(BorrowedFd<'_>));
}

pub(super) struct TaskOf<Q, F> {
    pub(super) queues: Q,
    pub(super) work: F,
}

impl<Q: Queues, F: FnMut(&mut Q, &mut Burst) + Send> Task for TaskOf<Q, F> {
    fn run(&mut self, burst: &mut Burst) -> u64 {
        (self.work)(&mut self.queues, burst);
        self.queues.activity()
    }

    fn activity(&self) -> u64 {
        self.queues.activity()
    }

    fn each_rx<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut RxQueue)) {
        self.queues.each_rx(visit);
    }

    fn each_fd(&self, visit: &mut dyn FnMut(BorrowedFd<'_>)) {
        self.queues.each_fd(visit);
    }
}

/// The tasks of one thread.
pub(super) struct Plan<'env> {
    /// `None` runs wherever the kernel likes.
    pub(super) core: Option<usize>,
    pub(super) tasks: Vec<Box<dyn Task + 'env>>,
}

/// What a worker has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerStats {
    /// The core that it was pinned to.
    pub core: Option<usize>,
    /// Rounds over all its tasks.
    pub rounds: u64,
    /// Rounds that moved packets.
    pub busy: u64,
    /// Times that it slept.
    pub sleeps: u64,
}

/// Stops the other workers when the thread panics.
struct StopOnPanic<'a>(&'a Stop);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.stop();
        }
    }
}

/// One thread's work.
pub(super) struct Worker<'env> {
    tasks: Vec<(Box<dyn Task + 'env>, Burst)>,
    idle: Idle,
    stop: Stop,
    doorbell: Arc<EventFd>,
    /// Descriptors of what its tasks receive from beside queues, with which a sleep ends as well.
    others: Vec<OwnedFd>,
    /// There were packets when it last wanted to sleep: if the next round does not move them either, they are stuck.
    waiting: bool,
    /// It was logged that it cannot sleep.
    warned: bool,
}

impl<'env> Worker<'env> {
    /// `burst` makes a burst from a block of `pool`.
    pub(super) fn new(
        plan: Plan<'env>,
        pool: &Arc<PagePool>,
        burst: impl Fn(Block) -> Burst,
        idle: Idle,
        stop: &Stop,
    ) -> Result<Self, Error> {
        let doorbell = Arc::new(EventFd::new().map_err(Error::system("eventfd"))?);
        let mut tasks = Vec::with_capacity(plan.tasks.len());
        let mut others = Vec::new();
        for mut task in plan.tasks {
            if let Idle::Sleep { .. } = idle {
                task.each_rx(&mut |rx| rx.watch(&doorbell));
                let mut failed = None;
                task.each_fd(&mut |fd| match fd.try_clone_to_owned() {
                    Ok(fd) => others.push(fd),
                    Err(error) => failed = Some(error),
                });
                failed.map_or(Ok(()), Err).map_err(Error::system("dup"))?;
            }
            tasks.push((task, burst(pool.take().ok_or(Error::NoBurstMemory)?)));
        }
        Ok(Self { tasks, idle, stop: stop.clone(), doorbell, others, waiting: false, warned: false })
    }

    pub(super) fn run(mut self) -> WorkerStats {
        let stop = self.stop.clone();
        let _guard = StopOnPanic(&stop);
        let mut stats = WorkerStats::default();
        let mut idle_rounds = 0;
        let mut before = self.tasks.iter().map(|(task, _)| task.activity()).fold(0, u64::wrapping_add);
        while !stop.is_stopped() {
            let activity =
                self.tasks.iter_mut().map(|(task, burst)| task.run(burst)).fold(0, u64::wrapping_add);
            stats.rounds += 1;
            if activity == before {
                idle_rounds += 1;
                self.rest(idle_rounds, &mut stats);
            } else {
                before = activity;
                idle_rounds = 0;
                self.waiting = false;
                stats.busy += 1;
            }
        }
        stats
    }

    #[inline]
    fn rest(&mut self, idle_rounds: u64, stats: &mut WorkerStats) {
        match self.idle.rest(idle_rounds) {
            Rest::None => {}
            Rest::Pause => hint::spin_loop(),
            Rest::Sleep => stats.sleeps += u64::from(self.sleep()),
        }
    }

    /// Sleeps until there are packets, or shortly where packets wait for room that nobody announces. Returns whether it
    /// slept.
    #[cold]
    fn sleep(&mut self) -> bool {
        let stuck = self.waiting || self.tasks.iter().any(|(_, burst)| burst.len() + burst.waiting() > 0);
        let mut queues = Vec::new();
        for (task, _) in &mut self.tasks {
            task.each_rx(&mut |rx| queues.push(rx));
        }
        let slept = if stuck {
            nap(queues, &self.doorbell, &self.stop)
        } else {
            until_woken(&mut queues, &self.others, &self.doorbell, Some(&self.stop), Some(LONGEST_SLEEP))
        };
        self.waiting = matches!(slept, Ok(false));
        slept.unwrap_or_else(|error| {
            if !mem::replace(&mut self.warned, true) {
                tracing::warn!(%error, "a worker cannot sleep");
            }
            hint::spin_loop();
            false
        })
    }
}
