//! What the nodes tell: to the trace, to the checker, to goals and measures.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use quorate_core::{Counter, Event, LocalState, Node, Record, State};
use siphasher::sip::SipHasher13;

use super::{World, host::Host};
use crate::{
    invariants::{Seen, Told},
    scenario::{GOALS, Goal},
    trace::Kind,
};

/// What an event does beside being traced.
type Meaning = (Kind, Told, &'static str);

/// The member that an event is about, and what it means.
fn meaning(e: &Event) -> Option<(&Arc<Record>, Meaning)> {
    Some(match e {
        Event::Alive { record } => (record, (Kind::Alive, Told::Alive, "")),
        Event::Updated { record } => (record, (Kind::Updated, Told::Updated, "updated")),
        Event::Suspected { record, .. } => {
            (record, (Kind::Suspected, Told::Suspected, "suspected"))
        }
        Event::SuspicionRefuted { record } => {
            (record, (Kind::SuspicionRefuted, Told::SuspicionRefuted, "suspicion-refuted"))
        }
        Event::Failed { record } => (record, (Kind::Failed, Told::Failed, "failed")),
        Event::Left { record } => (record, (Kind::Left, Told::Left, "left")),
        Event::Unconfirmed { record } => {
            (record, (Kind::Unconfirmed, Told::Unconfirmed, "unconfirmed"))
        }
        Event::Reaped { record } => (record, (Kind::Reaped, Told::Reaped, "reaped")),
        _ => return None,
    })
}

/// A hash of what a record says beside its id and version.
pub(super) fn content(r: &Record) -> u64 {
    let mut h = SipHasher13::new();
    (&r.name, r.addr, r.role, r.protocol, r.turn).hash(&mut h);
    for (key, value) in r.tags.iter().chain(r.meta.iter()) {
        (key, value).hash(&mut h);
    }
    h.write_usize(r.tags.len());
    h.finish()
}

impl World {
    /// As [`content`]; nodes share records, so most were hashed before.
    fn content(&mut self, subject: u32, r: &Arc<Record>) -> u64 {
        let i = subject as usize;
        if self.contents.len() <= i {
            self.contents.resize(i + 1, None);
        }
        match &self.contents[i] {
            Some((known, hash)) if Arc::ptr_eq(known, r) => *hash,
            _ => {
                let hash = content(r);
                self.contents[i] = Some((Arc::clone(r), hash));
                hash
            }
        }
    }

    /// The node at `h` told of something.
    pub(super) fn told(&mut self, h: usize, event: &Event) {
        if self.told_of_user(h, event) {
            return;
        }
        if let Some((record, (kind, told, goal))) = meaning(event) {
            return self.told_of_member(h, record, (kind, told, goal), event);
        }
        let (kind, goal) = match event {
            Event::Refuted { version, .. } => {
                let checked = self.checker.refutes(self.hosts[h].identity, *version);
                self.check(h, checked);
                (Kind::Refuted, "")
            }
            Event::JoinFinished { id, result, .. } => {
                let joined = result.is_ok();
                self.join_finished(h, self.hosts[h].joining.id == Some(*id), joined);
                (Kind::JoinFinished, if joined { "" } else { "join-refused" })
            }
            Event::LeaveFinished { .. } => {
                self.has_left(h);
                self.exit_later(h);
                (Kind::LeaveFinished, "")
            }
            Event::KeyringFinished { report, .. } => {
                (Kind::KeyringFinished, Self::keyring_ended(report).0)
            }
            Event::NameConflict { .. } => (Kind::NameConflict, "name-conflict"),
            Event::NameLost { .. } => (Kind::NameLost, "name-lost"),
            Event::Degraded { degraded, .. } => {
                self.check_lasting(h);
                self.dirty = true;
                (Kind::Degraded, if *degraded { "degraded" } else { "" })
            }
            Event::BootstrapConflict { .. } => (Kind::BootstrapConflict, "bootstrap-conflict"),
            Event::Paused { .. } => {
                self.was_away();
                (Kind::Paused, "paused")
            }
            Event::Lost { .. } => {
                self.checker.loses_events(h as u32);
                (Kind::Lost, "")
            }
            _ => return,
        };
        self.meets(goal);
        self.say(h, kind, || match event {
            Event::Refuted { version, .. } => format!("now {version}"),
            Event::JoinFinished { addr, result: Ok(n), .. } => format!("{addr}: {n} members"),
            Event::JoinFinished { addr, result: Err(e), .. } => format!("{addr}: {e}"),
            Event::KeyringFinished { report, .. } => Self::keyring_ended(report).1,
            Event::LeaveFinished { confirmed } => format!("{confirmed} confirmed"),
            Event::NameConflict { other, holder } => {
                format!("{} is {} and {}", other.name, holder.id, other.id)
            }
            Event::NameLost { holder } => format!("{} is {}", holder.name, holder.id),
            Event::Degraded { record, degraded } => {
                format!("{}{}", record.name, if *degraded { "" } else { " no more" })
            }
            Event::BootstrapConflict { server, conflict } => {
                format!("{}: {conflict:?}", server.name)
            }
            Event::Paused { gap_ms } => format!("{gap_ms} ms"),
            Event::Lost { count } => format!("{count} events"),
            _ => String::new(),
        });
    }

    fn told_of_member(
        &mut self,
        h: usize,
        record: &Arc<Record>,
        (kind, told, goal): (Kind, Told, &str),
        event: &Event,
    ) {
        let subject = self.identity_of(record.id);
        let owner = subject.and_then(|i| self.identities.get(i as usize)).map(|x| x.1);
        let mark = record.version.generation << 32 | u64::from(record.version.incarnation);
        let outer = self.cause;
        let suspicion = subject.and_then(|s| self.suspicions.remove(&(h as u32, s)));
        if outer == 0 {
            // A deadline has no cause of its own: a suspicion that ran out has the suspicion.
            self.cause = suspicion.unwrap_or(0);
        }
        let seq = self.note(h, kind, owner, (0, mark), || {
            let evidence = match event {
                Event::Suspected { evidence, .. } => format!(" {evidence:?}"),
                _ => String::new(),
            };
            (String::new(), format!("{} {}{evidence}", record.name, record.version))
        });
        (self.cause, self.told_last) = (outer, seq);
        self.meets(goal);
        let Some(subject) = subject else {
            return self.fail(h, "S3-foreign-version".into(), format!("{} never was", record.id));
        };
        if told == Told::Suspected {
            self.suspicions.insert((h as u32, subject), seq);
        }
        if told == Told::Alive {
            self.meets_return(h, subject, record);
        }
        let content = self.content(subject, record);
        let seen = Seen { subject, version: record.version, content };
        let checked = self.checker.tells(h as u32, told, seen);
        self.check(h, checked);
        self.hears_told(told, subject, record);
        if told == Told::Failed {
            self.failed_after_leave(h, subject, record);
            self.told_of_failure(h, subject, owner.unwrap_or(0) as usize);
        }
        self.dirty = true;
    }

    /// A member that was failed or left comes back: in the same life, or in a later one?
    fn meets_return(&mut self, h: usize, subject: u32, record: &Record) {
        match self.checker.known(h as u32, subject) {
            Some((generation, true)) if generation == record.version.generation => {
                self.meets("merge");
            }
            Some((_, true)) => self.meets("rejoin"),
            _ => {}
        }
    }

    fn told_of_failure(&mut self, h: usize, subject: u32, owner: usize) {
        let Some(host) = self.hosts.get(owner) else { return };
        if host.identity != subject {
            return;
        }
        self.measures.live_failures += u64::from(host.is_up());
        if self.is_well(h, owner) {
            self.measures.false_failures += 1;
            if !self.is_starved(h) {
                self.measures.false_at_healthy += 1;
            }
            self.false_failed(h, owner);
        } else if !host.is_up() && host.lost_at > 0 {
            self.measures.detections_ns.push(self.now - host.lost_at);
        }
    }

    fn join_finished(&mut self, h: usize, ours: bool, joined: bool) {
        if joined {
            self.has_joined(h);
        }
        if ours {
            self.join_ended(h, joined);
        }
    }

    /// Has the process at `owner` run and been in reach of `h`, long enough for all to know?
    fn is_well(&self, h: usize, owner: usize) -> bool {
        let host = &self.hosts[owner];
        let well = host.well_since.max(self.hosts[h].well_since);
        let pair = (h as u32, owner as u32);
        let running = |host: &Host| host.is_up() && !host.is_stopped(self.now);
        running(host)
            && self.paths.were_in_reach(self.now, &self.network, pair, well)
            && is_running(host)
    }

    /// Notes that a goal was met.
    pub(super) fn meets(&mut self, goal: &str) {
        if goal.is_empty() {
            return;
        }
        if let Some(i) = GOALS.iter().position(|g| g.0 == goal) {
            self.goals.insert(Goal::Named(i));
        }
    }

    /// The list or the own record of the node at `h` changed.
    pub(super) fn changed(&mut self, h: usize) {
        self.dirty = true;
        self.checks_own_record(h);
        if self.is_listing_due(h) {
            self.lists(h);
        }
        self.check_lasting(h);
    }

    /// A node that takes part must begin above its past and only rise.
    fn checks_own_record(&mut self, h: usize) {
        let host = &mut self.hosts[h];
        let Some(local) = host.node.as_ref().map(|n| n.local()) else { return };
        let version = local.record.version;
        if local.state == LocalState::Starting || host.published == Some(version) {
            return;
        }
        let before = host.published.replace(version);
        let (subject, record) = (host.identity, Arc::clone(&local.record));
        self.hears_of(subject, &record, State::Alive);
        if before.is_none() {
            self.has_begun(h);
        }
        let host = &self.hosts[h];
        let own = Seen { subject: host.identity, version, content: content(&local.record) };
        let mark = version.generation << 32 | u64::from(version.incarnation);
        let text = || (String::new(), version.to_string());
        self.note(h, Kind::Version, None, (0, mark), text);
        let checked =
            if before.is_none() { self.checker.begins(own) } else { self.checker.publishes(own) };
        self.check(h, checked);
    }

    fn lists(&mut self, h: usize) {
        self.hosts[h].listed_at = self.now;
        let Some(node) = self.hosts[h].node.take() else { return };
        let mut strangers = 0;
        let mut members = std::mem::take(&mut self.listing);
        for m in node.members() {
            match self.identity_of(m.record.id) {
                Some(subject) => {
                    let content = self.content(subject, &m.record);
                    let version = m.record.version;
                    members.push((Seen { subject, version, content }, m.state));
                }
                None => strangers += 1,
            }
        }
        let listed = members.drain(..);
        let checked = self.checker.lists(h as u32, &self.limits, listed);
        self.listing = members;
        self.hosts[h].node = Some(node);
        self.check(h, checked);
        if strangers > 0 {
            self.fail(h, "S3-foreign-version".into(), format!("{strangers} that never were"));
        }
    }

    /// Adds the counters of a process that ends to those of the run.
    pub(super) fn collect_counters(&mut self, h: usize) {
        let Some(node) = &self.hosts[h].node else { return };
        for (sum, c) in self.counted.iter_mut().zip(Counter::ALL) {
            *sum += node.stats().get(*c);
            if node.stats().get(*c) > 0 {
                self.goals.insert(Goal::Counted(*c));
            }
        }
        if self.ring.is_some() && node.stats().get(Counter::DropKey) > 0 {
            // Sealed, the tag takes the checksum's part, and keeps forgers without a key out.
            self.goals.insert(Goal::Counted(Counter::DropChecksum));
            self.goals.insert(Goal::Counted(Counter::ImplausibleEvents));
        }
        let counted = |g: &(&str, &str, _)| Goal::by_name(g.0).and_then(Goal::counter);
        for (i, goal) in GOALS.iter().enumerate() {
            if counted(goal).is_some_and(|c| node.stats().get(c) > 0) {
                self.goals.insert(Goal::Named(i));
            }
        }
    }
}

/// Is the node in the state in which it takes part?
pub(super) fn is_running(host: &Host) -> bool {
    let state = |n: &Node| n.local().state == LocalState::Running;
    host.node.as_ref().is_some_and(|n| state(n))
}
