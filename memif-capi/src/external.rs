//! Packet memory of the program's (`memif_register_external_region`): a region for each link of a slave, and, where the
//! program has a function for it, the place of each buffer that is allocated or posted.
#![allow(unsafe_code)] // calls functions of C

use std::collections::VecDeque;
use std::error::Error;
use std::ffi::{c_int, c_void};
use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use memif_pmd::{MemoryRequest, PacketMemory, PacketMemoryBuilder};

use crate::abi::{AddExternalRegion, DelExternalRegion, GetExternalBufferOffset};
use crate::callback::Context;
use crate::code::{Code, Outcome};
use crate::gate::Gate;
use crate::sync::{Mutex, lock};

/// The program's functions.
#[derive(Clone, Copy)]
pub(crate) struct ExternalCalls {
    pub(crate) add: AddExternalRegion,
    pub(crate) del: Option<DelExternalRegion>,
    pub(crate) offset: Option<GetExternalBufferOffset>,
}

/// The regions that a program has added for the links of one interface.
pub(crate) struct ExternalRegions {
    calls: ExternalCalls,
    context: Context,
    gate: Arc<Gate>,
    builder: PacketMemoryBuilder,
    /// Oldest first.
    added: Mutex<VecDeque<Region>>,
    /// Everything was returned. While the program is in one of these functions, only that function can have deleted the
    /// interface: a delete on another thread waits.
    over: AtomicBool,
}

/// A region that the program has added and that is not deleted yet.
struct Region {
    /// Where the program has it.
    address: Context,
    /// Bytes asked for.
    size: u32,
    fd: RawFd,
    /// The same, as the link uses it.
    memory: Option<PacketMemory>,
}

impl ExternalRegions {
    pub(crate) fn new(
        calls: ExternalCalls,
        context: Context,
        gate: &Arc<Gate>,
        builder: PacketMemoryBuilder,
    ) -> Arc<Self> {
        Arc::new(Self {
            calls,
            context,
            gate: Arc::clone(gate),
            builder,
            added: Mutex::default(),
            over: AtomicBool::new(false),
        })
    }

    /// Has the program add a region for a link. The whole file is shared with the peer: a buffer may be anywhere in it.
    ///
    /// # Errors
    /// The program has none, or not one that can be used: that one is deleted at once. Or it has deleted the interface
    /// instead: then no function is called any more, and a region that it gave stays its own.
    pub(crate) fn provide(
        &self,
        request: MemoryRequest,
    ) -> Result<PacketMemory, Box<dyn Error + Send + Sync>> {
        let _pass = self.gate.enter().ok_or("the interface is being deleted")?;
        let size = request.buffers.checked_mul(request.buffer_size);
        let size = size.ok_or("the rings take more than 4 GiB: use fewer or smaller ones")?;
        let (mut address, mut fd): (*mut c_void, c_int) = (ptr::null_mut(), -1);
        // SAFETY: `add` is the function that the program passed to memif_register_external_region, with the type that the
        // header declares, and callable with this context while the gate is open; both pointers are to locals that outlive
        // the call.
        let failed = unsafe { (self.calls.add)(&raw mut address, size, &raw mut fd, self.context.0) } != 0;
        if failed {
            return Err("memif_add_external_region_t failed".into());
        }
        if self.is_over() {
            return Err("memif_add_external_region_t has deleted the interface".into());
        }
        let mut region = Region { address: Context(address), size, fd, memory: None };
        match self.open(&region, request) {
            Ok(memory) => {
                region.memory = Some(memory.clone());
                lock(&self.added).push_back(region);
                Ok(memory)
            }
            Err(error) => {
                self.delete(region);
                Err(error)
            }
        }
    }

    /// Opens a region as packet memory, its buffers one behind the other.
    fn open(
        &self,
        region: &Region,
        request: MemoryRequest,
    ) -> Result<PacketMemory, Box<dyn Error + Send + Sync>> {
        if region.address.0.is_null() || region.fd < 0 {
            return Err("memif_add_external_region_t gave no address or no descriptor".into());
        }
        // SAFETY: `fd` is not -1. It is used to be copied alone, which does no harm whatever the number stands for; the
        // program vouches for it to stay open until the region is deleted.
        let copy = unsafe { BorrowedFd::borrow_raw(region.fd) }.try_clone_to_owned()?;
        let len = file_len(&copy)?;
        if len < u64::from(region.size) {
            return Err(format!("the external region has {len} bytes of {}", region.size).into());
        }
        let offsets: Vec<u32> = (0..request.buffers).map(|number| number * request.buffer_size).collect();
        let builder = self.builder.clone().buffer_size(request.buffer_size);
        if !self.places_buffers() {
            return Ok(builder.over(copy, len, &offsets)?);
        }
        // SAFETY: the program names the place of each buffer, and vouches, as the header asks it to, that no other buffer in use
        // has bytes of it.
        Ok(unsafe { builder.over_placed(copy, len, &offsets) }?)
    }

    /// The link of the oldest region has ended: the program deletes it.
    pub(crate) fn returned(&self) {
        let Some(_pass) = self.gate.enter() else { return };
        let region = lock(&self.added).pop_front();
        if let Some(region) = region {
            self.delete(region);
        }
    }

    /// The interface is gone, and its gate is closed: the program deletes what is left.
    pub(crate) fn return_all(&self) {
        self.over.store(true, Ordering::Relaxed); // read on this thread, see `over`
        let regions = std::mem::take(&mut *lock(&self.added));
        regions.into_iter().for_each(|region| self.delete(region));
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed) // as in `return_all`
    }

    fn delete(&self, region: Region) {
        let Region { address, size, fd, memory } = region;
        drop(memory);
        if let Some(del) = self.calls.del {
            // SAFETY: as in `provide`, for the region that `add` gave, once. The gate is open, or its delete calls this.
            unsafe { del(address.0, size, fd, self.context.0) };
        }
    }

    /// Where the program has the memory that we have at `address`.
    pub(crate) fn address_at(&self, address: usize) -> Option<*mut c_void> {
        let is_at = |memory: &PacketMemory| memory.as_ptr().addr().get() == address;
        let added = lock(&self.added);
        let region = added.iter().find(|region| region.memory.as_ref().is_some_and(is_at))?;
        Some(region.address.0)
    }

    /// Whether the program says where each buffer is.
    pub(crate) fn places_buffers(&self) -> bool {
        self.calls.offset.is_some()
    }

    /// Asks the program for the places of `count` buffers. No lock may be held: the program may call anything meanwhile.
    ///
    /// # Errors
    /// [`Code::NoConn`]: the interface is being deleted, or the program has deleted it when it was asked.
    pub(crate) fn ask_offsets(&self, count: usize, offsets: &mut Vec<u32>) -> Outcome {
        let _pass = self.gate.enter().ok_or(Code::NoConn)?;
        let Some(offset) = self.calls.offset else { return Ok(()) };
        for _ in 0..count {
            if self.is_over() {
                return Err(Code::NoConn);
            }
            // SAFETY: as in `provide`.
            offsets.push(unsafe { offset(self.context.0) });
        }
        Ok(())
    }
}

fn file_len(fd: &OwnedFd) -> std::io::Result<u64> {
    File::from(fd.try_clone()?).metadata().map(|meta| meta.len())
}
