//! Connections by their id. One that is being dealt with is out of the table, in the hands of one thread; what happens to
//! it meanwhile is kept for that thread.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::turn::{ConnectionId, Turn};
use crate::config::Timeouts;

/// The time of a client that has not named an interface.
const STRANGER: Timeouts = Timeouts { silence: Duration::from_secs(5), handshake: Duration::from_secs(5) };

enum Place {
    Here(Box<Connection>),
    /// In the hands of a thread, which looks here before it returns the connection.
    Out {
        readable: bool,
        turns: Vec<Turn>,
    },
}

struct Entry {
    /// None once the link is up.
    handshake: Option<Handshake>,
    place: Place,
}

/// The time of a handshake. A peer may be slow, as one is whose process has much else to do, but not silent.
#[derive(Clone, Copy)]
struct Handshake {
    began: Instant,
    /// When the last message was handled, at first when the connection was made.
    heard: Instant,
    timeouts: Timeouts,
}

impl Handshake {
    fn deadline(&self) -> Instant {
        (self.heard + self.timeouts.silence).min(self.began + self.timeouts.handshake)
    }
}

impl Entry {
    fn deadline(&self) -> Option<Instant> {
        self.handshake.as_ref().map(Handshake::deadline)
    }
}

#[derive(Default)]
pub(super) struct Connections {
    entries: HashMap<ConnectionId, Entry>,
    last: u64,
}

impl Connections {
    /// A client that has connected, in the hands of the caller. It has a short time to name an interface.
    pub(super) fn enter_stranger(&mut self, now: Instant) -> ConnectionId {
        self.enter(now, STRANGER)
    }

    /// A new connection, in the hands of the caller. Its handshake's time begins.
    pub(super) fn enter(&mut self, now: Instant, timeouts: Timeouts) -> ConnectionId {
        self.last += 1;
        let id = ConnectionId(self.last);
        let place = Place::Out { readable: false, turns: Vec::new() };
        self.entries
            .insert(id, Entry { handshake: Some(Handshake { began: now, heard: now, timeouts }), place });
        id
    }

    /// A client has named an interface, whose time applies from now on.
    pub(super) fn set_timeouts(&mut self, id: ConnectionId, timeouts: Timeouts) {
        if let Some(handshake) = self.handshake_of(id) {
            handshake.timeouts = timeouts;
        }
    }

    /// The handshake has come further: the peer's silence begins anew.
    pub(super) fn heard(&mut self, id: ConnectionId, now: Instant) {
        if let Some(handshake) = self.handshake_of(id) {
            handshake.heard = now;
        }
    }

    /// The handshake is over: the link is up, and may be silent.
    pub(super) fn finish_handshake(&mut self, id: ConnectionId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.handshake = None;
        }
    }

    fn handshake_of(&mut self, id: ConnectionId) -> Option<&mut Handshake> {
        self.entries.get_mut(&id)?.handshake.as_mut()
    }

    /// Gives the connection out for a turn. While somebody has it, that thread does this turn as well: it is taken. What
    /// is left in `turn` otherwise is to be dropped without the lock.
    pub(super) fn check_out(&mut self, id: ConnectionId, turn: &mut Option<Turn>) -> Option<Box<Connection>> {
        let place = &mut self.entries.get_mut(&id)?.place;
        if let Place::Out { readable, turns } = place {
            match turn {
                Some(Turn::Readable) => *readable = true,
                // the first reason to end it is the one that counts
                _ if turns.len() < 2 => turns.extend(turn.take()),
                _ => {}
            }
            return None;
        }
        match std::mem::replace(place, Place::Out { readable: false, turns: Vec::new() }) {
            Place::Here(connection) => Some(connection),
            Place::Out { .. } => None,
        }
    }

    /// Takes a connection back, or returns it with what has happened meanwhile.
    pub(super) fn check_in(&mut self, connection: Box<Connection>) -> Option<(Box<Connection>, Turn)> {
        let place = &mut self.entries.get_mut(&connection.id)?.place;
        if let Place::Out { readable, turns } = place {
            if !turns.is_empty() {
                return Some((connection, turns.remove(0)));
            }
            if std::mem::take(readable) {
                return Some((connection, Turn::Readable));
            }
        }
        *place = Place::Here(connection);
        None
    }

    /// Takes it out. Returns what has happened to it meanwhile, to be dropped without the lock.
    pub(super) fn remove(&mut self, id: ConnectionId) -> Vec<Turn> {
        match self.entries.remove(&id) {
            Some(Entry { place: Place::Out { turns, .. }, .. }) => turns,
            _ => Vec::new(),
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.entries.values().filter_map(Entry::deadline).min()
    }

    /// Connections whose time is over; they are reported once.
    pub(super) fn take_late(&mut self, now: Instant) -> Vec<ConnectionId> {
        let late =
            self.entries.iter_mut().filter(|(_, entry)| entry.deadline().is_some_and(|end| end <= now));
        let late = late.map(|(id, entry)| {
            entry.handshake = None;
            *id
        });
        late.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const TIMEOUTS: Timeouts =
        Timeouts { silence: Duration::from_secs(10), handshake: Duration::from_secs(60) };

    #[test]
    fn a_peer_that_answers_slowly_has_the_whole_time_of_a_handshake() {
        let (mut connections, start) = (Connections::default(), Instant::now());
        let id = connections.enter(start, TIMEOUTS);
        for second in (9..60).step_by(9) {
            let now = start + second * SECOND;
            assert_eq!(connections.take_late(now), []);
            connections.heard(id, now);
        }
        assert_eq!(connections.next_deadline(), Some(start + 60 * SECOND));
        assert_eq!(connections.take_late(start + 60 * SECOND), [id]);
        assert_eq!(connections.take_late(start + 600 * SECOND), [], "reported once");
    }

    #[test]
    fn a_silent_peer_is_late_after_its_silence() {
        let (mut connections, start) = (Connections::default(), Instant::now());
        let id = connections.enter(start, TIMEOUTS);
        connections.heard(id, start + SECOND);
        assert_eq!(connections.next_deadline(), Some(start + 11 * SECOND));
        assert_eq!(connections.take_late(start + 11 * SECOND), [id]);
        connections.heard(id, start + 12 * SECOND);
        assert_eq!(connections.next_deadline(), None, "too late");
    }

    #[test]
    fn a_client_has_a_short_time_until_it_names_an_interface() {
        let (mut connections, start) = (Connections::default(), Instant::now());
        let (silent, named) = (connections.enter_stranger(start), connections.enter_stranger(start));
        connections.heard(named, start + SECOND);
        connections.set_timeouts(named, TIMEOUTS);
        assert_eq!(connections.take_late(start + 5 * SECOND), [silent]);
        assert_eq!(connections.next_deadline(), Some(start + 11 * SECOND));
        connections.finish_handshake(named);
        assert_eq!(connections.next_deadline(), None);
    }
}
