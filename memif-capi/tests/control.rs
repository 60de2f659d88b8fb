//! The control half of 4.0, called as C calls it.
#![allow(unsafe_code)] // calls what is exported to C
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::ffi::{CStr, c_int, c_void};
use std::ptr;

use common::{Links, Loop, conn_args, socket_args, until_up};
use memif::abi::Handle;
use memif::v4::*;

#[test]
fn a_link_comes_and_goes() {
    let (master, slave) = (Links::default(), Links::default());
    let pair = common::Pair::new(&master, &slave);
    until_up(&pair, &master, &slave);
    pair.delete();
    assert_eq!((master.downs(), slave.downs()), (1, 1));
}
