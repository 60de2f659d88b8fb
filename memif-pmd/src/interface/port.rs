//! Ports as text: `PATH[,key=value…]`, as command lines and configuration files describe an interface.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use memif_os::huge_pages::HugePages;
use memif_ring::layout::LineSize;
use memif_ring::message::Mode;

use super::builder::{DEFAULT_SOCKET, InterfaceBuilder};
use crate::config::{PacketLayout, Role, RxMode};
use crate::control::Memif;
use crate::error::Error;

/// An interface as text: `PATH[,key=value…]`.
///
/// | key | value | default |
/// | --- | --- | --- |
/// | `role` | `master` or `slave` | `slave` |
/// | `id` | a number, the same on both ends | 0 |
/// | `mode` | `ethernet`, `ip` or `punt-inject` | `ethernet` |
/// | `secret` | 1 to 24 bytes, no comma; every user of the machine can read it in `ps` | none |
/// | `secret-file` | path of a file with the secret, read when the interface is opened | none |
/// | `queues` | queues each way, 1 to 256 | 1 |
/// | `rx-queues`, `tx-queues` | queues of one way, in place of `queues` | those of `queues` |
/// | `ring` | descriptors of a ring, 2 to 16384 | 1024 |
/// | `line` | cache lines that a slave lays its rings out for, 64 or 128 bytes; a master finds out | 128 on aarch64, else 64 |
/// | `layout` | where a slave puts packets that it sends: `packed`, one behind the other, or `fixed`, each in the buffer of its slot | `packed` |
/// | `buffer` | bytes of a buffer, 64 to 65535 | 2048 |
/// | `huge` | `off`, `prefer` or `require` | `prefer` |
/// | `rx` | `poll`, `interrupt` or `adaptive` | `poll` |
/// | `netns` | network namespace of the socket: a path, a name of `ip netns`, or a process id | that of the process |
/// | `silence` | ms between two messages of the peer during the handshake, 1 to 3600000 | 10000 |
/// | `handshake` | ms of the whole handshake, 1 to 3600000 | 60000 |
///
/// An empty path is [`DEFAULT_SOCKET`]; one that begins with `@` is an abstract address. A path has no `=`.
///
/// `Display` writes every key but `secret`, in a form that can be parsed again. Neither `Display`, `Debug` nor errors show
/// the secret: an error names the key that is wrong, or its number, and never repeats a value.
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
#[derive(Clone, PartialEq, Eq)]
pub struct Port {
    socket: String,
    netns: Option<String>,
    role: Role,
    id: u32,
    mode: Mode,
    secret: PortSecret,
    rx_queues: u16,
    tx_queues: u16,
    ring: u32,
    line: LineSize,
    layout: PacketLayout,
    buffer: u32,
    huge: HugePages,
    rx: RxMode,
    silence_ms: u32,
    handshake_ms: u32,
}

/// Where a port's secret comes from.
#[derive(Clone, PartialEq, Eq)]
enum PortSecret {
    None,
    Text(String),
    File(PathBuf),
}

const KEYS: [&str; 17] = [
    "role",
    "id",
    "mode",
    "secret",
    "secret-file",
    "queues",
    "rx-queues",
    "tx-queues",
    "ring",
    "line",
    "layout",
    "buffer",
    "huge",
    "rx",
    "netns",
    "silence",
    "handshake",
];

impl Port {
    fn new(socket: &str) -> Self {
        Self {
            socket: socket.to_owned(),
            netns: None,
            role: Role::Slave,
            id: 0,
            mode: Mode::Ethernet,
            secret: PortSecret::None,
            rx_queues: 1,
            tx_queues: 1,
            ring: 1024,
            line: LineSize::NATIVE,
            layout: PacketLayout::Packed,
            buffer: 2048,
            huge: HugePages::Prefer,
            rx: RxMode::Polling,
            silence_ms: 10_000,
            handshake_ms: 60_000,
        }
    }

    /// The builder of this interface, for settings that the text has no key for.
    pub fn interface<'m>(&self, memif: &'m Memif) -> InterfaceBuilder<'m> {
        let builder = memif
            .interface(&self.socket)
            .role(self.role)
            .id(self.id)
            .mode(self.mode)
            .rx_queues(self.rx_queues)
            .tx_queues(self.tx_queues)
            .ring_size(self.ring)
            .line_size(self.line)
            .packet_layout(self.layout)
            .buffer_size(self.buffer)
            .huge_pages(self.huge)
            .rx_mode(self.rx)
            .silence_timeout(Duration::from_millis(self.silence_ms.into()))
            .handshake_timeout(Duration::from_millis(self.handshake_ms.into()));
        let builder = match &self.netns {
            None => builder,
            Some(namespace) => builder.netns(namespace),
        };
        match &self.secret {
            PortSecret::None => builder,
            PortSecret::Text(secret) => builder.secret(secret),
            PortSecret::File(path) => builder.secret_file(path),
        }
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

    /// What the packets are.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether the text gives a secret, or a file that holds it.
    #[must_use]
    pub fn has_secret(&self) -> bool {
        self.secret != PortSecret::None
    }

    /// Bytes of a buffer.
    #[must_use]
    pub fn buffer_size(&self) -> u32 {
        self.buffer
    }

    /// Buffers that a slave's link uses: one for each descriptor of each ring.
    #[must_use]
    pub fn buffers(&self) -> u32 {
        (u32::from(self.rx_queues) + u32::from(self.tx_queues)).saturating_mul(self.ring)
    }

    /// Whether shared memory lies on huge pages.
    #[must_use]
    pub fn huge_pages(&self) -> HugePages {
        self.huge
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "role" => self.role = value.parse().map_err(text)?,
            "id" => self.id = number(key, value, u32::MAX)?,
            "mode" => self.mode = value.parse().map_err(text)?,
            "secret" => self.set_secret(key, value, PortSecret::Text(value.to_owned()))?,
            "secret-file" => self.set_secret(key, value, PortSecret::File(value.into()))?,
            "netns" if value.is_empty() => {
                return Err("netns is empty: give it a value or leave it out".to_owned());
            }
            "netns" => self.netns = Some(value.to_owned()),
            "queues" => {
                self.rx_queues = number(key, value, u16::MAX.into())?;
                self.tx_queues = self.rx_queues;
            }
            "rx-queues" => self.rx_queues = number(key, value, u16::MAX.into())?,
            "tx-queues" => self.tx_queues = number(key, value, u16::MAX.into())?,
            "ring" => self.ring = number(key, value, u32::MAX)?,
            "line" => self.line = value.parse().map_err(text)?,
            "layout" => self.layout = value.parse().map_err(text)?,
            "buffer" => self.buffer = number(key, value, u32::MAX)?,
            "huge" => self.huge = value.parse().map_err(text)?,
            "rx" => self.rx = value.parse().map_err(text)?,
            "silence" => self.silence_ms = number(key, value, u32::MAX)?,
            "handshake" => self.handshake_ms = number(key, value, u32::MAX)?,
            _ => {}
        }
        Ok(())
    }

    fn set_secret(&mut self, key: &str, value: &str, secret: PortSecret) -> Result<(), String> {
        if value.is_empty() {
            return Err(format!("{key} is empty: give it a value or leave it out"));
        }
        if self.has_secret() {
            return Err("secret and secret-file exclude each other: give one of them".to_owned());
        }
        self.secret = secret;
        Ok(())
    }
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

fn number<T: TryFrom<u32>>(key: &str, value: &str, max: u32) -> Result<T, String> {
    let number = value.parse::<u32>().ok().and_then(|number| number.try_into().ok());
    number.ok_or_else(|| format!("{key} must be a number from 0 to {max}"))
}

impl FromStr for Port {
    type Err = Error;

    /// # Errors
    /// [`Error::Port`] for a text that is not of the form above. Ranges are checked when the interface is opened.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut parts = text.split(',');
        let socket = parts.next().filter(|path| !path.is_empty()).unwrap_or(DEFAULT_SOCKET);
        // it may be a key, and its value a secret
        if socket.contains('=') {
            let problem =
                "its path contains '=': begin with the path, and separate keys by commas".to_owned();
            return Err(Error::Port { socket: "…".to_owned(), problem });
        }
        let mut port = Self::new(socket);
        let failed = |problem| Error::Port { socket: socket.to_owned(), problem };
        let mut seen = Vec::new();
        for (number, part) in (1..).zip(parts) {
            let (key, value) = key_and_value(number, part).map_err(failed)?;
            if seen.contains(&key) {
                return Err(failed(format!("{key} is given twice")));
            }
            let of_queues = |key: &str| key.ends_with("queues");
            if of_queues(key)
                && seen.iter().any(|other| of_queues(other) && (*other == "queues" || key == "queues"))
            {
                let problem = "queues stands for rx-queues and tx-queues: give it, or one or both of them";
                return Err(failed(problem.to_owned()));
            }
            seen.push(key);
            port.set(key, value).map_err(failed)?;
        }
        Ok(port)
    }
}

/// Splits the `number`th part behind the path. Errors do not repeat it: a mistyped key may precede a secret.
fn key_and_value(number: usize, part: &str) -> Result<(&str, &str), String> {
    let Some((key, value)) = part.split_once('=') else {
        return Err(format!("part {number} behind the path is not of the form key=value"));
    };
    if KEYS.contains(&key) {
        return Ok((key, value));
    }
    Err(format!("part {number} behind the path has an unknown key: use {}", KEYS.join(", ")))
}

impl fmt::Display for Port {
    /// The text with every key but `secret`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            socket,
            role,
            id,
            mode,
            secret,
            rx_queues,
            tx_queues,
            ring,
            line,
            layout,
            buffer,
            huge,
            rx,
            ..
        } = self;
        let (silence, handshake) = (self.silence_ms, self.handshake_ms);
        write!(f, "{socket},role={role},id={id},mode={mode},")?;
        if let Some(namespace) = &self.netns {
            write!(f, "netns={namespace},")?;
        }
        if let PortSecret::File(path) = secret {
            write!(f, "secret-file={},", path.display())?;
        }
        write!(f, "rx-queues={rx_queues},tx-queues={tx_queues},")?;
        write!(f, "ring={ring},line={line},layout={layout},buffer={buffer},huge={huge},")?;
        write!(f, "rx={rx},silence={silence},handshake={handshake}")
    }
}

impl fmt::Debug for Port {
    /// As `Display`, with a sign that there is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = if matches!(self.secret, PortSecret::Text(_)) { ",secret=…" } else { "" };
        write!(f, "Port({self}{secret})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: &str = "hush-hush";

    #[test]
    fn every_key_is_read() {
        let text = "/run/x.sock,role=master,id=7,mode=ip,secret=psst,queues=3,ring=256,line=128,layout=fixed,buffer=4096,\
                    huge=off,rx=adaptive,silence=700,handshake=9000,netns=/run/netns/a";
        let port: Port = text.parse().unwrap();
        let expected = Port {
            socket: "/run/x.sock".into(),
            netns: Some("/run/netns/a".into()),
            role: Role::Master,
            id: 7,
            mode: Mode::Ip,
            secret: PortSecret::Text("psst".into()),
            rx_queues: 3,
            tx_queues: 3,
            ring: 256,
            line: LineSize::Bytes128,
            layout: PacketLayout::Fixed,
            buffer: 4096,
            huge: HugePages::Off,
            rx: RxMode::Adaptive,
            silence_ms: 700,
            handshake_ms: 9000,
        };
        assert_eq!(port, expected);
        let port: Port = "x,rx-queues=2".parse().unwrap();
        assert_eq!((port.rx_queues, port.tx_queues, port.buffers()), (2, 1, 3 * 1024));
        let port: Port = "x,tx-queues=4,rx-queues=3".parse().unwrap();
        assert_eq!((port.rx_queues, port.tx_queues), (3, 4));
        let port: Port = "x,secret-file=/etc/memif.secret".parse().unwrap();
        assert!(port.secret == PortSecret::File("/etc/memif.secret".into()) && port.has_secret());
    }

    #[test]
    fn defaults_are_those_of_libmemif() {
        let port: Port = "".parse().unwrap();
        assert_eq!(port, Port::new("/run/vpp/memif.sock"));
        assert_eq!(
            (port.role, port.id, port.rx_queues, port.ring, port.buffer),
            (Role::Slave, 0, 1, 1024, 2048)
        );
        assert!(!port.has_secret());
    }

    #[test]
    fn errors_name_the_socket_and_what_is_wrong() {
        for (text, hint) in [
            ("x,role=server", "master or slave"),
            ("x,id=1,speed=9", "part 2 behind the path has an unknown key: use role, id"),
            ("x,id=-1", "id must be a number from 0 to 4294967295"),
            ("x,id=4294967296", "id must be a number"),
            ("x,queues=65536", "queues must be a number from 0 to 65535"),
            ("x,queues", "key=value"),
            ("x,queues=2,rx-queues=3", "queues stands for"),
            ("x,tx-queues=2,queues=3", "queues stands for"),
            ("x,", "key=value"),
            ("x,id=1,id=2", "id is given twice"),
            ("x,line=96", "use 64 or 128"),
            ("x,layout=dense", "use packed or fixed"),
            ("x,huge=maybe", "off, prefer or require"),
            ("x,netns=", "netns is empty"),
            ("x,secret=", "secret is empty"),
            ("x,secret-file=", "secret-file is empty"),
            ("x,secret=a,secret-file=b", "exclude each other"),
        ] {
            let error = text.parse::<Port>().unwrap_err().to_string();
            assert!(error.starts_with("port \"x\": ") && error.contains(hint), "{text}: {error}");
        }
        let error = "role=master".parse::<Port>().unwrap_err().to_string();
        assert!(error.contains("begin with the path"), "{error}");
    }

    #[test]
    fn a_mistake_anywhere_never_shows_the_secret() {
        for text in [
            "x,secert=hush-hush",
            "x,secret:hush-hush",
            "x,secrethush-hush",
            "x,hush-hush",
            "x,role=master;secret=hush-hush",
            "x,secret=a,hush-hush",
            "x,secret=hush-hush,secret=hush-hush",
            "x,secret=hush-hush,secret-file=hush-hush",
            "x;secret=hush-hush",
            "secret=hush-hush",
            "x,id=hush-hush",
            "x,hush-hush=secret",
        ] {
            let error = text.parse::<Port>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains(SECRET), "{text}: {error:?}");
        }
        let port: Port = "x,secret=hush-hush".parse().unwrap();
        assert!(!format!("{port} {port:?} {port:#?}").contains(SECRET), "{port:?}");
    }

    fn port() -> impl Strategy<Value = Port> {
        let role = prop::sample::select(vec![Role::Master, Role::Slave]);
        let mode = prop::sample::select(&Mode::ALL[..]);
        let line = prop::sample::select(&LineSize::ALL[..]);
        let layout = prop::sample::select(&PacketLayout::ALL[..]);
        let huge = prop::sample::select(&HugePages::ALL[..]);
        let rx = prop::sample::select(vec![RxMode::Polling, RxMode::Interrupt, RxMode::Adaptive]);
        let secret = prop::option::of((any::<bool>(), "[^,]{1,24}"));
        let numbers =
            (any::<u32>(), any::<(u16, u16)>(), any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>());
        let netns = prop::option::of("[^,]{1,24}");
        ("[^,=]{1,100}", netns, role, mode, secret, (line, layout, huge), rx, numbers).prop_map(
            |(socket, netns, role, mode, secret, (line, layout, huge), rx, numbers)| {
                let (id, (rx_queues, tx_queues), ring, buffer, silence_ms, handshake_ms) = numbers;
                Port {
                    socket,
                    netns,
                    role,
                    id,
                    mode,
                    secret: match secret {
                        None => PortSecret::None,
                        Some((true, secret)) => PortSecret::Text(secret),
                        Some((false, path)) => PortSecret::File(path.into()),
                    },
                    rx_queues,
                    tx_queues,
                    ring,
                    line,
                    layout,
                    buffer,
                    huge,
                    rx,
                    silence_ms,
                    handshake_ms,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(port in port()) {
            let read: Port = port.to_string().parse().unwrap();
            let secret = match &port.secret {
                PortSecret::Text(_) => PortSecret::None,
                other => other.clone(),
            };
            prop_assert_eq!(read, Port { secret, ..port });
        }

        #[test]
        fn any_text_is_taken_or_refused(text in "[a-z@/,=0-9]{0,60}") {
            match text.parse::<Port>() {
                Ok(port) => prop_assert!(!port.socket().is_empty()),
                Err(error) => prop_assert!(error.to_string().starts_with("port ")),
            }
        }
    }
}
