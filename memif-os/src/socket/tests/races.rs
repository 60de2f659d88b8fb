//! Many masters that start on one path at the same time.

use std::os::unix::net::UnixDatagram;
use std::sync::Barrier;
use std::thread;

use super::*;
use crate::socket::SocketError;

/// Binds from many threads at once, again and again: one of them must win each time, the others be told.
fn one_wins(stale: bool) {
    const MASTERS: usize = 8;
    let dir = TempDir::new().unwrap();
    let (address, path) = (address(&dir), dir.path().join("memif.sock"));
    for round in 0..400 {
        if stale {
            drop(UnixDatagram::bind(&path).unwrap());
        }
        let start = Barrier::new(MASTERS);
        let results: Vec<_> = thread::scope(|scope| {
            let bind = || {
                start.wait();
                Listener::bind(&address, 8)
            };
            let masters: Vec<_> = (0..MASTERS).map(|_| scope.spawn(bind)).collect();
            masters.into_iter().map(|master| master.join().unwrap()).collect()
        });
        let winners: Vec<_> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
        assert_eq!(winners.len(), 1, "round {round}: {results:?}");
        let told = |error: &SocketError| matches!(error, SocketError::InUse { .. });
        assert!(results.iter().filter_map(|result| result.as_ref().err()).all(told), "{results:?}");
        let _client = Channel::connect(&address).unwrap();
        assert!(winners[0].accept().unwrap().is_some());
        drop(results);
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn of_many_masters_that_start_on_one_path_one_wins() {
    one_wins(false);
}

#[test]
fn of_many_masters_that_take_over_a_stale_file_one_wins() {
    one_wins(true);
}
