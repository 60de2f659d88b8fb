//! Runs the `memif` program: output, exit status and files left behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod captures;
mod capturing;
mod demo;
mod dumping;
mod harness;
mod hosts;
mod interfaces;
mod links;
mod observing;
mod relays;
mod schema;
mod serving;
mod taps;
mod traffic;
mod usage;
