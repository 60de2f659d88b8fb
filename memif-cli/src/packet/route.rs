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
        let version =
            if source.or(target).is_some_and(|given| given.is_ipv6()) { Version::V6 } else { Version::V4 };
        let (default_source, default_target) = Self::of(version).pair();
        match (source.unwrap_or(default_source), target.unwrap_or(default_target)) {
            (IpAddr::V4(source), IpAddr::V4(target)) => Some(Self::V4 { source, target }),
            (IpAddr::V6(source), IpAddr::V6(target)) => Some(Self::V6 { source, target }),
            _ => None,
        }
    }

    /// The addresses of a version of IP by default.
    pub(crate) fn of(version: Version) -> Self {
        match version {
            Version::V4 => Self::V4 { source: SOURCE_V4, target: TARGET_V4 },
            Version::V6 => Self::V6 { source: SOURCE_V6, target: TARGET_V6 },
        }
    }

    fn pair(self) -> (IpAddr, IpAddr) {
        match self {
            Self::V4 { source, target } => (source.into(), target.into()),
            Self::V6 { source, target } => (source.into(), target.into()),
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
        Self { addresses: Addresses::of(Version::V4), vlan: None, flows: 1 }
    }
}
