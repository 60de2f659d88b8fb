//! Streams, sinks and events; the example.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::pin::pin;

use common::{Pair, patient, push, take, until};
use futures_util::{SinkExt as _, StreamExt as _};
use memif_pmd::{Burst, Event, Role, RxQueue, TxQueue};
use memif_tokio::{BurstPool, Error};

#[path = "../examples/tokio_echo.rs"]
#[allow(dead_code, reason = "the program's main")]
mod echo;

/// Sends `count` packets, and waits until they come back in order.
fn send_and_check(tx: &mut TxQueue, rx: &mut RxQueue, count: u64) {
    let (mut out, mut back) = (Burst::new(32).unwrap(), Burst::new(32).unwrap());
    let (mut next, mut expected) = (0, 0);
    until("all packets", || {
        let more = (out.room() as u64).min(count - next);
        push(&mut out, next..next + more);
        next += more;
        tx.send(&mut out);
        rx.receive(&mut back);
        take(&mut back, &mut expected);
        expected == count
    });
}

#[tokio::test]
async fn a_stream_is_forwarded_to_a_sink_until_the_interface_is_dropped() {
    let (left, right) = (Pair::new(Role::Master, 16).await, Pair::new(Role::Slave, 16).await);
    let pool = BurstPool::new(4);
    let stream = left.awaited.rx(0).unwrap().into_stream(&pool);
    let sink = right.awaited.tx(0).unwrap().into_sink(&pool);
    let forwarder = tokio::spawn(stream.forward(sink));
    let (mut tx, mut rx) = (left.plain.tx(0).unwrap(), right.plain.rx(0).unwrap());
    let client = std::thread::spawn(move || send_and_check(&mut tx, &mut rx, 2000));
    while !client.is_finished() {
        tokio::task::yield_now().await;
    }
    client.join().unwrap();
    drop(left.awaited);
    patient(forwarder).await.unwrap().unwrap();
}

#[tokio::test]
async fn bursts_go_round() {
    let pool = BurstPool::new(4);
    let mut burst = pool.take().unwrap();
    burst.push(b"a packet").unwrap();
    let memory = burst[0].as_ptr();
    pool.give(burst);
    // of another capacity
    pool.give(Burst::new(5).unwrap());
    let mut burst = pool.take().unwrap();
    assert!(burst.is_empty());
    burst.push(b"another").unwrap();
    assert_eq!((burst[0].as_ptr(), burst.capacity()), (memory, 4));
    assert_eq!(pool.clone().take().unwrap().capacity(), 4);
}

#[tokio::test]
async fn a_sink_takes_a_burst_when_the_one_before_is_in_the_ring() {
    let pair = Pair::new(Role::Slave, 8).await;
    let pool = BurstPool::new(20);
    let mut sink = pair.awaited.tx(0).unwrap().into_sink(&pool);
    let mut rx = pair.plain.rx(0).unwrap();
    let mut burst = pool.take().unwrap();
    push(&mut burst, 0..20);
    sink.feed(burst).await.unwrap();
    let mut more = pool.take().unwrap();
    push(&mut more, 20..21);
    let error = pin!(&mut sink).start_send_unpin(more).unwrap_err();
    assert!(matches!(error, Error::NotReady));

    let receiver = std::thread::spawn(move || {
        let (mut burst, mut expected) = (Burst::new(8).unwrap(), 0);
        until("all packets", || {
            rx.receive(&mut burst);
            take(&mut burst, &mut expected);
            expected == 20
        });
    });
    patient(sink.close()).await.unwrap();
    receiver.join().unwrap();
    let (tx, unsent) = sink.into_inner();
    assert_eq!((tx.stats().packets, unsent.is_none()), (20, true));
}

#[tokio::test]
async fn events_come_in_order_and_end_with_the_interface() {
    let mut pair = Pair::new(Role::Master, 1024).await;
    assert_eq!(patient(pair.events.recv()).await, Some(Event::Connected));
    pair.reconnect(1024).await;
    assert!(matches!(patient(pair.events.next()).await, Some(Event::Disconnected(_))));
    assert_eq!(patient(pair.events.next()).await, Some(Event::Connected));
    drop(pair.awaited);
    assert!(matches!(patient(pair.events.recv()).await, Some(Event::Disconnected(_))));
    assert_eq!(patient(pair.events.recv()).await, None);
    assert_eq!((patient(pair.events.next()).await, pair.events.missed()), (None, 0));
}

#[tokio::test]
async fn the_end_of_the_control_plane_ends_streams() {
    let mut pair = Pair::new(Role::Master, 1024).await;
    let mut stream = pair.awaited.rx(0).unwrap().into_stream(&BurstPool::new(4));
    pair.memif.shut_down();
    assert!(patient(stream.next()).await.is_none());
    while patient(pair.events.recv()).await.is_some() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_sends_everything_back() {
    let pair = Pair::new(Role::Master, 64).await;
    let task = tokio::spawn(echo::echo(pair.awaited.rx(0).unwrap(), pair.awaited.tx(0).unwrap()));
    let (mut tx, mut rx) = (pair.plain.tx(0).unwrap(), pair.plain.rx(0).unwrap());
    let client = tokio::task::spawn_blocking(move || send_and_check(&mut tx, &mut rx, 5000));
    client.await.unwrap();
    drop(pair.awaited);
    assert_eq!(patient(task).await.unwrap().unwrap(), 5000);
}
