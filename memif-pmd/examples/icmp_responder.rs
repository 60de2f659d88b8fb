//! Answers ARP requests and pings: `cargo run --release --example icmp_responder -- PORT ADDRESS`
//!
//! PORT is a socket and options of the interface, such as `/run/memif.sock,role=master`, ADDRESS the IPv4 address that it
//! answers for. Ctrl-C ends the program.

use std::net::Ipv4Addr;

use memif_pmd::{Idle, Memif, Port, Workers, ctrl_c};
use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol};
use smoltcp::wire::{Error, Icmpv4Message, Icmpv4Packet, IpProtocol, Ipv4Packet};

const MAC: EthernetAddress = EthernetAddress([2, 0xfe, 0, 0, 0, 1]);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (port, us) = args.next().zip(args.next()).ok_or("usage: icmp_responder PORT ADDRESS")?;
    let us: Ipv4Addr = us.parse()?;
    let memif = Memif::start()?;
    let interface = port.parse::<Port>()?.interface(&memif).open()?;
    Workers::new()
        .idle(Idle::Sleep { after: 10_000 })
        .anywhere((interface.rx(0)?, interface.tx(0)?), |(rx, tx), burst| {
            rx.receive(burst);
            burst.retain(|packet| answer(packet, us) == Ok(true));
            tx.send(burst);
        })
        .run_until(&ctrl_c()?)?;
    Ok(())
}

/// Turns a packet into the answer to it, in place; returns whether it asked for one.
fn answer(packet: &mut [u8], us: Ipv4Addr) -> Result<bool, Error> {
    let mut frame = EthernetFrame::new_checked(packet)?;
    let mac = frame.src_addr();
    frame.set_dst_addr(mac);
    frame.set_src_addr(MAC);
    if frame.ethertype() == EthernetProtocol::Arp {
        let mut arp = ArpPacket::new_checked(frame.payload_mut())?;
        ArpRepr::parse(&arp)?; // of Ethernet and IPv4, or an error
        let peer: [u8; 4] = arp.source_protocol_addr().try_into().map_err(|_| Error)?;
        let asks = arp.operation() == ArpOperation::Request && arp.target_protocol_addr() == us.octets();
        arp.set_operation(ArpOperation::Reply);
        arp.set_target_hardware_addr(mac.as_bytes());
        arp.set_target_protocol_addr(&peer);
        arp.set_source_hardware_addr(MAC.as_bytes());
        arp.set_source_protocol_addr(&us.octets());
        return Ok(asks);
    }
    let mut ip = Ipv4Packet::new_checked(frame.payload_mut())?;
    let (from, to, whole) = (ip.src_addr(), ip.dst_addr(), ip.frag_offset() == 0 && !ip.more_frags());
    let for_us = to == us && whole && ip.next_header() == IpProtocol::Icmp;
    ip.set_dst_addr(from); // exchanged, they leave the checksum as it is
    ip.set_src_addr(to);
    let mut icmp = Icmpv4Packet::new_checked(ip.payload_mut())?;
    let asks = for_us && icmp.msg_type() == Icmpv4Message::EchoRequest && icmp.verify_checksum();
    icmp.set_msg_type(Icmpv4Message::EchoReply);
    icmp.fill_checksum();
    Ok(asks)
}
