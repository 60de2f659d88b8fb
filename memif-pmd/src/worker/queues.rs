//! The sets of queues that a task may have.

use crate::queue::{RxQueue, TxQueue};

/// Queues of one task: a queue, or a tuple, vector or array of such sets. A worker needs to know them to see whether
/// packets moved, and to sleep over those that receive.
pub trait Queues: Send {
    /// Calls `visit` with each receive queue.
    fn each_rx<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut RxQueue));
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
    fn each_rx<'a>(&'a mut self, _visit: &mut dyn FnMut(&'a mut RxQueue)) {}

    fn activity(&self) -> u64 {
        self.activity()
    }
}

impl<Q: Queues> Queues for Vec<Q> {
    fn each_rx<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut RxQueue)) {
        self.iter_mut().for_each(|queues| queues.each_rx(visit));
    }

    fn activity(&self) -> u64 {
        self.iter().map(Queues::activity).sum()
    }
}

impl<Q: Queues, const N: usize> Queues for [Q; N] {
    fn each_rx<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut RxQueue)) {
        self.iter_mut().for_each(|queues| queues.each_rx(visit));
    }

    fn activity(&self) -> u64 {
        self.iter().map(Queues::activity).sum()
    }
}

macro_rules! tuples {
    ($(($($name:ident $index:tt),*);)+) => {$(
        impl<$($name: Queues),*> Queues for ($($name,)*) {
            #[allow(unused_variables, reason = "the empty tuple visits nothing")]
            fn each_rx<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut RxQueue)) {
                $(self.$index.each_rx(visit);)*
            }

            fn activity(&self) -> u64 {
                0 $(+ self.$index.activity())*
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
}
