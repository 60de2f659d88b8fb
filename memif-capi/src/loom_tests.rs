//! Every order in which a delete can meet the calls that are running, as far as the memory model allows: calls of the
//! program's functions ([`Gate`]) and data calls ([`Cells`]).
//!
//! The program's context is a stand-in that tells loom of each use, and of its end: loom reports a use that is not ordered
//! before the end. The models with `should_panic` do one thing wrongly, and show that the others could fail.
#![allow(clippy::unwrap_used)] // tests

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use memif_pmd::raw::LinkMemory;

use crate::cell::{Cells, Owner, Queue, Traits};
use crate::gate::Gate;

/// Runs a model, and prints how many executions it has had.
fn model(name: &'static str, body: impl Fn() + Send + Sync + 'static) {
    let executions = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&executions);
    loom::model(move || {
        counted.fetch_add(1, Relaxed);
        body();
    });
    println!("{name}: {} executions", executions.load(Relaxed));
}

/// What a program's `private_ctx` points to.
#[derive(Default)]
struct Context {
    /// Loom's: fails the model when two uses of it are not ordered.
    memory: UnsafeCell<()>,
    /// Outside of loom's sight, so that looking orders nothing.
    freed: AtomicBool,
}

impl Context {
    /// As a function of the program's does.
    fn read(&self) {
        self.memory.with(|_| assert!(!self.freed.load(Relaxed), "used after it was freed"));
    }

    /// As the program does when the delete has returned.
    fn free(&self) {
        self.memory.with_mut(|_| self.freed.store(true, Relaxed));
    }
}

#[test]
fn nothing_is_called_after_the_gate_is_closed() {
    model("calls and a delete", || {
        let (gate, context) = (Arc::new(Gate::default()), Arc::new(Context::default()));
        let callers = [(); 2].map(|()| {
            let (gate, context) = (Arc::clone(&gate), Arc::clone(&context));
            thread::spawn(move || {
                if let Some(_pass) = gate.enter() {
                    context.read();
                }
            })
        });
        gate.close();
        context.free();
        assert!(gate.enter().is_none());
        callers.into_iter().for_each(|caller| caller.join().unwrap());
    });
}

#[test]
fn a_delete_from_within_a_call_waits_for_the_others_alone() {
    model("a delete from within a call", || {
        let (gate, context) = (Arc::new(Gate::default()), Arc::new(Context::default()));
        let other = {
            let (gate, context) = (Arc::clone(&gate), Arc::clone(&context));
            thread::spawn(move || {
                if let Some(_pass) = gate.enter() {
                    context.read();
                }
            })
        };
        let pass = gate.enter().unwrap();
        let within = gate.enter().unwrap();
        gate.close();
        context.free();
        drop((within, pass));
        other.join().unwrap();
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_context_that_is_freed_without_the_gate_is_used() {
    loom::model(|| {
        let (gate, context) = (Arc::new(Gate::default()), Arc::new(Context::default()));
        let caller = {
            let (gate, context) = (Arc::clone(&gate), Arc::clone(&context));
            thread::spawn(move || {
                if let Some(_pass) = gate.enter() {
                    context.read();
                }
            })
        };
        context.free();
        caller.join().unwrap();
    });
}

/// A queue whose link is up, in the memory of a context.
struct Linked(Arc<Context>);

impl Queue for Linked {
    const RECEIVES: bool = true;

    fn link_epoch(&mut self) -> Option<u64> {
        Some(1)
    }

    fn memory(&mut self) -> Option<LinkMemory> {
        None
    }

    fn post_all(&mut self) {}
}

/// The cells of an interface with one queue.
fn filled(generation: u64, context: &Arc<Context>) -> Arc<Cells<Linked>> {
    let cells = Arc::new(Cells::default());
    let queue = Ok(Linked(Arc::clone(context)));
    cells.fill(Owner { place: 0, generation }, &Traits::default(), std::iter::once(queue)).unwrap();
    cells
}

#[test]
fn a_delete_waits_for_the_data_call_that_is_running() {
    model("data calls and a delete", || {
        let context = Arc::new(Context::default());
        let cells = filled(1, &context);
        let caller = {
            let cells = Arc::clone(&cells);
            thread::spawn(move || {
                for _ in 0..2 {
                    if let Some(mut cell) = cells.hold(1, 0) {
                        cell.linked().unwrap().queue.0.read();
                    }
                }
            })
        };
        cells.clear(1);
        context.free();
        assert!(cells.hold(1, 0).is_none());
        caller.join().unwrap();
    });
}

#[test]
fn a_stale_handle_does_not_reach_the_next_interface() {
    model("a stale handle", || {
        let (old, new) = (Arc::new(Context::default()), Arc::new(Context::default()));
        let cells = filled(1, &old);
        let caller = {
            let (cells, old) = (Arc::clone(&cells), Arc::clone(&old));
            thread::spawn(move || {
                if let Some(mut cell) = cells.hold(1, 0) {
                    assert!(Arc::ptr_eq(&cell.linked().unwrap().queue.0, &old), "another interface's queue");
                    old.read();
                }
            })
        };
        cells.clear(1);
        old.free();
        let queue = Ok(Linked(Arc::clone(&new)));
        let owner = Owner { place: 0, generation: 2 };
        cells.fill(owner, &Traits::default(), std::iter::once(queue)).unwrap();
        assert!(cells.hold(2, 0).is_some());
        caller.join().unwrap();
    });
}
