//! Hearsay: members that this node was told of and has not met.
//!
//! They are listed at once, for a join must be seen by all at once. But until one has answered
//! (itself, through a helper, or on a stream) its pings are answered without news, it helps only
//! where nobody else can, and it is looked at before others. If it is accused and its time runs
//! out, it is taken off the list as if it had never been told of, not declared failed: what a
//! forged or stale claim brought goes away on every node that believed it. A tombstone then stops
//! the same rumour, and only that: a word of its own on a stream, a higher version, or somebody
//! who met it and declares it failed, counts.

use alloc::{collections::VecDeque, sync::Arc, vec::Vec};
use core::{net::SocketAddr, time::Duration};

use super::{Node, Outgoing, table::Table};
use crate::{
    identity::{NodeId, Version},
    output::Event,
    planted::Bug,
    record::{Claim, Record, State, Statement},
    stats::Counter,
    time::Instant,
    wire::Message,
};

/// About so many members look at a new one before others.
const FIRST_LOOKS: usize = 64;
/// A suspicion of somebody unmet runs so much longer, so that whoever met it declares the failure
/// first, and it is told as one: those who are killed just after they came were met by few.
const GRACE: Duration = Duration::from_secs(1);
/// Members that are contacted again after they were taken off the list.
const DROPPED: usize = 64;
/// Of those, whom others still say to live: contacted at once.
const AT_ONCE: usize = 3;

/// Was a member met since it is held live? By slot: a byte each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Meeting {
    /// It was, or it is not live.
    #[default]
    Met,
    /// Not yet, and it was not known before.
    Unmet,
    /// Not yet; it was held dead before.
    Back,
}

#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Hearsay {
    /// Slots that are not `Met`.
    unmet: usize,
    /// Of the member in each slot; slots beyond the end: `Met`.
    meetings: Vec<Meeting>,
    /// Whom nobody reached: there may have been a cut between us.
    dropped: VecDeque<Dropped>,
}

/// A member that was taken off the list.
#[derive(Debug)]
struct Dropped {
    id: NodeId,
    at: SocketAddr,
    since: Instant,
    /// Others have said since it was contacted last that it lives.
    talked_of: bool,
}

impl Hearsay {
    /// Is it known by what others say only?
    pub(super) fn is_unmet(&self, table: &Table, id: NodeId) -> bool {
        self.meeting(table, id) != Meeting::Met
    }

    /// How many are known so.
    pub(super) const fn count(&self) -> usize {
        self.unmet
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.unmet == 0
    }

    fn meeting(&self, table: &Table, id: NodeId) -> Meeting {
        if self.unmet == 0 {
            return Meeting::Met;
        }
        let slot = table.find(id).map(|x| x.0 as usize);
        slot.and_then(|s| self.meetings.get(s).copied()).unwrap_or_default()
    }

    fn set(&mut self, table: &Table, id: NodeId, to: Meeting) {
        if self.unmet == 0 && to == Meeting::Met {
            return;
        }
        let Some((slot, _)) = table.find(id) else { return };
        let slot = slot as usize;
        if self.meetings.len() <= slot {
            if to == Meeting::Met {
                return;
            }
            if slot >= self.meetings.capacity() {
                let more = slot + 1 - self.meetings.len();
                self.meetings.reserve_exact(more.max(slot / 8 + 8));
            }
            self.meetings.resize(slot + 1, Meeting::Met);
        }
        let was = core::mem::replace(&mut self.meetings[slot], to);
        self.unmet += usize::from(to != Meeting::Met);
        self.unmet -= usize::from(was != Meeting::Met);
        if self.unmet == 0 {
            self.meetings = Vec::new();
        }
    }
}

impl Node {
    /// What is believed of a member changed; `was`: its state before.
    pub(super) fn heard_of(&mut self, id: NodeId, was: Option<State>, is: State) {
        if !is.is_live() {
            self.forget_hearsay(id);
        } else if !was.is_some_and(State::is_live) {
            let meeting = if was.is_some() { Meeting::Back } else { Meeting::Unmet };
            self.notes.hearsay.set(&self.table, id, meeting);
        }
    }

    /// It answered.
    pub(super) fn met(&mut self, now: Instant, id: NodeId) {
        if self.is_unmet(id) {
            self.forget_hearsay(id);
            self.watch_met(now);
        }
    }

    /// Is it known by what others say only?
    pub(super) fn is_unmet(&self, id: NodeId) -> bool {
        self.notes.hearsay.is_unmet(&self.table, id)
    }

    /// Is there only talk of it: was it neither met nor known before?
    pub(super) fn is_talk(&self, id: NodeId) -> bool {
        self.notes.hearsay.meeting(&self.table, id) == Meeting::Unmet
    }

    /// Before it leaves the table.
    pub(super) fn forget_hearsay(&mut self, id: NodeId) {
        self.notes.hearsay.set(&self.table, id, Meeting::Met);
    }

    /// Somebody speaks for itself on a stream that comes from its address.
    pub(super) fn introduced(&mut self, now: Instant, r: &Record, from: SocketAddr, spread: bool) {
        let there = r.addr.ip() == from.ip();
        if there {
            self.make_room_for(now, r.id);
            self.table.unbury(r.id);
            self.vouch_for_moved(now, r);
        }
        let claim = Claim { record: Arc::new(r.clone()), statement: Statement::Alive };
        self.learn_claim(now, claim, super::claims::Origin::Stream { spread });
        if there && self.table.get(r.id).is_some_and(|e| e.record.version == r.version) {
            self.met(now, r.id);
        }
    }

    /// It lives elsewhere now, as is said: it is looked at there before others are.
    pub(super) fn has_moved(&mut self, id: NodeId) {
        if self.notes.hearsay.meeting(&self.table, id) == Meeting::Met {
            self.notes.hearsay.set(&self.table, id, Meeting::Back);
        }
    }

    /// Somebody who speaks for itself takes the place of one that there is only talk of: else
    /// whoever makes members up would keep others out.
    fn make_room_for(&mut self, now: Instant, id: NodeId) {
        if self.table.get(id).is_some() || !self.is_full() || self.make_room() {
            return;
        }
        let all = &self.notes.hearsay.meetings;
        let slot = all.iter().position(|m| *m == Meeting::Unmet);
        if let Some(unmet) = slot.and_then(|s| self.table.id_at(u32::try_from(s).ok()?)) {
            self.disbelieve(now, unmet);
        }
    }

    /// Whom to look at before the round's next member, if anybody: the next one after a random
    /// slot, so that not all look at the same one.
    pub(super) fn next_unmet(&mut self) -> Option<NodeId> {
        if self.notes.hearsay.is_empty() {
            return None;
        }
        if self.rng.below(self.table.live_count() + 1) >= FIRST_LOOKS {
            return None;
        }
        let all = &self.notes.hearsay.meetings;
        let first = self.rng.below(all.len());
        let unmet = |m: &Meeting| *m != Meeting::Met;
        let (before, after) = all.split_at(first);
        let later = after.iter().position(unmet).map(|at| first + at);
        let slot = later.or_else(|| before.iter().position(unmet))?;
        self.table.id_at(u32::try_from(slot).ok()?)
    }

    /// Up to `k` random live members that `want` takes, and how many of them were met. Those come
    /// first, however few they are: of others there may be any number, made up. But better somebody
    /// only heard of than nobody.
    pub(super) fn random_met(
        &mut self,
        k: usize,
        want: impl Fn(&Table, NodeId) -> bool,
    ) -> (Vec<NodeId>, usize) {
        let any = self.broken(Bug::UnmetHelp);
        let by_chance = self.broken(Bug::HelpersByChance);
        let (table, hearsay, rng) = (&self.table, &self.notes.hearsay, &mut self.rng);
        if hearsay.is_empty() {
            let picked = table.random_live(rng, k, |id| want(table, *id));
            let all = picked.len();
            return (picked, all);
        }
        let met = |id: &NodeId| want(table, *id) && (any || !hearsay.is_unmet(table, *id));
        let mut picked = match by_chance {
            true => table.random_live(rng, k, met),
            false => table.any_live(rng, k, met),
        };
        let known = picked.len();
        if known < k {
            let other = |id: &NodeId| want(table, *id) && !picked.contains(id);
            let more = table.random_live(rng, k - known, other);
            picked.extend(more);
        }
        (picked, known)
    }

    /// Up to `k` random live members to tell something. Where some may be made up, half of them
    /// were met: else news would go to addresses at which nobody is.
    pub(super) fn random_hearers(&mut self, k: usize) -> Vec<NodeId> {
        if !self.is_shy() || self.broken(Bug::NewsToAnybody) {
            return self.table.random_live(&mut self.rng, k, |_| true);
        }
        let half = (k + self.rng.below(2)) / 2;
        let (mut to, _) = self.random_met(half, |_, _| true);
        let more = self.table.random_live(&mut self.rng, k - to.len(), |id| !to.contains(id));
        to.extend(more);
        to
    }

    /// How many live members there surely are.
    pub(super) fn sure_count(&self) -> usize {
        let live = self.table.live_count();
        if self.is_shy() { live.saturating_sub(self.notes.hearsay.count()) } else { live }
    }

    /// How much longer a suspicion of this member runs.
    pub(super) fn hearsay_grace(&self, id: NodeId) -> Duration {
        let given = self.is_talk(id) && !self.broken(Bug::GraceNotGiven);
        if given { GRACE } else { Duration::ZERO }
    }

    /// A suspicion has run out. If its member was never met and not known before, there was only
    /// talk of it: it is taken off the list. `false`: it has failed.
    pub(super) fn disbelieve(&mut self, now: Instant, id: NodeId) -> bool {
        if !self.is_talk(id) || self.broken(Bug::HearsayBelieved) {
            return false;
        }
        let Some(e) = self.take_off(id) else { return false };
        self.queue.forget(id);
        self.stats.count(Counter::HearsayDropped);
        let dropped = &mut self.notes.hearsay.dropped;
        dropped.retain(|d| d.id != id);
        dropped.push_back(Dropped { id, at: e.record.addr, since: now, talked_of: false });
        if dropped.len() > DROPPED {
            dropped.pop_front();
        }
        let before = (e.record.version, true);
        let statement = Statement::Failed { by: self.me.id };
        let gone = Claim { record: Arc::clone(&e.record), statement };
        self.watch_changed(now, Some(before), &gone);
        self.track_server(now, &gone);
        self.name_changed(now, &gone);
        self.event(Event::Unconfirmed { record: gone.record });
        self.changed(now);
        true
    }

    /// Contacts somebody who was taken off the list, at the rate of the failed and for as long: if
    /// all that knew both of us are gone, nothing else brings us together. Those whom others still
    /// say to live come first: the failed are looked for by all, they perhaps by us only.
    pub(super) fn retry_dropped(&mut self, now: Instant) {
        let longest = self.cfg.tuning.reconnect_timeout;
        let table = &self.table;
        let dropped = &mut self.notes.hearsay.dropped;
        dropped.retain(|d| table.get(d.id).is_none() && now.since(d.since) < longest);
        if dropped.is_empty() {
            return;
        }
        let by_chance = self.rng.below(table.live_count() + 1) < dropped.len();
        let talked_of = dropped.iter().filter(|d| d.talked_of).count().min(AT_ONCE);
        for _ in 0..talked_of.max(usize::from(by_chance)) {
            let dropped = &mut self.notes.hearsay.dropped;
            let next = dropped.iter().position(|d| d.talked_of).unwrap_or(0);
            let Some(d) = dropped.remove(next) else { return };
            let to = d.at;
            dropped.push_back(Dropped { talked_of: false, ..d });
            self.open_join(now, to, None);
        }
    }

    /// Contacts all that were taken off the list since then: we could reach nobody.
    pub(super) fn contact_dropped(&mut self, now: Instant, since: Instant) {
        let dropped = self.notes.hearsay.dropped.iter();
        let all: Vec<SocketAddr> = dropped.filter(|d| d.since >= since).map(|d| d.at).collect();
        for to in all {
            self.open_join(now, to, None);
        }
    }

    /// Somebody says that a member lives which is held for dead and forgotten here. If it does, it
    /// must hear of that: nobody but it can come back from there.
    pub(super) fn challenge(&mut self, claim: &Claim, grave: (Version, State)) {
        if !claim.state().is_live() {
            return;
        }
        let sought = !self.broken(Bug::DroppedNotSought);
        let dropped = &mut self.notes.hearsay.dropped;
        if let Some(d) = dropped.iter_mut().find(|d| d.id == claim.id()) {
            d.talked_of = sought;
        }
        let by = self.me.id;
        let statement = match grave.1 {
            State::Failed => Statement::Failed { by },
            State::Left => Statement::Left { by, prune: false },
            State::Alive | State::Suspect => return,
        };
        if !self.may_react() {
            return;
        }
        let (to, mut record) = (claim.record.addr, Arc::clone(&claim.record));
        if grave.0 > record.version && !self.broken(Bug::ChallengedBelow) {
            // It must go above that, not above what it says already.
            Arc::make_mut(&mut record).version = grave.0;
        }
        let message = Message::Claim(Claim { record, statement });
        self.transmit(Outgoing::Message { to, message, known: None });
    }
}
