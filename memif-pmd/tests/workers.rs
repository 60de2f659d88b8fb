//! Threads on cores: tasks, idling, stopping, and packets that wait for room.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use common::{PATIENCE, Pair, check, exchange, packet, until};
use memif_os::cpu::allowed_cores;
use memif_pmd::{Burst, Error, ErrorCode, HugePages, Idle, Queues, RxQueue, Stop, TxQueue, Workers, forward};

fn first_core() -> usize {
    allowed_cores()[0]
}

/// Sends back what it receives.
fn echo((rx, tx): &mut (RxQueue, TxQueue), burst: &mut Burst) {
    rx.receive(burst);
    tx.send(burst);
}

#[test]
fn a_sleeping_worker_gets_every_packet_and_rests_in_between() {
    let pair = Pair::of(|builder| builder);
    let workers = Workers::new().idle(Idle::Sleep { after: 10 });
    let running =
        workers.anywhere((pair.master.rx(0).unwrap(), pair.master.tx(0).unwrap()), echo).start().unwrap();
    let (mut tx, mut rx) = (pair.slave.tx(0).unwrap(), pair.slave.rx(0).unwrap());
    let mut burst = Burst::new(1).unwrap();
    for number in 0..500 {
        burst.push(&packet(64, number));
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
fn other_ways_to_idle_receive_as_well() {
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
fn tasks_of_one_core_have_queues_of_any_shape() {
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
fn what_a_full_ring_does_not_take_waits_in_order() {
    // from a large ring to a small one that nobody empties for a while
    let wide = Pair::of(|builder| builder);
    let narrow = Pair::with(|builder| builder, |builder| builder.ring_size(8));
    let queues = (wide.master.rx(0).unwrap(), narrow.slave.tx(0).unwrap());
    let running = Workers::new().burst(64).anywhere(queues, forward).start().unwrap();
    let (mut tx, mut rx) = (wide.slave.tx(0).unwrap(), narrow.master.rx(0).unwrap());
    let mut burst = Burst::new(512).unwrap();
    for number in 0..512 {
        burst.push(&packet(64, number));
    }
    assert_eq!(tx.send(&mut burst), 512);
    until("a full ring", || narrow.slave.details().unwrap().tx[0].stats.ring_full > 100);
    let mut expected = 0;
    until("all of them", || {
        rx.receive(&mut burst);
        for got in burst.iter() {
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
fn another_thread_stops_them() {
    let stop = Stop::new();
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
fn a_core_that_is_not_there_is_an_error_that_lists_those_that_are() {
    let pair = Pair::of(|builder| builder);
    for core in [1023, 1024, usize::MAX] {
        let queues = (pair.slave.rx(0).unwrap(), pair.slave.tx(0).unwrap());
        let error = Workers::new()
            .on_core(first_core(), (), |(), _| ())
            .on_core(core, queues, forward)
            .start()
            .unwrap_err();
        assert!(matches!(error, Error::Core(_)), "{error}");
        assert_eq!(error.code(), ErrorCode::InvalArg);
        let text = error.to_string();
        assert!(text.contains(&core.to_string()) && text.contains(&first_core().to_string()), "{text}");
    }
    // the queues came back
    pair.slave.rx(0).unwrap();
}

#[test]
fn a_worker_that_panics_is_an_error_and_gives_its_queues_back() {
    let pair = Pair::of(|builder| builder);
    let queues = (pair.slave.rx(0).unwrap(), pair.slave.tx(0).unwrap());
    let running = Workers::new()
        .on_core(first_core(), queues, |_, _| panic!("on purpose"))
        .anywhere((), |(), _| ())
        .start()
        .unwrap();
    let error = running.wait().unwrap_err();
    assert!(
        matches!(&error, Error::Worker { place, .. } if *place == format!("core {}", first_core())),
        "{error}"
    );
    assert_eq!(error.code(), ErrorCode::Syscall);
    pair.slave.rx(0).unwrap();
}

#[test]
fn sets_of_queues_know_their_queues() {
    let pair = Pair::of(|builder| builder.queues(3));
    let rx = |index| pair.slave.rx(index).unwrap();
    let mut queues = (vec![rx(0)], [rx(1)], (rx(2), pair.slave.tx(0).unwrap()), ());
    let mut seen = Vec::new();
    queues.each_rx(&mut |rx| seen.push(rx.index()));
    assert_eq!(seen, [0, 1, 2]);
    let before = queues.activity();
    let mut burst = Burst::new(1).unwrap();
    burst.push(b"one");
    assert_eq!((queues.2).1.send(&mut burst), 1);
    assert_ne!(queues.activity(), before);
}
