//! Run to completion: threads pinned to cores, each polling its queues and handing bursts to your code.
//!
//! A worker runs its tasks in turn, for ever, until it is told to stop. A task is some queues and a function that gets
//! them with a burst: what the function leaves in the burst is there the next time, so what a full ring did not take is
//! sent again in order.

mod queues;
mod stop;

pub use queues::Queues;
pub use stop::{Stop, ctrl_c};

use std::fmt;
use std::hint;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use memif_os::cpu;
use memif_os::event::EventFd;
use memif_os::huge_pages::HugePages;
use memif_os::page_pool::PagePool;

use crate::error::Error;
use crate::packet::Burst;
use crate::queue::{RxQueue, TxQueue};
use crate::sleep;

/// Longest sleep: a stop that nobody announced, such as a signal's, is noticed after this at the latest.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

/// What a worker does when a round over its queues moved no packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Idle {
    /// Goes on at once.
    Spin,
    /// Tells the processor that it is waiting, for some tens of nanoseconds. The default.
    #[default]
    Pause,
    /// Pauses, and after so many idle rounds in a row sleeps until a peer rings: next to no processor time without
    /// traffic, at the price of a wake-up for the first packet.
    Sleep {
        /// Idle rounds before sleeping; 10,000 is about half a millisecond.
        after: u32,
    },
}

/// Passes packets on: receives from the first queue and sends on the second. What the second does not take waits, so a
/// slow receiver slows the sender down rather than losing packets.
pub fn forward((rx, tx): &mut (RxQueue, TxQueue), burst: &mut Burst) {
    rx.receive(burst);
    tx.send(burst);
}

/// As [`forward`], without copying: for two slaves that share a [`PacketMemory`](crate::PacketMemory). What the second
/// queue does not take waits in the first one's ring. Where the two share none, packets are copied as [`forward`] does.
pub fn forward_in_place(queues: &mut (RxQueue, TxQueue), burst: &mut Burst) {
    let (rx, tx) = queues;
    // a burst that is not empty holds what was copied before and did not fit
    if !burst.is_empty() || rx.forward_to(tx, burst.capacity()).is_err() {
        forward(queues, burst);
    }
}

/// A task with its queues, of whatever type.
trait Task: Send {
    /// One turn; returns what [`Task::activity`] is behind it.
    fn run(&mut self, burst: &mut Burst) -> u64;
    /// Moves whenever a turn did something.
    fn activity(&self) -> u64;
    fn each_rx<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut RxQueue));
}

struct TaskOf<Q, F> {
    queues: Q,
    work: F,
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
}

/// The tasks of one thread.
struct Plan {
    /// `None` runs wherever the kernel likes.
    core: Option<usize>,
    tasks: Vec<Box<dyn Task>>,
}

/// Threads to be: tasks by core. See [`Workers::on_core`].
///
/// ```no_run
/// use memif_pmd::{Memif, Workers, ctrl_c, forward};
///
/// let memif = Memif::start()?;
/// let left = memif.interface("/run/a.sock").slave().open()?;
/// let right = memif.interface("/run/b.sock").master().secret("psst").open()?;
/// let is_ipv4 = |packet: &mut [u8]| packet.get(12..14) == Some(&[0x08, 0x00]);
/// Workers::new()
///     .on_core(0, (left.rx(0)?, right.tx(0)?), move |(rx, tx), burst| {
///         rx.receive(burst);
///         burst.retain(is_ipv4);
///         tx.send(burst);
///     })
///     .on_core(1, (right.rx(0)?, left.tx(0)?), forward)
///     .run_until(&ctrl_c()?)?;
/// # Ok::<(), memif_pmd::Error>(())
/// ```
#[must_use = "nothing runs until `start` or `run_until`"]
pub struct Workers {
    plans: Vec<Plan>,
    idle: Idle,
    burst: usize,
    huge_pages: HugePages,
}

impl Workers {
    /// No workers yet; bursts of 64, [`Idle::Pause`].
    pub fn new() -> Self {
        Self { plans: Vec::new(), idle: Idle::default(), burst: 64, huge_pages: HugePages::Off }
    }

    /// What workers do without packets.
    pub fn idle(mut self, idle: Idle) -> Self {
        self.idle = idle;
        self
    }

    /// Most packets in a burst, 1 to 2^20. More amortise the cost of each burst better and take longer to fill.
    pub fn burst(mut self, packets: usize) -> Self {
        self.burst = packets;
        self
    }

    /// Where the bursts' memory lies; off by default, as a burst of small packets takes a page or two.
    pub fn huge_pages(mut self, huge_pages: HugePages) -> Self {
        self.huge_pages = huge_pages;
        self
    }

    /// Runs `work` on a core, over and over, with its queues: any tuple, vector or array of [`RxQueue`]s and
    /// [`TxQueue`]s. Several tasks on one core share a thread and run in turn, each with its own burst.
    pub fn on_core<Q, F>(self, core: usize, queues: Q, work: F) -> Self
    where
        Q: Queues + 'static,
        F: FnMut(&mut Q, &mut Burst) + Send + 'static,
    {
        self.add(Some(core), Box::new(TaskOf { queues, work }))
    }

    /// Runs `work` on a thread of its own that is not pinned.
    pub fn anywhere<Q, F>(self, queues: Q, work: F) -> Self
    where
        Q: Queues + 'static,
        F: FnMut(&mut Q, &mut Burst) + Send + 'static,
    {
        self.add(None, Box::new(TaskOf { queues, work }))
    }

    fn add(mut self, core: Option<usize>, task: Box<dyn Task>) -> Self {
        match self.plans.iter_mut().find(|plan| core.is_some() && plan.core == core) {
            Some(plan) => plan.tasks.push(task),
            None => self.plans.push(Plan { core, tasks: vec![task] }),
        }
        self
    }

    /// Starts the threads, each on its core.
    ///
    /// # Errors
    /// A core that does not exist or is not allowed (the error lists those that are), no memory, no thread. None is
    /// left running then.
    pub fn start(self) -> Result<Running, Error> {
        let stop = Stop::new();
        let blocks = self.plans.iter().map(|plan| plan.tasks.len()).sum::<usize>().max(1);
        let pool = PagePool::new(Burst::bytes(self.burst)?, blocks, self.huge_pages)?;
        // dropped on failure, which stops and joins those that run
        let mut running = Running { stop: stop.clone(), threads: Vec::new() };
        for plan in self.plans {
            let core = plan.core;
            let worker = Worker::new(plan, &pool, self.burst, self.idle, &stop)?;
            let (ready, started) = std::sync::mpsc::channel();
            let name = core.map_or_else(|| "memif-worker".into(), |core| format!("memif-worker-{core}"));
            let thread = thread::Builder::new().name(name).spawn(move || {
                let pinned = core.map_or(Ok(()), cpu::pin_current);
                let go = pinned.is_ok();
                let _ = ready.send(pinned); // the starter is waiting for it
                if go { worker.run() } else { WorkerStats::default() }
            });
            running.threads.push((core, thread.map_err(Error::system("thread"))?));
            let died = || Error::Worker { place: place(core), problem: "did not start".into() };
            started.recv().map_err(|_| died())??;
        }
        Ok(running)
    }

    /// Starts the threads and returns once `stop` was called and all have ended.
    ///
    /// # Errors
    /// As [`Workers::start`], or a worker panicked.
    pub fn run_until(self, stop: &Stop) -> Result<Vec<WorkerStats>, Error> {
        let running = self.start()?;
        stop.also(&running.stop);
        running.wait()
    }
}

impl Default for Workers {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cores: Vec<_> = self.plans.iter().map(|plan| plan.core).collect();
        f.debug_struct("Workers").field("cores", &cores).field("idle", &self.idle).finish_non_exhaustive()
    }
}

fn place(core: Option<usize>) -> String {
    core.map_or_else(|| "no core".into(), |core| format!("core {core}"))
}

/// What a worker has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

/// Threads that run. Dropping it stops them and waits for their end.
#[derive(Debug)]
pub struct Running {
    stop: Stop,
    threads: Vec<(Option<usize>, JoinHandle<WorkerStats>)>,
}

impl Running {
    /// What stops them.
    #[must_use]
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Waits until they have ended, each after its [`Stop`] was called.
    ///
    /// # Errors
    /// A worker panicked: the others are stopped.
    pub fn wait(mut self) -> Result<Vec<WorkerStats>, Error> {
        self.join()
    }

    fn join(&mut self) -> Result<Vec<WorkerStats>, Error> {
        let mut stats = Vec::new();
        let mut failed = None;
        for (core, thread) in self.threads.drain(..) {
            match thread.join() {
                Ok(done) => stats.push(WorkerStats { core, ..done }),
                Err(_) => {
                    self.stop.stop();
                    failed = Some(Error::Worker { place: place(core), problem: "panicked".into() });
                }
            }
        }
        failed.map_or(Ok(stats), Err)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.stop();
        let _ = self.join(); // whoever wants to know has called `wait`
    }
}

/// One thread's work.
struct Worker {
    tasks: Vec<(Box<dyn Task>, Burst)>,
    idle: Idle,
    stop: Stop,
    doorbell: Arc<EventFd>,
}

impl Worker {
    fn new(plan: Plan, pool: &Arc<PagePool>, burst: usize, idle: Idle, stop: &Stop) -> Result<Self, Error> {
        let doorbell = Arc::new(EventFd::new().map_err(Error::system("eventfd"))?);
        stop.ring(&doorbell);
        let mut tasks = Vec::with_capacity(plan.tasks.len());
        for mut task in plan.tasks {
            if let Idle::Sleep { .. } = idle {
                task.each_rx(&mut |rx| rx.watch(&doorbell));
            }
            tasks.push((task, Burst::within(pool.take().ok_or(Error::NoBurstMemory)?, burst)));
        }
        Ok(Self { tasks, idle, stop: stop.clone(), doorbell })
    }

    fn run(mut self) -> WorkerStats {
        let mut stats = WorkerStats::default();
        let mut idle_rounds = 0;
        let mut before: u64 = self.tasks.iter().map(|(task, _)| task.activity()).sum();
        while !self.stop.is_stopped() {
            let activity = self.tasks.iter_mut().map(|(task, burst)| task.run(burst)).sum();
            stats.rounds += 1;
            if activity == before {
                idle_rounds += 1;
                self.rest(idle_rounds, &mut stats);
            } else {
                before = activity;
                idle_rounds = 0;
                stats.busy += 1;
            }
        }
        stats
    }

    #[inline]
    fn rest(&mut self, idle_rounds: u32, stats: &mut WorkerStats) {
        match self.idle {
            Idle::Spin => {}
            // packets that wait to be sent are for the peer to make room for, and it does not ring for that
            Idle::Sleep { after } if idle_rounds > after && self.tasks.iter().all(|(_, b)| b.is_empty()) => {
                stats.sleeps += 1;
                self.sleep();
            }
            Idle::Pause | Idle::Sleep { .. } => hint::spin_loop(),
        }
    }

    #[cold]
    fn sleep(&mut self) {
        let mut queues = Vec::new();
        for (task, _) in &mut self.tasks {
            task.each_rx(&mut |rx| queues.push(rx));
        }
        if let Err(error) = sleep::until_woken(&mut queues, &self.doorbell, Some(LONGEST_SLEEP)) {
            tracing::warn!(%error, "a worker cannot sleep");
            hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_does_not_exist_is_an_error_that_lists_those_that_do() {
        let error = Workers::new().on_core(1023, (), |(), _| {}).start().unwrap_err().to_string();
        assert!(error.contains("1023"), "{error}");
        let allowed = cpu::allowed_cores();
        assert!(error.contains(&allowed[0].to_string()), "{error}");
    }

    #[test]
    fn tasks_of_one_core_share_a_thread_and_all_end() {
        let core = cpu::allowed_cores()[0];
        let (count, counted) = std::sync::mpsc::channel();
        let mut workers = Workers::new().idle(Idle::Sleep { after: 3 });
        for task in 0..3 {
            let count = count.clone();
            workers =
                workers.on_core(core, (), move |(), _| count.send((task, thread::current().id())).unwrap());
        }
        let running = workers.start().unwrap();
        let first: Vec<_> = counted.iter().take(6).collect();
        assert_eq!(first.iter().map(|(task, _)| *task).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2]);
        assert!(first.iter().all(|(_, id)| *id == first[0].1));
        running.stop().stop();
        let stats = running.wait().unwrap();
        assert_eq!(stats.len(), 1);
        assert_eq!(stats[0].core, Some(core));
        assert!(stats[0].rounds >= 2);
    }

    #[test]
    fn a_panic_is_reported() {
        let running = Workers::new().anywhere((), |(), _| panic!("on purpose")).start().unwrap();
        assert!(matches!(running.wait(), Err(Error::Worker { .. })));
    }
}
