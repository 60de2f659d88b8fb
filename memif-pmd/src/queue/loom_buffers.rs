//! Every order in which the buffers of a packet memory can get from one link to the next, while a data thread exchanges
//! them between its rings.
//!
//! Mailboxes, handles, the packet memory and its tables are the real ones; the pool's lock is loom's. Whoever has a buffer
//! uses it, and loom reports a use that is not ordered with another one's. In the end each buffer is in the pool once.
//!
//! The models with `should_panic` contain one mistake, and show that the others could fail.
#![allow(clippy::unwrap_used)] // tests

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::thread;
use memif_os::event::EventFd;
use memif_os::huge_pages::HugePages;

use super::mailbox::{Handle, Mailbox};
use super::report::Reports;
use crate::config::RxMode;
use crate::packet_memory::{BufferTable, PacketMemory, PacketMemoryBuilder, buffer_stride};

const CAPACITY: u32 = 64;

/// Packet memory of as many buffers as two links need, and who uses which.
#[derive(Clone)]
struct World {
    memory: PacketMemory,
    buffers: loom::sync::Arc<[UnsafeCell<()>; 2]>,
}

/// The slave's end of a ring of one slot.
struct End {
    table: BufferTable,
    /// The first one, or the one that comes after it.
    link: usize,
    world: World,
}

impl End {
    /// As posting, receiving and sending do.
    fn use_buffer(&self) {
        let number = self.table.as_ref()[0].offset() / buffer_stride(CAPACITY);
        self.world.buffers[number as usize].with_mut(|_| ());
    }
}

impl World {
    fn new() -> Self {
        let builder = PacketMemoryBuilder::new(&Arc::new(EventFd::new().unwrap()));
        let builder = builder.buffers(2).buffer_size(CAPACITY).huge_pages(HugePages::Off);
        let buffers = loom::sync::Arc::new([UnsafeCell::new(()), UnsafeCell::new(())]);
        Self { memory: builder.allocate().unwrap(), buffers }
    }

    /// As a builder thread: a link's end, if there is a buffer for it.
    fn build(&self, link: usize) -> Option<End> {
        thread::yield_now(); // others may come in between the end of a link and this
        let table = self.memory.take(1, 1).ok()?.pop()?;
        let end = End { table, link, world: self.clone() };
        end.use_buffer();
        Some(end)
    }

    /// Everybody else is gone.
    fn finish(self) {
        assert_eq!(self.memory.free_buffers(), 2, "a buffer was lost, or is there twice");
        let tables = self.memory.take(2, 1).unwrap();
        let [one, other] = [0, 1].map(|table| tables[table].as_ref()[0].offset());
        assert_ne!(one, other, "one buffer has two places");
    }
}

fn mailbox() -> Arc<Mailbox<End>> {
    Mailbox::new(0, RxMode::Polling, &Arc::new(Reports::new().unwrap()), 7)
}

fn handle(mailbox: &Arc<Mailbox<End>>) -> Handle<End> {
    assert!(mailbox.take());
    Handle::new(Arc::clone(mailbox))
}

type Exchange = fn(&mut BufferTable, &mut BufferTable);

fn swap(one: &mut BufferTable, other: &mut BufferTable) {
    std::mem::swap(&mut one.as_mut()[0], &mut other.as_mut()[0]);
}

/// Like [`crate::RxQueue::forward_to`].
fn forward(from: &mut Handle<End>, to: &mut Handle<End>, exchange: Exchange) {
    if let (Some(from), Some(to)) = (from.link(), to.link()) {
        from.use_buffer();
        exchange(&mut from.table, &mut to.table);
        to.use_buffer();
    }
}

/// One of two links ends while a data thread exchanges their buffers, and comes up again if there is a buffer.
fn link_ends_under_exchange(exchange: Exchange, end_link: fn(&Mailbox<End>, &World)) {
    let world = World::new();
    let [left, right] = [mailbox(), mailbox()];
    left.install(world.build(1).unwrap());
    right.install(world.build(1).unwrap());
    let [mut from, mut to] = [&left, &right].map(handle);
    let data = thread::spawn(move || {
        for _ in 0..2 {
            forward(&mut from, &mut to, exchange);
        }
    });
    end_link(&left, &world);
    if let Some(end) = world.build(2) {
        left.install(end);
    }
    data.join().unwrap();
    drop((left, right));
    world.finish();
}

#[test]
fn a_buffer_has_one_owner_when_a_link_ends_while_buffers_are_exchanged() {
    loom::model(|| link_ends_under_exchange(swap, |left, _| left.clear()));
}

#[test]
#[should_panic(expected = "a buffer was lost, or is there twice")]
fn buffers_that_return_at_the_end_of_the_link_would_have_two_owners() {
    loom::model(|| {
        link_ends_under_exchange(swap, |left, world| {
            left.clear();
            world.memory.return_early(0);
        });
    });
}

#[test]
#[should_panic(expected = "one buffer has two places")]
fn an_address_that_is_copied_would_have_two_owners() {
    let copy: Exchange = |one, other| other.as_mut()[0] = one.as_ref()[0];
    loom::model(move || link_ends_under_exchange(copy, |left, _| left.clear()));
}

/// A link comes again while the queue's handle is dropped, and another one is made.
fn reconnect_while_a_handle_goes() {
    let world = World::new();
    let queue = mailbox();
    queue.install(world.build(1).unwrap());
    // the only other buffer is in use, so that the next link has to wait for this one's
    let other = world.build(1).unwrap();
    let mut first = handle(&queue);
    let data = thread::spawn(move || {
        if let Some(end) = first.link() {
            end.use_buffer();
        }
    });
    queue.clear();
    if let Some(end) = world.build(2) {
        queue.install(end);
    }
    data.join().unwrap();
    let mut next = handle(&queue);
    match next.link() {
        Some(end) => {
            assert_eq!(end.link, 2, "the end of a link that is gone was kept");
            end.use_buffer();
        }
        // its buffer came back after the attempt, which is repeated
        None => world.build(2).unwrap().use_buffer(),
    }
    drop((next, queue, other));
    world.finish();
}

#[test]
fn packet_memory_returns_once_when_a_link_comes_again_while_a_handle_goes() {
    loom::model(reconnect_while_a_handle_goes);
}
