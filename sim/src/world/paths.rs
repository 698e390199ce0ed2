//! What the network was like lately: since when two nodes reach each other.

use std::collections::VecDeque;

use super::World;
use crate::network::Network;

/// Nothing asks for what was longer ago.
const KEPT_NS: u64 = 61_000_000_000;

/// Earlier networks of a run, each with the time until which it was so.
#[derive(Debug, Default)]
pub(super) struct Paths {
    past: VecDeque<(u64, Network)>,
}

impl World {
    /// Whatever changes the network is done in here.
    pub(super) fn changes_paths(&mut self, change: impl FnOnce(&mut Self)) {
        let before = self.network.clone();
        change(self);
        if self.network == before {
            return;
        }
        let now = self.now;
        self.paths.past.retain(|p| p.0 + KEPT_NS > now);
        self.paths.past.push_back((now, before));
        self.dirty = true;
        self.network_changed();
    }

    /// The last time at which `so` was not true of the network, as far as that is kept; `now` if
    /// it is not true now.
    fn since(&self, so: impl Fn(&Network) -> bool) -> u64 {
        if !so(&self.network) {
            return self.now;
        }
        self.paths.past.iter().rev().find(|p| !so(&p.1)).map_or(0, |p| p.0)
    }

    /// Since when hosts `a` and `b` can talk.
    pub(super) fn connected_since(&self, a: usize, b: usize) -> u64 {
        self.since(|n| n.connects(a as u32, b as u32))
    }

    /// Since when they can over fair links.
    pub(super) fn fair_since(&self, a: usize, b: usize) -> u64 {
        self.since(|n| n.is_fair_between(a as u32, b as u32))
    }
}
