//! What an end of a link is told to do, and what it reports.

use serde::{Deserialize, Serialize};

use crate::arrivals::Arrivals;

/// Packet size for round trips in bytes.
pub(crate) const SMALLEST: usize = 64;

/// The work of an end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Sends packets as fast as it can, on all queues in turn.
    Generate {
        /// Bytes of a packet: those of the first one, the second and so on, from the start again.
        sizes: Vec<usize>,
        /// Packets in a burst.
        burst: usize,
        /// Whether it writes headers into the ring's buffers, rather than copying whole packets there. Only with one size.
        in_place: bool,
    },
    /// Receives packets and counts them, on all queues in turn.
    Sink {
        /// Packets in a burst.
        burst: usize,
        /// Whether it reads headers where they are, rather than copying whole packets out of the ring.
        in_place: bool,
    },
    /// Sends packets of 64 bytes and measures the time until all of them are back, repeatedly.
    Ping {
        /// Number of packets under way.
        packets: usize,
        /// Microseconds to sleep before each round trip.
        pause_us: u64,
    },
    /// Sends packets of 64 bytes at a set rate, each with the time at which it was due.
    OpenLoop {
        /// Millions of packets per second.
        mpps: f64,
        /// When packets are due.
        arrivals: Arrivals,
    },
    /// Receives the packets of [`Work::OpenLoop`] and measures the time since they were due.
    Clock {
        /// Packets in a burst.
        burst: usize,
    },
    /// Sends back what it receives.
    Echo {
        /// Packets in a burst.
        burst: usize,
    },
    /// Keeps the link up and does nothing else.
    Rest,
    /// Sends on the first interface and counts what arrives on the second, both in place.
    Circulate {
        /// Bytes of a packet, at most those of a buffer.
        size: usize,
        /// Packets in a burst.
        burst: usize,
    },
    /// Forwards packets from the first interface to the second.
    Forward {
        /// Packets in a burst.
        burst: usize,
        /// Whether buffers are exchanged rather than packets copied.
        in_place: bool,
    },
}

/// Result of an end in its window.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Found {
    /// Packets sent or received.
    pub(crate) packets: u64,
    /// Actual length of the window in nanoseconds.
    pub(crate) ns: u64,
    /// Share of the time in which it was ready to run but had no core.
    pub(crate) lost: f64,
    /// Share of the time in which it was running.
    pub(crate) ran: f64,
    /// Nanoseconds at [`histogram::ROUND_TRIP`](crate::histogram::ROUND_TRIP) with [`Work::Ping`], at
    /// [`histogram::CURVE`](crate::histogram::CURVE) with [`Work::Clock`].
    pub(crate) latencies: Option<Vec<f64>>,
    /// Nanoseconds of the turns that forwarded packets. Only with [`Work::Forward`].
    pub(crate) busy_ns: u64,
}

impl Found {
    /// Millions of packets per second.
    pub(crate) fn mpps(&self) -> f64 {
        self.packets as f64 * 1e3 / self.ns.max(1) as f64
    }
}
