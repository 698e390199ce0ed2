//! The member list and what is derived from it: who is live, whom to probe next, the digest.
//!
//! Invariant: `live`, `dead` and the digest follow `entries` at every change; nothing else
//! writes to them.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    vec::Vec,
};
use core::hash::Hasher;
use siphasher::sip::SipHasher13;

use super::random::Random;
use crate::{
    digest::Digest,
    identity::{Name, NodeId, Version},
    record::{Claim, Record, State, Statement},
    time::Instant,
};

/// One known member.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) record: Arc<Record>,
    pub(super) statement: Statement,
    /// When this state began here.
    pub(super) since: Instant,
    /// Hash of the last claim that brought nothing new; 0: none yet.
    heard: u64,
}

impl Entry {
    pub(super) fn state(&self) -> State {
        self.statement.state()
    }

    pub(super) fn is_live(&self) -> bool {
        self.state().is_live()
    }

    /// (version, state): what the merge order compares.
    pub(super) fn rank(&self) -> (Version, State) {
        (self.record.version, self.state())
    }

    pub(super) fn claim(&self) -> Claim {
        Claim { record: Arc::clone(&self.record), statement: self.statement }
    }
}

#[derive(Debug, Default)]
pub(super) struct Table {
    entries: BTreeMap<NodeId, Entry>,
    live: Vec<NodeId>,
    dead: Vec<NodeId>,
    names: BTreeSet<(u32, NodeId)>,
    probe_order: Vec<NodeId>,
    probe_next: usize,
    /// Over all members and this node.
    pub(super) digest: Digest,
    tombstones: BTreeMap<NodeId, (Version, State)>,
    tombstone_order: VecDeque<NodeId>,
}

fn name_key(name: &Name) -> u32 {
    let mut h = SipHasher13::new_with_keys(0x71_75_6f_72_61_74_65, 4);
    h.write(name.as_str().as_bytes());
    let [a, b, c, d, ..] = h.finish().to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Gone without having said so itself: it may be back, or never have been away.
fn is_missed(s: Statement, id: NodeId) -> bool {
    match s {
        Statement::Failed { .. } => true,
        Statement::Left { by, .. } => by != id,
        Statement::Alive | Statement::Suspect { .. } => false,
    }
}

fn claim_hash(body: &[u8]) -> u64 {
    let mut h = SipHasher13::new_with_keys(0x71_75_6f_72_61_74_65, 5);
    h.write(body);
    h.finish().max(1)
}

fn drop_id(v: &mut Vec<NodeId>, id: NodeId) {
    if let Some(i) = v.iter().position(|x| *x == id) {
        v.swap_remove(i);
    }
}

impl Table {
    pub(super) fn get(&self, id: NodeId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&NodeId, &Entry)> {
        self.entries.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Live members, this node not among them.
    pub(super) fn live(&self) -> &[NodeId] {
        &self.live
    }

    /// Members that failed, or left only by an operator's word.
    pub(super) fn dead(&self) -> &[NodeId] {
        &self.dead
    }

    /// Members of that name, in any state.
    pub(super) fn named<'a>(&'a self, name: &'a Name) -> impl Iterator<Item = &'a Entry> {
        let key = name_key(name);
        let all = self.names.range((key, NodeId::from_bytes([0; 16]))..);
        all.take_while(move |(k, _)| *k == key)
            .filter_map(|(_, id)| self.entries.get(id))
            .filter(move |e| e.record.name == *name)
    }

    /// Has exactly this claim been heard and weighed already, and nothing since? Gossip repeats
    /// itself: most of what comes in need not be decoded.
    pub(super) fn knows(&self, claim_body: &[u8]) -> bool {
        let id = claim_body.first_chunk::<16>().copied().map(NodeId::from_bytes);
        let heard = id.and_then(|id| self.entries.get(&id)).map_or(0, |e| e.heard);
        heard != 0 && heard == claim_hash(claim_body)
    }

    /// This claim was weighed; if it is what is held now, it need not be again.
    pub(super) fn remember(&mut self, claim: &Claim, claim_body: &[u8]) {
        if let Some(e) = self.entries.get_mut(&claim.id())
            && e.rank() == (claim.version(), claim.state())
        {
            e.heard = claim_hash(claim_body);
        }
    }

    /// Takes a claim as the truth about its member.
    pub(super) fn put(&mut self, claim: &Claim, now: Instant, rng: &mut Random) {
        let id = claim.id();
        let since = match self.entries.get(&id) {
            Some(e) if e.state() == claim.state() => e.since,
            _ => now,
        };
        let was_live = self.entries.get(&id).is_some_and(Entry::is_live);
        let stays = was_live && claim.state().is_live();
        self.unlink(id, stays);
        let record = Arc::clone(&claim.record);
        self.digest.add(id, record.version, claim.state());
        if claim.state().is_live() {
            if !stays {
                self.live.push(id);
            }
        } else if is_missed(claim.statement, id) {
            self.dead.push(id);
        }
        self.names.insert((name_key(&record.name), id));
        self.entries.insert(id, Entry { record, statement: claim.statement, since, heard: 0 });
        if claim.state().is_live() && !was_live {
            // A random place in what is left of this round (SWIM §4.3).
            let left = self.probe_order.len() - self.probe_next;
            let at = self.probe_next + rng.below(left + 1);
            self.probe_order.insert(at, id);
        }
        self.tombstones.remove(&id);
    }

    /// Takes a member out of what is derived from the entries; not out of the live ones if it
    /// stays live.
    fn unlink(&mut self, id: NodeId, stays: bool) {
        let Some(e) = self.entries.get(&id) else { return };
        self.names.remove(&(name_key(&e.record.name), id));
        self.digest.remove(id, e.record.version, e.state());
        if e.is_live() {
            if !stays {
                drop_id(&mut self.live, id);
            }
        } else if is_missed(e.statement, id) {
            drop_id(&mut self.dead, id);
        }
    }

    /// Forgets a member, but not which version of it must not come back.
    pub(super) fn remove(&mut self, id: NodeId, max_tombstones: usize) -> Option<Entry> {
        self.unlink(id, false);
        let e = self.entries.remove(&id)?;
        if self.tombstones.insert(id, e.rank()).is_none() {
            self.tombstone_order.push_back(id);
        }
        while self.tombstone_order.len() > max_tombstones {
            if let Some(old) = self.tombstone_order.pop_front() {
                self.tombstones.remove(&old);
            }
        }
        Some(e)
    }

    /// Forgets that a member was forgotten, unless it was dead.
    pub(super) fn unbury(&mut self, id: NodeId) {
        if self.tombstone(id).is_some_and(|(_, s)| s.is_live()) {
            self.tombstones.remove(&id);
        }
    }

    /// What a forgotten member was when it was forgotten.
    pub(super) fn tombstone(&self, id: NodeId) -> Option<(Version, State)> {
        self.tombstones.get(&id).copied()
    }

    /// All that was forgotten and is remembered as such.
    pub(super) fn tombstones(&self) -> impl Iterator<Item = (NodeId, Version, State)> {
        self.tombstones.iter().map(|(id, (v, s))| (*id, *v, *s))
    }

    /// The next live member of the shuffled round (SWIM §4.3).
    pub(super) fn next_probe(&mut self, rng: &mut Random) -> Option<NodeId> {
        for _ in 0..2 {
            while let Some(&id) = self.probe_order.get(self.probe_next) {
                self.probe_next += 1;
                if self.entries.get(&id).is_some_and(Entry::is_live) {
                    return Some(id);
                }
            }
            self.probe_order.clone_from(&self.live);
            rng.shuffle(&mut self.probe_order);
            self.probe_next = 0;
        }
        None
    }

    /// Up to `k` random live members that `want` takes.
    pub(super) fn random_live(
        &self,
        rng: &mut Random,
        k: usize,
        want: impl Fn(&NodeId) -> bool,
    ) -> Vec<NodeId> {
        rng.pick(&self.live, k, want)
    }
}
