//! The Rust side of the C types, against the tables that the C compiler checks the headers with.
#![allow(clippy::unwrap_used)] // tests

use std::collections::BTreeMap;
use std::mem::{offset_of, size_of};

use memif::abi;
use memif::code::{ALL, Code};
use memif::v1::abi as v1;
use memif::v4::memif_get_version;
use memif_ring::layout::{COOKIE, Desc, DescFlags, LineSize, RingFlags, RingHeader};
use memif_ring::message::{MESSAGE_SIZE, MessageKind};

/// What a table says: a type's size, a field's offset, a name's number.
type Table = BTreeMap<String, i64>;

fn parse(text: &str) -> Table {
    let mut table = Table::new();
    for line in text.lines().filter(|line| line.ends_with(')')) {
        let (kind, rest) = line.split_once(" (").unwrap();
        let parts: Vec<_> = rest.trim_end_matches(')').split(", ").collect();
        let (value, names) = parts.split_last().unwrap();
        assert!(["SIZE", "FIELD", "BITS", "VALUE"].contains(&kind), "{line}");
        let known = table.insert(names.join("."), value.parse().unwrap());
        assert_eq!(known, None, "{line}");
    }
    assert!(table.len() > 40);
    table
}

/// Adds size and offsets of a type; `theirs: ours` where names differ.
macro_rules! layout {
    ($table:ident, $c:literal, $rust:ty { $($field:ident $(: $ours:ident)?),+ }) => {
        $table.insert($c.into(), size_of::<$rust>() as i64);
        $($table.insert(
            format!("{}.{}", $c, stringify!($field)),
            layout!(@offset $rust, $field $(, $ours)?) as i64,
        );)+
    };
    (@offset $rust:ty, $field:ident) => { offset_of!($rust, $field) };
    (@offset $rust:ty, $field:ident, $ours:ident) => { offset_of!($rust, $ours) };
}

/// The name that C has for an error, but for underscores.
fn c_name(code: Code) -> String {
    match code {
        Code::MaxRingSize => "MEMIF_ERR_MAX_RING".into(),
        other => format!("MEMIF_ERR_{other:?}").to_uppercase(),
    }
}

/// The numbers of those errors that a table has.
fn codes(table: &Table, number: impl Fn(Code) -> i32) -> Table {
    let errors = table.keys().filter(|name| name.starts_with("MEMIF_ERR_"));
    let known = errors.filter_map(|name| {
        let plain =
            |name: &str| format!("MEMIF_ERR_{}", name.trim_start_matches("MEMIF_ERR_").replace('_', ""));
        let same = |code: &&Code| c_name(**code) == *name || c_name(**code) == plain(name);
        // the ring's size and the number of rings differ by the underscore alone
        let exact = ALL.iter().find(|code| c_name(**code) == *name);
        let code = exact.or_else(|| ALL.iter().find(same))?;
        Some((name.clone(), number(*code).into()))
    });
    known.collect()
}

fn constants() -> Table {
    let constants = [
        ("MEMIF_FD_EVENT_READ", abi::FD_EVENT_READ),
        ("MEMIF_FD_EVENT_WRITE", abi::FD_EVENT_WRITE),
        ("MEMIF_FD_EVENT_ERROR", abi::FD_EVENT_ERROR),
        ("MEMIF_FD_EVENT_DEL", abi::FD_EVENT_DEL),
        ("MEMIF_FD_EVENT_MOD", abi::FD_EVENT_MOD),
        ("MEMIF_RX_MODE_INTERRUPT", abi::RX_MODE_INTERRUPT),
        ("MEMIF_RX_MODE_POLLING", abi::RX_MODE_POLLING),
        ("MEMIF_QUEUE_FLAG_POLLING", abi::QUEUE_FLAG_POLLING.into()),
    ];
    constants.map(|(name, value)| (name.into(), value.into())).into()
}

/// The modes are given to `memif-pmd` as numbers.
fn modes() -> Table {
    let modes = [("ETHERNET", 0), ("IP", 1), ("PUNT_INJECT", 2)];
    modes.map(|(name, value)| (format!("MEMIF_INTERFACE_MODE_{name}"), value)).into()
}

#[test]
fn version_4() {
    let table = parse(include_str!("layout/4.0.def"));
    let mut ours = codes(&table, Code::v4);
    ours.extend(constants());
    ours.extend(modes());
    ours.insert("MEMIF_BUFFER_FLAG_NEXT".into(), abi::BUFFER_FLAG_NEXT.into());
    layout!(ours, "memif_fd_event_t", abi::FdEvent { fd, type: kind, private_ctx });
    layout!(
        ours,
        "memif_socket_args_t",
        abi::SocketArgs {
            path,
            app_name,
            connection_request_timer,
            on_control_fd_update,
            alloc,
            realloc,
            free
        }
    );
    layout!(
        ours,
        "memif_conn_args_t",
        abi::ConnArgs {
            socket,
            secret,
            num_s2m_rings,
            num_m2s_rings,
            buffer_size,
            log2_ring_size,
            is_master,
            interface_id,
            interface_name,
            mode
        }
    );
    layout!(ours, "memif_buffer_t", abi::Buffer { desc_index, queue, len, flags, data });
    layout!(
        ours,
        "memif_queue_details_t",
        abi::QueueDetails { region, qid, ring_size, flags, head, tail, buffer_size }
    );
    layout!(ours, "memif_region_details_t", abi::RegionDetails { index, addr, size, fd, is_external });
    layout!(
        ours,
        "memif_details_t",
        abi::Details {
            if_name,
            inst_name,
            remote_if_name,
            remote_inst_name,
            id,
            secret,
            role,
            mode,
            socket_path,
            regions_num,
            regions,
            rx_queues_num,
            tx_queues_num,
            rx_queues,
            tx_queues,
            error,
            link_up_down
        }
    );
    assert_eq!(ours, table);
}

#[test]
fn version_1() {
    let table = parse(include_str!("layout/1.0.def"));
    let mut ours = codes(&table, Code::v1);
    ours.extend(constants());
    ours.extend(modes());
    layout!(
        ours,
        "memif_conn_args_t",
        v1::ConnArgs {
            socket_filename,
            secret,
            num_s2m_rings,
            num_m2s_rings,
            buffer_size,
            log2_ring_size,
            is_master,
            interface_id,
            interface_name,
            instance_name,
            mode
        }
    );
    layout!(ours, "memif_buffer_t", v1::Buffer { desc_index, buffer_len, data_len, data });
    layout!(
        ours,
        "memif_queue_details_t",
        v1::QueueDetails { qid, ring_size, flags, head, tail, buffer_size }
    );
    layout!(
        ours,
        "memif_details_t",
        v1::Details {
            if_name,
            inst_name,
            remote_if_name,
            remote_inst_name,
            id,
            secret,
            role,
            mode,
            socket_filename,
            rx_queues_num,
            tx_queues_num,
            rx_queues,
            tx_queues,
            link_up_down
        }
    );
    assert_eq!(ours, table);
}

/// `memif.h`, against what the library itself reads and writes.
#[test]
fn protocol() {
    let table = parse(include_str!("layout/memif.def"));
    let mut ours = Table::new();
    layout!(ours, "memif_desc_t", Desc { flags, region, length, offset, metadata });
    layout!(ours, "memif_ring_t", RingHeader { cookie, flags, head });
    for (name, value) in [
        ("memif_ring_t", LineSize::Bytes64.header_size() as i64),
        ("memif_ring_t.tail", LineSize::Bytes64.tail_offset() as i64),
        ("memif_ring_t.desc", LineSize::Bytes64.header_size() as i64),
        ("memif_msg_t", MESSAGE_SIZE as i64),
        ("MEMIF_COOKIE", COOKIE.into()),
        ("MEMIF_VERSION", memif_get_version().into()),
        ("MEMIF_DESC_FLAG_NEXT", DescFlags::NEXT.bits().into()),
        ("MEMIF_RING_FLAG_MASK_INT", RingFlags::MASK_INT.bits().into()),
    ] {
        ours.insert(name.into(), value);
    }
    let kinds = [
        ("ACK", MessageKind::Ack),
        ("HELLO", MessageKind::Hello),
        ("INIT", MessageKind::Init),
        ("ADD_REGION", MessageKind::AddRegion),
        ("ADD_RING", MessageKind::AddRing),
        ("CONNECT", MessageKind::Connect),
        ("CONNECTED", MessageKind::Connected),
        ("DISCONNECT", MessageKind::Disconnect),
    ];
    ours.extend(kinds.map(|(name, kind)| (format!("MEMIF_MSG_TYPE_{name}"), kind as i64)));
    // where the fields of messages are is not public: what emits and parses them has tests of its own
    let known = |name: &String| !name.starts_with("memif_msg_") || name == "memif_msg_t";
    let table: Table = table.into_iter().filter(|(name, _)| known(name)).collect();
    assert_eq!(ours, table);
}
