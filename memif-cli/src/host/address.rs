//! The addresses of `ping` and `respond`.

use std::net::IpAddr;
use std::str::FromStr;

use smoltcp::config::IFACE_MAX_ADDR_COUNT;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};

use crate::error::ToolError;
use crate::packet::Framing;

/// The addresses of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// IP addresses with the prefix lengths of their networks: at least one, all unicast.
    pub addresses: Vec<IpCidr>,
    /// The Ethernet address; [`HardwareAddress::Ip`] in IP mode.
    pub hardware: HardwareAddress,
}

impl Identity {
    /// The addresses of a host on a port with this framing. Without `mac`, its Ethernet address is made from the first IP address,
    /// so that two hosts in one network have different ones.
    ///
    /// # Errors
    /// [`ToolError::Usage`]: none or too many addresses, or `mac` in IP mode.
    pub(crate) fn new(
        addresses: &[IpCidr],
        mac: Option<EthernetAddress>,
        framing: Framing,
    ) -> Result<Self, ToolError> {
        let Some(first) = addresses.first().filter(|_| addresses.len() <= IFACE_MAX_ADDR_COUNT) else {
            let problem =
                format!("--ip takes 1 to {IFACE_MAX_ADDR_COUNT} addresses, not {}", addresses.len());
            return Err(ToolError::Usage(problem));
        };
        let hardware = match (framing, mac) {
            (Framing::Ip, None) => HardwareAddress::Ip,
            (Framing::Ip, Some(_)) => {
                let problem =
                    "--mac is for ports with mode=ethernet: packets of mode=ip have none".to_owned();
                return Err(ToolError::Usage(problem));
            }
            (Framing::Ethernet, mac) => HardwareAddress::Ethernet(mac.unwrap_or_else(|| mac_of(first))),
        };
        Ok(Self { addresses: addresses.to_vec(), hardware })
    }

    /// Checks that `target` can be reached without a router.
    ///
    /// # Errors
    /// [`ToolError::Usage`] says why not, and which address would help.
    pub(crate) fn check_reach(&self, target: IpAddr) -> Result<(), ToolError> {
        let wanted = IpAddress::from(target);
        let family = |cidr: &&IpCidr| cidr.address().version() == wanted.version();
        let problem = if !wanted.is_unicast() {
            format!("{target} is no address of a host: ping one")
        } else if self.addresses.iter().any(|cidr| cidr.address() == wanted) {
            format!("{target} is an address of --ip: ping another host")
        } else if !self.addresses.iter().any(|cidr| family(&cidr)) {
            format!("--ip has no {} address to ping {target} from: add one", wanted.version())
        } else if self.hardware != HardwareAddress::Ip
            && !self.addresses.iter().any(|cidr| cidr.contains_addr(&wanted))
        {
            format!("{target} is in no network of --ip: give the address a shorter prefix")
        } else {
            return Ok(());
        };
        Err(ToolError::Usage(problem))
    }
}

/// A locally administered Ethernet address that ends with the last four bytes of an IP address.
fn mac_of(cidr: &IpCidr) -> EthernetAddress {
    let tail = match cidr.address() {
        IpAddress::Ipv4(address) => address.octets(),
        IpAddress::Ipv6(address) => {
            let [.., a, b, c, d] = address.octets();
            [a, b, c, d]
        }
    };
    let [a, b, c, d] = tail;
    EthernetAddress([0x02, 0x6d, a, b, c, d])
}

/// Parses `10.0.0.2/24` or `2001:db8::2/64`.
pub(crate) fn parse_address(text: &str) -> Result<IpCidr, String> {
    let cidr = IpCidr::from_str(text);
    cidr.ok().filter(|cidr| cidr.address().is_unicast()).ok_or_else(|| {
        "write the address of a host and its prefix length, such as 10.0.0.2/24 or 2001:db8::2/64".to_owned()
    })
}

/// Parses `02:00:00:00:00:01`.
pub(crate) fn parse_mac(text: &str) -> Result<EthernetAddress, String> {
    let mac = EthernetAddress::from_str(text);
    mac.ok()
        .filter(|mac| mac.is_unicast() && mac.as_bytes() != [0; 6])
        .ok_or_else(|| "write a unicast address such as 02:00:00:00:00:01".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(list: &[&str], framing: Framing) -> Result<Identity, ToolError> {
        let addresses: Vec<_> = list.iter().map(|text| parse_address(text).unwrap()).collect();
        Identity::new(&addresses, None, framing)
    }

    #[test]
    fn addresses_have_a_prefix_and_are_those_of_hosts() {
        for text in ["10.0.0.2/24", "0.0.0.1/0", "10.0.0.2/32", "2001:db8::2/64", "fe80::1/128"] {
            assert_eq!(parse_address(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "10.0.0.2",
            "10.0.0.2/",
            "10.0.0.2/33",
            "10.0.0/24",
            "224.0.0.1/8",
            "255.255.255.255/8",
            "0.0.0.0/8",
            "::/64",
            "ff02::1/64",
            "2001:db8::2/129",
            "10.0.0.2/24 ",
            "10.0.0.999/24",
            "99999999999999999999/24",
            "10.0.0.2/99999999999999999999",
        ] {
            assert!(parse_address(text).unwrap_err().contains("10.0.0.2/24"), "{text}");
        }
        assert!(parse_mac("02:00:00:00:00:01").is_ok());
        for text in ["", "01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "02:00:00:00:00", "x"]
        {
            assert!(parse_mac(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_on_one_network_have_different_hardware_addresses() {
        let mac = |text| identity(&[text], Framing::Ethernet).unwrap().hardware.to_string();
        assert_eq!(mac("10.0.0.2/24"), "02-6d-0a-00-00-02");
        assert_eq!(mac("2001:db8::a:2/24"), "02-6d-00-0a-00-02");
        assert_eq!(identity(&["10.0.0.2/24"], Framing::Ip).unwrap().hardware, HardwareAddress::Ip);
        let mac = parse_mac("02:00:00:00:00:01").ok();
        let addresses = [parse_address("10.0.0.2/24").unwrap()];
        assert!(Identity::new(&addresses, mac, Framing::Ip).unwrap_err().to_string().contains("mode=ip"));
        assert!(identity(&["10.0.0.2/24"; IFACE_MAX_ADDR_COUNT], Framing::Ip).is_ok());
        assert!(identity(&["10.0.0.2/24"; IFACE_MAX_ADDR_COUNT + 1], Framing::Ip).is_err());
        assert!(identity(&[], Framing::Ip).is_err());
    }

    #[test]
    fn targets_that_no_packet_reaches_are_refused() {
        let check = |framing, target: &str| {
            let identity = identity(&["10.0.0.1/24", "2001:db8::1/64"], framing).unwrap();
            identity.check_reach(target.parse().unwrap()).map_err(|error| error.to_string())
        };
        for target in ["10.0.0.2", "2001:db8::2"] {
            check(Framing::Ethernet, target).unwrap();
        }
        for (target, why) in [
            ("10.0.1.2", "shorter prefix"),
            ("224.0.0.1", "no address of a host"),
            ("10.0.0.1", "another host"),
        ] {
            assert!(check(Framing::Ethernet, target).unwrap_err().contains(why), "{target}");
        }
        check(Framing::Ip, "10.0.1.2").unwrap();
        let only = identity(&["10.0.0.1/24"], Framing::Ip).unwrap();
        let error = only.check_reach("2001:db8::2".parse().unwrap()).unwrap_err().to_string();
        assert!(error.contains("IPv6"), "{error}");
    }
}
