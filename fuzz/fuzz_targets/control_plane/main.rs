//! The control plane as a whole, over real sockets: a master and a slave against peers that send any message at any time
//! with any descriptor on it, cut and punch the memory that they share, hang up, and let time pass. Whatever they do, each
//! poll comes to rest, what we say is well-formed and in order, peers that do nothing wrong are not blamed, the next
//! well-behaved peer gets a link that carries packets, a link beside it stays up and loses none, and no descriptor or
//! mapping is left at the end.
#![no_main]

#[path = "../../../memif-pmd/tests/common/mod.rs"]
mod common;
#[path = "../../../memif-pmd/tests/hostile_peer/mod.rs"]
mod hostile_peer;
#[path = "../peers/mod.rs"]
mod peers;
mod place;

use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;

use common::packet;
use hostile_peer::How;
use peers::act::{Act, Peer};
use peers::client::Client;
use peers::server::Server;
use place::{Place, Victims};

#[derive(Debug)]
enum Step {
    /// A slave by script connects to our master.
    Connect,
    /// A master by script takes our slave in.
    Accept,
    Client(u8, Act),
    Server(u8, Act),
    /// As [`Step::Connect`] and [`Step::Accept`], and as many right messages.
    Early(u8),
    /// On our master's queue, or our slave's.
    Receive {
        master: bool,
        in_place: bool,
    },
    Send {
        master: bool,
        in_place: bool,
        len: u16,
    },
    Details {
        master: bool,
    },
    /// Another handle on a queue.
    Again {
        master: bool,
    },
    /// Its owner deletes an interface, and opens it again.
    Reopen {
        master: bool,
    },
    Pass {
        ms: u8,
    },
    /// Longer than a handshake may take.
    PassLong,
}

/// Steps to the end of the input: peers come far before they go astray, and most steps are theirs.
#[derive(Debug)]
struct Script(Vec<Step>);

impl<'a> Arbitrary<'a> for Script {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let mut steps = Vec::new();
        while steps.len() < 40 && !u.is_empty() {
            let master = u.arbitrary()?;
            let step = match u.int_in_range(0..=19)? {
                0 => Step::Connect,
                1 => Step::Accept,
                2 => Step::Receive { master, in_place: u.arbitrary()? },
                3 => Step::Send { master, in_place: u.arbitrary()?, len: u.arbitrary()? },
                4 => Step::Details { master },
                5 => Step::Again { master },
                6 => Step::Reopen { master },
                7 => Step::Pass { ms: u.arbitrary()? },
                8 => Step::PassLong,
                9 | 10 if master => Step::Early(u.arbitrary()?),
                _ if master => Step::Client(u.arbitrary()?, u.arbitrary()?),
                _ => Step::Server(u.arbitrary()?, u.arbitrary()?),
            };
            steps.push(step);
        }
        Ok(Self(steps))
    }
}

/// How long our interfaces wait for a handshake, and a little more.
pub(crate) const HANDSHAKE: Duration = Duration::from_millis(40);
const LONG: Duration = Duration::from_millis(45);

struct Run<'p> {
    place: &'p Place,
    victims: Victims,
    clients: Vec<Client>,
    servers: Vec<Server>,
    /// Nobody has done anything wrong.
    honest: bool,
    passed_long: bool,
}

impl<'p> Run<'p> {
    fn new(place: &'p Place) -> Self {
        let victims = Victims::open(place);
        Self { place, victims, clients: Vec::new(), servers: Vec::new(), honest: true, passed_long: false }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Connect if self.clients.len() < 4 => {
                self.clients.push(Client::connect(&self.place.masters))
            }
            Step::Accept if self.servers.len() < 4 => self.servers.extend(self.place.accept()),
            Step::Early(messages) => {
                self.step(&Step::Connect);
                self.step(&Step::Accept);
                for _ in 0..messages % 8 {
                    self.clients.iter_mut().for_each(Peer::proceed);
                    self.servers.iter_mut().for_each(Peer::proceed);
                    self.place.come_to_rest();
                }
            }
            Step::Client(number, ref act) => {
                let count = self.clients.len().max(1);
                if let Some(client) = self.clients.get_mut(usize::from(number) % count) {
                    self.honest &= act.is_honest();
                    act.play(client);
                }
            }
            Step::Server(number, ref act) => {
                let count = self.servers.len().max(1);
                if let Some(server) = self.servers.get_mut(usize::from(number) % count) {
                    self.honest &= act.is_honest();
                    act.play(server);
                }
            }
            Step::Receive { master, in_place } => {
                how(in_place).once(self.victims.end(master).rx());
            }
            Step::Send { master, in_place, len } => {
                let packet = packet(1 + usize::from(len % 9000), 1);
                how(in_place).send(self.victims.end(master).tx(), &packet);
            }
            Step::Details { master } => {
                let details = self.victims.end(master).interface.details().unwrap();
                assert!(details.regions.len() <= 256);
            }
            Step::Again { master } => self.victims.end(master).take_queues_again(),
            Step::Reopen { master } => self.victims.reopen(self.place, master),
            Step::Pass { ms } => thread::sleep(Duration::from_millis(u64::from(ms % 3))),
            Step::PassLong if !self.passed_long => {
                self.passed_long = true;
                thread::sleep(LONG);
            }
            Step::Connect | Step::Accept | Step::PassLong => {}
        }
        self.place.come_to_rest();
        self.clients.retain_mut(Client::listen);
        self.servers.retain_mut(Server::listen);
    }

    /// Without its attackers everything is as it was.
    fn finish(mut self) {
        if self.honest {
            self.victims.nobody_is_blamed();
        }
        drop((std::mem::take(&mut self.clients), std::mem::take(&mut self.servers)));
        self.place.come_to_rest();
        self.welcome_a_client();
        self.find_a_server();
        self.place.bystander_exchanges();
        drop(self.victims);
        self.place.nothing_is_left();
    }

    fn welcome_a_client(&mut self) {
        let mut talker: Option<Client> = None;
        let master = &self.victims.master.interface;
        let mut client = self.place.until("the master's link", || {
            let talking = talker.get_or_insert_with(|| Client::connect(&self.place.masters));
            for _ in 0..5 {
                talking.proceed();
                self.place.come_to_rest();
            }
            match (talking.listen(), master.is_up() && talking.is_up()) {
                (true, true) => talker.take(),
                (true, false) => None,
                (false, _) => {
                    talker = None;
                    None
                }
            }
        });
        let sent = client.publish(1, 700);
        let got = How::Copy.all(self.victims.master.rx());
        assert_eq!(got, [sent], "a packet of a client that did nothing wrong");
    }

    fn find_a_server(&mut self) {
        let mut server: Option<Server> = None;
        let slave = &self.victims.slave.interface;
        let server = self.place.until("the slave's link", || {
            if server.is_none() {
                server = self.place.accept();
            }
            self.place.come_to_rest();
            let talking = server.as_mut()?;
            for _ in 0..6 {
                talking.proceed();
                self.place.come_to_rest();
            }
            if !talking.listen() {
                server = None;
            }
            if slave.is_up() { server.take_if(|server| server.is_up()) } else { None }
        });
        let sent = packet(700, 2);
        assert!(How::Copy.send(self.victims.slave.tx(), &sent));
        assert_eq!(server.first_packet(), sent, "a packet to a server that did nothing wrong");
    }
}

fn how(in_place: bool) -> How {
    How::ALL[usize::from(in_place)]
}

/// One place for all inputs: the link beside the attacks is as old as the process.
static PLACE: Mutex<Option<Place>> = Mutex::new(None);

fuzz_target!(|script: Script| {
    let mut place = PLACE.lock().unwrap();
    let place = place.get_or_insert_with(|| {
        let mut place = Place::new();
        // what is made once is made now
        Run::new(&place).finish();
        place.remember();
        place
    });
    let mut run = Run::new(place);
    script.0.iter().for_each(|step| run.step(step));
    run.finish();
});
