//! `xdp:IFACE`: one queue of a network interface, through an `AF_XDP` socket.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memif_os::packet_socket::InterfaceWatch;
use memif_os::socket::NetNamespace;
use memif_os::xdp::{XdpMode, XdpProgram, XdpSocket};
use memif_pmd::{Burst, PushError, Queues, Receive, RxMode, Transmit};

use super::counting::{Losses, Tally};
use super::fate::Fate;
use super::interface::{End, check, open_in, open_problem, settle};
use super::keys::Keys;
use super::offload::complete_checksum;
use super::{Inlet, Moved, Outlet, Port, no_queue};
use crate::error::ToolError;
use crate::packet::Framing;
use crate::report::Drops;

/// The text of an `xdp:` port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct XdpSpec {
    name: String,
    queue: u16,
    mode: XdpMode,
    netns: Option<NetNamespace>,
}

impl XdpSpec {
    /// Parses `IFACE[,key=value…]`.
    ///
    /// # Errors
    /// [`ToolError::Usage`] says what is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, ToolError> {
        let keys = Keys::split("xdp", text, &["queue", "mode", "netns"], &[])?;
        let mut spec = Self { name: keys.name.to_owned(), queue: 0, mode: XdpMode::Auto, netns: None };
        for (key, value) in &keys.pairs {
            match (*key, *value) {
                ("queue", value) => spec.queue = keys.number(key, value, 0..=1023)?,
                ("netns", value) => spec.netns = Some(keys.namespace(value)?),
                (_, Some("auto")) => spec.mode = XdpMode::Auto,
                (_, Some("copy")) => spec.mode = XdpMode::Copy,
                (_, Some("zero-copy")) => spec.mode = XdpMode::ZeroCopy,
                _ => return Err(keys.wrong("mode must be auto, copy or zero-copy")),
            }
        }
        Ok(spec)
    }
}

/// The socket, which the inlet and the outlet share.
type Shared = Arc<Mutex<XdpSocket>>;

fn lock(socket: &Shared) -> MutexGuard<'_, XdpSocket> {
    // no call leaves the socket half changed
    socket.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An `xdp:` port. The kernel detaches the XDP program when the process ends.
pub(crate) struct XdpPort {
    name: String,
    socket: Shared,
    _program: XdpProgram,
    watch: InterfaceWatch,
    losses: Losses,
    fate: Fate,
}

impl XdpPort {
    /// Attaches an XDP program to the interface and a socket to the queue.
    ///
    /// # Errors
    /// [`ToolError::Port`]: no permission, no such interface, queue or network namespace, another XDP program on the interface,
    /// or no memory.
    pub(crate) fn open(spec: &XdpSpec) -> Result<Self, ToolError> {
        let name = format!("xdp:{}", spec.name);
        let (there, port) = (spec.clone(), name.clone());
        let (watch, program, socket) = open_in(spec.netns.as_ref(), &name, move || {
            let open = || {
                let queue = u32::from(there.queue);
                let watch = InterfaceWatch::new(&there.name)?;
                let program = XdpProgram::attach(watch.index(), queue + 1)?;
                let socket = XdpSocket::open(watch.index(), queue, there.mode, &program)?;
                Ok((watch, program, socket))
            };
            open().map_err(|error| ToolError::Port { port, problem: open_problem(&error) })
        })?;
        let socket = Arc::new(Mutex::new(socket));
        let (losses, fate) = (Losses::default(), Fate::default());
        Ok(Self { name, socket, _program: program, watch, losses, fate })
    }
}

impl Port for XdpPort {
    fn name(&self) -> &str {
        &self.name
    }

    fn framing(&self) -> Option<Framing> {
        Some(Framing::Ethernet)
    }

    fn rx_count(&self) -> u16 {
        1
    }

    fn rx(&self, queue: u16) -> Result<Box<dyn Inlet>, ToolError> {
        if queue != 0 {
            return Err(no_queue(&self.name, queue));
        }
        Ok(Box::new(XdpInlet { socket: Arc::clone(&self.socket), tally: Tally::new(&self.losses) }))
    }

    fn tx(&self, queue: u16) -> Result<Box<dyn Outlet>, ToolError> {
        if queue != 0 {
            return Err(no_queue(&self.name, queue));
        }
        let end = End::new(&self.name, &self.losses, &self.fate);
        Ok(Box::new(XdpOutlet { socket: Arc::clone(&self.socket), end }))
    }

    fn is_of_kernel(&self) -> bool {
        true
    }

    fn drops(&self) -> Drops {
        let kernel = lock(&self.socket).losses();
        let mut drops = self.losses.read();
        for (reason, count) in
            [("no_room", kernel.no_room), ("kernel", kernel.received), ("refused_by_kernel", kernel.refused)]
        {
            if count > 0 {
                drops.insert(reason.to_owned(), count);
            }
        }
        drops
    }

    fn check(&self) -> Result<(), ToolError> {
        check(&self.name, &self.fate, &self.watch)
    }
}

/// Receives packets from the queue.
struct XdpInlet {
    socket: Shared,
    tally: Tally,
}

impl Receive for XdpInlet {
    fn receive(&mut self, burst: &mut Burst) -> usize {
        burst.set_aside();
        let before = burst.len();
        let mut left = burst.room();
        let tally = &mut self.tally;
        lock(&self.socket).receive(|bytes| {
            if left == 0 {
                return false;
            }
            left -= 1;
            match burst.push(bytes) {
                Ok(()) => tally.pass(bytes.len()),
                Err(PushError::Full { .. }) => return false,
                Err(_) => tally.drop("bad_length", 1),
            }
            true
        });
        for packet in burst.iter_mut().skip(before) {
            complete_checksum(packet);
        }
        burst.len() - before
    }
}

impl Queues for XdpInlet {
    fn each_fd(&self, visit: &mut dyn FnMut(BorrowedFd<'_>)) {
        visit(lock(&self.socket).as_fd());
    }

    fn activity(&self) -> u64 {
        self.tally.activity()
    }
}

impl Inlet for XdpInlet {
    fn mode(&self) -> RxMode {
        RxMode::Adaptive
    }

    fn moved(&self) -> Moved {
        self.tally.moved()
    }
}

/// Sends packets to the queue.
struct XdpOutlet {
    socket: Shared,
    end: End,
}

impl Transmit for XdpOutlet {
    fn send(&mut self, burst: &mut Burst) -> usize {
        if self.end.has_failed() {
            return 0;
        }
        let mut socket = lock(&self.socket);
        let tally = &mut self.end.tally;
        let mut result = Ok(());
        let sent = burst.offer(|packets| {
            let lengths = packets.clone().map(<[u8]>::len);
            let sent = socket.send(packets);
            for len in lengths.take(sent.taken).filter(|len| *len <= XdpSocket::LARGEST_TO_SEND) {
                tally.pass(len);
            }
            tally.drop("too_long", sent.too_long);
            result = sent.result;
            sent.taken
        });
        drop(socket);
        if let Err(error) = result {
            self.end.fail(&error);
        }
        sent
    }
}

impl Queues for XdpOutlet {
    fn activity(&self) -> u64 {
        self.end.tally.activity()
    }
}

impl Outlet for XdpOutlet {
    fn moved(&self) -> Moved {
        self.end.tally.moved()
    }

    fn is_up(&mut self) -> bool {
        !self.end.has_failed()
    }
}

impl Drop for XdpOutlet {
    /// Waits until the kernel has sent the packets in the ring.
    fn drop(&mut self) {
        settle(|| self.end.has_failed() || lock(&self.socket).is_sent());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_parsed() {
        let spec = XdpSpec::parse("eth0,queue=3,mode=zero-copy,netns=blue").unwrap();
        let netns = Some(NetNamespace::new("blue").unwrap());
        assert_eq!(spec, XdpSpec { name: "eth0".into(), queue: 3, mode: XdpMode::ZeroCopy, netns });
        assert_eq!(XdpSpec::parse("eth0").unwrap().mode, XdpMode::Auto);
        for text in ["", "eth0,queue=-1", "eth0,mode=fast", "eth0,mode", "eth0,netns="] {
            assert_eq!(XdpSpec::parse(text).unwrap_err().exit_code(), 2, "{text}");
        }
    }
}
