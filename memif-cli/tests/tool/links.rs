//! Network namespaces and their interfaces, for tests of ports that are the kernel's.

use std::process::Command;

use memif_os::socket::{NetNamespace, SocketError, within};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::harness::Tool;

/// Whether network namespaces and TAP interfaces can be made here. With `MEMIF_NETNS`, as in `ci/netns.sh`, they must.
pub(crate) fn allowed() -> bool {
    let made =
        Command::new("unshare").args(["--net", "true"]).output().is_ok_and(|output| output.status.success())
            && std::fs::OpenOptions::new().write(true).open("/dev/net/tun").is_ok();
    assert!(
        made || std::env::var_os("MEMIF_NETNS").is_none(),
        "no right to make a network namespace or a TAP"
    );
    made
}

/// Runs `work` in the network namespace of a tool.
pub(crate) fn inside<T: Send + 'static>(tool: &Tool, work: impl FnOnce() -> T + Send + 'static) -> T {
    let namespace = NetNamespace::new(&tool.child.id().to_string()).unwrap();
    within(&namespace, || Ok::<_, SocketError>(work())).unwrap()
}

fn named(name: &str) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::IfName(name.to_owned()));
    link
}

/// Sends a request, and waits for the kernel to have done it.
fn request(message: RouteNetlinkMessage, flags: u16) {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);
    let mut socket = Socket::new(NETLINK_ROUTE).unwrap();
    socket.bind_auto().unwrap();
    socket.connect(&SocketAddr::new(0, 0)).unwrap();
    socket.send(&bytes, 0).unwrap();
    let (answer, _) = socket.recv_from_full().unwrap();
    match NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).unwrap().payload {
        NetlinkPayload::Error(error) => assert_eq!(error.code, None, "{error:?}"),
        other => panic!("{other:?}"),
    }
}

/// Deletes an interface of the calling thread's namespace, as `ip link del`.
pub(crate) fn delete(name: &str) {
    request(RouteNetlinkMessage::DelLink(named(name)), 0);
}

/// Makes a pair of interfaces and sets both up, as `ip link add NAME type veth peer name OTHER`.
pub(crate) fn add_pair(name: &str, other: &str) {
    let mut link = named(name);
    let peer = InfoData::Veth(InfoVeth::Peer(named(other)));
    link.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth), LinkInfo::Data(peer)]));
    request(RouteNetlinkMessage::NewLink(link), NLM_F_CREATE | NLM_F_EXCL);
    // not before both are there
    for end in [name, other] {
        let mut link = named(end);
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
        request(RouteNetlinkMessage::SetLink(link), 0);
    }
}
