//! The text of a `tap:` port, and creating its interface.

use std::io;
use std::net::IpAddr;

use memif_os::socket::NetNamespace;
use rustix::io::Errno;
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use crate::error::ToolError;
use crate::ports::keys::Keys;

/// The text of a `tap:` port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TapSpec {
    pub(super) name: String,
    mtu: Option<u16>,
    mac: Option<[u8; 6]>,
    ip: Vec<(IpAddr, u8)>,
    pub(super) netns: Option<NetNamespace>,
    queues: u16,
    persist: bool,
}

const KEYS: [&str; 6] = ["mtu", "mac", "ip", "netns", "queues", "persist"];

impl TapSpec {
    /// Parses `NAME[,key=value…]`.
    ///
    /// # Errors
    /// [`ToolError::Usage`] says what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, ToolError> {
        let keys = Keys::split("tap", text, &KEYS, &["ip"])?;
        let name = keys.name.to_owned();
        let mut spec =
            Self { name, mtu: None, mac: None, ip: Vec::new(), netns: None, queues: 1, persist: false };
        for (key, value) in &keys.pairs {
            match *key {
                "mtu" => spec.mtu = Some(keys.number(key, *value, 68..=u16::MAX)?),
                "mac" => {
                    let mac = value.and_then(mac_address);
                    let wrong = || keys.wrong("mac must be a unicast address such as 02:00:00:00:00:01");
                    spec.mac = Some(mac.ok_or_else(wrong)?);
                }
                "ip" => {
                    let address = value.and_then(address_and_prefix);
                    let wrong = || keys.wrong("ip must be an address and its prefix, such as 10.0.0.1/24");
                    spec.ip.push(address.ok_or_else(wrong)?);
                }
                "netns" => spec.netns = Some(keys.namespace(*value)?),
                "queues" => spec.queues = keys.number(key, *value, 1..=256)?,
                _ => spec.persist = keys.flag(key, *value)?,
            }
        }
        if spec.ip.iter().filter(|(address, _)| address.is_ipv4()).count() > 1 {
            return Err(keys.wrong("ip may be given once for IPv4, and several times for IPv6"));
        }
        Ok(spec)
    }

    /// Creates the interface, or attaches to one that persists, in the network namespace of the calling thread. Returns its
    /// queues.
    ///
    /// # Errors
    /// [`ToolError::Port`]: the interface cannot be created, or one of its properties cannot be set.
    pub(super) fn create(&self) -> Result<Vec<SyncDevice>, ToolError> {
        let mut builder = DeviceBuilder::new()
            .name(&self.name)
            .layer(Layer::L2)
            .with(|options| {
                options.offload(true).multi_queue(self.queues > 1).packet_information(false);
            })
            .inherit_enable_state();
        for (address, prefix) in &self.ip {
            if let IpAddr::V4(address) = address {
                builder = builder.ipv4(*address, *prefix, None);
            }
        }
        let failed = |error: &io::Error| self.failed(open_problem(error));
        let first = builder.build_sync().map_err(|error| failed(&error))?;
        let set = |what: &str, result: io::Result<()>| {
            result.map_err(|error| self.failed(format!("cannot set {what}: {error}")))
        };
        if let Some(mtu) = self.mtu {
            set("the MTU", first.set_mtu(mtu))?;
        }
        if let Some(mac) = self.mac {
            set("the MAC address", first.set_mac_address(mac))?;
        }
        for (address, prefix) in &self.ip {
            let IpAddr::V6(address) = address else { continue };
            match first.add_address_v6(*address, *prefix) {
                // an interface that persisted still has the address
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                result => set(&format!("the address {address}/{prefix}"), result)?,
            }
        }
        set("it up", first.enabled(true))?;
        if self.persist {
            set("it persistent", first.persist())?;
        }
        let mut queues = vec![first];
        for _ in 1..self.queues {
            let next = queues[0].try_clone().map_err(|error| failed(&error))?;
            queues.push(next);
        }
        for queue in &queues {
            set("it non-blocking", queue.set_nonblocking(true))?;
        }
        Ok(queues)
    }

    pub(super) fn failed(&self, problem: impl Into<String>) -> ToolError {
        ToolError::Port { port: format!("tap:{}", self.name), problem: problem.into() }
    }
}

/// The message for an interface that cannot be created: why, and what to do.
fn open_problem(error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::PERM | Errno::ACCESS) => {
            format!("no permission: {error}; run as root, or give the program CAP_NET_ADMIN")
        }
        Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => {
            format!(
                "/dev/net/tun cannot be used: {error}; load the module tun, or pass the device to the container"
            )
        }
        Some(Errno::BUSY) => {
            format!("another program uses the interface: {error}; stop that program, or choose another name")
        }
        Some(Errno::INVAL) => {
            format!(
                "an interface with this name is not a TAP, or has another number of queues: {error}; choose another name"
            )
        }
        _ => format!("cannot be opened: {error}"),
    }
}

fn mac_address(text: &str) -> Option<[u8; 6]> {
    let bytes: Vec<u8> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).ok().filter(|_| byte.len() == 2))
        .collect::<Option<_>>()?;
    let mac: [u8; 6] = bytes.try_into().ok()?;
    (mac[0] & 1 == 0 && mac != [0; 6]).then_some(mac)
}

fn address_and_prefix(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.parse().ok().filter(|prefix| *prefix <= longest)?;
    let is_of_a_host = !address.is_multicast() && !address.is_unspecified();
    is_of_a_host.then_some((address, prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_parsed() {
        let text = "t0,mtu=9000,mac=02:00:00:00:0a:01,ip=10.0.0.1/24,ip=fd00::1/64,netns=/proc/1/ns/net,queues=4,persist";
        let spec = TapSpec::parse(text).unwrap();
        let expected = TapSpec {
            name: "t0".into(),
            mtu: Some(9000),
            mac: Some([2, 0, 0, 0, 10, 1]),
            ip: vec![("10.0.0.1".parse().unwrap(), 24), ("fd00::1".parse().unwrap(), 64)],
            netns: Some(NetNamespace::new("/proc/1/ns/net").unwrap()),
            queues: 4,
            persist: true,
        };
        assert_eq!(spec, expected);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, problem) in [
            ("t0,mtu=67", "68 to 65535"),
            ("t0,mac=01:00:00:00:00:01", "unicast"),
            ("t0,mac=02:00:00:00:00", "unicast"),
            ("t0,mac=2:0:0:0:0:1", "unicast"),
            ("t0,ip=10.0.0.1", "10.0.0.1/24"),
            ("t0,ip=10.0.0.1/33", "10.0.0.1/24"),
            ("t0,ip=224.0.0.1/24", "10.0.0.1/24"),
            ("t0,ip=10.0.0.1/24,ip=10.0.0.2/24", "once for IPv4"),
            ("t0,netns=", "namespace"),
            ("t0,queues=0", "1 to 256"),
            ("t0,persist=yes", "takes no value"),
        ] {
            let error = TapSpec::parse(text).unwrap_err();
            assert!(error.to_string().contains(problem) && error.exit_code() == 2, "{text}: {error}");
        }
    }
}
