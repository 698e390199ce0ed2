//! A digest of the member list: 256 buckets of a keyed 64-bit hash, kept up to date as members
//! come and go, so that two nodes find out in one number whether they agree, and in 256 where
//! they do not.
//!
//! Invariant: equal to the digest computed anew from all members' (id, version, standing).

use core::hash::Hasher;
use siphasher::sip::SipHasher13;

use crate::{
    identity::{NodeId, Version},
    record::State,
};

/// Number of buckets.
pub(crate) const BUCKETS: usize = 256;

/// See the module's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Digest {
    buckets: alloc::boxed::Box<[u64; BUCKETS]>,
    root: u64,
}

impl Default for Digest {
    fn default() -> Self {
        Self { buckets: alloc::boxed::Box::new([0; BUCKETS]), root: 0 }
    }
}

/// A suspicion is in the eye of the beholder: the accused counts as alive.
const fn standing(s: State) -> u8 {
    match s {
        State::Alive | State::Suspect => 0,
        State::Failed => 1,
        State::Left => 2,
    }
}

fn item(id: NodeId, v: Version, s: State) -> u64 {
    let mut h = SipHasher13::new_with_keys(0x71_75_6f_72_61_74_65, 2);
    h.write(id.as_bytes());
    h.write_u64(v.generation);
    h.write_u32(v.incarnation);
    h.write_u8(standing(s));
    h.finish()
}

/// The bucket of a member: all its versions fall into the same one.
pub(crate) fn bucket(id: NodeId) -> usize {
    let mut h = SipHasher13::new_with_keys(0x71_75_6f_72_61_74_65, 3);
    h.write(id.as_bytes());
    usize::from(h.finish().to_le_bytes()[0])
}

impl Digest {
    /// A member in that state at that version is there.
    pub(crate) fn add(&mut self, id: NodeId, v: Version, s: State) {
        let x = item(id, v, s);
        let b = &mut self.buckets[bucket(id)];
        *b = b.wrapping_add(x);
        self.root = self.root.wrapping_add(x);
    }

    /// It is there no more.
    pub(crate) fn remove(&mut self, id: NodeId, v: Version, s: State) {
        let x = item(id, v, s);
        let b = &mut self.buckets[bucket(id)];
        *b = b.wrapping_sub(x);
        self.root = self.root.wrapping_sub(x);
    }

    /// All in one number.
    pub(crate) const fn root(&self) -> u64 {
        self.root
    }

    /// The buckets.
    pub(crate) fn buckets(&self) -> &[u64; BUCKETS] {
        &self.buckets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_changes_does_not_matter() {
        let id = |n| NodeId::from_bytes([n; 16]);
        let v = |incarnation| Version { generation: 1, incarnation };
        let (mut a, mut b) = (Digest::default(), Digest::default());
        for n in 0..50 {
            a.add(id(n), v(0), State::Alive);
            b.add(id(49 - n), v(7), State::Alive);
        }
        assert_ne!(a, b);
        for n in 0..50 {
            b.remove(id(n), v(7), State::Alive);
            b.add(id(n), v(0), State::Alive);
        }
        assert_eq!(a, b);
        a.remove(id(3), v(0), State::Alive);
        assert_ne!(a.root(), b.root());
        let mut left = b.clone();
        left.remove(id(3), v(0), State::Alive);
        left.add(id(3), v(0), State::Left);
        assert_ne!(left.root(), b.root());
        let differing = (0..BUCKETS).filter(|&i| a.buckets()[i] != b.buckets()[i]);
        assert_eq!(differing.collect::<alloc::vec::Vec<_>>(), [bucket(id(3))]);
    }
}
