//! 1.0 with a peer that breaks its chains: what C tests of 1.0 cannot reach, as it shows a program no shared memory.
#![allow(unsafe_code)] // calls what is exported to C
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::ffi::CString;
use std::mem;
use std::ptr;

use common::{
    EMPTY, OK, Told, address, alloc, at, conn_args, delete, delete_socket, details, fill, make_conn,
    make_socket,
};
use common::{socket_args, tx, until};
use memif::abi::Handle;
use memif::v1::{self, abi};
use memif::v4::memif_poll_event;

const SLOTS: usize = 16;
const BUFFER: u16 = 256;

/// A master of 1.0 on `path`.
fn make_master(path: &str, told: &Told) -> Handle {
    let path = CString::new(path).unwrap();
    let mut conn = ptr::null_mut();
    // SAFETY: all zero is what a C program begins with: no text, numbers of 0.
    let mut args: abi::ConnArgs = unsafe { mem::zeroed() };
    args.socket_filename = path.as_ptr();
    args.is_master = 1;
    let (up, down) = (Some(common::on_connect as _), Some(common::on_disconnect as _));
    // SAFETY: `args` has a text with its NUL, and the functions get a Told that outlives the connection.
    let code = unsafe { v1::create(at(&mut conn), Some(&args), up, down, None, told.context()) };
    assert_eq!(code, OK);
    conn
}

/// Where a slave's rings are mapped: S2M first.
fn rings(slave: Handle) -> *mut u8 {
    let mut text = [0u8; 4096];
    let (code, details) = details(slave, &mut text);
    assert_eq!(code, OK);
    // SAFETY: points to one region's details in the text.
    unsafe { (*details.regions).addr.cast() }
}

/// Sends packets of that many full buffers each, filled with their number; returns the slot behind the last.
fn send(slave: Handle, sizes: &[u16]) -> usize {
    let mut end = 0;
    for (number, size) in (0u8..).zip(sizes) {
        let mut bufs = [EMPTY; SLOTS];
        let (_, count) = alloc(slave, &mut bufs, 1, size * BUFFER);
        assert_eq!(count, usize::from(*size));
        bufs[..count].iter().for_each(|buf| fill(buf, &[number; BUFFER as usize]));
        end = usize::from(bufs[count - 1].desc_index) + 1;
        assert_eq!(tx(slave, &mut bufs[..count]), (OK, count));
    }
    end
}

/// Receives all packets, checks that each is of one number, and gives them back; returns numbers and sizes in buffers.
fn receive(master: Handle) -> Vec<(u8, usize)> {
    let empty = abi::Buffer { desc_index: 0, buffer_len: 0, data_len: 0, data: ptr::null_mut() };
    let (mut bufs, mut count) = ([empty; SLOTS], 0);
    // SAFETY: the array has as many elements as the call is told.
    assert_eq!(unsafe { v1::rx_burst(master, 0, bufs.as_mut_ptr(), 16, at(&mut count)) }, OK);
    let packets = bufs[..usize::from(count)].iter().map(|buf| {
        let mut bytes = vec![0; buf.data_len as usize];
        // SAFETY: the library says that `data_len` bytes may be read at `data`.
        unsafe { ptr::copy_nonoverlapping(buf.data.cast(), bytes.as_mut_ptr(), bytes.len()) };
        assert!(bytes.iter().all(|byte| *byte == bytes[0]), "a packet of several");
        (bytes[0], bytes.len() / usize::from(BUFFER))
    });
    let packets = packets.collect();
    let mut freed = 0;
    // SAFETY: as above.
    assert_eq!(unsafe { v1::buffer_free(master, 0, bufs.as_mut_ptr(), count, at(&mut freed)) }, OK);
    assert_eq!(freed, count);
    packets
}

#[test]
fn broken_chains_cost_themselves_alone() {
    let path = address();
    // SAFETY: NULL stands for the defaults.
    assert_eq!(unsafe { v1::init(None, ptr::null_mut()) }, OK);
    let told: [Told; 2] = Default::default();
    let mut master = make_master(&path, &told[0]);
    let mut socket = make_socket(&mut socket_args(&path), ptr::null_mut());
    let mut args = conn_args(socket, false);
    (args.log2_ring_size, args.buffer_size) = (4, BUFFER);
    let mut slave = make_conn(&mut args, &told[1]);
    until("link", || {
        assert_eq!((memif_poll_event(socket, 1), v1::poll_event(1)), (OK, OK));
        told.iter().all(|told| told.ups() == 1)
    });
    let rings = rings(slave);
    // more rounds than the ring has slots, so that one lost in each would be missed
    for round in 0..200 {
        let end = send(slave, &[1, 3, 2, 3, 1, 2]);
        // of the chains from slots 1 and 6 on, the second and the last descriptor lead nowhere
        for back in [10, 4] {
            let slot = (end + SLOTS - back) % SLOTS;
            // SAFETY: the offset of a descriptor within the ring, which stays mapped while the link is up.
            unsafe { rings.add(128 + slot * 16 + 8).cast::<u32>().write_volatile(u32::MAX - round) };
        }
        assert_eq!(receive(master), [(0, 1), (2, 2), (4, 1), (5, 2)], "round {round}");
    }
    // the last packet broken: nothing of it is left for the next call
    let end = send(slave, &[1, 2]);
    // SAFETY: as above.
    unsafe { rings.add(128 + (end - 1) % SLOTS * 16 + 8).cast::<u32>().write_volatile(u32::MAX) };
    assert_eq!(receive(master), [(0, 1)]);
    assert_eq!(receive(master), []);
    send(slave, &[4, 4]);
    assert_eq!(receive(master), [(0, 4), (1, 4)]);
    delete(&mut slave);
    delete_socket(&mut socket);
    assert_eq!(v1::delete(at(&mut master)), OK);
    assert_eq!(v1::cleanup(), OK);
}
