//! The sets of queues that a task may have.

use std::os::fd::BorrowedFd;

use crate::loopback::{LoopbackRx, LoopbackTx};
use crate::queue::{RxQueue, TxQueue};

/// The queues of one task: a queue, a mutable reference to one, or a tuple, vector, array or slice of such sets. By it a
/// worker sees whether packets moved, and which queues to sleep over.
///
/// Implement it for a type of your own that receives or sends, to use it in a task:
///
/// ```
/// use memif_pmd::{Burst, Queues, Transmit, Workers, forward};
///
/// /// Counts packets and drops them.
/// #[derive(Default)]
/// struct Sink(u64);
///
/// impl Transmit for Sink {
///     fn send(&mut self, burst: &mut Burst) -> usize {
///         let taken = burst.offer(|packets| packets.len());
///         self.0 += taken as u64;
///         taken
///     }
/// }
///
/// impl Queues for Sink {
///     fn activity(&self) -> u64 {
///         self.0
///     }
/// }
/// # let (_left, right) = memif_pmd::loopback(8);
/// let running = Workers::new().anywhere((right.rx, Sink::default()), forward).start()?;
/// running.stop().stop();
/// running.wait()?;
/// # Ok::<(), memif_pmd::Error>(())
/// ```
pub trait Queues: Send {
    /// Calls `visit` with each receive queue of an interface. A worker with [`Idle::Sleep`](crate::Idle::Sleep) is woken
    /// when packets come on them, or when a descriptor of [`Queues::each_fd`] can be read; on anything else that receives it
    /// looks every 100 ms while it sleeps.
    fn each_rx<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut RxQueue)) {
        let _ = visit;
    }

    /// Calls `visit` with each descriptor that can be read when there is something to receive, for what receives from anything
    /// else than an interface, such as a socket. Asked once, before the worker starts, which duplicates them.
    fn each_fd(&self, visit: &mut dyn FnMut(BorrowedFd<'_>)) {
        let _ = visit;
    }

    /// A number that changes whenever a packet has moved.
    fn activity(&self) -> u64;
}

impl Queues for RxQueue {
    fn each_rx<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut RxQueue)) {
        visit(self);
    }

    fn activity(&self) -> u64 {
        self.activity()
    }
}

impl Queues for TxQueue {
    fn activity(&self) -> u64 {
        self.activity()
    }
}

impl Queues for LoopbackRx {
    fn activity(&self) -> u64 {
        self.received()
    }
}

impl Queues for LoopbackTx {
    fn activity(&self) -> u64 {
        self.sent()
    }
}

impl<Q: Queues> Queues for [Q] {
    fn each_rx<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut RxQueue)) {
        self.iter_mut().for_each(|queues| queues.each_rx(visit));
    }

    fn each_fd(&self, visit: &mut dyn FnMut(BorrowedFd<'_>)) {
        self.iter().for_each(|queues| queues.each_fd(visit));
    }

    fn activity(&self) -> u64 {
        self.iter().map(Queues::activity).fold(0, u64::wrapping_add)
    }
}

macro_rules! as_another {
    ($([$($of:tt)*] $set:ty: $other:ty;)+) => {$(
        impl<$($of)*> Queues for $set {
            fn each_rx<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut RxQueue)) {
                <$other>::each_rx(self, visit);
            }

            fn each_fd(&self, visit: &mut dyn FnMut(BorrowedFd<'_>)) {
                <$other>::each_fd(self, visit);
            }

            fn activity(&self) -> u64 {
                <$other>::activity(self)
            }
        }
    )+};
}

as_another! {
    [Q: Queues] Vec<Q>: [Q];
    [Q: Queues + ?Sized] Box<Q>: Q;
    [Q: Queues, const N: usize] [Q; N]: [Q];
    [Q: Queues + ?Sized] &mut Q: Q;
}

macro_rules! tuples {
    ($(($($name:ident $index:tt),*);)+) => {$(
        impl<$($name: Queues),*> Queues for ($($name,)*) {
            #[allow(unused_variables, reason = "the empty tuple visits nothing")]
            fn each_rx<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut RxQueue)) {
                $(self.$index.each_rx(visit);)*
            }

            #[allow(unused_variables, reason = "the empty tuple visits nothing")]
            fn each_fd(&self, visit: &mut dyn FnMut(BorrowedFd<'_>)) {
                $(self.$index.each_fd(visit);)*
            }

            fn activity(&self) -> u64 {
                0u64 $(.wrapping_add(self.$index.activity()))*
            }
        }
    )+};
}

tuples! {
    ();
    (A 0);
    (A 0, B 1);
    (A 0, B 1, C 2);
    (A 0, B 1, C 2, D 3);
    (A 0, B 1, C 2, D 3, E 4);
    (A 0, B 1, C 2, D 3, E 4, F 5);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
}
