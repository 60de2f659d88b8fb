//! How events of an interface reach the tasks that wait for them.
//!
//! Events come on the thread that polls the control plane. Who waits leaves a waker, and looks once more under the same lock, so
//! that an event is either seen or wakes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use memif_pmd::Event;
use tokio::sync::Notify;

/// Events that are kept for a program that does not take them. A peer can cause any number.
pub(crate) const KEPT: usize = 1024;

/// What the tasks of one interface share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Notified when the link comes or goes, and at the end.
    pub(crate) link: Notify,
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// Number of times that the link came or went.
    changes: u64,
    /// Who waits on a receive queue, by index.
    receivers: Vec<Option<Waker>>,
    events: VecDeque<Event>,
    missed: u64,
    /// Nobody takes events.
    unheard: bool,
    listener: Option<Waker>,
}

/// What a receiver that has found no packets learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing has changed: its waker is called when something does.
    None,
    /// The link came or went, for this number of times.
    Link(u64),
    /// There will be no link again.
    Closed,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // nothing panics between two states of it
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an event, and wakes who waits for such a thing.
    pub(crate) fn tell(&self, event: &Event) {
        let mut state = self.lock();
        if !state.unheard {
            if state.events.len() == KEPT {
                state.events.pop_front();
                state.missed += 1;
            }
            state.events.push_back(event.clone());
        }
        let listener = state.listener.take();
        let mut woken = Vec::new();
        let link_changed = matches!(event, Event::Connected | Event::Disconnected(_));
        if link_changed {
            state.changes += 1;
            woken = std::mem::take(&mut state.receivers);
        }
        drop(state);
        woken.into_iter().flatten().chain(listener).for_each(Waker::wake);
        if link_changed {
            self.link.notify_waiters();
        }
    }

    /// No event will come again.
    pub(crate) fn close(&self) {
        // Release: pairs with the Acquire in `is_closed`; the lock orders it for those who leave a waker
        self.closed.store(true, Ordering::Release);
        let mut state = self.lock();
        let (receivers, listener) = (std::mem::take(&mut state.receivers), state.listener.take());
        drop(state);
        receivers.into_iter().flatten().chain(listener).for_each(Waker::wake);
        self.link.notify_waiters();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// What has changed since `seen` changes; the waker is kept if nothing has.
    pub(crate) fn watch_link(&self, queue: u16, seen: Option<u64>, context: &Context<'_>) -> Change {
        let mut state = self.lock();
        if self.is_closed() {
            return Change::Closed;
        }
        if seen != Some(state.changes) {
            return Change::Link(state.changes);
        }
        let place = usize::from(queue);
        if state.receivers.len() <= place {
            state.receivers.resize(place + 1, None);
        }
        let before = keep(&mut state.receivers[place], context);
        drop((state, before));
        Change::None
    }

    /// The next event; `None` at the end.
    pub(crate) fn next_event(&self, context: &Context<'_>) -> Poll<Option<Event>> {
        let mut state = self.lock();
        if let Some(event) = state.events.pop_front() {
            return Poll::Ready(Some(event));
        }
        if self.is_closed() {
            return Poll::Ready(None);
        }
        let before = keep(&mut state.listener, context);
        drop((state, before));
        Poll::Pending
    }

    /// Events that were dropped, as too many waited.
    pub(crate) fn missed(&self) -> u64 {
        self.lock().missed
    }

    /// Keeps no events any more.
    pub(crate) fn stop_listening(&self) {
        let mut state = self.lock();
        state.unheard = true;
        state.events = VecDeque::new();
        let before = state.listener.take();
        drop((state, before));
    }
}

/// Keeps the waker. Returns the one before, to be dropped without the lock: that may run code of any executor.
fn keep(place: &mut Option<Waker>, context: &Context<'_>) -> Option<Waker> {
    match place {
        Some(waker) if waker.will_wake(context.waker()) => None,
        _ => place.replace(context.waker().clone()),
    }
}

/// Tells the tasks of events; when it is dropped there are no more.
#[derive(Debug)]
pub(crate) struct Teller(pub(crate) Arc<Shared>);

impl Drop for Teller {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn the_latest_events_are_kept_and_the_others_are_counted() {
        let shared = Arc::new(Shared::default());
        let teller = Teller(Arc::clone(&shared));
        let context = Context::from_waker(Waker::noop());
        assert_eq!(shared.next_event(&context), Poll::Pending);
        for queue in 0..1500 {
            shared.tell(&Event::Interrupt { queue });
        }
        assert_eq!(shared.missed(), 1500 - KEPT as u64);
        for queue in 476..1500 {
            assert_eq!(shared.next_event(&context), Poll::Ready(Some(Event::Interrupt { queue })));
        }
        assert_eq!(shared.next_event(&context), Poll::Pending);
        shared.tell(&Event::Connected);
        drop(teller);
        assert_eq!(shared.next_event(&context), Poll::Ready(Some(Event::Connected)));
        assert_eq!(shared.next_event(&context), Poll::Ready(None));
        shared.stop_listening();
        shared.tell(&Event::Connected);
        assert_eq!(shared.next_event(&context), Poll::Ready(None));
    }

    #[test]
    fn a_change_of_the_link_is_seen_once_by_each_queue() {
        let shared = Arc::new(Shared::default());
        let context = Context::from_waker(Waker::noop());
        let look = |queue, seen| shared.watch_link(queue, seen, &context);
        assert_eq!(look(0, None), Change::Link(0));
        assert_eq!(look(0, Some(0)), Change::None);
        shared.tell(&Event::Connected);
        shared.tell(&Event::PacketMemoryReturned);
        assert_eq!((look(0, Some(0)), look(7, Some(0))), (Change::Link(1), Change::Link(1)));
        assert_eq!((look(0, Some(1)), look(7, Some(1))), (Change::None, Change::None));
        shared.close();
        assert_eq!(look(0, Some(1)), Change::Closed);
    }
}
