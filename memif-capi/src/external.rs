//! Packet memory of the program's: what `memif_register_external_region` says of it, and what a slave makes of it.
#![allow(unsafe_code)] // calls functions of C

use std::ffi::{c_int, c_void};
use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::ptr;

use memif_pmd::{Memif, PacketMemory};

use crate::abi::{AddExternalRegion, DelExternalRegion, GetExternalBufferOffset};
use crate::callback::Context;
use crate::code::Code;

/// The program's functions.
#[derive(Clone, Copy)]
pub(crate) struct ExternalCalls {
    pub(crate) add: AddExternalRegion,
    pub(crate) del: Option<DelExternalRegion>,
    pub(crate) offset: Option<GetExternalBufferOffset>,
}

/// Memory of the program's, in use by one interface. Given back on drop.
pub(crate) struct External {
    /// Where the program has it.
    address: Context,
    /// Bytes asked for.
    size: u32,
    fd: RawFd,
    del: Option<DelExternalRegion>,
    context: Context,
}

impl External {
    /// Asks the program for memory of `buffers` buffers of `buffer_size` bytes, and for the place of each; returns it as
    /// the interface uses it, too. The whole file is shared with the peer: a place may be anywhere in it.
    pub(crate) fn take(
        calls: ExternalCalls,
        context: Context,
        memif: &Memif,
        (buffers, buffer_size): (u32, u16),
    ) -> Result<(Self, PacketMemory), Code> {
        let size = buffers.checked_mul(buffer_size.into()).ok_or(Code::InvalArg)?;
        let (mut address, mut fd): (*mut c_void, c_int) = (ptr::null_mut(), -1);
        // SAFETY: the program vouches for its function; both pointers are to locals that outlive the call.
        let failed = unsafe { (calls.add)(&raw mut address, size, &raw mut fd, context.0) } != 0;
        if failed {
            return Err(Code::NoMem);
        }
        let taken = Self { address: Context(address), size, fd, del: calls.del, context };
        if address.is_null() || fd < 0 {
            return Err(Code::NoShmFd);
        }
        // SAFETY: not -1, and used to be copied alone: whatever the number stands for, it is only asked what it is.
        let copy = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned().map_err(|_| Code::NoShmFd)?;
        let len = file_len(&copy).filter(|len| *len >= u64::from(size)).ok_or(Code::NoShmFd)?;
        let next_to = (0..buffers).map(|number| number * u32::from(buffer_size));
        let offsets: Vec<u32> = match calls.offset {
            // SAFETY: as above.
            Some(offset) => (0..buffers).map(|_| unsafe { offset(context.0) }).collect(),
            None => next_to.collect(),
        };
        let memory = PacketMemory::from_fd(memif, copy, len, buffer_size.into(), &offsets)?;
        Ok((taken, memory))
    }

    /// Where the program has it.
    pub(crate) fn address(&self) -> *mut c_void {
        self.address.0
    }
}

impl Drop for External {
    fn drop(&mut self) {
        if let Some(del) = self.del {
            // SAFETY: as in `take`; nothing of ours points there any more.
            unsafe { del(self.address.0, self.size, self.fd, self.context.0) };
        }
    }
}

fn file_len(fd: &OwnedFd) -> Option<u64> {
    File::from(fd.try_clone().ok()?).metadata().ok().map(|meta| meta.len())
}
