//! Attacks that hold up whoever maps, unmaps, allocates or reads for the peer.

use std::fs::File;
use std::os::fd::AsFd;
use std::time::Duration;

use memif_pmd::InterfaceBuilder;
use memif_ring::message::{AddRegion, Message, MessageKind};
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate};

use super::lingering::{self, Lingering};
use super::master::{ScriptedListener, Step as MasterStep};
use super::memory::{Memory, memfd};
use super::probe::Window;
use super::slave::{ScriptedSlave, Step, connect};
use super::{Arena, VICTIM};
use crate::common::until;

/// Passes a lingering descriptor as a region before INIT, and hangs up.
pub(crate) fn linger_before_init(arena: &Arena, linger: Duration) -> Lingering {
    let pass = lingering::pass(linger, |fd| {
        let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::Hello);
        slave.wire.send(&slave.region(), &[fd]);
    });
    pass.1
}

/// The same to a slave, which takes no descriptors at all.
pub(crate) fn linger_behind_hello(listener: &ScriptedListener, linger: Duration) -> Lingering {
    let pass = lingering::pass(linger, |fd| {
        let master = listener.until(MasterStep::Init);
        master.wire.send(&Message::Ack, &[fd]);
    });
    pass.1
}

/// A file of `bytes` with all of its pages present.
pub(crate) fn full(bytes: u64) -> File {
    let file = File::from(memfd(MemfdFlags::ALLOW_SEALING));
    fallocate(&file, FallocateFlags::empty(), 0, bytes).unwrap();
    file
}

/// Announces `file` as further regions, as many as one interface may have, up to CONNECT.
pub(crate) fn many_regions(socket: &str, id: u32, file: &File) -> ScriptedSlave {
    // the quota depends on how many interfaces the process has at the moment
    let tries = [64, 48, 32, 24, 16, 12, 8].into_iter();
    let slave = tries.filter_map(|count| regions(socket, id, file, count)).next().unwrap();
    slave.run(Step::Region, Step::Rings);
    slave
}

/// Announces `count` regions, all but the first of them `file`; none if that is refused.
pub(crate) fn regions(socket: &str, id: u32, file: &File, count: u16) -> Option<ScriptedSlave> {
    let size = file.metadata().unwrap().len();
    let slave = ScriptedSlave::until(socket, id, Step::Region);
    for index in 1..count {
        slave.wire.send(&Message::AddRegion(AddRegion { index, size }), &[file.as_fd()]);
        match slave.wire.hear() {
            Some((Message::Ack, _)) => {}
            Some((Message::Disconnect { .. }, _)) | None => return None,
            other => panic!("neither ACK nor DISCONNECT: {other:?}"),
        }
    }
    Some(slave)
}

/// Connects; whether the link came up, rather than that it was refused.
pub(crate) fn connects(slave: &ScriptedSlave) -> bool {
    slave.wire.send(&connect(), &[]);
    match slave.wire.hear() {
        Some((Message::Connected { .. }, _)) => true,
        Some((Message::Disconnect { .. }, _)) | None => false,
        other => panic!("neither CONNECTED nor DISCONNECT: {other:?}"),
    }
}

/// A slave with 16 rings of 16384: what it allocates for each link takes a while.
pub(crate) fn much_memory(builder: InterfaceBuilder<'_>) -> InterfaceBuilder<'_> {
    builder.queues(8).ring_size(16384)
}

/// Has the victim allocate, for which `window` is open, and hangs up; so many times.
pub(crate) fn allocate_for_nothing(listener: &ScriptedListener, window: &Window, times: usize) {
    for _ in 0..times {
        let master = listener.until(MasterStep::Init);
        window.run(|| {
            master.wire.send(&Message::Ack, &[]);
            master.wire.expect(MessageKind::AddRegion);
        });
    }
}

/// A slave with a ring each way at the beginning of `bytes` of memory, up to its link.
pub(crate) fn large_slave(arena: &Arena, bytes: u64) -> ScriptedSlave {
    let memory = Memory::unsealed(4, 2048);
    fallocate(memory.file(), FallocateFlags::empty(), 0, bytes).unwrap();
    let slave = ScriptedSlave::with_memory(&arena.socket, VICTIM, memory, Step::Admitted);
    slave.tell(&Message::AddRegion(AddRegion { index: 0, size: bytes }), Some(slave.memory.fd()));
    slave.run(Step::Region, Step::Up);
    until("the victim's link", || arena.victim.is_up());
    slave
}

/// Takes all pages of a region away, for which `window` is open, and fills it again; so many times.
pub(crate) fn punch(file: &File, window: &Window, times: usize) {
    let bytes = file.metadata().unwrap().len();
    let all = |flags| fallocate(file, flags, 0, bytes).unwrap();
    for _ in 0..times {
        window.run(|| all(FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE));
        all(FallocateFlags::empty());
    }
}
