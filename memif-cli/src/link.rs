//! An open port and its link.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use memif_pmd::{Disconnect, FaultKind, Interface, Role};

use crate::error::ToolError;
use crate::status::note;

/// Maximum time that a generator waits for its peer to take the packets in the rings.
const SETTLE: Duration = Duration::from_secs(2);

/// An open port.
pub(crate) struct Link {
    /// Socket and id, as status messages name it.
    name: String,
    role: Role,
    /// The interface.
    pub interface: Interface,
    /// Kinds of peer faults that have been reported.
    reported: Mutex<HashSet<FaultKind>>,
}

impl Link {
    /// The port of `interface`, on this socket.
    ///
    /// # Errors
    /// The control plane has ended.
    pub(crate) fn new(socket: &str, interface: Interface) -> Result<Self, ToolError> {
        let details = interface.details()?;
        let name = format!("{socket} id {}", details.id);
        Ok(Self { name, role: details.role, interface, reported: Mutex::default() })
    }

    /// Number of rings that the link has for sending, at least 1; without a link, the number of tx queues.
    pub(crate) fn tx_rings(&self) -> u16 {
        let rings =
            self.interface.details().map(|details| details.tx.iter().filter(|tx| tx.ring.is_some()).count());
        match rings.ok().and_then(|rings| u16::try_from(rings).ok()) {
            None | Some(0) => self.interface.tx_count(),
            Some(rings) => rings,
        }
    }

    /// The error of a link that was not up after `limit`; `last` is why the last attempt failed.
    pub(crate) fn not_up(&self, limit: Duration, last: Option<Disconnect>) -> ToolError {
        let reason = match (last, self.role) {
            (Some(last), _) => last.to_string(),
            (None, Role::Master) => "no slave has connected; start one or wait longer".to_owned(),
            (None, Role::Slave) => "the master has not answered yet; wait longer".to_owned(),
        };
        ToolError::NoLink { port: self.name.clone(), seconds: limit.as_secs_f64(), reason }
    }

    /// Reports each kind of peer fault once. The refusals of a master show nowhere else.
    pub(crate) fn report_faults(&self) {
        let Ok(details) = self.interface.details() else { return };
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        for (kind, _) in details.faults() {
            if reported.insert(kind) {
                note(&format!("warning: {}: a peer was refused or disconnected: {}", self.name, kind.name()));
            }
        }
    }

    /// Waits until the peer has taken all packets, for up to [`SETTLE`]: what it has not taken is lost with the link.
    pub(crate) fn settle(&self) {
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
}

/// Whether the receiver of a tx ring has taken all packets: a master's tail is then at our head, and a slave has posted all
/// of its buffers.
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
    fn taken_packets_show_in_both_roles() {
        let taken = |role, head, tail| was_taken(role, 1024, head, tail);
        assert!(taken(Role::Slave, 65535, 65535) && !taken(Role::Slave, 0, 65535));
        assert!(taken(Role::Master, 1000, 65512) && !taken(Role::Master, 1000, 1000));
    }
}
