//! The C types of libmemif 1.0, laid out as its header says. What each field means is said there; those that are not here
//! are the same as [in 4.0](crate::abi).
#![allow(missing_docs, reason = "the header documents the fields")]

use std::ffi::{c_char, c_int, c_void};

use crate::abi as v4;

/// `memif_control_fd_update_t`.
pub type ControlFdUpdate = unsafe extern "C" fn(c_int, u8) -> c_int;

/// `memif_conn_args_t`.
#[derive(Clone, Copy)]
#[repr(C)]
#[expect(missing_debug_implementations, reason = "holds a secret")]
pub struct ConnArgs {
    pub socket_filename: *const c_char,
    pub secret: [u8; 24],
    pub num_s2m_rings: u8,
    pub num_m2s_rings: u8,
    pub buffer_size: u16,
    pub log2_ring_size: u8,
    pub is_master: u8,
    pub interface_id: u32,
    pub interface_name: [u8; 32],
    pub instance_name: [u8; 32],
    pub mode: u8,
}

/// `memif_buffer_t`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Buffer {
    pub desc_index: u16,
    pub buffer_len: u32,
    pub data_len: u32,
    pub data: *mut c_void,
}

/// `memif_queue_details_t`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct QueueDetails {
    pub qid: u8,
    pub ring_size: u32,
    pub flags: u16,
    pub head: u16,
    pub tail: u16,
    pub buffer_size: u16,
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
    pub socket_filename: *mut u8,
    pub rx_queues_num: u8,
    pub tx_queues_num: u8,
    pub rx_queues: *mut QueueDetails,
    pub tx_queues: *mut QueueDetails,
    pub link_up_down: u8,
}

impl From<v4::QueueDetails> for QueueDetails {
    fn from(queue: v4::QueueDetails) -> Self {
        Self {
            // C asks for at most 255
            qid: u8::try_from(queue.qid).unwrap_or(u8::MAX),
            ring_size: queue.ring_size,
            flags: queue.flags,
            head: queue.head,
            tail: queue.tail,
            buffer_size: queue.buffer_size,
        }
    }
}
