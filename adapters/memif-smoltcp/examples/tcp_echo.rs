//! A TCP echo server in user space, and a client for it that checks what comes back:
//!
//! ```text
//! cargo run --release --example tcp_echo -- server /tmp/echo.sock,role=master
//! cargo run --release --example tcp_echo -- client /tmp/echo.sock 1000000000
//! ```
//!
//! The server is 10.0.0.1, port 7, and the client 10.0.0.2; with `mode=ip` on both ends they exchange IP packets in place of
//! Ethernet frames. Ctrl-C ends both.

use std::time::Duration;

use memif_pmd::{Interface, Memif, Port, Stop, ctrl_c};
use memif_smoltcp::Device;
use smoltcp::iface::{Config, SocketHandle, SocketSet};
use smoltcp::phy::{Device as _, Medium};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, Ipv4Address};

const PORT: u16 = 7;
/// Bytes of the receive buffer of a socket, and of its send buffer.
const WINDOW: usize = 256 * 1024;
/// Connections that the server has at a time.
const CLIENTS: usize = 4;
/// What FNV-1a begins with.
pub(crate) const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const USAGE: &str = "usage: tcp_echo server PATH[,role=master]… | client PATH… BYTES";

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let stop = ctrl_c()?;
    let memif = Memif::start()?;
    match args[..] {
        ["server", port] => serve(&port.parse::<Port>()?.interface(&memif).open()?, &stop),
        ["client", port, bytes] => {
            let link = port.parse::<Port>()?.interface(&memif).open()?;
            link.wait_up_until(&stop, Some(Duration::from_secs(10)))?;
            let start = std::time::Instant::now();
            let checksum = ask(&link, bytes.parse()?, &stop)?;
            let seconds = start.elapsed().as_secs_f64();
            println!("{bytes} bytes echoed and checked in {seconds:.1} s, FNV-1a {checksum:016x}");
            Ok(())
        }
        _ => Err(USAGE.into()),
    }
}

/// A TCP/IP stack at the end of a link.
struct Host {
    device: Device,
    stack: smoltcp::iface::Interface,
    sockets: SocketSet<'static>,
}

impl Host {
    fn new(link: &Interface, number: u8) -> Result<Self> {
        let mut device = Device::open(link, 0)?;
        let address = match device.capabilities().medium {
            Medium::Ethernet => EthernetAddress([0x02, 0, 0, 0, 0, number]).into(),
            Medium::Ip => HardwareAddress::Ip,
        };
        let mut stack = smoltcp::iface::Interface::new(Config::new(address), &mut device, Instant::now());
        let ip = IpCidr::new(Ipv4Address::new(10, 0, 0, number).into(), 24);
        stack.update_ip_addrs(|addresses| addresses.push(ip).unwrap_or_default());
        Ok(Self { device, stack, sockets: SocketSet::new(Vec::new()) })
    }

    fn add_socket(&mut self) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; WINDOW]);
        self.sockets.add(tcp::Socket::new(buffer(), buffer()))
    }

    /// Handles what has come, and sends what there is to send.
    fn poll(&mut self) {
        self.stack.poll(Instant::now(), &mut self.device, &mut self.sockets);
    }

    /// Sleeps until there is something to do, or `stop`.
    fn wait(&mut self, stop: &Stop) -> Result<()> {
        let delay = self.stack.poll_delay(Instant::now(), &self.sockets);
        Ok(self.device.wait_until(stop, delay)?)
    }
}

/// Sends back what clients send, until `stop`.
pub(crate) fn serve(link: &Interface, stop: &Stop) -> Result<()> {
    let mut host = Host::new(link, 1)?;
    let sockets: Vec<_> = (0..CLIENTS).map(|_| host.add_socket()).collect();
    let mut bytes = vec![0; WINDOW];
    while !stop.is_stopped() {
        for socket in &sockets {
            echo(host.sockets.get_mut(*socket), &mut bytes)?;
        }
        host.wait(stop)?;
        host.poll();
    }
    Ok(())
}

fn echo(socket: &mut tcp::Socket<'_>, bytes: &mut [u8]) -> Result<()> {
    if !socket.is_open() {
        socket.listen(PORT)?;
    }
    if socket.can_recv() && socket.can_send() {
        let room = socket.send_capacity() - socket.send_queue();
        let received = socket.recv_slice(&mut bytes[..room])?;
        socket.send_slice(&bytes[..received])?;
    } else if socket.state() == tcp::State::CloseWait && socket.recv_queue() == 0 {
        socket.close();
    }
    Ok(())
}

/// Sends `bytes` bytes, checks that they come back, and closes the connection. Returns the checksum of what came back.
pub(crate) fn ask(link: &Interface, bytes: u64, stop: &Stop) -> Result<u64> {
    let mut host = Host::new(link, 2)?;
    let handle = host.add_socket();
    let socket = host.sockets.get_mut::<tcp::Socket<'_>>(handle);
    socket.set_timeout(Some(smoltcp::time::Duration::from_secs(30)));
    // another one than the client before had
    let port = 49152 + u16::try_from(Instant::now().total_micros() & 0x3fff)?;
    socket.connect(host.stack.context(), (Ipv4Address::new(10, 0, 0, 1), PORT), port)?;
    let (mut sent, mut echoed, mut checksum) = (0, 0, FNV_BASIS);
    loop {
        host.poll();
        let socket = host.sockets.get_mut::<tcp::Socket<'_>>(handle);
        if !socket.is_active() || stop.is_stopped() {
            break;
        }
        if socket.can_send() && sent < bytes {
            sent += socket.send(|room| {
                let wanted = room.len().min(usize::try_from(bytes - sent).unwrap_or(usize::MAX));
                room[..wanted].iter_mut().zip(sent..).for_each(|(byte, place)| *byte = byte_at(place));
                (wanted, wanted as u64)
            })?;
        }
        if socket.can_recv() {
            echoed += socket.recv(|data| {
                checksum = data.iter().fold(checksum, fnv);
                let right = data.iter().zip(echoed..).take_while(|&(&byte, place)| byte == byte_at(place));
                (data.len(), right.count() as u64)
            })?;
        }
        if echoed == bytes {
            socket.close();
        }
        host.wait(stop)?;
    }
    host.device.flush();
    if echoed == bytes { Ok(checksum) } else { Err(format!("byte {echoed} did not come back").into()) }
}

/// One step of the checksum FNV-1a.
pub(crate) fn fnv(sum: u64, byte: &u8) -> u64 {
    (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
}

/// What is sent as the byte at `place`: hardly like that at any other.
pub(crate) fn byte_at(place: u64) -> u8 {
    place.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()[0]
}
