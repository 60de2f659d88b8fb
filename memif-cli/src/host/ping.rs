//! `memif ping`: sends echo requests and measures the time until they are answered.

use std::time::Duration;

use memif_os::clock::monotonic_ns;
use memif_pmd::RxMode;
use smoltcp::iface::SocketHandle;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::icmp;
use smoltcp::wire::{Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpAddress};

use super::replies::{Replies, Reply};
use super::stack::Stack;
use crate::args::PingArgs;
use crate::error::ToolError;
use crate::output::{json, print};
use crate::ports::Port;
use crate::session::{CaptureUse, Session};
use crate::status::Voice;
use crate::tools::instance;

/// Payload bytes of a request, as in other ping programs.
const PAYLOAD: usize = 56;
/// Bytes of the ICMP header.
const HEADER: usize = 8;
/// Most requests that wait for the target's Ethernet address, and most answers that wait to be read.
const QUEUED: usize = 64;
/// Time to wait for answers after the last request.
const LAST: Duration = Duration::from_secs(10);
/// How long a polled queue is polled for an answer before the thread sleeps, in nanoseconds.
const SPIN_NS: u64 = 1_000_000;
/// Longest sleep.
const STEP: Duration = Duration::from_millis(100);

/// `memif ping`
///
/// # Errors
/// See [`ToolError`]; it is also an error if nothing answers.
pub(crate) fn ping(args: &PingArgs) -> Result<(), ToolError> {
    let session = Session::start(Voice::of(args.span.json))?;
    let port = session.open(&args.port.parse()?, CaptureUse::None)?;
    let identity = args.identity.identity(&*port)?;
    identity.check_reach(args.target)?;
    let mut pinger = Pinger::new(Stack::new(&*port, &identity, instance())?, args)?;
    if session.wait_up(&[&*port], args.span.wait)? {
        pinger.run(&session, &*port)?;
    }
    session.stop.stop();
    let summary = pinger.replies.summary(args.target);
    print(&if args.span.json { json(&summary) } else { summary.text() })?;
    if summary.is_answered() { Ok(()) } else { Err(ToolError::NoAnswer(args.target)) }
}

/// Sends requests and reads answers.
struct Pinger<'a> {
    stack: Stack,
    /// Whether a receive queue is polled rather than waited on.
    polled: bool,
    socket: SocketHandle,
    /// The ICMP identifier, which distinguishes our requests from those of other programs.
    ident: u16,
    target: IpAddress,
    args: &'a PingArgs,
    replies: Replies,
    /// When the last request was sent.
    last_ns: u64,
}

impl<'a> Pinger<'a> {
    fn new(mut stack: Stack, args: &'a PingArgs) -> Result<Self, ToolError> {
        let buffer = || {
            let metadata = vec![icmp::PacketMetadata::EMPTY; QUEUED];
            icmp::PacketBuffer::new(metadata, vec![0; QUEUED * (HEADER + PAYLOAD)])
        };
        let ident = low(instance().into());
        let mut socket = icmp::Socket::new(buffer(), buffer());
        // fails only for a socket that is bound already
        let _ = socket.bind(icmp::Endpoint::Ident(ident));
        let socket = stack.sockets.add(socket);
        let target = IpAddress::from(args.target);
        let polled = stack.modes().contains(&RxMode::Polling);
        Ok(Self { stack, polled, socket, ident, target, args, replies: Replies::new()?, last_ns: 0 })
    }

    /// Sends requests and reads answers until all requests are answered, no more answers are expected, or the run ends.
    fn run(&mut self, session: &Session, port: &dyn Port) -> Result<(), ToolError> {
        let began_ns = monotonic_ns();
        let end_ns = self.args.span.seconds.map(|limit| began_ns.saturating_add(nanos(limit)));
        let interval = nanos(self.args.interval);
        let mut next_ns = began_ns;
        loop {
            let now = monotonic_ns();
            let wanted = self.args.count.is_none_or(|count| self.replies.sent() < count);
            if wanted && now >= next_ns {
                session.report_faults(port);
                self.request(now);
                next_ns = next_ns.saturating_add(interval).max(now);
            }
            self.stack.turn(QUEUED);
            self.read()?;
            port.check()?;
            let now = monotonic_ns();
            let give_up = self.last_ns.saturating_add(nanos(LAST));
            let done = !wanted && (!self.replies.any_pending() || now >= give_up);
            if done || session.is_over() || end_ns.is_some_and(|end| now >= end) {
                return Ok(());
            }
            let spins = self.polled && self.replies.is_last_pending();
            if !spins || now.saturating_sub(self.last_ns) >= SPIN_NS {
                let until = (if wanted { next_ns } else { give_up }).min(end_ns.unwrap_or(u64::MAX));
                let limit = Duration::from_nanos(until.saturating_sub(now)).min(STEP);
                self.stack.wait(&session.signal, limit)?;
            }
        }
    }

    fn request(&mut self, now: u64) {
        let sequence = self.replies.request(now);
        self.last_ns = now;
        let mut data = [0x5a; PAYLOAD];
        data[..8].copy_from_slice(&sequence.to_be_bytes());
        let (ident, seq_no) = (self.ident, low(sequence));
        let socket = self.stack.sockets.get_mut::<icmp::Socket<'_>>(self.socket);
        // no room: many requests wait for the target's Ethernet address, and this one is lost
        let Ok(packet) = socket.send(HEADER + PAYLOAD, self.target) else { return };
        // smoltcp fills the checksum in when it has found the source address
        let later = ChecksumCapabilities::ignored();
        match self.target {
            IpAddress::Ipv4(_) => {
                let request = Icmpv4Repr::EchoRequest { ident, seq_no, data: &data };
                request.emit(&mut Icmpv4Packet::new_unchecked(packet), &later);
            }
            IpAddress::Ipv6(target) => {
                let request = Icmpv6Repr::EchoRequest { ident, seq_no, data: &data };
                request.emit(&target, &target, &mut Icmpv6Packet::new_unchecked(packet), &later);
            }
        }
    }

    /// Reads the answers that have arrived, and prints a line for each.
    fn read(&mut self) -> Result<(), ToolError> {
        let socket = self.stack.sockets.get_mut::<icmp::Socket<'_>>(self.socket);
        let now = monotonic_ns();
        while let Ok((packet, from)) = socket.recv() {
            match sequence_of(packet, from, self.ident).filter(|_| from == self.target) {
                None => self.replies.reject(),
                Some(sequence) => {
                    if let Some(reply) = self.replies.reply(from.into(), sequence, packet.len(), now) {
                        self.args.span.print(&reply, Reply::text)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The number of the request that this packet answers; `None` if it does not answer a request of ours.
fn sequence_of(packet: &[u8], from: IpAddress, ident: u16) -> Option<u64> {
    // smoltcp has checked the checksum already
    let checked = ChecksumCapabilities::ignored();
    let (answered, seq_no, data) = match from {
        IpAddress::Ipv4(_) => {
            match Icmpv4Repr::parse(&Icmpv4Packet::new_checked(packet).ok()?, &checked).ok()? {
                Icmpv4Repr::EchoReply { ident, seq_no, data } => (ident, seq_no, data),
                _ => return None,
            }
        }
        IpAddress::Ipv6(from) => {
            match Icmpv6Repr::parse(&from, &from, &Icmpv6Packet::new_checked(packet).ok()?, &checked).ok()? {
                Icmpv6Repr::EchoReply { ident, seq_no, data } => (ident, seq_no, data),
                _ => return None,
            }
        }
    };
    let (sequence, rest) = data.split_first_chunk()?;
    let sequence = u64::from_be_bytes(*sequence);
    let ours = answered == ident && seq_no == low(sequence) && rest == [0x5a; PAYLOAD - 8];
    ours.then_some(sequence)
}

/// The ICMP sequence number of a request: the low 16 bits of its number.
fn low(sequence: u64) -> u16 {
    let [.., a, b] = sequence.to_be_bytes();
    u16::from_be_bytes([a, b])
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
