//! Alone: a member that hears nobody was probably cut off itself.
//!
//! It may be right to hold the others for failed, so it does; but it asks one of them after
//! another, so that it knows at once when the cut ends. What it said of others meanwhile is not
//! told any more then: it looks at them anew, and they refute at once what they hear of it.

use alloc::vec::Vec;

use super::{LocalState, Node, Timer, claims::Origin, probe::Kind, table::Entry};
use crate::{
    identity::NodeId,
    planted::Bug,
    record::{Claim, State, Statement},
    time::Instant,
};

/// Members that are looked at at once when a cut ends; a sync brings the others their turn.
const LOOKS: usize = 256;

/// Whether others are heard.
#[derive(Debug, Default)]
pub(super) struct Alone {
    /// When somebody was heard last.
    pub(super) heard: Instant,
    /// Nobody has been heard for long.
    cut_off: bool,
}

impl Node {
    /// From now on somebody should be heard.
    pub(super) fn listen(&mut self, now: Instant) {
        self.notes.alone.heard = now;
        let after = self.cfg.tuning.alone_after;
        if !after.is_zero() && !self.broken(Bug::AloneUnminded) {
            self.timers.set(Timer::Alone, now + after);
        }
    }

    /// A member answered, or pinged us from its address.
    pub(super) fn heard_somebody(&mut self, now: Instant) {
        let alone = &mut self.notes.alone;
        let since = core::mem::replace(&mut alone.heard, now);
        if core::mem::take(&mut alone.cut_off) {
            self.look_anew(now, since);
        }
    }

    /// Nobody was heard for a while: whoever answers one ping ends that. Our health plays no part,
    /// for it is bad, and what is asked is about ourselves.
    pub(super) fn on_alone_timer(&mut self, now: Instant) {
        let due = self.notes.alone.heard + self.cfg.tuning.alone_after;
        if now < due || self.state != LocalState::Running {
            self.timers.set(Timer::Alone, due.max(now + self.cfg.tuning.probe_interval));
            return;
        }
        self.timers.set(Timer::Alone, now + self.cfg.tuning.probe_interval);
        self.notes.alone.cut_off = true;
        let (live, dead) = (self.sure_count(), self.table.dead_count());
        if live + dead == 0 {
            return;
        }
        let picked = if self.rng.below(live + dead) < live {
            self.random_met(1, |_, _| true).0
        } else {
            self.table.random_dead(&mut self.rng, 1, |_| true)
        };
        if let [id] = picked[..]
            && let Some(cookie) = self.start_probe(now, id, Kind::Contact)
        {
            self.timers.stop(Timer::ProbeRepeat(cookie));
        }
    }

    /// Is this an accusation of our own while we hear nobody? The accused is told, nobody else.
    pub(super) fn keeps_quiet(&self, claim: &Claim, origin: Origin) -> bool {
        let accuses = matches!(claim.state(), State::Suspect | State::Failed);
        let alone = self.notes.alone.cut_off && !self.broken(Bug::LoneAccusesAloud);
        alone && origin == Origin::Own && accuses
    }

    /// We were cut off since then: what we came to believe of others is told to themselves only.
    fn look_anew(&mut self, now: Instant, since: Instant) {
        let me = self.me.id;
        let own = |s: Statement| matches!(s, Statement::Failed { by } if by == me);
        let lately = |id| self.table.gone_since(id).is_some_and(|at| at >= since);
        let doubted =
            |e: &&Entry| e.state() == State::Suspect || own(e.statement) && lately(e.id());
        let doubted: Vec<NodeId> = self.table.iter().filter(doubted).map(|e| e.id()).collect();
        for (i, id) in doubted.into_iter().enumerate() {
            self.queue.forget(id);
            if i < LOOKS {
                self.start_probe(now, id, Kind::Contact);
            }
        }
        self.contact_dropped(now, since);
    }
}
