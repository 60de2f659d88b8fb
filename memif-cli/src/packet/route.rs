//! Where test packets come from and go to.

use std::net::Ipv4Addr;

/// Addresses, the tag, and how many flows there are. All queues of a generator have flows of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// The source address; flows beyond the first 16384 have those behind it.
    pub source: Ipv4Addr,
    /// The target address.
    pub target: Ipv4Addr,
    /// The VLAN of the 802.1Q tag of Ethernet frames; `None` for frames without one.
    pub vlan: Option<u16>,
    /// Flows that packets take turns in: they differ in the UDP source port, and beyond 16384 in the source address.
    pub flows: u32,
}

impl Default for Route {
    /// Addresses of the range that RFC 2544 has for measurements, and one flow.
    fn default() -> Self {
        let (source, target) = (Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(198, 19, 0, 1));
        Self { source, target, vlan: None, flows: 1 }
    }
}
