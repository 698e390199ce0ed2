//! The node's one random stream: ChaCha8, seeded by the driver, the same on every platform.

use alloc::vec::Vec;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

#[derive(Debug)]
pub(super) struct Random(ChaCha8Rng);

impl Random {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self(ChaCha8Rng::from_seed(seed))
    }

    pub(super) fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    pub(super) fn salt(&mut self) -> crate::wire::Salt {
        let mut salt = [0; crate::wire::SALT_BYTES];
        self.0.fill_bytes(&mut salt);
        salt
    }

    /// Below `n`; 0 if `n` is 0. The bias is under 2^-32 for all `n` in use.
    pub(super) fn below(&mut self, n: usize) -> usize {
        let wide = u128::from(self.0.next_u64()) * n as u128;
        (wide >> 64) as usize
    }

    pub(super) fn shuffle<T>(&mut self, v: &mut [T]) {
        for i in (1..v.len()).rev() {
            v.swap(i, self.below(i + 1));
        }
    }

    /// Up to `k` different elements for which `want` holds.
    pub(super) fn pick<T: Copy + PartialEq>(
        &mut self,
        from: &[T],
        k: usize,
        want: impl Fn(&T) -> bool,
    ) -> Vec<T> {
        if from.len() <= 4 * k + 8 {
            let mut all: Vec<T> = from.iter().copied().filter(|x| want(x)).collect();
            self.shuffle(&mut all);
            all.truncate(k);
            return all;
        }
        let mut out = Vec::with_capacity(k);
        for _ in 0..8 * k {
            if out.len() == k {
                break;
            }
            let x = from[self.below(from.len())];
            if want(&x) && !out.contains(&x) {
                out.push(x);
            }
        }
        out
    }
}
