//! The claims that are being spread: one per member, the newest wins; those told least go first,
//! fresh news before all, then in turn.
//!
//! Items stand in linked lists, one for each number of times told, so that all that is done to
//! one takes a constant time however long the queue is.

use alloc::{sync::Arc, vec::Vec};

use super::index::{Index, Spread};
use crate::{identity::NodeId, wire, wire::Packed};

/// No item.
const NIL: u32 = u32::MAX;

#[derive(Debug)]
struct Item {
    claim: Arc<Packed>,
    before: u32,
    after: u32,
    sent: u32,
    /// Of its id: the claim is elsewhere in memory.
    hash: u32,
}

/// Items told equally often; both ends are NIL if there are none.
#[derive(Clone, Copy, Debug)]
struct Level {
    first: u32,
    last: u32,
}

/// See the module's head.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Queue {
    /// Something was queued since the last immediate round.
    pub(super) fresh: bool,
    items: Vec<Option<Item>>,
    free: Vec<u32>,
    levels: Vec<Level>,
    ids: Index,
    spread: Spread,
}

impl Queue {
    /// With nothing in it; `spread`: of this node.
    pub(super) fn new(spread: Spread) -> Self {
        Self { spread, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.items.len() - self.free.len()
    }

    fn item(&self, at: u32) -> Option<&Item> {
        self.items.get(at as usize)?.as_ref()
    }

    fn item_mut(&mut self, at: u32) -> Option<&mut Item> {
        self.items.get_mut(at as usize)?.as_mut()
    }

    fn find(&self, id: NodeId) -> Option<u32> {
        let hash = self.spread.hash(id);
        let is = |i: &Item| i.hash == hash && i.claim.id() == id;
        self.ids.find(hash, |at| self.item(at).is_some_and(is))
    }

    /// As above, of the member that a claim is about.
    fn find_claim(&self, claim: &Arc<Packed>) -> Option<u32> {
        let hash = self.spread.hash(claim.id());
        let is = |i: &Item| {
            i.hash == hash && (Arc::ptr_eq(&i.claim, claim) || i.claim.id() == claim.id())
        };
        self.ids.find(hash, |at| self.item(at).is_some_and(is))
    }

    /// Reads what [`Queue::heard`] reads of these, all at once. Changes nothing.
    pub(super) fn touch(&self, claims: &[Arc<Packed>]) {
        let first = |c: &Arc<Packed>| self.ids.all(self.spread.hash(c.id())).next();
        let read = |at: u32| self.item(at).map_or(0, |i| i.sent);
        for part in claims.chunks(32) {
            let mut places = [NIL; 32];
            places.iter_mut().zip(part).for_each(|(at, c)| *at = first(c).unwrap_or(NIL));
            core::hint::black_box(places.into_iter().fold(0, |all, at| all ^ read(at)));
        }
    }

    /// News, or newer news, about a member. With `most` items, one that was told most often leaves
    /// for it: others tell it, too, and digests find whom nobody told. True: one left.
    pub(super) fn push(&mut self, claim: &Arc<Packed>, most: usize) -> bool {
        let known = self.find_claim(claim);
        let full = self.len() >= most && known.is_none();
        let told_most = self.levels.iter().rev().find(|l| l.last != NIL).map(|l| l.last);
        let displaced = told_most.filter(|_| full);
        if let Some(at) = displaced {
            self.unlink(at);
            self.remove(at);
        }
        self.fresh = true;
        let hash = self.spread.hash(claim.id());
        let item = Item { claim: Arc::clone(claim), before: NIL, after: NIL, sent: 0, hash };
        if let Some(at) = known {
            self.unlink(at);
            self.items[at as usize] = Some(item);
            self.link_first(at);
            return false;
        }
        let at = match self.free.pop() {
            Some(at) => {
                self.items[at as usize] = Some(item);
                at
            }
            None => {
                if self.items.len() == self.items.capacity() {
                    self.items.reserve_exact(self.items.len() / 4 + 8);
                }
                self.items.push(Some(item));
                u32::try_from(self.items.len() - 1).unwrap_or(NIL)
            }
        };
        let items = &self.items;
        self.ids.insert(hash, at, |x| items[x as usize].as_ref().map_or(0, |i| i.hash));
        self.link_first(at);
        displaced.is_some()
    }

    /// Is there anything that was told so often?
    pub(super) fn has_told(&self, told: u32) -> bool {
        self.levels.iter().skip(told as usize).any(|l| l.first != NIL)
    }

    /// Somebody told us what we are telling: one telling less is needed from us, once it was told
    /// `told` times.
    pub(super) fn heard(&mut self, claim: &Arc<Packed>, told: u32, limit: u32) {
        let Some(at) = self.find_claim(claim) else { return };
        // Two rounds of our own go out in any case: a rumour that all leave to the others dies,
        // and whoever the first wave missed would wait for the next tick.
        if self.item(at).is_some_and(|i| i.sent >= told) {
            self.unlink(at);
            self.count(at, limit);
        }
    }

    /// What is said of a member is not said any more.
    pub(super) fn forget(&mut self, id: NodeId) {
        if let Some(at) = self.find(id) {
            self.unlink(at);
            self.remove(at);
        }
    }

    /// An item that is in no list was told once more.
    fn count(&mut self, at: u32, limit: u32) {
        let Some(item) = self.item_mut(at) else { return };
        item.sent += 1;
        if item.sent < limit {
            self.link_last(at);
        } else {
            self.remove(at);
        }
    }

    /// Takes out an item that is in no list.
    fn remove(&mut self, at: u32) {
        let Some(hash) = self.item(at).map(|i| i.hash) else { return };
        let items = &self.items;
        self.ids.remove(hash, at, |x| items[x as usize].as_ref().map_or(0, |i| i.hash));
        self.items[at as usize] = None;
        self.free.push(at);
        if self.len() == 0 {
            // A mass join leaves no memory behind.
            *self = Self { fresh: self.fresh, ..Self::new(self.spread) };
        }
    }

    fn level(&mut self, sent: u32) -> &mut Level {
        let sent = sent as usize;
        if self.levels.len() <= sent {
            self.levels.resize(sent + 1, Level { first: NIL, last: NIL });
        }
        &mut self.levels[sent]
    }

    fn link_first(&mut self, at: u32) {
        let Some(sent) = self.item(at).map(|i| i.sent) else { return };
        let level = self.level(sent);
        let after = core::mem::replace(&mut level.first, at);
        if after == NIL {
            level.last = at;
        }
        self.set_links(at, NIL, after);
        self.item_mut(after).into_iter().for_each(|i| i.before = at);
    }

    fn link_last(&mut self, at: u32) {
        let Some(sent) = self.item(at).map(|i| i.sent) else { return };
        let level = self.level(sent);
        let before = core::mem::replace(&mut level.last, at);
        if before == NIL {
            level.first = at;
        }
        self.set_links(at, before, NIL);
        self.item_mut(before).into_iter().for_each(|i| i.after = at);
    }

    fn set_links(&mut self, at: u32, before: u32, after: u32) {
        if let Some(i) = self.item_mut(at) {
            (i.before, i.after) = (before, after);
        }
    }

    fn unlink(&mut self, at: u32) {
        let Some((before, after, sent)) = self.item(at).map(|i| (i.before, i.after, i.sent)) else {
            return;
        };
        match self.item_mut(before) {
            Some(i) => i.after = after,
            None => self.level(sent).first = after,
        }
        match self.item_mut(after) {
            Some(i) => i.before = before,
            None => self.level(sent).last = before,
        }
    }

    /// How often the item that went out least did so.
    pub(super) fn least_sent(&self) -> Option<u32> {
        let at = self.levels.iter().position(|l| l.first != NIL)?;
        u32::try_from(at).ok()
    }

    /// Appends what fits into `room` bytes; each item goes out at most `limit` times.
    pub(super) fn fill(&mut self, to: NodeId, room: usize, limit: u32, out: &mut Vec<u8>) {
        /// Items looked at for one packet: a long queue must not make packets slow.
        const SCAN: usize = 64;
        /// No claim is shorter: with less room there is nothing to look for.
        const SHORTEST: usize = 40;
        let end = out.len() + room;
        let mut taken = [NIL; SCAN];
        let (mut count, mut looked) = (0, 0);
        'levels: for level in 0..self.levels.len() {
            let mut at = self.levels[level].first;
            while let Some(item) = self.item(at) {
                if looked == SCAN || out.len() + SHORTEST > end {
                    break 'levels;
                }
                looked += 1;
                // Nobody needs news about itself; accusations are told directly.
                if item.claim.id() != to && out.len() + 3 + item.claim.body().len() <= end {
                    wire::append_claim(&item.claim, out);
                    taken[count] = at;
                    count += 1;
                }
                at = item.after;
            }
        }
        for &at in &taken[..count] {
            self.unlink(at);
            self.count(at, limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::random::Random;

    fn spread() -> Spread {
        Spread::new(&mut Random::new([7; 32]))
    }

    use crate::{Statement, record::Claim, wire::tests::record};
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    fn claim(n: u8, incarnation: u32) -> Arc<Packed> {
        let mut r = record(n);
        r.version.incarnation = incarnation;
        Packed::new(Claim { record: Arc::new(r), statement: Statement::Alive })
    }

    fn id(n: u8) -> NodeId {
        NodeId::from_bytes([n; 16])
    }

    fn sent(q: &mut Queue, to: u8, room: usize, limit: u32) -> Vec<u8> {
        let mut out = Vec::new();
        q.fill(id(to), room, limit, &mut out);
        assert!(out.len() <= room);
        let bodies = wire::bodies(&out).map(|b| b.unwrap().1[0]);
        bodies.collect()
    }

    #[test]
    fn least_told_first_then_in_turn_and_the_newest_news_before_all() {
        let mut q = Queue::new(spread());
        for n in 1..=3 {
            q.push(&claim(n, 0), 4);
        }
        let one = 3 + claim(1, 0).body().len();
        assert_eq!(sent(&mut q, 0, one, 9), [3]);
        assert_eq!(sent(&mut q, 0, 2 * one, 9), [2, 1]);
        q.push(&claim(4, 0), 4);
        assert_eq!(sent(&mut q, 0, 2 * one, 9), [4, 3]);
        q.push(&claim(2, 7), 4);
        assert_eq!(sent(&mut q, 0, one, 9), [2], "newer news counts from zero");
        assert_eq!(sent(&mut q, 1, one, 9), [4], "nobody hears of itself");
    }

    #[test]
    fn a_full_queue_gives_up_what_was_told_most() {
        let mut q = Queue::new(spread());
        let one = 3 + claim(1, 0).body().len();
        for n in 1..=3 {
            q.push(&claim(n, 0), 3);
        }
        sent(&mut q, 0, one, 9);
        q.push(&claim(4, 0), 3);
        assert_eq!(sent(&mut q, 0, 9 * one, 9), [4, 2, 1], "3 had been told");
        q.push(&claim(4, 1), 3);
        assert_eq!(q.len(), 3, "newer news takes the place of older");
    }

    #[test]
    fn ids_stay_spread_when_the_queue_was_empty() {
        let mut q = Queue::new(spread());
        for round in 0..2 {
            for n in 1..=100 {
                q.push(&claim(n, round), 100);
            }
            let hashes: alloc::collections::BTreeSet<u32> =
                q.items.iter().flatten().map(|i| i.hash).collect();
            assert!(hashes.len() > 95, "{} hashes in round {round}", hashes.len());
            (1..=100).for_each(|n| q.forget(id(n)));
            assert_eq!(q.len(), 0);
        }
    }

    proptest! {
        /// Against a map from member to how often it was told.
        #[test]
        fn every_item_goes_out_as_often_as_the_limit_says(
            steps in prop::collection::vec((0u8..4, 0u8..12), 0..200),
        ) {
            let (limit, told) = (5, 2);
            let mut q = Queue::new(spread());
            let mut model: BTreeMap<u8, u32> = BTreeMap::new();
            for (i, (what, n)) in steps.into_iter().enumerate() {
                match what {
                    0 => {
                        q.push(&claim(n, i as u32), 100);
                        model.insert(n, 0);
                    }
                    1 => {
                        q.heard(&claim(n, 0), told, limit);
                        model.entry(n).and_modify(|s| *s += u32::from(*s >= told));
                    }
                    _ => {
                        let least = model.iter().filter(|(m, _)| **m != n).map(|x| *x.1).min();
                        for (k, m) in sent(&mut q, n, 150 * usize::from(what), limit)
                            .into_iter()
                            .enumerate()
                        {
                            prop_assert_ne!(m, n);
                            let s = model.get_mut(&m).unwrap();
                            if k == 0 {
                                prop_assert_eq!(Some(*s), least);
                            }
                            *s += 1;
                        }
                    }
                }
                model.retain(|_, s| *s < limit);
                prop_assert_eq!(q.len(), model.len());
                prop_assert_eq!(q.least_sent(), model.values().copied().min());
            }
        }
    }
}
