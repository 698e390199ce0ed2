//! What is believed: every claim, however it came, passes through `learn`.
//!
//! Invariants: a stored version never goes down (S1); `Failed` and `Left` become `Alive` only at
//! a higher version, also after the member was forgotten (S2); only this node raises its own
//! version (S3), and a refutation is strictly above its accusation (S6).

use alloc::sync::Arc;
use core::{net::SocketAddr, time::Duration};

use super::{LocalState, Node, Timer, probe::Kind};
use crate::{
    digest::fingerprint,
    identity::{NodeId, Version},
    merge::{Order, compare, refutable},
    output::{Event, Persist, PersistToken},
    planted::Bug,
    record::{Claim, Record, State, Statement},
    stats::Counter,
    time::Instant,
    wire::Packed,
};

/// Where a claim comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A datagram.
    Packet(SocketAddr),
    /// A stream.
    Stream {
        /// Are there others here who do not know it yet?
        spread: bool,
    },
    /// Our own conclusion, or an operator's.
    Own,
}

impl Node {
    /// As [`Node::learn`], for a claim that did not come as such.
    pub(super) fn learn_claim(&mut self, now: Instant, claim: Claim, origin: Origin) {
        self.learn(now, &Packed::new(claim), origin);
    }

    /// Weighs a claim against what is known and takes it if it is stronger.
    pub(super) fn learn(&mut self, now: Instant, claim: &Arc<Packed>, origin: Origin) {
        let id = claim.id();
        if id == self.me.id {
            self.learn_of_myself(now, claim, origin);
            return;
        }
        let known = match self.table.get(id) {
            // Gossip repeats itself: the very claim that is held came again.
            Some(e) if Arc::ptr_eq(e, claim) => {
                if matches!(origin, Origin::Packet(_)) {
                    self.heard_again(claim);
                }
                return;
            }
            Some(e) => e.rank(),
            None => {
                self.learn_of_stranger(now, claim, origin);
                return;
            }
        };
        match self.weigh(known, (claim.version(), claim.state())) {
            Order::Newer if !self.believable(id, known.0, claim.version()) => {
                self.stats.count(Counter::ImplausibleClaim);
                self.ask_who_is_gone(now, claim);
            }
            Order::Newer if claim.version() < known.0 => {
                // A `Left` of an older incarnation: it is final for its generation, so it holds
                // for what we know too, and the stored version stays (S1).
                if let Some(e) = self.table.get(id) {
                    let old = self.broken(Bug::LeftLowersVersion);
                    let record = Arc::clone(if old { &claim.record } else { &e.record });
                    let lifted = Claim { record, statement: claim.statement };
                    self.accept(now, &Packed::new(lifted), origin);
                }
            }
            Order::Newer if self.look_first(now, claim, known, origin) => {}
            Order::Newer => self.accept(now, claim, origin),
            Order::Same => {
                if let Statement::Suspect { by, evidence, .. } = claim.statement
                    && self.confirm(now, claim, by, evidence)
                {
                    return;
                }
                if matches!(origin, Origin::Packet(_)) {
                    self.heard_again(claim);
                }
            }
            Order::Older => {
                self.stats.count(Counter::StaleClaim);
                self.correct(origin, id);
            }
        }
    }

    /// The merge order, and where a test breaks it.
    fn weigh(&self, known: (Version, State), claim: (Version, State)) -> Order {
        let alive_again = |dead| known.1 == dead && claim == (known.0, State::Alive);
        if self.broken(Bug::ResurrectOnEqual) && alive_again(State::Failed)
            || self.broken(Bug::LeftOverridden) && alive_again(State::Left)
        {
            return Order::Newer;
        }
        if self.broken(Bug::MergeIgnoresGeneration) {
            let bare = |(v, s): (Version, State)| (Version { generation: 0, ..v }, s);
            return compare(bare(known), bare(claim));
        }
        compare(known, claim)
    }

    /// Whoever is behind gets what it lacks, as far as the rate allows.
    fn correct(&mut self, origin: Origin, about: NodeId) {
        if let Origin::Packet(to) = origin
            && !self.broken(Bug::StaleUncorrected)
        {
            self.correct_at(to, about);
        }
    }

    fn learn_of_stranger(&mut self, now: Instant, claim: &Arc<Packed>, origin: Origin) {
        let id = claim.id();
        if let Some(grave) = self.table.tombstone(id)
            && (compare(grave, (claim.version(), claim.state())) != Order::Newer
                || claim.version() < grave.0)
        {
            self.stats.count(Counter::StaleClaim);
            self.challenge(claim, grave);
            return;
        }
        // No subject refutes a higher generation, and nobody else could take it back.
        if !refutable(Version::default(), claim.version()) {
            self.stats.count(Counter::ImplausibleClaim);
            self.ask_stranger(now, claim);
            return;
        }
        self.admit(now, claim, origin);
    }

    /// Takes up a member that is not known, if there is room.
    pub(super) fn admit(&mut self, now: Instant, claim: &Arc<Packed>, origin: Origin) {
        if self.is_full() && !self.make_room() {
            self.stats.count(Counter::DropFull);
            return;
        }
        self.accept(now, claim, origin);
    }

    pub(super) fn is_full(&self) -> bool {
        self.table.len() + 1 >= self.cfg.limits.members
    }

    /// Forgets the member that is gone for longest.
    pub(super) fn make_room(&mut self) -> bool {
        let oldest = self.table.gone().min_by_key(|(_, since)| *since).map(|(e, _)| e.id());
        if let Some(id) = oldest {
            self.forget(id);
        }
        oldest.is_some()
    }

    /// The claim is the truth from now on.
    pub(super) fn accept(&mut self, now: Instant, claim: &Arc<Packed>, origin: Origin) {
        let id = claim.id();
        let before = self.table.get(id).map(Arc::clone);
        if before.is_none() {
            // From now on its grave, if it gets one, is above what was said of it.
            self.security.strangers.forget(id);
        }
        let moved = before.as_ref().is_some_and(|b| b.record.addr != claim.record.addr);
        if moved {
            self.security.vouched.forget(id);
        }
        self.table.put(claim, now, &mut self.rng);
        self.revision += 1;
        if !matches!(origin, Origin::Stream { spread: false }) && !self.keeps_quiet(claim, origin) {
            self.spread(now, claim);
        }
        self.changed(now);
        match claim.statement {
            Statement::Suspect { .. } => {}
            _ => self.drop_suspicion(id),
        }
        let was = before.as_ref().map(|b| (b.version(), b.is_live()));
        self.watch_changed(now, was, claim);
        let (was, is) = (before.as_ref().map(|b| b.state()), claim.state());
        self.heard_of(id, was, is);
        if moved && is.is_live() {
            self.has_moved(id);
        }
        self.count_flap(now, id, was, is);
        if before.as_ref().is_some_and(|b| is_refutation(b, claim)) {
            self.spoke_up(now, id);
        }
        if !is.is_live() {
            self.forget_degraded(id);
        }
        self.announce(claim, before);
        self.name_changed(now, claim);
        self.track_server(now, claim);
        match claim.statement {
            Statement::Alive => self.settle_name(now, &claim.record),
            Statement::Suspect { by, evidence, witnesses } => {
                self.suspect(now, id, by, evidence, witnesses);
            }
            Statement::Left { .. } if self.broken(Bug::TombstonePrunedAtOnce) => {
                self.table.remove(id, 0);
            }
            Statement::Left { prune: true, .. } => self.forget(id),
            Statement::Failed { .. } | Statement::Left { .. } => {}
        }
    }

    /// Says as events what a claim changed (S7).
    fn announce(&mut self, claim: &Claim, before: Option<Arc<Packed>>) {
        let record = Arc::clone(&claim.record);
        let was_live = before.as_ref().is_some_and(|b| b.is_live());
        let now_live = claim.state().is_live();
        match (was_live, now_live) {
            (false, true) => self.event(Event::Alive { record: Arc::clone(&record) }),
            (true, true) => {
                if let Some(old) = &before {
                    if old.state() == State::Suspect && claim.state() == State::Alive {
                        self.event(Event::SuspicionRefuted { record: Arc::clone(&record) });
                    }
                    if published_change(&old.record, &record) {
                        self.event(Event::Updated { record: Arc::clone(&record) });
                    }
                }
            }
            _ => {}
        }
        match claim.statement {
            Statement::Suspect { by, evidence, .. } => {
                self.event(Event::Suspected { record, by, evidence });
            }
            Statement::Failed { .. } if was_live => self.event(Event::Failed { record }),
            Statement::Left { .. } if before.is_some_and(|b| b.state() != State::Left) => {
                self.event(Event::Left { record });
            }
            _ => {}
        }
    }

    /// A live member has this name now: dead holders before it are forgotten, a live one is looked
    /// at (it may be gone: a process that came back without its disk has a new id).
    fn settle_name(&mut self, now: Instant, record: &Arc<Record>) {
        let others: alloc::vec::Vec<(Arc<Record>, bool)> = self
            .table
            .named(&record.name)
            .filter(|e| e.record.id != record.id)
            .map(|e| (Arc::clone(&e.record), e.is_live()))
            .collect();
        for (holder, live) in others {
            if !live {
                // A junior one that gave the name up stays on the list as what it is: who missed
                // its leave must still be able to hear of it.
                if !record.is_senior_to(&holder) {
                    self.forget(holder.id);
                }
                continue;
            }
            // One that was only heard of is looked at in its turn, wherever it is said to be.
            if !self.is_unmet(holder.id) {
                self.start_probe(now, holder.id, Kind::Verify);
            }
            if holder.addr != record.addr {
                let other = Arc::clone(record);
                self.event(Event::NameConflict { other, holder });
            }
        }
        if record.name == self.me.name {
            let (other, holder) = (Arc::clone(record), self.me.shared());
            self.event(Event::NameConflict { other, holder });
        }
    }

    /// Takes a member off the list; its version stays remembered.
    pub(super) fn forget(&mut self, id: NodeId) {
        if let Some(e) = self.take_off(id) {
            self.event(Event::Reaped { record: Arc::clone(&e.record) });
        }
    }

    /// Takes a member off the list, with all that is kept beside it.
    pub(super) fn take_off(&mut self, id: NodeId) -> Option<Arc<Packed>> {
        self.drop_suspicion(id);
        self.vivaldi.forget(id);
        self.forget_degraded(id);
        self.forget_hearsay(id);
        self.security.vouched.forget(id);
        let (e, lost) = self.table.remove(id, self.cfg.limits.tombstones)?;
        self.stats.add(Counter::TombstonesDropped, lost);
        self.revision += 1;
        Some(e)
    }

    /// Somebody speaks of us. What is wrong is refuted at once, above what was claimed.
    fn learn_of_myself(&mut self, now: Instant, claim: &Claim, origin: Origin) {
        if self.state != LocalState::Running {
            return;
        }
        self.remember_turn(now, &claim.record);
        let (mine, theirs) = (self.me.version, claim.version());
        if theirs.generation > mine.generation {
            if self.broken(Bug::LostSelfRecord) {
                return;
            }
            // An earlier life of ours that our disk does not know of.
            if refutable(mine, theirs) || self.broken(Bug::ImplausibleJumps) {
                if theirs.generation > self.storage.durable.generation {
                    self.bootstrap_doubt(now);
                }
                self.mint_generation(theirs.generation);
            } else {
                self.stats.count(Counter::ImplausibleClaim);
            }
            return;
        }
        if compare((mine, State::Alive), (theirs, claim.state())) != Order::Newer {
            if theirs < mine || claim.state() != State::Alive {
                self.correct(origin, self.me.id);
            }
            return;
        }
        if self.broken(Bug::LastIncarnationStands) && !refutable(mine, theirs) {
            return;
        }
        let by = match claim.statement {
            Statement::Alive => self.me.id,
            Statement::Suspect { by, .. }
            | Statement::Failed { by }
            | Statement::Left { by, .. } => by,
        };
        self.refute(now, theirs, claim.state(), by);
        self.correct(origin, self.me.id);
    }

    fn refute(&mut self, now: Instant, accused: Version, state: State, by: NodeId) {
        if self.broken(Bug::NoRefutation) {
            return;
        }
        let by_incarnation = state != State::Left && refutable(self.me.version, accused);
        let incarnation = accused.incarnation.max(self.me.version.incarnation).checked_add(1);
        let incarnation = incarnation.filter(|_| by_incarnation);
        // Said already: the generation that answers it waits for the disk.
        if incarnation.is_none() && self.storage.gate.is_some_and(|(_, g)| g > accused.generation) {
            return;
        }
        self.stats.count(Counter::Refutations);
        if self.broken(Bug::RefuteWithoutRaising) {
            if let Some(c) = self.claim_about(self.me.id) {
                self.spread(now, &c);
            }
            return;
        }
        if self.broken(Bug::IncarnationWraps) && self.me.version.incarnation == 2 {
            self.publish(now, Version { incarnation: 0, ..self.me.version });
            return;
        }
        match incarnation {
            Some(incarnation) => {
                if matches!(state, State::Suspect | State::Failed) {
                    self.worse_health();
                }
                self.raise(now, incarnation);
            }
            // `Left` is final for its generation; nothing wraps. A far incarnation is believed
            // where we were unknown only, a new generation everywhere.
            None => self.mint_generation(self.me.version.generation),
        }
        // A new generation is the answer before it is on disk, and goes out once it is.
        let minted = self.storage.gate.filter(|_| incarnation.is_none()).map(|g| g.1);
        let version =
            minted.map_or(self.me.version, |generation| Version { generation, incarnation: 0 });
        self.event(Event::Refuted { by, version });
    }

    /// Says that we live, and no more. The others will take us for slow for a while.
    pub(super) fn raise(&mut self, now: Instant, incarnation: u32) {
        self.publish(now, Version { incarnation, ..self.me.version });
        self.spoke_up(now, self.me.id);
    }

    /// Our record at a new version, for all to hear.
    pub(super) fn publish(&mut self, now: Instant, version: Version) {
        debug_assert!(
            version > self.me.version || self.broken(Bug::IncarnationWraps),
            "a version only rises"
        );
        let old = self.me.version;
        self.me = self.record_at(version).into();
        self.table.digest.remove(fingerprint(self.me.id, old, State::Alive));
        self.table.digest.add(fingerprint(self.me.id, version, State::Alive));
        self.revision += 1;
        if let Some(c) = self.claim_about(self.me.id) {
            self.spread(now, &c);
        }
        self.changed(now);
    }

    /// A generation above `above` and all of ours; used once it is on disk.
    pub(super) fn mint_generation(&mut self, above: u64) {
        if self.storage.gate.is_some_and(|(_, g)| g > above) {
            return;
        }
        let Some(next) = self.storage.durable.generation.max(above).checked_add(1) else {
            self.stats.count(Counter::ImplausibleClaim);
            return;
        };
        self.storage.durable.generation = next;
        let token = self.persist();
        self.storage.gate = Some((token, next));
    }

    /// Hands what must survive to the disk; a later one replaces an earlier one.
    pub(super) fn persist(&mut self) -> PersistToken {
        self.storage.tokens += 1;
        let token = PersistToken(self.storage.tokens);
        let (state, keys) = (self.storage.durable.clone(), self.keyring().cloned());
        self.storage.waiting = Some(Persist { token, state, keys });
        token
    }

    /// The member list changed: compare digests once it is quiet, and remember the peers.
    pub(super) fn changed(&mut self, now: Instant) {
        self.syncing.change(now);
        self.arm_settle(now);
        // The first peer is written down at once: without it a crash would forget the cluster.
        let first = self.storage.durable.peers.is_empty();
        let wait = if first { Duration::ZERO } else { super::upkeep::SAVE_PEERS_AFTER };
        self.timers.set_if_idle(Timer::SavePeers, now + wait);
    }
}

/// Does a member say nothing but that it lives after all?
fn is_refutation(before: &Claim, claim: &Claim) -> bool {
    let (old, new) = (&before.record, &claim.record);
    claim.state() == State::Alive
        && new.version.generation == old.version.generation
        && new.version.incarnation > old.version.incarnation
        && new.turn == old.turn
        && !published_change(old, new)
}

/// Is anything different that others act on?
fn published_change(a: &Record, b: &Record) -> bool {
    (&a.name, a.addr, a.role, &a.tags, &a.meta) != (&b.name, b.addr, b.role, &b.tags, &b.meta)
}
