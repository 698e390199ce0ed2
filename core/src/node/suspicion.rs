//! Suspicion (SWIM §4.2) with Lifeguard's timeout (§IV.B): long without confirmation, short with
//! it. Evidence of the kernel changes the patience: see [`Evidence`].

use alloc::{sync::Arc, vec::Vec};
use core::time::Duration;

use super::{Node, Outgoing, Timer, claims::Origin, probe::Kind};
use crate::{
    identity::NodeId,
    math::{suspicion_timeout, times_log10},
    planted::Bug,
    record::{Claim, Evidence, State, Statement},
    stats::Counter,
    time::Instant,
    wire::Packed,
};

/// A suspicion runs at most so much longer, for a bad health of ours, a member that flaps or was
/// slow: nine times the patience with a mute member would be more than two minutes.
const LONGER: Duration = Duration::from_secs(30);
/// One in so many looks once more at a member that is mute.
const MUTE_LOOKS: usize = 8;

#[derive(Debug)]
pub(super) struct Suspicion {
    started: Instant,
    evidence: Evidence,
    /// Helpers of the first accuser that met nothing either.
    witnesses: u32,
    /// Who accuses, the first one first.
    accusers: Vec<NodeId>,
    /// The last look was taken.
    looked: bool,
}

/// Which evidence decides when two accusers met different things: a host that refuses has the
/// last word, then one that accepts; silence may be the accuser's own cable.
const fn weight(e: Evidence) -> u8 {
    match e {
        Evidence::Silent => 0,
        Evidence::Mute => 1,
        Evidence::Refused => 2,
    }
}

impl Node {
    /// Accuses a member that did not answer, and tells it so.
    pub(super) fn accuse(&mut self, now: Instant, id: NodeId, evidence: Evidence, witnesses: u8) {
        let Some(e) = self.table.get(id).filter(|e| e.is_live()) else { return };
        self.stats.count(Counter::Suspicions);
        let by = self.me.id;
        let statement = Statement::Suspect { by, evidence, witnesses };
        let claim = Claim { record: e.record.clone(), statement };
        self.learn_claim(now, claim, Origin::Own);
        // The accusation rides on the ping: the accused refutes at once, if it can.
        if !self.broken(Bug::AccusedNotTold) {
            self.contact_accused(now, id, evidence);
        }
    }

    /// Pings an accused member; again and again only where packets may get lost. One that is slow
    /// gets slower with each packet that it has to read before the accusation.
    fn contact_accused(&mut self, now: Instant, id: NodeId, evidence: Evidence) {
        let cookie = self.start_probe(now, id, Kind::Contact);
        if let Some(cookie) = cookie.filter(|_| evidence == Evidence::Mute) {
            self.timers.stop(Timer::ProbeRepeat(cookie));
        }
    }

    /// A member has just become suspect.
    pub(super) fn suspect(
        &mut self,
        now: Instant,
        id: NodeId,
        by: NodeId,
        evidence: Evidence,
        witnesses: u8,
    ) {
        let told = if self.broken(Bug::WitnessesUncounted) { 0 } else { witnesses };
        let witnesses = u32::from(told).min(self.cfg.tuning.suspicion_confirmations);
        let accusers = alloc::vec![by];
        let s = Suspicion { started: now, evidence, witnesses, accusers, looked: false };
        self.suspicions.insert(id, s);
        self.time_suspicion(now, id);
    }

    fn time_suspicion(&mut self, now: Instant, id: NodeId) {
        let Some(s) = self.suspicions.get(&id) else { return };
        let base = self.base_patience(s);
        let graded = self.cfg.tuning.graded_evidence;
        let (mute, refused) =
            (graded && s.evidence == Evidence::Mute, graded && s.evidence == Evidence::Refused);
        let own = s.accusers.first() == Some(&self.me.id) && !refused;
        let own = if own { self.patient(base) } else { base };
        // One reason to wait longer or several: no more than this.
        let most = if self.broken(Bug::ReasonsAddUp) { Duration::MAX } else { base + LONGER };
        let longer = self.damped(s.started, id, own, mute).min(most);
        let patience = longer + self.hearsay_grace(id);
        let at = (s.started + patience).max(now);
        self.timers.set(Timer::Suspicion(id), at);
        if s.evidence != Evidence::Refused && !s.looked && self.cfg.tuning.last_look > 0 {
            let before = patience.saturating_sub(self.cfg.tuning.probe_interval);
            self.timers.set(Timer::LastLook(id), (s.started + before).max(now));
        }
    }

    /// Whoever did not hear the refutation would be the one to declare the failure, and all would
    /// believe it: so each looks for itself once more before its patience ends. The accusation
    /// rides on the ping, the refutation on the ack.
    pub(super) fn on_last_look(&mut self, now: Instant, id: NodeId) {
        let n = self.table.live_count() + 1;
        let Some(s) = self.suspicions.get_mut(&id) else { return };
        s.looked = true;
        let evidence = s.evidence;
        let most = self.cfg.tuning.last_look;
        let few = evidence == Evidence::Mute && !self.broken(Bug::SlowLookedAt);
        let wanted = if few { most.div_ceil(MUTE_LOOKS) } else { most };
        if self.rng.below(n) < wanted && !self.broken(Bug::LastLookNotTaken) {
            self.contact_accused(now, id, evidence);
        }
    }

    /// Another accuser of a member that is suspect already. Is that news?
    pub(super) fn confirm(
        &mut self,
        now: Instant,
        claim: &Arc<Packed>,
        by: NodeId,
        evidence: Evidence,
    ) -> bool {
        let k = self.cfg.tuning.suspicion_confirmations as usize;
        let (id, deaf) = (claim.id(), self.broken(Bug::AccusersUncounted));
        let Some(s) = self.suspicions.get_mut(&id) else { return false };
        let stronger = weight(evidence) > weight(s.evidence);
        let news = !s.accusers.contains(&by) && s.accusers.len() <= k && !deaf;
        if stronger {
            s.evidence = evidence;
            s.started = now;
        }
        if news {
            s.accusers.push(by);
        }
        if !stronger && !news {
            return false;
        }
        self.time_suspicion(now, id);
        self.spread(now, claim);
        true
    }

    /// All suspicions run `gap` longer; their timers were moved already.
    pub(super) fn put_suspicions_off(&mut self, gap: Duration) {
        for s in self.suspicions.values_mut() {
            s.started = s.started + gap;
        }
    }

    pub(super) fn drop_suspicion(&mut self, id: NodeId) {
        if self.suspicions.remove(&id).is_some() {
            self.timers.stop(Timer::Suspicion(id));
            self.timers.stop(Timer::LastLook(id));
        }
    }

    /// How long a suspicion runs from its start, if nothing speaks for more.
    fn base_patience(&self, s: &Suspicion) -> Duration {
        let t = &self.cfg.tuning;
        let p = match s.evidence {
            Evidence::Refused if t.graded_evidence && !self.broken(Bug::RefusedAsSilent) => {
                return t.refused_grace;
            }
            Evidence::Mute if t.graded_evidence && !self.broken(Bug::MuteAsSilent) => t.mute,
            _ => t.silent,
        };
        let n = self.table.live_count() + 1;
        let (min, max) = if t.patience_by_size {
            (times_log10(p.min, n), times_log10(p.max, n))
        } else {
            (p.min, p.max)
        };
        // In a small cluster there are not enough others to confirm.
        let k =
            t.suspicion_confirmations.min(u32::try_from(n).unwrap_or(u32::MAX).saturating_sub(2));
        let others = u32::try_from(s.accusers.len()).unwrap_or(u32::MAX).saturating_sub(1);
        suspicion_timeout(min, max, s.witnesses + others, k)
    }

    /// Nobody spoke up in time.
    pub(super) fn on_suspicion_end(&mut self, now: Instant, id: NodeId) {
        self.drop_suspicion(id);
        if self.broken(Bug::SuspicionNeverFires) {
            return;
        }
        let Some(e) = self.table.get(id).filter(|e| e.state() == State::Suspect) else { return };
        let record = e.record.clone();
        if self.disbelieve(now, id) {
            return;
        }
        self.stats.count(Counter::FailuresDeclared);
        let to = record.addr;
        let claim = Claim { record, statement: Statement::Failed { by: self.me.id } };
        self.learn_claim(now, claim, Origin::Own);
        // If it lives after all, it should hear of it first.
        self.transmit(Outgoing::Claim { to, about: id });
    }
}
