//! The bootstrap quorum in a run: what servers have on disk of it, and what a scenario expects.

use std::hash::{Hash, Hasher};

use quorate_core::{Memory, NodeId, Role, Stage};
use siphasher::sip::SipHasher13;

use super::World;
use crate::{
    checks::{Wrong, wrong},
    scenario::{Expect, Line, NodeSet},
    trace::Kind,
};

impl World {
    /// What host `n` was told: the lines of the scenario, then its first line.
    pub(super) fn role(&self, n: u32) -> Role {
        let told = self.scenario.lines.iter().rev().find_map(|l| match l {
            Line::Server(s) if s.nodes.contains(n) => Some((s.expect, s.bootstrap)),
            _ => None,
        });
        let cluster = &self.scenario.cluster;
        let usual = (n <= cluster.servers).then(|| (cluster.expect.unwrap_or(0), false));
        match told.or(usual) {
            Some((expect, bootstrap)) => Role::Server { port: 8300, expect, bootstrap },
            None => Role::Client,
        }
    }

    /// Looks at what the server at `h` has on disk now, if that is new (S11).
    pub(super) fn checks_memory(&mut self, h: usize) {
        let Some(node) = self.hosts[h].node.as_ref().filter(|_| self.hosts[h].is_server) else {
            return;
        };
        let (memory, local) = (node.bootstrap_memory(), node.local());
        if self.hosts[h].memory.as_ref() == Some(memory) {
            return;
        }
        let memory = memory.clone();
        let before = self.hosts[h].memory.replace(memory.clone());
        let mut mark = SipHasher13::new();
        memory.hash(&mut mark);
        self.note(h, Kind::Bootstrap, None, (0, mark.finish()), || {
            (String::new(), describe(&memory))
        });
        self.dirty = true;
        let bound = |m: &Memory| matches!(m.stage, Stage::Promised { .. });
        match &memory.stage {
            Stage::Final { .. } => self.meets("quorum"),
            Stage::Promised { ballot, .. } if ballot.round > 0 => self.meets("bootstrap-asked"),
            Stage::Free if before.as_ref().is_some_and(bound) => self.meets("bootstrap-released"),
            _ => {}
        }
        let checked = self.checker.quorums.remembers(local.record.id, &memory);
        self.check(h, checked);
        let never = |l: &Line| matches!(l, Line::Expect(Expect::NeverQuorum));
        if matches!(memory.stage, Stage::Final { .. }) && self.scenario.lines.iter().any(never) {
            self.fail(h, "never-quorum".into(), format!("n{h} has a quorum"));
        }
    }

    /// Is exactly this voter set final, on all of them that run?
    pub(super) fn is_quorum(&self, voters: &NodeSet) -> Result<(), Wrong> {
        let numbers = voters.numbers(self.scenario.cluster.nodes);
        let hosts: Vec<usize> = numbers.iter().map(|n| *n as usize).collect();
        let mut want: Vec<NodeId> = Vec::new();
        for &h in &hosts {
            let id = self.identities.get(self.hosts[h].identity as usize).map(|i| i.0);
            want.extend(id);
        }
        want.sort_unstable();
        let mut found = None;
        for h in hosts.into_iter().filter(|h| self.takes_part(*h)) {
            let Some((cluster, ids)) = self.quorum_of(h) else { return self.no_quorum(h) };
            if ids != want {
                return wrong(h, format!("n{h} has other voters: {}", self.numbers_of(&ids)));
            }
            if *found.get_or_insert(cluster) != cluster {
                return wrong(h, format!("n{h} has another quorum of the same voters"));
            }
        }
        if found.is_none() { Err(Wrong::Nobody) } else { Ok(()) }
    }

    /// Have all servers that can reach each other one and the same quorum?
    pub(super) fn is_one_quorum(&self) -> Result<(), Wrong> {
        let mut any = false;
        for group in self.groups() {
            let is_server = |h: &usize| self.role(self.hosts[*h].number).is_server();
            let mut found = None;
            for h in group.into_iter().filter(is_server) {
                let Some((cluster, ids)) = self.quorum_of(h) else { return self.no_quorum(h) };
                let (first, other) = *found.get_or_insert((h, cluster));
                if other != cluster {
                    let voters = self.numbers_of(&ids);
                    return wrong(h, format!("n{h} has a quorum of {voters}, n{first} another"));
                }
                any = true;
            }
        }
        if any { Ok(()) } else { Err(Wrong::Nobody) }
    }

    fn no_quorum(&self, h: usize) -> Result<(), Wrong> {
        let node = self.hosts[h].node.as_ref();
        let what = node.map_or_else(String::new, |n| describe(n.bootstrap_memory()));
        wrong(h, format!("n{h} has no quorum: {what}"))
    }

    fn quorum_of(&self, h: usize) -> Option<(quorate_core::ClusterId, Vec<NodeId>)> {
        let quorum = self.hosts[h].node.as_ref()?.bootstrap().quorum.as_ref()?;
        Some((quorum.cluster, quorum.voters.iter().map(|v| v.id).collect()))
    }

    fn numbers_of(&self, ids: &[NodeId]) -> String {
        let number = |id: &NodeId| {
            let i = self.identity_of(*id).and_then(|i| self.identities.get(i as usize));
            i.map_or_else(|| id.to_string(), |i| format!("n{}", i.1))
        };
        ids.iter().map(number).collect::<Vec<_>>().join(" ")
    }
}

/// A memory in a few words, for traces.
fn describe(m: &Memory) -> String {
    let era = m.era;
    match &m.stage {
        Stage::Free => format!("free in era {era}"),
        Stage::Forgetful => "forgetful".into(),
        Stage::Final { attempt, voter } => {
            let part = if *voter { "a voter" } else { "no voter" };
            format!("final {} ({part})", attempt.cluster)
        }
        Stage::Promised { attempt, ballot, accepted } => {
            let accepted = accepted.map_or_else(String::new, |(b, o)| {
                format!(", accepted {o:?} in ballot {}", b.round)
            });
            let (cluster, round) = (attempt.cluster, ballot.round);
            format!("promised {cluster} in era {era}, ballot {round}{accepted}")
        }
    }
}
