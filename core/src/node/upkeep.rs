//! The rest of a member's life: starting, finding the cluster again, contacting the failed,
//! forgetting the long gone, and coming back after the process was away.

use alloc::{collections::BTreeSet, sync::Arc, vec::Vec};
use core::{net::SocketAddr, time::Duration};

use super::{LocalState, Node, Timer, probe::Kind};
use crate::{
    bounded::BoundedVec,
    digest::fingerprint,
    identity::{NodeId, Version},
    output::{Durable, Event, KnownPeer},
    planted::Bug,
    record::State,
    stats::Counter,
    time::Instant,
};

/// Changes of the member list are written down together, this much later.
pub(super) const SAVE_PEERS_AFTER: Duration = Duration::from_secs(1);
/// Peers of an earlier run contacted at once.
const REJOIN_AT_ONCE: usize = 3;
/// Waits between rounds of contacting them double from the first to the second.
const REJOIN_WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));
/// Peers written down: enough to find the cluster again, few enough for every disk.
const PEERS_KEPT: usize = 128;
/// Deadlines are put off for lateness by this much at most, and by half of the time that passes.
const LATENESS: Duration = Duration::from_secs(30);
/// A pause costs so much of a credit that grows with time and has this limit: a process that is
/// late for ever has no excuse any more, until all of it is there again.
const PAUSES: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(64));
/// Whoever was away for so long is probably suspected, and has not long to say that it is there:
/// three seconds now and eleven more are longer than a mute member is waited for. Two seconds is
/// what all are late now and then where too many share a processor; each word goes round.
const MISSED_AFTER: Duration = Duration::from_secs(3);
/// So many that were only heard of are kept as peers in any case.
const TALK_KEPT: usize = 3;
/// Longest wait between looks for members to forget.
const REAP_EVERY: Duration = Duration::from_secs(30);

/// Peers of an earlier run.
#[derive(Debug)]
pub(super) struct Rejoin {
    /// Those that have not been met in this run.
    peers: Vec<KnownPeer>,
    began: Instant,
    next: usize,
    wait: Duration,
}

/// How far deadlines may still be put off for lateness: a process that is late for ever must find
/// out at last who died.
#[derive(Debug)]
pub(super) struct Lateness {
    credit: Duration,
    at: Instant,
    /// For pauses.
    pauses: Duration,
    paused: Instant,
    /// There were too many.
    spent: bool,
}

impl Default for Lateness {
    fn default() -> Self {
        Self {
            credit: LATENESS,
            at: Instant::ZERO,
            pauses: PAUSES.1,
            paused: Instant::ZERO,
            spent: false,
        }
    }
}

impl Lateness {
    /// As much of `gap` as there is credit for.
    pub(super) fn grant(&mut self, now: Instant, gap: Duration) -> Duration {
        self.credit = (self.credit + now.since(self.at) / 2).min(LATENESS);
        self.at = now;
        let granted = gap.min(self.credit);
        self.credit -= granted;
        granted
    }

    /// Was the process away, or is it always as late?
    pub(super) fn is_pause(&mut self, now: Instant) -> bool {
        self.pauses = (self.pauses + now.since(self.paused)).min(PAUSES.1);
        self.paused = now;
        self.spent &= self.pauses < PAUSES.1;
        if self.pauses < PAUSES.0 {
            self.spent = true;
        }
        if !self.spent {
            self.pauses -= PAUSES.0;
        }
        !self.spent
    }
}

impl Rejoin {
    pub(super) fn new(d: &Durable, after_leave: bool) -> Self {
        let wanted = !d.left || after_leave;
        let peers = d.peers.iter().filter(|_| wanted).cloned().collect();
        Self { peers, began: Instant::ZERO, next: 0, wait: REJOIN_WAIT.0 }
    }
}

impl Node {
    /// Our generation is on disk: we take part from now on.
    pub(super) fn start_running(&mut self, now: Instant, version: Version) {
        self.state = LocalState::Running;
        self.me = self.record_at(version).into();
        self.table.digest.add(fingerprint(self.me.id, version, State::Alive));
        self.revision += 1;
        // The first probes of nodes that start together should not meet.
        let t = &self.cfg.tuning;
        let (probe, reconnect) = (t.probe_interval, t.reconnect_interval);
        let first = probe * u32::try_from(self.rng.below(1000)).unwrap_or(0) / 1000;
        self.timers.set(Timer::Probe, now + first);
        self.timers.set(Timer::Reconnect, now + reconnect);
        self.arm_reap(now);
        self.listen(now);
        self.arm_full_sync(now);
        for (id, addr) in core::mem::take(&mut self.pending_joins) {
            self.open_join(now, addr, Some(id));
        }
        self.rejoin.peers.retain(|p| p.addr != self.me.addr && p.id != self.me.id);
        self.rng.shuffle(&mut self.rejoin.peers);
        self.rejoin.began = now;
        self.on_rejoin_timer(now);
        self.start_bootstrap(now);
    }

    /// Contacts peers of an earlier run: some at once until one of them is a live member, then
    /// now and then those that nobody here knows, for they may be on the other side of a cut
    /// that began before we were restarted. Given up with the failed.
    pub(super) fn on_rejoin_timer(&mut self, now: Instant) {
        let known: BTreeSet<SocketAddr> = self.table.iter().map(|e| e.record.addr).collect();
        let lost = self.broken(Bug::PeersNotContacted);
        self.rejoin.peers.retain(|p| !known.contains(&p.addr) && !lost);
        let since = now.since(self.rejoin.began);
        if self.rejoin.peers.is_empty() || since > self.cfg.tuning.reconnect_timeout {
            self.rejoin.peers = Vec::new();
            return;
        }
        let alone = self.table.live_count() == 0;
        let at_once = if alone { REJOIN_AT_ONCE } else { 1 };
        for _ in 0..at_once.min(self.rejoin.peers.len()) {
            let to = self.rejoin.peers[self.rejoin.next % self.rejoin.peers.len()].addr;
            self.rejoin.next += 1;
            self.open_join(now, to, None);
        }
        let wait = self.rejoin.wait;
        self.timers.set(Timer::Rejoin, now + wait);
        self.rejoin.wait = (wait * 2).min(REJOIN_WAIT.1);
    }

    /// Contacts a failed member, at a rate at which each of them hears from somebody about once
    /// per interval, however large the cluster is.
    pub(super) fn on_reconnect_timer(&mut self, now: Instant) {
        self.timers.set(Timer::Reconnect, now + self.cfg.tuning.reconnect_interval);
        self.retry_dropped(now);
        let (dead, live) = (self.table.dead_count(), self.sure_count() + 1);
        let chosen = dead > 0 && self.rng.below(live) < dead;
        let broken = dead > 0 && self.broken(Bug::FailedContactedByAll);
        if !chosen && !broken || self.broken(Bug::FailedNotContacted) {
            return;
        }
        if let [id] = self.table.random_dead(&mut self.rng, 1, |_| true)[..] {
            self.start_probe(now, id, Kind::Contact);
        }
    }

    fn arm_reap(&mut self, now: Instant) {
        let t = &self.cfg.tuning;
        let shortest = t.reconnect_timeout.min(t.tombstone_timeout) / 4;
        let every = shortest.clamp(Duration::from_millis(100), REAP_EVERY);
        self.timers.set(Timer::Reap, now + every);
    }

    pub(super) fn on_reap_timer(&mut self, now: Instant) {
        self.arm_reap(now);
        self.forget_flaps(now);
        let t = &self.cfg.tuning;
        let (failed, left) = (t.reconnect_timeout, t.tombstone_timeout);
        let over = |state, since| match state {
            State::Failed => now.since(since) >= failed,
            State::Left => now.since(since) >= left,
            State::Alive | State::Suspect => false,
        };
        let gone = self.table.gone().filter(|(e, since)| over(e.state(), *since));
        let gone: Vec<NodeId> = gone.map(|(e, _)| e.id()).collect();
        for id in gone {
            self.forget(id);
        }
    }

    /// Writes down whom to contact after a restart: the live, then the failed, who may be back,
    /// then those that were not met in this run: the cluster may be where they are. In a large
    /// cluster those that are written down stay, as long as they are live. Where some may be made
    /// up, no more that were only heard of than that were met: a restart must not look for the real
    /// ones among many that are not.
    pub(super) fn save_peers(&mut self) {
        let old = &self.storage.durable.peers;
        let is_live = |p: &KnownPeer| {
            self.table.get(p.id).is_some_and(|e| e.is_live() && e.record.addr == p.addr)
        };
        if old.len() == PEERS_KEPT && old.iter().all(is_live) {
            return;
        }
        let known = self.table.iter().filter(|e| e.state() != State::Left);
        let mut peers: Vec<(u8, NodeId, Option<&KnownPeer>)> = known
            .map(|e| match (e.is_live(), old.binary_search_by_key(&e.id(), |p| p.id)) {
                (true, _) if self.is_talk(e.id()) => (2, e.id(), None),
                (true, Ok(_)) => (0, e.id(), None),
                (true, Err(_)) => (1, e.id(), None),
                (false, _) => (3, e.id(), None),
            })
            .collect();
        let met = peers.iter().filter(|p| p.0 < 2).count();
        let any = !self.is_shy() || self.broken(Bug::TalkKept);
        let most = if any { usize::MAX } else { met.max(TALK_KEPT) };
        let mut talk = 0;
        peers.retain(|p| {
            talk += usize::from(p.0 == 2);
            p.0 != 2 || talk <= most
        });
        let unmet = self.rejoin.peers.iter().filter(|p| self.table.get(p.id).is_none());
        peers.extend(unmet.map(|p| (3, p.id, Some(p))));
        if peers.len() > PEERS_KEPT {
            peers.select_nth_unstable_by_key(PEERS_KEPT, |p| (p.0, p.1));
            peers.truncate(PEERS_KEPT);
        }
        peers.sort_by_key(|p| p.1);
        let peer = |(_, id, unmet): (u8, NodeId, Option<&KnownPeer>)| match unmet {
            Some(p) => Some(p.clone()),
            None => self.table.get(id).map(|e| {
                let (name, addr) = (e.record.name.clone(), e.record.addr);
                KnownPeer { id, name, addr }
            }),
        };
        let peers = BoundedVec::truncated(peers.into_iter().filter_map(peer).collect());
        if peers != **old {
            self.storage.durable.peers = Arc::new(peers);
            self.persist();
        }
    }

    /// How long ago was the first deadline?
    fn late_by(&self, now: Instant) -> Duration {
        self.timers.next().map_or(Duration::ZERO, |due| now.since(due))
    }

    /// Were deadlines missed because the process was away, or slow?
    pub(super) fn mind_lateness(&mut self, now: Instant) {
        let gap = self.late_by(now);
        if gap > self.cfg.tuning.pause_threshold {
            if self.notes.lateness.is_pause(now) {
                self.resume_after(now, gap);
            }
        } else if gap > self.cfg.tuning.lateness && !self.broken(Bug::LatenessCharged) {
            let granted = self.notes.lateness.grant(now, gap);
            self.put_off(granted);
        }
    }

    /// A member's datagram came in: a long absence is minded before it is read. What waits is more
    /// than a starved process may come to before it stands again, and deadlines come after all of
    /// it. What is forged or a replay must have no effect, so it has not this one either (S9).
    pub(super) fn mind_absence(&mut self, now: Instant) {
        if self.late_by(now) >= MISSED_AFTER && !self.broken(Bug::AwayReadsFirst) {
            self.mind_lateness(now);
        }
    }

    /// We were late by `gap`: what others did not do meanwhile is no fault of theirs. They were not
    /// listened to, and what we asked for last has hardly left.
    pub(super) fn put_off(&mut self, gap: Duration) {
        self.timers.shift(gap);
        self.put_suspicions_off(gap);
        self.notes.alone.heard = self.notes.alone.heard + gap;
    }

    /// Says that we are there before the accusation is heard: it waits behind all that came in
    /// meanwhile, and a starved process may have to stand again before it comes to that. Who said
    /// so lately is given more time, and has no need to.
    fn speak_up(&mut self, now: Instant) {
        if let Some(incarnation) = self.me.version.incarnation.checked_add(1)
            && !self.broken(Bug::AwaySaysNothing)
            && (!self.notes.flaps.spoke_lately(now, self.me.id) || self.broken(Bug::AwaySaysAgain))
        {
            self.raise(now, incarnation);
        }
    }

    /// The process was away (stopped, suspended, starved): whatever did not happen meanwhile is
    /// our own fault. Nobody is accused for it; we ask around before anything else.
    pub(super) fn resume_after(&mut self, now: Instant, gap: Duration) {
        self.stats.count(Counter::Pauses);
        if self.broken(Bug::PauseUnguarded) {
            return;
        }
        self.put_off(gap);
        self.drop_probes();
        self.worse_health();
        let gap_ms = u64::try_from(gap.as_millis()).unwrap_or(u64::MAX);
        self.event(Event::Paused { gap_ms });
        if self.state != LocalState::Running {
            return;
        }
        if gap >= MISSED_AFTER {
            self.speak_up(now);
        }
        let (ask, _) = self.random_met(3, |_, _| true);
        for id in ask {
            self.start_probe(now, id, Kind::Contact);
        }
        self.timers.set(Timer::Probe, now + self.patient(self.cfg.tuning.probe_interval));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who is late for ever runs out of credit, and so finds out who died.
    #[test]
    fn lateness_is_granted_until_its_credit_is_used_up() {
        let secs = Duration::from_secs;
        let now = Instant::ZERO + secs(100);
        let mut late = Lateness::default();
        let granted = [20, 20, 1].map(|gap| late.grant(now, secs(gap)).as_secs());
        assert_eq!(granted, [20, 10, 0], "30 s at once");
        assert_eq!(late.grant(now + secs(8), secs(20)), secs(4), "half of what passed");
        assert_eq!(late.grant(now + secs(1000), secs(60)), LATENESS, "no more is saved up");
    }
}
