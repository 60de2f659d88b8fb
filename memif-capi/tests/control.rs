//! The control half of 4.0, called as C calls it.
#![allow(unsafe_code)] // calls what is exported to C
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, c_int, c_void};
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use common::{
    EMPTY, OK, Pair, Told, address, alloc, at, code, conn_args, delete, delete_socket, details, fill,
    make_conn, make_socket, rx, send, socket_args, tx, until,
};
use memif::abi::{FD_EVENT_DEL, FD_EVENT_READ, FdEvent, Handle};
use memif::code::Code;
use memif::v4::*;

#[test]
fn links_come_and_go() {
    let mut pair = Pair::new();
    delete(&mut pair.slave);
    assert_eq!(pair.told[1].downs(), 1);
    pair.until("end", || pair.told[0].downs() == 1);
    let mut args = conn_args(pair.sockets[1], false);
    pair.slave = make_conn(&mut args, &pair.told[1]);
    pair.connect(2);
    delete(&mut pair.master);
    pair.until("end", || pair.told[1].downs() == 2);
    let mut args = conn_args(pair.sockets[0], true);
    pair.master = make_conn(&mut args, &pair.told[0]);
    pair.connect(3);
}

#[test]
fn stale_and_foreign_handles_are_found_out() {
    let mut pair = Pair::new();
    let (stale, socket) = (pair.slave, pair.sockets[1]);
    delete(&mut pair.slave);
    let mut stale_socket = make_socket(&mut socket_args(&address()), ptr::null_mut());
    let gone = stale_socket;
    delete_socket(&mut stale_socket);
    let local = 0u64;
    let wrong = [
        ptr::null_mut(),
        stale,
        socket,
        gone,
        ptr::without_provenance_mut(usize::MAX),
        ptr::without_provenance_mut(1 << 63),
        ptr::without_provenance_mut((1 << 63) | 8191),
        ptr::from_ref(&local).cast_mut().cast::<c_void>(),
    ];
    for mut handle in wrong {
        let mut fd = 0;
        let no_conn = code(Code::NoConn);
        assert_eq!(details(handle, &mut [0; 8]).0, no_conn);
        assert_eq!(memif_get_queue_efd(handle, 0, at(&mut fd)), no_conn);
        assert_eq!(fd, -1);
        assert_eq!(memif_delete(at(&mut handle)), no_conn);
        assert_eq!(memif_request_connection(handle), no_conn);
        assert_eq!(memif_set_rx_mode(handle, 0, 0), no_conn);
        assert_eq!(memif_refill_queue(handle, 0, 1, 0), no_conn);
        assert_eq!(rx(handle, &mut [EMPTY; 1]), (no_conn, 0));
        assert_eq!(tx(handle, &mut [EMPTY; 1]), (no_conn, 0));
        assert!(memif_get_socket_handle(handle).is_null());
        if handle == socket {
            continue;
        }
        let invalid = code(Code::InvalArg);
        assert_eq!(memif_poll_event(handle, 0), invalid);
        assert_eq!(memif_cancel_poll_event(handle), invalid);
        assert_eq!(memif_control_fd_handler(handle, FD_EVENT_READ), invalid);
        assert_eq!(memif_get_listener_fd(handle), -1);
        assert_eq!(memif_set_listener_fd(handle, 0), invalid);
        assert!(memif_get_socket_path(handle).is_null());
        // SAFETY: passes no function.
        unsafe { memif_register_external_region(handle, None, None, None, None) };
        assert_eq!(memif_delete_socket(at(&mut handle)), invalid);
    }
    // the place of a stale handle is used again, and the handle is still stale
    let mut args = conn_args(pair.sockets[1], false);
    pair.slave = make_conn(&mut args, &pair.told[1]);
    assert_ne!(pair.slave, stale);
    assert_eq!(rx(stale, &mut [EMPTY; 1]), (code(Code::NoConn), 0));
}

#[test]
fn requests_are_made_when_told() {
    let path = address();
    let mut args = socket_args(&path);
    args.connection_request_timer.it_interval.tv_nsec = 0;
    let mut sockets = [(); 2].map(|()| make_socket(&mut args, ptr::null_mut()));
    let told: [Told; 2] = Default::default();
    let mut slave = make_conn(&mut conn_args(sockets[1], false), &told[1]);
    assert_eq!(memif_request_connection(slave), code(Code::ConnRefused));
    let mut master = make_conn(&mut conn_args(sockets[0], true), &told[0]);
    assert_eq!(memif_request_connection(master), code(Code::InvalArg));
    let turn = || sockets.iter().for_each(|socket| assert_eq!(memif_poll_event(*socket, 1), OK));
    (0..20).for_each(|_| turn());
    assert_eq!(told[1].ups(), 0, "nobody tried again");
    assert_eq!(memif_request_connection(slave), OK);
    assert_eq!(memif_request_connection(slave), code(Code::AlrConn), "on its way");
    until("link", || {
        turn();
        told[1].ups() == 1
    });
    assert_eq!(memif_request_connection(slave), code(Code::AlrConn));
    // with a timer set later it comes back by itself
    delete(&mut master);
    args.connection_request_timer.it_interval.tv_nsec = 1_000_000;
    assert_eq!(memif_set_connection_request_timer(sockets[1], args.connection_request_timer), OK);
    let mut master = make_conn(&mut conn_args(sockets[0], true), &told[0]);
    until("second link", || {
        turn();
        told[1].ups() == 2
    });
    delete(&mut slave);
    delete(&mut master);
    sockets.iter_mut().for_each(delete_socket);
}

#[test]
fn a_poll_is_cancelled_from_another_thread_and_by_a_delete() {
    struct Shared(Handle);
    // SAFETY: a handle is a number.
    unsafe impl Sync for Shared {}
    impl Shared {
        fn get(&self) -> Handle {
            self.0
        }
    }
    let mut socket = make_socket(&mut socket_args(&address()), ptr::null_mut());
    let shared = Shared(socket);
    assert_eq!(memif_cancel_poll_event(socket), OK);
    assert_eq!(memif_poll_event(socket, -1), code(Code::PollCancel), "before it began");
    for deletes in [false, true] {
        thread::scope(|scope| {
            let polling = scope.spawn(|| {
                // other events end a poll too
                std::iter::repeat_with(|| memif_poll_event(shared.get(), -1))
                    .find(|code| *code != OK)
                    .unwrap()
            });
            thread::sleep(Duration::from_millis(20)); // likely to be waiting by then; must hold in any case
            if deletes {
                delete_socket(&mut socket);
            } else {
                assert_eq!(memif_cancel_poll_event(shared.get()), OK);
            }
            let outcome = polling.join().unwrap();
            let gone = deletes && outcome == code(Code::InvalArg);
            assert!(outcome == code(Code::PollCancel) || gone, "{outcome}");
        });
    }
}

/// A program's own event loop: which contexts are watched, by descriptor.
#[derive(Default)]
struct Loop {
    watched: Mutex<HashMap<c_int, usize>>,
    ever: Mutex<HashSet<c_int>>,
    /// The socket, to be used within the callback.
    socket: AtomicUsize,
}

unsafe extern "C" fn on_fd(event: FdEvent, context: *mut c_void) -> c_int {
    // SAFETY: the tests give a Loop that outlives the socket.
    let watch = unsafe { &*context.cast::<Loop>() };
    let socket: Handle = ptr::without_provenance_mut(watch.socket.load(Ordering::SeqCst));
    if !socket.is_null() {
        assert_eq!(memif_poll_event(socket, 0), code(Code::BadFd), "calls are allowed within a callback");
    }
    let mut watched = watch.watched.lock().unwrap();
    match event.kind {
        FD_EVENT_READ => {
            // SAFETY: asks about a number.
            assert!(unsafe { libc::fcntl(event.fd, libc::F_GETFD) } >= 0);
            assert_eq!(watched.insert(event.fd, event.private_ctx.addr()), None, "closed without DEL");
            watch.ever.lock().unwrap().insert(event.fd);
        }
        FD_EVENT_DEL => {
            // SAFETY: asks about a number.
            assert!(unsafe { libc::fcntl(event.fd, libc::F_GETFD) } >= 0, "closed before DEL");
            assert_eq!(watched.remove(&event.fd), Some(event.private_ctx.addr()));
        }
        other => panic!("event {other}"),
    }
    0
}

impl Loop {
    fn context(&self) -> *mut c_void {
        ptr::from_ref(self).cast_mut().cast()
    }

    /// One turn of poll(2).
    fn turn(&self) {
        let watched: Vec<_> = self.watched.lock().unwrap().iter().map(|(fd, at)| (*fd, *at)).collect();
        let mut fds: Vec<_> = watched
            .iter()
            .map(|(fd, _)| libc::pollfd { fd: *fd, events: libc::POLLIN, revents: 0 })
            .collect();
        // SAFETY: as many elements as it is told.
        unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, 5) };
        for (polled, (_, context)) in fds.iter().zip(watched) {
            if polled.revents != 0 {
                memif_control_fd_handler(ptr::without_provenance_mut(context), FD_EVENT_READ);
            }
        }
    }
}

#[test]
fn a_program_watches_every_descriptor_until_it_is_closed() {
    let loops: [Loop; 2] = Default::default();
    let path = address();
    let mut sockets = [0, 1].map(|end: usize| {
        let mut args = socket_args(&path);
        args.on_control_fd_update = Some(on_fd);
        make_socket(&mut args, loops[end].context())
    });
    for end in [0, 1] {
        loops[end].socket.store(sockets[end].addr(), Ordering::SeqCst);
        assert_eq!(memif_poll_event(sockets[end], 0), code(Code::BadFd));
        assert_eq!(memif_cancel_poll_event(sockets[end]), code(Code::InvalArg));
    }
    let idle = loops[1].watched.lock().unwrap().len();
    for _ in 0..3 {
        let told: [Told; 2] = Default::default();
        let mut conns = [0, 1].map(|end| make_conn(&mut conn_args(sockets[end], end == 0), &told[end]));
        let turn = || loops.iter().for_each(Loop::turn);
        until("link", || {
            turn();
            told.iter().all(|told| told.ups() == 1)
        });
        send(conns[1], b"ring");
        until("interrupt", || {
            turn();
            told[0].interrupts() > 0
        });
        assert_eq!(rx(conns[0], &mut [EMPTY; 1]), (OK, 1));
        let at = loops[1].watched.lock().unwrap().values().copied().next().unwrap();
        delete(&mut conns[1]);
        assert_eq!(loops[1].watched.lock().unwrap().len(), idle);
        // an event that was on its way already
        memif_control_fd_handler(ptr::without_provenance_mut(at), FD_EVENT_READ);
        until("end", || {
            turn();
            told[0].downs() == 1
        });
        delete(&mut conns[0]);
    }
    assert!(loops[0].ever.lock().unwrap().len() >= 5, "waker, timer, listener, channel, interrupt");
    // from within its own deletion a socket is not found
    loops.iter().for_each(|own| own.socket.store(0, Ordering::SeqCst));
    sockets.iter_mut().for_each(delete_socket);
    assert!(loops.iter().all(|watch| watch.watched.lock().unwrap().is_empty()));
}

unsafe extern "C" fn refuse(event: FdEvent, left: *mut c_void) -> c_int {
    // SAFETY: the tests give a number that outlives the socket.
    let left = unsafe { &*left.cast::<AtomicUsize>() };
    let refused = event.kind == FD_EVENT_READ
        && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err();
    c_int::from(refused)
}

#[test]
fn a_program_that_cannot_watch_is_an_error() {
    for enough in 0..3 {
        let left = AtomicUsize::new(enough);
        let mut args = socket_args(&address());
        args.on_control_fd_update = Some(refuse);
        let mut socket = ptr::null_mut();
        let context = ptr::from_ref(&left).cast_mut().cast();
        // SAFETY: the function gets a number that outlives the socket.
        let outcome = unsafe { memif_create_socket(at(&mut socket), Some(&args), context) };
        assert_eq!(outcome, if enough < 2 { code(Code::CbFdUpdate) } else { OK });
        if enough < 2 {
            assert!(socket.is_null());
            continue;
        }
        let (mut conn, args) = (ptr::null_mut(), conn_args(socket, true));
        // SAFETY: passes no function.
        let outcome = unsafe { memif_create(at(&mut conn), Some(&args), None, None, None, ptr::null_mut()) };
        assert_eq!((outcome, conn.is_null()), (code(Code::CbFdUpdate), true));
        delete_socket(&mut socket);
    }
}

/// Ends its own connection from within each callback.
struct Suicidal {
    conn: Mutex<usize>,
    ends: AtomicUsize,
}

unsafe extern "C" fn end_it(conn: Handle, context: *mut c_void) -> c_int {
    // SAFETY: the test gives a Suicidal that outlives the connection.
    let told = unsafe { &*context.cast::<Suicidal>() };
    assert_eq!(conn.addr(), *told.conn.lock().unwrap());
    let mut conn = conn;
    let outcome = memif_delete(at(&mut conn));
    // the second time from within the first
    assert!(outcome == OK || outcome == code(Code::NoConn));
    told.ends.fetch_add(1, Ordering::SeqCst);
    0
}

#[test]
fn connections_may_end_within_their_callbacks() {
    let path = address();
    let mut sockets = [(); 2].map(|()| make_socket(&mut socket_args(&path), ptr::null_mut()));
    let told = Told::default();
    let mut master = make_conn(&mut conn_args(sockets[0], true), &told);
    for round in 1..4 {
        let suicidal = Suicidal { conn: Mutex::new(0), ends: AtomicUsize::new(0) };
        let (mut conn, args) = (ptr::null_mut(), conn_args(sockets[1], false));
        let context = ptr::from_ref(&suicidal).cast_mut().cast();
        // SAFETY: the functions get a Suicidal that outlives the connection.
        let outcome =
            unsafe { memif_create(at(&mut conn), Some(&args), Some(end_it), Some(end_it), None, context) };
        assert_eq!(outcome, OK);
        *suicidal.conn.lock().unwrap() = conn.addr();
        until("end", || {
            sockets.iter().for_each(|socket| assert_eq!(memif_poll_event(*socket, 1), OK));
            suicidal.ends.load(Ordering::SeqCst) == 2 && told.downs() == round
        });
        assert_eq!(memif_refill_queue(conn, 0, 1, 0), code(Code::NoConn));
    }
    delete(&mut master);
    sockets.iter_mut().for_each(delete_socket);
}

#[test]
fn a_listener_of_somebody_else_is_used_and_left_open() {
    // a listener as a service manager makes it: memif-os listens in the abstract namespace
    let path = address();
    let address = memif_os::socket::SocketAddress::new(&path).unwrap();
    let listener = memif_os::socket::Listener::bind(&address, 8).unwrap();
    let given: OwnedFd = std::os::fd::AsFd::as_fd(&listener).try_clone_to_owned().unwrap();
    let mut sockets = [(); 2].map(|()| make_socket(&mut socket_args(&path), ptr::null_mut()));
    assert_eq!(memif_get_listener_fd(sockets[0]), -1);
    assert_eq!(memif_set_listener_fd(sockets[0], -1), code(Code::InvalArg));
    assert_eq!(memif_set_listener_fd(sockets[0], c_int::MAX), code(Code::BadFd));
    assert_eq!(memif_set_listener_fd(sockets[0], 1), code(Code::BadFd));
    assert_eq!(memif_set_listener_fd(sockets[0], given.as_raw_fd()), OK);
    assert_eq!(memif_set_listener_fd(sockets[0], given.as_raw_fd()), code(Code::Already));
    assert_eq!(memif_get_listener_fd(sockets[0]), given.as_raw_fd());
    let told: [Told; 2] = Default::default();
    for round in 1..3 {
        let mut conns = [0, 1].map(|end| make_conn(&mut conn_args(sockets[end], end == 0), &told[end]));
        until("link", || {
            sockets.iter().for_each(|socket| assert_eq!(memif_poll_event(*socket, 1), OK));
            told.iter().all(|told| told.ups() == round)
        });
        conns.iter_mut().for_each(delete);
    }
    sockets.iter_mut().for_each(delete_socket);
    // SAFETY: asks about a number.
    assert!(unsafe { libc::fcntl(given.as_raw_fd(), libc::F_GETFD) } >= 0);
}

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn counting_alloc(size: usize) -> *mut c_void {
    ALLOCATED.fetch_add(1, Ordering::SeqCst);
    // SAFETY: any size will do.
    unsafe { libc::malloc(size) }
}

unsafe extern "C" fn counting_free(memory: *mut c_void) {
    ALLOCATED.fetch_sub(1, Ordering::SeqCst);
    // SAFETY: what counting_alloc gave.
    unsafe { libc::free(memory) }
}

unsafe extern "C" fn no_alloc(_: usize) -> *mut c_void {
    ptr::null_mut()
}

#[test]
fn a_programs_allocator_is_used_and_may_fail() {
    let mut args = socket_args(&address());
    (args.alloc, args.realloc, args.free) =
        (Some(counting_alloc as _), Some(libc::realloc as _), Some(counting_free as _));
    let mut socket = make_socket(&mut args, ptr::null_mut());
    let told = Told::default();
    let mut conn = make_conn(&mut conn_args(socket, true), &told);
    assert_eq!(ALLOCATED.load(Ordering::SeqCst), 2);
    delete(&mut conn);
    delete_socket(&mut socket);
    assert_eq!(ALLOCATED.load(Ordering::SeqCst), 0);
    args.alloc = Some(no_alloc);
    let mut socket = ptr::null_mut();
    // SAFETY: both point to what they say.
    let outcome = unsafe { memif_create_socket(at(&mut socket), Some(&args), ptr::null_mut()) };
    assert_eq!((outcome, socket.is_null()), (code(Code::NoMem), true));
}

/// Packet memory of the program's: one file, mapped by it, whose buffers it hands out one by one.
struct Memory {
    fd: OwnedFd,
    at: *mut c_void,
    next: AtomicUsize,
    in_use: AtomicUsize,
}

const MEMORY: usize = 1 << 20;

unsafe extern "C" fn add_region(
    at: *mut *mut c_void,
    size: u32,
    fd: *mut c_int,
    context: *mut c_void,
) -> c_int {
    // SAFETY: the test gives a Memory that outlives the connection, and the library two places to write to.
    unsafe {
        let memory = &*context.cast::<Memory>();
        memory.in_use.fetch_add(1, Ordering::SeqCst);
        (*at, *fd) = (memory.at, memory.fd.as_raw_fd());
    }
    c_int::from(size as usize > MEMORY)
}

unsafe extern "C" fn del_region(at: *mut c_void, _: u32, fd: c_int, context: *mut c_void) -> c_int {
    // SAFETY: as above.
    let memory = unsafe { &*context.cast::<Memory>() };
    assert_eq!((at, fd), (memory.at, memory.fd.as_raw_fd()));
    memory.in_use.fetch_sub(1, Ordering::SeqCst);
    0
}

unsafe extern "C" fn next_place(context: *mut c_void) -> u32 {
    // SAFETY: as above.
    let memory = unsafe { &*context.cast::<Memory>() };
    let number = memory.next.fetch_add(1, Ordering::SeqCst);
    u32::try_from(number % (MEMORY / 2048) * 2048).unwrap()
}

impl Memory {
    fn new() -> Self {
        let file =
            memif_os::region_file::RegionFile::create("test", MEMORY, memif_pmd::HugePages::Off).unwrap();
        let fd = std::os::fd::AsFd::as_fd(&file).try_clone_to_owned().unwrap();
        // SAFETY: a fresh mapping of the whole file.
        let at = unsafe {
            let both = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(ptr::null_mut(), MEMORY, both, libc::MAP_SHARED, fd.as_raw_fd(), 0)
        };
        assert_ne!(at, libc::MAP_FAILED);
        Self { fd, at, next: AtomicUsize::new(0), in_use: AtomicUsize::new(0) }
    }

    fn has(&self, data: *mut c_void) -> bool {
        (self.at.addr()..self.at.addr() + MEMORY).contains(&data.addr())
    }
}

#[test]
fn packets_lie_in_memory_of_the_programs_and_move_between_links() {
    let memory = Memory::new();
    let paths = [address(), address()];
    let mut masters = [0, 1].map(|end: usize| make_socket(&mut socket_args(&paths[end]), ptr::null_mut()));
    let mut slaves = [0, 1].map(|end: usize| make_socket(&mut socket_args(&paths[end]), ptr::null_mut()));
    let told: [Told; 2] = Default::default();
    let mut far = [0, 1].map(|end: usize| make_conn(&mut conn_args(masters[end], true), &told[end]));
    let context = ptr::from_ref(&memory).cast_mut().cast();
    let mut near = slaves.map(|socket| {
        // SAFETY: the functions get a Memory that outlives the connection.
        unsafe {
            memif_register_external_region(
                socket,
                Some(add_region),
                None,
                Some(del_region),
                Some(next_place),
            );
        }
        let (mut conn, mut args) = (ptr::null_mut(), conn_args(socket, false));
        args.log2_ring_size = 4;
        // SAFETY: the socket's functions get a Memory that outlives the connection.
        let outcome = unsafe { memif_create(at(&mut conn), Some(&args), None, None, None, context) };
        assert_eq!(outcome, OK);
        conn
    });
    assert_eq!(memory.in_use.load(Ordering::SeqCst), 0, "no link, no region");
    let turn = || {
        let sockets = masters.iter().chain(&slaves);
        sockets.for_each(|socket| assert_eq!(memif_poll_event(*socket, 1), OK));
    };
    for round in 1..4 {
        until("links", || {
            turn();
            told.iter().all(|told| told.ups() == round)
        });
        for conn in near {
            until("link", || {
                turn();
                memif_refill_queue(conn, 0, u16::MAX, 0) == OK
            });
        }
        assert_eq!(memory.in_use.load(Ordering::SeqCst), 2);
        let asked = memory.next.load(Ordering::SeqCst);
        for number in 0..100u8 {
            send(far[0], &[number; 700]);
            let mut bufs = [EMPTY; 1];
            assert_eq!(rx(near[0], &mut bufs), (OK, 1));
            assert!(memory.has(bufs[0].data));
            let data = bufs[0].data;
            let mut moved = 0;
            // SAFETY: points to one buffer and a number.
            assert_eq!(unsafe { memif_buffer_enq_tx(near[1], 0, bufs.as_mut_ptr(), 1, at(&mut moved)) }, OK);
            assert_eq!(bufs[0].data, data);
            assert_eq!(tx(near[1], &mut bufs), (OK, 1));
            assert_eq!(memif_refill_queue(near[0], 0, 1, 0), OK);
            assert_eq!(rx(far[1], &mut bufs), (OK, 1));
            assert_eq!(common::bytes(&bufs[0]), [number; 700]);
            assert_eq!(memif_refill_queue(far[1], 0, 1, 0), OK);
            // and with a copy
            assert_eq!(alloc(near[0], &mut bufs, 1, 9), (OK, 1));
            assert!(memory.has(bufs[0].data));
            fill(&bufs[0], b"allocated");
            assert_eq!(tx(near[0], &mut bufs), (OK, 1));
            assert_eq!(rx(far[0], &mut bufs), (OK, 1));
            assert_eq!(memif_refill_queue(far[0], 0, 1, 0), OK);
        }
        assert_eq!(memory.next.load(Ordering::SeqCst), asked + 200, "a place for each refill and allocation");
        // in use when the link goes
        send(far[0], b"kept");
        assert_eq!(rx(near[0], &mut [EMPTY; 1]), (OK, 1));
        far.iter_mut().for_each(delete);
        until("end", || {
            turn();
            near.iter().all(|conn| memif_refill_queue(*conn, 0, 0, 0) == code(Code::Disconnected))
                && memory.in_use.load(Ordering::SeqCst) == 0
        });
        far = [0, 1].map(|end: usize| make_conn(&mut conn_args(masters[end], true), &told[end]));
    }
    near.iter_mut().chain(&mut far).for_each(delete);
    assert_eq!(memory.in_use.load(Ordering::SeqCst), 0);
    masters.iter_mut().chain(&mut slaves).for_each(delete_socket);
    // SAFETY: nothing uses it any more.
    unsafe { libc::munmap(memory.at, MEMORY) };
}

#[test]
fn details_that_do_not_fit_are_a_part_of_them() {
    let pair = Pair::new();
    let mut full = 0;
    for room in 0..2048usize {
        let mut text = vec![0x55u8; room + 8];
        let (outcome, details) = details(pair.slave, &mut text[..room]);
        assert!(text[room..].iter().all(|byte| *byte == 0x55), "written past {room}");
        assert!(outcome == OK || outcome == code(Code::NobufDet), "{outcome}");
        let within = |at: usize| at == 0 || (text.as_ptr().addr()..text.as_ptr().addr() + room).contains(&at);
        assert!(within(details.if_name.addr()) && within(details.error.addr()));
        assert!(within(details.regions.addr()) && within(details.tx_queues.addr()));
        assert!(outcome != OK || room >= full);
        if outcome == OK {
            full = if full == 0 { room } else { full };
            // SAFETY: a text with its NUL.
            assert_eq!(unsafe { CStr::from_ptr(details.remote_if_name.cast()) }, c"lord");
        }
    }
    assert!(full > 0);
}
