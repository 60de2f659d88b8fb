//! Peers by script that never wait: over the sockets and the memory of `memif-pmd/tests/hostile_peer`.
#![allow(dead_code, reason = "each target uses its share of it")]

pub(crate) mod act;
pub(crate) mod client;
pub(crate) mod server;
