//! What must happen in time once nothing disturbs the cluster: the bounds L1 to L6.
//!
//! The world takes a [`Look`] twice a second and says since when it is undisturbed; the checkers
//! compare what all viewers hold. Guarantee: they judge only viewers that are of one cluster, each
//! of which lists another one as live, so nobody is blamed for whom nobody told it of.

use std::collections::BTreeMap;

use quorate_core::{State, Version};

use super::{Invariant, Violation};

/// L1: all list a member that joined.
pub const JOIN_NS: u64 = 5_000_000_000;
/// Where more is lost, parts per million, L1 promises nothing: at 30% one join in a few hundred
/// clusters takes longer.
pub const JOIN_LOSS_PPM: u32 = 200_000;
/// L2: a process that ended on a host that answers is off all lists, if nobody was in trouble
/// for a minute before.
pub const KILLED_NS: u64 = 1_000_000_000;
/// L2: as [`KILLED_NS`], of a host that is silent.
pub const SILENT_NS: u64 = 6_000_000_000;
/// L2: any other death, at up to 30% loss. At the worst health a probe begins every 9 s and takes
/// as long, a suspicion of 4 s runs up to 30 s longer, and 1 s more of somebody unmet: 53 s.
pub const DEAD_NS: u64 = 60_000_000_000;
/// L3: who runs and can be reached is alive to all that list it, after the last disturbance.
pub const MERGE_NS: u64 = 15_000_000_000;
/// L4: the same, by the two concerned alone.
pub const STAYS_NS: u64 = 60_000_000_000;
/// L5: all have the same list, after the last change.
pub const DIGEST_NS: u64 = 5_000_000_000;
/// L1, L3 and L5: a forged claim about who runs is believed by all or by none, so long after the
/// last disturbance. Of a version beyond belief its member is asked twice, 5 s apart, by everyone
/// who hears of it.
pub const FORGED_NS: u64 = 60_000_000_000;

/// A member in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The member, as an index that the caller gives out.
    pub subject: u32,
    /// What it is held to be.
    pub state: State,
    /// Its version.
    pub version: Version,
}

/// A node that takes part.
#[derive(Clone, Copy, Debug)]
pub struct Viewer {
    /// Its number.
    pub node: u32,
    /// The member that it is.
    pub subject: u32,
    /// Of its own version.
    pub generation: u64,
    /// The digest of its list.
    pub digest: u64,
    /// Its list, itself in it: an index into [`Look::lists`]. Equal digests may share one.
    pub list: usize,
}

/// All that take part, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Who they are.
    pub viewers: Vec<Viewer>,
    /// What they list.
    pub lists: Vec<Vec<Entry>>,
}

/// Where something was broken, and what.
pub type Late = (u32, Violation);

fn late<T>(node: u32, invariant: Invariant, message: String) -> Result<T, Late> {
    Err((node, Violation { invariant, message }))
}

impl Look {
    fn by_subject(&self) -> BTreeMap<u32, usize> {
        self.viewers.iter().enumerate().map(|(i, v)| (v.subject, i)).collect()
    }

    fn entry(&self, viewer: &Viewer, subject: u32) -> Option<&Entry> {
        self.lists[viewer.list].iter().find(|e| e.subject == subject)
    }

    /// For each viewer the first one of its cluster: those that list each other as live, over
    /// others if need be.
    pub fn clusters(&self, talk: &impl Fn(&Viewer, &Viewer) -> bool) -> Vec<usize> {
        fn root(of: &[usize], mut i: usize) -> usize {
            while of[i] != i {
                i = of[i];
            }
            i
        }
        let by_subject = self.by_subject();
        let mut of: Vec<usize> = (0..self.viewers.len()).collect();
        for (i, v) in self.viewers.iter().enumerate() {
            for e in self.lists[v.list].iter().filter(|e| e.state.is_live()) {
                let Some(&j) = by_subject.get(&e.subject) else { continue };
                let other = &self.viewers[j];
                if i != j && talk(v, other) {
                    let (a, b) = (root(&of, i), root(&of, j));
                    of[a.max(b)] = a.min(b);
                }
            }
        }
        (0..of.len()).map(|i| root(&of, i)).collect()
    }

    /// Is somebody accused in some list, or held live who does not take part (it died, or was
    /// never there)? Some may have their verdict before others.
    pub fn is_open(&self) -> bool {
        let by_subject = self.by_subject();
        let open = |e: &Entry| {
            e.state == State::Suspect || e.state.is_live() && !by_subject.contains_key(&e.subject)
        };
        self.lists.iter().flatten().any(open)
    }

    /// Does `viewer` list `other` as live in its present life?
    pub fn knows(&self, viewer: &Viewer, other: &Viewer) -> bool {
        let known = |e: &Entry| e.state.is_live() && e.version.generation == other.generation;
        self.entry(viewer, other.subject).is_some_and(known)
    }

    /// Do all of each cluster have the same list? `forged`: somebody forged claims; of a member
    /// that does not run nobody can be asked whether they are true, so that each believes what it
    /// heard in its time.
    ///
    /// # Errors
    /// L5.
    pub fn digests(
        &self,
        forged: bool,
        talk: impl Fn(&Viewer, &Viewer) -> bool,
    ) -> Result<(), Late> {
        let Some(first) = self.viewers.first() else { return Ok(()) };
        if self.viewers.iter().all(|v| v.digest == first.digest) {
            return Ok(());
        }
        let clusters = self.clusters(&talk);
        for (v, c) in self.viewers.iter().zip(clusters) {
            let first = &self.viewers[c];
            if v.digest != first.digest
                && let Some(what) = self.difference(v, first, forged)
            {
                return late(v.node, Invariant::L5, format!("not as on n{}: {what}", first.node));
            }
        }
        Ok(())
    }

    /// The first member that two lists differ in; `running`: of those that take part.
    fn difference(&self, a: &Viewer, b: &Viewer, running: bool) -> Option<String> {
        let word = |e: Option<&Entry>| {
            e.map_or_else(|| "unknown".to_owned(), |e| format!("{} at {}", e.state, e.version))
        };
        let runs = self.by_subject();
        let both = self.lists[a.list].iter().chain(&self.lists[b.list]).map(|e| e.subject);
        let differs = |s: &u32| self.entry(a, *s) != self.entry(b, *s);
        let found = both.filter(|s| !running || runs.contains_key(s)).find(differs);
        let said = found.map(|s| {
            format!("member {s} is {} and {}", word(self.entry(a, s)), word(self.entry(b, s)))
        });
        said.or_else(|| (!running).then(|| "the digest alone".to_owned()))
    }

    /// Do all of its cluster (of [`Self::clusters`]) to whom that is `owed` list the member
    /// `subject`, which joined?
    ///
    /// # Errors
    /// L1.
    pub fn joined(
        &self,
        subject: u32,
        clusters: &[usize],
        owed: impl Fn(&Viewer) -> bool,
    ) -> Result<(), Late> {
        let Some(i) = self.viewers.iter().position(|v| v.subject == subject) else {
            return Ok(());
        };
        let joiner = &self.viewers[i];
        for (v, c) in self.viewers.iter().zip(clusters) {
            let theirs = *c == clusters[i] && v.subject != subject && owed(v);
            if theirs && !self.knows(v, joiner) {
                let entry = self.entry(v, subject);
                let what = entry.map_or_else(|| "unknown".into(), |e| e.state.to_string());
                return late(v.node, Invariant::L1, format!("n{} joined, is {what}", joiner.node));
            }
        }
        Ok(())
    }

    /// Is the member `subject`, which died, live on no list?
    ///
    /// # Errors
    /// L2.
    pub fn detected(&self, subject: u32) -> Result<(), Late> {
        let live = |e: &Entry| e.subject == subject && e.state.is_live();
        let held = self.viewers.iter().find(|v| self.lists[v.list].iter().any(live));
        held.map_or(Ok(()), |v| {
            late(v.node, Invariant::L2, format!("member {subject} died and is live here"))
        })
    }

    /// Who takes part and is not alive in its present life to somebody who lists it: pairs of that
    /// one and the other, and what it is held to be.
    pub fn missed(&self) -> Vec<(&Viewer, &Viewer, Entry)> {
        let by_subject = self.by_subject();
        let mut missed = Vec::new();
        for (l, list) in self.lists.iter().enumerate() {
            for e in list {
                let Some(&i) = by_subject.get(&e.subject) else { continue };
                let other = &self.viewers[i];
                if !e.state.is_live() || e.version.generation != other.generation {
                    let holds = |v: &&Viewer| v.list == l && v.node != other.node;
                    missed.extend(self.viewers.iter().filter(holds).map(|v| (v, other, *e)));
                }
            }
        }
        missed
    }
}

/// That `other` is `held` at `viewer` lasts for too long.
///
/// # Errors
/// `broken`: L3 or L4.
pub fn stays(
    broken: Invariant,
    viewer: &Viewer,
    other: &Viewer,
    held: &Entry,
    lasts_ns: u64,
) -> Result<(), Late> {
    let within = if broken == Invariant::L3 { MERGE_NS } else { STAYS_NS };
    if lasts_ns < within {
        return Ok(());
    }
    let (n, now, state, then) = (other.node, other.generation, held.state, held.version);
    let message = format!("n{n} runs in generation {now}, and is {state} at {then} here");
    late(viewer.node, broken, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVE: State = State::Alive;

    /// n1, n2 and n3 in generation 1 hold each other for live, but for what `odd` says: who
    /// holds whom for what.
    fn look(odd: &[(u32, u32, Option<State>)]) -> Look {
        let version = Version { generation: 1, incarnation: 0 };
        let mut look = Look::default();
        for node in 1..=3 {
            let entry = |subject| {
                let found = odd.iter().find(|o| (o.0, o.1) == (node, subject));
                let state = found.map_or(Some(LIVE), |o| o.2)?;
                Some(Entry { subject, state, version })
            };
            look.lists.push((1..=3).filter_map(entry).collect());
            let digest = odd.iter().filter(|o| o.0 == node).count() as u64;
            let (list, generation) = (node as usize - 1, 1);
            look.viewers.push(Viewer { node, subject: node, generation, digest, list });
        }
        look
    }

    fn caught(result: Result<(), Late>, by: Invariant, at: u32) {
        match result {
            Err((node, violation)) => assert_eq!((violation.invariant, node), (by, at)),
            Ok(()) => panic!("{} was not caught", by.name()),
        }
    }

    const fn yes(_: &Viewer, _: &Viewer) -> bool {
        true
    }

    #[test]
    fn l1_somebody_does_not_list_a_member_that_joined() {
        let joined =
            |look: &Look, owed: fn(&Viewer) -> bool| look.joined(3, &look.clusters(&yes), owed);
        joined(&look(&[]), |_| true).unwrap();
        for held in [None, Some(State::Failed)] {
            let look = look(&[(2, 3, held)]);
            caught(joined(&look, |_| true), Invariant::L1, 2);
            joined(&look, |v| v.node != 2).unwrap();
        }
        // Nobody told n1 and n2 of each other.
        let apart = look(&[(1, 3, None), (2, 3, None), (3, 1, None), (3, 2, None)]);
        joined(&apart, |_| true).unwrap();
        let mut restarted = look(&[]);
        restarted.viewers[2].generation = 2;
        caught(joined(&restarted, |_| true), Invariant::L1, 1);
    }

    #[test]
    fn l2_somebody_holds_a_dead_member_for_live() {
        let mut there = look(&[(1, 3, Some(State::Suspect)), (2, 3, Some(State::Failed))]);
        there.viewers.pop();
        caught(there.detected(3), Invariant::L2, 1);
        let mut known = look(&[(1, 3, Some(State::Failed)), (2, 3, None)]);
        known.viewers.pop();
        known.detected(3).unwrap();
    }

    #[test]
    fn l3_and_l4_somebody_who_runs_stays_failed() {
        assert!(look(&[]).missed().is_empty());
        let look = look(&[(1, 3, Some(State::Failed)), (2, 3, Some(State::Suspect))]);
        let missed = look.missed();
        let pairs: Vec<_> = missed.iter().map(|m| (m.0.node, m.1.node)).collect();
        assert_eq!(pairs, [(1, 3)]);
        let (a, b, held) = missed[0];
        for (invariant, bound) in [(Invariant::L3, MERGE_NS), (Invariant::L4, STAYS_NS)] {
            caught(stays(invariant, a, b, &held, bound), invariant, 1);
            stays(invariant, a, b, &held, bound - 1).unwrap();
        }
    }

    #[test]
    fn l5_two_of_a_cluster_have_other_lists() {
        look(&[]).digests(false, yes).unwrap();
        let other = look(&[(2, 3, Some(State::Failed))]);
        caught(other.digests(false, yes), Invariant::L5, 2);
        caught(other.digests(true, yes), Invariant::L5, 2);
        other.digests(false, |a, b| a.node != 2 && b.node != 2).unwrap();
        // Of n3, which does not run, forged claims may be left.
        let mut dead = look(&[(2, 3, Some(State::Failed))]);
        dead.viewers.pop();
        caught(dead.digests(false, yes), Invariant::L5, 2);
        dead.digests(true, yes).unwrap();
        assert!(look(&[(2, 3, Some(State::Suspect))]).is_open() && !other.is_open());
        let mut gone = look(&[(2, 3, None)]);
        gone.viewers.pop();
        assert!(gone.is_open(), "n1 holds n3 for live");
    }
}
