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

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::{Ballot, BoundedVec, Voter};
    use std::sync::Arc;

    fn id(n: u8) -> NodeId {
        NodeId::from_bytes([n; 16])
    }

    fn attempt(cluster: u8, voters: &[u8]) -> Arc<Attempt> {
        let voter = |n: &u8| {
            let addr = ([127, 0, 0, 1], 8300).into();
            Voter { id: id(*n), birth: 1, era: 0, addr }
        };
        let cluster = ClusterId::from_random([cluster; 16]);
        let voters = BoundedVec::truncated(voters.iter().map(voter).collect());
        Arc::new(Attempt { cluster, voters })
    }

    fn promised(a: &Arc<Attempt>) -> Memory {
        let (attempt, ballot) = (Arc::clone(a), Ballot::ZERO);
        Memory { birth: 1, era: 0, stage: Stage::Promised { attempt, ballot, accepted: None } }
    }

    fn fin(a: &Arc<Attempt>) -> Memory {
        let stage = Stage::Final { attempt: Arc::clone(a), voter: true };
        Memory { birth: 1, era: 0, stage }
    }

    /// Feeds all, then says what is wrong with the last.
    fn last(all: &[(u8, Memory)]) -> String {
        let mut q = Quorums::default();
        let (end, before) = all.split_last().unwrap();
        before.iter().for_each(|(n, m)| q.remembers(id(*n), m).unwrap());
        q.remembers(id(end.0), &end.1).map_or_else(|v| v.to_string(), |()| "fine".into())
    }

    #[test]
    fn each_breach_of_s11_is_caught() {
        let (a, b, free) = (attempt(1, &[1, 2]), attempt(2, &[2, 3]), |era| Memory {
            birth: 1,
            era,
            stage: Stage::Free,
        });
        let a_final = [(1, promised(&a)), (2, promised(&a)), (1, fin(&a))];
        assert_eq!(last(&a_final), "fine");
        assert!(last(&[(1, promised(&a)), (1, fin(&a))]).contains("never promised"));
        assert!(last(&[(1, promised(&a)), (1, free(0))]).contains("forgotten"));
        assert_eq!(last(&[(1, promised(&a)), (1, free(1))]), "fine");
        assert!(last(&[(1, free(1)), (1, free(0))]).contains("the era goes"));
        assert!(last(&[&a_final[..], &[(1, free(1))]].concat()).contains("left the quorum"));
        let mut late = promised(&b);
        late.era = 1;
        let shared = [(3, promised(&b)), (2, late), (3, fin(&b))];
        assert!(last(&[&a_final[..], &shared[..]].concat()).contains("a voter of both"));
    }
}
