//! Command lines of what looks at links from outside.

use clap::Args;
use memif_observe::Scope;

/// Which links.
#[derive(Clone, Debug, Args)]
pub(crate) struct ScopeArgs {
    /// The links of this socket: a path, or an abstract address that begins with @; by default all that can be found
    #[arg(value_name = "SOCKET", conflicts_with = "pid")]
    pub socket: Option<String>,
    /// The links of this process
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
}

impl ScopeArgs {
    /// For the library.
    pub(crate) fn scope(&self) -> Scope {
        Scope { pid: self.pid, socket: self.socket.clone() }
    }
}

/// `memif show`
#[derive(Clone, Debug, Args)]
pub(crate) struct ShowArgs {
    /// Which links.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Show them again each second, until Ctrl-C
    #[arg(long)]
    pub watch: bool,
    /// Print one JSON object; with --watch one a second
    #[arg(long)]
    pub json: bool,
}
