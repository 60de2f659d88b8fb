//! Ports as text: `PATH[,key=value…]`, as command lines and configuration files write an interface.

use std::fmt;
use std::str::FromStr;

use memif_os::huge_pages::HugePages;
use memif_ring::message::Mode;

use super::{DEFAULT_SOCKET, InterfaceBuilder, Role, RxMode};
use crate::control::Memif;
use crate::error::Error;

/// An interface as text: `PATH[,key=value…]`.
///
/// | key | value | default |
/// | --- | --- | --- |
/// | `role` | `master` or `slave` | `slave` |
/// | `id` | a number that both ends share | 0 |
/// | `mode` | `ethernet`, `ip` or `punt-inject` | `ethernet` |
/// | `secret` | up to 24 bytes, no comma | none |
/// | `queues` | queues each way, 1 to 256 | 1 |
/// | `ring` | descriptors in a ring, 2 to 16384 | 1024 |
/// | `buffer` | bytes of a buffer, 64 to 65535 | 2048 |
/// | `huge` | `off`, `prefer` or `require` | `prefer` |
/// | `rx` | `poll`, `interrupt` or `adaptive` | `poll` |
///
/// An empty path is [`DEFAULT_SOCKET`]; one that begins with `@` is an abstract address.
///
/// ```
/// use memif_pmd::{Memif, Port};
///
/// let port: Port = "@front,role=master,id=3,queues=2".parse()?;
/// let memif = Memif::start()?;
/// let interface = port.interface(&memif).open()?;
/// assert_eq!(interface.rx_count(), 2);
/// assert!("@front,quues=2".parse::<Port>().is_err());
/// # Ok::<(), memif_pmd::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    socket: String,
    role: Role,
    id: u32,
    mode: Mode,
    secret: String,
    queues: u16,
    ring: u32,
    buffer: u32,
    huge: HugePages,
    rx: RxMode,
}

const KEYS: &str = "role, id, mode, secret, queues, ring, buffer, huge and rx";

impl Port {
    /// The builder of this interface, for what a text cannot say.
    pub fn interface<'m>(&self, memif: &'m Memif) -> InterfaceBuilder<'m> {
        memif
            .interface(&self.socket)
            .role(self.role)
            .id(self.id)
            .mode(self.mode)
            .secret(&self.secret)
            .queues(self.queues)
            .ring_size(self.ring)
            .buffer_size(self.buffer)
            .huge_pages(self.huge)
            .rx_mode(self.rx)
    }

    /// The socket's path or abstract address.
    #[must_use]
    pub fn socket(&self) -> &str {
        &self.socket
    }

    /// Master or slave.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Bytes of a buffer.
    #[must_use]
    pub fn buffer_size(&self) -> u32 {
        self.buffer
    }

    /// Buffers that a slave's link uses: one for each descriptor of each ring.
    #[must_use]
    pub fn buffers(&self) -> u32 {
        (2 * u32::from(self.queues)).saturating_mul(self.ring)
    }

    /// Whether shared memory lies on huge pages.
    #[must_use]
    pub fn huge_pages(&self) -> HugePages {
        self.huge
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "role" => self.role = one_of(key, value, &[("master", Role::Master), ("slave", Role::Slave)])?,
            "id" => self.id = number(key, value)?,
            "mode" => {
                let modes =
                    [("ethernet", Mode::Ethernet), ("ip", Mode::Ip), ("punt-inject", Mode::PuntInject)];
                self.mode = one_of(key, value, &modes)?;
            }
            "secret" => value.clone_into(&mut self.secret),
            "queues" => self.queues = number(key, value)?,
            "ring" => self.ring = number(key, value)?,
            "buffer" => self.buffer = number(key, value)?,
            "huge" => {
                let pages =
                    [("off", HugePages::Off), ("prefer", HugePages::Prefer), ("require", HugePages::Require)];
                self.huge = one_of(key, value, &pages)?;
            }
            "rx" => {
                let modes = [
                    ("poll", RxMode::Polling),
                    ("interrupt", RxMode::Interrupt),
                    ("adaptive", RxMode::Adaptive),
                ];
                self.rx = one_of(key, value, &modes)?;
            }
            _ => return Err(format!("there is no key {key:?}: use {KEYS}")),
        }
        Ok(())
    }
}

fn number<T: FromStr>(key: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{key} must be a number in range, not {value:?}"))
}

fn one_of<T: Copy>(key: &str, value: &str, choices: &[(&str, T)]) -> Result<T, String> {
    choices.iter().find(|(name, _)| *name == value).map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        format!("{key} must be one of {}, not {value:?}", names.join(", "))
    })
}

impl FromStr for Port {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut parts = text.split(',');
        let socket = parts.next().filter(|path| !path.is_empty()).unwrap_or(DEFAULT_SOCKET);
        let mut port = Self {
            socket: socket.to_owned(),
            role: Role::Slave,
            id: 0,
            mode: Mode::Ethernet,
            secret: String::new(),
            queues: 1,
            ring: 1024,
            buffer: 2048,
            huge: HugePages::Prefer,
            rx: RxMode::Polling,
        };
        let failed = |problem| Error::Port { port: text.to_owned(), problem };
        let mut seen = Vec::new();
        for part in parts {
            let Some((key, value)) = part.split_once('=') else {
                return Err(failed(format!("{part:?} is not of the form key=value")));
            };
            if seen.contains(&key) {
                return Err(failed(format!("{key} is given twice")));
            }
            seen.push(key);
            port.set(key, value).map_err(failed)?;
        }
        Ok(port)
    }
}

impl fmt::Display for Port {
    /// The text with all keys but the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},role={},id={},queues={}", self.socket, self.role, self.id, self.queues)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_key_is_understood() {
        let text = "/run/x.sock,role=master,id=7,mode=ip,secret=psst,queues=3,ring=256,buffer=4096,huge=off,rx=adaptive";
        let port: Port = text.parse().unwrap();
        assert_eq!(
            port,
            Port {
                socket: "/run/x.sock".into(),
                role: Role::Master,
                id: 7,
                mode: Mode::Ip,
                secret: "psst".into(),
                queues: 3,
                ring: 256,
                buffer: 4096,
                huge: HugePages::Off,
                rx: RxMode::Adaptive,
            }
        );
    }

    #[test]
    fn defaults_are_those_of_libmemif() {
        let port: Port = "".parse().unwrap();
        assert_eq!(port.socket(), "/run/vpp/memif.sock");
        assert_eq!(
            (port.role, port.id, port.queues, port.ring, port.buffer),
            (Role::Slave, 0, 1, 1024, 2048)
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (text, hint) in [
            ("x,role=server", "master, slave"),
            ("x,speed=9", "there is no key \"speed\""),
            ("x,id=-1", "id must be a number"),
            ("x,id=4294967296", "id must be a number"),
            ("x,queues", "key=value"),
            ("x,", "key=value"),
            ("x,id=1,id=2", "twice"),
            ("x,huge=maybe", "off, prefer, require"),
        ] {
            let error = text.parse::<Port>().unwrap_err().to_string();
            assert!(error.contains(hint), "{text}: {error}");
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused(text in "[a-z@/,=0-9]{0,60}") {
            if let Ok(port) = text.parse::<Port>() {
                prop_assert!(!port.socket().is_empty());
            }
        }
    }
}
