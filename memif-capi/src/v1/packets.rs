//! The packets of a queue that the program has in its hands, as 1.0 knows them: each in one piece, in order.
//!
//! A packet of one ring buffer lies in that buffer. One of several is put together in private memory, also where the
//! buffers happen to lie one behind the other. Where a packet to be sent is in private memory, those allocated behind it
//! are as well: it may turn out to take fewer slots than were kept for it, and those behind then move up.

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::ptr;

use memif_pmd::{Filled, RxQueue, SlotBuffer, Span, TxQueue};

use super::abi::Buffer;

/// A packet in the program's hands.
struct Packet {
    /// Its first buffer's, counted from 0 in the call that it came in.
    number: usize,
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
    /// There are more buffers to come.
    open: bool,
}

impl Packet {
    /// One in the ring's own buffer.
    #[inline(always)]
    fn in_place(number: usize, found: &SlotBuffer<'_>) -> Self {
        let data = found.span.as_ptr().expose_provenance();
        let room = found.span.len();
        Self { number, index: found.index, slots: 1, data, room, private: None, open: false }
    }

    /// One in private memory, of which it takes the first `room` bytes.
    fn in_private(number: usize, index: u16, slots: u16, room: usize, mut memory: Vec<u8>) -> Self {
        let data = memory.as_mut_ptr().expose_provenance();
        Self { number, index, slots, data, room, private: Some(memory), open: false }
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

    /// What the program gets to see of it.
    #[inline(always)]
    fn buffer(&self) -> Buffer {
        #[expect(clippy::cast_possible_truncation, reason = "a packet is far smaller than 4 GiB")]
        let len = self.room as u32;
        let data = ptr::with_exposed_provenance_mut(self.data);
        Buffer { desc_index: self.index, buffer_len: len, data_len: len, data }
    }

    /// Whether that is what came back.
    #[inline(always)]
    fn is(&self, buf: &Buffer) -> bool {
        self.index == buf.desc_index && self.data == buf.data.addr()
    }
}

/// Those of one queue.
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
    /// Packets in the program's hands.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.order.len()).unwrap_or(u32::MAX)
    }

    #[inline(always)]
    fn push(&mut self, packet: Packet) {
        self.private += usize::from(packet.private.is_some());
        self.order.push_back(packet);
    }

    /// A packet is the program's no longer.
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
        let taken = queue.take_packets(bufs.len(), |number, found| {
            // a number comes again when its packet was broken
            self.forget(base, number);
            self.arrive(base, number, &found);
        });
        self.forget(base, taken.buffers);
        for (buf, packet) in bufs.iter_mut().zip(self.order.range(base..)) {
            buf.write(packet.buffer());
        }
        (self.order.len() - base, taken.more)
    }

    /// Drops what came from buffer `number` of this call on.
    #[inline(always)]
    fn forget(&mut self, base: usize, number: usize) {
        while self.order.len() > base && self.order.back().is_some_and(|last| last.number >= number) {
            if let Some(packet) = self.order.pop_back() {
                self.retire(packet);
            }
        }
    }

    #[inline(always)]
    fn arrive(&mut self, base: usize, number: usize, found: &SlotBuffer<'_>) {
        if self.order.len() > base
            && let Some(last) = self.order.back_mut().filter(|last| last.open)
        {
            last.append(found.span);
            last.slots += 1;
            last.open = found.next;
        } else if found.next {
            let memory = self.spare.pop().unwrap_or_default();
            let mut packet = Packet::in_private(number, found.index, 1, 0, memory);
            packet.append(found.span);
            packet.open = true;
            self.push(packet);
        } else {
            self.push(Packet::in_place(number, found));
        }
    }

    /// Gives packets back, oldest first, up to the first that is not what it should be; returns how many.
    pub(crate) fn release(&mut self, queue: &mut RxQueue, bufs: &[Buffer]) -> usize {
        let (mut count, mut slots) = (0, 0u16);
        for buf in bufs {
            let Some(packet) = self.order.pop_front_if(|oldest| oldest.is(buf)) else { break };
            slots = slots.saturating_add(packet.slots);
            self.retire(packet);
            count += 1;
        }
        if count > 0 {
            queue.post(slots, 0);
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
        let mut done = if self.private == 0 { self.allocate_in_place(queue, bufs, size) } else { 0 };
        while let Some(buf) = bufs.get_mut(done) {
            let Some(packet) = self.allocate_private(queue, size) else { break };
            buf.write(packet.buffer());
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
        let before = queue.claimed();
        let mut done = 0;
        let claimed = queue.claim(bufs.len(), |number, found| {
            if number == done
                && found.span.len() >= size
                && let Some(buf) = bufs.get_mut(number)
            {
                let packet = Packet::in_place(number, &found);
                buf.write(packet.buffer());
                self.push(packet);
                done += 1;
            }
        });
        if done < claimed {
            queue.unclaim(before.saturating_add(u16::try_from(done).unwrap_or(u16::MAX)));
        }
        done
    }

    /// Keeps as many slots as a packet of `size` bytes may take.
    fn allocate_private(&mut self, queue: &mut TxQueue, size: usize) -> Option<Packet> {
        let before = queue.claimed();
        let (mut room, mut slots, mut index) = (0, 0, 0);
        while room < size.max(1) {
            let claimed = queue.claim(1, |_, found| {
                index = if slots == 0 { found.index } else { index };
                room += found.span.len();
                slots += 1;
            });
            if claimed == 0 {
                queue.unclaim(before);
                return None;
            }
        }
        let room = if size == 0 { room } else { size };
        let mut memory = self.spare.pop().unwrap_or_default();
        if memory.len() < room {
            memory.resize(room, 0);
        }
        Some(Packet::in_private(0, index, slots, room, memory))
    }

    /// Sends packets, oldest first, up to the first that is not what it should be; returns how many.
    pub(crate) fn send(&mut self, queue: &mut TxQueue, bufs: &[Buffer]) -> usize {
        let good =
            |(buf, packet): &(&Buffer, &Packet)| packet.is(buf) && buf.data_len as usize <= packet.room;
        let good = bufs.iter().zip(&self.order).take_while(good).count();
        if good == 0 {
            return 0;
        }
        let mut sending = Sending { packets: 0, offset: 0, ended: 0 };
        let order = &self.order;
        let slots = queue.publish(usize::MAX, |number, slot| {
            let packet = order.get(sending.packets).filter(|_| sending.packets < good)?;
            sending.next(number, &slot, bufs.get(sending.packets)?.data_len as usize, packet)
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
        let kept = self.order.iter().map(|packet| packet.slots).fold(0, u16::saturating_add);
        queue.unclaim(kept);
        sent
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
    fn next(&mut self, number: usize, slot: &SlotBuffer<'_>, len: usize, packet: &Packet) -> Option<Filled> {
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
