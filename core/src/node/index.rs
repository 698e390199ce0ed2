//! Finds a slot by a key in constant time: open addressing with linear probing.
//!
//! The keys stay where they are; the index holds slot numbers and bits of the hash, four bytes
//! together, and asks its owner what is in a slot. Hashes are keyed by the owner (multiply-shift,
//! Dietzfelbinger et al. 1997), so nobody outside can choose ids that collide. Order never shows:
//! only lookups do.

use alloc::{vec, vec::Vec};

use super::random::Random;
use crate::identity::NodeId;

/// What spreads ids over an index; each node has its own.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spread([u64; 2]);

impl Spread {
    pub(super) fn new(rng: &mut Random) -> Self {
        Self([rng.u64() | 1, rng.u64() | 1])
    }

    pub(super) fn hash(self, id: NodeId) -> u32 {
        let (a, b) = id.as_bytes().split_at(8);
        let word = |b: &[u8]| b.first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
        let [k0, k1] = self.0;
        let (x, y) = (word(a).wrapping_mul(k0), word(b).wrapping_mul(k1));
        let mixed = (x ^ x >> 32).wrapping_mul(k1).wrapping_add(y ^ y >> 29).wrapping_mul(k0);
        // The highest bits depend on all others.
        (mixed >> 32) as u32
    }
}

/// Nothing is here.
const EMPTY: u32 = u32::MAX;

#[derive(Debug, Default)]
pub(super) struct Index {
    /// A slot is below the number of places, so its low bits say it. The bits above are those of
    /// the hash that do not say where it belongs: they tell nearly all others apart.
    places: Vec<u32>,
    used: usize,
}

impl Index {
    /// With room for so many slots.
    pub(super) fn with_room(slots: usize) -> Self {
        if slots == 0 {
            return Self::default();
        }
        let mut places = 8;
        while slots * 3 > places * 2 {
            places *= 2;
        }
        Self { places: vec![EMPTY; places], used: 0 }
    }

    fn mask(&self) -> u32 {
        // As many places as members have 32 bits.
        (self.places.len() as u32).wrapping_sub(1)
    }

    /// The first slot under this hash for which `is` holds.
    pub(super) fn find(&self, hash: u32, is: impl Fn(u32) -> bool) -> Option<u32> {
        self.all(hash).find(|&slot| is(slot))
    }

    /// Slots under this hash, and few under others.
    pub(super) fn all(&self, hash: u32) -> impl Iterator<Item = u32> {
        let mask = self.mask();
        let mut at = hash & mask;
        core::iter::from_fn(move || {
            loop {
                let place = *self.places.get(at as usize)?;
                if place == EMPTY {
                    return None;
                }
                at = (at + 1) & mask;
                if (place ^ hash) & !mask == 0 {
                    return Some(place & mask);
                }
            }
        })
    }

    /// Adds a slot that is not there. `hash_of` tells the hash of any slot that is.
    pub(super) fn insert(&mut self, hash: u32, slot: u32, hash_of: impl Fn(u32) -> u32) {
        // At most two thirds full: long runs make linear probing slow. The last slot of all, with
        // all bits set above it, would look like nothing.
        let few = |places: usize| slot as usize + 1 >= places;
        while (self.used + 1) * 3 > self.places.len() * 2 || few(self.places.len()) {
            let mask = self.mask();
            let grown = vec![EMPTY; (self.places.len() * 2).max(8)];
            for old in core::mem::replace(&mut self.places, grown) {
                if old != EMPTY {
                    self.place(hash_of(old & mask), old & mask);
                }
            }
        }
        self.place(hash, slot);
        self.used += 1;
    }

    fn place(&mut self, hash: u32, slot: u32) {
        let mask = self.mask();
        let mut at = hash & mask;
        while self.places[at as usize] != EMPTY {
            at = (at + 1) & mask;
        }
        self.places[at as usize] = hash & !mask | slot;
    }

    /// Takes a slot out that was added under this hash, and closes the gap.
    pub(super) fn remove(&mut self, hash: u32, slot: u32, hash_of: impl Fn(u32) -> u32) {
        let mask = self.mask();
        if self.places.is_empty() {
            return;
        }
        let mut at = hash & mask;
        while self.places[at as usize] != hash & !mask | slot {
            if self.places[at as usize] == EMPTY {
                return;
            }
            at = (at + 1) & mask;
        }
        self.used -= 1;
        let mut gap = at;
        loop {
            at = (at + 1) & mask;
            let next = self.places[at as usize];
            if next == EMPTY {
                break;
            }
            // It may move into the gap unless its own place lies between the two.
            let home = hash_of(next & mask) & mask;
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(gap) & mask {
                self.places[gap as usize] = next;
                gap = at;
            }
        }
        self.places[gap as usize] = EMPTY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    proptest! {
        /// Against a map: few hashes, so that runs form, wrap around and are torn apart.
        #[test]
        fn finds_what_was_added_and_not_removed(
            steps in prop::collection::vec((any::<bool>(), 0u32..40), 0..300),
            spread in 1u32..9,
        ) {
            let hash = |slot: u32| (slot * 7 % spread).wrapping_sub(3);
            let mut index = Index::default();
            let mut model = BTreeMap::new();
            for (add, slot) in steps {
                if add && model.insert(slot, ()).is_none() {
                    index.insert(hash(slot), slot, hash);
                } else if !add && model.remove(&slot).is_some() {
                    index.remove(hash(slot), slot, hash);
                }
                for s in 0..40 {
                    let found = index.find(hash(s), |x| x == s).is_some();
                    prop_assert_eq!(found, model.contains_key(&s));
                }
            }
        }
    }
}
