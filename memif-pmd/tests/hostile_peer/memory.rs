//! Shared memory as a peer sees it. A write to the memfd *is* a write to the shared pages, and needs no mapping; a master's
//! script has one, as the slave's memfd takes no writes once the link is up, and writes to it through `/proc/self/mem`.
//!
//! The kernel may copy two bytes one after the other, so an index that crosses a multiple of 256 can be seen torn.
//! Scripts that want to be believed stay below; for the others it is one more mischief.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use memif_ring::layout::{COOKIE, Desc, DescFlags, LineSize};
use memif_ring::message::Direction;
use memif_ring::mock::SenderMemory;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use crate::common;

/// A region of one ring each way and their buffers, as a slave would make it.
pub(crate) struct Memory {
    file: File,
    pub(crate) line: LineSize,
    pub(crate) log2_size: u8,
    pub(crate) buffer: u32,
}

impl Memory {
    /// Sealed against shrinking, as honest slaves do.
    pub(crate) fn new(log2_size: u8, buffer: u32) -> Self {
        let memory = Self::unsealed(log2_size, buffer);
        fcntl_add_seals(&memory.file, SealFlags::SHRINK).unwrap();
        memory
    }

    /// Without a seal; one can be added.
    pub(crate) fn unsealed(log2_size: u8, buffer: u32) -> Self {
        Self::over(memfd(MemfdFlags::ALLOW_SEALING), log2_size, buffer)
    }

    /// Over any file, which is brought to the right size.
    pub(crate) fn over(file: impl Into<File>, log2_size: u8, buffer: u32) -> Self {
        Self::laid_out(common::line(), file, log2_size, buffer)
    }

    /// As [`Memory::over`], laid out for `line`.
    pub(crate) fn laid_out(line: LineSize, file: impl Into<File>, log2_size: u8, buffer: u32) -> Self {
        let memory = Self { file: file.into(), line, log2_size, buffer };
        memory.file.set_len(memory.len()).unwrap();
        for direction in [Direction::S2M, Direction::M2S] {
            memory.ring(direction).set_cookie(COOKIE);
        }
        memory
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn size(&self) -> u32 {
        1 << self.log2_size
    }

    pub(crate) fn ring_offset(&self, direction: Direction) -> u32 {
        let stride = u32::try_from(self.line.ring_bytes(self.log2_size).next_multiple_of(128)).unwrap();
        if direction == Direction::S2M { 0 } else { stride }
    }

    pub(crate) fn ring(&self, direction: Direction) -> RingFile<'_> {
        let at = self.ring_offset(direction).into();
        RingFile { file: &self.file, line: self.line, at, size: self.size() }
    }

    fn buffers(&self) -> u32 {
        (2 * self.ring_offset(Direction::M2S)).next_multiple_of(4096)
    }

    /// Bytes of the region.
    pub(crate) fn len(&self) -> u64 {
        (u64::from(self.buffers()) + 2 * u64::from(self.size()) * u64::from(self.buffer))
            .next_multiple_of(4096)
    }

    /// The whole buffer of a slot.
    pub(crate) fn slot(&self, direction: Direction, index: u16) -> Desc {
        let slot = u32::from(index) % self.size();
        let place = if direction == Direction::S2M { slot } else { self.size() + slot };
        let offset = self.buffers() + place * self.buffer;
        Desc { flags: DescFlags::empty(), region: 0, length: self.buffer, offset, metadata: 0 }
    }

    /// Writes a good packet into the buffer of an S2M slot; the descriptor that says so.
    pub(crate) fn packet(&self, index: u16, len: u32, sequence: u64) -> Desc {
        let desc = self.slot(Direction::S2M, index);
        let bytes = common::packet(len as usize, sequence);
        self.file.write_all_at(&bytes, desc.offset.into()).unwrap();
        Desc { length: len, ..desc }
    }
}

/// As the sender of an honest slave with faults sees it.
impl SenderMemory for Memory {
    fn size(&self) -> u16 {
        1 << self.log2_size
    }

    fn capacity(&self) -> usize {
        self.buffer as usize
    }

    fn free(&self, index: u16) -> u16 {
        let sent = index.wrapping_sub(self.ring(Direction::S2M).tail());
        SenderMemory::size(self).wrapping_sub(sent)
    }

    fn publish(&self, index: u16) {
        self.ring(Direction::S2M).set_head(index);
    }

    fn flags(&self, index: u16) -> DescFlags {
        self.ring(Direction::S2M).desc(index).flags
    }

    fn fill(&self, index: u16, flags: DescFlags, bytes: &[u8]) {
        let desc = self.slot(Direction::S2M, index);
        self.file.write_all_at(bytes, desc.offset.into()).unwrap();
        let length = u32::try_from(bytes.len()).unwrap();
        self.ring(Direction::S2M).set_desc(index, Desc { flags, length, ..desc });
    }
}

/// A ring by its place in a file.
#[derive(Clone, Copy)]
pub(crate) struct RingFile<'f> {
    pub(crate) file: &'f File,
    pub(crate) line: LineSize,
    pub(crate) at: u64,
    pub(crate) size: u32,
}

impl RingFile<'_> {
    fn write(&self, bytes: &[u8], offset: u64) {
        self.file.write_all_at(bytes, self.at + offset).unwrap();
    }

    fn read<const N: usize>(&self, offset: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.file.read_exact_at(&mut bytes, self.at + offset).unwrap();
        bytes
    }

    pub(crate) fn set_cookie(&self, cookie: u32) {
        self.write(&cookie.to_ne_bytes(), 0);
    }

    pub(crate) fn flags(&self) -> u16 {
        u16::from_ne_bytes(self.read(4))
    }

    pub(crate) fn set_flags(&self, flags: u16) {
        self.write(&flags.to_ne_bytes(), 4);
    }

    pub(crate) fn head(&self) -> u16 {
        u16::from_ne_bytes(self.read(6))
    }

    pub(crate) fn set_head(&self, head: u16) {
        self.write(&head.to_ne_bytes(), 6);
    }

    pub(crate) fn tail(&self) -> u16 {
        u16::from_ne_bytes(self.read(self.line.tail_offset() as u64))
    }

    pub(crate) fn set_tail(&self, tail: u16) {
        self.write(&tail.to_ne_bytes(), self.line.tail_offset() as u64);
    }

    fn desc_at(&self, index: u16) -> u64 {
        self.line.header_size() as u64 + 16 * u64::from(u32::from(index) % self.size)
    }

    pub(crate) fn desc(&self, index: u16) -> Desc {
        let at = self.desc_at(index);
        let (half, word) =
            (|o| u16::from_ne_bytes(self.read(at + o)), |o| u32::from_ne_bytes(self.read(at + o)));
        Desc {
            flags: DescFlags::from_bits_retain(half(0)),
            region: half(2),
            length: word(4),
            offset: word(8),
            metadata: word(12),
        }
    }

    pub(crate) fn set_desc(&self, index: u16, desc: Desc) {
        let mut bytes = Vec::with_capacity(16);
        bytes.extend(desc.flags.bits().to_ne_bytes());
        bytes.extend(desc.region.to_ne_bytes());
        for word in [desc.length, desc.offset, desc.metadata] {
            bytes.extend(word.to_ne_bytes());
        }
        self.write(&bytes, self.desc_at(index));
    }

    /// Slave: publishes these descriptors.
    pub(crate) fn publish(&self, descs: impl IntoIterator<Item = Desc>) {
        let mut head = self.head();
        for desc in descs {
            self.set_desc(head, desc);
            head = head.wrapping_add(1);
        }
        self.set_head(head);
    }
}

/// The same buffer as part of a longer packet.
pub(crate) fn next(desc: Desc) -> Desc {
    Desc { flags: DescFlags::NEXT, ..desc }
}

pub(crate) fn memfd(flags: MemfdFlags) -> OwnedFd {
    memfd_create("hostile", flags | MemfdFlags::CLOEXEC).unwrap()
}
