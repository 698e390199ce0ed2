//! S11: the bootstrap quorum is real. Fed with what each server has on disk of the agreement.

use std::collections::{BTreeMap, BTreeSet};

use quorate_core::{Attempt, ClusterId, Memory, NodeId, Stage};

use super::{Invariant, Violation, broken};

/// The account of all servers' promises and of all quorums.
#[derive(Clone, Debug, Default)]
pub struct Quorums {
    /// What each server had on disk last.
    last: BTreeMap<NodeId, Memory>,
    /// Who ever promised what.
    promised: BTreeSet<(ClusterId, NodeId)>,
    finals: Vec<Attempt>,
}

impl Quorums {
    /// This is on the disk of a server now.
    ///
    /// # Errors
    /// S11: a promise is forgotten or given twice, a quorum changes, has a voter that never
    /// promised, or shares a voter with another one.
    pub fn remembers(&mut self, server: NodeId, memory: &Memory) -> Result<(), Violation> {
        if let Some(before) = self.last.get(&server)
            && before.birth == memory.birth
        {
            follows(before, memory)?;
        }
        self.last.insert(server, memory.clone());
        match &memory.stage {
            Stage::Promised { attempt, .. } => {
                self.promised.insert((attempt.cluster, server));
                Ok(())
            }
            Stage::Final { attempt, .. } => self.is_final(attempt),
            Stage::Free | Stage::Forgetful => Ok(()),
        }
    }

    /// A fault put an older disk under a server: what it did since is forgotten there.
    pub fn restored(&mut self, server: NodeId) {
        self.last.remove(&server);
    }

    fn is_final(&mut self, attempt: &Attempt) -> Result<(), Violation> {
        if self.finals.contains(attempt) {
            return Ok(());
        }
        let names = |v: &quorate_core::Voter| (v.id, v.birth);
        let cluster = attempt.cluster;
        for other in &self.finals {
            let voters: BTreeSet<_> = other.voters.iter().map(names).collect();
            if let Some(v) = attempt.voters.iter().find(|v| voters.contains(&names(v))) {
                let other = other.cluster;
                let message = format!("{} is a voter of both {other} and {cluster}", v.id);
                return broken(Invariant::S11, message);
            }
        }
        for v in attempt.voters.iter() {
            if !self.promised.contains(&(cluster, v.id)) {
                let message = format!("{cluster} is final, and {} never promised it", v.id);
                return broken(Invariant::S11, message);
            }
        }
        self.finals.push(attempt.clone());
        Ok(())
    }
}

/// May `now` come after `before` on one disk?
fn follows(before: &Memory, now: &Memory) -> Result<(), Violation> {
    let cluster = |m: &Memory| match &m.stage {
        Stage::Promised { attempt, .. } | Stage::Final { attempt, .. } => Some(attempt.cluster),
        Stage::Free | Stage::Forgetful => None,
    };
    if let Stage::Final { .. } = before.stage
        && before != now
    {
        return broken(Invariant::S11, "a server left the quorum it was final in".into());
    }
    if now.era < before.era {
        return broken(Invariant::S11, format!("the era goes from {} to {}", before.era, now.era));
    }
    let forgets = now.stage == Stage::Forgetful;
    if now.era == before.era && cluster(before).is_some() && cluster(before) != cluster(now) {
        if !forgets {
            return broken(Invariant::S11, format!("a promise of era {} is forgotten", now.era));
        }
    } else if let (
        Stage::Promised { ballot: b0, accepted: a0, .. },
        Stage::Promised { ballot: b1, accepted: a1, .. },
    ) = (&before.stage, &now.stage)
        && cluster(before) == cluster(now)
        && (b1 < b0 || a1.map(|a| a.0) < a0.map(|a| a.0))
    {
        return broken(Invariant::S11, "a ballot goes back".into());
    }
    Ok(())
}
