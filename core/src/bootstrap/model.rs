//! The agreement, checked exhaustively: every interleaving of what servers hear, write, propose
//! and ask, up to stated bounds.
//!
//! What a server once had on disk may reach any other at any later time, many times, or never:
//! before each of its steps a server has heard any one of the memories that each other server
//! ever had, or none of them. So loss, delay, duplication and reordering are all in it, and so is
//! any number of crashes: a crash before a write is the step not taken, a crash after it forgets
//! what was heard.

use alloc::{vec, vec::Vec};
use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
    println,
};

use super::*;

#[derive(Clone, PartialEq, Eq, Hash)]
struct World {
    servers: Vec<Agreement>,
    /// All that each server ever had on disk, in order.
    told: Vec<Vec<Memory>>,
    proposals: u32,
}

/// How much may happen.
#[derive(Clone, Copy)]
struct Bounds {
    servers: u8,
    expect: u8,
    proposals: u32,
    rounds: u32,
    /// Steps (writes to a disk) from the start.
    depth: u32,
    /// States to look at, at most; the rest of the last depth is left out, and that is said.
    states: usize,
}

fn id(i: usize) -> NodeId {
    NodeId::from_bytes([u8::try_from(i + 1).unwrap(); 16])
}

impl World {
    fn new(b: &Bounds, bug: Option<Bug>) -> Self {
        let blank = |i| Memory { birth: i as u64 + 1, ..Memory::blank() };
        let n = usize::from(b.servers);
        Self {
            servers: (0..n).map(|i| Agreement::new(id(i), b.expect, blank(i), bug)).collect(),
            told: (0..n).map(|i| vec![blank(i)]).collect(),
            proposals: 0,
        }
    }

    fn write(&self, i: usize, m: Memory) -> Self {
        let mut next = self.clone();
        next.servers[i].written(m.clone());
        next.told[i].push(m);
        next
    }

    /// The attempt of `i`, which is at `s`, with `others`, if it has heard that they are free.
    fn attempt(&self, i: usize, s: &Agreement, others: &[usize]) -> Option<Attempt> {
        let voter = |j: usize| {
            let m = if i == j { s.memory() } else { s.heard_of(id(j))? };
            let addr = SocketAddr::from(([127, 0, 0, 1], 8300));
            let v = Voter { id: id(j), birth: m.birth, era: m.era, addr };
            matches!(m.stage, Stage::Free).then_some(v)
        };
        let mut all: Vec<usize> = others.iter().copied().chain([i]).collect();
        all.sort_unstable();
        let voters = all.into_iter().map(voter).collect::<Option<Vec<_>>>()?;
        let mut cluster = [u8::try_from(i).unwrap(); 16];
        cluster[0] = u8::try_from(self.proposals).unwrap();
        let cluster = ClusterId::from_random(cluster);
        Some(Attempt { cluster, voters: BoundedVec::truncated(voters) })
    }

    /// All that server `i` may have heard: of each other one of its memories, or none.
    fn hearings(&self, i: usize) -> Vec<Agreement> {
        let mut deaf = self.servers[i].clone();
        deaf.heard.clear();
        let mut all = vec![deaf];
        for j in (0..self.servers.len()).filter(|j| *j != i) {
            for k in 0..all.len() {
                for m in &self.told[j] {
                    let mut more = all[k].clone();
                    more.hear(id(j), m.clone());
                    all.push(more);
                }
            }
        }
        all
    }

    /// All that server `i` may write next.
    fn writes(&self, i: usize, b: &Bounds) -> Vec<(bool, Memory)> {
        let mut out = Vec::new();
        for s in self.hearings(i) {
            out.extend(s.step().map(|m| (false, m)));
            out.extend(s.recover().filter(|m| round(m) <= b.rounds).map(|m| (false, m)));
            if self.proposals < b.proposals {
                for others in subsets(self.servers.len(), i, usize::from(b.expect) - 1) {
                    let attempt = self.attempt(i, &s, &others);
                    out.extend(attempt.and_then(|a| s.propose(a)).map(|m| (true, m)));
                }
            }
        }
        let mut seen = BTreeSet::new();
        out.retain(|m| seen.insert(key(m)));
        out
    }

    fn successors(&self, b: &Bounds) -> Vec<Self> {
        let mut all = Vec::new();
        for i in 0..self.servers.len() {
            for (proposed, m) in self.writes(i, b) {
                let proposals = self.proposals + u32::from(proposed);
                all.push(Self { proposals, ..self.write(i, m) });
            }
        }
        all
    }

    fn finals(&self) -> Vec<Arc<Attempt>> {
        let mut all: Vec<Arc<Attempt>> = Vec::new();
        for m in self.told.iter().flatten() {
            if let Stage::Final { attempt, .. } = &m.stage
                && !all.contains(attempt)
            {
                all.push(Arc::clone(attempt));
            }
        }
        all
    }

    /// S11, and why it holds.
    fn check(&self) -> Result<(), &'static str> {
        let finals = self.finals();
        for (k, a) in finals.iter().enumerate() {
            if finals[..k].iter().any(|b| b.voters.iter().any(|v| a.voter(v.id).is_some())) {
                return Err("two final sets share a server");
            }
            for v in a.voters.iter() {
                let i = (0..self.servers.len()).find(|i| id(*i) == v.id).unwrap();
                let of_it = |m: &Memory| m.attempt().is_some_and(|m| m.cluster == a.cluster);
                let mut after = self.told[i].iter().skip_while(|m| !of_it(m)).peekable();
                if after.peek().is_none() {
                    return Err("final without the promise of all");
                }
                if !after.all(of_it) {
                    return Err("a server left an attempt that is final");
                }
            }
        }
        Ok(())
    }

    /// From here on all that are in `up` hear each other and nothing goes wrong.
    fn settle(mut self, up: &[usize]) -> Self {
        let is_final =
            |w: &Self, i: &usize| matches!(w.servers[*i].memory().stage, Stage::Final { .. });
        for turn in 0..60 {
            if up.iter().all(|i| is_final(&self, i)) {
                break;
            }
            for &i in up {
                for &j in up.iter().filter(|j| **j != i) {
                    let newest = self.servers[j].memory().clone();
                    self.servers[i].hear(id(j), newest);
                }
                while let Some(m) = self.servers[i].step() {
                    self = self.write(i, m);
                }
            }
            let stage = |i: &&usize| &self.servers[**i].memory().stage;
            let bound = up.iter().find(|i| matches!(stage(i), Stage::Promised { .. }));
            let free: Vec<usize> =
                up.iter().filter(|i| matches!(stage(i), Stage::Free)).copied().collect();
            let expect = self.servers[up[0]].expect;
            if free.len() >= expect {
                let asked = self.attempt(free[0], &self.servers[free[0]], &free[1..expect]);
                if let Some(m) = asked.and_then(|a| self.servers[free[0]].propose(a)) {
                    self = Self { proposals: self.proposals + 1, ..self.write(free[0], m) };
                }
            } else if let Some(&i) = bound
                && turn % 5 == 4
                && let Some(m) = self.servers[i].recover()
            {
                self = self.write(i, m);
            }
        }
        self
    }
}

fn round(m: &Memory) -> u32 {
    match &m.stage {
        Stage::Promised { ballot, .. } => ballot.round,
        _ => 0,
    }
}

fn subsets(n: usize, without: usize, size: usize) -> Vec<Vec<usize>> {
    (0..1_usize << n)
        .filter(|set| set.count_ones() as usize == size && set >> without & 1 == 0)
        .map(|set| (0..n).filter(|j| set >> j & 1 == 1).collect())
        .collect()
}

struct Walk {
    states: usize,
    depth: u32,
    complete: bool,
    finals: usize,
    fault: Option<&'static str>,
}

fn key(w: &impl Hash) -> (u64, u64) {
    let mut a = DefaultHasher::new();
    w.hash(&mut a);
    let mut b = DefaultHasher::new();
    (0x5117_u64, w).hash(&mut b);
    (a.finish(), b.finish())
}

/// Breadth first, so that a fault comes with the shortest way to it.
fn walk(b: &Bounds, bug: Option<Bug>, settle: bool) -> Walk {
    let first = World::new(b, bug);
    let mut seen = BTreeSet::from([key(&first)]);
    let mut level = vec![first];
    let mut out = Walk { states: 1, depth: 0, complete: true, finals: 0, fault: None };
    while !level.is_empty() && out.depth < b.depth {
        let mut next = Vec::new();
        for w in level.iter().flat_map(|w| w.successors(b)) {
            if !seen.insert(key(&w)) {
                continue;
            }
            out.states += 1;
            out.finals += usize::from(!w.finals().is_empty());
            out.fault = w.check().err().or_else(|| if settle { lively(&w, b).err() } else { None });
            if out.fault.is_some() {
                return out;
            }
            if out.states >= b.states {
                out.complete = false;
                return out;
            }
            next.push(w);
        }
        level = next;
        out.depth += 1;
    }
    out
}

/// Once those who are left hear each other, all of them agree on one quorum: with all servers
/// up, and with any one of them gone for good and as many as are expected left.
fn lively(w: &World, b: &Bounds) -> Result<(), &'static str> {
    let all: Vec<usize> = (0..w.servers.len()).collect();
    for gone in 0..=w.servers.len() {
        let up: Vec<usize> = all.iter().copied().filter(|i| *i != gone).collect();
        if up.len() < usize::from(b.expect) {
            continue;
        }
        let end = w.clone().settle(&up);
        end.check()?;
        let quorum = |i: &usize| match &end.servers[*i].memory().stage {
            Stage::Final { attempt, .. } => Some(attempt.cluster),
            _ => None,
        };
        if up.iter().any(|i| quorum(i).is_none()) {
            return Err("no quorum although enough servers are in contact");
        }
        if up.iter().any(|i| quorum(i) != quorum(&up[0])) {
            return Err("two quorums in one group");
        }
    }
    Ok(())
}

fn report(what: &str, b: &Bounds, w: &Walk) {
    println!(
        "{what}: {} servers, expect {}: {} states, {} with a quorum, to depth {} of {}{}",
        b.servers,
        b.expect,
        w.states,
        w.finals,
        w.depth,
        b.depth,
        if w.complete { "" } else { " (the state limit ended it)" }
    );
}

const THREE: Bounds =
    Bounds { servers: 3, expect: 3, proposals: 2, rounds: 1, depth: 40, states: 200_000 };
const FOUR: Bounds = Bounds { servers: 4, expect: 3, ..THREE };

#[test]
fn three_servers_in_every_interleaving() {
    let w = walk(&THREE, None, true);
    report("safety and liveness", &THREE, &w);
    assert_eq!(w.fault, None);
    assert!(w.states > 10_000 && w.finals > 0, "{} {}", w.states, w.finals);
}

#[test]
fn four_servers_at_expect_three() {
    let w = walk(&FOUR, None, true);
    report("safety and liveness", &FOUR, &w);
    assert_eq!(w.fault, None);
}

/// One attempt and up to two rounds of asking: small enough to be walked to its end.
#[test]
fn one_attempt_to_the_end() {
    let b = Bounds { proposals: 1, rounds: 1, states: 2_000_000, ..THREE };
    let w = walk(&b, None, false);
    report("safety", &b, &w);
    assert_eq!(w.fault, None);
}

#[test]
fn each_broken_rule_is_found() {
    for bug in [Bug::MajorityPromises, Bug::BallotForgetsAccepted, Bug::EraStays] {
        let w = walk(&THREE, Some(bug), false);
        println!("{bug:?}: {:?} after {} states", w.fault, w.states);
        assert!(w.fault.is_some(), "{bug:?}");
    }
}
