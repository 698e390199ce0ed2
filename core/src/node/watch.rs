//! Watch streams: every member keeps an idle stream to a few observers. When its process dies the
//! kernel closes them, so the observers know within milliseconds, at no polling cost; and since a
//! stream has two ends, the member knows of theirs.
//!
//! A broken stream proves nothing by itself: whoever sees one looks at once, with ping, stream and
//! helpers, and what it meets is the evidence. Who observes whom follows from the ids alone
//! (rendezvous hashing, Thaler and Ravishankar 1998), so one member that comes or goes moves few
//! streams; unless some of them may be made up, for then those that were met come first.
//!
//! Invariant: `observers` and `observed` name open streams of the roles `Watched` and `Watching`,
//! and every such stream is named there; an observer is accepted exactly if its stream is.

use alloc::vec::Vec;
use core::time::Duration;
use siphasher::sip::SipHasher13;

use super::{
    LocalState, Node, Timer,
    few::Few,
    probe::Kind,
    streams::{Conn, Role},
};
use crate::{
    identity::{NodeId, Version},
    output::StreamId,
    planted::Bug,
    record::Claim,
    stats::Counter,
    time::Instant,
    wire::{Hello, Message, Reject, Sender},
};

/// Observers are picked this long after the members changed, or up to twice as long.
const SETTLE: Duration = Duration::from_millis(500);
/// A watch that did not work is tried again after the first; the wait doubles up to the second.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));
/// The watched side says this often that it is still there: a host that vanished without a word
/// must not keep a stream for ever.
const BEAT: Duration = Duration::from_secs(60);
/// An observer gives up a stream after so many beats that did not come.
const BEATS_MISSED: u32 = 3;
/// Looks after broken streams, per probe interval: breaking streams must not make us flood others.
const LOOKS: u32 = 8;

#[derive(Debug)]
#[repr(C)]
pub(super) struct Watches {
    /// Probes so far: every other one is for an observer.
    pub(super) turn: usize,
    /// By who observes us.
    observers: Few<NodeId, Observer>,
    /// Streams we accepted, by whom we observe.
    observed: Few<NodeId, StreamId>,
    retry: Duration,
    /// An observer of which there is only talk could not be reached: those that were met come
    /// first, for as long as the best by their ids were not all met.
    shy: bool,
    looks_left: u32,
    /// Who did not accept, and when they are tried again.
    failed: (Vec<NodeId>, Instant),
}

/// Whom we asked to observe us.
#[derive(Clone, Copy, Debug)]
struct Observer {
    /// The stream we opened.
    stream: StreamId,
    /// It does: its stream has a generation of it ([`Role::Watched`]).
    accepted: bool,
}

impl Default for Watches {
    fn default() -> Self {
        let (observers, observed) = (Few::with_room(USUAL), Few::with_room(USUAL));
        let failed = (Vec::new(), Instant::ZERO);
        let (retry, looks_left) = (RETRY.0, LOOKS);
        Self { observers, observed, retry, shy: false, failed, looks_left, turn: 0 }
    }
}

/// Members that observe this one, or that it observes: mostly no more.
const USUAL: usize = 8;

/// How much `member` wants to be observed by `observer`: all agree on it.
fn weight(member: NodeId, observer: NodeId) -> u64 {
    let mut both = [0; 32];
    both[..16].copy_from_slice(member.as_bytes());
    both[16..].copy_from_slice(observer.as_bytes());
    SipHasher13::new_with_keys(0x71_75_6f_72_61_74_65, 6).hash(&both)
}

impl Node {
    /// The members that observe this one over an open stream.
    pub fn observers(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.watches.observers.iter().filter(|(_, o)| o.accepted).map(|(id, _)| *id)
    }

    /// Does what is kept of the observers say the same as their streams?
    #[cfg(test)]
    pub(super) fn observers_agree(&self) -> bool {
        let role = |o: &Observer| self.conns.get(&o.stream).map(|c| &c.role);
        let met = |o: &Observer| matches!(role(o), Some(Role::Watched { met: Some(_), .. }));
        self.watches.observers.values().all(|o| o.accepted == met(o))
    }

    /// Does that member observe this one, or will soon?
    pub(super) fn is_observer(&self, id: NodeId) -> bool {
        self.watches.observers.contains_key(&id)
    }

    /// Is that member observed over an open stream?
    pub(super) fn observes(&self, id: NodeId) -> bool {
        self.watches.observed.contains_key(&id)
    }

    /// The members that should observe this one: by their ids, or those first that were met.
    fn best_observers(&self, met_first: bool) -> Vec<NodeId> {
        let k = self.cfg.tuning.observers;
        let mut best: Vec<(bool, u64, NodeId)> = Vec::with_capacity(k + 1);
        for e in self.table.live() {
            let id = e.id();
            let later = met_first && self.is_unmet(id);
            let w = (!later, weight(self.me.id, id), id);
            if best.len() < k || best.last().is_some_and(|last| w > *last) {
                let at = best.partition_point(|x| *x > w);
                best.insert(at, w);
                best.truncate(k);
            }
        }
        best.into_iter().map(|(_, _, id)| id).collect()
    }

    /// Observers will be picked anew, soon.
    fn arm_watch(&mut self, now: Instant) {
        if self.cfg.tuning.observers > 0 && self.state == LocalState::Running {
            let spread = SETTLE * u32::try_from(self.rng.below(64)).unwrap_or(0) / 64;
            // A watch that did not work is tried again much later: that is no reason to wait.
            let later = |at| at > now + 2 * SETTLE && !self.broken(Bug::WatchWaits);
            if self.timers.at(Timer::Watch).is_none_or(later) {
                self.timers.set(Timer::Watch, now + SETTLE + spread);
            }
        }
    }

    /// Who need not observe us any more. Whoever does goes on until others do in its place: those
    /// that should may be unreachable, or made up. And one of the `best` may still accept.
    fn dispensable(&self, wanted: &[NodeId], best: &[NodeId]) -> Vec<NodeId> {
        let serving: Vec<NodeId> = self.observers().collect();
        let replaced = serving.iter().filter(|id| wanted.contains(id)).count();
        let mut vacant = self.cfg.tuning.observers.saturating_sub(replaced);
        if self.broken(Bug::ObserversLetGo) {
            vacant = 0;
        }
        let mut stays = |id: &NodeId| {
            if wanted.contains(id) || !serving.contains(id) {
                return wanted.contains(id) || best.contains(id);
            }
            let stays = vacant > 0;
            vacant -= usize::from(stays);
            stays
        };
        self.watches.observers.keys().filter(|id| !stays(id)).copied().collect()
    }

    /// Closes the streams of those who need not observe us, opens those that are missing.
    pub(super) fn on_watch_timer(&mut self, now: Instant) {
        let best = self.best_observers(false);
        if self.waits_for_talk() {
            self.watches.shy = !self.broken(Bug::UnmetAwaited);
        } else if best.iter().all(|id| !self.is_unmet(*id)) {
            self.watches.shy = false;
        }
        let shy = self.watches.shy;
        let wanted = if shy { self.best_observers(true) } else { best.clone() };
        for id in self.dispensable(&wanted, &best) {
            self.watches.observers.remove(&id).into_iter().for_each(|o| self.dismiss(o.stream));
        }
        let again = now >= self.watches.failed.1;
        self.watches.failed.0.retain(|id| !again && wanted.contains(id));
        for observer in wanted {
            if self.watches.observers.contains_key(&observer) {
                continue;
            }
            if self.watches.failed.0.contains(&observer) {
                self.timers.set_earlier(Timer::Watch, self.watches.failed.1);
                continue;
            }
            let Some(to) = self.table.get(observer).map(|e| e.record.addr) else { continue };
            let role = Role::Watched { observer, met: None };
            match self.open(now, to, role, self.cfg.tuning.stream_timeout) {
                Some(stream) => {
                    let fresh = Observer { stream, accepted: false };
                    self.watches.observers.insert(observer, fresh);
                }
                None => self.retry_watch(now, None),
            }
        }
        if !shy && self.waits_for_talk() {
            // Whoever is there accepts within a round trip or two, if no packet is lost.
            self.timers.set_earlier(Timer::Watch, now + 2 * SETTLE);
        }
    }

    /// Was somebody of whom there is only talk not to be reached?
    pub(super) const fn is_shy(&self) -> bool {
        self.watches.shy
    }

    /// Is an observer waited for of which there is only talk?
    fn waits_for_talk(&self) -> bool {
        let open = |id| self.observers().any(|o| o == id);
        self.watches.observers.keys().any(|id| self.is_talk(*id) && !open(*id))
    }

    /// It was met: should it rather be an observer than another one?
    pub(super) fn watch_met(&mut self, now: Instant) {
        if self.watches.shy {
            self.arm_watch(now);
        }
    }

    /// `observer` did not accept, or there was no room to ask: later, again.
    fn retry_watch(&mut self, now: Instant, observer: Option<NodeId>) {
        if self.state == LocalState::Running && !self.broken(Bug::WatchNotRenewed) {
            let again = now + self.watches.retry;
            self.timers.set_if_idle(Timer::Watch, again);
            self.watches.retry = (self.watches.retry * 2).min(RETRY.1);
            let (failed, at) = &mut self.watches.failed;
            if failed.is_empty() {
                *at = again;
            }
            failed.extend(observer.filter(|id| !failed.contains(id)));
        }
    }

    /// Still here.
    pub(super) fn on_beat_timer(&mut self, now: Instant) {
        let observers: Vec<Observer> = self.watches.observers.values().copied().collect();
        if observers.is_empty() {
            return;
        }
        for o in observers.into_iter().filter(|o| o.accepted) {
            self.say(o.stream, &[Message::Beat(())]);
        }
        self.timers.set(Timer::Beat, now + BEAT);
    }

    /// Somebody wants to be observed.
    pub(super) fn on_watch_hello(&mut self, now: Instant, id: StreamId, h: Hello, target: NodeId) {
        let (member, version) = (h.record.id, h.record.version);
        if let Some(remote) = self.conns.get(&id).map(|c| c.remote) {
            self.introduced(now, &h.record, remote, true);
        }
        let known = |e: &super::table::Entry| {
            e.is_live() && e.record.version.generation == version.generation
        };
        let known = self.table.get(member).is_some_and(known);
        let w = &self.watches.observed;
        let most =
            if self.broken(Bug::WatchesUncapped) { usize::MAX } else { self.cfg.limits.watches };
        let room = w.contains_key(&member) || w.len() < most;
        let room = room && self.cfg.tuning.observers > 0;
        if target != self.me.id || !known || !room {
            self.stats.count(Counter::WatchesRefused);
            self.say(id, &[Message::Reject(Reject::Unavailable)]);
            self.close(id);
            return;
        }
        if let Some(c) = self.conns.get_mut(&id) {
            c.role = Role::Watching { member };
        }
        if let Some(old) = self.watches.observed.insert(member, id) {
            self.dismiss(old);
        }
        self.say(id, &[Message::Watching(self.sender())]);
        self.on_beat(now, id);
        self.expect_ping(now, member);
    }

    /// The observed member is there.
    pub(super) fn on_beat(&mut self, now: Instant, id: StreamId) {
        let missed = if self.broken(Bug::BeatUnminded) { u32::MAX / 60 } else { BEATS_MISSED };
        self.timers.set(Timer::Stream(id), now + BEAT * missed);
    }

    /// An observer has accepted.
    pub(super) fn on_watching(&mut self, now: Instant, id: StreamId, s: Sender) {
        let Some(Conn { role: Role::Watched { observer, met }, .. }) = self.conns.get_mut(&id)
        else {
            return;
        };
        if *observer != s.id {
            self.fail(now, id, crate::output::JoinError::NotQuorate);
            return;
        }
        *met = Some(s.version.generation);
        let asked = self.watches.observers.get_mut(&s.id).filter(|o| o.stream == id);
        asked.into_iter().for_each(|o| o.accepted = true);
        self.met(now, s.id);
        self.timers.stop(Timer::Stream(id));
        self.watches.retry = RETRY.0;
        if self.watches.observers.len() > self.cfg.tuning.observers {
            self.arm_watch(now);
        }
        self.timers.set_if_idle(Timer::Beat, now + BEAT);
    }

    /// What is known of a member changed from `before` (its version, and whether it was live).
    pub(super) fn watch_changed(
        &mut self,
        now: Instant,
        before: Option<(Version, bool)>,
        claim: &Claim,
    ) {
        let (id, live) = (claim.id(), claim.state().is_live());
        let was_live = before.is_some_and(|b| b.1);
        let generation = claim.version().generation;
        let reborn = before.is_some_and(|b| b.0.generation < generation);
        if !live || reborn {
            // Streams of an earlier life are as dead as it is, whether or not we were told.
            self.watches.observed.remove(&id).into_iter().for_each(|s| self.dismiss(s));
            let met = |o: &Observer| match self.conns.get(&o.stream).map(|c| &c.role) {
                Some(Role::Watched { met, .. }) => *met,
                _ => None,
            };
            let old = |o: &Observer| !live || met(o).is_some_and(|g| g < generation);
            if let Some(o) = self.watches.observers.get(&id).copied().filter(old) {
                self.watches.observers.remove(&id);
                self.dismiss(o.stream);
            }
        }
        if live != was_live || reborn {
            self.arm_watch(now);
        }
    }

    /// Ends a watch stream on purpose: the other side need not worry.
    fn dismiss(&mut self, id: StreamId) {
        let connected = match self.conns.get(&id).map(|c| &c.role) {
            Some(Role::Watched { met, .. }) => met.is_some(),
            Some(_) => true,
            None => return,
        };
        if connected {
            if !self.broken(Bug::DoneNotSaid) {
                self.say(id, &[Message::Done(())]);
            }
            self.close(id);
        } else {
            self.abort(id);
        }
    }

    /// Closes a watch stream that is to be opened anew.
    pub(super) fn renew_watch(&mut self, now: Instant, id: StreamId) {
        self.watches.observers.retain(|_, o| o.stream != id);
        self.watches.observed.retain(|_, s| *s != id);
        self.dismiss(id);
        self.arm_watch(now);
    }

    /// We leave: nobody need watch us, and we watch nobody.
    pub(super) fn end_watches(&mut self) {
        self.timers.stop(Timer::Watch);
        self.timers.stop(Timer::Beat);
        // What we say last goes to members that are there, too.
        let ended = Watches { shy: self.watches.shy, ..Watches::default() };
        let w = core::mem::replace(&mut self.watches, ended);
        let ours = w.observers.into_values().map(|o| o.stream);
        for id in ours.chain(w.observed.into_values()) {
            self.dismiss(id);
        }
    }

    /// A watch stream is gone, and not because we ended it. `told`: the other side said so first.
    pub(super) fn watch_ended(&mut self, now: Instant, role: &Role, told: bool) {
        let conns = &self.conns;
        let (other, established) = match *role {
            Role::Watched { observer, met } => {
                self.watches.observers.retain(|_, o| conns.contains_key(&o.stream));
                let vain = met.is_none() && !told && self.is_talk(observer);
                self.watches.shy |= vain && !self.broken(Bug::UnmetAwaited);
                self.retry_watch(now, Some(observer).filter(|_| met.is_none()));
                (observer, met.is_some())
            }
            Role::Watching { member } => {
                self.watches.observed.retain(|_, s| conns.contains_key(s));
                (member, true)
            }
            _ => return,
        };
        if established && !told && !self.broken(Bug::BreakUnminded) {
            self.stats.count(Counter::WatchesBroken);
            self.look_at(now, other);
        }
    }

    /// Its process may just have died: ask it, its kernel and others at once.
    fn look_at(&mut self, now: Instant, id: NodeId) {
        let live = self.table.get(id).is_some_and(|e| e.is_live());
        let over = self.watches.looks_left == 0 && !self.broken(Bug::LooksUnlimited);
        if self.state != LocalState::Running || !live || over {
            return;
        }
        self.watches.looks_left = self.watches.looks_left.saturating_sub(1);
        if let Some(cookie) = self.start_probe(now, id, Kind::Verify) {
            self.probe_watched(now, cookie);
        }
    }

    /// Looks may be taken again.
    pub(super) fn refill_looks(&mut self) {
        self.watches.looks_left = LOOKS;
    }
}
