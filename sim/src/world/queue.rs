//! What happens when: the queue of future occurrences, ordered by (time, sequence).
//!
//! Guarantee: two occurrences at one time happen in the order in which they were planned.

use std::{cmp::Ordering, collections::BinaryHeap};

/// Which part of the life of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The first packet of a connection arrives.
    SynArrives,
    /// It was lost: try again.
    SynRetry,
    /// The answer arrives at the opener.
    Opened,
    /// The refusal arrives at the opener.
    Refused,
    /// The segment under way arrives; from the opener or to it.
    Arrives(Side),
    /// It was lost: try again.
    Retry(Side),
    /// The remote kernel knows nothing of the stream and says so to this side.
    ResetArrives(Side),
}

/// An end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Who connected.
    Opener,
    /// Who accepted.
    Acceptor,
}

/// What is planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// A datagram arrives: its place in the slab.
    Datagram(u32),
    /// The node's deadline.
    Timer(u32),
    /// A process gets the processor again.
    Wake(u32),
    /// A shared core is free.
    Core,
    /// A busy process of others had its turn on one.
    Busy,
    /// A stream goes on: its place in the slab and the use of that place.
    Stream(u32, u32, Part),
    /// A write to disk ends: host and life of the process.
    Disk(u32, u32),
    /// A line of the scenario.
    Line(u32),
    /// A pause, suspension or starvation may be over.
    Resume(u32, u32),
    /// The next turn of a flapping node: host and end (milliseconds); the turn's length is kept
    /// with the host.
    Flap(u32),
    /// A join is tried again: host and life of the process.
    Join(u32, u32),
    /// The process ends: host and life of the process.
    Exit(u32, u32),
    /// Expectations are looked at.
    Poll,
    /// One watch is over.
    Deadline(u32),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    time: u64,
    sequence: u64,
    plan: Plan,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Reversed: the heap gives its greatest first.
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.time, other.sequence).cmp(&(self.time, self.sequence))
    }
}

/// A slice of time is 2^22 ns, four milliseconds.
const SLICE_BITS: u32 = 22;
/// Slices in the ring: the next four seconds, in which nearly all happens that is planned.
const SLICES: usize = 1024;
/// No entry.
const NIL: u32 = u32::MAX;

/// The queue.
///
/// Three parts by how soon something happens: a heap for the slice of time at hand, which is so
/// small that it costs little; a ring of later slices, each a list in no order; and another heap
/// for what is beyond the ring when it is planned.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    /// All that is planned up to the end of slice `slice`.
    now: BinaryHeap<Entry>,
    slice: u64,
    /// Of the slices after that one, the first entry of each, at its number modulo [`SLICES`].
    ring: Vec<u32>,
    /// The entries of the ring, each with the next one of its list. All are in one piece of memory
    /// and what became free last is used first, so that it stays in the cache.
    listed: Vec<(Entry, u32)>,
    /// The list of those that are free.
    free: u32,
    /// Entries in the ring.
    in_ring: usize,
    beyond: BinaryHeap<Entry>,
    sequence: u64,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            now: BinaryHeap::new(),
            slice: 0,
            ring: vec![NIL; SLICES],
            listed: Vec::new(),
            free: NIL,
            in_ring: 0,
            beyond: BinaryHeap::new(),
            sequence: 0,
        }
    }
}

const fn place(slice: u64) -> usize {
    slice as usize % SLICES
}

impl Queue {
    /// Plans something.
    pub(super) fn plan(&mut self, time: u64, plan: Plan) {
        self.sequence += 1;
        let entry = Entry { time, sequence: self.sequence, plan };
        let slice = time >> SLICE_BITS;
        if slice <= self.slice {
            self.now.push(entry);
        } else if slice - self.slice < SLICES as u64 {
            self.list(place(slice), entry);
        } else {
            self.beyond.push(entry);
        }
    }

    fn list(&mut self, place: usize, entry: Entry) {
        let next = self.ring[place];
        self.in_ring += 1;
        match self.listed.get_mut(self.free as usize) {
            Some(old) => {
                self.ring[place] = std::mem::replace(&mut self.free, old.1);
                *old = (entry, next);
            }
            None => {
                self.ring[place] = self.listed.len() as u32;
                self.listed.push((entry, next));
            }
        }
    }

    /// The next occurrence not after `end`.
    pub(super) fn next(&mut self, end: u64) -> Option<(u64, Plan)> {
        while self.now.is_empty() {
            if self.slice >= end >> SLICE_BITS || !self.turns() {
                return None;
            }
        }
        if self.now.peek()?.time > end {
            return None;
        }
        self.now.pop().map(|e| (e.time, e.plan))
    }

    /// Goes on to the next slice, or to the first one with something in it if the ring is empty;
    /// false if nothing is planned any more. The slice at hand is done.
    fn turns(&mut self) -> bool {
        let first_beyond = self.beyond.peek().map(|e| e.time >> SLICE_BITS);
        self.slice = match first_beyond {
            Some(first) if self.in_ring == 0 => first,
            None if self.in_ring == 0 => return false,
            _ => self.slice + 1,
        };
        let mut at = std::mem::replace(&mut self.ring[place(self.slice)], NIL);
        while let Some(listed) = self.listed.get_mut(at as usize) {
            self.now.push(listed.0);
            let next = std::mem::replace(&mut listed.1, self.free);
            self.free = std::mem::replace(&mut at, next);
            self.in_ring -= 1;
        }
        while self.beyond.peek().is_some_and(|e| (e.time >> SLICE_BITS) <= self.slice) {
            self.now.extend(self.beyond.pop());
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn time_first_then_the_order_of_planning() {
        let mut q = Queue::default();
        for (t, n) in [(5, 1), (3, 2), (5, 3), (3, 4), (9, 5)] {
            q.plan(t, Plan::Line(n));
        }
        let order: Vec<_> = std::iter::from_fn(|| q.next(8)).collect();
        let expected = [(3, 2), (3, 4), (5, 1), (5, 3)].map(|(t, n)| (t, Plan::Line(n)));
        assert_eq!(order, expected);
    }

    proptest! {
        /// Against one heap, over all three parts: within a slice, within the ring, beyond it.
        #[test]
        fn it_is_one_heap(
            steps in prop::collection::vec((0u8..4, 0u64..1 << 20, 0u32..16), 1..300),
        ) {
            let (mut q, mut model) = (Queue::default(), BinaryHeap::new());
            let mut now = 0;
            for (i, (what, ahead, scale)) in steps.into_iter().enumerate() {
                let t = now + (ahead << scale);
                if what > 0 {
                    q.plan(t, Plan::Line(i as u32));
                    model.push(Entry { time: t, sequence: i as u64, plan: Plan::Line(i as u32) });
                    continue;
                }
                loop {
                    let due = model.peek().is_some_and(|e| e.time <= t);
                    let expected = if due { model.pop().map(|e| (e.time, e.plan)) } else { None };
                    prop_assert_eq!(q.next(t), expected);
                    if expected.is_none() {
                        break;
                    }
                }
                now = t;
            }
        }
    }
}
