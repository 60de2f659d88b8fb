//! Threads for work that may block: a bounded number, shared by all control planes of the process.
//!
//! A [`Pool`] starts threads as work comes and ends them when none has come for a while. No owner of work (an interface,
//! or the clients of a listener that have none) occupies more than its share of the threads, so one peer whose descriptor
//! cannot be closed does not keep those of the others from being closed.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::rate_limit::RateLimit;

/// How long an idle thread waits for more work before it ends. Work comes when links come and go, which is rare.
const IDLE: Duration = Duration::from_millis(200);
/// Work that takes longer than this counts as hung: the descriptor's owner keeps `close` from returning.
const HUNG: Duration = Duration::from_secs(1);
/// Processes in a row, each forked by the one before, that may use the library.
const GENERATIONS: usize = 16;
/// Stack of a thread: the work maps, unmaps and closes, and calls no user code.
const STACK: usize = 256 << 10;

/// Whose work it is, for the share of the threads and of the queue. The numbers are of the process ([`new_number`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Interface(u64),
    /// The clients of a listener that have not been admitted to an interface.
    Strangers(u64),
}

/// A number that no other interface or listener of the process has.
pub(crate) fn new_number() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1 // Relaxed: it orders nothing
}

/// How many threads there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Threads {
    pub(crate) all: usize,
    /// Those that one owner may occupy at a time.
    pub(crate) one_owner: usize,
    /// Those that strangers of all listeners may occupy at a time.
    pub(crate) strangers: usize,
}

type Work = Box<dyn FnOnce() + Send>;

/// A bounded set of threads and the work that waits for them.
pub(crate) struct Pool {
    name: &'static str,
    threads: Threads,
    crews: [OnceLock<Crew>; GENERATIONS],
}

/// The threads of one process. A fork leaves them to the parent, and may leave their lock taken: a child never touches it.
struct Crew {
    process: u32,
    inner: Mutex<Inner>,
    ready: Condvar,
}

struct Inner {
    queue: VecDeque<(Owner, Work)>,
    /// What the threads are doing, and since when.
    running: Vec<(Owner, Instant)>,
    threads: Vec<Thread>,
    idle: usize,
    /// For as long as there are any, one thread stays: work does not depend on whether a thread can be started.
    holders: usize,
    warnings: RateLimit,
}

/// A thread of a crew. When it takes no more work, though it may not have ended yet, it has dropped [`Staying`].
struct Thread(Arc<AtomicBool>);

impl Thread {
    fn is_leaving(&self) -> bool {
        self.0.load(Ordering::Relaxed) // written under the lock, but for a thread that panicked
    }
}

/// What a thread has while it takes work.
struct Staying(Arc<AtomicBool>);

impl Drop for Staying {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed); // see `Thread::is_leaving`
    }
}

/// How busy a pool is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) queued: usize,
    pub(crate) running: usize,
    pub(crate) hung: usize,
}

/// Keeps a thread of a pool.
pub(crate) struct Held(&'static Crew);

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Held").field(&self.0.process).finish()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.0.process == std::process::id() {
            self.0.lock().holders -= 1;
            self.0.ready.notify_all();
        }
    }
}

impl Pool {
    pub(crate) const fn new(name: &'static str, threads: Threads) -> Self {
        Self { name, threads, crews: [const { OnceLock::new() }; GENERATIONS] }
    }

    /// The crew of this process: the first that is not an ancestor's.
    fn crew(&self) -> &Crew {
        let process = std::process::id();
        let own = |crew: &OnceLock<Crew>| crew.get_or_init(|| Crew::new(process)).process == process;
        let last = GENERATIONS - 1;
        let index = self.crews.iter().position(own).unwrap_or(last);
        self.crews[index].get_or_init(|| Crew::new(process))
    }

    /// Keeps at least one thread until the value is dropped.
    pub(crate) fn hold(&'static self) -> io::Result<Held> {
        let crew = self.crew();
        let mut inner = crew.lock();
        inner.forget_dead_threads();
        if inner.threads.is_empty() {
            self.start(crew, &mut inner)?;
        }
        inner.holders += 1;
        Ok(Held(crew))
    }

    /// Queues work. It is never run on the calling thread. Where no thread can be started, it waits for one that there is.
    pub(crate) fn submit(&'static self, owner: Owner, work: impl FnOnce() + Send + 'static) {
        let crew = self.crew();
        let mut inner = crew.lock();
        inner.forget_dead_threads();
        inner.queue.push_back((owner, Box::new(work)));
        if inner.queue.len() <= inner.idle || inner.threads.len() >= self.threads.all {
            crew.ready.notify_one();
        } else if let Err(error) = self.start(crew, &mut inner) {
            crew.ready.notify_one();
            let may_log = inner.warnings.pass(Instant::now());
            drop(inner);
            if let Some(suppressed) = may_log {
                tracing::error!(%error, pool = self.name, suppressed, "cannot start a thread");
            }
        }
    }

    fn start(&self, crew: &'static Crew, inner: &mut Inner) -> io::Result<()> {
        let leaving = Arc::new(AtomicBool::new(false));
        let (staying, limits) = (Staying(Arc::clone(&leaving)), self.threads);
        memif_os::thread::spawn_detached(self.name, STACK, move || crew.run(limits, staying))?;
        inner.threads.push(Thread(leaving));
        Ok(())
    }

    pub(crate) fn load(&self) -> Load {
        let inner = self.crew().lock();
        let hung = inner.running.iter().filter(|(_, since)| since.elapsed() > HUNG).count();
        Load { queued: inner.queue.len(), running: inner.running.len(), hung }
    }

    /// Work of one owner that waits for a thread.
    pub(crate) fn queued(&self, owner: Owner) -> usize {
        self.crew().lock().queue.iter().filter(|(other, _)| *other == owner).count()
    }
}

impl Crew {
    const fn new(process: u32) -> Self {
        let inner = Inner {
            queue: VecDeque::new(),
            running: Vec::new(),
            threads: Vec::new(),
            idle: 0,
            holders: 0,
            warnings: RateLimit::new(),
        };
        Self { process, inner: Mutex::new(inner), ready: Condvar::new() }
    }

    fn run(&self, limits: Threads, staying: Staying) {
        let mut inner = self.lock();
        loop {
            if let Some((owner, work)) = inner.take(limits) {
                let since = Instant::now();
                inner.running.push((owner, since));
                drop(inner);
                work();
                inner = self.lock();
                inner.finish(owner, since);
                // what waited for a share of its owner may go on
                self.ready.notify_one();
                continue;
            }
            inner.idle += 1;
            let timed_out;
            (inner, timed_out) = self.wait(inner);
            inner.idle -= 1;
            if timed_out && inner.queue.is_empty() && !inner.is_held_by_one() {
                drop(staying);
                return;
            }
        }
    }

    /// Waits for work; true when none has come for a while. The last thread that is held waits without limit.
    fn wait<'a>(&self, inner: MutexGuard<'a, Inner>) -> (MutexGuard<'a, Inner>, bool) {
        if inner.is_held_by_one() {
            return (self.ready.wait(inner).unwrap_or_else(PoisonError::into_inner), false);
        }
        let (inner, result) = self.ready.wait_timeout(inner, IDLE).unwrap_or_else(PoisonError::into_inner);
        (inner, result.timed_out())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // nothing panics between two states
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The oldest work whose owner has a thread left.
    fn take(&mut self, limits: Threads) -> Option<(Owner, Work)> {
        let busy = |owner: Owner| self.running.iter().filter(|(other, _)| *other == owner).count();
        let strangers = self.running.iter().filter(|(owner, _)| matches!(owner, Owner::Strangers(_))).count();
        let has_thread = |owner: Owner| match owner {
            Owner::Strangers(_) if strangers >= limits.strangers => false,
            _ => busy(owner) < limits.one_owner,
        };
        let next = self.queue.iter().position(|(owner, _)| has_thread(*owner))?;
        self.queue.remove(next)
    }

    fn finish(&mut self, owner: Owner, since: Instant) {
        if let Some(done) = self.running.iter().position(|running| *running == (owner, since)) {
            self.running.swap_remove(done);
        }
    }

    /// Whether the only thread there is must stay.
    fn is_held_by_one(&self) -> bool {
        self.holders > 0 && self.threads.iter().filter(|thread| !thread.is_leaving()).count() <= 1
    }

    fn forget_dead_threads(&mut self) {
        self.threads.retain(|thread| !thread.is_leaving());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use std::thread;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    const fn threads(all: usize, one_owner: usize) -> Threads {
        Threads { all, one_owner, strangers: all }
    }

    /// Work that runs until the sender of the returned channel is dropped.
    fn block(pool: &'static Pool, owner: Owner) -> std::sync::mpsc::Sender<()> {
        let (release, wait): (_, Receiver<()>) = channel();
        let (started, has_started) = channel();
        pool.submit(owner, move || {
            started.send(()).unwrap();
            let _ = wait.recv();
        });
        has_started.recv_timeout(PATIENCE).unwrap();
        release
    }

    fn run(pool: &'static Pool, owner: Owner) -> Receiver<()> {
        let (done, is_done) = channel();
        pool.submit(owner, move || done.send(()).unwrap());
        is_done
    }

    #[test]
    fn work_of_other_owners_goes_on_while_one_owner_hangs() {
        static POOL: Pool = Pool::new("test", threads(3, 1));
        let hung = block(&POOL, Owner::Interface(1));
        let behind = run(&POOL, Owner::Interface(1));
        run(&POOL, Owner::Interface(2)).recv_timeout(PATIENCE).unwrap();
        assert!(behind.try_recv().is_err(), "its owner has a thread already");
        assert_eq!(POOL.load().queued, 1);
        drop(hung);
        behind.recv_timeout(PATIENCE).unwrap();
    }

    #[test]
    fn strangers_of_many_listeners_leave_threads_to_interfaces() {
        static POOL: Pool = Pool::new("test", Threads { all: 3, one_owner: 1, strangers: 2 });
        let hung = [block(&POOL, Owner::Strangers(1)), block(&POOL, Owner::Strangers(2))];
        let behind = run(&POOL, Owner::Strangers(3));
        run(&POOL, Owner::Interface(4)).recv_timeout(PATIENCE).unwrap();
        assert!(behind.try_recv().is_err(), "strangers have their threads already");
        drop(hung);
        behind.recv_timeout(PATIENCE).unwrap();
    }

    #[test]
    fn work_waits_when_all_threads_hang_and_goes_on_when_one_is_free() {
        static POOL: Pool = Pool::new("test", threads(2, 1));
        let hung = [block(&POOL, Owner::Interface(1)), block(&POOL, Owner::Interface(2))];
        let waiting = run(&POOL, Owner::Interface(3));
        assert!(waiting.try_recv().is_err());
        assert_eq!(POOL.queued(Owner::Interface(3)), 1);
        assert_eq!(POOL.queued(Owner::Interface(1)), 0);
        drop(hung);
        waiting.recv_timeout(PATIENCE).unwrap();
        assert_eq!(POOL.queued(Owner::Interface(3)), 0);
    }

    #[test]
    fn a_thread_stays_for_as_long_as_it_is_held() {
        static POOL: Pool = Pool::new("test", threads(2, 1));
        let held = POOL.hold().unwrap();
        thread::sleep(2 * IDLE);
        assert_eq!(POOL.crew().lock().threads.len(), 1);
        run(&POOL, Owner::Interface(1)).recv_timeout(PATIENCE).unwrap();
        drop(held);
        let end = Instant::now() + PATIENCE;
        while !POOL.crew().lock().threads.iter().all(Thread::is_leaving) {
            assert!(Instant::now() < end, "it never ends");
            thread::sleep(Duration::from_millis(20));
        }
        run(&POOL, Owner::Interface(1)).recv_timeout(PATIENCE).unwrap();
    }

    #[test]
    fn work_that_takes_long_is_reported_as_hung() {
        static POOL: Pool = Pool::new("test", threads(1, 1));
        let hung = block(&POOL, Owner::Interface(1));
        let end = Instant::now() + PATIENCE;
        while POOL.load().hung == 0 {
            assert!(Instant::now() < end, "it never counts as hung");
            thread::sleep(Duration::from_millis(20));
        }
        drop(hung);
    }
}
