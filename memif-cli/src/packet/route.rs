//! Addresses, VLAN and flows of test packets.

use std::net::Ipv4Addr;

/// Addresses, VLAN and number of flows. Each queue of a generator has its own flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// The source address; flows beyond the first 16384 use the addresses that follow it.
    pub source: Ipv4Addr,
    /// The target address.
    pub target: Ipv4Addr,
    /// The VLAN of the 802.1Q tag of Ethernet frames; `None` for frames without one.
    pub vlan: Option<u16>,
    /// Number of flows, among which packets alternate. Flows differ in the UDP source port, and beyond 16384 in the source address.
    pub flows: u32,
}

impl Default for Route {
    /// Addresses of the range that RFC 2544 reserves for measurements, and one flow.
    fn default() -> Self {
        let (source, target) = (Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(198, 19, 0, 1));
        Self { source, target, vlan: None, flows: 1 }
    }
}
