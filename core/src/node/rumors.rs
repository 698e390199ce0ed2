//! What user events and queries have in common: which were met already, and which go on.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::{cmp::Reverse, hash::Hasher};
use siphasher::sip::SipHasher13;

use crate::event::{EVENT_QUEUE, EVENT_WINDOW, EventId};

/// Lamport time and id, in the order of age.
pub(super) type Key = (u64, EventId);

/// Was it met before?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// Never.
    New,
    /// It is remembered.
    Known,
    /// Older than all that are remembered: nobody can tell.
    Old,
}

/// The newest so many that were met. Two windows that were told the same hold the same, in
/// whichever order it came; what fell out of one never comes in again, since its floor only rises.
#[derive(Debug)]
pub(super) struct Window<T> {
    items: BTreeMap<Key, T>,
    digest: u64,
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self { items: BTreeMap::new(), digest: 0 }
    }
}

fn key_hash(key: &Key) -> u64 {
    let mut h = SipHasher13::new_with_keys(0x71_75_6f_72_61_74_65, 7);
    h.write(&key.0.to_le_bytes());
    h.write(key.1.as_bytes());
    h.finish()
}

impl<T> Window<T> {
    pub(super) fn met(&self, key: &Key) -> Met {
        let floor = self.items.first_key_value().filter(|_| self.items.len() >= EVENT_WINDOW);
        match floor {
            _ if self.items.contains_key(key) => Met::Known,
            Some((floor, _)) if key < floor => Met::Old,
            _ => Met::New,
        }
    }

    pub(super) fn insert(&mut self, key: Key, item: T) {
        if self.items.insert(key, item).is_none() {
            self.digest = self.digest.wrapping_add(key_hash(&key));
        }
        while self.items.len() > EVENT_WINDOW {
            if let Some((old, _)) = self.items.pop_first() {
                self.digest = self.digest.wrapping_sub(key_hash(&old));
            }
        }
    }

    /// Equal where the same is remembered; 0 for nothing.
    pub(super) const fn digest(&self) -> u64 {
        self.digest
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (&Key, &T)> {
        self.items.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }
}

#[derive(Debug)]
struct Rumor {
    /// The message, encoded once.
    bytes: Vec<u8>,
    sent: u32,
}

/// Messages to spread, least sent first, newest first among those.
#[derive(Debug, Default)]
pub(super) struct Rumors {
    items: BTreeMap<Key, Rumor>,
    order: BTreeSet<(u32, Reverse<Key>)>,
    /// Something was queued since the last round.
    pub(super) fresh: bool,
}

impl Rumors {
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Queues a message; `false` if one that went out most had to go for it.
    pub(super) fn push(&mut self, key: Key, bytes: Vec<u8>) -> bool {
        let room = self.items.len() < EVENT_QUEUE;
        if !room && let Some((_, Reverse(most_sent))) = self.order.pop_last() {
            self.items.remove(&most_sent);
        }
        self.items.insert(key, Rumor { bytes, sent: 0 });
        self.order.insert((0, Reverse(key)));
        self.fresh = true;
        room
    }

    /// How often the one that went out least did so.
    pub(super) fn least_sent(&self) -> Option<u32> {
        self.order.first().map(|(sent, _)| *sent)
    }

    /// Somebody tells it, too: that counts as having sent it once, after `told` times of our own.
    pub(super) fn heard(&mut self, key: Key, told: u32, limit: u32) {
        if self.items.get(&key).is_some_and(|r| r.sent >= told) {
            self.count(key, limit);
        }
    }

    fn count(&mut self, key: Key, limit: u32) {
        let Some(r) = self.items.get_mut(&key) else { return };
        self.order.remove(&(r.sent, Reverse(key)));
        r.sent += 1;
        if r.sent >= limit {
            self.items.remove(&key);
        } else {
            self.order.insert((r.sent, Reverse(key)));
        }
    }

    /// Appends what fits into `room` bytes; each goes out at most `limit` times.
    pub(super) fn fill(&mut self, room: usize, limit: u32, out: &mut Vec<u8>) {
        /// Looked at for one packet: a long queue must not make packets slow.
        const SCAN: usize = 32;
        let end = out.len() + room;
        let mut taken = Vec::new();
        for &(_, Reverse(key)) in self.order.iter().take(SCAN) {
            if let Some(r) = self.items.get(&key)
                && out.len() + r.bytes.len() <= end
            {
                out.extend_from_slice(&r.bytes);
                taken.push(key);
            }
        }
        taken.into_iter().for_each(|key| self.count(key, limit));
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn key(time: u64, n: u8) -> Key {
        (time, EventId::from_bytes([n; 16]))
    }

    proptest! {
        /// The same set in any order, with repeats, ends in the same window, and nothing that was
        /// met as new once is new again.
        #[test]
        fn windows_converge_and_never_take_twice(
            mut all in proptest::collection::vec((0u64..400, any::<u8>()), 0..700),
            seed in any::<u64>(),
        ) {
            let take = |all: &[(u64, u8)]| {
                let (mut w, mut new) = (Window::default(), BTreeSet::new());
                for (time, n) in all {
                    if w.met(&key(*time, *n)) == Met::New {
                        assert!(new.insert(key(*time, *n)), "twice");
                        w.insert(key(*time, *n), ());
                    }
                }
                assert!(w.len() <= EVENT_WINDOW);
                (w.digest(), w.iter().map(|(k, ())| *k).collect::<Vec<_>>())
            };
            let first = take(&all);
            let n = all.len().max(1);
            for i in 0..all.len() {
                all.swap(i, (seed.wrapping_mul(i as u64 + 1) >> 7) as usize % n);
            }
            all.extend_from_within(..);
            prop_assert_eq!(take(&all), first);
        }
    }

    #[test]
    fn a_rumor_goes_out_so_often_and_no_more() {
        let mut r = Rumors::default();
        assert!(r.push(key(1, 1), vec![1; 10]) && r.push(key(2, 2), vec![2; 10]));
        let mut told = Vec::new();
        for _ in 0..6 {
            let mut out = Vec::new();
            r.fill(10, 3, &mut out);
            told.extend(out.first().copied());
        }
        // Newest first among equals, and none before the other has caught up.
        assert_eq!((told, r.len()), (vec![2, 1, 2, 1, 2, 1], 0));
    }

    #[test]
    fn a_full_queue_drops_what_went_out_most() {
        let mut r = Rumors::default();
        r.push(key(1, 1), vec![1]);
        r.fill(1, 8, &mut Vec::new());
        for i in 2..=EVENT_QUEUE as u64 {
            assert!(r.push(key(i, 0), vec![0]));
        }
        assert!(!r.push(key(9999, 0), vec![0]));
        assert_eq!(r.len(), EVENT_QUEUE);
        assert!(!r.items.contains_key(&key(1, 1)));
    }
}
