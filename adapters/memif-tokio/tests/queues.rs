//! Receiving and sending: no wake-up is lost, none of the packets either, and nobody starves.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::{Pair, fill, patient, push, take, until};
use memif_pmd::{Burst, Role};
use memif_tokio::Error;
use tokio::time::timeout;

const ROLES: [Role; 2] = [Role::Master, Role::Slave];

/// Receives 2000 packets that come one by one, each once the one before has arrived: every one needs a wake-up.
async fn receive_one_by_one(role: Role) {
    let pair = Pair::new(role, 1024).await;
    let (mut rx, mut tx) = (pair.awaited.rx(0).unwrap(), pair.plain.tx(0).unwrap());
    let arrived = Arc::new(AtomicU64::new(0));
    let sender = thread::spawn({
        let arrived = Arc::clone(&arrived);
        move || {
            let mut burst = Burst::new(1).unwrap();
            for number in 0..2000 {
                push(&mut burst, number..number + 1);
                until("room", || tx.send(&mut burst) > 0);
                until("the packet before", || arrived.load(Ordering::Acquire) > number);
            }
        }
    });
    let (mut burst, mut expected) = (Burst::new(8).unwrap(), 0);
    while expected < 2000 {
        assert_eq!(patient(rx.recv(&mut burst)).await.unwrap(), 1);
        take(&mut burst, &mut expected);
        arrived.store(expected, Ordering::Release);
    }
    sender.join().unwrap();
    assert_eq!((rx.stats().packets, rx.stats().dropped()), (2000, 0));
}

#[tokio::test]
async fn no_wake_up_is_lost_on_one_thread() {
    for role in ROLES {
        receive_one_by_one(role).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_lost_on_several_threads() {
    for role in ROLES {
        tokio::spawn(receive_one_by_one(role)).await.unwrap();
    }
}

#[tokio::test]
async fn a_sender_waits_for_room_and_all_packets_arrive_in_order() {
    for role in ROLES {
        let pair = Pair::new(role, 8).await;
        let (mut tx, mut rx) = (pair.awaited.tx(0).unwrap(), pair.plain.rx(0).unwrap());
        let receiver = thread::spawn(move || {
            let (mut burst, mut expected) = (Burst::new(3).unwrap(), 0);
            until("all packets", || {
                rx.receive(&mut burst);
                take(&mut burst, &mut expected);
                expected == 1600
            });
        });
        let mut burst = Burst::new(32).unwrap();
        for first in (0..1600).step_by(32) {
            push(&mut burst, first..first + 32);
            patient(tx.send(&mut burst)).await.unwrap();
            assert_eq!(burst.room(), 32);
        }
        receiver.join().unwrap();
        assert_eq!((tx.stats().packets, tx.stats().dropped()), (1600, 0));
        assert!(tx.stats().ring_full > 0);
    }
}

#[tokio::test]
async fn a_receive_that_is_dropped_loses_nothing() {
    for role in ROLES {
        let pair = Pair::new(role, 1024).await;
        let (mut rx, mut tx) = (pair.awaited.rx(0).unwrap(), pair.plain.tx(0).unwrap());
        let mut burst = Burst::new(3).unwrap();
        // nothing is there
        timeout(Duration::ZERO, rx.recv(&mut burst)).await.unwrap_err();
        let sender = thread::spawn(move || {
            let mut burst = Burst::new(4).unwrap();
            for first in (0..2000).step_by(4) {
                push(&mut burst, first..first + 4);
                until("room", || {
                    tx.send(&mut burst);
                    burst.is_empty()
                });
                // lets the receiver run out of packets
                thread::yield_now();
            }
        });
        let mut expected = 0;
        while expected < 2000 {
            tokio::select! {
                biased;
                received = patient(rx.recv(&mut burst)) => {
                    assert_eq!(received.unwrap(), burst.len());
                    take(&mut burst, &mut expected);
                }
                () = tokio::task::yield_now() => {}
            }
        }
        sender.join().unwrap();
    }
}

#[tokio::test]
async fn a_send_that_is_dropped_leaves_what_it_has_not_sent_in_the_burst() {
    for role in ROLES {
        let pair = Pair::new(role, 8).await;
        let (mut tx, mut rx) = (pair.awaited.tx(0).unwrap(), pair.plain.rx(0).unwrap());
        let (mut burst, mut received, mut expected) = (Burst::new(20).unwrap(), Burst::new(64).unwrap(), 0);
        push(&mut burst, 0..20);
        // once its first packets are in the ring, which may be after the peer has posted buffers
        while burst.len() == 20 {
            timeout(Duration::from_millis(1), tx.send(&mut burst)).await.unwrap_err();
        }
        assert_eq!(burst.len(), 12, "nobody receives");
        timeout(Duration::from_millis(1), tx.send(&mut burst)).await.unwrap_err();
        assert_eq!(burst.len(), 12);
        let receiver = thread::spawn(move || {
            until("all packets", || {
                rx.receive(&mut received);
                take(&mut received, &mut expected);
                expected == 20
            });
        });
        patient(tx.send(&mut burst)).await.unwrap();
        receiver.join().unwrap();
        assert_eq!(tx.stats().packets, 20);
    }
}

#[tokio::test]
async fn a_receiver_that_always_finds_packets_lets_other_tasks_run() {
    let pair = Pair::new(Role::Master, 1024).await;
    let (mut rx, mut tx) = (pair.awaited.rx(0).unwrap(), pair.plain.tx(0).unwrap());
    let mut burst = Burst::new(1024).unwrap();
    fill(&mut burst);
    assert_eq!(tx.send(&mut burst), 1024);
    let received = Arc::new(AtomicU64::new(0));
    let receiver = tokio::spawn({
        let received = Arc::clone(&received);
        async move {
            let mut burst = Burst::new(1).unwrap();
            while rx.recv(&mut burst).await.is_ok() {
                burst.clear();
                received.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    // the receiver has run once when this task, on the same thread, goes on
    tokio::task::yield_now().await;
    let once = received.load(Ordering::Relaxed);
    assert!((1..1024).contains(&once), "{once} packets without a break");
    patient(async {
        while received.load(Ordering::Relaxed) < 1024 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(pair.awaited);
    patient(receiver).await.unwrap();
}

#[tokio::test]
async fn a_sender_that_always_finds_room_lets_other_tasks_run() {
    let pair = Pair::new(Role::Slave, 1024).await;
    let mut tx = pair.awaited.tx(0).unwrap();
    let sent = Arc::new(AtomicU64::new(0));
    let sender = tokio::spawn({
        let sent = Arc::clone(&sent);
        async move {
            let mut burst = Burst::new(1).unwrap();
            fill(&mut burst);
            while tx.send(&mut burst).await.is_ok() {
                fill(&mut burst);
                sent.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    tokio::task::yield_now().await;
    let once = sent.load(Ordering::Relaxed);
    assert!((1..1024).contains(&once), "{once} packets without a break");
    drop(pair.awaited);
    patient(sender).await.unwrap();
}

#[tokio::test]
async fn queues_go_on_with_the_next_link() {
    for role in ROLES {
        let mut pair = Pair::new(role, 1024).await;
        let (mut rx, mut tx) = (pair.awaited.rx(0).unwrap(), pair.awaited.tx(0).unwrap());
        let mut burst = Burst::new(8).unwrap();
        for round in 0..3 {
            let (mut plain_rx, mut plain_tx) = (pair.plain.rx(0).unwrap(), pair.plain.tx(0).unwrap());
            // it waits, when a packet comes
            let sender = thread::spawn(move || {
                let mut burst = Burst::new(1).unwrap();
                push(&mut burst, round..round + 1);
                until("room", || plain_tx.send(&mut burst) > 0);
            });
            patient(rx.recv(&mut burst)).await.unwrap();
            let mut expected = round;
            take(&mut burst, &mut expected);
            sender.join().unwrap();

            push(&mut burst, round..round + 1);
            patient(tx.send(&mut burst)).await.unwrap();
            until("the packet", || plain_rx.receive(&mut burst) > 0);
            let mut expected = round;
            take(&mut burst, &mut expected);
            drop(plain_rx);
            pair.reconnect(1024).await;
        }
    }
}

#[tokio::test]
async fn a_receiver_waits_across_links() {
    let mut pair = Pair::new(Role::Master, 1024).await;
    let mut rx = pair.awaited.rx(0).unwrap();
    let receiver = tokio::spawn(async move {
        let (mut burst, mut expected) = (Burst::new(8).unwrap(), 7);
        rx.recv(&mut burst).await.unwrap();
        take(&mut burst, &mut expected);
    });
    for _ in 0..3 {
        // the receiver is waiting by now
        tokio::task::yield_now().await;
        pair.reconnect(1024).await;
    }
    let (mut tx, mut burst) = (pair.plain.tx(0).unwrap(), Burst::new(1).unwrap());
    push(&mut burst, 7..8);
    assert_eq!(tx.send(&mut burst), 1);
    patient(receiver).await.unwrap();
}

#[tokio::test]
async fn dropping_the_interface_ends_all_waiting() {
    for shut_down in [false, true] {
        let pair = Pair::new(Role::Master, 8).await;
        let (mut rx, mut tx) = (pair.awaited.rx(0).unwrap(), pair.awaited.tx(0).unwrap());
        let receiver = tokio::spawn(async move { rx.recv(&mut Burst::new(1).unwrap()).await });
        let sender = tokio::spawn(async move {
            let mut burst = Burst::new(32).unwrap();
            loop {
                fill(&mut burst);
                if let Err(error) = tx.send(&mut burst).await {
                    return error;
                }
            }
        });
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        // the control plane's end is the interface's end too
        let kept = if shut_down {
            pair.memif.shut_down();
            Some(pair.awaited)
        } else {
            drop(pair.awaited);
            None
        };
        assert!(matches!(patient(receiver).await.unwrap(), Err(Error::Closed)));
        assert!(matches!(patient(sender).await.unwrap(), Error::Closed));
        if let Some(interface) = kept {
            assert!(matches!(patient(interface.up()).await, Err(Error::Closed)));
        }
    }
}

#[tokio::test]
async fn a_burst_with_packets_is_not_waited_with() {
    let pair = Pair::new(Role::Slave, 8).await;
    let (mut rx, mut tx) = (pair.awaited.rx(0).unwrap(), pair.awaited.tx(0).unwrap());
    let mut burst = Burst::new(20).unwrap();
    push(&mut burst, 0..20);
    assert_eq!(patient(rx.recv(&mut burst)).await.unwrap(), 0);
    until("a full ring", || tx.try_send(&mut burst) > 0 || burst.len() < 20);
    // set aside what was not sent: the burst shows nothing, and is not empty
    assert_eq!(patient(rx.recv(&mut burst)).await.unwrap(), 0);
    assert!(burst.is_empty() && burst.waiting() > 0);
}

#[tokio::test]
async fn a_packet_behind_many_that_are_dropped_is_received() {
    for role in ROLES {
        let pair = Pair::new(role, 256).await;
        let (mut rx, mut tx) = (pair.awaited.rx(0).unwrap(), pair.plain.tx(0).unwrap());
        let mut burst = Burst::new(1).unwrap();
        let mut expected = 0;
        for number in 0..3_u64 {
            until("buffers", || tx.reserve(101, 2048).len() == 101);
            let mut buffers = tx.reserve(101, 2048);
            // the others are empty, which no packet may be
            assert_eq!(buffers.fill(100, &number.to_be_bytes().repeat(8)), 64);
            buffers.commit(101);
            patient(rx.recv(&mut burst)).await.unwrap();
            take(&mut burst, &mut expected);
        }
        assert_eq!(rx.stats().dropped(), 300);
    }
}
