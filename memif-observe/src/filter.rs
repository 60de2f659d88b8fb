//! Which packets are wanted: a small language, after that of tcpdump.
//!
//! ```text
//! filter    = terms { "or" terms }
//! terms     = term { "and" term }
//! term      = "not" term | "(" filter ")" | primitive
//! primitive = [ "src" | "dst" ] "host" ADDRESS            192.0.2.1, 2001:db8::1
//!           | [ "src" | "dst" ] "net" ADDRESS "/" BITS    10.0.0.0/8, 2001:db8::/32
//!           | [ "src" | "dst" ] "port" NUMBER             of TCP or UDP
//!           | "vlan" [ NUMBER ]                           tagged; with this id
//!           | "arp" | "ip" | "ip6" | "tcp" | "udp" | "icmp" | "icmp6"
//!           | "proto" NUMBER                              of IP
//! ```
//!
//! Without `src` or `dst`, a packet passes if either end matches. Addresses are those of the outermost IP header. Ports are
//! those of a first or only fragment.

use std::net::IpAddr;
use std::str::FromStr;

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use winnow::ascii::{alpha1, multispace0, multispace1};
use winnow::combinator::{alt, cut_err, delimited, eof, fail, not, opt, preceded, separated, terminated};
use winnow::error::{ContextError, ErrMode, StrContext, StrContextValue};
use winnow::prelude::*;
use winnow::token::take_while;

use crate::frame::LinkType;

/// Longest filter in bytes.
pub const MAX_LENGTH: usize = 4096;
/// Most parentheses and `not` within one another.
const MAX_DEPTH: usize = 64;

/// Why a text is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("filter: {expected} at {rest:?}")]
pub struct FilterError {
    expected: String,
    rest: String,
}

/// Which end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
    Either,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Any(Vec<Test>),
    All(Vec<Test>),
    Not(Box<Test>),
    Net(Side, IpAddr, u8),
    Port(Side, u16),
    Vlan(Option<u16>),
    EtherType(u16),
    Protocol(u8),
}

/// A filter. The empty text is a filter that every packet passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(Option<Test>);

impl Filter {
    /// Whether a packet, of which `bytes` are the first, passes.
    #[must_use]
    pub fn passes(&self, bytes: &[u8], link: LinkType) -> bool {
        self.0.as_ref().is_none_or(|filter| {
            let sliced = link.slice(bytes);
            sliced.is_some_and(|sliced| filter.passes(&Facts::of(&sliced)))
        })
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let failed = |expected: String, rest: &str| FilterError {
            expected,
            rest: rest.chars().filter(|character| !character.is_control()).take(40).collect(),
        };
        if text.len() > MAX_LENGTH {
            return Err(failed(format!("at most {MAX_LENGTH} bytes are allowed"), text));
        }
        if text.trim().is_empty() {
            return Ok(Self(None));
        }
        let mut rest = text;
        let parsed = terminated(delimited(multispace0, filter(0), multispace0), eof).parse_next(&mut rest);
        match parsed {
            Ok(filter) => Ok(Self(Some(filter))),
            Err(ErrMode::Backtrack(error) | ErrMode::Cut(error)) => Err(failed(expected(&error), rest)),
            Err(ErrMode::Incomplete(_)) => Err(failed("more expected".to_owned(), rest)),
        }
    }
}

fn expected(error: &ContextError) -> String {
    let wanted = error.context().find_map(|context| match context {
        StrContext::Expected(StrContextValue::Description(text)) => Some(*text),
        _ => None,
    });
    format!("{} expected", wanted.unwrap_or("and, or, or the end"))
}

type Parsed<T> = ModalResult<T>;

fn filter(depth: usize) -> impl FnMut(&mut &str) -> Parsed<Test> {
    move |input| {
        let any: Vec<Test> = separated(1.., terms(depth), between("or")).parse_next(input)?;
        Ok(Test::Any(any))
    }
}

fn terms(depth: usize) -> impl FnMut(&mut &str) -> Parsed<Test> {
    move |input| {
        let all: Vec<Test> = separated(1.., term(depth), between("and")).parse_next(input)?;
        Ok(Test::All(all))
    }
}

fn between<'a>(word_: &'static str) -> impl ModalParser<&'a str, (), ContextError> {
    (multispace0, word(word_), multispace0).void()
}

/// A word that ends where another one can begin.
fn word<'a>(text: &'static str) -> impl ModalParser<&'a str, &'a str, ContextError> {
    alpha_numeric.verify(move |found: &str| found == text)
}

fn alpha_numeric<'a>(input: &mut &'a str) -> Parsed<&'a str> {
    take_while(1.., |character: char| character.is_ascii_alphanumeric()).parse_next(input)
}

fn term(depth: usize) -> impl FnMut(&mut &str) -> Parsed<Test> {
    move |input| {
        if depth > MAX_DEPTH {
            return cut_err(fail).context(wanted("fewer parentheses")).parse_next(input);
        }
        let negated =
            preceded((alt((word("not").void(), "!".void())), multispace0), cut_err(term(depth + 1)));
        let group = delimited(
            ('(', multispace0),
            cut_err(filter(depth + 1)),
            (multispace0, cut_err(')').context(wanted(")"))),
        );
        alt((negated.map(|filter| Test::Not(Box::new(filter))), group, primitive))
            .context(wanted("host, net, port, proto, vlan, arp, ip, ip6, tcp, udp, icmp, icmp6, not or ("))
            .parse_next(input)
    }
}

const fn wanted(text: &'static str) -> StrContext {
    StrContext::Expected(StrContextValue::Description(text))
}

fn primitive(input: &mut &str) -> Parsed<Test> {
    alt((sided, vlan, protocol, named)).parse_next(input)
}

fn sided(input: &mut &str) -> Parsed<Test> {
    let side = opt(terminated(alt((word("src"), word("dst"))), multispace1)).parse_next(input)?;
    let side = match side {
        Some("src") => Side::Source,
        Some(_) => Side::Destination,
        None => Side::Either,
    };
    match terminated(alpha1, multispace1).parse_next(input)? {
        "host" => {
            let address = cut_err(address).context(wanted("an IP address")).parse_next(input)?;
            Ok(Test::Net(side, address, if address.is_ipv4() { 32 } else { 128 }))
        }
        "net" => cut_err(net(side)).context(wanted("a network such as 10.0.0.0/8")).parse_next(input),
        "port" => {
            let port = cut_err(number::<u16>).context(wanted("a port, 0 to 65535")).parse_next(input)?;
            Ok(Test::Port(side, port))
        }
        _ => fail.parse_next(input),
    }
}

fn address(input: &mut &str) -> Parsed<IpAddr> {
    take_while(1.., |c: char| c.is_ascii_hexdigit() || c == '.' || c == ':').parse_to().parse_next(input)
}

fn net(side: Side) -> impl FnMut(&mut &str) -> Parsed<Test> {
    move |input| {
        let address = address.parse_next(input)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = preceded('/', number::<u8>.verify(|bits: &u8| *bits <= most)).parse_next(input)?;
        Ok(Test::Net(side, address, bits))
    }
}

fn number<T: FromStr>(input: &mut &str) -> Parsed<T> {
    alpha_numeric.parse_to().parse_next(input)
}

fn vlan(input: &mut &str) -> Parsed<Test> {
    let id = number::<u16>.verify(|id: &u16| *id < 4096);
    let id =
        preceded(multispace1, preceded(not(alpha1), cut_err(id).context(wanted("a VLAN id, 0 to 4095"))));
    preceded(word("vlan"), opt(preceded_by_digit(id))).map(Test::Vlan).parse_next(input)
}

/// Only where a digit follows the space: `vlan and …` has no id.
fn preceded_by_digit<'a, T>(
    mut parser: impl ModalParser<&'a str, T, ContextError>,
) -> impl ModalParser<&'a str, T, ContextError> {
    move |input: &mut &'a str| match input.trim_start().starts_with(|c: char| c.is_ascii_digit()) {
        true => parser.parse_next(input),
        false => fail.parse_next(input),
    }
}

fn protocol(input: &mut &str) -> Parsed<Test> {
    let number = cut_err(number::<u8>).context(wanted("a protocol number, 0 to 255"));
    preceded((word("proto"), multispace1), number).map(Test::Protocol).parse_next(input)
}

fn named(input: &mut &str) -> Parsed<Test> {
    match alpha_numeric.parse_next(input)? {
        "arp" => Ok(Test::EtherType(0x0806)),
        "ip" => Ok(Test::EtherType(0x0800)),
        "ip6" => Ok(Test::EtherType(0x86DD)),
        "icmp" => Ok(Test::Protocol(1)),
        "tcp" => Ok(Test::Protocol(6)),
        "udp" => Ok(Test::Protocol(17)),
        "icmp6" => Ok(Test::Protocol(58)),
        _ => fail.parse_next(input),
    }
}

/// What filters ask of a packet.
struct Facts {
    vlans: Vec<u16>,
    ether_type: Option<u16>,
    addresses: Option<(IpAddr, IpAddr)>,
    protocol: Option<u8>,
    ports: Option<(u16, u16)>,
}

impl Facts {
    fn of(sliced: &LaxSlicedPacket<'_>) -> Self {
        let (ether_type, addresses, protocol) = match &sliced.net {
            Some(LaxNetSlice::Ipv4(ip)) => {
                let header = ip.header();
                let addresses = (header.source_addr().into(), header.destination_addr().into());
                (Some(0x0800), Some(addresses), Some(ip.payload().ip_number.0))
            }
            Some(LaxNetSlice::Ipv6(ip)) => {
                let header = ip.header();
                let addresses = (header.source_addr().into(), header.destination_addr().into());
                (Some(0x86DD), Some(addresses), Some(ip.payload().ip_number.0))
            }
            Some(LaxNetSlice::Arp(_)) => (Some(0x0806), None, None),
            None => (None, None, None),
        };
        let ports = match &sliced.transport {
            Some(TransportSlice::Tcp(tcp)) => Some((tcp.source_port(), tcp.destination_port())),
            Some(TransportSlice::Udp(udp)) => Some((udp.source_port(), udp.destination_port())),
            _ => None,
        };
        let vlans = sliced.vlan_ids().iter().map(|id| id.value()).collect();
        Self { vlans, ether_type, addresses, protocol, ports }
    }
}

impl Test {
    fn passes(&self, facts: &Facts) -> bool {
        match self {
            Self::Any(filters) => filters.iter().any(|filter| filter.passes(facts)),
            Self::All(filters) => filters.iter().all(|filter| filter.passes(facts)),
            Self::Not(filter) => !filter.passes(facts),
            Self::Net(side, net, bits) => {
                facts.addresses.is_some_and(|ends| side.is(ends, |end| contains(*net, *bits, end)))
            }
            Self::Port(side, port) => facts.ports.is_some_and(|ends| side.is(ends, |end| end == *port)),
            Self::Vlan(None) => !facts.vlans.is_empty(),
            Self::Vlan(Some(id)) => facts.vlans.contains(id),
            Self::EtherType(number) => facts.ether_type == Some(*number),
            Self::Protocol(number) => facts.protocol == Some(*number),
        }
    }
}

impl Side {
    fn is<T>(self, (source, destination): (T, T), matches: impl Fn(T) -> bool) -> bool {
        match self {
            Self::Source => matches(source),
            Self::Destination => matches(destination),
            Self::Either => matches(source) || matches(destination),
        }
    }
}

fn contains(net: IpAddr, bits: u8, address: IpAddr) -> bool {
    let bits = u32::from(bits);
    match (net, address) {
        (IpAddr::V4(net), IpAddr::V4(address)) => {
            (net.to_bits() ^ address.to_bits()).checked_shr(32 - bits).unwrap_or_default() == 0
        }
        (IpAddr::V6(net), IpAddr::V6(address)) => {
            (net.to_bits() ^ address.to_bits()).checked_shr(128 - bits).unwrap_or_default() == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    fn udp(vlan: Option<u16>) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let builder = match vlan {
            Some(id) => builder.single_vlan(id.try_into().unwrap()).ipv4([10, 0, 0, 1], [192, 0, 2, 9], 64),
            None => builder.ipv4([10, 0, 0, 1], [192, 0, 2, 9], 64),
        };
        let mut bytes = Vec::new();
        builder.udp(1000, 53).write(&mut bytes, b"payload").unwrap();
        bytes
    }

    fn tcp6() -> Vec<u8> {
        let source = "2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets();
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6(source, [1; 16], 64).tcp(443, 2000, 0, 0);
        let mut bytes = Vec::new();
        builder.write(&mut bytes, b"payload").unwrap();
        bytes
    }

    fn passes(filter: &str, bytes: &[u8]) -> bool {
        filter.parse::<Filter>().unwrap().passes(bytes, LinkType::Ethernet)
    }

    #[test]
    fn primitives_take_what_they_name() {
        let (udp, tagged, tcp6) = (udp(None), udp(Some(7)), tcp6());
        for (filter, expected) in [
            ("", [true, true, true]),
            ("udp", [true, true, false]),
            ("tcp", [false, false, true]),
            ("ip", [true, true, false]),
            ("ip6", [false, false, true]),
            ("arp", [false, false, false]),
            ("proto 17", [true, true, false]),
            ("vlan", [false, true, false]),
            ("vlan 7", [false, true, false]),
            ("vlan 8", [false, false, false]),
            ("host 10.0.0.1", [true, true, false]),
            ("dst host 10.0.0.1", [false, false, false]),
            ("src net 10.0.0.0/8", [true, true, false]),
            ("net 0.0.0.0/0", [true, true, false]),
            ("net 2001:db8::/32", [false, false, true]),
            ("net ::/0", [false, false, true]),
            ("port 53", [true, true, false]),
            ("src port 53", [false, false, false]),
            ("src port 443", [false, false, true]),
        ] {
            let found = [&udp, &tagged, &tcp6].map(|packet| passes(filter, packet));
            assert_eq!(found, expected, "{filter}");
        }
    }

    #[test]
    fn and_binds_closer_than_or_and_not_closest() {
        let (udp, tagged, tcp6) = (udp(None), udp(Some(7)), tcp6());
        for (filter, expected) in [
            ("tcp or udp and vlan", [false, true, true]),
            ("(tcp or udp) and vlan", [false, true, false]),
            ("not vlan and udp", [true, false, false]),
            ("not (vlan or tcp)", [true, false, false]),
            ("!vlan and not not udp", [true, false, false]),
            ("vlan and udp or port 443", [false, true, true]),
        ] {
            let found = [&udp, &tagged, &tcp6].map(|packet| passes(filter, packet));
            assert_eq!(found, expected, "{filter}");
        }
    }

    #[test]
    fn packets_that_are_cut_off_or_nonsense_are_judged_by_what_is_there() {
        let udp = udp(None);
        assert!(passes("port 53", &udp[..42]));
        assert!(!passes("port 53", &udp[..36]));
        assert!(passes("host 10.0.0.1", &udp[..36]));
        for len in 0..udp.len() {
            let _ = passes("port 53 or vlan 1", &udp[..len]);
        }
        assert!(!passes("ip", &[0xFF; 60]));
    }

    #[test]
    fn what_is_no_filter_is_told_and_where() {
        let deep = "(".repeat(200);
        for (text, expected) in [
            ("host", "expected"),
            ("host one", "an IP address"),
            ("net 10.0.0.0/33", "a network"),
            ("port 65536", "a port"),
            ("vlan 4096", "a VLAN id"),
            ("proto 256", "a protocol number"),
            ("udp or", "expected"),
            ("udp udp", "and, or, or the end"),
            ("(udp", ")"),
            ("ethernet", "host, net"),
            (&deep, "fewer parentheses"),
            (&"not ".repeat(1000), "fewer parentheses"),
        ] {
            let error = text.parse::<Filter>().unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains('\n'), "{text}: {error}");
        }
        assert!(" udp ".repeat(2000).parse::<Filter>().is_err());
    }
}
