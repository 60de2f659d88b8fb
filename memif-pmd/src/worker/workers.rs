//! Describing workers, and running them.

use std::fmt;
use std::thread::{self, ScopedJoinHandle};

use memif_os::huge_pages::HugePages;
use memif_os::page_pool::PagePool;
use memif_os::thread::{spawn, spawn_scoped};

use super::idle::Idle;
use super::queues::Queues;
use super::running::{Running, Threads, join, launch};
use super::thread::{Plan, Task, TaskOf, Worker, WorkerStats};
use crate::error::Error;
use crate::packet::Burst;
use crate::stop::Stop;

/// Describes worker threads: which tasks run on which cores. [`Workers::run_until`] or [`Workers::start`] starts them.
///
/// ```no_run
/// use memif_pmd::{Memif, Workers, ctrl_c, forward};
///
/// let memif = Memif::start()?;
/// let left = memif.interface("/run/a.sock").slave().open()?;
/// let right = memif.interface("/run/b.sock").master().secret("psst").open()?;
/// let mut other = 0; // packets that are not IPv4
/// Workers::new()
///     .on_core(0, (left.rx(0)?, right.tx(0)?), |(rx, tx), burst| {
///         rx.receive(burst);
///         burst.retain(|packet| {
///             let ipv4 = packet.get(12..14) == Some(&[0x08, 0x00]);
///             other += u64::from(!ipv4);
///             ipv4
///         });
///         tx.send(burst);
///     })
///     .on_core(1, (right.rx(0)?, left.tx(0)?), forward)
///     .run_until(&ctrl_c()?)?;
/// println!("{other} packets dropped");
/// # Ok::<(), memif_pmd::Error>(())
/// ```
///
/// With [`Workers::run_until`] tasks may borrow what outlives the call, as the closure above does; that is how a result gets
/// out of them. A closure that is `move` has copies of what is [`Copy`]: a counter outside stays as it was.
#[must_use = "nothing runs until `run_until` or `start`"]
pub struct Workers<'env> {
    plans: Vec<Plan<'env>>,
    idle: Idle,
    burst: usize,
    headroom: usize,
    huge_pages: HugePages,
}

impl<'env> Workers<'env> {
    /// No tasks yet; bursts of 64 packets, [`Idle::Pause`].
    pub fn new() -> Self {
        Self { plans: Vec::new(), idle: Idle::default(), burst: 64, headroom: 0, huge_pages: HugePages::Off }
    }

    /// What workers do while there are no packets.
    pub fn idle(mut self, idle: Idle) -> Self {
        self.idle = idle;
        self
    }

    /// The most packets in a burst, 1 to 2^20. Larger bursts cost less for each packet, and packets wait longer in them.
    pub fn burst(mut self, packets: usize) -> Self {
        self.burst = packets;
        self
    }

    /// Free bytes in front of each packet, 0 to 1024, to prepend headers ([`Burst::prepend`]); 0 by default.
    pub fn headroom(mut self, bytes: usize) -> Self {
        self.headroom = bytes;
        self
    }

    /// Whether the bursts' memory is on huge pages; off by default, as a burst of small packets takes a page or two.
    pub fn huge_pages(mut self, huge_pages: HugePages) -> Self {
        self.huge_pages = huge_pages;
        self
    }

    /// Adds a task on a core: `work` runs there again and again, with its queues and a burst. The queues are any tuple,
    /// vector or array of [`Queues`]. Several tasks on one core share a thread and run in turn, each with its own burst.
    ///
    /// The burst stays with the task: what a full ring did not take waits in it, and a task that receives, changes and sends
    /// packets changes each of them once (see [`Burst`]). A task for several queues to send on has a burst for each.
    pub fn on_core<Q, F>(self, core: usize, queues: Q, work: F) -> Self
    where
        Q: Queues + 'env,
        F: FnMut(&mut Q, &mut Burst) + Send + 'env,
    {
        self.add(Some(core), Box::new(TaskOf { queues, work }))
    }

    /// Adds a task on a thread of its own that is not pinned to a core.
    pub fn anywhere<Q, F>(self, queues: Q, work: F) -> Self
    where
        Q: Queues + 'env,
        F: FnMut(&mut Q, &mut Burst) + Send + 'env,
    {
        self.add(None, Box::new(TaskOf { queues, work }))
    }

    fn add(mut self, core: Option<usize>, task: Box<dyn Task + 'env>) -> Self {
        match self.plans.iter_mut().find(|plan| core.is_some() && plan.core == core) {
            Some(plan) => plan.tasks.push(task),
            None => self.plans.push(Plan { core, tasks: vec![task] }),
        }
        self
    }

    /// Runs the threads, each on its core, and returns when they have ended after `stop` was called. After an error none of
    /// them is left running.
    ///
    /// # Errors
    /// - [`Error::Core`]: a core does not exist or is not allowed; the error lists those that are.
    /// - [`Error::OutOfRange`]: the size of a burst, or its headroom.
    /// - [`Error::OutOfMemory`], [`Error::NoHugePages`], [`Error::NoBurstMemory`]: no memory for the bursts.
    /// - [`Error::OutOfDescriptors`], [`Error::OutOfThreads`], [`Error::System`], [`Error::Worker`]: no descriptor or thread.
    /// - [`Error::Worker`] also when a worker panicked: the others are stopped.
    pub fn run_until(self, stop: &Stop) -> Result<Vec<WorkerStats>, Error> {
        let own = stop.child()?;
        let workers = self.prepare(&own)?;
        thread::scope(|scope| {
            let mut threads = Threads::new();
            let launched = launch(workers, |name, body| spawn_scoped(scope, name, body), &mut threads);
            if launched.is_err() {
                own.stop();
            }
            let stats = join(threads, ScopedJoinHandle::join);
            launched.and(stats)
        })
    }

    /// The workers, with their cores and memory.
    fn prepare(self, stop: &Stop) -> Result<Vec<(Option<usize>, Worker<'env>)>, Error> {
        let Self { plans, idle, burst: packets, headroom, huge_pages } = self;
        let blocks = plans.iter().map(|plan| plan.tasks.len()).sum::<usize>().max(1);
        let pool =
            PagePool::new(Burst::bytes(packets, headroom)?, blocks, huge_pages).map_err(Error::pool)?;
        let burst = |memory| Burst::within(memory, packets, headroom);
        let worker = |plan: Plan<'env>| Ok((plan.core, Worker::new(plan, &pool, burst, idle, stop)?));
        plans.into_iter().map(worker).collect()
    }
}

impl Workers<'static> {
    /// Like [`Workers::run_until`], without waiting for the end; tasks own what they use. After an error none of the threads is
    /// left running.
    ///
    /// ```compile_fail,E0597
    /// let mut rounds = 0;
    /// let running = memif_pmd::Workers::new().anywhere((), |(), _| rounds += 1).start()?;
    /// # Ok::<(), memif_pmd::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Workers::run_until`]; a panic is reported by [`Running::wait`].
    pub fn start(self) -> Result<Running, Error> {
        let stop = Stop::new()?;
        let workers = self.prepare(&stop)?;
        // dropped on failure, which stops and joins those that run
        let mut running = Running::new(stop);
        launch(workers, |name, body| spawn(name, None, body), &mut running.threads)?;
        Ok(running)
    }
}

impl Default for Workers<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Workers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cores: Vec<_> = self.plans.iter().map(|plan| plan.core).collect();
        f.debug_struct("Workers").field("cores", &cores).field("idle", &self.idle).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use memif_os::cpu;

    use super::*;

    #[test]
    fn a_missing_core_is_an_error_that_lists_the_allowed_ones() {
        let error = Workers::new().on_core(1023, (), |(), _| {}).start().unwrap_err().to_string();
        assert!(error.contains("1023"), "{error}");
        let allowed = cpu::allowed_cores();
        assert!(error.contains(&allowed[0].to_string()), "{error}");
    }

    #[test]
    fn tasks_of_one_core_share_a_thread_and_all_end() {
        let core = cpu::allowed_cores()[0];
        let (count, counted) = mpsc::channel();
        let mut workers = Workers::new().idle(Idle::Sleep { after: 3 });
        for task in 0..3 {
            let count = count.clone();
            workers = workers
                .on_core(core, (), move |(), _| count.send((task, std::thread::current().id())).unwrap());
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
    fn a_panic_ends_all_workers_and_is_reported() {
        let workers = Workers::new().anywhere((), |(), _| ()).anywhere((), |(), _| panic!("on purpose"));
        // the first one would run for ever
        let error = workers.start().unwrap().wait().unwrap_err();
        assert!(matches!(error, Error::Worker { .. }), "{error}");
    }
}
