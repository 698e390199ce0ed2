//! Degraded members: they live, but our own pings do not reach them, or their acks do not reach
//! us. Only helpers or streams bring the answers.
//!
//! Nobody is declared failed for that. But an operator wants to know: a firewall, a wrong route or
//! a full table of a NAT is between the two hosts.

use alloc::{collections::BTreeMap, sync::Arc};

use super::Node;
use crate::{identity::NodeId, output::Event, planted::Bug, stats::Counter};

/// So many probes in a row without an ack of its own make a member degraded.
const ROUNDS: u8 = 3;

/// How an ack came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// As a datagram, of the member itself or of a helper.
    Packet,
    /// Over a stream.
    Stream,
}

#[derive(Debug, Default)]
pub(super) struct Degraded(BTreeMap<NodeId, u8>);

impl Node {
    /// Live members that are reached through others or over streams only, in the order of ids.
    pub fn degraded(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.notes.degraded.0.iter().filter(|(_, n)| **n >= ROUNDS).map(|(id, _)| *id)
    }

    /// A member answered with a datagram of its own.
    pub(super) fn reached(&mut self, id: NodeId) {
        if self.notes.degraded.0.remove(&id).is_some_and(|n| n >= ROUNDS) {
            self.stats.degraded = self.degraded().count();
            self.tell_degraded(id, false);
        }
    }

    /// A regular probe was answered, but not so.
    pub(super) fn reached_by_others(&mut self, id: NodeId) {
        // Its answer may come after its leave: nobody doubts who is gone.
        let live = self.table.get(id).is_some_and(|e| e.is_live());
        if !live || self.broken(Bug::DegradedUnseen) {
            return;
        }
        let n = self.notes.degraded.0.entry(id).or_insert(0);
        *n = n.saturating_add(1);
        if *n == ROUNDS {
            self.stats.count(Counter::Degradations);
            self.stats.degraded = self.degraded().count();
            self.tell_degraded(id, true);
        }
    }

    fn tell_degraded(&mut self, id: NodeId, degraded: bool) {
        self.revision += 1;
        if let Some(record) = self.table.get(id).map(|e| Arc::clone(&e.record)) {
            self.event(Event::Degraded { record, degraded });
        }
    }

    /// It is no live member any more.
    pub(super) fn forget_degraded(&mut self, id: NodeId) {
        if self.notes.degraded.0.remove(&id).is_some() {
            self.stats.degraded = self.degraded().count();
        }
    }

    /// A probe was not answered at all: that is more than a doubt.
    pub(super) fn drop_doubt(&mut self, id: NodeId) {
        if self.notes.degraded.0.get(&id).is_some_and(|n| *n < ROUNDS) {
            self.notes.degraded.0.remove(&id);
        }
    }

    /// A doubt is settled before the round goes on: members that were reached by others once or
    /// twice are probed again.
    pub(super) fn next_doubtful(&self) -> Option<NodeId> {
        self.notes.degraded.0.iter().find(|(_, n)| **n < ROUNDS).map(|(id, _)| *id)
    }
}
