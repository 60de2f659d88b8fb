//! `tap:NAME`: a TAP interface. The kernel's stack is at its other end.

mod spec;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use memif_pmd::{Burst, Queues, Receive, RxMode, Transmit};
use rustix::io::Errno;
use tun_rs::SyncDevice;

use super::counting::Losses;
use super::fate::Fate;
use super::interface::{End, open_in};
use super::offload::{Joined, Put, Work};
use super::{Inlet, Moved, Outlet, Port, no_queue};
use crate::error::ToolError;
use crate::packet::Framing;
use crate::report::Drops;

pub(crate) use spec::TapSpec;

/// A `tap:` port. The kernel removes the interface when the process ends, unless it persists.
pub(crate) struct TapPort {
    name: String,
    queues: Vec<Arc<SyncDevice>>,
    losses: Losses,
    fate: Fate,
}

impl TapPort {
    /// Creates the interface.
    ///
    /// # Errors
    /// [`ToolError::Port`]: no permission, no device /dev/net/tun, another interface with the same name, or a network namespace
    /// that cannot be entered.
    pub(crate) fn open(spec: &TapSpec) -> Result<Self, ToolError> {
        let name = format!("tap:{}", spec.name);
        let there = spec.clone();
        let queues = open_in(spec.netns.as_ref(), &name, move || there.create())?;
        Ok(Self {
            name,
            queues: queues.into_iter().map(Arc::new).collect(),
            losses: Losses::default(),
            fate: Fate::default(),
        })
    }

    /// The device of this queue, with counters for one direction.
    fn end(&self, queue: u16) -> Result<(Arc<SyncDevice>, End), ToolError> {
        let device = self.queues.get(usize::from(queue)).ok_or_else(|| no_queue(&self.name, queue))?;
        Ok((Arc::clone(device), End::new(&self.name, &self.losses, &self.fate)))
    }
}

impl Port for TapPort {
    fn name(&self) -> &str {
        &self.name
    }

    fn framing(&self) -> Option<Framing> {
        Some(Framing::Ethernet)
    }

    fn rx_count(&self) -> u16 {
        self.tx_count()
    }

    fn tx_count(&self) -> u16 {
        u16::try_from(self.queues.len()).unwrap_or(u16::MAX)
    }

    fn rx(&self, queue: u16) -> Result<Box<dyn Inlet>, ToolError> {
        let (device, end) = self.end(queue)?;
        Ok(Box::new(TapInlet { device, end, work: Work::new() }))
    }

    fn tx(&self, queue: u16) -> Result<Box<dyn Outlet>, ToolError> {
        let (device, end) = self.end(queue)?;
        Ok(Box::new(TapOutlet { device, end, joined: Joined::new() }))
    }

    fn is_of_kernel(&self) -> bool {
        true
    }

    fn drops(&self) -> Drops {
        self.losses.read()
    }

    fn check(&self) -> Result<(), ToolError> {
        self.fate.check()
    }
}

/// Receives packets from the kernel.
struct TapInlet {
    device: Arc<SyncDevice>,
    end: End,
    work: Work,
}

impl Receive for TapInlet {
    fn receive(&mut self, burst: &mut Burst) -> usize {
        burst.set_aside();
        let before = burst.len();
        let Self { device, end, work } = self;
        // dropped packets do not fill the burst: this bounds them too
        for _ in 0..burst.capacity() {
            if end.has_failed() || burst.room() == 0 {
                break;
            }
            if work.is_done() {
                match work.take(|buffer| device.recv(buffer)) {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => {
                        end.tally.drop("bad_offload", 1);
                        continue;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => {
                        end.fail(&error);
                        break;
                    }
                }
            }
            match work.put(burst, |len| end.tally.pass(len)) {
                Ok(Put::Done) => {}
                Ok(Put::Full) => break,
                Err(_) => end.tally.drop("bad_length", 1),
            }
        }
        burst.len() - before
    }
}

impl Queues for TapInlet {
    fn each_fd(&self, visit: &mut dyn FnMut(BorrowedFd<'_>)) {
        visit(self.device.as_fd());
    }

    fn activity(&self) -> u64 {
        self.end.tally.activity()
    }
}

impl Inlet for TapInlet {
    fn mode(&self) -> RxMode {
        RxMode::Adaptive
    }

    fn moved(&self) -> Moved {
        self.end.tally.moved()
    }
}

/// Sends packets to the kernel.
struct TapOutlet {
    device: Arc<SyncDevice>,
    end: End,
    /// The packets of one write.
    joined: Joined,
}

impl TapOutlet {
    /// Writes the joined packets. Returns how many left the burst, sent or dropped: 0 if the kernel has no room now, the
    /// interface has failed, or there are none.
    fn write(&mut self) -> usize {
        let Self { device, end, joined } = self;
        let (taken, bytes) = joined.count();
        if taken == 0 {
            return 0;
        }
        let result = device.send(joined.finish());
        let packets = taken as u64;
        joined.clear();
        match result {
            Ok(_) => end.tally.pass_all(packets, bytes),
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::AGAIN | Errno::INTR) => return 0,
                Some(Errno::IO | Errno::NETDOWN) => end.tally.drop("interface_down", packets),
                Some(Errno::INVAL | Errno::MSGSIZE) => end.tally.drop("bad_length", packets),
                Some(Errno::NOMEM | Errno::NOBUFS) => end.tally.drop("no_memory", packets),
                _ => {
                    end.fail(&error);
                    return 0;
                }
            },
        }
        taken
    }
}

impl Transmit for TapOutlet {
    fn send(&mut self, burst: &mut Burst) -> usize {
        if self.end.has_failed() {
            return 0;
        }
        burst.offer(|packets| {
            let mut taken = 0;
            for packet in packets {
                if !self.joined.add(packet) {
                    let written = self.write();
                    taken += written;
                    if written == 0 {
                        return taken;
                    }
                    self.joined.add(packet);
                }
            }
            taken + self.write()
        })
    }
}

impl Queues for TapOutlet {
    fn activity(&self) -> u64 {
        self.end.tally.activity()
    }
}

impl Outlet for TapOutlet {
    fn moved(&self) -> Moved {
        self.end.tally.moved()
    }

    fn is_up(&mut self) -> bool {
        !self.end.has_failed()
    }
}
