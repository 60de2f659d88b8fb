//! Round trips over iceoryx2, a library of shared memory for processes that trust each other: what they take without memif's
//! checks.

use std::env;
use std::fmt::Display;
use std::hint;
use std::process;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;
use memif_os::cpu::pin_current;
use rustix::process::geteuid;

use crate::error::Error;
use crate::histogram;
use crate::measured::Measured;
use crate::pair::{Cores, Window};
use crate::ping_pong::{StopAtEnd, joined};
use crate::presence::Watch;
use crate::work::SMALLEST;

/// What is sent: as many bytes as memif's packets.
type Message = [u8; SMALLEST];

/// Longest time of a round trip.
const LONGEST: Duration = Duration::from_secs(1);
/// Polls between two looks at the clock.
const POLLS: u32 = 1024;

/// Number of the next pair of services, which is part of their names.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// One end: what it sends on, and what it receives on.
struct End {
    publisher: Publisher<ipc::Service, Message, ()>,
    subscriber: Subscriber<ipc::Service, Message, ()>,
}

impl End {
    /// Joins the services of these names.
    fn new(sends: &str, receives: &str) -> Result<Self, Error> {
        let node = NodeBuilder::new().config(&config()?).create::<ipc::Service>().map_err(failed)?;
        let join = |name: &str| {
            let name = ServiceName::new(name).map_err(failed)?;
            node.service_builder(&name).publish_subscribe::<Message>().open_or_create().map_err(failed)
        };
        Ok(Self {
            publisher: join(sends)?.publisher_builder().create().map_err(failed)?,
            subscriber: join(receives)?.subscriber_builder().create().map_err(failed)?,
        })
    }

    #[inline(always)]
    fn send(&self, message: Message) -> Result<(), Error> {
        self.publisher.send_copy(message).map(drop).map_err(failed)
    }

    #[inline(always)]
    fn receive(&self) -> Result<Option<Message>, Error> {
        self.subscriber.receive().map(|sample| sample.map(|sample| *sample)).map_err(failed)
    }

    /// Sends a message and polls until it is back.
    fn round_trip(&self, message: Message) -> Result<(), Error> {
        self.send(message)?;
        // only a long wait looks at the clock, which would take part of the time that is measured
        let mut deadline = None;
        loop {
            for _ in 0..POLLS {
                if self.receive()?.is_some() {
                    return Ok(());
                }
            }
            if Instant::now() > *deadline.get_or_insert_with(|| Instant::now() + LONGEST) {
                return Err(Error::Unfit("iceoryx2 did not bring a message back within a second".into()));
            }
        }
    }
}

/// Files of this user's own: iceoryx2's usual ones belong to the first user on the machine.
fn config() -> Result<Config, Error> {
    let user = geteuid().as_raw();
    let folder = env::temp_dir().join(format!("memif-bench-iceoryx2-{user}"));
    let mut config = Config::default();
    config.global.set_root_path(&Path::new(folder.as_os_str().as_encoded_bytes()).map_err(unnamed)?);
    config.global.prefix = FileName::new(format!("memif_bench_{user}_").as_bytes()).map_err(unnamed)?;
    Ok(config)
}

fn unnamed(error: SemanticStringError) -> Error {
    Error::Unfit(format!("iceoryx2 does not take the name of a file: {error:?}"))
}

fn failed(error: impl Display) -> Error {
    Error::Unfit(format!("iceoryx2: {error}"))
}

/// Measures round trips of 64 bytes between two threads, each pinned to its core. Both poll, and copy each message in and out.
/// The values are those of [`histogram::ROUND_TRIP`], and then the share of its core that the echo took, in percent.
///
/// # Errors
/// A core or a service cannot be used.
pub(crate) fn round_trips(cores: Cores, window: Window) -> Result<Measured, Error> {
    set_log_level(LogLevel::Error);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = |way| format!("memif-bench {} {number} {way}", process::id());
    let (there, back) = (name("there"), name("back"));
    let (both, done) = (Barrier::new(2), AtomicBool::new(false));
    thread::scope(|scope| {
        let echo = scope.spawn(|| {
            let end = pin_current(cores.rx).map_err(Error::from).and_then(|()| End::new(&back, &there));
            both.wait();
            let (end, watch) = (end?, Watch::start(cores.rx)?);
            while !done.load(Ordering::Relaxed) {
                match end.receive()? {
                    Some(message) => end.send(message)?,
                    None => hint::spin_loop(),
                }
            }
            watch.end()
        });
        let ping = scope.spawn(|| {
            let _stop = StopAtEnd(&done);
            let end = pin_current(cores.tx).map_err(Error::from).and_then(|()| End::new(&there, &back));
            both.wait();
            let (end, watch) = (end?, Watch::start(cores.tx)?);
            let round_trips =
                histogram::round_trips(window, Duration::ZERO, || end.round_trip([0x5a; SMALLEST]))?;
            Ok((round_trips, watch.end()?))
        });
        let (ping, echo) = (joined(ping), joined(echo));
        let ((round_trips, ours), theirs) = (ping?, echo?);
        let values = [&round_trips[..], &[theirs.ran * 100.0]].concat();
        Ok(Measured::new(values, ours.lost.max(theirs.lost)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_receives_what_the_other_one_sends() {
        let name = |way| format!("memif-bench test {} {way}", process::id());
        let (ping, echo) = (End::new(&name(1), &name(2)).unwrap(), End::new(&name(2), &name(1)).unwrap());
        for number in 0..100 {
            let message = [number; SMALLEST];
            ping.send(message).unwrap();
            assert_eq!(ping.receive().unwrap(), None);
            assert_eq!(echo.receive().unwrap(), Some(message));
            echo.send(message).unwrap();
            assert_eq!(ping.receive().unwrap(), Some(message));
        }
    }
}
