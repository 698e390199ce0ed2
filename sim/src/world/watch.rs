//! Expectations while a scenario runs: `within`, `for`, `never`, `sometimes`.
//!
//! A `within` is looked at every 20 ms of virtual time in which anything changed, and at its end;
//! a `for` at every change of a view; `never` at every failed event.

#[cfg(test)]
mod tests;

use quorate_core::{LocalState, State, Version};

use super::{World, host::Host, queue::Plan};
use crate::{
    checks::{Wrong, check_of, is_asked, wrong},
    scenario::{Condition, Expect, Held, Line, NodeSet, Viewers},
    trace::Kind,
};

/// How often a `within` is looked at.
const POLL_NS: u64 = 20_000_000;
/// Every node is watched again within this of the last step and the end of its effects.
const WATCHED_NS: u64 = 30_000_000_000;

/// One line that is checked over a span of time.
#[derive(Debug)]
pub(super) struct Watch {
    line: usize,
    expect: Expect,
    from: u64,
    until: u64,
    done: bool,
    /// A live node's view was looked at for it.
    seen: bool,
    /// The viewer that was wrong last: looked at first.
    suspect: usize,
}

impl World {
    pub(super) fn plan_watches(&mut self) {
        for i in 0..self.scenario.lines.len() {
            let Line::Expect(expect) = self.scenario.lines[i].clone() else { continue };
            let lasts = match &expect {
                Expect::Within(d, _) | Expect::For { lasts: d, .. } => *d,
                _ => continue,
            };
            let base = self.scenario.base_time(i);
            let until = base.saturating_add(lasts).as_nanos();
            let from = base.as_nanos();
            let number = self.watches.len() as u32;
            let (done, seen, suspect) = (false, false, 0);
            self.watches.push(Watch { line: i, expect, from, until, done, seen, suspect });
            self.queue.plan(until, Plan::Deadline(number));
            self.queue.plan(from, Plan::Poll);
        }
    }

    fn active(&self, w: &Watch) -> bool {
        !w.done && w.from <= self.now && self.now <= w.until
    }

    /// Looks at what must become true.
    pub(super) fn poll_watches(&mut self) {
        for i in 0..self.watches.len() {
            if self.watches[i].from == self.now {
                self.check_everywhere(i);
            }
        }
        // Several lines may begin at different times: one poll at a time is enough.
        if self.polling && !self.now.is_multiple_of(POLL_NS) {
            return;
        }
        // Coordinates move without a view that changes.
        let moves = |w: &Watch| matches!(w.expect, Expect::Within(_, Condition::Rtt { .. }));
        let moving = self.watches.iter().any(|w| moves(w) && self.active(w));
        if std::mem::take(&mut self.dirty) || moving {
            for i in 0..self.watches.len() {
                self.poll_within(i);
            }
        }
        let within = |w: &Watch| matches!(w.expect, Expect::Within(..));
        self.polling = self.watches.iter().any(|w| within(w) && self.active(w));
        if self.polling {
            self.queue.plan((self.now / POLL_NS + 1) * POLL_NS, Plan::Poll);
        }
    }

    fn poll_within(&mut self, i: usize) -> Option<Wrong> {
        if !self.active(&self.watches[i]) {
            return None;
        }
        let Expect::Within(_, condition) = self.watches[i].expect.clone() else { return None };
        match self.holds(&condition, self.watches[i].suspect) {
            Ok(()) => {
                let w = &mut self.watches[i];
                w.done = true;
                let (line, took) = (w.line, self.now - w.from);
                self.measures.met_ns.push((line, took));
                self.say(0, Kind::Met, || format!("{condition} after {} ms", took / 1_000_000));
                None
            }
            Err(wrong) => {
                self.watches[i].suspect = wrong.node();
                Some(wrong)
            }
        }
    }

    /// The time of a watch is up.
    pub(super) fn watch_ends(&mut self, i: usize) {
        self.check_everywhere(i);
        let wrong = match &self.watches[i].expect {
            Expect::For { .. } => self.unseen(i),
            _ => self.poll_within(i),
        };
        if let Some(wrong) = wrong {
            self.broken(i, wrong);
        }
    }

    /// What is wrong with a `for` of which nobody saw anything.
    fn unseen(&self, i: usize) -> Option<Wrong> {
        let w = &self.watches[i];
        (!w.seen && !w.done).then_some(Wrong::Nobody)
    }

    /// The line of a watch does not hold.
    fn broken(&mut self, i: usize, wrong: Wrong) {
        let w = &mut self.watches[i];
        w.done = true;
        let line = self.scenario.lines[w.line].to_string();
        let h = wrong.node();
        let (check, what) = wrong.told(&w.expect);
        self.fail(h, check, format!("`{line}`: {what}"));
    }

    /// Does the condition hold now? `first` is looked at first.
    fn holds(&self, condition: &Condition, first: usize) -> Result<(), Wrong> {
        match condition {
            Condition::Converged => self.converged(first),
            Condition::Held { nodes, held, viewers } => {
                let mut asked = false;
                for h in self.viewers(viewers, first) {
                    asked |= self.subjects(nodes).any(|s| is_asked(h == s, *held, false));
                    self.subjects(nodes).try_for_each(|s| self.is_held(h, s, *held, false))?;
                }
                if asked { Ok(()) } else { Err(Wrong::Nobody) }
            }
            Condition::Quorum { voters: Some(set) } => self.is_quorum(set),
            Condition::Quorum { voters: None } => self.is_one_quorum(),
            Condition::Event { name, viewers } => self.is_told(name, viewers, first),
            Condition::Query { name } => self.is_answered(name),
            Condition::Rtt { nodes, off } => self.is_near(nodes, *off),
        }
    }

    pub(super) fn subjects(&self, nodes: &NodeSet) -> impl Iterator<Item = usize> + use<> {
        let numbers = nodes.numbers(self.hosts.len() as u32 - 1).into_iter();
        let count = self.hosts.len();
        numbers.map(|n| n as usize).filter(move |n| *n < count)
    }

    /// Live nodes in whose view something must hold, `first` first.
    pub(super) fn viewers(&self, viewers: &Viewers, first: usize) -> Vec<usize> {
        let mut all: Vec<usize> = match viewers {
            Viewers::Everywhere => (1..self.hosts.len()).collect(),
            Viewers::On(set) => self.subjects(set).collect(),
        };
        all.retain(|h| self.takes_part(*h));
        if let Some(i) = all.iter().position(|h| *h == first) {
            all[..=i].rotate_right(1);
        }
        all
    }

    /// Does `h` hold `subject` to be that?
    fn is_held(&self, h: usize, subject: usize, held: Held, not: bool) -> Result<(), Wrong> {
        if h == subject {
            return Ok(());
        }
        let found = self.view(h, subject);
        let current = self.hosts[subject].node.as_ref().map(|n| n.local());
        let starting = current.as_ref().is_some_and(|l| l.state == LocalState::Starting);
        let hit = match (found, held) {
            (None, Held::Unknown) => true,
            (Some(_), Held::Degraded) => self.is_degraded(h, subject),
            // What is held of an earlier life is not what the process of now deserves.
            (Some((State::Alive, v)), Held::Alive) => {
                let now = current.map(|l| l.record.version.generation);
                !starting && now.is_none_or(|g| v.generation == g)
            }
            (Some((State::Suspect, _)), Held::Suspect)
            | (Some((State::Failed, _)), Held::Failed)
            | (Some((State::Left, _)), Held::Left) => true,
            _ => false,
        };
        if hit != not {
            return Ok(());
        }
        let is = found.map_or_else(|| "unknown".into(), |(s, v)| format!("{s} at {v}"));
        wrong(h, format!("n{subject} is {is} on n{h}"))
    }

    /// Does `h` reach the member that host `subject` runs through others only?
    fn is_degraded(&self, h: usize, subject: usize) -> bool {
        let id = self.identities.get(self.hosts[subject].identity as usize).map(|i| i.0);
        let node = self.hosts[h].node.as_ref();
        node.is_some_and(|n| n.degraded().any(|d| Some(d) == id))
    }

    /// What `h` holds of the member that host `subject` runs.
    fn view(&self, h: usize, subject: usize) -> Option<(State, Version)> {
        let id = self.identities.get(self.hosts[subject].identity as usize)?.0;
        // A host that never started has no member yet, unless there is talk of one.
        if self.hosts[subject].life == 0 && !self.hosts[subject].rumoured {
            return None;
        }
        let node = self.hosts[h].node.as_ref()?;
        node.members().find(|m| m.record.id == id).map(|m| (m.state, m.record.version))
    }

    /// Do all live, connected nodes agree?
    fn converged(&self, first: usize) -> Result<(), Wrong> {
        let starting = |h: &Host| {
            let state = h.node.as_ref().map(|n| n.local().state);
            !h.is_stopped(self.now) && state == Some(LocalState::Starting)
        };
        if let Some(h) = self.hosts.iter().position(starting) {
            return wrong(h, format!("n{h} is only starting"));
        }
        let groups = self.groups();
        if groups.iter().all(Vec::is_empty) {
            return Err(Wrong::Nobody);
        }
        for group in groups {
            // By place in the table of members: thousands of lists are compared with this one.
            let mut live: Vec<Option<Version>> = vec![None; self.identities.len()];
            let mut gone: Vec<Option<State>> = vec![None; self.identities.len()];
            for &h in &group {
                let version = self.hosts[h].node.as_ref().map(|n| n.local().record.version);
                live[self.hosts[h].identity as usize] = version;
            }
            if group.contains(&first) {
                self.agrees(first, &live, &mut gone, group.len())?;
            }
            for &h in &group {
                self.agrees(h, &live, &mut gone, group.len())?;
            }
        }
        Ok(())
    }

    fn agrees(
        &self,
        h: usize,
        live: &[Option<Version>],
        gone: &mut [Option<State>],
        count: usize,
    ) -> Result<(), Wrong> {
        let Some(node) = &self.hosts[h].node else { return Ok(()) };
        let wrong = |what: String| wrong(h, format!("n{h}: {what}"));
        let mut found = 0;
        for m in node.members() {
            let (id, name) = (m.record.id, &m.record.name);
            let Some(i) = self.identity_of(id).map(|i| i as usize) else {
                return wrong(format!("{name} ({id}) never was"));
            };
            match live[i] {
                Some(v) if m.state == State::Alive && m.record.version == v => found += 1,
                Some(v) => {
                    let at = m.record.version;
                    return wrong(format!("{name} is {} at {at}, and runs at {v}", m.state));
                }
                None if m.state.is_live() => {
                    return wrong(format!("{name} ({id}) is {} and is not there", m.state));
                }
                None => {
                    let other = *gone[i].get_or_insert(m.state);
                    if other != m.state {
                        return wrong(format!("{name} is {}, elsewhere {other}", m.state));
                    }
                }
            }
        }
        // The list has no entry for the node itself.
        if found + 1 == count {
            return Ok(());
        }
        wrong(format!("{} of {count} live members known", found + 1))
    }

    /// Live nodes in groups that can reach each other, over others if need be.
    pub(super) fn groups(&self) -> Vec<Vec<usize>> {
        let mut left: Vec<usize> = (1..self.hosts.len()).filter(|h| self.takes_part(*h)).collect();
        if self.network.is_whole() {
            return vec![left];
        }
        let mut groups = Vec::new();
        while let Some(start) = left.pop() {
            let mut group = vec![start];
            let mut at = 0;
            while let Some(&a) = group.get(at) {
                let near = |b: &usize| self.network.connects(a as u32, *b as u32);
                let (reached, rest): (Vec<_>, Vec<_>) = left.into_iter().partition(near);
                group.extend(reached);
                left = rest;
                at += 1;
            }
            group.sort_unstable();
            groups.push(group);
        }
        groups
    }

    /// The view of `h` changed: what must hold all the time?
    pub(super) fn check_lasting(&mut self, h: usize) {
        for i in 0..self.watches.len() {
            self.check_lasting_one(i, h);
        }
    }

    fn check_lasting_one(&mut self, i: usize, h: usize) {
        let w = &self.watches[i];
        let Expect::For { nodes, not, held, viewers, .. } = &w.expect else { return };
        if !self.active(w) || !self.takes_part(h) {
            return;
        }
        if matches!(viewers, Viewers::On(set) if !set.contains(h as u32)) {
            return;
        }
        let seen = w.seen || self.subjects(nodes).any(|s| is_asked(h == s, *held, *not));
        let mut subjects = self.subjects(nodes);
        let wrong = subjects.find_map(|s| self.is_held(h, s, *held, *not).err());
        self.watches[i].seen = seen;
        if let Some(wrong) = wrong {
            self.broken(i, wrong);
        }
    }

    /// At its begin and end a `for` is looked at even if nothing changes.
    fn check_everywhere(&mut self, i: usize) {
        if matches!(self.watches[i].expect, Expect::For { .. }) {
            for h in 1..self.hosts.len() {
                self.check_lasting_one(i, h);
            }
        }
    }

    /// A live member in reach was declared failed at `h`.
    pub(super) fn false_failed(&mut self, h: usize, subject: usize) {
        let never = |l: &Line| matches!(l, Line::Expect(Expect::NeverFalseFailed));
        if self.scenario.lines.iter().any(never) {
            self.fail(h, "false-failed".into(), format!("n{subject} runs and can be reached"));
        }
    }

    /// Where it has been quiet, every node must be watched by as many as it wants.
    pub(super) fn check_observers(&mut self) {
        let since = self.hosts.iter().map(|h| h.well_since).fold(self.stepped_at, u64::max);
        if self.now < since.saturating_add(WATCHED_NS) || self.converged(0).is_err() {
            return;
        }
        let wanted = self.program.tuning.observers;
        for group in self.groups() {
            let enough = wanted.min(group.len().saturating_sub(1));
            for h in group {
                let Some(count) = self.hosts[h].node.as_ref().map(|n| n.observers().count()) else {
                    continue;
                };
                if count != enough {
                    let what = format!("{count} members observe n{h}, {enough} should");
                    self.fail(h, "watched".into(), what);
                }
            }
        }
    }

    /// What the run must have met, and what not.
    pub(super) fn check_sometimes(&mut self) {
        for i in 0..self.scenario.lines.len() {
            let Line::Expect(expect) = &self.scenario.lines[i] else { continue };
            let what = match expect {
                Expect::Never(goal) if self.goals.contains(goal) => "the run met it",
                Expect::Sometimes(goal) if !self.goals.contains(goal) => "the run never met it",
                _ => continue,
            };
            self.fail(0, check_of(expect), what.to_owned());
        }
    }
}
