//! Hearsay: members that this node was told of and has not met.
//!
//! They are listed at once, for a join must be seen by all at once. But until one has answered
//! (itself, through a helper, or on a stream) it gets no more than small replies, helps only where
//! nobody else can, and is looked at before others. If it is accused and its time runs out, it is
//! taken off the list as if it had never been told of, not declared failed: what a forged or stale
//! claim brought goes away on every node that believed it. A tombstone then stops the same rumour,
//! and only that: a word of its own on a stream, a higher version, or somebody who met it and
//! declares it failed, counts.

use alloc::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};
use core::{net::SocketAddr, time::Duration};

use super::{Node, Outgoing};
use crate::{
    identity::{NodeId, Version},
    output::Event,
    planted::Bug,
    record::{Claim, Record, State, Statement},
    stats::Counter,
    time::Instant,
    wire::Message,
};

/// About so many members look at a new one before others.
const FIRST_LOOKS: usize = 64;
/// A suspicion of somebody unmet runs so much longer, so that whoever met it declares the failure
/// first, and it is told as one: those who are killed just after they came were met by few.
const GRACE: Duration = Duration::from_secs(1);
/// Members that are contacted again after they were taken off the list.
const DROPPED: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Hearsay {
    /// Live members that were not met since they are held live; `true`: held dead before.
    unmet: BTreeMap<NodeId, bool>,
    /// Who was looked at last.
    looked: Option<NodeId>,
    /// Whom nobody reached, where and since when: there may have been a cut between us.
    dropped: VecDeque<(NodeId, SocketAddr, Instant)>,
}

impl Hearsay {
    /// Is it known by what others say only?
    pub(super) fn is_unmet(&self, id: NodeId) -> bool {
        self.unmet.contains_key(&id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.unmet.is_empty()
    }
}

impl Node {
    /// What is believed of a member changed; `was`: its state before.
    pub(super) fn heard_of(&mut self, id: NodeId, was: Option<State>, is: State) {
        if !is.is_live() {
            self.notes.hearsay.unmet.remove(&id);
        } else if !was.is_some_and(State::is_live) {
            self.notes.hearsay.unmet.insert(id, was.is_some());
        }
    }

    /// It answered.
    pub(super) fn met(&mut self, id: NodeId) {
        self.notes.hearsay.unmet.remove(&id);
    }

    pub(super) fn forget_hearsay(&mut self, id: NodeId) {
        self.notes.hearsay.unmet.remove(&id);
    }

    /// Somebody speaks for itself on a stream that comes from its address.
    pub(super) fn introduced(&mut self, now: Instant, r: &Record, from: SocketAddr, spread: bool) {
        let there = r.addr.ip() == from.ip();
        if there {
            self.table.unbury(r.id);
        }
        let claim = Claim { record: Arc::new(r.clone()), statement: Statement::Alive };
        self.learn_claim(now, claim, super::claims::Origin::Stream { spread });
        if there && self.table.get(r.id).is_some_and(|e| e.record.version == r.version) {
            self.met(r.id);
        }
    }

    /// Whom to look at before the round's next member, if anybody: in the order of ids, beginning
    /// at our own, so that not all look at the same one.
    pub(super) fn next_unmet(&mut self) -> Option<NodeId> {
        if self.notes.hearsay.unmet.is_empty() {
            return None;
        }
        if self.rng.below(self.table.live_count() + 1) >= FIRST_LOOKS {
            return None;
        }
        let after = self.notes.hearsay.looked.unwrap_or(self.me.id);
        let later = (core::ops::Bound::Excluded(after), core::ops::Bound::Unbounded);
        let unmet = &self.notes.hearsay.unmet;
        let next = unmet.range(later).next().or_else(|| unmet.first_key_value());
        self.notes.hearsay.looked = next.map(|(id, _)| *id);
        self.notes.hearsay.looked
    }

    /// How much longer a suspicion of this member runs.
    pub(super) fn hearsay_grace(&self, id: NodeId) -> Duration {
        let told_only = self.notes.hearsay.unmet.get(&id) == Some(&false);
        if told_only { GRACE } else { Duration::ZERO }
    }

    /// A suspicion has run out. If its member was never met and not known before, there was only
    /// talk of it: it is taken off the list. `false`: it has failed.
    pub(super) fn disbelieve(&mut self, now: Instant, id: NodeId) -> bool {
        if self.notes.hearsay.unmet.get(&id) != Some(&false) || self.broken(Bug::HearsayBelieved) {
            return false;
        }
        let Some(e) = self.table.remove(id, self.cfg.limits.tombstones) else { return false };
        self.notes.hearsay.unmet.remove(&id);
        self.vivaldi.forget(id);
        self.forget_degraded(id);
        self.queue.forget(id);
        self.stats.count(Counter::HearsayDropped);
        self.revision += 1;
        let dropped = &mut self.notes.hearsay.dropped;
        dropped.retain(|d| d.0 != id);
        dropped.push_back((id, e.record.addr, now));
        if dropped.len() > DROPPED {
            dropped.pop_front();
        }
        let before = (e.record.version, true);
        let statement = Statement::Failed { by: self.me.id };
        let gone = Claim { record: Arc::clone(&e.record), statement };
        self.watch_changed(now, Some(before), &gone);
        self.track_server(now, &gone);
        self.name_changed(now, &gone);
        self.event(Event::Unconfirmed { record: gone.record });
        self.changed(now);
        true
    }

    /// Contacts somebody who was taken off the list, at the rate of the failed and for as long: if
    /// all that knew both of us are gone, nothing else brings us together.
    pub(super) fn retry_dropped(&mut self, now: Instant) {
        let longest = self.cfg.tuning.reconnect_timeout;
        let table = &self.table;
        let dropped = &mut self.notes.hearsay.dropped;
        dropped.retain(|d| table.get(d.0).is_none() && now.since(d.2) < longest);
        if dropped.is_empty() || self.rng.below(table.live_count() + 1) >= dropped.len() {
            return;
        }
        if let Some((id, to, since)) = dropped.pop_front() {
            dropped.push_back((id, to, since));
            self.open_join(now, to, None);
        }
    }

    /// Somebody says that a member lives which is held for dead and forgotten here. If it does, it
    /// must hear of that: nobody but it can come back from there.
    pub(super) fn challenge(&mut self, claim: &Claim, grave: (Version, State)) {
        if !claim.state().is_live() || self.replies_left == 0 {
            return;
        }
        let by = self.me.id;
        let statement = match grave.1 {
            State::Failed => Statement::Failed { by },
            State::Left => Statement::Left { by, prune: false },
            State::Alive | State::Suspect => return,
        };
        self.replies_left -= 1;
        let (to, record) = (claim.record.addr, claim.record.clone());
        let message = Message::Claim(Claim { record, statement });
        self.transmit(Outgoing::Message { to, message, known: None });
    }
}
