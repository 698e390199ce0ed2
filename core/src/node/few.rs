//! A map for what there are few of at a time: pairs sorted by key in one piece of memory, which a
//! node that is looked at now and then reads much faster than a tree.

use alloc::vec::Vec;

#[derive(Debug)]
pub(super) struct Few<K, V>(Vec<(K, V)>);

impl<K, V> Default for Few<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord, V> Few<K, V> {
    fn place(&self, key: &K) -> Result<usize, usize> {
        self.0.binary_search_by(|(k, _)| k.cmp(key))
    }

    /// With room for so many.
    pub(super) fn with_room(pairs: usize) -> Self {
        Self(Vec::with_capacity(pairs))
    }

    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    #[cfg(test)]
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains_key(&self, key: &K) -> bool {
        self.place(key).is_ok()
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.place(key).ok().map(|at| &self.0[at].1)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let at = self.place(key).ok()?;
        Some(&mut self.0[at].1)
    }

    /// The value that the key had before, if it had one.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.place(&key) {
            Ok(at) => Some(core::mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                self.0.insert(at, (key, value));
                None
            }
        }
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.place(key).ok()?;
        Some(self.0.remove(at).1)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.iter().map(|(k, _)| k)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(k, v)| (k, v))
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.0.retain_mut(|(k, v)| keep(k, v));
    }

    pub(super) fn into_values(self) -> impl Iterator<Item = V> {
        self.0.into_iter().map(|(_, v)| v)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, v)| v)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.0.iter_mut().map(|(_, v)| v)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0u8..5, 0u8..9, any::<u8>()), 0..60)) {
            let mut few = Few::with_room(2);
            let mut model = BTreeMap::new();
            for (what, k, v) in steps {
                match what {
                    0 => prop_assert_eq!(few.insert(k, v), model.insert(k, v)),
                    1 => prop_assert_eq!(few.remove(&k), model.remove(&k)),
                    2 => prop_assert_eq!(few.get_mut(&k), model.get_mut(&k)),
                    3 => prop_assert_eq!(few.contains_key(&k), model.contains_key(&k)),
                    _ => {
                        few.retain(|x, y| *x != k && *y != v);
                        model.retain(|x, y| *x != k && *y != v);
                    }
                }
                prop_assert_eq!((few.get(&k), few.len()), (model.get(&k), model.len()));
                prop_assert!(few.keys().eq(model.keys()) && few.values().eq(model.values()));
                prop_assert!(few.iter().eq(model.iter()));
            }
            prop_assert!(few.into_values().eq(model.into_values()));
        }
    }
}
