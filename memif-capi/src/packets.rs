//! The packets of a queue that the program holds, each in one piece, in order: all those of 1.0, and those of 4.0 whose
//! buffers would take more entries than the program's array has.
//!
//! A packet of one ring buffer lies in that buffer. One of several is put together in private memory, also where the
//! buffers happen to lie one behind the other. Where a packet to be sent is in private memory, those allocated behind it
//! are as well: it may turn out to take fewer slots than were kept for it, and those behind then move up.

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::ptr;

use memif_pmd::raw::{Filled, SlotBuffer};
use memif_pmd::{RxQueue, Span, TxQueue};

use crate::v1::abi::Buffer;

/// A packet that the program holds.
struct Packet {
    /// Its slot; of a packet to be sent from private memory, the one it had when it was allocated.
    index: u16,
    /// Slots that it takes, or that are kept for it.
    slots: u16,
    /// Address of its bytes.
    data: usize,
    /// Bytes there are for it.
    room: usize,
    /// The memory that it lies in where that is private.
    private: Option<Vec<u8>>,
}

impl Packet {
    /// One in the ring's own buffer.
    #[inline(always)]
    fn in_place(found: &SlotBuffer<'_>) -> Self {
        let data = found.span.as_ptr().expose_provenance();
        let room = found.span.len();
        Self { index: found.index, slots: 1, data, room, private: None }
    }

    /// One in private memory, of which it takes the first `room` bytes.
    fn in_private(index: u16, slots: u16, room: usize, mut memory: Vec<u8>) -> Self {
        let data = memory.as_mut_ptr().expose_provenance();
        Self { index, slots, data, room, private: Some(memory) }
    }

    /// Adds another buffer to a packet in private memory.
    fn append(&mut self, span: Span<'_>) {
        let Some(memory) = &mut self.private else { return };
        memory.truncate(self.room);
        memory.resize(self.room + span.len(), 0);
        span.copy_to(memory.get_mut(self.room..).unwrap_or_default());
        self.room = memory.len();
        self.data = memory.as_mut_ptr().expose_provenance();
    }

    /// The program's view of it.
    #[inline(always)]
    fn buffer(&self) -> Buffer {
        #[expect(clippy::cast_possible_truncation, reason = "a packet is far smaller than 4 GiB")]
        let len = self.room as u32;
        let data = ptr::with_exposed_provenance_mut(self.data);
        Buffer { desc_index: self.index, buffer_len: len, data_len: len, data }
    }

    /// Whether the program means this packet.
    #[inline(always)]
    fn is(&self, named: &Named) -> bool {
        self.index == named.index && self.data == named.data
    }
}

/// A packet as a `memif_buffer_t` of the program's names it.
#[derive(Clone, Copy)]
pub(crate) struct Named {
    /// `desc_index`
    pub(crate) index: u16,
    /// Address of `data`.
    pub(crate) data: usize,
    /// Bytes of the packet.
    pub(crate) len: usize,
}

impl Named {
    /// As 1.0 names it.
    #[inline(always)]
    fn by(buf: &Buffer) -> Self {
        Self { index: buf.desc_index, data: buf.data.addr(), len: buf.data_len as usize }
    }
}

/// The packets of one queue.
#[derive(Default)]
pub(crate) struct Packets {
    /// Oldest first.
    order: VecDeque<Packet>,
    /// How many of them are in private memory.
    private: usize,
    /// Private memory to be used again.
    spare: Vec<Vec<u8>>,
}

impl Packets {
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Packets that the program holds.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.order.len()).unwrap_or(u32::MAX)
    }

    #[inline(always)]
    fn push(&mut self, packet: Packet) {
        self.private += usize::from(packet.private.is_some());
        self.order.push_back(packet);
    }

    /// The program has given a packet back.
    #[inline(always)]
    fn retire(&mut self, packet: Packet) {
        if let Some(memory) = packet.private {
            self.private -= 1;
            self.spare.push(memory);
        }
    }

    /// Takes up to `bufs.len()` packets from a queue; returns how many, and whether there are more.
    pub(crate) fn receive(&mut self, queue: &mut RxQueue, bufs: &mut [MaybeUninit<Buffer>]) -> (usize, bool) {
        let base = self.order.len();
        let mut continues = false;
        let taken = queue.raw().take_packets(bufs.len(), |_, found| {
            if continues {
                self.append(&found);
            } else {
                self.arrive(&found);
            }
            continues = found.next;
        });
        for (buf, packet) in bufs.iter_mut().zip(self.order.range(base..)) {
            buf.write(packet.buffer());
        }
        (self.order.len() - base, taken.more)
    }

    /// The first buffer of a packet.
    #[inline(always)]
    fn arrive(&mut self, found: &SlotBuffer<'_>) {
        if found.next {
            let memory = self.spare.pop().unwrap_or_default();
            self.push(Packet::in_private(found.index, 0, 0, memory));
            self.append(found);
        } else {
            self.push(Packet::in_place(found));
        }
    }

    /// Another buffer of the last packet. The queue has judged the packet as a whole: it has 65,535 bytes at most.
    fn append(&mut self, found: &SlotBuffer<'_>) {
        if let Some(last) = self.order.back_mut() {
            last.append(*found.span);
            last.slots += 1;
        }
    }

    /// Gives packets back, oldest first, up to the first that is not what it should be; returns how many.
    pub(crate) fn release(&mut self, queue: &mut RxQueue, bufs: &[Buffer]) -> usize {
        let (mut count, mut slots) = (0, 0u16);
        for buf in bufs {
            let Some(packet) = self.order.pop_front_if(|oldest| oldest.is(&Named::by(buf))) else { break };
            slots = slots.saturating_add(packet.slots);
            self.retire(packet);
            count += 1;
        }
        if count > 0 {
            queue.raw().post(slots, 0);
        }
        count
    }

    /// Makes room for packets of at least `size` bytes, or of one buffer each for 0; returns for how many.
    pub(crate) fn allocate(
        &mut self,
        queue: &mut TxQueue,
        bufs: &mut [MaybeUninit<Buffer>],
        size: usize,
    ) -> usize {
        let done = if self.private == 0 { self.allocate_in_place(queue, bufs, size) } else { 0 };
        let rest = bufs.get_mut(done..).unwrap_or_default();
        done + self.allocate_private(queue, rest, size, |packet| packet)
    }

    /// Like [`Packets::allocate`], in private memory. `make` turns the buffer of 1.0 into the program's.
    pub(crate) fn allocate_private<B>(
        &mut self,
        queue: &mut TxQueue,
        bufs: &mut [MaybeUninit<B>],
        size: usize,
        make: impl Fn(Buffer) -> B,
    ) -> usize {
        let mut done = 0;
        for buf in bufs {
            let Some(packet) = self.keep_slots(queue, size) else { break };
            buf.write(make(packet.buffer()));
            self.push(packet);
            done += 1;
        }
        done
    }

    fn allocate_in_place(
        &mut self,
        queue: &mut TxQueue,
        bufs: &mut [MaybeUninit<Buffer>],
        size: usize,
    ) -> usize {
        let before = queue.raw().claimed();
        let mut done = 0;
        let claimed = queue.raw().claim(bufs.len(), |number, found| {
            if number == done
                && found.span.len() >= size
                && let Some(buf) = bufs.get_mut(number)
            {
                let packet = Packet::in_place(&found);
                buf.write(packet.buffer());
                self.push(packet);
                done += 1;
            }
        });
        if done < claimed {
            queue.raw().unclaim(before.saturating_add(u16::try_from(done).unwrap_or(u16::MAX)));
        }
        done
    }

    /// Keeps as many slots as a packet of `size` bytes may take.
    fn keep_slots(&mut self, queue: &mut TxQueue, size: usize) -> Option<Packet> {
        let before = queue.raw().claimed();
        let (mut room, mut slots, mut index) = (0, 0, 0);
        while room < size.max(1) {
            let claimed = queue.raw().claim(1, |_, found| {
                index = if slots == 0 { found.index } else { index };
                room += found.span.len();
                slots += 1;
            });
            if claimed == 0 {
                queue.raw().unclaim(before);
                return None;
            }
        }
        let room = if size == 0 { room } else { size };
        let mut memory = self.spare.pop().unwrap_or_default();
        if memory.len() < room {
            memory.resize(room, 0);
        }
        Some(Packet::in_private(index, slots, room, memory))
    }

    /// Sends packets, oldest first, up to the first that is not what it should be; returns how many.
    pub(crate) fn send(&mut self, queue: &mut TxQueue, bufs: &[Buffer]) -> usize {
        self.send_named(queue, bufs, |buf| Some(Named::by(buf)))
    }

    /// Like [`Packets::send`]: `name` says which packet a buffer of the program's is, if it is one of this queue's. Nothing may
    /// be claimed in front of the first.
    #[inline(always)]
    pub(crate) fn send_named<B>(
        &mut self,
        queue: &mut TxQueue,
        bufs: &[B],
        name: impl Fn(&B) -> Option<Named>,
    ) -> usize {
        let good = |(buf, packet): &(&B, &Packet)| {
            name(buf).is_some_and(|named| packet.is(&named) && named.len <= packet.room)
        };
        let good = bufs.iter().zip(&self.order).take_while(good).count();
        if good == 0 {
            return 0;
        }
        let mut sending = Sending { packets: 0, offset: 0, ended: 0 };
        let order = &self.order;
        let slots = queue.raw().publish(usize::MAX, |number, mut slot| {
            let packet = order.get(sending.packets).filter(|_| sending.packets < good)?;
            let len = name(bufs.get(sending.packets)?)?.len;
            sending.next(number, &mut slot, len, packet)
        });
        // the last may have been refused after all, as a peer may change what a buffer holds
        let sent = sending.packets - usize::from(slots < sending.ended);
        for packet in self.order.drain(..sent) {
            if let Some(memory) = packet.private {
                self.private -= 1;
                self.spare.push(memory);
            }
        }
        // a packet may have taken fewer slots than were kept for it
        queue.raw().unclaim(self.slots());
        sent
    }

    /// Slots that are kept for them, or that they take.
    pub(crate) fn slots(&self) -> u16 {
        self.order.iter().map(|packet| packet.slots).fold(0, u16::saturating_add)
    }

    /// Forgets a packet to be sent and those behind it; false when there is no such packet.
    pub(crate) fn forget_from(&mut self, first: &Named) -> bool {
        let Some(kept) = self.order.iter().position(|packet| packet.is(first)) else { return false };
        self.forget(kept);
        true
    }

    /// Forgets the packets to be sent, all but the first `kept`.
    pub(crate) fn forget(&mut self, kept: usize) {
        while self.order.len() > kept
            && let Some(last) = self.order.pop_back()
        {
            self.retire(last);
        }
    }
}

/// How far a burst has come.
struct Sending {
    /// Packets that are complete.
    packets: usize,
    /// Bytes of the next that are in slots already.
    offset: usize,
    /// Slots up to the end of the last complete packet.
    ended: usize,
}

impl Sending {
    /// What goes into the next slot, of a packet of `len` bytes.
    #[inline(always)]
    fn next(
        &mut self,
        number: usize,
        slot: &mut SlotBuffer<'_>,
        len: usize,
        packet: &Packet,
    ) -> Option<Filled> {
        let part = match &packet.private {
            None if slot.index == packet.index => len,
            None => return None,
            Some(memory) => {
                let part = (len - self.offset).min(slot.span.len());
                slot.span.copy_from(memory.get(self.offset..self.offset + part)?)
            }
        };
        self.offset += part;
        let next = self.offset < len;
        if !next {
            self.packets += 1;
            self.offset = 0;
            self.ended = number + 1;
        }
        Some(Filled { start: 0, len: u32::try_from(part).ok()?, next })
    }
}
