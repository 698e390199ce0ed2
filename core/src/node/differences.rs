//! Differences: two members compare 256 bucket hashes, then versions of the differing buckets,
//! then send the records that are missing: the cost follows the difference, not the cluster.
//!
//! Opener on the left; `Sync` between members, `Merge` for a join of somebody who knows others:
//! ```text
//! Hello, Buckets        ->
//!                       <- Welcome, Mismatch, Summaries...
//! Claims..., Want, Done ->
//!                       <- Claims..., Done
//! ```

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use super::{
    Node,
    streams::{Conn, Once, Role},
    sync::push_claims,
};
use crate::{
    bounded::BoundedVec,
    digest,
    identity::{NodeId, Version},
    merge::{Order, compare},
    output::{JoinError, JoinId, StreamId},
    planted::Bug,
    record::State,
    stats::Counter,
    time::Instant,
    wire::{Forgotten, Message, Mismatch, Packed, Summaries, Summary, Want},
};

/// Where an exchange that we opened stands.
#[derive(Debug, Default)]
pub(super) struct Difference {
    /// Of a join: who waits for the outcome, if anybody does.
    pub(super) join: Option<Option<JoinId>>,
    /// Claims of live members that came.
    pub(super) learned: usize,
    /// The buckets that differ.
    pub(super) bits: [u64; 4],
    /// All summaries came, and we have said what we want.
    pub(super) asked: bool,
    /// Summaries that came.
    told: usize,
    /// They know of us.
    told_of_us: bool,
    /// They know of the members in these slots.
    seen: Vec<u64>,
    wanted: Vec<NodeId>,
    offered: Vec<Arc<Packed>>,
    forgotten: Vec<(NodeId, Version, State)>,
}

impl Difference {
    pub(super) fn of_join(id: Option<JoinId>) -> Box<Self> {
        Box::new(Self { join: Some(id), ..Self::default() })
    }

    fn see(&mut self, slot: u32) {
        let (word, bit) = (slot as usize / 64, slot % 64);
        if self.seen.len() <= word {
            self.seen.resize(word + 1, 0);
        }
        self.seen[word] |= 1 << bit;
    }

    fn has_seen(&self, slot: u32) -> bool {
        self.seen.get(slot as usize / 64).is_some_and(|w| w >> (slot % 64) & 1 == 1)
    }
}

impl Node {
    pub(super) fn bucket_message(&self) -> Message {
        Message::Buckets(BoundedVec::truncated(self.table.digest.buckets().to_vec()))
    }

    pub(super) fn answer_buckets(&mut self, now: Instant, id: StreamId, theirs: &[u64]) {
        if !self.once(now, id, Once::Buckets) {
            return;
        }
        let mut bits = [0u64; 4];
        for (i, own) in self.table.digest.buckets().iter().enumerate() {
            if theirs.get(i) != Some(own) {
                bits[i / 64] |= 1 << (i % 64);
            }
        }
        let mut items: Vec<Summary> = Vec::new();
        let me = self.claim_about(self.me.id);
        for e in me.iter().chain(self.table.iter()) {
            if in_bits(&bits, e.fingerprint.bucket()) {
                items.push(Summary { id: e.id(), version: e.version(), state: e.state() });
            }
        }
        let mut say = alloc::vec![Message::Mismatch(Mismatch { bits })];
        let graves = self.table.tombstones().filter(|(id, ..)| in_bits(&bits, digest::bucket(*id)));
        push_forgotten(graves.collect(), &mut say);
        let mut chunks = items.chunks(1024).peekable();
        loop {
            let part = chunks.next().unwrap_or_default();
            let last = chunks.peek().is_none();
            let items = BoundedVec::truncated(part.to_vec());
            say.push(Message::Summaries(Summaries { items, last }));
            if last {
                break;
            }
        }
        self.say(id, &say);
    }

    pub(super) fn on_summaries(&mut self, now: Instant, id: StreamId, s: &Summaries) {
        let cap = self.cfg.limits.members;
        let Some(Conn { role: Role::Syncing(d), .. }) = self.conns.get_mut(&id) else { return };
        d.told += s.items.len();
        if d.asked || d.told > cap + 1 {
            self.fail(now, id, JoinError::NotQuorate);
            return;
        }
        // Taken out, so that the table can be asked meanwhile.
        let mut d = core::mem::take(d);
        for i in &*s.items {
            self.weigh_summary(&mut d, i);
        }
        if s.last {
            self.ask_for_difference(id, &mut d);
        }
        if let Some(Conn { role: Role::Syncing(place), .. }) = self.conns.get_mut(&id) {
            *place = d;
        }
    }

    fn weigh_summary(&self, d: &mut Difference, i: &Summary) {
        let rank = (i.version, i.state);
        let known = if i.id == self.me.id {
            d.told_of_us = true;
            self.claim_about(i.id)
        } else {
            self.table.find(i.id).map(|(slot, e)| {
                d.see(slot);
                Arc::clone(e)
            })
        };
        match known {
            None => match self.table.tombstone(i.id) {
                Some(g) if compare(g, rank) != Order::Newer => d.forgotten.push((i.id, g.0, g.1)),
                _ => d.wanted.push(i.id),
            },
            Some(c) => match compare(c.rank(), rank) {
                Order::Newer => d.wanted.push(i.id),
                Order::Older => d.offered.push(c),
                Order::Same => {}
            },
        }
    }

    /// All that they have is known: offers what they lack, asks for what we lack.
    fn ask_for_difference(&mut self, id: StreamId, d: &mut Difference) {
        d.asked = true;
        let mut offered = core::mem::take(&mut d.offered);
        let differs = |e: &Packed| in_bits(&d.bits, e.fingerprint.bucket());
        offered.extend(self.claim_about(self.me.id).filter(|c| !d.told_of_us && differs(c)));
        let all = self.table.iter_slots();
        let lacking = all.filter(|(slot, e)| differs(e) && !d.has_seen(*slot));
        offered.extend(lacking.map(|(_, e)| Arc::clone(e)));
        let mut say = Vec::new();
        push_claims(&offered, &mut say);
        push_forgotten(core::mem::take(&mut d.forgotten), &mut say);
        for ids in core::mem::take(&mut d.wanted).chunks(2048) {
            say.push(Message::Want(Want { ids: BoundedVec::truncated(ids.to_vec()) }));
        }
        say.push(Message::Done(()));
        d.seen = Vec::new();
        self.say(id, &say);
    }

    /// Members of the list that are gone and that somebody has forgotten are forgotten here, too:
    /// lists that differ in them only would be compared for ever.
    pub(super) fn forget_too(&mut self, f: &Forgotten) {
        for s in &*f.items {
            let gone = self.table.get(s.id).filter(|e| !e.is_live());
            let newer = |e: &Packed| compare(e.rank(), (s.version, s.state)) == Order::Older;
            if gone.is_some_and(|e| !newer(e)) && !self.broken(Bug::ForgottenStays) {
                self.forget(s.id);
            }
        }
    }

    pub(super) fn answer_want(&mut self, now: Instant, id: StreamId, w: &Want) {
        let cap = self.cfg.limits.members;
        let Some(c) = self.conns.get_mut(&id) else { return };
        c.wanted += w.ids.len();
        if c.wanted > cap {
            self.stats.count(Counter::DropMalformed);
            self.fail(now, id, JoinError::NotQuorate);
            return;
        }
        let mut say = Vec::new();
        let wanted: Vec<_> = w.ids.iter().filter_map(|i| self.claim_about(*i)).collect();
        push_claims(&wanted, &mut say);
        self.say(id, &say);
    }
}

fn in_bits(bits: &[u64; 4], b: usize) -> bool {
    bits[b / 64] >> (b % 64) & 1 == 1
}

fn push_forgotten(all: Vec<(NodeId, Version, State)>, out: &mut Vec<Message>) {
    for part in all.chunks(1024) {
        let short =
            |&(id, version, state): &(NodeId, Version, State)| Summary { id, version, state };
        let items = BoundedVec::truncated(part.iter().map(short).collect());
        out.push(Message::Forgotten(Forgotten { items }));
    }
}
