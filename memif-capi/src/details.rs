//! `memif_get_details` of 4.0: everything there is to know, packed into the caller's buffer.

use std::ptr;

use memif_pmd::{Disconnect, Role, RxMode};

use crate::abi::{Details, QUEUE_FLAG_POLLING, QueueDetails, RegionDetails};
use crate::code::Code;
use crate::conn::Conn;
use crate::raw::{Packer, text};

/// The details of a connection, their texts and arrays in `buffer`; false when those do not all fit, and are NULL from
/// the first that did not.
pub(crate) fn pack(conn: &Conn, buffer: &mut [u8]) -> Result<(Details, bool), Code> {
    let found = conn.interface()?.details()?;
    let mut packer = Packer::new(buffer);
    let regions: Vec<_> = found.regions.iter().map(|found| region(conn, found)).collect();
    let (rx, tx): (Vec<_>, Vec<_>) =
        (found.rx.iter().filter_map(queue).collect(), found.tx.iter().filter_map(queue).collect());
    let error = found.last_disconnect.as_ref().map(said).unwrap_or_default();
    let mut details = Details {
        if_name: packer.text(found.name.as_bytes()),
        inst_name: packer.text(found.app_name.as_bytes()),
        remote_if_name: packer.text(found.peer_name.as_bytes()),
        remote_inst_name: packer.text(found.peer_app_name.as_bytes()),
        id: found.id,
        secret: ptr::null_mut(),
        role: u8::from(found.role == Role::Slave),
        mode: found.mode as u8,
        socket_path: packer.text(found.socket.as_bytes()),
        regions_num: count(regions.len()),
        regions: ptr::null_mut(),
        rx_queues_num: count(rx.len()),
        tx_queues_num: count(tx.len()),
        rx_queues: ptr::null_mut(),
        tx_queues: ptr::null_mut(),
        error: packer.text(error.as_bytes()),
        link_up_down: u8::from(found.link_up),
    };
    match text(conn.secret.get()) {
        [] => {}
        secret => details.secret = packer.text(secret),
    }
    details.regions = packer.array(&regions);
    details.rx_queues = packer.array(&rx);
    details.tx_queues = packer.array(&tx);
    Ok((details, !packer.short))
}

/// Why there is no link, in the peer's words where it had some.
fn said(reason: &Disconnect) -> String {
    match reason {
        Disconnect::Peer { reason, .. } | Disconnect::Refused { reason, .. } => reason.to_string(),
        other => other.to_string(),
    }
}

pub(crate) fn count(len: usize) -> u8 {
    u8::try_from(len).unwrap_or(u8::MAX)
}

fn region(conn: &Conn, found: &memif_pmd::RegionDetails) -> RegionDetails {
    // rings are ours, in region 0
    let external = conn.external_address.filter(|_| found.index > 0);
    RegionDetails {
        index: u8::try_from(found.index).unwrap_or(u8::MAX),
        addr: external.map_or_else(|| ptr::with_exposed_provenance_mut(found.address), |at| at.0),
        size: u32::try_from(found.size).unwrap_or(u32::MAX),
        fd: found.fd.unwrap_or(-1),
        is_external: u8::from(external.is_some()),
    }
}

/// A queue that has a ring.
pub(crate) fn queue(found: &memif_pmd::QueueDetails) -> Option<QueueDetails> {
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
