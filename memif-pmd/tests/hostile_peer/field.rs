//! Honest peers as they are in the field, by script: what they say, how slowly, and what their senders do wrong.

use std::thread;
use std::time::Duration;

use memif_ring::layout::{DescFlags, RingFlags};
use memif_ring::message::{Direction, MessageKind};
use memif_ring::mock::{Faults, SenderMemory};

use super::VICTIM;
use super::master::{self, ScriptedListener, ScriptedMaster};
use super::memory::Memory;
use super::slave::{ScriptedSlave, Step};
use super::wire::Wire;

/// A kind of peer. All of them announce 255 as the highest index of rings, as the scripts always do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FieldPeer {
    pub(crate) faults: Faults,
    /// Before each of its messages.
    pub(crate) pause: Duration,
    /// What unused bytes of its messages hold.
    padding: u8,
    /// As a slave it masks interrupts on the ring that it sends on.
    masks_its_ring: bool,
}

/// A busy one, whose main thread takes its time.
pub(crate) const VPP_25_10: FieldPeer = FieldPeer {
    faults: Faults::VPP_25_10,
    pause: Duration::from_millis(50),
    padding: 0,
    masks_its_ring: false,
};

pub(crate) const DPDK_22_11: FieldPeer =
    FieldPeer { faults: Faults::DPDK_22_11, pause: Duration::ZERO, padding: 0xA5, masks_its_ring: false };

pub(crate) const GOMEMIF: FieldPeer =
    FieldPeer { faults: Faults::empty(), pause: Duration::ZERO, padding: 0, masks_its_ring: true };

pub(crate) const ALL: [FieldPeer; 3] = [VPP_25_10, DPDK_22_11, GOMEMIF];

impl FieldPeer {
    /// Connects to the victim.
    pub(crate) fn slave(&self, socket: &str) -> ScriptedSlave {
        let mut wire = Wire::connect(socket);
        wire.padding = self.padding;
        let slave = ScriptedSlave::unconnected(wire, VICTIM, Memory::new(4, 2048));
        if self.masks_its_ring {
            slave.s2m().set_flags(RingFlags::MASK_INT.bits());
        }
        slave.wire.expect(MessageKind::Hello);
        for (from, to) in Step::ALL.into_iter().zip(Step::ALL.into_iter().skip(1)) {
            thread::sleep(self.pause);
            slave.run(from, to);
        }
        slave
    }

    /// Takes the victim's connection.
    pub(crate) fn master(&self, listener: &ScriptedListener) -> ScriptedMaster {
        let mut wire = listener.accept();
        wire.padding = self.padding;
        let mut master = ScriptedMaster::on(wire);
        master.pause = self.pause;
        master.run(master::Step::Up);
        master
    }
}

/// As a faulty sender sees it: the buffers that the victim has posted.
impl SenderMemory for ScriptedMaster {
    fn size(&self) -> u16 {
        self.ring(Direction::M2S).size.try_into().unwrap()
    }

    fn capacity(&self) -> usize {
        2048
    }

    fn free(&self, index: u16) -> u16 {
        self.ring(Direction::M2S).head().wrapping_sub(index)
    }

    fn publish(&self, index: u16) {
        self.ring(Direction::M2S).set_tail(index);
    }

    fn flags(&self, index: u16) -> DescFlags {
        self.ring(Direction::M2S).desc(index).flags
    }

    fn fill(&self, index: u16, flags: DescFlags, bytes: &[u8]) {
        let desc = self.ring(Direction::M2S).desc(index);
        self.write(bytes, desc.offset.into());
        let length = bytes.len().try_into().unwrap();
        self.ring(Direction::M2S).set_desc(index, memif_ring::layout::Desc { flags, length, ..desc });
    }
}
