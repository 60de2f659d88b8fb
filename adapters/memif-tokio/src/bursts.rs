//! Queues as a stream and as a sink of bursts.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use futures_sink::Sink;
use memif_pmd::Burst;

use crate::error::Error;
use crate::pool::BurstPool;
use crate::rx::RxQueue;
use crate::tx::TxQueue;

/// A receive queue as a stream of bursts, none of which is empty: [`RxQueue::into_stream`]. It ends when the interface was
/// dropped or shut down. Nothing is lost when it is dropped, or while it is not polled.
#[derive(Debug)]
#[must_use = "streams do nothing unless polled"]
pub struct RxBursts {
    queue: RxQueue,
    pool: BurstPool,
    /// The burst for the next item: empty.
    next: Option<Burst>,
}

impl RxQueue {
    /// The queue as a stream of bursts from `pool`.
    pub fn into_stream(self, pool: &BurstPool) -> RxBursts {
        RxBursts { queue: self, pool: pool.clone(), next: None }
    }
}

impl RxBursts {
    /// The queue again.
    pub fn into_inner(self) -> RxQueue {
        self.queue
    }
}

impl Stream for RxBursts {
    type Item = Result<Burst, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut burst = match self.next.take() {
            Some(burst) => burst,
            None => self.pool.take()?,
        };
        match self.queue.poll_recv(context, &mut burst) {
            Poll::Ready(Ok(_)) => Poll::Ready(Some(Ok(burst))),
            Poll::Ready(Err(Error::Closed)) => Poll::Ready(None),
            Poll::Ready(Err(error)) => Poll::Ready(Some(Err(error))),
            Poll::Pending => {
                self.next = Some(burst);
                Poll::Pending
            }
        }
    }
}

/// A transmit queue as a sink of bursts: [`TxQueue::into_sink`]. It takes the next burst when the one before is in the ring.
/// Flush or close it before dropping it, or the packets of the last burst that are not in the ring yet are lost.
#[derive(Debug)]
#[must_use = "sinks do nothing unless polled"]
pub struct TxBursts {
    queue: TxQueue,
    pool: BurstPool,
    /// What is on its way.
    sending: Option<Burst>,
}

impl TxQueue {
    /// The queue as a sink of bursts, which go to `pool` once they are sent.
    pub fn into_sink(self, pool: &BurstPool) -> TxBursts {
        TxBursts { queue: self, pool: pool.clone(), sending: None }
    }
}

impl TxBursts {
    /// The queue again, and what was not sent yet.
    pub fn into_inner(self) -> (TxQueue, Option<Burst>) {
        (self.queue, self.sending)
    }
}

impl Sink<Burst> for TxBursts {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_flush(context)
    }

    fn start_send(mut self: Pin<&mut Self>, mut burst: Burst) -> Result<(), Error> {
        if self.sending.is_some() {
            return Err(Error::NotReady);
        }
        self.queue.try_send(&mut burst);
        self.sending = Some(burst);
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let Self { queue, pool, sending } = &mut *self;
        if let Some(burst) = sending {
            ready!(queue.poll_send(context, burst))?;
            sending.take().into_iter().for_each(|burst| pool.give(burst));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_flush(context)
    }
}
