//! The bootstrap agreement: which servers are the initial voters, once and for all.
//!
//! It is an atomic commitment over the servers of one attempt, with the attempt's outcome decided
//! as in Paxos Commit (Gray, Lamport 2006): committed only if all of them promised, and any
//! majority of them can find out or force the outcome when the rest is gone. `docs/bootstrap.md`
//! has the argument for its safety. This module knows no time, no addresses and no messages
//! other than memories: each server tells the others what is on its disk ([`Memory`]), and
//! [`Agreement::step`] says what to write next. What is told is monotone: a statement that was
//! true once may be lost, repeated or late without harm.

#[cfg(test)]
mod model;

use alloc::{collections::BTreeMap, sync::Arc};
use core::{fmt, net::SocketAddr};
use serde::{Deserialize, Serialize};

use crate::{bounded::BoundedVec, identity::NodeId, planted::Bug};

/// Servers that a quorum can begin with, at most: all of them must fit a datagram.
pub const MAX_VOTERS: usize = 16;

/// The identity of a quorum: a UUID drawn by the server that proposed it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClusterId(NodeId);

impl ClusterId {
    /// A random (version 4) UUID from 16 random bytes, RFC 9562 §5.4.
    pub const fn from_random(bytes: [u8; 16]) -> Self {
        Self(NodeId::from_random(bytes))
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A server as a voter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Voter {
    /// The server.
    pub id: NodeId,
    /// Its memory's birth: after the loss of its disk it is another server.
    pub birth: u64,
    /// The era in which its promise is asked for.
    pub era: u64,
    /// Where servers reach it (port 8300), when the attempt began.
    pub addr: SocketAddr,
}

/// A set of servers that may become the voters of a quorum.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Attempt {
    /// The quorum's identity, if it comes to be.
    pub cluster: ClusterId,
    /// The servers, in the order of their ids.
    pub voters: BoundedVec<Voter, MAX_VOTERS>,
}

impl Attempt {
    /// The entry of a server.
    pub fn voter(&self, id: NodeId) -> Option<&Voter> {
        self.voters.iter().find(|v| v.id == id)
    }

    pub(crate) fn majority(&self, voters: usize) -> bool {
        2 * voters > self.voters.len()
    }
}

/// A round in which the outcome of an attempt is decided; the higher one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ballot {
    /// 0: all promised, and nobody had to ask.
    pub round: u32,
    /// Who asks. All zeros in round 0.
    pub owner: NodeId,
}

impl Ballot {
    /// Round 0, in which only `Commit` can be accepted, and only once all have promised.
    pub const ZERO: Self = Self { round: 0, owner: NodeId::from_bytes([0; 16]) };
}

/// What becomes of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// Its servers are the voters.
    Commit,
    /// It never comes to be; its promises are free again.
    Abort,
}

/// Where a server stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stage {
    /// Promised to nobody.
    Free,
    /// Belongs to this attempt until its outcome is known.
    Promised {
        /// The attempt.
        attempt: Arc<Attempt>,
        /// Nothing is accepted in lower rounds any more.
        ballot: Ballot,
        /// The outcome accepted last, and in which round.
        accepted: Option<(Ballot, Outcome)>,
    },
    /// The quorum exists.
    Final {
        /// Its voters.
        attempt: Arc<Attempt>,
        /// Is this server one of them?
        voter: bool,
    },
    /// The disk is older than what others saw of this server: a promise may be forgotten, so it
    /// gives none. It can still learn of a quorum.
    Forgetful,
}

/// What a server keeps on disk of all this, and tells others.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Memory {
    /// Drawn when the disk was empty; 0 before.
    pub birth: u64,
    /// Raised whenever a promise is released or refused. One promise per era.
    pub era: u64,
    /// Where it stands.
    pub stage: Stage,
}

impl Memory {
    /// An empty disk.
    pub const fn blank() -> Self {
        Self { birth: 0, era: 0, stage: Stage::Free }
    }

    /// Could a server have written this? The servers of an attempt are in order, none twice.
    pub(crate) fn is_well_formed(&self) -> bool {
        self.attempt()
            .is_none_or(|a| !a.voters.is_empty() && a.voters.windows(2).all(|w| w[0].id < w[1].id))
    }

    fn promised(&self, cluster: ClusterId) -> Option<(Ballot, Option<(Ballot, Outcome)>)> {
        match &self.stage {
            Stage::Promised { attempt, ballot, accepted } if attempt.cluster == cluster => {
                Some((*ballot, *accepted))
            }
            _ => None,
        }
    }

    fn attempt(&self) -> Option<&Attempt> {
        match &self.stage {
            Stage::Promised { attempt, .. } | Stage::Final { attempt, .. } => Some(attempt),
            Stage::Free | Stage::Forgetful => None,
        }
    }

    /// Does this prove that its server never promised `cluster` to `v`, or that it was aborted?
    fn vetoes(&self, cluster: ClusterId, v: &Voter) -> bool {
        let elsewhere = self.attempt().is_some_and(|a| a.cluster != cluster);
        self.birth == v.birth && (self.era > v.era || self.era == v.era && elsewhere)
    }
}

/// One server's part in the agreement.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Agreement {
    me: NodeId,
    /// How many servers a quorum begins with; 0: makes no promise, learns only.
    expect: usize,
    /// What is on disk.
    memory: Memory,
    /// What others said is on theirs, as heard last.
    heard: BTreeMap<NodeId, Memory>,
    bug: Option<Bug>,
}

impl Agreement {
    /// A server that starts with this on disk.
    pub(crate) fn new(me: NodeId, expect: u8, memory: Memory, bug: Option<Bug>) -> Self {
        Self { me, expect: usize::from(expect), memory, heard: BTreeMap::new(), bug }
    }

    /// What is on disk, and may be told.
    pub(crate) const fn memory(&self) -> &Memory {
        &self.memory
    }

    /// What a server said last.
    pub(crate) fn heard_of(&self, id: NodeId) -> Option<&Memory> {
        self.heard.get(&id)
    }

    /// A server told its memory.
    pub(crate) fn hear(&mut self, id: NodeId, memory: Memory) {
        self.heard.insert(id, memory);
    }

    /// Forgets what others said, except those that `keep` names or that share this server's
    /// attempt.
    pub(crate) fn retain(&mut self, keep: impl Fn(&NodeId) -> bool) {
        let bound = match &self.memory.stage {
            Stage::Promised { attempt, .. } => Some(attempt),
            _ => None,
        };
        self.heard.retain(|id, _| keep(id) || bound.is_some_and(|a| a.voter(*id).is_some()));
    }

    /// This is on disk now.
    pub(crate) fn written(&mut self, memory: Memory) {
        self.memory = memory;
    }

    /// What to write next, if anything: at most one step, and none while a write is under way.
    pub(crate) fn step(&self) -> Option<Memory> {
        match &self.memory.stage {
            Stage::Free => self.learn().or_else(|| self.answer()),
            Stage::Forgetful => self.learn(),
            Stage::Promised { attempt, ballot, accepted } => {
                self.progress(attempt, *ballot, *accepted)
            }
            Stage::Final { .. } => None,
        }
    }

    /// There is a quorum already: follow it. Attempts that name this server end with its era.
    fn learn(&self) -> Option<Memory> {
        let finals = self.heard.values().filter_map(|m| match &m.stage {
            Stage::Final { attempt, .. } => Some(attempt),
            _ => None,
        });
        let followed = self.bug != Some(Bug::FinalNotFollowed);
        let attempt = Arc::clone(finals.filter(|_| followed).min_by_key(|a| a.cluster)?);
        Some(self.next_era(Stage::Final { attempt, voter: false }))
    }

    /// Promises what is asked for, or makes sure never to.
    fn answer(&self) -> Option<Memory> {
        let asks = self.heard.values().filter_map(|m| match &m.stage {
            Stage::Promised { attempt, ballot, .. } => {
                let v = attempt.voter(self.me)?;
                let born = v.birth == self.memory.birth || self.bug == Some(Bug::BirthIgnored);
                let current = born && v.era == self.memory.era;
                current.then_some((attempt, *ballot))
            }
            _ => None,
        });
        let (attempt, ballot) =
            asks.min_by_key(|(a, _)| (a.voters.first().map(|v| v.id), a.cluster))?;
        let sizes_mix = self.bug == Some(Bug::ExpectIgnored);
        if attempt.voters.len() != self.expect && !sizes_mix {
            return Some(self.next_era(Stage::Free));
        }
        let attempt = Arc::clone(attempt);
        Some(self.stay(Stage::Promised { attempt, ballot, accepted: None }))
    }

    /// Goes on with the attempt this server promised.
    fn progress(
        &self,
        attempt: &Arc<Attempt>,
        ballot: Ballot,
        accepted: Option<(Ballot, Outcome)>,
    ) -> Option<Memory> {
        if self.is_final_elsewhere(attempt) {
            return Some(self.commit(attempt));
        }
        match self.decided(attempt) {
            Some(Outcome::Commit) => return Some(self.commit(attempt)),
            Some(Outcome::Abort) => return Some(self.next_era(Stage::Free)),
            None => {}
        }
        if self.is_vetoed(attempt) {
            return Some(self.next_era(Stage::Free));
        }
        let promised = |ballot, accepted| {
            let attempt = Arc::clone(attempt);
            Some(self.stay(Stage::Promised { attempt, ballot, accepted }))
        };
        // Others are further.
        let told = self.votes(attempt).filter_map(|(_, v)| v.1).max_by_key(|a| a.0);
        if let Some((b, outcome)) = told
            && b >= ballot
            && accepted.is_none_or(|(own, _)| own < b)
        {
            return promised(b, Some((b, outcome)));
        }
        let highest = self.votes(attempt).map(|(_, v)| v.0).max().unwrap_or(ballot);
        if highest > ballot {
            return promised(highest, accepted);
        }
        // Our own turn.
        let next = if ballot == Ballot::ZERO {
            accepted.is_none() && self.all_promised(attempt)
        } else {
            ballot.owner == self.me && accepted.is_none_or(|(own, _)| own < ballot)
        };
        let outcome = self.outcome_at(attempt, ballot).filter(|_| next)?;
        promised(ballot, Some((ballot, outcome)))
    }

    /// What may be accepted at `ballot`, going by those who stand there; `None`: too few do.
    fn outcome_at(&self, attempt: &Attempt, ballot: Ballot) -> Option<Outcome> {
        if ballot == Ballot::ZERO {
            return Some(Outcome::Commit);
        }
        let there = || self.votes(attempt).filter(|(_, v)| v.0 == ballot);
        if !attempt.majority(there().count()) {
            return None;
        }
        let bound = there().filter_map(|(_, v)| v.1).max_by_key(|a| a.0).map(|a| a.1);
        let bound = bound.filter(|_| self.bug != Some(Bug::BallotForgetsAccepted));
        let free = if self.all_promised(attempt) { Outcome::Commit } else { Outcome::Abort };
        Some(bound.unwrap_or(free))
    }

    /// The outcome that a majority accepted in one round.
    fn decided(&self, attempt: &Attempt) -> Option<Outcome> {
        self.votes(attempt).filter_map(|(_, v)| v.1).find_map(|a| {
            let same = self.votes(attempt).filter(|(_, v)| v.1 == Some(a)).count();
            attempt.majority(same).then_some(a.1)
        })
    }

    /// Who of the attempt promised it, with round and accepted outcome; this server, too.
    fn votes<'a>(
        &'a self,
        attempt: &'a Attempt,
    ) -> impl Iterator<Item = (NodeId, (Ballot, Option<(Ballot, Outcome)>))> + 'a {
        attempt.voters.iter().filter_map(|v| {
            let memory = if v.id == self.me { &self.memory } else { self.heard.get(&v.id)? };
            Some((v.id, memory.promised(attempt.cluster)?))
        })
    }

    fn all_promised(&self, attempt: &Attempt) -> bool {
        let promised = self.votes(attempt).count();
        let majority_will_do = self.bug == Some(Bug::MajorityPromises);
        promised == attempt.voters.len() || majority_will_do && attempt.majority(promised)
    }

    fn is_final_elsewhere(&self, attempt: &Attempt) -> bool {
        self.heard.values().any(
            |m| matches!(&m.stage, Stage::Final { attempt: a, .. } if a.cluster == attempt.cluster),
        )
    }

    fn is_vetoed(&self, attempt: &Attempt) -> bool {
        let others = attempt.voters.iter().filter(|v| v.id != self.me);
        let heard = others.filter_map(|v| Some((v, self.heard.get(&v.id)?)));
        heard.into_iter().any(|(v, m)| m.vetoes(attempt.cluster, v))
    }

    /// Begins an attempt with these servers, this one among them.
    pub(crate) fn propose(&self, attempt: Attempt) -> Option<Memory> {
        let free = matches!(self.memory.stage, Stage::Free);
        let own = attempt.voter(self.me)?;
        let current = own.birth == self.memory.birth && own.era == self.memory.era;
        let right = attempt.voters.len() == self.expect;
        let attempt = Arc::new(attempt);
        let stage = Stage::Promised { attempt, ballot: Ballot::ZERO, accepted: None };
        (free && current && right).then(|| self.stay(stage))
    }

    /// Asks for the outcome of the attempt this server is bound to, in a round above all it
    /// knows of.
    pub(crate) fn recover(&self) -> Option<Memory> {
        let Stage::Promised { attempt, ballot, accepted } = &self.memory.stage else { return None };
        if self.bug == Some(Bug::AttemptNotAsked) {
            return None;
        }
        let highest = self.votes(attempt).map(|(_, v)| v.0).max().unwrap_or(*ballot);
        let ballot = Ballot { round: highest.round.checked_add(1)?, owner: self.me };
        let (attempt, accepted) = (Arc::clone(attempt), *accepted);
        Some(self.stay(Stage::Promised { attempt, ballot, accepted }))
    }

    /// The disk turned out to be older than what others know of this server.
    pub(crate) fn forgot(&self) -> Option<Memory> {
        match self.memory.stage {
            _ if self.bug == Some(Bug::ForgetfulPromises) => None,
            Stage::Free | Stage::Promised { .. } => Some(self.stay(Stage::Forgetful)),
            Stage::Final { .. } | Stage::Forgetful => None,
        }
    }

    fn commit(&self, attempt: &Arc<Attempt>) -> Memory {
        self.stay(Stage::Final { attempt: Arc::clone(attempt), voter: true })
    }

    fn stay(&self, stage: Stage) -> Memory {
        Memory { stage, ..self.memory.clone() }
    }

    fn next_era(&self, stage: Stage) -> Memory {
        let raised = if self.bug == Some(Bug::EraStays) { 0 } else { 1 };
        Memory { era: self.memory.era.saturating_add(raised), stage, ..self.memory.clone() }
    }
}
