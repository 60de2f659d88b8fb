//! The gate of an interface: admits calls of its program's functions until the interface is deleted, and makes the delete
//! wait for the calls that are running.
//!
//! After [`Gate::close`] has returned, no other thread is in a function that was given the interface's `private_ctx`, and
//! none will be: the program may free it. A function that deletes its own interface does not wait for itself.

use crate::sync::{Condvar, Mutex, MutexGuard, lock, thread};

/// One for each interface.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    /// Notified when a call has returned.
    returned: Condvar,
}

#[derive(Default)]
struct State {
    closed: bool,
    /// The threads of the calls that are running, one entry a call.
    running: Vec<thread::ThreadId>,
}

/// A call that the gate has admitted. Dropping it says that the call has returned.
pub(crate) struct Pass<'g> {
    gate: &'g Gate,
}

impl Gate {
    /// Admits a call; `None` once the gate is closed.
    pub(crate) fn enter(&self) -> Option<Pass<'_>> {
        let mut state = lock(&self.state);
        if state.closed {
            return None;
        }
        state.running.push(thread::current().id());
        Some(Pass { gate: self })
    }

    /// Admits no call from now on, and waits for those that run on other threads.
    pub(crate) fn close(&self) {
        let here = thread::current().id();
        let mut state = lock(&self.state);
        state.closed = true;
        while state.running.iter().any(|thread| *thread != here) {
            state = self.wait(state);
        }
    }

    fn wait<'g>(&'g self, state: MutexGuard<'g, State>) -> MutexGuard<'g, State> {
        self.returned.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let here = thread::current().id();
        let mut state = lock(&self.gate.state);
        if let Some(entry) = state.running.iter().position(|thread| *thread == here) {
            state.running.swap_remove(entry);
        }
        drop(state);
        self.gate.returned.notify_all();
    }
}
