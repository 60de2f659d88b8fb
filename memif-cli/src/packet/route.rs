//! Addresses, VLAN and flows of test packets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::layout::Version;

/// The source address of IPv4 packets by default, of the range that RFC 2544 reserves for measurements.
pub(crate) const SOURCE_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The target address of IPv4 packets by default.
pub(crate) const TARGET_V4: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 1);
/// The source address of IPv6 packets by default, of the range that RFC 5180 reserves for measurements.
pub(crate) const SOURCE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 1);
/// The target address of IPv6 packets by default.
pub(crate) const TARGET_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 1, 0, 0, 0, 1);

/// Source and target of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addresses {
    V4 { source: Ipv4Addr, target: Ipv4Addr },
    V6 { source: Ipv6Addr, target: Ipv6Addr },
}

impl Addresses {
    /// These addresses, and for one that is not given the default. `None` when one is IPv4 and the other IPv6.
    pub(crate) fn new(source: Option<IpAddr>, target: Option<IpAddr>) -> Option<Self> {
        match (source, target) {
            (None, None) => Some(Self::V4 { source: SOURCE_V4, target: TARGET_V4 }),
            (Some(IpAddr::V4(source)), None) => Some(Self::V4 { source, target: TARGET_V4 }),
            (None, Some(IpAddr::V4(target))) => Some(Self::V4 { source: SOURCE_V4, target }),
            (Some(IpAddr::V4(source)), Some(IpAddr::V4(target))) => Some(Self::V4 { source, target }),
            (Some(IpAddr::V6(source)), None) => Some(Self::V6 { source, target: TARGET_V6 }),
            (None, Some(IpAddr::V6(target))) => Some(Self::V6 { source: SOURCE_V6, target }),
            (Some(IpAddr::V6(source)), Some(IpAddr::V6(target))) => Some(Self::V6 { source, target }),
            _ => None,
        }
    }

    /// The version of IP.
    pub(crate) fn version(self) -> Version {
        match self {
            Self::V4 { .. } => Version::V4,
            Self::V6 { .. } => Version::V6,
        }
    }
}

/// Addresses, VLAN and number of flows. Each queue of a generator has its own flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// The addresses; flows beyond the first 16384 use the source addresses that follow it.
    pub addresses: Addresses,
    /// The VLAN of the 802.1Q tag of Ethernet frames; `None` for frames without one.
    pub vlan: Option<u16>,
    /// Number of flows, among which packets alternate. Flows differ in the UDP source port, and beyond 16384 in the source address.
    pub flows: u32,
}

impl Default for Route {
    /// IPv4, and one flow.
    fn default() -> Self {
        let addresses = Addresses::V4 { source: SOURCE_V4, target: TARGET_V4 };
        Self { addresses, vlan: None, flows: 1 }
    }
}
