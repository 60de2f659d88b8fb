//! The example's server and client, at the two ends of a link between two interfaces.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::thread;
use std::time::Duration;

use memif_pmd::{Interface, InterfaceBuilder, Memif, Mode, Stop};

#[path = "../examples/tcp_echo.rs"]
#[expect(dead_code, reason = "the program's main")]
mod tcp_echo;

const PATIENCE: Duration = Duration::from_secs(30);

/// Ends the server, whatever becomes of the client.
struct Ends<'a>(&'a Stop);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

fn open(builder: InterfaceBuilder<'_>, mode: Mode) -> Interface {
    builder.mode(mode).open().unwrap()
}

/// Runs the server on one end and the client twice on the other.
fn echo(name: &str, mode: Mode, bytes: u64, slave: impl Fn(InterfaceBuilder<'_>) -> InterfaceBuilder<'_>) {
    let memif = Memif::start().unwrap();
    let socket = format!("@memif-smoltcp-{name}-{}", std::process::id());
    let server = open(memif.interface(&socket).master(), mode);
    let client = open(slave(memif.interface(&socket)), mode);
    client.wait_up(Some(PATIENCE)).unwrap();
    let checksum =
        (0..bytes).fold(tcp_echo::FNV_BASIS, |sum, place| tcp_echo::fnv(sum, &tcp_echo::byte_at(place)));
    let stop = Stop::new().unwrap();
    thread::scope(|scope| {
        let served = scope.spawn(|| tcp_echo::serve(&server, &stop).unwrap());
        let ends = Ends(&stop);
        for _ in 0..2 {
            assert_eq!(tcp_echo::ask(&client, bytes, &stop).unwrap(), checksum);
        }
        drop(ends);
        served.join().unwrap();
    });
    let details = server.details().unwrap();
    assert!(details.rx[0].stats.bytes > 2 * bytes && details.tx[0].stats.bytes > 2 * bytes);
}

#[test]
fn tcp_data_comes_back_in_ethernet_frames() {
    echo("ethernet", Mode::Ethernet, 2 << 20, |slave| slave);
}

#[test]
fn tcp_data_comes_back_in_ip_packets() {
    echo("ip", Mode::Ip, 2 << 20, |slave| slave);
}

#[test]
fn tcp_data_comes_back_through_rings_that_are_full_all_the_time() {
    echo("full", Mode::Ip, 256 << 10, |slave| slave.ring_size(4));
}
