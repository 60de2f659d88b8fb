//! The C types of libmemif 4.0, laid out as `libmemif.h` says. What each field means is said there.
#![allow(missing_docs, reason = "the header documents the fields")]

use std::ffi::{c_char, c_int, c_void};

use libc::{itimerspec, size_t};

/// `memif_conn_handle_t`, `memif_socket_handle_t`: never an address, see `handle`.
pub type Handle = *mut c_void;

/// `MEMIF_FD_EVENT_READ`.
pub const FD_EVENT_READ: c_int = 1;
/// `MEMIF_FD_EVENT_WRITE`.
pub const FD_EVENT_WRITE: c_int = 2;
/// `MEMIF_FD_EVENT_ERROR`.
pub const FD_EVENT_ERROR: c_int = 4;
/// `MEMIF_FD_EVENT_DEL`.
pub const FD_EVENT_DEL: c_int = 8;
/// `MEMIF_FD_EVENT_MOD`.
pub const FD_EVENT_MOD: c_int = 16;
/// `MEMIF_BUFFER_FLAG_NEXT`.
pub const BUFFER_FLAG_NEXT: u8 = 1;
/// `MEMIF_QUEUE_FLAG_POLLING`.
pub const QUEUE_FLAG_POLLING: u16 = 1;
/// `MEMIF_RX_MODE_INTERRUPT`.
pub const RX_MODE_INTERRUPT: c_int = 0;
/// `MEMIF_RX_MODE_POLLING`.
pub const RX_MODE_POLLING: c_int = 1;

/// `memif_fd_event_t`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct FdEvent {
    pub fd: c_int,
    pub kind: c_int,
    pub private_ctx: *mut c_void,
}

/// `memif_control_fd_update_t`.
pub type ControlFdUpdate = unsafe extern "C" fn(FdEvent, *mut c_void) -> c_int;
/// `memif_connection_update_t`.
pub type ConnectionUpdate = unsafe extern "C" fn(Handle, *mut c_void) -> c_int;
/// `memif_on_interrupt_t`.
pub type OnInterrupt = unsafe extern "C" fn(Handle, *mut c_void, u16) -> c_int;
/// `memif_alloc_t`.
pub type Alloc = unsafe extern "C" fn(size_t) -> *mut c_void;
/// `memif_realloc_t`.
pub type Realloc = unsafe extern "C" fn(*mut c_void, size_t) -> *mut c_void;
/// `memif_free_t`.
pub type Free = unsafe extern "C" fn(*mut c_void);
/// `memif_get_external_buffer_offset_t`.
pub type GetExternalBufferOffset = unsafe extern "C" fn(*mut c_void) -> u32;
/// `memif_add_external_region_t`.
pub type AddExternalRegion = unsafe extern "C" fn(*mut *mut c_void, u32, *mut c_int, *mut c_void) -> c_int;
/// `memif_get_external_region_addr_t`.
pub type GetExternalRegionAddr = unsafe extern "C" fn(u32, c_int, *mut c_void) -> *mut c_void;
/// `memif_del_external_region_t`.
pub type DelExternalRegion = unsafe extern "C" fn(*mut c_void, u32, c_int, *mut c_void) -> c_int;

/// `memif_socket_args_t`.
#[derive(Clone, Copy)]
#[repr(C)]
#[expect(missing_debug_implementations, reason = "a record of C")]
pub struct SocketArgs {
    pub path: [c_char; 108],
    pub app_name: [c_char; 32],
    pub connection_request_timer: itimerspec,
    pub on_control_fd_update: Option<ControlFdUpdate>,
    pub alloc: Option<Alloc>,
    pub realloc: Option<Realloc>,
    pub free: Option<Free>,
}

/// `memif_conn_args_t`.
#[derive(Clone, Copy)]
#[repr(C)]
#[expect(missing_debug_implementations, reason = "holds a secret")]
pub struct ConnArgs {
    pub socket: Handle,
    pub secret: [u8; 24],
    pub num_s2m_rings: u8,
    pub num_m2s_rings: u8,
    pub buffer_size: u16,
    pub log2_ring_size: u8,
    pub is_master: u8,
    pub interface_id: u32,
    pub interface_name: [u8; 32],
    pub mode: u8,
}

/// `memif_buffer_t`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Buffer {
    pub desc_index: u16,
    pub queue: *mut c_void,
    pub len: u32,
    pub flags: u8,
    pub data: *mut c_void,
}

/// `memif_queue_details_t`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct QueueDetails {
    pub region: u8,
    pub qid: u16,
    pub ring_size: u32,
    pub flags: u16,
    pub head: u16,
    pub tail: u16,
    pub buffer_size: u16,
}

/// `memif_region_details_t`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct RegionDetails {
    pub index: u8,
    pub addr: *mut c_void,
    pub size: u32,
    pub fd: c_int,
    pub is_external: u8,
}

/// `memif_details_t`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Details {
    pub if_name: *mut u8,
    pub inst_name: *mut u8,
    pub remote_if_name: *mut u8,
    pub remote_inst_name: *mut u8,
    pub id: u32,
    pub secret: *mut u8,
    pub role: u8,
    pub mode: u8,
    pub socket_path: *mut u8,
    pub regions_num: u8,
    pub regions: *mut RegionDetails,
    pub rx_queues_num: u8,
    pub tx_queues_num: u8,
    pub rx_queues: *mut QueueDetails,
    pub tx_queues: *mut QueueDetails,
    pub error: *mut u8,
    pub link_up_down: u8,
}
