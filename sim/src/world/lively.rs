//! Where the bounds of liveness hold in a run, and when they are looked at.
//!
//! The checkers are in [`crate::invariants::liveness`]. Here is what they must know: who takes
//! part, since when nothing disturbs, what is new, who joined, died and left. They are looked at
//! twice a second between occurrences, so a run goes the same with and without them.

use std::collections::BTreeMap;

use quorate_core::{Record, State};

use super::World;
use crate::invariants::{
    Invariant, Told,
    liveness::{
        DEAD_NS, DIGEST_NS, Entry, FORGED_NS, JOIN_LOSS_PPM, JOIN_NS, KILLED_NS, Late, Look,
        SILENT_NS, STAYS_NS, Viewer, stays,
    },
};
use crate::scenario::{Action, DiskFault};

/// How often it is looked.
const OFTEN_NS: u64 = 500_000_000;
/// With more nodes it is not: a look compares all with all.
const MOST: usize = 256;
/// Nobody was in trouble for so long: a death is found as fast as can be.
const HEALTHY_NS: u64 = 60_000_000_000;

/// A process that joined.
#[derive(Clone, Copy, Debug)]
struct Joined {
    h: usize,
    life: u32,
    t: u64,
}

/// A process that ended without leaving.
#[derive(Clone, Copy, Debug)]
struct Died {
    h: usize,
    life: u32,
    subject: u32,
    t: u64,
    within: u64,
}

/// A member that left by itself.
#[derive(Clone, Copy, Debug)]
struct Left {
    generation: u64,
    t: u64,
    /// Since when nothing had disturbed it.
    well_since: u64,
}

/// What a claim adds to what is known: later wins.
type News = (u64, bool, u32, bool);

/// The account of a run.
#[derive(Debug, Default)]
pub(super) struct Lively {
    /// When it is looked next.
    due: u64,
    /// Something disturbs until then, or did last.
    disturbed_at: u64,
    /// Somebody was accused, failed, or noticed that it was away.
    troubled_at: u64,
    /// Something became true that not all can know yet.
    news_at: u64,
    /// The newest of each member.
    newest: Vec<News>,
    /// The network keeps to what the bounds ask for.
    fair: bool,
    /// How many of a million packets the link loses that loses most.
    loss: u32,
    /// Nothing changed since all was looked at and owed.
    settled: bool,
    joined: Vec<Joined>,
    /// Some list had an open suspicion then.
    open_at: u64,
    /// Until then what is believed may depend on who heard a forged claim.
    forged_until: u64,
    /// Who holds whom wrongly for gone, by number, and since when.
    missed: BTreeMap<(u32, u32), u64>,
    died: Vec<Died>,
    /// Members that left by themselves, when, and since when nothing had disturbed them.
    left: BTreeMap<u32, Left>,
}

impl World {
    /// From now until `until` the bounds do not hold.
    pub(super) fn disturbs(&mut self, until: u64) {
        let l = &mut self.lively;
        l.disturbed_at = l.disturbed_at.max(until).max(self.now);
        // Who is cut off meanwhile cannot ask anybody.
        if self.now < l.forged_until {
            l.forged_until = l.disturbed_at + FORGED_NS;
        }
        l.settled = false;
    }

    /// The network is another one.
    pub(super) fn network_changed(&mut self) {
        let highest = self.hosts.len() as u32 - 1;
        self.lively.fair = self.network.is_fair(highest);
        self.lively.loss = self.network.worst_loss(highest);
        self.disturbs(self.now);
    }

    /// What a step disturbs beside the network.
    pub(super) fn step_disturbs(&mut self, action: &Action) {
        self.lively.settled = false;
        let lasts = match action {
            Action::Flap { lasts, .. }
            | Action::Pause { lasts, .. }
            | Action::Suspend { lasts, .. }
            | Action::Starve { lasts, .. }
            | Action::Saturate { lasts, .. } => lasts.as_nanos(),
            Action::ForceLeave { .. }
            | Action::Replay { .. }
            | Action::Garbage { .. }
            | Action::ForgeEvent { .. }
            | Action::Rumour { .. }
            | Action::Key { .. } => 0,
            Action::Forge { .. } => {
                self.lively.forged_until = self.now.max(self.lively.disturbed_at) + FORGED_NS;
                0
            }
            Action::Disk { fault, .. } if *fault != DiskFault::Ok => 0,
            _ => return,
        };
        self.disturbs(self.now + lasts);
    }

    /// There is something that not all can know yet.
    pub(super) fn has_news(&mut self) {
        self.lively.news_at = self.now;
        self.lively.settled = false;
    }

    /// A record is published, or held to be that somewhere: is it news?
    pub(super) fn hears_of(&mut self, subject: u32, record: &Record, state: State) {
        let l = &mut self.lively;
        l.settled = false;
        let i = subject as usize;
        if l.newest.len() <= i {
            l.newest.resize(i + 1, News::default());
        }
        let v = record.version;
        let news = (v.generation, state == State::Left, v.incarnation, state == State::Failed);
        if news > l.newest[i] {
            l.newest[i] = news;
            self.has_news();
        }
    }

    /// As [`Self::hears_of`], of what was told.
    pub(super) fn hears_told(&mut self, told: Told, subject: u32, record: &Record) {
        if matches!(told, Told::Suspected | Told::SuspicionRefuted | Told::Failed) {
            self.lively.troubled_at = self.now;
        }
        match told {
            Told::Failed => self.hears_of(subject, record, State::Failed),
            Told::Left => self.hears_of(subject, record, State::Left),
            // Each node forgets by itself.
            Told::Reaped | Told::Unconfirmed => self.has_news(),
            // Whoever meets a cluster, or is met again, has news that no version shows.
            Told::Alive => {
                self.hears_of(subject, record, State::Alive);
                self.has_news();
            }
            _ => self.hears_of(subject, record, State::Alive),
        }
    }

    /// The process on `h` met the members that it was told to join.
    pub(super) fn has_joined(&mut self, h: usize) {
        self.has_news();
        let joined = Joined { h, life: self.hosts[h].life, t: self.now };
        self.lively.joined.push(joined);
    }

    /// The process on `h` takes part from now on.
    pub(super) fn has_begun(&mut self, h: usize) {
        self.lively.left.remove(&self.hosts[h].identity);
    }

    /// A process noticed that it was away.
    pub(super) fn was_away(&mut self) {
        self.lively.troubled_at = self.now;
    }

    /// The process on `h` ends.
    pub(super) fn has_ended(&mut self, h: usize, silent: bool) {
        let subject = self.hosts[h].identity;
        if self.lively.left.contains_key(&subject) {
            return self.has_news();
        }
        let calm = self.lively.disturbed_at.max(self.lively.troubled_at) + HEALTHY_NS < self.now;
        let within = match (calm && self.lively.loss == 0, silent) {
            (true, false) => KILLED_NS,
            (true, true) => SILENT_NS,
            _ => DEAD_NS,
        };
        let life = self.hosts[h].life + 1;
        self.lively.died.push(Died { h, life, subject, t: self.now, within });
        self.disturbs(self.now);
    }

    /// The process on `h` is through with its leave.
    pub(super) fn has_left(&mut self, h: usize) {
        let subject = self.hosts[h].identity;
        let since = self.lively.disturbed_at.max(self.hosts[h].well_since);
        let Some(node) = &self.hosts[h].node else { return };
        let generation = node.record().version.generation;
        let left = Left { generation, t: self.now, well_since: since };
        self.lively.left.insert(subject, left);
        self.has_news();
    }

    /// `h` told that `owner`'s member failed: not if it left and both were undisturbed.
    pub(super) fn failed_after_leave(&mut self, h: usize, subject: u32, record: &Record) {
        let Some(left) = self.lively.left.get(&subject) else { return };
        let well = self.hosts[h].well_since.max(left.well_since);
        let ago = (self.now - left.t) / 1_000_000;
        if self.program.unbounded
            || left.generation != record.version.generation
            || !self.is_calm()
            || well + JOIN_NS > left.t
            || self.lively.disturbed_at > well
        {
            return;
        }
        let what = format!("{} left {ago} ms ago, and is failed", record.name);
        self.fail(h, Invariant::L6.name().into(), what);
    }

    /// When it is looked next.
    pub(super) fn lively_due(&self) -> u64 {
        self.lively.due
    }

    /// Looks as often as is due up to `t`, and at `t` if the run ends there.
    pub(super) fn looks_until(&mut self, t: u64) {
        while self.lively.due <= t && (self.failures.is_empty() || !self.stop_at_failure) {
            self.now = self.lively.due;
            self.cause = 0;
            self.lively.due += OFTEN_NS;
            if !self.lively.settled && !self.program.unbounded && self.hosts.len() <= MOST + 1 {
                self.looks();
            }
        }
    }

    /// Is nothing wrong at this moment with network, processors and disks?
    fn is_calm(&self) -> bool {
        let disturbed = |h: &super::host::Host| {
            h.is_up() && (h.is_stopped(self.now) || h.share.is_starved(self.now))
                || h.disk.is_full()
        };
        self.lively.fair && !self.hosts.iter().any(disturbed)
    }

    /// May a forged claim be believed by some and not by others?
    fn is_forged(&self) -> bool {
        self.now < self.lively.forged_until
    }

    fn looks(&mut self) {
        if !self.is_calm() {
            self.disturbs(self.now);
        }
        let look = self.look();
        let calm = self.now.saturating_sub(self.lively.disturbed_at);
        self.lively.settled = calm > STAYS_NS
            && self.now > self.lively.news_at + STAYS_NS
            && self.lively.died.is_empty()
            && self.lively.joined.is_empty();
        let judged = [
            self.judges_joins(&look),
            self.judges_deaths(&look),
            self.judges_returns(&look, calm),
            self.judges_digests(&look, calm),
        ];
        for (node, violation) in judged.into_iter().filter_map(Result::err) {
            self.check(node as usize, Err(violation));
        }
    }

    fn judges_joins(&mut self, look: &Look) -> Result<(), Late> {
        let all = std::mem::take(&mut self.lively.joined);
        let (due, waits): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|j| j.t + JOIN_NS <= self.now);
        self.lively.joined = waits;
        let l = &self.lively;
        let there = |j: &&Joined| l.disturbed_at < j.t && self.hosts[j.h].life == j.life;
        let due: Vec<_> = due.iter().filter(there).collect();
        if due.is_empty() || self.is_forged() || self.lively.loss > JOIN_LOSS_PPM {
            return Ok(());
        }
        let clusters = look.clusters(&|a, b| self.can_talk(a, b));
        due.iter().try_for_each(|j| {
            let owed = |v: &Viewer| self.runs_since(v.node as usize) < j.t;
            look.joined(self.hosts[j.h].identity, &clusters, owed)
        })
    }

    fn judges_deaths(&mut self, look: &Look) -> Result<(), Late> {
        let all = std::mem::take(&mut self.lively.died);
        let still = |d: &Died| {
            let (host, gone) = (&self.hosts[d.h], self.lively.disturbed_at > d.t);
            !gone && (host.life == d.life || host.identity != d.subject)
        };
        let (due, waits): (Vec<_>, Vec<_>) =
            all.into_iter().filter(still).partition(|d| d.t + d.within <= self.now);
        self.lively.died = waits;
        due.iter().try_for_each(|d| look.detected(d.subject))
    }

    /// L3 and L4: who runs and can be reached is alive to all that list it.
    fn judges_returns(&mut self, look: &Look, calm: u64) -> Result<(), Late> {
        let before = std::mem::take(&mut self.lively.missed);
        for (a, b, held) in look.missed() {
            let pair = (a.node, b.node);
            let (x, y) = (a.node as usize, b.node as usize);
            let found = look.knows(b, a) || held.state == State::Failed && self.has_address(x, y);
            if !found || !self.can_talk(a, b) || self.is_named_twice(b) {
                continue;
            }
            let since = self.runs_since(x).max(self.runs_since(y));
            let since = before.get(&pair).copied().unwrap_or(self.now).max(since).min(self.now);
            self.lively.missed.insert(pair, since);
            if !self.is_forged() {
                stays(Invariant::L3, a, b, &held, calm.min(self.now - since))?;
            }
            let since = since.max(self.paths.fair_since(self.now, &self.network, pair));
            stays(Invariant::L4, a, b, &held, self.now - since)?;
        }
        Ok(())
    }

    /// Does `h` have the right address of the member that `other` runs?
    fn has_address(&self, h: usize, other: usize) -> bool {
        let (subject, addr) = (self.hosts[other].identity, self.hosts[other].addr);
        let theirs = |id| self.identity_of(id) == Some(subject);
        let node = self.hosts[h].node.as_ref();
        node.is_some_and(|n| n.members().any(|m| m.record.addr == addr && theirs(m.record.id)))
    }

    /// Has another process its name? One of them gives it up, or is not let in.
    fn is_named_twice(&self, v: &Viewer) -> bool {
        let (own, name) = (v.node, &self.hosts[v.node as usize].name);
        self.hosts.iter().any(|h| h.number != own && h.is_up() && h.name == *name)
    }

    /// Since when the process on `h` is there and not stopped.
    fn runs_since(&self, h: usize) -> u64 {
        let host = &self.hosts[h];
        host.well_since.max(host.paused_until).max(host.suspended_until)
    }

    fn judges_digests(&mut self, look: &Look, calm: u64) -> Result<(), Late> {
        if look.is_open() {
            self.lively.open_at = self.now;
        }
        let l = &self.lively;
        let since = l.news_at.max(l.open_at) + DIGEST_NS;
        if self.is_forged() || calm < DIGEST_NS || self.now < since {
            return Ok(());
        }
        look.digests(self.lively.forged_until > 0, |a, b| self.can_talk(a, b))
    }

    /// Do these two have a protocol version in common, and open what the other one seals?
    fn can_talk(&self, a: &Viewer, b: &Viewer) -> bool {
        let (a, b) = (a.node as usize, b.node as usize);
        let ((old, new), (from, to)) = (self.tuning(a).protocol, self.tuning(b).protocol);
        let ring = |h: usize| self.hosts[h].node.as_ref().and_then(|n| n.keyring());
        let opens = match (ring(a), ring(b)) {
            (None, None) => true,
            (Some(x), Some(y)) => {
                let has = |r: &quorate_core::wire::Keyring, id| r.keys().any(|k| k.id() == id);
                has(x, y.primary()) && has(y, x.primary())
            }
            _ => false,
        };
        opens && old <= to && from <= new
    }

    /// Who takes part now, and what each lists.
    fn look(&self) -> Look {
        let mut look = Look::default();
        let mut known = BTreeMap::new();
        for h in (1..self.hosts.len()).filter(|h| self.takes_part(*h)) {
            let host = &self.hosts[h];
            let Some(node) = &host.node else { continue };
            if host.share.is_starved(self.now) {
                continue;
            }
            let (subject, digest) = (host.identity, node.digest());
            let own = node.record().version;
            let list = *known.entry(digest).or_insert_with(|| {
                let itself = Entry { subject, state: State::Alive, version: own };
                let listed = node.members().filter_map(|m| {
                    let subject = self.identity_of(m.record.id)?;
                    Some(Entry { subject, state: m.state, version: m.record.version })
                });
                look.lists.push(listed.chain([itself]).collect());
                look.lists.len() - 1
            });
            let (node, generation) = (host.number, own.generation);
            look.viewers.push(Viewer { node, subject, generation, digest, list });
        }
        look
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quorate_core::Tuning;

    use super::super::{Options, run};
    use super::*;
    use crate::{Program, Scenario};

    const JOINED: &str = "cluster 6 seed 1\nat 0s join all via n1\n";

    /// What breaks in a cluster of six that runs other constants.
    fn breaks(lines: &str, change: impl FnOnce(&mut Tuning)) -> Vec<String> {
        breaks_in(&format!("{JOINED}{lines}"), change)
    }

    fn breaks_in(text: &str, change: impl FnOnce(&mut Tuning)) -> Vec<String> {
        let mut tuning = Tuning::default();
        change(&mut tuning);
        let options = Options { program: Program::tuned(tuning), ..Options::default() };
        let scenario = Scenario::parse(text).unwrap();
        let failures = run(scenario, options).unwrap().failures;
        failures.into_iter().map(|f| f.check).collect()
    }

    /// Nobody looks for those that were cut off.
    fn unsought(t: &mut Tuning) {
        t.reconnect_interval = Duration::from_secs(300);
        (t.gossip_to_dead, t.alone_after) = (Duration::ZERO, Duration::ZERO);
    }

    /// News goes round with pings only.
    fn untold(t: &mut Tuning) {
        t.gossip_interval = Duration::from_secs(100);
        (t.immediate_gossip, t.digest_quiet, t.retransmit_mult) = (false, Duration::ZERO, 1);
    }

    #[test]
    fn a_join_that_not_all_hear_of_is_late() {
        let lines = "at 10s net loss 30%\nat 20s start n7..n19 join n1\nat 60s heal\n";
        assert_eq!(breaks(lines, |_| ()), [""; 0]);
        assert_eq!(breaks(lines, untold)[0], "L1-join");
    }

    #[test]
    fn a_death_is_known_soon_where_all_was_well() {
        let slow = |t: &mut Tuning| t.refused_grace = Duration::from_secs(3);
        let lines = |t| format!("at {t}s crash n2\nat 130s heal\n");
        assert_eq!(breaks(&lines(70), |_| ()), [""; 0]);
        assert_eq!(breaks(&lines(70), slow), ["L2-detection"]);
        // A minute must have passed since the start.
        assert_eq!(breaks(&lines(40), slow), [""; 0]);
        // What a link lost before excuses nobody now.
        let before = "at 1s link n1 -> n2 loss 10%\nat 5s link all -> all loss 0%\n";
        assert_eq!(breaks(&format!("{before}{}", lines(70)), slow), ["L2-detection"]);
        let still = "at 1s link n1 -> n2 loss 10%\n";
        assert_eq!(breaks(&format!("{still}{}", lines(70)), slow), [""; 0]);
    }

    #[test]
    fn who_was_cut_off_is_alive_to_all_soon_after() {
        let lines = "at 10s partition n1..n3 | n4..n6\nat 40s heal\nat 80s heal\n";
        assert_eq!(breaks(lines, |_| ()), [""; 0]);
        assert_eq!(breaks(lines, unsought)[0], "L3-merge");
    }

    #[test]
    fn nobody_stays_failed_while_others_are_in_trouble() {
        let lines = "at 10s partition n1..n3 | n4..n6\nat 40s heal\n\
                     at 40s start n7 join n1\nat 41s flap n7 every 3s for 90s\nat 125s heal\n";
        assert_eq!(breaks(lines, |_| ()), [""; 0]);
        assert_eq!(breaks(lines, unsought)[0], "L4-stays-failed");
    }

    #[test]
    fn what_some_missed_makes_their_lists_differ() {
        let text = "cluster 2 seed 1\nat 0s join n2 via n1\nat 30s retag n1\nat 60s heal\n";
        assert_eq!(breaks_in(text, |_| ()), [""; 0]);
        let seldom = |t: &mut Tuning| {
            untold(t);
            t.probe_interval = Duration::from_secs(100);
        };
        assert_eq!(breaks_in(text, seldom)[0], "L5-digest");
    }

    #[test]
    fn lists_may_differ_for_a_while_after_a_forged_claim() {
        let breaks_at = |t: u32, end: u32| {
            let text = format!(
                "cluster 2 seed 1\nat 0s join n2 via n1\nat 20s forge n1 accuse n2 last\n\
                 at {t}s retag n1\nat {end}s heal\n"
            );
            breaks_in(&text, |t| {
                untold(t);
                t.probe_interval = Duration::from_secs(100);
            })
        };
        assert_eq!(breaks_at(30, 39), [""; 0]);
        assert_eq!(breaks_at(85, 100)[0], "L5-digest");
    }

    #[test]
    fn who_left_is_not_told_as_failed() {
        let text = format!("{JOINED}at 21s crash n3\nat 40s heal\n");
        let world = || World::new(Scenario::parse(&text).unwrap(), Options::default()).unwrap();
        assert!(world().run().failures.is_empty());
        let mut w = world();
        w.run_until(20_000_000_000);
        // As if it had left; nobody was told.
        w.has_left(3);
        assert_eq!(w.run().failures[0].check, "L6-leave");
    }

    #[test]
    fn the_constants_of_others_promise_nothing() {
        let scenario = Scenario::parse(&format!("{JOINED}at 70s crash n2\nat 90s heal\n")).unwrap();
        let options = Options { program: Program::memberlist(), ..Options::default() };
        assert!(run(scenario, options).unwrap().failures.is_empty());
    }
}
