//! A port as text: `KIND:…`, or the path of a memif socket.

use std::path::PathBuf;

use memif_pmd::Port as MemifSpec;

use super::packet::PacketSpec;
use super::tap::TapSpec;
use super::xdp::XdpSpec;
use crate::error::ToolError;

/// What a port's text describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Spec {
    /// A memif interface.
    Memif(MemifSpec),
    /// An interface of the kernel whose other end is this process.
    Tap(TapSpec),
    /// A network interface, shared with the kernel's stack.
    Packet(PacketSpec),
    /// A queue of a network interface.
    Xdp(XdpSpec),
    /// A capture file.
    Pcap(PathBuf),
    /// `null:`.
    Null,
}

impl Spec {
    /// Parses a port. A memif socket's path that begins like another kind of port can be written as `./tap:…`.
    ///
    /// # Errors
    /// [`ToolError::Usage`] and [`ToolError::Memif`] say what is wrong. The text of an error never has the value of a key of a
    /// memif port, which may be the secret.
    pub(crate) fn parse(text: &str) -> Result<Self, ToolError> {
        match text.split_once(':') {
            Some(("null", "")) => Ok(Self::Null),
            Some(("null", _)) => Err(ToolError::Usage("null: takes no text behind the colon".to_owned())),
            Some(("tap", text)) => Ok(Self::Tap(TapSpec::parse(text)?)),
            Some(("packet", text)) => Ok(Self::Packet(PacketSpec::parse(text)?)),
            Some(("xdp", text)) => Ok(Self::Xdp(XdpSpec::parse(text)?)),
            Some(("pcap", "")) => Err(ToolError::Usage("pcap: lacks its file: write pcap:FILE".to_owned())),
            Some(("pcap", file)) => Ok(Self::Pcap(file.into())),
            _ if text.is_empty() || text.starts_with(',') => {
                let problem = "the port has no path: write PATH[,key=value…], such as /run/memif.sock,id=3";
                Err(ToolError::Usage(problem.to_owned()))
            }
            _ => Ok(Self::Memif(text.parse()?)),
        }
    }

    /// Whether both describe the same interface or file, so that packets forwarded between them would circulate.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Memif(one), Self::Memif(other)) => {
                (one.socket(), one.id(), one.netns()) == (other.socket(), other.id(), other.netns())
            }
            (Self::Null, Self::Null) => false,
            _ => self == other,
        }
    }

    /// The memif interface that this describes; `None` for other kinds.
    pub(crate) fn memif(&self) -> Option<&MemifSpec> {
        match self {
            Self::Memif(spec) => Some(spec),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_before_the_colon_tells_the_kind() {
        let memif = |text: &str| Spec::Memif(text.parse().unwrap());
        for (text, spec) in [
            ("null:", Spec::Null),
            ("pcap:a,b:c", Spec::Pcap("a,b:c".into())),
            ("/run/m.sock,id=3", memif("/run/m.sock,id=3")),
            ("@pod:eth0", memif("@pod:eth0")),
            ("./pcap:x", memif("./pcap:x")),
        ] {
            assert_eq!(Spec::parse(text).unwrap(), spec, "{text}");
        }
        for text in ["null:x", "pcap:", "m.sock,speed=3", "", ",id=3"] {
            assert_eq!(Spec::parse(text).unwrap_err().exit_code(), 2, "{text}");
        }
    }
}
