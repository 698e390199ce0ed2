//! What lies between nodes: settings of each link, partitions, isolation, cuts.
//!
//! Guarantee: a question about a link has the same answer however the rules came about; `heal`
//! ends partitions, isolation and cuts and leaves settings alone.

use crate::scenario::{Direction, LinkLine, LinkSettings, MAX_GROUPS, NodeSet, Rate, Time};

/// All settings of one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Shortest time on the way, nanoseconds.
    pub latency_min_ns: u64,
    /// Longest time on the way, nanoseconds.
    pub latency_max_ns: u64,
    /// Lost, parts per million.
    pub loss: u32,
    /// Quarter seconds lost, parts per million.
    pub burst: u32,
    /// Arriving twice, parts per million.
    pub dup: u32,
    /// Held back, parts per million.
    pub reorder: u32,
    /// With a flipped bit, parts per million.
    pub corrupt: u32,
    /// Bytes of the largest datagram that passes.
    pub mtu: u32,
    /// Bytes a second out of a node; 0: no bound.
    pub bandwidth: u32,
}

/// A LAN: half a millisecond to two, nothing lost.
impl Default for Profile {
    fn default() -> Self {
        Self {
            latency_min_ns: 500_000,
            latency_max_ns: 2_000_000,
            loss: 0,
            burst: 0,
            dup: 0,
            reorder: 0,
            corrupt: 0,
            mtu: 65_507,
            bandwidth: 0,
        }
    }
}

impl Profile {
    /// Does what the bounds of liveness ask of a link: at most 30% lost, by chance and not in
    /// bursts, up to 0.2 s on the way, no datagram too large?
    pub const fn is_fair(&self) -> bool {
        self.loss <= 300_000
            && self.burst == 0
            && self.corrupt <= 10_000
            && self.latency_max_ns <= 200_000_000
            && self.mtu >= 1400
            && self.bandwidth == 0
    }

    fn set(&mut self, s: &LinkSettings) {
        let rates = [
            (&mut self.loss, s.loss),
            (&mut self.burst, s.burst),
            (&mut self.dup, s.dup),
            (&mut self.reorder, s.reorder),
            (&mut self.corrupt, s.corrupt),
        ];
        for (value, rate) in rates {
            if let Some(Rate(ppm)) = rate {
                *value = ppm;
            }
        }
        if let Some((Time(min), Time(max))) = s.latency {
            (self.latency_min_ns, self.latency_max_ns) = (min, max);
        }
        self.mtu = s.mtu.unwrap_or(self.mtu);
        self.bandwidth = s.bandwidth.unwrap_or(self.bandwidth);
    }
}

/// Among more nodes links are not looked at one by one.
const PAIRS: u32 = 1000;

/// A directed set of links.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Links {
    from: NodeSet,
    to: NodeSet,
    direction: Direction,
}

/// Why a node is isolated: one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Alone {
    /// By a step, until another one.
    Step = 1,
    /// In its turn, while it flaps.
    Flap = 2,
}

/// Links that nothing passes, but for those of nodes that were mended since.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cut {
    links: Links,
    mended: Vec<u32>,
}

impl Cut {
    fn contains(&self, from: u32, to: u32) -> bool {
        let holds = |n| !self.mended.contains(&n);
        self.links.contains(from, to) && holds(from) && holds(to)
    }

    /// Is one side of it mended?
    fn is_over(&self) -> bool {
        let over = |set: &NodeSet| {
            *set != NodeSet::All && set.numbers(0).iter().all(|n| self.mended.contains(n))
        };
        over(&self.links.from) || over(&self.links.to)
    }
}

impl Links {
    fn contains(&self, from: u32, to: u32) -> bool {
        let one_way = self.from.contains(from) && self.to.contains(to);
        one_way
            || (self.direction == Direction::Both
                && self.from.contains(to)
                && self.to.contains(from))
    }
}

/// The network of one run. Nodes are numbered from 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    base: Profile,
    rules: Vec<(Links, LinkSettings)>,
    /// Bit g of `groups[n]`: node n is in group g. Empty: no partition.
    groups: Vec<u64>,
    /// Bits of [`Alone`] of node n.
    isolated: Vec<u8>,
    cuts: Vec<Cut>,
    any_block: bool,
}

impl Network {
    /// Settings of every link.
    pub fn set_base(&mut self, s: &LinkSettings) {
        self.base.set(s);
    }

    /// Settings of some links; they win over those of every link.
    pub fn set_links(&mut self, l: &LinkLine) {
        let links = Links { from: l.from.clone(), to: l.to.clone(), direction: l.direction };
        self.rules.push((links, l.settings));
    }

    /// The settings of one link.
    pub fn profile(&self, from: u32, to: u32) -> Profile {
        let mut p = self.base;
        for (links, settings) in &self.rules {
            if links.contains(from, to) {
                p.set(settings);
            }
        }
        p
    }

    /// Groups from now on, in place of earlier ones: at most [`crate::scenario::MAX_GROUPS`], more
    /// would share the last.
    pub fn partition(&mut self, groups: &[NodeSet], highest: u32) {
        self.groups = vec![0; highest as usize + 1];
        for (g, set) in groups.iter().enumerate() {
            for n in set.numbers(highest) {
                if let Some(bits) = self.groups.get_mut(n as usize) {
                    *bits |= 1 << g.min(MAX_GROUPS - 1);
                }
            }
        }
        self.any_block = true;
    }

    /// Nothing in, nothing out, or the end of that.
    pub fn isolate(&mut self, n: u32, why: Alone, on: bool) {
        let n = n as usize;
        if self.isolated.len() <= n {
            self.isolated.resize(n + 1, 0);
        }
        if on {
            self.isolated[n] |= why as u8;
        } else {
            self.isolated[n] &= !(why as u8);
        }
        self.any_block |= on;
    }

    /// Nothing passes these links.
    pub fn cut(&mut self, from: &NodeSet, direction: Direction, to: &NodeSet) {
        let links = Links { from: from.clone(), to: to.clone(), direction };
        self.cuts.push(Cut { links, mended: Vec::new() });
        self.any_block = true;
    }

    /// Isolation of the node and every cut at it ends.
    pub fn mend(&mut self, n: u32) {
        if let Some(alone) = self.isolated.get_mut(n as usize) {
            *alone = 0;
        }
        for cut in &mut self.cuts {
            let at_it = cut.links.from.contains(n) || cut.links.to.contains(n);
            if at_it && !cut.mended.contains(&n) {
                cut.mended.push(n);
            }
        }
        self.cuts.retain(|c| !c.is_over());
    }

    /// Partitions, isolation and cuts end.
    pub fn heal(&mut self) {
        self.groups.clear();
        self.isolated.clear();
        self.cuts.clear();
        self.any_block = false;
    }

    /// Does topology keep everything from passing this way?
    pub fn is_blocked(&self, from: u32, to: u32) -> bool {
        if !self.any_block || from == to {
            return false;
        }
        let isolated = |n: u32| self.isolated.get(n as usize).is_some_and(|alone| *alone != 0);
        let group = |n: u32| self.groups.get(n as usize).copied().unwrap_or(0);
        let (a, b) = (group(from), group(to));
        isolated(from)
            || isolated(to)
            || (a != 0 && b != 0 && a & b == 0)
            || self.cuts.iter().any(|c| c.contains(from, to))
    }

    /// Can packets pass this way at all (not blocked, not lost for certain)?
    pub fn passes(&self, from: u32, to: u32) -> bool {
        if self.is_blocked(from, to) {
            return false;
        }
        let certain = |p: Profile| p.loss >= 1_000_000 || p.burst >= 1_000_000;
        from == to
            || !certain(if self.rules.is_empty() { self.base } else { self.profile(from, to) })
    }

    /// Can these two talk, both ways?
    pub fn connects(&self, a: u32, b: u32) -> bool {
        self.passes(a, b) && self.passes(b, a)
    }

    /// Can these two talk over links that are fair?
    pub fn is_fair_between(&self, a: u32, b: u32) -> bool {
        let fair = |from, to| self.profile(from, to).is_fair();
        self.connects(a, b) && fair(a, b) && fair(b, a)
    }

    /// Are all links fair, and none is cut?
    pub fn is_fair(&self, highest: u32) -> bool {
        if !self.any_block && self.rules.is_empty() {
            return self.base.is_fair();
        }
        if highest > PAIRS {
            return false;
        }
        (1..=highest).all(|b| (1..b).all(|a| self.is_fair_between(a, b)))
    }

    /// How many of a million packets the link loses that loses most.
    pub fn worst_loss(&self, highest: u32) -> u32 {
        if self.rules.is_empty() {
            return self.base.loss;
        }
        if highest > PAIRS {
            let set = self.rules.iter().filter_map(|r| r.1.loss).map(|Rate(ppm)| ppm);
            return set.fold(self.base.loss, u32::max);
        }
        let pairs = (1..=highest).flat_map(|a| (1..=highest).map(move |b| (a, b)));
        let other = pairs.filter(|(a, b)| a != b);
        other.map(|(a, b)| self.profile(a, b).loss).max().unwrap_or(0)
    }

    /// No rule, no block, no certain loss: everybody reaches everybody?
    pub fn is_whole(&self) -> bool {
        let sure = self.base.loss < 1_000_000 && self.base.burst < 1_000_000;
        !self.any_block && self.rules.is_empty() && sure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_isolation_and_cuts_block_until_healed() {
        let mut n = Network::default();
        n.partition(&[NodeSet::of([1, 2, 3]), NodeSet::of([3, 4])], 5);
        assert!(n.is_blocked(1, 4) && n.is_blocked(4, 2));
        assert!(!n.is_blocked(1, 2) && !n.is_blocked(3, 1) && !n.is_blocked(3, 4));
        assert!(!n.is_blocked(5, 1) && !n.is_blocked(4, 5), "who is in no group reaches all");
        n.heal();
        assert!(!n.is_blocked(1, 4));
        n.isolate(2, Alone::Step, true);
        n.cut(&NodeSet::of([1]), Direction::OneWay, &NodeSet::of([4]));
        assert!(n.is_blocked(2, 3) && n.is_blocked(3, 2) && n.is_blocked(1, 4));
        assert!(!n.is_blocked(4, 1) && !n.connects(4, 1));
        n.mend(2);
        assert!(!n.is_blocked(2, 3) && n.is_blocked(1, 4));
        n.mend(4);
        assert!(!n.is_blocked(1, 4) && n.cuts.is_empty());
    }

    #[test]
    fn who_is_mended_leaves_the_cuts_of_others() {
        let mut n = Network::default();
        n.cut(&NodeSet::of([1, 3]), Direction::Both, &NodeSet::of([2, 4]));
        n.cut(&NodeSet::All, Direction::OneWay, &NodeSet::of([5]));
        n.mend(3);
        assert!(!n.is_blocked(3, 2) && !n.is_blocked(4, 3) && !n.is_blocked(3, 5));
        assert!(n.is_blocked(1, 2) && n.is_blocked(4, 1) && n.is_blocked(1, 5));
        n.cut(&NodeSet::of([3]), Direction::OneWay, &NodeSet::of([2]));
        assert!(n.is_blocked(3, 2), "cut anew");
        (1..=5).for_each(|m| n.mend(m));
        assert!(n.cuts.is_empty());
    }

    #[test]
    fn a_turn_of_a_flap_does_not_end_an_isolation() {
        let mut n = Network::default();
        n.isolate(1, Alone::Step, true);
        n.isolate(1, Alone::Flap, true);
        n.isolate(1, Alone::Flap, false);
        assert!(n.is_blocked(1, 2));
        n.isolate(1, Alone::Step, false);
        assert!(!n.is_blocked(1, 2));
    }

    #[test]
    fn the_worst_loss_is_that_of_what_is_in_force() {
        let mut n = Network::default();
        let line = |from: NodeSet, to: NodeSet, percent| LinkLine {
            from,
            direction: Direction::OneWay,
            to,
            settings: LinkSettings {
                loss: Some(Rate::percent(percent)),
                ..LinkSettings::default()
            },
        };
        n.set_base(&LinkSettings { loss: Some(Rate::percent(5)), ..LinkSettings::default() });
        assert_eq!(n.worst_loss(3), 50_000);
        n.set_links(&line(NodeSet::of([1]), NodeSet::of([2]), 30));
        assert_eq!((n.worst_loss(3), n.worst_loss(1001)), (300_000, 300_000));
        n.set_links(&line(NodeSet::All, NodeSet::All, 0));
        assert_eq!((n.worst_loss(3), n.worst_loss(1001)), (0, 300_000));
    }

    #[test]
    fn links_win_over_the_net_and_healing_leaves_settings_alone() {
        let mut n = Network::default();
        let loss = |p| LinkSettings { loss: Some(Rate::percent(p)), ..LinkSettings::default() };
        n.set_links(&LinkLine {
            from: NodeSet::of([1]),
            direction: Direction::OneWay,
            to: NodeSet::of([2]),
            settings: loss(100),
        });
        n.set_base(&loss(5));
        n.heal();
        assert_eq!(n.profile(1, 2).loss, 1_000_000);
        assert_eq!(n.profile(2, 1).loss, 50_000);
        assert!(!n.passes(1, 2) && n.passes(2, 1) && !n.connects(2, 1));
    }
}
