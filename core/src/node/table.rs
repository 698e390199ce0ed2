//! The member list and what is derived from it: who is live, whom to probe next, the digest.
//!
//! A member has a slot, a small number that is given again once the member is forgotten; lists
//! and indices hold slots, so a member costs about 35 bytes beside its claim, and each change a
//! constant time. Orders that others see come from the sequence of inputs only.
//!
//! Invariant: `live`, `dead`, the indices and the digest follow `slots` at every change; nothing
//! else writes to them.

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicU32, Ordering};

use super::{
    index::{Index, Spread},
    random::Random,
    ring::Ring,
};
use crate::{
    digest::{Digest, name_key},
    identity::{Name, NodeId, Version},
    record::{State, Statement},
    time::Instant,
    wire::Packed,
};

/// One known member: the strongest claim about it.
pub(super) type Entry = Arc<Packed>;

#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Table {
    /// Over all members and this node.
    pub(super) digest: Digest,
    spread: Spread,
    /// What was found last, for it is often looked for next, too: its hash, then its slot. Whether
    /// it is another one is seen without a look at its slot, which is far away.
    recent: [AtomicU32; 2],
    ids: Index,
    slots: Vec<Option<Entry>>,
    live: Vec<u32>,
    probe_order: Vec<u32>,
    probe_next: usize,
    /// Slots without a member.
    free: Vec<u32>,
    names: Index,
    dead: Vec<u32>,
    /// Where in `live` or `dead` a slot stands.
    standing: Vec<u32>,
    /// When those that are gone went.
    gone: BTreeMap<u32, Instant>,
    ring: Ring,
    /// What was forgotten, and its place in the order.
    tombstones: BTreeMap<NodeId, (Version, State, u64)>,
    /// The oldest first.
    tombstone_order: BTreeMap<u64, NodeId>,
}

/// Gone without having said so itself: it may be back, or never have been away.
fn is_missed(s: Statement, id: NodeId) -> bool {
    match s {
        Statement::Failed { .. } => true,
        Statement::Left { by, .. } => by != id,
        Statement::Alive | Statement::Suspect { .. } => false,
    }
}

/// Which list a member is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum List {
    Live,
    Dead,
    None,
}

fn list_of(e: &Packed) -> List {
    if e.is_live() {
        List::Live
    } else if is_missed(e.statement, e.id()) {
        List::Dead
    } else {
        List::None
    }
}

/// Grows by an eighth: there are as many tables in a simulation as members in each.
fn push<T>(v: &mut Vec<T>, x: T) {
    if v.len() == v.capacity() {
        v.reserve_exact(v.len() / 8 + 8);
    }
    v.push(x);
}

impl Table {
    /// With room for so many members, and so many followers in the ring.
    pub(super) fn new(rng: &mut Random, room: usize, me: NodeId, followers: usize) -> Self {
        Self {
            ring: Ring::new(me, followers),
            slots: Vec::with_capacity(room),
            ids: Index::with_room(room),
            names: Index::with_room(room),
            spread: Spread::new(rng),
            live: Vec::with_capacity(room),
            standing: Vec::with_capacity(room),
            probe_order: Vec::with_capacity(room),
            ..Self::default()
        }
    }

    fn hash(&self, id: NodeId) -> u32 {
        self.spread.hash(id)
    }

    /// What spreads ids over the indices of this node.
    pub(super) const fn spread(&self) -> Spread {
        self.spread
    }

    /// Reads what finding these members reads, all at once. Changes nothing.
    pub(super) fn touch(&self, claims: &[Entry]) {
        let mut read = 0;
        for part in claims.chunks(32) {
            let mut slots = [0; 32];
            for (slot, c) in slots.iter_mut().zip(part) {
                *slot = self.ids.all(self.hash(c.id())).next().unwrap_or(0);
            }
            let at = |s: &u32| self.at(*s).map_or(0, |e| Arc::as_ptr(e) as usize);
            read ^= slots[..part.len()].iter().map(at).fold(0, |all, x| all ^ x);
        }
        core::hint::black_box(read);
    }

    /// See [`super::Node::touch`].
    pub(super) fn touch_itself(&self) -> u64 {
        self.digest.root()
            ^ self.slots.len() as u64
            ^ self.live.len() as u64
            ^ self.probe_next as u64
            ^ u64::from(self.recent[0].load(Ordering::Relaxed))
            ^ self.probe_order.get(self.probe_next).map_or(0, |s| u64::from(*s))
    }

    fn slot_of(&self, id: NodeId) -> Option<u32> {
        let is = |s: u32| self.at(s).is_some_and(|e| e.id() == id);
        let hash = self.hash(id);
        let [recent, slot] = &self.recent;
        if recent.load(Ordering::Relaxed) == hash {
            let slot = slot.load(Ordering::Relaxed);
            if is(slot) {
                return Some(slot);
            }
        }
        let slot = self.ids.find(hash, is)?;
        self.remember(hash, slot);
        Some(slot)
    }

    fn remember(&self, hash: u32, slot: u32) {
        let [recent, at] = &self.recent;
        recent.store(hash, Ordering::Relaxed);
        at.store(slot, Ordering::Relaxed);
    }

    fn at(&self, slot: u32) -> Option<&Entry> {
        self.slots.get(slot as usize)?.as_ref()
    }

    pub(super) fn id_at(&self, slot: u32) -> Option<NodeId> {
        self.at(slot).map(|e| e.id())
    }

    pub(super) fn get(&self, id: NodeId) -> Option<&Entry> {
        self.at(self.slot_of(id)?)
    }

    /// A member and its slot, which is its own for as long as it is not forgotten.
    pub(super) fn find(&self, id: NodeId) -> Option<(u32, &Entry)> {
        let slot = self.slot_of(id)?;
        Some((slot, self.at(slot)?))
    }

    /// As [`Table::iter`], with slots.
    pub(super) fn iter_slots(&self) -> impl Iterator<Item = (u32, &Entry)> {
        (0..).zip(&self.slots).filter_map(|(slot, e)| Some((slot, e.as_ref()?)))
    }

    /// All members, in no order that means anything.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.slots.iter().flatten()
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Number of live members, this node not among them.
    pub(super) fn live_count(&self) -> usize {
        self.live.len()
    }

    /// The live members, this node not among them.
    pub(super) fn live(&self) -> impl Iterator<Item = &Entry> {
        self.live.iter().filter_map(|s| self.at(*s))
    }

    /// Number of members that failed, or left only by an operator's word.
    pub(super) fn dead_count(&self) -> usize {
        self.dead.len()
    }

    /// Since when a member is gone; none if it is not.
    pub(super) fn gone_since(&self, id: NodeId) -> Option<Instant> {
        self.gone.get(&self.slot_of(id)?).copied()
    }

    /// Members that are gone, and since when.
    pub(super) fn gone(&self) -> impl Iterator<Item = (&Entry, Instant)> {
        self.gone.iter().filter_map(|(s, since)| Some((self.at(*s)?, *since)))
    }

    /// Members of that name, in any state.
    pub(super) fn named<'a>(&'a self, name: &'a Name) -> impl Iterator<Item = &'a Entry> {
        let key = name_key(name);
        let named = move |e: &&Entry| e.name_key == key && e.record.name == *name;
        self.names.all(key).filter_map(|s| self.at(s)).filter(named)
    }

    /// Takes a claim as the truth about its member.
    pub(super) fn put(&mut self, claim: &Entry, now: Instant, rng: &mut Random) {
        let id = claim.id();
        let old = self.slot_of(id);
        let slot = old.unwrap_or_else(|| self.take_slot(id));
        let before = self.slots[slot as usize].replace(Arc::clone(claim));
        if let Some(b) = &before {
            self.digest.remove(b.fingerprint);
        }
        self.digest.add(claim.fingerprint);
        if before.as_ref().is_none_or(|b| b.name_key != claim.name_key) {
            if let Some(b) = &before {
                self.unlink_name(b.name_key, slot);
            }
            let slots = &self.slots;
            let key = |s: u32| slots[s as usize].as_ref().map_or(0, |e| e.name_key);
            self.names.insert(claim.name_key, slot, key);
        }
        let was = before.as_ref().map_or(List::None, |b| list_of(b));
        let is = list_of(claim);
        if was != is {
            self.unlist(slot, was);
            self.enlist(slot, is);
        }
        if is == List::Live {
            self.gone.remove(&slot);
        } else if before.is_none_or(|b| b.state() != claim.state()) {
            self.gone.insert(slot, now);
        }
        let rest = &self.probe_order[self.probe_next..];
        if is == List::Live && was != List::Live && (old.is_none() || !rest.contains(&slot)) {
            // A random place in what is left of this round (SWIM §4.3).
            push(&mut self.probe_order, slot);
            let last = self.probe_order.len() - 1;
            let at = self.probe_next + rng.below(last - self.probe_next + 1);
            self.probe_order.swap(at, last);
        }
        if old.is_none() {
            self.drop_tombstone(id);
        }
    }

    fn take_slot(&mut self, id: NodeId) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            push(&mut self.slots, None);
            push(&mut self.standing, 0);
            // Members are capped far below 2^32.
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let mut ids = core::mem::take(&mut self.ids);
        ids.insert(self.hash(id), slot, |s| self.id_at(s).map_or(0, |id| self.hash(id)));
        self.ids = ids;
        slot
    }

    /// The slot still has its entry, or one of another name.
    fn unlink_name(&mut self, key: u32, slot: u32) {
        let slots = &self.slots;
        let other = |s: u32| slots[s as usize].as_ref().map_or(0, |e| e.name_key);
        self.names.remove(key, slot, |s| if s == slot { key } else { other(s) });
    }

    /// The slot has its entry.
    fn enlist(&mut self, slot: u32, list: List) {
        if let (List::Live, Some(id)) = (list, self.id_at(slot)) {
            self.ring.add(id, slot);
        }
        let v = match list {
            List::Live => &mut self.live,
            List::Dead => &mut self.dead,
            List::None => return,
        };
        self.standing[slot as usize] = u32::try_from(v.len()).unwrap_or(u32::MAX);
        push(v, slot);
    }

    fn unlist(&mut self, slot: u32, list: List) {
        if list == List::Live {
            self.ring.remove(slot);
        }
        let v = match list {
            List::Live => &mut self.live,
            List::Dead => &mut self.dead,
            List::None => return,
        };
        let at = self.standing[slot as usize];
        v.swap_remove(at as usize);
        if let Some(&moved) = v.get(at as usize) {
            self.standing[moved as usize] = at;
        }
    }

    /// Forgets a member, but not which version of it must not come back; and of how many others
    /// that is forgotten now.
    pub(super) fn remove(&mut self, id: NodeId, max_tombstones: usize) -> Option<(Entry, u64)> {
        let slot = self.slot_of(id)?;
        let e = self.at(slot).map(Arc::clone)?;
        self.unlist(slot, list_of(&e));
        self.digest.remove(e.fingerprint);
        self.unlink_name(e.name_key, slot);
        let mut ids = core::mem::take(&mut self.ids);
        ids.remove(self.hash(id), slot, |s| self.id_at(s).map_or(0, |id| self.hash(id)));
        self.ids = ids;
        self.slots[slot as usize] = None;
        self.free.push(slot);
        self.gone.remove(&slot);
        // The slot may be given again: a place in the round is not inherited.
        let (done, _) = self.probe_order.split_at(self.probe_next);
        self.probe_next -= done.iter().filter(|s| **s == slot).count();
        self.probe_order.retain(|s| *s != slot);
        self.drop_tombstone(id);
        let place = self.tombstone_order.last_key_value().map_or(0, |(last, _)| last + 1);
        let (version, state) = e.rank();
        self.tombstones.insert(id, (version, state, place));
        self.tombstone_order.insert(place, id);
        let mut lost = 0;
        while self.tombstone_order.len() > max_tombstones {
            if let Some((_, old)) = self.tombstone_order.pop_first() {
                self.tombstones.remove(&old);
                lost += 1;
            }
        }
        Some((e, lost))
    }

    /// Forgets that a member was forgotten, unless it was dead.
    pub(super) fn unbury(&mut self, id: NodeId) {
        if self.tombstone(id).is_some_and(|(_, s)| s.is_live()) {
            self.drop_tombstone(id);
        }
    }

    /// Its place in the order goes with it: a later one of the same member is as young as it is.
    fn drop_tombstone(&mut self, id: NodeId) {
        if let Some((_, _, place)) = self.tombstones.remove(&id) {
            self.tombstone_order.remove(&place);
        }
    }

    /// What a forgotten member was when it was forgotten.
    pub(super) fn tombstone(&self, id: NodeId) -> Option<(Version, State)> {
        self.tombstones.get(&id).map(|t| (t.0, t.1))
    }

    /// All that was forgotten and is remembered as such.
    pub(super) fn tombstones(&self) -> impl Iterator<Item = (NodeId, Version, State)> {
        self.tombstones.iter().map(|(id, (v, s, _))| (*id, *v, *s))
    }

    /// The next live member of the shuffled round (SWIM §4.3).
    pub(super) fn next_probe(&mut self, rng: &mut Random) -> Option<NodeId> {
        for _ in 0..2 {
            while let Some(&slot) = self.probe_order.get(self.probe_next) {
                self.probe_next += 1;
                if let Some(id) = self.at(slot).filter(|e| e.is_live()).map(|e| e.id()) {
                    self.remember(self.hash(id), slot);
                    return Some(id);
                }
            }
            self.probe_order.clear();
            self.probe_order.extend_from_slice(&self.live);
            rng.shuffle(&mut self.probe_order);
            self.probe_next = 0;
        }
        None
    }

    /// The live members that follow this node in the ring, the nearest first.
    pub(super) fn followers(&mut self) -> impl Iterator<Item = NodeId> {
        let (live, slots) = (&self.live, &self.slots);
        let id = |s: u32| slots.get(s as usize)?.as_ref().map(|e| e.id());
        self.ring.refill(live.iter().filter_map(|s| Some((id(*s)?, *s))));
        self.ring.slots().filter_map(id)
    }

    /// Up to `k` random live members that `want` takes.
    pub(super) fn random_live(
        &self,
        rng: &mut Random,
        k: usize,
        want: impl Fn(&NodeId) -> bool,
    ) -> Vec<NodeId> {
        self.random(&self.live, rng, k, want)
    }

    /// As above; however few of many `want` takes, they are found.
    pub(super) fn any_live(
        &self,
        rng: &mut Random,
        k: usize,
        want: impl Fn(&NodeId) -> bool,
    ) -> Vec<NodeId> {
        let mut found = self.random_live(rng, k, &want);
        if found.len() < k {
            let ids = self.live.iter().filter_map(|s| self.id_at(*s));
            let mut others: Vec<NodeId> =
                ids.filter(|id| want(id) && !found.contains(id)).collect();
            rng.shuffle(&mut others);
            others.truncate(k - found.len());
            found.extend(others);
        }
        found
    }

    /// Up to `k` random members that failed, or left only by an operator's word.
    pub(super) fn random_dead(
        &self,
        rng: &mut Random,
        k: usize,
        want: impl Fn(&NodeId) -> bool,
    ) -> Vec<NodeId> {
        self.random(&self.dead, rng, k, want)
    }

    fn random(
        &self,
        from: &[u32],
        rng: &mut Random,
        k: usize,
        want: impl Fn(&NodeId) -> bool,
    ) -> Vec<NodeId> {
        let picked = rng.pick(from, k, |s| self.id_at(*s).is_some_and(|id| want(&id)));
        picked.into_iter().filter_map(|s| self.id_at(s)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{record::Claim, wire::tests::record};
    use alloc::{collections::BTreeSet, format};
    use proptest::prelude::*;

    fn claim(n: u8, incarnation: u32, statement: Statement) -> Entry {
        let mut r = record(n);
        r.version.incarnation = incarnation;
        r.name = Name::new(format!("agent-{}", n % 5)).unwrap();
        Packed::new(Claim { record: Arc::new(r), statement })
    }

    /// After the fifth.
    const ME: NodeId = NodeId::from_bytes([5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 6]);

    fn table(rng: &mut Random, room: usize) -> Table {
        Table::new(rng, room, ME, 2)
    }

    /// All that is derived, computed anew.
    fn check(t: &mut Table) {
        let (mut followers, before): (Vec<_>, Vec<_>) =
            t.live().map(|e| e.id()).partition(|id| *id > ME);
        followers.sort_unstable();
        followers.extend(before.into_iter().collect::<BTreeSet<_>>());
        followers.truncate(2);
        assert_eq!(t.followers().collect::<Vec<_>>(), followers);
        let mut digest = Digest::default();
        t.iter().for_each(|e| digest.add(e.fingerprint));
        assert_eq!(digest, t.digest);
        let ids = |l: List| -> BTreeSet<NodeId> {
            t.iter().filter(|e| list_of(e) == l).map(|e| e.id()).collect()
        };
        assert_eq!(t.live().map(|e| e.id()).collect::<BTreeSet<_>>(), ids(List::Live));
        let dead: BTreeSet<_> = t.dead.iter().filter_map(|s| t.id_at(*s)).collect();
        assert_eq!(dead, ids(List::Dead));
        assert_eq!((t.live_count(), t.dead_count()), (t.live().count(), dead.len()));
        for e in t.iter() {
            assert_eq!(t.get(e.id()).map(|e| e.id()), Some(e.id()));
            assert_eq!(t.gone_since(e.id()).is_some(), !e.is_live());
            assert!(t.named(&e.record.name).any(|x| x.id() == e.id()));
            assert!(t.named(&e.record.name).all(|x| x.record.name == e.record.name));
        }
        assert_eq!(t.len(), t.iter().count());
        let rest = &t.probe_order[t.probe_next..];
        assert_eq!(rest.iter().collect::<BTreeSet<_>>().len(), rest.len(), "twice in the round");
        let mut order: Vec<_> = t.tombstone_order.values().copied().collect();
        order.sort_unstable();
        assert!(order.iter().eq(t.tombstones.keys()), "each tombstone has one place");
    }

    /// The oldest goes first, also of those that were dug up meanwhile.
    #[test]
    fn a_new_tombstone_outlives_older_ones() {
        let mut rng = Random::new([3; 32]);
        let mut t = table(&mut rng, 0);
        let id = |n| NodeId::from_bytes([n; 16]);
        for n in [1, 2, 1, 3] {
            t.put(&claim(n, 0, Statement::Alive), Instant::ZERO, &mut rng);
            t.remove(id(n), 2);
        }
        assert_eq!(t.tombstones().map(|x| x.0).collect::<Vec<_>>(), [id(1), id(3)]);
    }

    #[test]
    fn who_fits_into_the_room_moves_nothing() {
        let mut rng = Random::new([3; 32]);
        let mut t = table(&mut rng, 100);
        let room = |t: &Table| [&t.live, &t.standing, &t.probe_order].map(|v| v.as_ptr());
        let before = room(&t);
        for n in 0..100 {
            t.put(&claim(n, 0, Statement::Alive), Instant::ZERO, &mut rng);
        }
        assert_eq!(room(&t), before);
        check(&mut t);
    }

    proptest! {
        #[test]
        fn what_is_derived_follows(
            steps in prop::collection::vec((0u8..12, 0u8..7), 0..120),
            room in 0usize..12,
        ) {
            let mut rng = Random::new([3; 32]);
            let mut t = table(&mut rng, room);
            for (i, (n, what)) in steps.into_iter().enumerate() {
                let by = NodeId::from_bytes([99; 16]);
                let own = NodeId::from_bytes([n; 16]);
                let statement = match what {
                    0 => {
                        t.remove(own, 4);
                        check(&mut t);
                        continue;
                    }
                    1 => Statement::Failed { by },
                    2 => Statement::Left { by, prune: false },
                    3 => Statement::Left { by: own, prune: false },
                    _ => Statement::Alive,
                };
                t.put(&claim(n, i as u32, statement), Instant::ZERO, &mut rng);
                check(&mut t);
                if what == 5 {
                    t.next_probe(&mut rng);
                }
            }
            // A round meets every live member once.
            while t.probe_next < t.probe_order.len() {
                t.next_probe(&mut rng);
            }
            let round: BTreeSet<_> =
                (0..t.live_count()).filter_map(|_| t.next_probe(&mut rng)).collect();
            prop_assert_eq!(round.len(), t.live_count());
            prop_assert!(t.tombstones().count() <= 4);
        }
    }
}
