//! Every message, descriptor and call at every stage, in both roles.

use super::*;

#[test]
fn the_driver_may_refuse_and_disconnect_at_any_stage() {
    let fault = PeerFault::BadCookie { got: 1 };
    for master in [
        || MasterHandshake::new(hello_params()),
        new_master,
        master_in_admission,
        master_in_setup,
        master_in_attach,
        master_up,
    ] {
        let mut refused = master();
        refused.refuse(fault);
        assert_refused(&mut refused, fault);
        let mut left = master();
        left.disconnect(3, Reason::truncated("bye"));
        left.refuse(fault);
        assert_eq!((sent_by_master(&mut left), left.stage()), (Some(bye()), Stage::Closed));
    }
    for slave in [new_slave, slave_awaiting_admission, slave_allocating, slave_offering, slave_up] {
        let mut refused = slave();
        refused.refuse(fault);
        assert_slave_refused(&mut refused, fault);
        let mut left = slave();
        left.disconnect(3, Reason::truncated("bye"));
        left.refuse(fault);
        assert_eq!((sent_by_slave(&mut left), left.stage()), (Some((bye(), None)), Stage::Closed));
    }
}

#[test]
fn unexpected_calls_change_nothing() {
    for (master, stage) in [
        (new_master as fn() -> MasterHandshake, Stage::AwaitInit),
        (master_in_admission, Stage::Admission),
        (master_in_setup, Stage::Setup),
        (master_in_attach, Stage::Attach),
        (master_up, Stage::Up),
    ] {
        let mut master = master();
        if stage != Stage::Admission {
            let error = AdmitError::OutOfTurn(OutOfTurn { stage });
            assert_eq!(master.admit(interface(1, 1)), Err(error));
        }
        if stage != Stage::Attach {
            assert_eq!(master.connected(name("x")), Err(OutOfTurn { stage }));
        }
        assert_eq!((master.stage(), sent_by_master(&mut master)), (stage, None));
    }
    for (slave, stage) in [
        (new_slave as fn() -> SlaveHandshake, Stage::AwaitHello),
        (slave_awaiting_admission, Stage::AwaitAdmission),
        (slave_offering, Stage::Offering),
        (slave_awaiting_connected, Stage::AwaitConnected),
        (slave_up, Stage::Up),
    ] {
        let mut slave = slave();
        assert_eq!(slave.offer(&[1 << 20]), Err(OfferError::OutOfTurn(OutOfTurn { stage })));
        assert_eq!((slave.stage(), sent_by_slave(&mut slave)), (stage, None));
    }
}

#[test]
fn a_master_accepts_only_the_messages_of_each_stage() {
    use MessageKind::{AddRegion, AddRing, Connect, Init};
    // What Setup takes depends on what it took before: see the tests on regions and rings.
    for (master, stage, takes) in [
        (new_master as fn() -> MasterHandshake, Stage::AwaitInit, &[Init][..]),
        (master_in_admission, Stage::Admission, &[]),
        (master_with_a_ring, Stage::Setup, &[AddRegion, AddRing, Connect]),
        (master_in_attach, Stage::Attach, &[]),
        (master_up, Stage::Up, &[]),
    ] {
        assert_eq!(master().stage(), stage);
        for message in one_of_each() {
            let got = message.kind();
            if got == MessageKind::Disconnect {
                let mut master = master();
                let reason = Reason::truncated("bye");
                assert_eq!(tell(&mut master, message), Ok(MasterEvent::Disconnected { code: 3, reason }));
                assert_eq!((master.stage(), sent_by_master(&mut master)), (Stage::Closed, None));
            } else if !takes.contains(&got) {
                assert_fault(master(), message, PeerFault::UnexpectedMessage { got, stage });
            }
        }
    }
}

#[test]
fn a_slave_accepts_only_the_messages_of_each_stage() {
    use MessageKind::{Ack, Connected, Hello};
    for (slave, stage, takes) in [
        (new_slave as fn() -> SlaveHandshake, Stage::AwaitHello, &[Hello][..]),
        (slave_awaiting_admission, Stage::AwaitAdmission, &[Ack]),
        (slave_allocating, Stage::Allocate, &[]),
        (slave_offering, Stage::Offering, &[Ack]),
        (slave_awaiting_connected, Stage::AwaitConnected, &[Connected]),
        (slave_up, Stage::Up, &[]),
    ] {
        assert_eq!(slave().stage(), stage);
        for message in one_of_each() {
            let mut slave = slave();
            let got = message.kind();
            let event = tell_slave(&mut slave, message);
            if got == MessageKind::Disconnect {
                let reason = Reason::truncated("bye");
                assert_eq!(event, Ok(SlaveEvent::Disconnected { code: 3, reason }));
                assert_eq!((slave.stage(), sent_by_slave(&mut slave)), (Stage::Closed, None));
            } else if takes.contains(&got) {
                assert!(event.is_ok(), "{got} at {stage}");
            } else {
                let fault = PeerFault::UnexpectedMessage { got, stage };
                assert_eq!(event, Err(fault));
                assert_slave_refused(&mut slave, fault);
            }
        }
    }
}

#[test]
fn a_message_before_the_last_was_answered_is_a_fault() {
    let mut master = MasterHandshake::new(hello_params());
    let fault = PeerFault::UnexpectedMessage { got: MessageKind::Init, stage: Stage::AwaitInit };
    assert_eq!(tell(&mut master, Message::Init(init())), Err(fault));
    assert_refused(&mut master, fault);

    let mut master = master_in_setup();
    tell(&mut master, region(0)).unwrap();
    let fault = PeerFault::UnexpectedMessage { got: MessageKind::AddRegion, stage: Stage::Setup };
    assert_fault(master, region(1), fault);

    let mut slave = new_slave();
    tell_slave(&mut slave, Message::Hello(hello())).unwrap();
    let fault = PeerFault::UnexpectedMessage { got: MessageKind::Ack, stage: Stage::AwaitAdmission };
    assert_eq!(tell_slave(&mut slave, Message::Ack), Err(fault));
    assert_slave_refused(&mut slave, fault);
}

#[test]
fn a_received_disconnect_clears_the_outbox() {
    let mut master = MasterHandshake::new(hello_params());
    assert!(matches!(tell(&mut master, bye()), Ok(MasterEvent::Disconnected { .. })));
    assert_eq!(sent_by_master(&mut master), None);

    let mut slave = new_slave();
    tell_slave(&mut slave, Message::Hello(hello())).unwrap();
    assert!(matches!(tell_slave(&mut slave, bye()), Ok(SlaveEvent::Disconnected { .. })));
    assert_eq!(sent_by_slave(&mut slave), None);
}

/// Every master that would take a message of this kind.
fn master_for(kind: MessageKind) -> MasterHandshake {
    match kind {
        MessageKind::AddRegion => master_in_setup(),
        MessageKind::AddRing => {
            let mut master = master_in_setup();
            tell(&mut master, region(0)).unwrap();
            let _ack = master.poll_transmit();
            master
        }
        MessageKind::Connect => master_with_a_ring(),
        _ => new_master(),
    }
}

#[test]
fn a_master_requires_the_descriptors_of_each_message() {
    for message in one_of_each() {
        let on = message.kind();
        let bytes = message.emit();
        for (fd, surplus, fault) in [
            (FD, 0, PeerFault::FdUnexpected { on }),
            (NO_FD, 0, PeerFault::FdMissing { on }),
            (FD, 1, PeerFault::SurplusFds { on, surplus: 1 }),
            (FD, usize::MAX, PeerFault::SurplusFds { on, surplus: usize::MAX }),
            (NO_FD, 2, PeerFault::SurplusFds { on, surplus: 2 }),
        ] {
            let fault = match fault {
                PeerFault::FdUnexpected { .. } if on.carries_fd() => continue,
                PeerFault::FdMissing { .. } if !on.carries_fd() => continue,
                _ if fd.is_some() && !on.carries_fd() => PeerFault::FdUnexpected { on },
                fault => fault,
            };
            let mut master = master_for(on);
            assert_eq!(master.handle(&bytes, fd, surplus), Err(fault));
            assert_refused(&mut master, fault);
        }
    }
}

#[test]
fn a_slave_refuses_descriptors() {
    for message in one_of_each() {
        let on = message.kind();
        for (fd, surplus, fault) in [
            (FD, 0, PeerFault::FdUnexpected { on }),
            (FD, 1, PeerFault::FdUnexpected { on }),
            (NO_FD, 1, PeerFault::SurplusFds { on, surplus: 1 }),
        ] {
            let mut slave = slave_offering();
            assert_eq!(slave.handle(&message.emit(), fd, surplus), Err(fault));
            assert_slave_refused(&mut slave, fault);
        }
    }
}

#[test]
fn invalid_bytes_are_refused_at_every_stage() {
    for bytes in [&[][..], &[1], &[0; 127], &[0; 128], &[0xff; 128], &[1; 129], &[0; 4096]] {
        let fault = PeerFault::from(Message::parse(bytes).unwrap_err());
        for master in [new_master, master_in_admission, master_in_setup, master_in_attach, master_up] {
            let mut master = master();
            assert_eq!(master.handle(bytes, FD, 0), Err(fault));
            assert_refused(&mut master, fault);
        }
        for slave in [new_slave, slave_awaiting_admission, slave_allocating, slave_offering, slave_up] {
            let mut slave = slave();
            assert_eq!(slave.handle(bytes, FD, 0), Err(fault));
            assert_slave_refused(&mut slave, fault);
        }
    }
}
