//! Something about each of many members, found by id in constant time and without an allocation
//! each. Order never shows: who needs one sorts.

use alloc::vec::Vec;

use super::index::{Index, Spread};
use crate::identity::NodeId;

#[derive(Debug)]
pub(super) struct Peers<T> {
    spread: Spread,
    ids: Index,
    all: Vec<(NodeId, T)>,
}

impl<T> Peers<T> {
    pub(super) fn new(spread: Spread) -> Self {
        Self { spread, ids: Index::default(), all: Vec::new() }
    }

    fn place(&self, id: NodeId) -> Option<u32> {
        let is = |at: u32| self.all.get(at as usize).is_some_and(|x| x.0 == id);
        self.ids.find(self.spread.hash(id), is)
    }

    pub(super) fn get(&self, id: NodeId) -> Option<&T> {
        self.place(id).map(|at| &self.all[at as usize].1)
    }

    /// What there is of this member, or what `fresh` makes.
    pub(super) fn entry(&mut self, id: NodeId, fresh: impl FnOnce() -> T) -> &mut T {
        let at = self.place(id).unwrap_or_else(|| {
            if self.all.len() == self.all.capacity() {
                self.all.reserve_exact(self.all.len() / 8 + 4);
            }
            self.all.push((id, fresh()));
            // Members are capped far below 2^32.
            let at = u32::try_from(self.all.len() - 1).unwrap_or(u32::MAX);
            let (all, spread) = (&self.all, self.spread);
            self.ids.insert(spread.hash(id), at, |x| spread.hash(all[x as usize].0));
            at
        });
        &mut self.all[at as usize].1
    }

    pub(super) fn remove(&mut self, id: NodeId) {
        let Some(at) = self.place(id) else { return };
        let (all, spread) = (&self.all, self.spread);
        let hash = |x: u32| spread.hash(all[x as usize].0);
        self.ids.remove(spread.hash(id), at, hash);
        let last = u32::try_from(all.len() - 1).unwrap_or(u32::MAX);
        if last != at {
            // It moves to the place that has become free.
            let moved = hash(last);
            self.ids.remove(moved, last, hash);
            self.ids.insert(moved, at, |x| hash(if x == at { last } else { x }));
        }
        self.all.swap_remove(at as usize);
    }

    /// In no order that means anything.
    pub(super) fn iter(&self) -> impl Iterator<Item = (NodeId, &T)> {
        self.all.iter().map(|(id, x)| (*id, x))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::random::Random;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0u8..3, 0u8..40), 0..200)) {
            let mut peers = Peers::new(Spread::new(&mut Random::new([7; 32])));
            let mut model = BTreeMap::new();
            for (i, (what, n)) in steps.into_iter().enumerate() {
                let id = NodeId::from_bytes([n; 16]);
                if what == 0 {
                    peers.remove(id);
                    model.remove(&id);
                } else {
                    *peers.entry(id, || i) += 1;
                    *model.entry(id).or_insert(i) += 1;
                }
                for n in 0..40 {
                    let id = NodeId::from_bytes([n; 16]);
                    prop_assert_eq!(peers.get(id), model.get(&id));
                }
                let mut all: Vec<_> = peers.iter().collect();
                all.sort_unstable();
                prop_assert!(all.into_iter().eq(model.iter().map(|(id, x)| (*id, x))));
            }
        }
    }
}
