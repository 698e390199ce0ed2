//! Randomness without a stream: every decision is a keyed function of what it decides.
//!
//! Guarantee: a draw depends on the seed, the purpose and the two numbers only, so nothing that
//! is added to or taken out of a scenario reshuffles the decisions about the rest.

use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// What is decided. Two purposes never share a draw.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub enum Purpose {
    /// Time on the way.
    Latency = 1,
    /// Is the packet lost?
    Loss,
    /// Is this quarter second lost?
    Burst,
    /// Does it arrive twice, and when?
    Duplicate,
    /// Is it held back, and for how long?
    Reorder,
    /// Is a bit flipped, and which?
    Corrupt,
    /// Is a segment of a stream lost?
    Segment,
    /// Where is a write cut in two?
    Cut,
    /// Time that a write to disk takes.
    Disk,
    /// What a crash leaves of a write under way.
    Crash,
    /// The seed of a node's own generator.
    Node,
    /// A node's id.
    Id,
    /// Origin of a monotonic clock.
    Boot,
    /// Bytes of a random datagram.
    Garbage,
    /// When a packet is sent again.
    Replay,
    /// How long a starved process waits for the processor.
    Starve,
    /// What a sweep draws.
    Draw,
    /// What applications say in a sweep.
    Traffic,
    /// What is added to a sweep's scenario last.
    Extra,
}

/// The source of all decisions of one run.
#[derive(Clone, Copy, Debug)]
pub struct Keyed {
    seed: u64,
}

impl Keyed {
    /// All decisions of this seed.
    pub const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// 64 bits, a function of all that is given.
    pub fn bits(&self, purpose: Purpose, subject: u64, n: u64) -> u64 {
        let mut h = SipHasher13::new_with_keys(self.seed, purpose as u64);
        h.write_u64(subject);
        h.write_u64(n);
        h.finish()
    }

    /// Below `bound`; 0 if `bound` is 0.
    pub fn below(&self, purpose: Purpose, subject: u64, n: u64, bound: u64) -> u64 {
        scale(self.bits(purpose, subject, n), bound)
    }

    /// True in `ppm` of a million cases.
    pub fn chance(&self, purpose: Purpose, subject: u64, n: u64, ppm: u32) -> bool {
        ppm > 0 && self.below(purpose, subject, n, 1_000_000) < u64::from(ppm)
    }

    /// Between both, inclusive.
    pub fn between(&self, purpose: Purpose, subject: u64, n: u64, min: u64, max: u64) -> u64 {
        min + self.below(purpose, subject, n, max.saturating_sub(min).saturating_add(1))
    }

    /// 32 bytes.
    pub fn bytes32(&self, purpose: Purpose, subject: u64, n: u64) -> [u8; 32] {
        let mut out = [0; 32];
        for (i, chunk) in out.chunks_mut(8).enumerate() {
            let word = self.bits(purpose, subject, n.wrapping_mul(4).wrapping_add(i as u64));
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        out
    }
}

/// `bits` of 2^64 parts of `bound`: no division, no bias worth naming.
pub fn scale(bits: u64, bound: u64) -> u64 {
    ((u128::from(bits) * u128::from(bound)) >> 64) as u64
}

/// One number for a directed pair.
pub const fn link(from: u32, to: u32) -> u64 {
    (from as u64) << 32 | to as u64
}

/// Draws one after another, for what is made up rather than decided about (sweeps, bytes).
#[derive(Clone, Debug)]
pub struct Draws {
    keyed: Keyed,
    purpose: Purpose,
    subject: u64,
    n: u64,
}

impl Draws {
    /// The draws of one subject.
    pub const fn new(seed: u64, purpose: Purpose, subject: u64) -> Self {
        Self { keyed: Keyed::new(seed), purpose, subject, n: 0 }
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.n += 1;
        self.keyed.bits(self.purpose, self.subject, self.n)
    }

    /// Below `bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        scale(self.bits(), bound)
    }

    /// Between both, inclusive.
    pub fn between(&mut self, min: u64, max: u64) -> u64 {
        min + self.below(max.saturating_sub(min).saturating_add(1))
    }

    /// True in `percent` of a hundred cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of them, if there is one.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len() as u64) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_depends_on_all_it_is_given_and_on_nothing_else() {
        let k = Keyed::new(7);
        let a = k.bits(Purpose::Loss, 3, 4);
        assert_eq!(a, Keyed::new(7).bits(Purpose::Loss, 3, 4));
        assert_ne!(a, k.bits(Purpose::Latency, 3, 4));
        assert_ne!(a, k.bits(Purpose::Loss, 4, 4));
        assert_ne!(a, k.bits(Purpose::Loss, 3, 5));
        assert_ne!(a, Keyed::new(8).bits(Purpose::Loss, 3, 4));
        assert_ne!(link(1, 2), link(2, 1));
    }

    #[test]
    fn rates_are_met_roughly_and_the_ends_exactly() {
        let k = Keyed::new(1);
        let hits = |ppm| (0..10_000).filter(|n| k.chance(Purpose::Loss, 0, *n, ppm)).count();
        assert_eq!(hits(0), 0);
        assert_eq!(hits(1_000_000), 10_000);
        let third = hits(300_000);
        assert!((2_800..3_200).contains(&third), "{third}");
        assert!((0..1_000).all(|n| (5..=9).contains(&k.between(Purpose::Loss, 0, n, 5, 9))));
    }
}
