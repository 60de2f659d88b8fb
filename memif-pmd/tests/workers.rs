//! Workers: tasks on cores, idling, stopping, and packets that wait for room.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{PATIENCE, Pair, address, check, exchange, packet, packet_memory, until};
use memif_os::cpu::allowed_cores;
use memif_pmd::{
    Burst, Error, HugePages, Idle, LoopbackRx, LoopbackTx, Memif, Queues, Receive as _, Running, RxQueue,
    Stop, Transmit as _, TxQueue, Workers, forward, forward_in_place, loopback,
};

fn first_core() -> usize {
    allowed_cores()[0]
}

/// Sends back what it receives.
fn echo((rx, tx): &mut (RxQueue, TxQueue), burst: &mut Burst) {
    rx.receive(burst);
    tx.send(burst);
}

#[test]
fn a_sleeping_worker_receives_every_packet_and_sleeps_in_between() {
    let pair = Pair::of(|builder| builder);
    let workers = Workers::new().idle(Idle::Sleep { after: 10 });
    let running =
        workers.anywhere((pair.master.rx(0).unwrap(), pair.master.tx(0).unwrap()), echo).start().unwrap();
    let (mut tx, mut rx) = (pair.slave.tx(0).unwrap(), pair.slave.rx(0).unwrap());
    let mut burst = Burst::new(1).unwrap();
    for number in 0..500 {
        burst.push(&packet(64, number)).unwrap();
        until("room", || tx.send(&mut burst) == 1);
        // waits as well, so that the worker sleeps before the next one
        until("the packet", || rx.wait(Some(PATIENCE)).unwrap());
        assert_eq!(rx.receive(&mut burst), 1);
        check(burst.get(0).unwrap(), number);
        burst.clear();
    }
    running.stop().stop();
    let stats = running.wait().unwrap()[0];
    assert!(stats.busy >= 500, "{stats:?}");
    assert!(stats.sleeps >= 1, "{stats:?}");
    // a round to receive, and some to fall asleep, and little more
    assert!(stats.rounds <= 14 * (stats.sleeps + stats.busy), "{stats:?}");
}

#[test]
fn every_idle_setting_receives_all_packets() {
    for idle in [Idle::Spin, Idle::Pause, Idle::Sleep { after: 0 }] {
        let pair = Pair::of(|builder| builder);
        let queues = (pair.master.rx(0).unwrap(), pair.master.tx(0).unwrap());
        let running = Workers::new().idle(idle).anywhere(queues, forward).start().unwrap();
        exchange((&mut pair.slave.tx(0).unwrap(), &mut pair.slave.rx(0).unwrap()), 0..2000, 60..=1500);
        drop(running);
        // its queues are free again
        pair.master.rx(0).unwrap();
    }
}

#[test]
fn tasks_on_one_core_can_have_any_set_of_queues() {
    let pair = Pair::of(|builder| builder.queues(6));
    let rx = |index| pair.master.rx(index).unwrap();
    let tx = |index| pair.master.tx(index).unwrap();
    let core = first_core();
    let running = Workers::new()
        .idle(Idle::Sleep { after: 100 })
        .burst(16)
        .huge_pages(HugePages::Prefer)
        .on_core(core, (rx(0), tx(0)), forward)
        .on_core(core, vec![(rx(1), tx(1)), (rx(2), tx(2))], |pairs, burst| {
            for (rx, tx) in pairs {
                rx.receive(burst);
                while !burst.is_empty() {
                    tx.send(burst);
                }
            }
        })
        .on_core(core, ([rx(3), rx(4)], [tx(3), tx(4)]), |(rx, tx), burst| {
            for (rx, tx) in rx.iter_mut().zip(tx) {
                rx.receive(burst);
                while !burst.is_empty() {
                    tx.send(burst);
                }
            }
        })
        .on_core(
            core,
            (vec![rx(5)], Some(tx(5)).into_iter().collect::<Vec<_>>(), ()),
            |(rx, tx, ()), burst| {
                rx[0].receive(burst);
                tx[0].send(burst);
            },
        )
        .start()
        .unwrap();
    thread::scope(|scope| {
        for index in 0..6 {
            let (mut tx, mut rx) = (pair.slave.tx(index).unwrap(), pair.slave.rx(index).unwrap());
            scope.spawn(move || exchange((&mut tx, &mut rx), 0..500, 60..=4000));
        }
    });
    running.stop().stop();
    let stats = running.wait().unwrap();
    assert_eq!(stats.len(), 1, "one core, one thread");
    assert_eq!(stats[0].core, Some(core));
}

#[test]
fn packets_for_a_full_ring_wait_in_order() {
    // from a large ring to a small one that nobody empties for a while
    let wide = Pair::of(|builder| builder);
    let narrow = Pair::with(|builder| builder, |builder| builder.ring_size(8));
    let queues = (wide.master.rx(0).unwrap(), narrow.slave.tx(0).unwrap());
    let running = Workers::new().burst(64).anywhere(queues, forward).start().unwrap();
    let (mut tx, mut rx) = (wide.slave.tx(0).unwrap(), narrow.master.rx(0).unwrap());
    let mut burst = Burst::new(512).unwrap();
    for number in 0..512 {
        burst.push(&packet(64, number)).unwrap();
    }
    assert_eq!(tx.send(&mut burst), 512);
    until("a full ring", || narrow.slave.details().unwrap().tx[0].stats.ring_full > 100);
    let mut expected = 0;
    until("all of them", || {
        rx.receive(&mut burst);
        for got in &burst {
            check(got, expected);
            expected += 1;
        }
        burst.clear();
        expected == 512
    });
    assert_eq!(narrow.slave.details().unwrap().tx[0].stats.dropped(), 0);
    drop(running);
}

#[test]
fn a_task_that_receives_changes_and_sends_changes_each_packet_once() {
    let wide = Pair::of(|builder| builder);
    let narrow = Pair::with(|builder| builder, |builder| builder.ring_size(8));
    let mut rounds_with_waiting = 0;
    let stop = Stop::new().unwrap();
    let hops = |(rx, tx): &mut (RxQueue, TxQueue), burst: &mut Burst| {
        rx.receive(burst);
        rounds_with_waiting += u64::from(burst.waiting() > 0);
        for packet in &mut *burst {
            packet[8] += 1;
        }
        burst.retain(|packet| {
            packet[9] += 1;
            true
        });
        for index in 0..burst.len() {
            burst[index][10] += 1;
        }
        tx.send(burst);
    };
    let queues = (wide.master.rx(0).unwrap(), narrow.slave.tx(0).unwrap());
    let workers = Workers::new().burst(32).anywhere(queues, hops);
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut tx, mut rx) = (wide.slave.tx(0).unwrap(), narrow.master.rx(0).unwrap());
            let (mut out, mut back) = (Burst::new(64).unwrap(), Burst::new(2).unwrap());
            let (mut next, mut expected) = (0u64, 0u64);
            until("all packets", || {
                while next < 2000 && out.push(&[&next.to_le_bytes()[..], &[0; 56]].concat()).is_ok() {
                    next += 1;
                }
                tx.send(&mut out);
                rx.receive(&mut back);
                for packet in &back {
                    assert_eq!(packet[..11], [&expected.to_le_bytes()[..], &[1, 1, 1]].concat());
                    expected += 1;
                }
                back.clear();
                expected == 2000
            });
            stop.stop();
        });
        workers.run_until(&stop).unwrap();
    });
    assert!(rounds_with_waiting > 0, "the ring was never full");
}

#[test]
fn tasks_borrow_from_whoever_runs_them() {
    let (mut client, near) = loopback(64);
    let (far, server) = loopback(64);
    let stop = Stop::new().unwrap();
    let (mut seen, mut rounds) = (Vec::new(), 0);
    let mut queues = [(near.rx, far.tx)];
    let work = |pairs: &mut &mut [(LoopbackRx, LoopbackTx)], burst: &mut Burst| {
        for (rx, tx) in &mut **pairs {
            rx.receive(burst);
            seen.extend(burst.iter().map(<[u8]>::len));
            tx.send(burst);
        }
        if seen.len() == 3 {
            stop.stop();
        }
    };
    let mut burst = Burst::new(3).unwrap();
    for len in [60, 61, 62] {
        burst.push(&vec![0; len]).unwrap();
    }
    client.tx.send(&mut burst);
    let workers = Workers::new().anywhere(&mut queues[..], work).anywhere((), |(), _| rounds += 1);
    let stats = workers.run_until(&stop).unwrap();
    assert_eq!((seen, stats.len()), (vec![60, 61, 62], 2));
    assert_eq!(rounds, stats[1].rounds);
    // and the queues are still here
    assert_eq!((queues[0].0.received(), queues[0].1.sent()), (3, 3));
    drop(server);
    let error = Workers::new().anywhere((), |(), _| panic!("on purpose")).anywhere((), |(), _| rounds += 1);
    assert!(matches!(error.run_until(&Stop::new().unwrap()), Err(Error::Worker { .. })));
    let mut never = 0;
    let error = Workers::new().anywhere((), |(), _| never += 1).on_core(1023, (), |(), _| ());
    assert!(matches!(error.run_until(&Stop::new().unwrap()), Err(Error::Core(_))));
}

#[test]
fn bursts_of_workers_have_the_headroom_that_was_asked_for() {
    let pair = Pair::of(|builder| builder);
    let queues = (pair.master.rx(0).unwrap(), pair.master.tx(0).unwrap());
    let tag = |(rx, tx): &mut (RxQueue, TxQueue), burst: &mut Burst| {
        rx.receive(burst);
        for index in 0..burst.len() {
            burst.prepend(index, 40).unwrap()[..40].fill(0xee);
        }
        tx.send(burst);
    };
    let running = Workers::new().headroom(40).anywhere(queues, tag).start().unwrap();
    let (mut tx, mut rx) = (pair.slave.tx(0).unwrap(), pair.slave.rx(0).unwrap());
    let mut burst = Burst::new(8).unwrap();
    for number in 0..8 {
        burst.push(&packet(64, number)).unwrap();
    }
    tx.send(&mut burst);
    until("all packets", || {
        rx.receive(&mut burst);
        burst.len() == 8
    });
    for (got, number) in burst.iter().zip(0..) {
        assert_eq!(got[..40], [0xee; 40]);
        check(&got[40..], number);
    }
    drop(running);
    let error = Workers::new().headroom(1025).anywhere((), |(), _| ()).start().unwrap_err();
    assert!(error.to_string().contains("headroom"), "{error}");
}

/// Packets for a ring that is full and that nobody empties: more than it holds are in `wide`, and the worker has slept for a
/// while. What it did meanwhile is bounded by the time, not by the speed of the processor.
fn sleeps_while_stuck(running: Running, stuck: impl FnMut() -> bool) {
    until("a full ring", stuck);
    let began = Instant::now();
    thread::sleep(Duration::from_millis(300));
    running.stop().stop();
    let stats = running.wait().unwrap()[0];
    // a nap takes a millisecond; up to ten rounds to fall asleep each time that something moved
    let naps = u64::try_from(began.elapsed().as_millis()).unwrap() + 100;
    assert!(stats.sleeps > 10 && stats.rounds < 3 * naps + 12 * stats.busy, "{stats:?} in {naps} ms");
}

#[test]
fn a_worker_sleeps_while_its_burst_waits_for_a_full_ring() {
    let wide = Pair::of(|builder| builder);
    let narrow = Pair::with(|builder| builder, |builder| builder.ring_size(8));
    let queues = (wide.master.rx(0).unwrap(), narrow.slave.tx(0).unwrap());
    // one packet stays in the burst, and more come than the burst holds
    let running = Workers::new().idle(Idle::Sleep { after: 10 }).burst(4).anywhere(queues, forward);
    let running = running.start().unwrap();
    let mut burst = Burst::new(64).unwrap();
    while burst.push(&packet(64, 0)).is_ok() {}
    wide.slave.tx(0).unwrap().send(&mut burst);
    sleeps_while_stuck(running, || narrow.slave.details().unwrap().tx[0].stats.ring_full > 0);
}

#[test]
fn a_worker_sleeps_while_packets_wait_in_its_receive_ring() {
    let memif = Memif::start().unwrap();
    let memory = packet_memory::memory(&memif);
    let sockets = [address(), address()];
    let masters = [0, 1].map(|side| packet_memory::master(&memif, &sockets[side]));
    let slaves = [0, 1].map(|side| packet_memory::slave(&memif, &sockets[side], &memory));
    masters.iter().chain(&slaves).for_each(|end| end.wait_up(Some(PATIENCE)).unwrap());
    let queues = (slaves[0].rx(0).unwrap(), slaves[1].tx(0).unwrap());
    let running = Workers::new().idle(Idle::Sleep { after: 10 }).anywhere(queues, forward_in_place);
    let running = running.start().unwrap();
    let (mut tx, mut burst) = (masters[0].tx(0).unwrap(), Burst::new(64).unwrap());
    sleeps_while_stuck(running, || {
        let _ = burst.push(&packet(64, 0));
        tx.send(&mut burst);
        slaves[1].details().unwrap().tx[0].stats.ring_full > 0
    });
}

#[test]
fn workers_are_stopped_from_another_thread() {
    let stop = Stop::new().unwrap();
    let rounds = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&rounds);
    let idle = Idle::Sleep { after: 1 };
    let stopper = {
        let (stop, rounds) = (stop.clone(), Arc::clone(&rounds));
        thread::spawn(move || {
            until("a round", || rounds.load(Ordering::Relaxed) > 3);
            stop.stop();
        })
    };
    let work = move |(): &mut (), _: &mut Burst| {
        count.fetch_add(1, Ordering::Relaxed);
    };
    let stats = Workers::new().idle(idle).on_core(first_core(), (), work).run_until(&stop).unwrap();
    stopper.join().unwrap();
    assert!(stop.is_stopped());
    assert_eq!(stats.len(), 1);
    // one that was called before it began
    let stats = Workers::new().anywhere((), |(), _| ()).run_until(&stop).unwrap();
    assert_eq!(stats.len(), 1);
    assert!(Workers::new().run_until(&stop).unwrap().is_empty());
}

#[test]
fn a_missing_core_is_an_error_that_lists_the_allowed_ones() {
    let pair = Pair::of(|builder| builder);
    for core in [1023, 1024, usize::MAX] {
        let queues = (pair.slave.rx(0).unwrap(), pair.slave.tx(0).unwrap());
        let error = Workers::new()
            .on_core(first_core(), (), |(), _| ())
            .on_core(core, queues, forward)
            .start()
            .unwrap_err();
        assert!(matches!(error, Error::Core(_)), "{error}");
        let text = error.to_string();
        assert!(text.contains(&core.to_string()) && text.contains(&first_core().to_string()), "{text}");
    }
    // the queues came back
    pair.slave.rx(0).unwrap();
}

#[test]
fn a_panic_stops_all_workers_and_returns_their_queues() {
    let pair = Pair::of(|builder| builder);
    let queues = (pair.slave.rx(0).unwrap(), pair.slave.tx(0).unwrap());
    let running = Workers::new()
        .anywhere((), |(), _| ()) // is waited for first, and would run for ever
        .on_core(first_core(), queues, |_, _| panic!("on purpose"))
        .start()
        .unwrap();
    let error = running.wait().unwrap_err();
    assert!(
        matches!(&error, Error::Worker { place, .. } if *place == format!("core {}", first_core())),
        "{error}"
    );
    pair.slave.rx(0).unwrap();
}

#[test]
fn queue_sets_visit_receive_queues_and_count_activity() {
    let pair = Pair::of(|builder| builder.queues(3));
    let rx = |index| pair.slave.rx(index).unwrap();
    let mut queues = (vec![rx(0)], [rx(1)], (rx(2), pair.slave.tx(0).unwrap()), ());
    let mut seen = Vec::new();
    queues.each_rx(&mut |rx| seen.push(rx.index()));
    assert_eq!(seen, [0, 1, 2]);
    let before = queues.activity();
    let mut burst = Burst::new(1).unwrap();
    burst.push(b"one").unwrap();
    assert_eq!((queues.2).1.send(&mut burst), 1);
    assert_ne!(queues.activity(), before);
}
