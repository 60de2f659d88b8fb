//! The text of a port on the command line, and its help.

use std::fmt;

use crate::error::ToolError;
use crate::ports::Spec;

/// The syntax of ports, for the help of each command that takes one.
pub(super) const PORTS: &str = "\
Ports:
  tap:NAME[,key=value…] a TAP interface, removed at the end of the run unless it persists:
                        mtu=BYTES mac=ADDRESS ip=ADDRESS/PREFIX queues=N (1) persist
  packet:IFACE[,promiscuous]   a network interface; the kernel's stack sees its packets as well
  xdp:IFACE[,queue=N,mode=auto|copy|zero-copy]   packets of one queue (0) in place of the kernel's
                        stack, by AF_XDP
                        tap, packet and xdp: netns=PATH|NAME|PID, the interface's network namespace
  pcap:FILE             a capture, pcap or pcapng: replayed by sink and as the first port of
                        forward, written by gen and as the second port of forward (pcapng)
  null:                 discards all packets that are sent to it; none come from it
  PATH[,key=value…]     a memif interface; a path that begins with @ is an abstract address.
                        \\, is a comma in a path or a value, \\= an equals sign in a path, and
                        \\\\ a backslash (quote them for the shell)
  role=master|slave (slave)   id=N (0)         mode=ethernet|ip|punt-inject (ethernet)
  secret-file=PATH (none)     queues=N (1)     ring=ENTRIES (1024)   buffer=BYTES (2048)
  rx-queues=N tx-queues=N: queues of one way, in place of queues=N
  huge=off|prefer|require (prefer)             rx=poll|interrupt|adaptive (poll)
  netns=PATH|NAME|PID: the socket's network namespace (that of the process)
  line=64|128: the cache lines that a slave's rings are laid out for (128 on aarch64, else 64)
  layout=packed|fixed: packets that a slave sends lie one behind the other, or each in the
  buffer of its slot (packed)
  silence=MS (10000)          handshake=MS (60000): how long a peer may be silent in the
  handshake, and how long all of it may take
  secret-file= names a file with the secret; MEMIF_SECRET in the environment holds the secret of
  ports that give none. secret=TEXT works, but every user can read it in ps.";

/// The text of a port. It is not parsed by clap, whose errors repeat the text and with it the secret.
#[derive(Clone)]
pub(crate) struct PortText(String);

impl PortText {
    /// Parses the port.
    ///
    /// # Errors
    /// Those of [`Spec::parse`].
    pub(crate) fn parse(&self) -> Result<Spec, ToolError> {
        Spec::parse(&self.0)
    }
}

impl From<String> for PortText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for PortText {
    /// Hides the text, which may contain a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortText").finish_non_exhaustive()
    }
}
