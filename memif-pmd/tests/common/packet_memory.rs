//! Packet memory for tests, and interfaces that use it.

use std::time::Duration;

use memif_os::huge_pages::HugePages;
use memif_pmd::{Interface, Memif, PacketMemory};

use super::line;

pub(crate) const RING: u32 = 64;
pub(crate) const BUFFER: u32 = 2048;
/// Two interfaces of a ring each way, and as many again.
pub(crate) const BUFFERS: usize = 2 * ON_LINKS;
pub(crate) const ON_LINKS: usize = 4 * RING as usize;

pub(crate) fn allocate(memif: &Memif, buffers: u32) -> PacketMemory {
    memif.packet_memory().buffers(buffers).buffer_size(BUFFER).huge_pages(HugePages::Off).allocate().unwrap()
}

pub(crate) fn memory(memif: &Memif) -> PacketMemory {
    allocate(memif, memory_size())
}

pub(crate) fn memory_size() -> u32 {
    BUFFERS.try_into().unwrap()
}

pub(crate) fn slave(memif: &Memif, socket: &str, memory: &PacketMemory) -> Interface {
    let builder = memif.interface(socket).ring_size(RING).line_size(line()).huge_pages(HugePages::Off);
    builder.packet_memory(memory).reconnect(Duration::from_millis(1)).open().unwrap()
}

pub(crate) fn master(memif: &Memif, socket: &str) -> Interface {
    memif.interface(socket).master().open().unwrap()
}
