//! What an interface's handle asks of the control plane.

use std::sync::Arc;
use std::time::{Duration, Instant};

use memif_os::event::EventFd;

use super::plane::Plane;
use super::queues::Queues;
use super::turn::Turn;
use crate::background::new_number;
use crate::config::{Config, Role, RxMode};
use crate::error::{Disconnect, Error};
use crate::link::{Link, LinkRing, rx_direction, tx_direction};
use crate::stats::{Details, QueueDetails};
use crate::stop::Stop;

impl Plane {
    /// Makes an interface: listens for a master, tries at once for a slave.
    pub(crate) fn open(self: &Arc<Self>, config: Config) -> Result<(u64, Arc<Queues>), Error> {
        let key = new_number();
        let queues = Queues::new(&config, &self.reports, key);
        let config = Arc::new(config); // user code that is dropped without the lock
        let admitted = self.lock().add_interface(key, &config, &queues)?;
        let begun = match admitted.config.role {
            Role::Master => self.listen(admitted.key, &admitted.config),
            Role::Slave => self.connect(admitted.key),
        };
        if let Err(error) = begun {
            let removed = self.lock().remove_interface(admitted.key);
            drop(removed);
            self.deliver_last(admitted.key);
            return Err(error);
        }
        self.settle();
        Ok((admitted.key, admitted.queues))
    }

    /// Ends an interface for good. When this returns, its handles see no link, and no handler of it will be called.
    pub(crate) fn delete(self: &Arc<Self>, key: u64, queues: &Queues) {
        queues.close(); // before its end is told
        let removed = self.lock().remove_interface(key);
        queues.close(); // a link that came up meanwhile
        if let Some((interface, ended)) = removed {
            let admitted = interface.admitted(key);
            if let Some(id) = interface.connection {
                self.serve(id, Turn::Close(Disconnect::Local("the interface was deleted")));
            }
            self.end_link(&admitted, ended);
            if admitted.config.role == Role::Master {
                let unused = self.lock().stop_listening(&admitted.config);
                self.close_listening(unused);
            }
        }
        self.note_change();
        self.deliver_last(key);
        self.settle();
    }

    /// Ends everything, once.
    pub(super) fn end(self: &Arc<Self>) {
        use std::os::fd::AsFd;
        let mut state = self.lock();
        if std::mem::replace(&mut state.closed, true) {
            return;
        }
        let interfaces =
            state.interfaces.iter().map(|(key, interface)| (*key, Arc::clone(&interface.queues)));
        let interfaces: Vec<_> = interfaces.collect();
        drop(state);
        interfaces.iter().for_each(|(key, queues)| self.delete(*key, queues));
        let addresses: Vec<_> = self.lock().listeners.keys().cloned().collect();
        for address in addresses {
            let listening = self.lock().listeners.remove(&address);
            self.close_listening(listening);
        }
        self.close_folders();
        self.registry.unwatch(self.timer().as_fd());
        // the waker of our own epoll stays in it: it is what ends a poll that still runs
        if self.epoll.is_none() {
            self.registry.unwatch(self.reports.waker.as_fd());
        }
        self.lock().sources.clear();
    }

    /// Waits until the link is up.
    pub(crate) fn wait_up(
        self: &Arc<Self>,
        key: u64,
        stop: Option<&Stop>,
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        let began = Instant::now();
        let up = self.wait_for(stop, timeout, |state| match state.interfaces.get(&key) {
            None => Some(Err(Error::Deleted)),
            // a link that ends is taken from the queues first: then they say so
            Some(interface) => (interface.link.is_some() && interface.queues.is_up()).then_some(Ok(())),
        })?;
        up.unwrap_or_else(|| {
            let state = self.lock();
            let last = state.interfaces.get(&key).and_then(|interface| interface.last_disconnect.clone());
            Err(Error::NoLink { waited: began.elapsed(), last })
        })
    }

    /// Waits until there is no link; whether that is so.
    pub(crate) fn wait_down(self: &Arc<Self>, key: u64, timeout: Option<Duration>) -> Result<bool, Error> {
        let down = self.wait_for(None, timeout, |state| {
            state.interfaces.get(&key).is_none_or(|interface| interface.link.is_none()).then_some(())
        })?;
        Ok(down.is_some())
    }

    /// Whether the interface is still there.
    pub(crate) fn has(&self, key: u64) -> bool {
        self.lock().interfaces.contains_key(&key)
    }

    fn link(&self, key: u64) -> Result<Option<Arc<Link>>, Error> {
        let state = self.lock();
        state.interfaces.get(&key).map(|interface| interface.link.clone()).ok_or(Error::Deleted)
    }

    /// Changes a receive queue's mode from outside its data thread. Whoever waits is woken once, to look.
    pub(crate) fn set_rx_mode(
        &self,
        key: u64,
        queues: &Queues,
        queue: u16,
        mode: RxMode,
    ) -> Result<(), Error> {
        let count = u16::try_from(queues.rx().len()).unwrap_or(u16::MAX);
        let mailbox = queues.rx().get(usize::from(queue));
        let role = self.role(key)?;
        let mailbox = mailbox.ok_or(Error::NoSuchQueue { direction: "rx", index: queue, count })?;
        let mut link = None;
        mailbox.change_mode(mode, || {
            link = self.link(key).ok().flatten();
            link.as_ref().and_then(|link| link.ring(rx_direction(role), queue))
        });
        Ok(())
    }

    fn role(&self, key: u64) -> Result<Role, Error> {
        self.lock().interfaces.get(&key).map(|interface| interface.config.role).ok_or(Error::Deleted)
    }

    /// The eventfd that wakes a receive queue.
    pub(crate) fn event_fd(&self, key: u64, queue: u16) -> Result<Arc<EventFd>, Error> {
        let state = self.lock();
        let interface = state.interfaces.get(&key).ok_or(Error::Deleted)?;
        let count = interface.config.rx_queues;
        let no_queue = |count| Error::NoSuchQueue { direction: "rx", index: queue, count };
        if queue >= count {
            return Err(no_queue(count));
        }
        let no_link = || Error::NoLink { waited: Duration::ZERO, last: interface.last_disconnect.clone() };
        let link = interface.link.as_ref().ok_or_else(no_link)?;
        let ring = link.ring(rx_direction(interface.config.role), queue);
        let rings = u16::try_from(link.rings().len()).unwrap_or(u16::MAX);
        ring.map(|ring| Arc::clone(&ring.event)).ok_or_else(|| no_queue(rings))
    }

    /// Everything there is to know. Shared memory is read after the lock is released.
    pub(crate) fn details(&self, key: u64) -> Result<Details, Error> {
        let state = self.lock();
        let interface = state.interfaces.get(&key).ok_or(Error::Deleted)?;
        let admitted = interface.admitted(key);
        let (peer, link) = (interface.peer, interface.link.clone());
        let (connects, faults) = (interface.connects, interface.faults.clone());
        let last_disconnect = interface.last_disconnect.clone();
        drop(state);
        let (config, queues) = (&admitted.config, &admitted.queues);
        let ring = |direction, index| link.as_ref()?.ring(direction, index).map(LinkRing::details);
        let rx = queues.rx().iter().map(|mailbox| QueueDetails {
            index: mailbox.index(),
            stats: mailbox.counters.read(),
            rx_mode: mailbox.mode(),
            packet_layout: None,
            ring: ring(rx_direction(config.role), mailbox.index()),
        });
        let layout = |direction, index| link.as_ref()?.ring(direction, index)?.packet_layout();
        let tx = queues.tx().iter().map(|mailbox| QueueDetails {
            index: mailbox.index(),
            stats: mailbox.counters.read(),
            rx_mode: mailbox.mode(),
            packet_layout: layout(tx_direction(config.role), mailbox.index()),
            ring: ring(tx_direction(config.role), mailbox.index()),
        });
        Ok(Details {
            name: config.name,
            app_name: config.app_name,
            peer_name: peer.interface,
            peer_app_name: peer.app,
            id: config.id,
            role: config.role,
            mode: config.mode,
            socket: config.socket.to_string(),
            link_up: link.is_some(),
            connects,
            last_disconnect,
            faults,
            line_size: link.as_ref().map(|link| link.line),
            regions: link.as_ref().map(|link| link.region_details()).unwrap_or_default(),
            rx: rx.collect(),
            tx: tx.collect(),
        })
    }
}
