//! The ends of a forwarder test: one process forwards packets between two interfaces, the other one sends and receives them.

use memif_os::clock::monotonic_ns;
use memif_pmd::{Burst, HugePages, Interface, InterfaceBuilder, Memif, Port};

use crate::error::Error;
use crate::in_place::{receive_in_place, send_in_place};
use crate::pair::{End, Window};
use crate::sizes::BUFFER;
use crate::turns::{TURNS, check, measured};
use crate::work::{Found, Work};

/// Twice the buffers of two interfaces with a ring of 1024 each way.
const BUFFERS: u32 = 2 * 2 * 2 * 1024;

/// Opens an end's interfaces; those of a forwarder in place share packet memory.
///
/// # Errors
/// A port cannot be parsed or opened, or there is no memory.
pub(crate) fn open(memif: &Memif, end: &End) -> Result<Vec<Interface>, Error> {
    let in_place = matches!(end.work, Work::Forward { in_place: true, .. });
    let memory = || {
        memif
            .packet_memory()
            .buffers(BUFFERS)
            .buffer_size(BUFFER.into())
            .huge_pages(HugePages::Off)
            .allocate()
    };
    let memory = in_place.then(memory).transpose()?;
    let interfaces = end.ports.iter().map(|port| {
        let builder = port.parse::<Port>()?.interface(memif);
        let builder = memory.iter().fold(builder, InterfaceBuilder::packet_memory);
        Ok(builder.open()?)
    });
    interfaces.collect()
}

/// Sends packets on one interface and counts those that arrive on the other, on one core, both in place: only the forwarder
/// between them is measured.
///
/// # Errors
/// A link was lost, or packets were.
pub(crate) fn circulate(
    out: &Interface,
    back: &Interface,
    core: usize,
    window: Window,
    (size, burst): (usize, usize),
) -> Result<Found, Error> {
    let (mut tx, mut rx) = (out.tx(0)?, back.rx(0)?);
    let found = measured(core, window, TURNS, &mut || {
        send_in_place(&mut tx, size, burst);
        Ok(receive_in_place(&mut rx, burst))
    })?;
    check(tx.is_up() && rx.is_up(), tx.stats().dropped() + rx.stats().dropped())?;
    Ok(found)
}

/// Forwards packets, and adds up the time of the turns that did.
///
/// # Errors
/// The interfaces share no packet memory although they should.
pub(crate) fn forward(
    from: &Interface,
    to: &Interface,
    core: usize,
    window: Window,
    (burst, in_place): (usize, bool),
) -> Result<Found, Error> {
    let (mut rx, mut tx) = (from.rx(0)?, to.tx(0)?);
    let mut packets = Burst::new(burst)?;
    let (mut busy_ns, mut before) = (0, monotonic_ns());
    let mut found = measured(core, window, TURNS, &mut || {
        let passed = if in_place {
            rx.forward_to(&mut tx, burst).map_err(|error| Error::Unfit(error.to_string()))?
        } else {
            rx.receive(&mut packets);
            tx.send(&mut packets)
        };
        let now = monotonic_ns();
        if passed > 0 && before >= window.begin {
            busy_ns += now - before;
        }
        before = now;
        Ok(passed)
    })?;
    found.busy_ns = busy_ns;
    Ok(found)
}
