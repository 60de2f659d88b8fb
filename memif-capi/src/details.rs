//! `memif_get_details`: everything there is to know of an interface, packed into the program's buffer.

use std::ptr;

use memif_pmd::{Disconnect, Role, RxMode};

use crate::abi::{QUEUE_FLAG_POLLING, QueueDetails, RegionDetails};
use crate::code::Code;
use crate::conn::Conn;
use crate::memory::{Packer, text};

/// Details whose texts and arrays are in the program's buffer; NULL from the first that did not fit.
pub(crate) struct Packed<Q> {
    pub(crate) if_name: *mut u8,
    pub(crate) inst_name: *mut u8,
    pub(crate) remote_if_name: *mut u8,
    pub(crate) remote_inst_name: *mut u8,
    pub(crate) id: u32,
    pub(crate) secret: *mut u8,
    pub(crate) role: u8,
    pub(crate) mode: u8,
    pub(crate) socket: *mut u8,
    pub(crate) regions_num: u8,
    pub(crate) regions: *mut RegionDetails,
    pub(crate) rx_queues_num: u8,
    pub(crate) tx_queues_num: u8,
    pub(crate) rx_queues: *mut Q,
    pub(crate) tx_queues: *mut Q,
    pub(crate) error: *mut u8,
    pub(crate) link_up_down: u8,
}

/// Packs the details of a connection, those of regions and the last error only where they are wanted.
///
/// # Errors
/// [`Code::NoConn`]: it is being deleted.
pub(crate) fn pack<Q: Copy + From<QueueDetails>>(
    conn: &Conn,
    with_regions: bool,
    packer: &mut Packer<'_>,
) -> Result<Packed<Q>, Code> {
    let found = conn.interface().details()?;
    let mut packed = Packed {
        if_name: packer.text(found.name.as_bytes()),
        inst_name: packer.text(found.app_name.as_bytes()),
        remote_if_name: packer.text(found.peer_name.as_bytes()),
        remote_inst_name: packer.text(found.peer_app_name.as_bytes()),
        id: found.id,
        secret: ptr::null_mut(),
        role: u8::from(found.role == Role::Slave),
        mode: found.mode as u8,
        socket: packer.text(found.socket.as_bytes()),
        regions_num: 0,
        regions: ptr::null_mut(),
        rx_queues_num: 0,
        tx_queues_num: 0,
        rx_queues: ptr::null_mut(),
        tx_queues: ptr::null_mut(),
        error: ptr::null_mut(),
        link_up_down: u8::from(found.link_up),
    };
    match text(&conn.secret()) {
        [] => {}
        secret => packed.secret = packer.text(secret),
    }
    if with_regions {
        let reason = found.last_disconnect.as_ref().map(reason).unwrap_or_default();
        packed.error = packer.text(reason.as_bytes());
        let regions: Vec<_> = found.regions.iter().map(|found| region(conn, found)).collect();
        (packed.regions_num, packed.regions) = (count(regions.len()), packer.array(&regions));
    }
    let (rx, tx) = (queues::<Q>(&found.rx), queues::<Q>(&found.tx));
    (packed.rx_queues_num, packed.rx_queues) = (count(rx.len()), packer.array(&rx));
    (packed.tx_queues_num, packed.tx_queues) = (count(tx.len()), packer.array(&tx));
    Ok(packed)
}

/// Why there is no link, in the peer's words where it had some.
fn reason(reason: &Disconnect) -> String {
    match reason {
        Disconnect::Peer { reason, .. } | Disconnect::Refused { reason, .. } => reason.to_string(),
        other => other.to_string(),
    }
}

fn count(len: usize) -> u8 {
    u8::try_from(len).unwrap_or(u8::MAX)
}

fn region(conn: &Conn, found: &memif_pmd::RegionDetails) -> RegionDetails {
    // rings are ours, in region 0
    let external = conn.external_address(found.address).filter(|_| found.index > 0);
    RegionDetails {
        index: u8::try_from(found.index).unwrap_or(u8::MAX),
        addr: external.unwrap_or_else(|| ptr::with_exposed_provenance_mut(found.address)),
        size: u32::try_from(found.size).unwrap_or(u32::MAX),
        fd: found.fd.unwrap_or(-1),
        is_external: u8::from(external.is_some()),
    }
}

/// The queues that have a ring.
fn queues<Q: From<QueueDetails>>(found: &[memif_pmd::QueueDetails]) -> Vec<Q> {
    found.iter().filter_map(queue).map(Q::from).collect()
}

fn queue(found: &memif_pmd::QueueDetails) -> Option<QueueDetails> {
    let ring = found.ring?;
    Some(QueueDetails {
        region: u8::try_from(ring.region).unwrap_or(u8::MAX),
        qid: found.index,
        ring_size: ring.size,
        flags: if found.rx_mode == RxMode::Interrupt { 0 } else { QUEUE_FLAG_POLLING },
        head: ring.head,
        tail: ring.tail,
        buffer_size: u16::try_from(ring.buffer_size).unwrap_or(u16::MAX),
    })
}
