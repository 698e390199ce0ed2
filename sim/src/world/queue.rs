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
    Resume(u32),
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

/// The queue.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Entry>,
    sequence: u64,
}

impl Queue {
    /// Plans something.
    pub(super) fn plan(&mut self, time: u64, plan: Plan) {
        self.sequence += 1;
        self.heap.push(Entry { time, sequence: self.sequence, plan });
    }

    /// The next occurrence not after `end`.
    pub(super) fn next(&mut self, end: u64) -> Option<(u64, Plan)> {
        if self.heap.peek()?.time > end {
            return None;
        }
        self.heap.pop().map(|e| (e.time, e.plan))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
