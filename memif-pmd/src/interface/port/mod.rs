//! Ports as text: `PATH[,key=value…]`, as command lines and configuration files describe an interface.

mod escape;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use memif_os::huge_pages::HugePages;
use memif_ring::layout::LineSize;
use memif_ring::message::Mode;

use self::escape::{cut, escaped, unescaped};
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
/// | `secret` | 1 to 24 bytes; every user of the machine can read it in `ps` | none |
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
/// An empty path is [`DEFAULT_SOCKET`]; one that begins with `@` is an abstract address. In a path and in values, `\,` stands
/// for a comma and `\\` for a backslash, and in a path `\=` for an equals sign; a backslash before any other character stands
/// for itself.
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

    /// The interface's number on its socket.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The network namespace of the socket, as it was written; `None` for that of the process.
    #[must_use]
    pub fn netns(&self) -> Option<&str> {
        self.netns.as_deref()
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
        let (socket, mut rest) = cut(text, ',');
        // it may be a key, and its value a secret
        if cut(socket, '=').1.is_some() {
            let problem = "its path contains '=': begin with the path, and separate keys by commas; \
                           in a path write \\= for it"
                .to_owned();
            return Err(Error::Port { socket: "…".to_owned(), problem });
        }
        let socket = if socket.is_empty() { DEFAULT_SOCKET.to_owned() } else { unescaped(socket) };
        let mut port = Self::new(&socket);
        let failed = |problem| Error::Port { socket: socket.clone(), problem };
        let mut seen = Vec::new();
        for number in 1.. {
            let Some(text) = rest else { break };
            let (part, behind) = cut(text, ',');
            rest = behind;
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
            port.set(key, &unescaped(value)).map_err(failed)?;
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
        let socket = escaped(&self.socket);
        let Self {
            role, id, mode, secret, rx_queues, tx_queues, ring, line, layout, buffer, huge, rx, ..
        } = self;
        let (silence, handshake) = (self.silence_ms, self.handshake_ms);
        write!(f, "{socket},role={role},id={id},mode={mode},")?;
        if let Some(namespace) = &self.netns {
            write!(f, "netns={},", escaped(namespace))?;
        }
        if let PortSecret::File(path) = secret {
            write!(f, "secret-file={},", escaped(&path.to_string_lossy()))?;
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
mod tests;
