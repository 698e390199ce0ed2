//! Expectations while a scenario runs: `within` and `for`, looked at after every tick in which
//! anything changed. `never` and `sometimes` are with the events.

use std::collections::BTreeMap;

use net_tokio::view::{Member, Status};
use quorate_core::{NodeId, Version};

use super::control::{Host, Runner};
use crate::checks::{self, Wrong, is_asked};
use crate::scenario::{Condition, Expect, Held, Line, NodeSet, Scenario, Viewers};
use crate::world::host::Process;

/// One line that is checked over a span of time.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    line: usize,
    expect: Expect,
    from: u64,
    until: u64,
    done: bool,
    /// A live agent's view was looked at for it.
    seen: bool,
}

impl Watch {
    /// All of a scenario.
    pub(super) fn all(scenario: &Scenario) -> Vec<Self> {
        let watch = |(line, l): (usize, &Line)| {
            let Line::Expect(expect) = l else { return None };
            let lasts = match expect {
                Expect::Within(d, _) | Expect::For { lasts: d, .. } => *d,
                Expect::NeverFalseFailed
                | Expect::NeverQuorum
                | Expect::Never(_)
                | Expect::Sometimes(_) => {
                    return None;
                }
            };
            let base = scenario.base_time(line);
            let (from, until) = (base.as_nanos(), base.saturating_add(lasts).as_nanos());
            Some(Self { line, expect: expect.clone(), from, until, done: false, seen: false })
        };
        scenario.lines.iter().enumerate().filter_map(watch).collect()
    }
}

impl Runner<'_> {
    /// Looks at all that is to be true now.
    pub(super) fn checks(&mut self) {
        let changed = std::mem::take(&mut self.dirty);
        for i in 0..self.watches.len() {
            let w = &self.watches[i];
            let due = self.now >= w.until;
            if w.done || self.now < w.from || !(changed || due || self.now == w.from) {
                continue;
            }
            let lasts = !matches!(w.expect, Expect::Within(..));
            let mut result = match &w.expect {
                Expect::Within(_, condition) => self.holds(condition),
                Expect::For { nodes, not, held, viewers, .. } => {
                    self.is_held_by_all(nodes, *held, *not, viewers)
                }
                Expect::NeverFalseFailed
                | Expect::NeverQuorum
                | Expect::Never(_)
                | Expect::Sometimes(_) => Ok(()),
            };
            let w = &mut self.watches[i];
            w.seen |= result != Err(Wrong::Nobody);
            // Somebody must see what lasts at some time of it, not all the time.
            if lasts && result == Err(Wrong::Nobody) && (w.seen || !due) {
                result = Ok(());
            }
            w.done = due || lasts == result.is_err();
            if let Err(wrong) = result
                && (due || lasts)
            {
                let (on, line) = (wrong.node() as u32, self.scenario.lines[w.line].to_string());
                let (check, what) = wrong.told(&w.expect);
                self.outcome.fail(check, on, self.now, format!("`{line}`: {what}"));
            }
        }
    }

    fn holds(&self, condition: &Condition) -> Result<(), Wrong> {
        match condition {
            Condition::Converged => self.converged(),
            Condition::Held { nodes, held, viewers } => {
                self.is_held_by_all(nodes, *held, false, viewers)
            }
            // Refused when the plan was made.
            Condition::Quorum { .. }
            | Condition::Rtt { .. }
            | Condition::Event { .. }
            | Condition::Query { .. } => Ok(()),
        }
    }

    fn is_held_by_all(
        &self,
        nodes: &NodeSet,
        held: Held,
        not: bool,
        viewers: &Viewers,
    ) -> Result<(), Wrong> {
        let views = |h: &&Host| match viewers {
            Viewers::Everywhere => true,
            Viewers::On(set) => set.contains(h.number),
        };
        let viewers = self.hosts.iter().skip(1).filter(|h| h.takes_part()).filter(views);
        let subjects = nodes.numbers(self.highest());
        let mut asked = false;
        for viewer in viewers {
            for subject in subjects.iter().filter_map(|n| self.hosts.get(*n as usize)) {
                asked |= is_asked(viewer.number == subject.number, held, not);
                is_held(viewer, subject, held, not)?;
            }
        }
        if asked { Ok(()) } else { Err(Wrong::Nobody) }
    }

    /// Do all live, connected nodes agree?
    fn converged(&self) -> Result<(), Wrong> {
        if let Some(h) = self.hosts.iter().find(|h| h.process == Process::Up && h.view.is_none()) {
            return wrong(h, format!("n{} is only starting", h.number));
        }
        let groups = self.groups();
        if groups.is_empty() {
            return Err(Wrong::Nobody);
        }
        for group in groups {
            let own = |h: &&Host| Some((h.id?, h.own()?.record.version));
            let live: BTreeMap<NodeId, Version> = group.iter().filter_map(own).collect();
            let mut gone = BTreeMap::new();
            for h in &group {
                agrees(h, &live, &mut gone)?;
            }
        }
        Ok(())
    }

    /// Live nodes in groups that can reach each other, over others if need be.
    fn groups(&self) -> Vec<Vec<&Host>> {
        let mut left: Vec<&Host> = self.hosts.iter().skip(1).filter(|h| h.takes_part()).collect();
        let mut groups = Vec::new();
        while let Some(start) = left.pop() {
            let mut group = vec![start];
            let mut at = 0;
            while let Some(a) = group.get(at).map(|h| h.number) {
                let near = |b: &&Host| self.fabric.ask(|n| n.connects(a, b.number));
                let (reached, rest): (Vec<_>, Vec<_>) = left.into_iter().partition(near);
                group.extend(reached);
                left = rest;
                at += 1;
            }
            groups.push(group);
        }
        groups
    }
}

impl Host {
    fn own(&self) -> Option<&Member> {
        self.view.as_ref()?.local()
    }
}

fn wrong<T>(h: &Host, what: String) -> Result<T, Wrong> {
    checks::wrong(h.number as usize, what)
}

/// Does one node hold another to be that?
fn is_held(viewer: &Host, subject: &Host, held: Held, not: bool) -> Result<(), Wrong> {
    if viewer.number == subject.number {
        return Ok(());
    }
    let members = viewer.view.as_ref().map_or(&[][..], |v| v.members());
    let found = members.iter().find(|m| Some(m.record.id) == subject.id);
    let hit = match (found, held) {
        (None, Held::Unknown) => true,
        (Some(m), Held::Alive) => {
            // What is held of an earlier life is not what the process of now deserves.
            let now = subject.own().map(|own| own.record.version.generation);
            let starting = subject.process == Process::Up && subject.view.is_none();
            m.status == Status::Alive
                && !m.suspect
                && !starting
                && now.is_none_or(|g| m.record.version.generation == g)
        }
        (Some(m), Held::Suspect) => m.status == Status::Alive && m.suspect,
        (Some(m), Held::Failed) => m.status == Status::Failed,
        (Some(m), Held::Left) => m.status == Status::Left,
        _ => false,
    };
    if hit != not {
        return Ok(());
    }
    let is = found.map_or_else(|| "unknown".to_owned(), describe);
    wrong(viewer, format!("n{} is {is} on n{}", subject.number, viewer.number))
}

fn describe(m: &Member) -> String {
    let state = if m.suspect { "suspect" } else { m.status.as_str() };
    format!("{state} at {}", m.record.version)
}

/// Is what `h` shows right about the live ones, and the same as elsewhere about the others?
fn agrees(
    h: &Host,
    live: &BTreeMap<NodeId, Version>,
    gone: &mut BTreeMap<NodeId, Status>,
) -> Result<(), Wrong> {
    let Some(view) = &h.view else { return Ok(()) };
    let wrong = |what: String| wrong(h, format!("n{}: {what}", h.number));
    let mut found = 0;
    for m in view.members() {
        let (id, name) = (m.record.id, &m.record.name);
        match live.get(&id) {
            Some(v) if m.status == Status::Alive && !m.suspect && m.record.version == *v => {
                found += 1;
            }
            Some(v) => return wrong(format!("{name} is {}, and runs at {v}", describe(m))),
            None if matches!(m.status, Status::Alive | Status::Leaving) => {
                return wrong(format!("{name} ({id}) is {} and is not there", describe(m)));
            }
            None => {
                let other = *gone.entry(id).or_insert(m.status);
                if other != m.status {
                    let (a, b) = (m.status.as_str(), other.as_str());
                    return wrong(format!("{name} is {a}, elsewhere {b}"));
                }
            }
        }
    }
    if found == live.len() {
        return Ok(());
    }
    wrong(format!("{found} of {} live members known", live.len()))
}
