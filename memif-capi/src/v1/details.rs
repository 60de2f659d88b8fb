//! `memif_get_details` of 1.0: what 4.0 says, as far as 1.0 has a field for it.

use std::ptr;

use memif_pmd::Role;

use super::abi::{Details, QueueDetails};
use crate::abi;
use crate::code::Code;
use crate::conn::Conn;
use crate::details::{count, queue};
use crate::raw::{Packer, text};

/// As [`crate::details::pack`].
pub(crate) fn pack(conn: &Conn, buffer: &mut [u8]) -> Result<(Details, bool), Code> {
    let found = conn.interface()?.details()?;
    let mut packer = Packer::new(buffer);
    let rx: Vec<_> = found.rx.iter().filter_map(queue).map(narrowed).collect();
    let tx: Vec<_> = found.tx.iter().filter_map(queue).map(narrowed).collect();
    let mut details = Details {
        if_name: packer.text(found.name.as_bytes()),
        inst_name: packer.text(found.app_name.as_bytes()),
        remote_if_name: packer.text(found.peer_name.as_bytes()),
        remote_inst_name: packer.text(found.peer_app_name.as_bytes()),
        id: found.id,
        secret: ptr::null_mut(),
        role: u8::from(found.role == Role::Slave),
        mode: found.mode as u8,
        socket_filename: packer.text(found.socket.as_bytes()),
        rx_queues_num: count(rx.len()),
        tx_queues_num: count(tx.len()),
        rx_queues: ptr::null_mut(),
        tx_queues: ptr::null_mut(),
        link_up_down: u8::from(found.link_up),
    };
    match text(conn.secret.get()) {
        [] => {}
        secret => details.secret = packer.text(secret),
    }
    details.rx_queues = packer.array(&rx);
    details.tx_queues = packer.array(&tx);
    Ok((details, !packer.short))
}

fn narrowed(queue: abi::QueueDetails) -> QueueDetails {
    QueueDetails {
        // C asks for at most 255
        qid: u8::try_from(queue.qid).unwrap_or(u8::MAX),
        ring_size: queue.ring_size,
        flags: queue.flags,
        head: queue.head,
        tail: queue.tail,
        buffer_size: queue.buffer_size,
    }
}
