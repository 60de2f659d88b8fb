//! Captures for tcpdump, tshark and Wireshark.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use memif_observe::capture::Packet;
use memif_observe::direction::Direction;
use memif_observe::frame::LinkType;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::interface_statistics::{InterfaceStatisticsBlock, InterfaceStatisticsOption};
use pcap_file::{DataLink, PcapError};

/// Units of time: 10^-9 s.
const NANOSECONDS: u8 = 9;
/// Largest packet.
const SNAPLEN: u32 = 65535;

/// A capture with one interface for each ring.
pub(crate) struct Pcapng<W: Write> {
    writer: PcapNgWriter<W>,
    /// For the number of each ring: the number of its interface, and which header its packets begin with.
    interfaces: HashMap<usize, (u32, LinkType)>,
}

impl<W: Write> Pcapng<W> {
    /// Begins a capture: writes its header.
    ///
    /// # Errors
    /// The error of the write.
    pub(crate) fn start(writer: W) -> io::Result<Self> {
        Ok(Self { writer: PcapNgWriter::new(writer).map_err(plain)?, interfaces: HashMap::new() })
    }

    /// Which header the packets of a ring begin with, guessed from its first packet.
    pub(crate) fn link_type(&self, number: usize, packet: &Packet<'_>) -> LinkType {
        let known = self.interfaces.get(&number).map(|(_, link_type)| *link_type);
        known.unwrap_or_else(|| LinkType::of(packet.bytes, packet.length))
    }

    /// Describes a ring whose link type is known, before its first packet.
    ///
    /// # Errors
    /// The error of the write.
    pub(crate) fn describe(&mut self, ring: (usize, &str, &str), link_type: LinkType) -> io::Result<()> {
        self.interface(ring, link_type).map(drop)
    }

    /// Writes at most the first `snap` bytes of a packet, and its direction.
    ///
    /// # Errors
    /// The error of the write.
    pub(crate) fn packet(
        &mut self,
        ring: (usize, &str, &str),
        direction: Option<Direction>,
        packet: &Packet<'_>,
        snap: usize,
    ) -> io::Result<()> {
        let link_type = self.link_type(ring.0, packet);
        let interface_id = self.interface(ring, link_type)?;
        // the direction as the slave sees it
        let flags = direction.map(|direction| match direction {
            Direction::M2s => 1,
            Direction::S2m => 2,
        });
        let bytes = packet.bytes.get(..snap).unwrap_or(packet.bytes);
        let block = EnhancedPacketBlock {
            interface_id,
            timestamp: packet.time,
            original_len: packet.length,
            data: Cow::Borrowed(bytes),
            options: flags.map(EnhancedPacketOption::Flags).into_iter().collect(),
        };
        self.writer.write_pcapng_block(block).map_err(plain)?;
        Ok(())
    }

    /// Writes the statistics of a ring: numbers of packets copied, missed and written.
    ///
    /// # Errors
    /// The error of the write.
    pub(crate) fn statistics(
        &mut self,
        ring: (usize, &str, &str),
        (copied, missed, written): (u64, u64, u64),
    ) -> io::Result<()> {
        // of a ring without packets that of another ring: some readers, such as tcpdump, take one link type alone
        let others = self.interfaces.values().min_by_key(|(id, _)| *id).map(|(_, link_type)| *link_type);
        let interface_id = self.interface(ring, others.unwrap_or(LinkType::Ethernet))?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let block = InterfaceStatisticsBlock {
            interface_id,
            timestamp: high_first(now),
            options: vec![
                InterfaceStatisticsOption::IsbIfRecv(copied.saturating_add(missed)),
                InterfaceStatisticsOption::IsbIfDrop(missed),
                InterfaceStatisticsOption::IsbFilterAccept(written),
            ],
        };
        self.writer.write_pcapng_block(block).map_err(plain)?;
        Ok(())
    }

    /// Flushes the output.
    ///
    /// # Errors
    /// The error of the write.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.writer.get_mut().flush()
    }

    /// The interface of a ring, which is described with its first packet.
    fn interface(
        &mut self,
        (number, name, description): (usize, &str, &str),
        link_type: LinkType,
    ) -> io::Result<u32> {
        if let Some((id, _)) = self.interfaces.get(&number) {
            return Ok(*id);
        }
        let block = InterfaceDescriptionBlock {
            linktype: match link_type {
                LinkType::Ethernet => DataLink::ETHERNET,
                LinkType::Ip => DataLink::RAW,
            },
            snaplen: SNAPLEN,
            options: vec![
                InterfaceDescriptionOption::IfName(Cow::Borrowed(name)),
                InterfaceDescriptionOption::IfDescription(Cow::Borrowed(description)),
                InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
            ],
        };
        self.writer.write_pcapng_block(block).map_err(plain)?;
        let id = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        self.interfaces.insert(number, (id, link_type));
        Ok(id)
    }
}

/// The time in the form that the library needs: it writes one 64-bit integer, while the format has two halves, the upper one first.
fn high_first(time: Duration) -> u64 {
    let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    if cfg!(target_endian = "little") { nanoseconds.rotate_left(32) } else { nanoseconds }
}

fn plain(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other),
    }
}
