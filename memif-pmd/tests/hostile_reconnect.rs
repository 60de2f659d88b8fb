//! Masters that end links: the slave comes back at once, and not for ever.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

pub(crate) mod common;
mod hostile_peer;

use std::time::{Duration, Instant};

use common::{PATIENCE, address, events, next};
use hostile_peer::master::{ScriptedListener, Step};
use hostile_peer::{Arena, VICTIM};
use memif_os::huge_pages::HugePages;
use memif_pmd::{Disconnect, Event, Memif, Polled};
use memif_ring::message::{Message, Reason};

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn a_slave_comes_back_at_once_to_a_master_that_ended_its_link() {
    let (arena, listener) = Arena::slave_with(|builder| builder.reconnect(DAY));
    // end of file, a fault, and a word
    let last_words = [
        None,
        Some(Message::Ack),
        Some(Message::Disconnect { code: 0, reason: Reason::truncated("restarting") }),
    ];
    for (connects, last_word) in (1..).zip(last_words) {
        let master = listener.until(Step::Up);
        arena.victim.wait_up(Some(PATIENCE)).unwrap();
        assert_eq!(arena.details().connects, connects);
        if let Some(word) = last_word {
            master.wire.send(&word, &[]);
        }
    }
    drop(listener.until(Step::Up));
}

#[test]
fn a_master_that_ends_every_link_does_not_keep_its_slave_busy() {
    let memif = Memif::new().unwrap();
    let socket = address();
    let listener = ScriptedListener::new(&socket);
    let (handler, seen) = events();
    let builder = memif.interface(&socket).id(VICTIM).ring_size(16).huge_pages(HugePages::Off).reconnect(DAY);
    let _slave = builder.on_event(handler).open().unwrap();
    let began = Instant::now();
    let mut links = 0;
    let quiet = loop {
        let master = std::thread::scope(|scope| {
            let master = scope.spawn(|| listener.until(Step::Up));
            while seen.try_recv() != Ok(Event::Connected) {
                memif.poll(Some(Duration::from_millis(1))).unwrap();
            }
            master.join().unwrap()
        });
        links += 1;
        assert!(links < 1000 && began.elapsed() < PATIENCE, "{links} links");
        drop(master);
        // its end, and whatever follows by itself
        while memif.poll(Some(Duration::from_millis(200))).unwrap() != Polled::TimedOut {}
        assert_eq!(next(&seen), Event::Disconnected(Disconnect::Closed));
        if !listener_has_a_client(&listener) {
            break links;
        }
    };
    // the first, sixteen at once, and one for each second that has passed
    let most = 17 + began.elapsed().as_secs() + 1;
    assert!((17..=most).contains(&quiet), "{quiet} links in {:?}", began.elapsed());
}

fn listener_has_a_client(listener: &ScriptedListener) -> bool {
    use std::os::fd::AsFd;
    memif_os::event::poll_fds(&[listener.as_fd()], Some(Duration::ZERO)).unwrap() > 0
}
