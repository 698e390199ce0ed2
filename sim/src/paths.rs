//! What the network of a run was like lately: since when two nodes reach each other.
//!
//! Both layers judge by it whether somebody was declared failed falsely: by the path between the
//! two concerned, so that what happens to others excuses nobody.

use std::collections::VecDeque;

use crate::network::Network;

/// Nothing asks for what was longer ago.
const KEPT_NS: u64 = 61_000_000_000;
/// Undisturbed for this long, nobody has a reason to hold a member failed.
const GRACE_NS: u64 = 10_000_000_000;

/// Earlier networks of a run, each with the time until which it was so.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    past: VecDeque<(u64, Network)>,
}

impl Paths {
    /// The network was this one until now. Is it another one from now on?
    pub(crate) fn changed(&mut self, now: u64, before: Network, after: &Network) -> bool {
        if before == *after {
            return false;
        }
        self.past.retain(|p| p.0 + KEPT_NS > now);
        self.past.push_back((now, before));
        true
    }

    /// The last time at which `so` was not true of the network, as far as that is kept; `now` if
    /// it is not true of the one that is there.
    fn since(&self, now: u64, network: &Network, so: impl Fn(&Network) -> bool) -> u64 {
        if !so(network) {
            return now;
        }
        self.past.iter().rev().find(|p| !so(&p.1)).map_or(0, |p| p.0)
    }

    /// Since when nodes `a` and `b` can talk over fair links.
    pub(crate) fn fair_since(&self, now: u64, network: &Network, (a, b): (u32, u32)) -> u64 {
        self.since(now, network, |n| n.is_fair_between(a, b))
    }

    /// Nodes `a` and `b` are well since `well`: have they reached each other for so long that
    /// neither has a reason to hold the other one failed?
    pub(crate) fn were_in_reach(
        &self,
        now: u64,
        network: &Network,
        (a, b): (u32, u32),
        well: u64,
    ) -> bool {
        let connected = self.since(now, network, |n| n.connects(a, b));
        now >= well.max(connected).saturating_add(GRACE_NS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Alone;

    const S: u64 = 1_000_000_000;

    #[test]
    fn what_happens_to_others_excuses_nobody() {
        let (mut p, mut network) = (Paths::default(), Network::default());
        let mut isolate = |t: u64, n: u32, on: bool| {
            let before = network.clone();
            network.isolate(n, Alone::Step, on);
            (p.changed(t * S, before, &network), network.clone())
        };
        assert!(isolate(5, 1, true).0);
        assert!(!isolate(6, 1, true).0, "it was so before");
        assert!(isolate(20, 1, false).0);
        for t in 21..40 {
            assert!(isolate(t, 3, t % 2 == 1).0);
        }
        let (_, network) = isolate(40, 3, true);
        let reach = |t: u64, pair, well: u64| p.were_in_reach(t * S, &network, pair, well * S);
        assert!(reach(40, (1, 2), 30) && !reach(40, (1, 2), 31), "not well for ten seconds");
        assert!(!reach(29, (1, 2), 0) && reach(30, (1, 2), 0), "cut off until 20 s");
        assert!(!reach(60, (2, 3), 0), "cut off now");
        assert_eq!(p.fair_since(40 * S, &network, (2, 1)), 20 * S);
    }
}
