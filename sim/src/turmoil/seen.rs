//! What the views of the agents show: each change becomes an event, and goals are met by it.

use std::sync::Arc;

use net_tokio::view::{Member, Status, View};
use quorate_core::NodeId;

use super::{
    Change, MemberEvent,
    control::{Host, Runner},
};
use crate::scenario::{Expect, Line};
use crate::world::host::Process;

impl Runner<'_> {
    /// Looks at every view after a tick, then at what must be true.
    pub(super) fn looks(&mut self) {
        self.collects();
        for h in 1..self.hosts.len() {
            if self.hosts[h].process != Process::Up {
                continue;
            }
            let now = self.hosts[h].slot.told().handle.as_ref().map(|a| a.view());
            let before = self.hosts[h].view.take();
            let same = match (&before, &now) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                (a, b) => a.is_none() && b.is_none(),
            };
            if let (false, Some(view)) = (same, &now) {
                self.dirty = true;
                self.compares(h, before.as_deref(), view);
            }
            self.hosts[h].view = now;
        }
        self.checks();
    }

    /// Tells what is in one view and not in the one before, and the other way round.
    fn compares(&mut self, h: usize, before: Option<&View>, now: &View) {
        let known = |view: Option<&View>, id: NodeId| -> Option<Member> {
            view?.members().iter().find(|m| m.record.id == id).cloned()
        };
        for m in now.members().iter().filter(|m| m.record.id != now.local_id) {
            let old = known(before, m.record.id);
            let Some(change) = change(old.as_ref(), m) else { continue };
            if change == Change::Alive {
                self.returns(old.as_ref(), m);
            }
            self.tells(h, change, m);
        }
        let old = before.map_or(&[][..], View::members);
        for m in old.iter().filter(|m| m.record.id != now.local_id) {
            if known(Some(now), m.record.id).is_none() {
                self.tells(h, Change::Reaped, m);
            }
        }
    }

    fn tells(&mut self, h: usize, change: Change, m: &Member) {
        self.meets(match change {
            Change::Suspected => "suspected",
            Change::SuspicionRefuted => "suspicion-refuted",
            Change::Failed => "failed",
            Change::Left => "left",
            Change::Reaped => "reaped",
            Change::Alive | Change::Leaving => "",
        });
        let name = m.record.name.as_str().to_owned();
        let (t, on, version) = (self.now, self.hosts[h].number, m.record.version);
        self.outcome.events.push(MemberEvent { t, on, change, name, version });
        if change == Change::Failed {
            self.checks_failure(h, m);
        }
    }

    /// A member that was failed or left is back: in the same life, or in a later one?
    fn returns(&mut self, old: Option<&Member>, m: &Member) {
        let Some(old) = old else { return };
        let same = old.record.version.generation == m.record.version.generation;
        self.meets(if same { "merge" } else { "rejoin" });
    }

    /// Was it declared failed although it runs and can be reached?
    fn checks_failure(&mut self, h: usize, m: &Member) {
        let never = |l: &Line| matches!(l, Line::Expect(Expect::NeverFalseFailed));
        if !self.scenario.lines.iter().any(never) {
            return;
        }
        let Some(owner) = self.hosts.iter().position(|x| x.id == Some(m.record.id)) else { return };
        if self.is_well(h, owner) {
            let (n, on) = (self.hosts[owner].number, self.hosts[h].number);
            let message = format!("n{n} runs and can be reached, and is failed on n{on}");
            self.outcome.fail("false-failed", on, self.now, message);
        }
    }

    /// Has the process at `owner` run and been in reach of `h`, long enough for all to know?
    fn is_well(&self, h: usize, owner: usize) -> bool {
        let (a, b) = (&self.hosts[h], &self.hosts[owner]);
        let (pair, well) = ((a.number, b.number), a.well_since.max(b.well_since));
        self.takes_part(owner) && self.fabric.were_in_reach(self.now, pair, well)
    }

    /// Does the agent on `h` run, without being about to leave?
    pub(super) fn takes_part(&self, h: usize) -> bool {
        self.hosts.get(h).is_some_and(Host::takes_part)
    }
}

impl Host {
    pub(super) fn takes_part(&self) -> bool {
        let own = |v: &Arc<View>| v.local().map(|m| m.status);
        self.process == Process::Up && self.view.as_ref().and_then(own) == Some(Status::Alive)
    }
}

/// What the difference between two states of a member is called, if it has a name.
fn change(old: Option<&Member>, new: &Member) -> Option<Change> {
    let before = old.map(|m| (m.status, m.suspect));
    match (before, (new.status, new.suspect)) {
        (before, now) if before == Some(now) => None,
        (Some((Status::Alive, true)), (Status::Alive, false)) => Some(Change::SuspicionRefuted),
        (_, (Status::Alive, true)) => Some(Change::Suspected),
        (_, (Status::Alive, false)) => Some(Change::Alive),
        (_, (Status::Failed, _)) => Some(Change::Failed),
        (_, (Status::Leaving, _)) => Some(Change::Leaving),
        (_, (Status::Left, _)) => Some(Change::Left),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::{Name, Record, Version};

    fn member(status: Status, suspect: bool) -> Member {
        let record = Arc::new(Record {
            version: Version { generation: 1, incarnation: 0 },
            ..Record::of_client(
                NodeId::from_bytes([1; 16]),
                Name::new("n1").unwrap(),
                ([10, 0, 0, 1], 8301).into(),
            )
        });
        Member { record, status, suspect, create_index: 1, modify_index: 1 }
    }

    #[test]
    fn changes_have_their_names() {
        let alive = member(Status::Alive, false);
        let suspect = member(Status::Alive, true);
        let failed = member(Status::Failed, false);
        for (old, new, want) in [
            (None, &alive, Some(Change::Alive)),
            (None, &failed, Some(Change::Failed)),
            (Some(&alive), &alive, None),
            (Some(&alive), &suspect, Some(Change::Suspected)),
            (Some(&suspect), &alive, Some(Change::SuspicionRefuted)),
            (Some(&suspect), &failed, Some(Change::Failed)),
            (Some(&failed), &alive, Some(Change::Alive)),
            (Some(&failed), &member(Status::Left, false), Some(Change::Left)),
        ] {
            assert_eq!(change(old, new), want);
        }
    }
}
