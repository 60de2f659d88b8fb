//! Worker threads: starting them, and waiting for their end.

use std::io;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use memif_os::cpu;

use super::thread::{Worker, WorkerStats};
use crate::error::Error;
use crate::stop::Stop;

/// Threads with their cores, by handles of whatever type.
pub(super) type Threads<H> = Vec<(Option<usize>, H)>;
type Body<'env> = Box<dyn FnOnce() -> WorkerStats + Send + 'env>;

/// Worker threads that run. Dropping it stops them and waits for their end.
#[derive(Debug)]
pub struct Running {
    stop: Stop,
    pub(super) threads: Threads<JoinHandle<WorkerStats>>,
}

impl Running {
    pub(super) fn new(stop: Stop) -> Self {
        Self { stop, threads: Threads::new() }
    }

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
        join(std::mem::take(&mut self.threads), JoinHandle::join)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.stop();
        // `wait` is for those who need the outcome
        let _ = join(std::mem::take(&mut self.threads), JoinHandle::join);
    }
}

/// Starts a thread for each worker with `spawn`, and waits until it is on its core. On an error, those that run are in
/// `threads`.
pub(super) fn launch<'env, H>(
    workers: Vec<(Option<usize>, Worker<'env>)>,
    spawn: impl Fn(&str, Body<'env>) -> io::Result<H>,
    threads: &mut Threads<H>,
) -> Result<(), Error> {
    for (core, worker) in workers {
        let (ready, started) = mpsc::channel();
        let name = core.map_or_else(|| "memif-worker".into(), |core| format!("memif-worker-{core}"));
        let body = Box::new(move || {
            let pinned = core.map_or(Ok(()), cpu::pin_current);
            let go = pinned.is_ok();
            let _ = ready.send(pinned); // `launch` waits for it
            if go { worker.run() } else { WorkerStats::default() }
        });
        threads.push((core, spawn(&name, body).map_err(Error::thread)?));
        let failed = || Error::Worker { place: place(core), problem: "did not start".into() };
        started.recv().map_err(|_| failed())?.map_err(Error::core)?;
    }
    Ok(())
}

/// Waits for all threads.
pub(super) fn join<H>(
    threads: Threads<H>,
    join: impl Fn(H) -> thread::Result<WorkerStats>,
) -> Result<Vec<WorkerStats>, Error> {
    let mut stats = Vec::new();
    let mut failed = None;
    for (core, thread) in threads {
        match join(thread) {
            Ok(done) => stats.push(WorkerStats { core, ..done }),
            // the others were stopped by then
            Err(_) => failed = Some(Error::Worker { place: place(core), problem: "panicked".into() }),
        }
    }
    failed.map_or(Ok(stats), Err)
}

fn place(core: Option<usize>) -> String {
    core.map_or_else(|| "no core".into(), |core| format!("core {core}"))
}
