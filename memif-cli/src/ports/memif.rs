//! A memif interface as a port.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use memif_pmd::{Details, Error as MemifError, FaultKind, Interface, Mode, Role, RxMode, RxQueue, TxQueue};

use super::{Inlet, Moved, Outlet, Port};
use crate::error::ToolError;
use crate::packet::Framing;
use crate::report::Drops;
use crate::status::{Notes, note};

/// Maximum time that a generator waits for its peer to take the packets in the rings.
const SETTLE: Duration = Duration::from_secs(2);

/// Why a master has no link, if no slave has tried to connect.
const NO_SLAVE: &str = "no slave has connected; start one or wait longer";

/// A memif port.
pub(crate) struct MemifPort {
    /// Socket and id, for status messages.
    name: String,
    role: Role,
    mode: Mode,
    /// The interface.
    pub interface: Arc<Interface>,
    notes: Arc<Notes>,
    /// Kinds of peer faults that are already reported.
    reported: Mutex<HashSet<FaultKind>>,
}

impl MemifPort {
    /// The port of `interface`, which is on `socket` and whose events `notes` reports.
    ///
    /// # Errors
    /// [`ToolError::Memif`]: the control plane has ended.
    pub(crate) fn new(socket: &str, interface: Interface, notes: Arc<Notes>) -> Result<Self, ToolError> {
        let details = interface.details()?;
        let name = format!("{socket} id {}", details.id);
        let (role, mode) = (details.role, details.mode);
        Ok(Self { name, role, mode, interface: Arc::new(interface), notes, reported: Mutex::default() })
    }

    /// What this process last lacked for a link.
    pub(crate) fn own_failure(&self) -> Option<String> {
        self.notes.own_failure()
    }

    /// Why there is no link yet, if no attempt has failed.
    fn waiting(&self) -> String {
        match self.role {
            Role::Master => NO_SLAVE.to_owned(),
            Role::Slave => "the master has not answered yet; wait longer".to_owned(),
        }
    }
}

impl Port for MemifPort {
    fn name(&self) -> &str {
        &self.name
    }

    fn framing(&self) -> Option<Framing> {
        Some(Framing::of(self.mode))
    }

    fn rx_count(&self) -> u16 {
        self.interface.rx_count()
    }

    /// Number of rings that the link has for sending, at least 1; without a link, the number of tx queues.
    fn tx_count(&self) -> u16 {
        let rings =
            self.interface.details().map(|details| details.tx.iter().filter(|tx| tx.ring.is_some()).count());
        match rings.ok().and_then(|rings| u16::try_from(rings).ok()) {
            None | Some(0) => self.interface.tx_count(),
            Some(rings) => rings,
        }
    }

    fn rx(&self, queue: u16) -> Result<Box<dyn Inlet>, ToolError> {
        Ok(Box::new(self.interface.rx(queue)?))
    }

    fn tx(&self, queue: u16) -> Result<Box<dyn Outlet>, ToolError> {
        Ok(Box::new(self.interface.tx(queue)?))
    }

    fn drops(&self) -> Drops {
        let mut drops = Drops::new();
        if let Ok(details) = self.interface.details() {
            for queue in details.rx.iter().chain(&details.tx) {
                for (reason, count) in queue.stats.drops().filter(|(_, count)| *count > 0) {
                    *drops.entry(reason.to_owned()).or_default() += count;
                }
            }
        }
        drops
    }

    fn wait_up(&self, step: Duration) -> Result<Option<String>, ToolError> {
        match self.interface.wait_up(Some(step)) {
            Ok(_) => Ok(None),
            Err(MemifError::NoLink { last, .. }) => {
                Ok(Some(last.map_or_else(|| self.waiting(), |last| last.to_string())))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn is_up(&self) -> bool {
        self.interface.is_up()
    }

    /// Waits until the peer has taken all packets, for up to [`SETTLE`]. Packets that it has not taken are lost with the link.
    fn settle(&self) {
        let began = Instant::now();
        while began.elapsed() < SETTLE && self.interface.is_up() {
            let Ok(details) = self.interface.details() else { return };
            if details
                .tx
                .iter()
                .filter_map(|queue| queue.ring)
                .all(|ring| was_taken(self.role, ring.size, ring.head, ring.tail))
            {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Reports each kind of fault once. Nothing else shows why a master refused a slave.
    fn report_faults(&self) {
        let Ok(details) = self.interface.details() else { return };
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        for (kind, _) in details.faults() {
            if reported.insert(kind) {
                note(&format!("warning: {}: a peer was refused or disconnected: {}", self.name, kind.name()));
            }
        }
    }

    fn interface(&self) -> Option<&Arc<Interface>> {
        Some(&self.interface)
    }

    fn details(&self) -> Option<Details> {
        self.interface.details().ok()
    }
}

impl Inlet for RxQueue {
    #[inline]
    fn moved(&self) -> Moved {
        let stats = self.stats();
        Moved { packets: stats.packets, bytes: stats.bytes }
    }

    fn mode(&self) -> RxMode {
        self.mode()
    }

    #[inline]
    fn as_memif(&mut self) -> Option<&mut RxQueue> {
        Some(self)
    }
}

impl Outlet for TxQueue {
    #[inline]
    fn moved(&self) -> Moved {
        let stats = self.stats();
        Moved { packets: stats.packets, bytes: stats.bytes }
    }

    #[inline]
    fn is_up(&mut self) -> bool {
        TxQueue::is_up(self)
    }

    #[inline]
    fn as_memif(&mut self) -> Option<&mut TxQueue> {
        Some(self)
    }
}

/// Whether the peer has taken all packets of a tx ring. If it is the master, its tail is then at our head; if it is the slave,
/// it has then posted all buffers again.
fn was_taken(our_role: Role, size: u32, head: u16, tail: u16) -> bool {
    let ahead = u32::from(head.wrapping_sub(tail));
    match our_role {
        Role::Slave => ahead == 0,
        Role::Master => ahead == size,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taken_packets_are_told_from_the_indices_in_both_roles() {
        let taken = |role, head, tail| was_taken(role, 1024, head, tail);
        assert!(taken(Role::Slave, 65535, 65535) && !taken(Role::Slave, 0, 65535));
        assert!(taken(Role::Master, 1000, 65512) && !taken(Role::Master, 1000, 1000));
    }
}
