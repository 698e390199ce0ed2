//! A digest of the member list: 256 buckets of a keyed 64-bit hash, kept up to date as members
//! come and go, so that two nodes find out in one number whether they agree, and in 256 where
//! they do not.
//!
//! Invariant: equal to the digest computed anew from all members' (id, version, standing).

use core::hash::Hasher;
use siphasher::sip::SipHasher13;

use crate::{
    identity::{Name, NodeId, Version},
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

/// What a member adds to the digest: its bucket and its item there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    bucket: u8,
    item: u64,
}

impl Fingerprint {
    /// Which bucket the member is in.
    pub(crate) fn bucket(self) -> usize {
        usize::from(self.bucket)
    }
}

/// Of a member in that state at that version.
pub(crate) fn fingerprint(id: NodeId, v: Version, s: State) -> Fingerprint {
    let mut h = SipHasher13::new_with_keys(0x71_75_6f_72_61_74_65, 2);
    h.write(id.as_bytes());
    h.write_u64(v.generation);
    h.write_u32(v.incarnation);
    h.write_u8(standing(s));
    Fingerprint { bucket: place(id), item: h.finish() }
}

fn place(id: NodeId) -> u8 {
    let mut h = SipHasher13::new_with_keys(0x71_75_6f_72_61_74_65, 3);
    h.write(id.as_bytes());
    h.finish().to_le_bytes()[0]
}

/// The bucket of a member: all its versions fall into the same one.
pub(crate) fn bucket(id: NodeId) -> usize {
    usize::from(place(id))
}

/// Members of one name have one key.
pub(crate) fn name_key(name: &Name) -> u32 {
    let mut h = SipHasher13::new_with_keys(0x71_75_6f_72_61_74_65, 4);
    h.write(name.as_str().as_bytes());
    let [a, b, c, d, ..] = h.finish().to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

impl Digest {
    /// A member is there.
    pub(crate) fn add(&mut self, f: Fingerprint) {
        let b = &mut self.buckets[usize::from(f.bucket)];
        *b = b.wrapping_add(f.item);
        self.root = self.root.wrapping_add(f.item);
    }

    /// It is there no more.
    pub(crate) fn remove(&mut self, f: Fingerprint) {
        let b = &mut self.buckets[usize::from(f.bucket)];
        *b = b.wrapping_sub(f.item);
        self.root = self.root.wrapping_sub(f.item);
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
            a.add(fingerprint(id(n), v(0), State::Alive));
            b.add(fingerprint(id(49 - n), v(7), State::Alive));
        }
        assert_ne!(a, b);
        for n in 0..50 {
            b.remove(fingerprint(id(n), v(7), State::Alive));
            b.add(fingerprint(id(n), v(0), State::Alive));
        }
        assert_eq!(a, b);
        a.remove(fingerprint(id(3), v(0), State::Alive));
        assert_ne!(a.root(), b.root());
        let mut left = b.clone();
        left.remove(fingerprint(id(3), v(0), State::Alive));
        left.add(fingerprint(id(3), v(0), State::Left));
        assert_ne!(left.root(), b.root());
        let differing = (0..BUCKETS).filter(|&i| a.buckets()[i] != b.buckets()[i]);
        assert_eq!(differing.collect::<alloc::vec::Vec<_>>(), [bucket(id(3))]);
    }
}
