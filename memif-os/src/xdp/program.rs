//! The XDP program: it redirects packets of a queue that has a socket to the socket, and passes all others on to the kernel's
//! stack.
//!
//! A BPF link (`BPF_LINK_CREATE`) attaches it. The kernel removes the link when its file descriptor is closed, so the program is
//! detached however the process ends.
#![allow(unsafe_code, reason = "bpf(2) has no safe wrapper")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Commands, types and numbers of `bpf(2)`.
const MAP_CREATE: libc::c_int = 0;
const MAP_UPDATE: libc::c_int = 2;
const PROG_LOAD: libc::c_int = 5;
const LINK_CREATE: libc::c_int = 28;
const TYPE_XSKMAP: u32 = 17;
const TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
const XDP_PASS: i32 = 2;
const REDIRECT_MAP: i32 = 51;
const PSEUDO_MAP_FD: u8 = 1;
/// Offset of `rx_queue_index` in `struct xdp_md`.
const RX_QUEUE_INDEX: i16 = 16;

/// One instruction.
#[repr(C)]
#[derive(Clone, Copy)]
struct Instruction {
    code: u8,
    /// Destination in the lower half, source in the upper one.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    // the destination's bit field is the lower half of the byte on little-endian machines, the upper half on others
    let registers =
        if cfg!(target_endian = "little") { destination | source << 4 } else { source | destination << 4 };
    Instruction { code, registers, offset, immediate }
}

/// `return bpf_redirect_map(&map, context->rx_queue_index, XDP_PASS)`.
fn instructions(map: RawFd) -> [Instruction; 6] {
    const LOAD_WORD: u8 = 0x61;
    const LOAD_IMMEDIATE: u8 = 0x18;
    const MOVE: u8 = 0xb7;
    const CALL: u8 = 0x85;
    const EXIT: u8 = 0x95;
    [
        instruction(LOAD_WORD, 2, 1, RX_QUEUE_INDEX, 0),
        // loads 64 bits: takes two instructions
        instruction(LOAD_IMMEDIATE, 1, PSEUDO_MAP_FD, 0, map),
        instruction(0, 0, 0, 0, 0),
        instruction(MOVE, 3, 0, 0, XDP_PASS),
        instruction(CALL, 0, 0, 0, REDIRECT_MAP),
        instruction(EXIT, 0, 0, 0, 0),
    ]
}

#[repr(C)]
struct MapAttributes {
    kind: u32,
    key_size: u32,
    value_size: u32,
    entries: u32,
}

#[repr(C)]
struct UpdateAttributes {
    map: u32,
    _pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct ProgramAttributes {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
}

#[repr(C)]
struct LinkAttributes {
    program: u32,
    interface: u32,
    attach: u32,
    flags: u32,
}

/// # Safety
/// `attributes` has the layout that the kernel reads for `command`, and each address in it points to memory that is valid for the
/// kernel's access.
unsafe fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_int> {
    let len = libc::c_uint::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: the pointer is valid for the size that is passed, and the kernel takes the fields beyond it as zeros.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), len) };
    match libc::c_int::try_from(result) {
        Ok(result) if result >= 0 => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}

/// # Safety
/// That of [`bpf`], and the command returns a new file descriptor.
unsafe fn create<T>(command: libc::c_int, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise; the descriptor is new, and nothing else owns it.
    unsafe { bpf(command, attributes).map(|fd| OwnedFd::from_raw_fd(fd)) }
}

fn number(fd: &OwnedFd) -> u32 {
    fd.as_raw_fd().unsigned_abs()
}

/// The program, loaded and attached to an interface. Dropping it detaches the program.
#[derive(Debug)]
pub struct XdpProgram {
    map: OwnedFd,
    _link: OwnedFd,
}

impl XdpProgram {
    /// Loads the program for queues 0 to `queues - 1`, and attaches it to the interface with this index in the calling thread's
    /// network namespace.
    ///
    /// # Errors
    /// `EPERM` without `CAP_BPF` and `CAP_NET_ADMIN`; `EBUSY`: another program is attached; `EOPNOTSUPP`, `EINVAL`: the
    /// kernel or the driver does not support XDP.
    pub fn attach(interface: u32, queues: u32) -> io::Result<Self> {
        let map = MapAttributes { kind: TYPE_XSKMAP, key_size: 4, value_size: 4, entries: queues.max(1) };
        // SAFETY: the layout of this command, without addresses.
        let map = unsafe { create(MAP_CREATE, &map)? };
        let code = instructions(map.as_raw_fd());
        let license = c"Apache-2.0";
        let program = ProgramAttributes {
            kind: TYPE_XDP,
            count: u32::try_from(code.len()).map_err(io::Error::other)?,
            instructions: code.as_ptr().addr() as u64,
            license: license.as_ptr().addr() as u64,
            log_level: 0,
            log_size: 0,
            log: 0,
        };
        // SAFETY: the attributes of this command; its addresses point to `count` instructions and a NUL-terminated text, which
        // outlive the call.
        let program = unsafe { create(PROG_LOAD, &program)? };
        let link = LinkAttributes { program: number(&program), interface, attach: ATTACH_XDP, flags: 0 };
        // SAFETY: the layout of this command, without addresses.
        let link = unsafe { create(LINK_CREATE, &link)? };
        Ok(Self { map, _link: link })
    }

    /// Redirects the packets of a queue to this socket.
    ///
    /// # Errors
    /// `E2BIG`: the program was loaded for fewer queues. `ENOTSOCK`, `EOPNOTSUPP`: `socket` is not an `AF_XDP`
    /// socket.
    pub(super) fn redirect(&self, queue: u32, socket: RawFd) -> io::Result<()> {
        let value = socket.unsigned_abs();
        let update = UpdateAttributes {
            map: number(&self.map),
            _pad: 0,
            key: std::ptr::from_ref(&queue).addr() as u64,
            value: std::ptr::from_ref(&value).addr() as u64,
            flags: 0,
        };
        // SAFETY: the attributes of this command; its addresses point to a key and a value of 4 bytes, the map's sizes,
        // which outlive the call.
        unsafe { bpf(MAP_UPDATE, &update).map(drop) }
    }
}
