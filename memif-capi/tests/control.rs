//! The control half of 4.0, called as C calls it.
#![allow(unsafe_code)] // calls what is exported to C
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::{Pair, delete};

#[test]
fn links_come_and_go() {
    let mut pair = Pair::new();
    delete(&mut pair.slave);
    assert_eq!(pair.told[1].downs(), 1);
    pair.until("end", || pair.told[0].downs() == 1);
    let mut args = common::conn_args(pair.sockets[1], false);
    pair.slave = common::make_conn(&mut args, &pair.told[1]);
    pair.connect(2);
}
