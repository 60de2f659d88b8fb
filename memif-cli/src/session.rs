//! The control plane of a command: opening ports and waiting for their links.

use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use memif_pmd::{Error as MemifError, InterfaceBuilder, Memif, Port, Role, Stop, ctrl_c};

use crate::error::ToolError;
use crate::link::Link;
use crate::status::Notes;

/// Interval at which the main thread polls.
pub(crate) const STEP: Duration = Duration::from_millis(20);
/// The environment variable with the secret of ports that give none.
pub(crate) const SECRET: &str = "MEMIF_SECRET";

/// The control plane, and what ends the run.
pub(crate) struct Session {
    memif: Memif,
    /// Raised by SIGINT, SIGTERM and SIGHUP.
    signal: Stop,
    /// Raised when the run is complete.
    pub stop: Stop,
    quiet: bool,
}

impl Session {
    /// Starts the control plane. `quiet` suppresses status messages.
    ///
    /// # Errors
    /// The kernel refuses a thread, a descriptor or a signal handler.
    pub(crate) fn start(quiet: bool) -> Result<Self, ToolError> {
        Ok(Self { signal: ctrl_c()?, memif: Memif::start()?, stop: Stop::new()?, quiet })
    }

    /// Opens the interface that a port describes.
    ///
    /// # Errors
    /// A number out of range, a socket that cannot be used, no memory.
    pub(crate) fn open(&self, port: &Port) -> Result<Link, ToolError> {
        self.open_with(port.socket(), self.builder(port)?)
    }

    /// Opens two slaves with their buffers in one memory, large enough for each to reconnect while the other one continues.
    ///
    /// # Errors
    /// As [`Session::open`]; ports that cannot share memory.
    pub(crate) fn open_sharing(&self, left: &Port, right: &Port) -> Result<(Link, Link), ToolError> {
        if let Some(port) = [left, right].into_iter().find(|port| port.role() == Role::Master) {
            let problem = format!("--zero-copy needs two slaves, and {} is a master", port.socket());
            return Err(ToolError::Usage(problem));
        }
        let (ours, theirs) = (left.buffer_size(), right.buffer_size());
        if ours != theirs {
            let problem = format!(
                "the ports have buffers of {ours} and {theirs} bytes: give both the same buffer=BYTES"
            );
            return Err(ToolError::Usage(problem));
        }
        let buffers = left.buffers().saturating_add(right.buffers()).saturating_mul(2);
        let memory = self.memif.packet_memory().buffers(buffers).buffer_size(ours);
        let memory = memory.huge_pages(left.huge_pages()).allocate()?;
        let open = |port: &Port| self.open_with(port.socket(), self.builder(port)?.packet_memory(&memory));
        Ok((open(left)?, open(right)?))
    }

    /// The port's interface. A port without a secret takes that of the environment.
    fn builder(&self, port: &Port) -> Result<InterfaceBuilder<'_>, ToolError> {
        let builder = port.interface(&self.memif);
        match std::env::var_os(SECRET) {
            Some(secret) if secret.is_empty() => {
                Err(ToolError::Usage(format!("{SECRET} is empty: unset it")))
            }
            Some(secret) if !port.has_secret() => Ok(builder.secret(secret.as_bytes())),
            _ => Ok(builder),
        }
    }

    /// Opens a master interface on a socket file.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub(crate) fn open_master(&self, socket: &str, id: u32) -> Result<Link, ToolError> {
        self.open_with(socket, self.memif.interface(socket).master().id(id))
    }

    fn open_with(&self, socket: &str, builder: InterfaceBuilder<'_>) -> Result<Link, ToolError> {
        let notes = Notes::new(socket, &self.stop);
        let builder = if self.quiet { builder } else { builder.on_event(move |event| notes.report(event)) };
        Link::new(socket, builder.open()?)
    }

    /// Whether the run is complete, or was interrupted.
    pub(crate) fn is_over(&self) -> bool {
        self.stop.is_stopped() || self.signal.is_stopped()
    }

    /// Waits until all links are up. False if the run was interrupted before.
    ///
    /// # Errors
    /// A link was not up within `limit`.
    pub(crate) fn wait_up(&self, links: &[&Link], limit: Option<Duration>) -> Result<bool, ToolError> {
        let began = Instant::now();
        for link in links {
            while let Err(error) = link.interface.wait_up(Some(STEP)) {
                let MemifError::NoLink { last, .. } = error else { return Err(error.into()) };
                self.report_faults(link);
                if self.is_over() {
                    return Ok(false);
                }
                if let Some(limit) = limit.filter(|limit| began.elapsed() >= *limit) {
                    return Err(link.not_up(limit, last));
                }
            }
        }
        Ok(true)
    }

    /// Reports faults of the link's peer, unless status messages are suppressed.
    pub(crate) fn report_faults(&self, link: &Link) {
        if !self.quiet {
            link.report_faults();
        }
    }
}
