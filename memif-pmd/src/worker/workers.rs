//! Starting workers on cores, and waiting for their end.

use std::fmt;
use std::sync::mpsc;
use std::thread::JoinHandle;

use memif_os::cpu;
use memif_os::huge_pages::HugePages;
use memif_os::page_pool::PagePool;

use super::idle::Idle;
use super::queues::Queues;
use super::stop::Stop;
use super::thread::{Plan, Task, TaskOf, Worker, WorkerStats};
use crate::error::Error;
use crate::packet::Burst;

/// Describes worker threads: which tasks run on which cores. [`Workers::start`] or [`Workers::run_until`] starts them.
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
    /// No tasks yet; bursts of 64 packets, [`Idle::Pause`].
    pub fn new() -> Self {
        Self { plans: Vec::new(), idle: Idle::default(), burst: 64, huge_pages: HugePages::Off }
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

    /// Whether the bursts' memory is on huge pages; off by default, as a burst of small packets takes a page or two.
    pub fn huge_pages(mut self, huge_pages: HugePages) -> Self {
        self.huge_pages = huge_pages;
        self
    }

    /// Adds a task on a core: `work` runs there again and again, with its queues and a burst. The queues are any tuple,
    /// vector or array of [`Queues`]. Several tasks on one core share a thread and run in turn, each with its own burst.
    pub fn on_core<Q, F>(self, core: usize, queues: Q, work: F) -> Self
    where
        Q: Queues + 'static,
        F: FnMut(&mut Q, &mut Burst) + Send + 'static,
    {
        self.add(Some(core), Box::new(TaskOf { queues, work }))
    }

    /// Adds a task on a thread of its own that is not pinned to a core.
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

    /// Starts the threads, each on its core. After an error none of them is left running.
    ///
    /// # Errors
    /// - [`Error::Core`]: a core does not exist or is not allowed; the error lists those that are.
    /// - [`Error::OutOfRange`]: the size of a burst.
    /// - [`Error::OutOfMemory`], [`Error::NoHugePages`], [`Error::NoBurstMemory`]: no memory for the bursts.
    /// - [`Error::OutOfDescriptors`], [`Error::System`], [`Error::Worker`]: no eventfd or thread.
    pub fn start(self) -> Result<Running, Error> {
        let stop = Stop::new();
        let blocks = self.plans.iter().map(|plan| plan.tasks.len()).sum::<usize>().max(1);
        let pool = PagePool::new(Burst::bytes(self.burst)?, blocks, self.huge_pages).map_err(Error::pool)?;
        // dropped on failure, which stops and joins those that run
        let mut running = Running { stop: stop.clone(), threads: Vec::new() };
        for plan in self.plans {
            let core = plan.core;
            let worker = Worker::new(plan, &pool, self.burst, self.idle, &stop)?;
            running.spawn(core, worker)?;
        }
        Ok(running)
    }

    /// Starts the threads, and returns when they have ended after `stop` was called.
    ///
    /// # Errors
    /// As [`Workers::start`], and [`Error::Worker`]: a worker panicked, and the others were stopped.
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

/// Worker threads that run. Dropping it stops them and waits for their end.
#[derive(Debug)]
pub struct Running {
    stop: Stop,
    threads: Vec<(Option<usize>, JoinHandle<WorkerStats>)>,
}

impl Running {
    /// Stops them when it is called.
    #[must_use]
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Waits until they have ended, after [`Running::stop`] was called.
    ///
    /// # Errors
    /// [`Error::Worker`]: a worker panicked. The others are stopped as soon as that happens.
    pub fn wait(mut self) -> Result<Vec<WorkerStats>, Error> {
        self.join()
    }

    /// Starts a thread and waits until it is on its core.
    fn spawn(&mut self, core: Option<usize>, worker: Worker) -> Result<(), Error> {
        let (ready, started) = mpsc::channel();
        let name = core.map_or_else(|| "memif-worker".into(), |core| format!("memif-worker-{core}"));
        let thread = memif_os::thread::spawn(&name, None, move || {
            let pinned = core.map_or(Ok(()), cpu::pin_current);
            let go = pinned.is_ok();
            let _ = ready.send(pinned); // `spawn` waits for it
            if go { worker.run() } else { WorkerStats::default() }
        });
        self.threads.push((core, thread.map_err(Error::system("thread"))?));
        let failed = || Error::Worker { place: place(core), problem: "did not start".into() };
        started.recv().map_err(|_| failed())?.map_err(Error::core)
    }

    fn join(&mut self) -> Result<Vec<WorkerStats>, Error> {
        let mut stats = Vec::new();
        let mut failed = None;
        for (core, thread) in self.threads.drain(..) {
            match thread.join() {
                Ok(done) => stats.push(WorkerStats { core, ..done }),
                // the others were stopped by then
                Err(_) => failed = Some(Error::Worker { place: place(core), problem: "panicked".into() }),
            }
        }
        failed.map_or(Ok(stats), Err)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.stop();
        let _ = self.join(); // `wait` is for those who need the outcome
    }
}

#[cfg(test)]
mod tests {
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
