//! What every command needs to move packets: opening ports, waiting for their links, and signals.

use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use memif_metrics::Metrics;
use memif_pmd::{InterfaceBuilder, Memif, Port as MemifSpec, Role, Stop, ctrl_c};

use crate::error::ToolError;
use crate::packet::Framing;
use crate::ports::memif::MemifPort;
use crate::ports::{NullPort, PacketPort, Port, ReplayPort, Spec, TapPort, Timing, WrittenPort, XdpPort};
use crate::serve::Server;
use crate::status::{Notes, Voice, note};

/// Interval in which the main thread checks ports and signals.
pub(crate) const STEP: Duration = Duration::from_millis(20);
/// The environment variable with the secret for ports whose text has none.
pub(crate) const SECRET: &str = "MEMIF_SECRET";

/// What a command does with a port `pcap:FILE`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CaptureUse {
    /// Replays the file.
    Replay(Timing),
    /// Writes the file, with packets that begin with this header.
    Write(Framing),
    /// Refuses such a port.
    None,
}

/// The control plane, and the two flags that end a run.
pub(crate) struct Session {
    memif: Arc<Memif>,
    /// Raised by SIGINT, SIGTERM and SIGHUP.
    pub signal: Stop,
    /// Raised when the run is complete.
    pub stop: Stop,
    voice: Voice,
}

impl Session {
    /// Starts the control plane. `voice` says which status messages about links are printed.
    ///
    /// # Errors
    /// The kernel refuses a thread, a file descriptor or a signal handler.
    pub(crate) fn start(voice: Voice) -> Result<Self, ToolError> {
        Ok(Self { signal: ctrl_c()?, memif: Arc::new(Memif::start()?), stop: Stop::new()?, voice })
    }

    /// Opens a port.
    ///
    /// # Errors
    /// A value out of range, a socket, file or interface that cannot be used, or no memory.
    pub(crate) fn open(&self, spec: &Spec, captures: CaptureUse) -> Result<Box<dyn Port>, ToolError> {
        Ok(match (spec, captures) {
            (Spec::Memif(spec), _) => Box::new(self.open_with(spec.socket(), self.builder(spec)?)?),
            (Spec::Tap(spec), _) => Box::new(TapPort::open(spec)?),
            (Spec::Packet(spec), _) => Box::new(PacketPort::open(spec)?),
            (Spec::Xdp(spec), _) => Box::new(XdpPort::open(spec)?),
            (Spec::Null, _) => Box::new(NullPort),
            (Spec::Pcap(path), CaptureUse::Replay(timing)) => Box::new(ReplayPort::open(path, timing)?),
            (Spec::Pcap(path), CaptureUse::Write(framing)) => Box::new(WrittenPort::create(path, framing)?),
            (Spec::Pcap(_), CaptureUse::None) => {
                let problem = "pcap:FILE is for forward, sink and gen: other commands answer packets, which a capture cannot receive";
                return Err(ToolError::Usage(problem.to_owned()));
            }
        })
    }

    /// Opens two slaves whose buffers are in one shared memory. It is large enough for either to reconnect while the other one
    /// continues.
    ///
    /// # Errors
    /// Those of [`Session::open`]; [`ToolError::Usage`]: the ports cannot share memory.
    pub(crate) fn open_sharing(&self, left: &Spec, right: &Spec) -> Result<[Box<dyn Port>; 2], ToolError> {
        let (Some(left), Some(right)) = (left.memif(), right.memif()) else {
            return Err(ToolError::Usage("--zero-copy needs two memif ports".to_owned()));
        };
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
        let open =
            |port: &MemifSpec| self.open_with(port.socket(), self.builder(port)?.packet_memory(&memory));
        Ok([Box::new(open(left)?), Box::new(open(right)?)])
    }

    /// The builder of a port's interface. If the port's text has no secret, the one in the environment is used.
    fn builder(&self, port: &MemifSpec) -> Result<InterfaceBuilder<'_>, ToolError> {
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
    /// Those of [`Session::open`].
    pub(crate) fn open_master(&self, socket: &str) -> Result<MemifPort, ToolError> {
        self.open_with(socket, self.memif.interface(socket).master())
    }

    fn open_with(&self, socket: &str, builder: InterfaceBuilder<'_>) -> Result<MemifPort, ToolError> {
        let notes = Arc::new(Notes::new(socket, self.voice, &self.stop));
        let heard = Arc::clone(&notes);
        MemifPort::new(socket, builder.on_event(move |event| heard.report(event)).open()?, notes)
    }

    /// Serves the counters of the memif interfaces among these ports over HTTP, until the server is dropped.
    ///
    /// # Errors
    /// Those of [`Server::start`].
    pub(crate) fn serve(&self, address: SocketAddr, ports: &[&dyn Port]) -> Result<Server, ToolError> {
        let metrics = Metrics::new(&self.memif);
        ports.iter().filter_map(|port| port.interface()).for_each(|interface| metrics.add(interface));
        let server = Server::start(address, move || {
            let mut text = String::new();
            let _ = metrics.encode(&mut text); // writing to a string cannot fail
            text
        })?;
        note(&format!("metrics at {}", server.url()));
        Ok(server)
    }

    /// Whether the run is complete, or was interrupted.
    pub(crate) fn is_over(&self) -> bool {
        self.stop.is_stopped() || self.signal.is_stopped()
    }

    /// Waits until packets can pass all ports. Returns false if the run was interrupted before that.
    ///
    /// # Errors
    /// [`ToolError::NoLink`]: packets could not pass within `limit`. The error of a port that has ended.
    pub(crate) fn wait_up(&self, ports: &[&dyn Port], limit: Option<Duration>) -> Result<bool, ToolError> {
        self.wait_up_while(ports, limit, || Ok(()))
    }

    /// Waits like [`Session::wait_up`], and calls `check` at regular intervals. If `check` returns an error, the wait ends with it.
    ///
    /// # Errors
    /// Those of [`Session::wait_up`] and of `check`.
    pub(crate) fn wait_up_while(
        &self,
        ports: &[&dyn Port],
        limit: Option<Duration>,
        mut check: impl FnMut() -> Result<(), ToolError>,
    ) -> Result<bool, ToolError> {
        let began = Instant::now();
        for port in ports {
            while let Some(reason) = port.wait_up(STEP)? {
                self.report_faults(*port);
                ports.iter().try_for_each(|port| port.check())?;
                check()?;
                if self.is_over() {
                    return Ok(false);
                }
                if let Some(limit) = limit.filter(|limit| began.elapsed() >= *limit) {
                    let (port, seconds) = (port.name().to_owned(), limit.as_secs_f64());
                    return Err(ToolError::NoLink { port, seconds, reason });
                }
            }
        }
        Ok(true)
    }

    /// Reports faults of the port's peer, unless status messages are suppressed.
    pub(crate) fn report_faults(&self, port: &dyn Port) {
        if self.voice != Voice::Failures {
            port.report_faults();
        }
    }
}
