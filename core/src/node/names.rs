//! Names: one live member has a name, and when two do, all agree on which of them gives way.
//!
//! A record says the member's *turn*: how many holders of its name are known to have come before.
//! A newcomer takes it at the end of its first exchange, one above the highest turn that it was
//! told of under its name. That is a logical clock of the name (Lamport 1978): who took the name
//! knowing of an earlier holder is behind it, on whatever side of a partition, after whatever
//! restarts, and without any clock. Between holders that did not know of each other the lower id
//! decides.
//!
//! Invariant: only a member that was met alive takes a name away: hearsay does not.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::time::Duration;

use super::{
    LocalState, Node, Timer,
    probe::Kind,
    streams::{Conn, Role},
};
use crate::{
    identity::{NodeId, Version},
    output::{Event, StreamId},
    planted::Bug,
    record::{Claim, Record},
    stats::Counter,
    time::Instant,
    wire::{Hello, Message, Reject},
};

/// A senior holder is looked at this long after it was heard of, then this often: its record and
/// ours may be those of lives that have just begun.
const DOUBT: Duration = Duration::from_secs(1);
/// A join under a taken name waits this long for news of the holder.
const HOLDER_WAIT: Duration = Duration::from_secs(8);
/// Joins that wait at once.
const WAITING: usize = 16;
/// Bytes kept of a join that waits.
pub(super) const WAITING_BYTES: usize = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Names {
    /// Our turn is taken: an exchange with others is over.
    settled: bool,
    /// The turn of an earlier life of ours.
    earlier: u32,
    /// A member with an earlier turn at our name; an answer of it settles the matter.
    senior: Option<NodeId>,
    /// A join may wait (see [`Role::AwaitName`]); else there is no need to look for one.
    holding: bool,
}

impl Node {
    /// Our first exchange is over: whoever is known to have had our name came before.
    pub(super) fn take_turn(&mut self, now: Instant) {
        if self.notes.names.settled || self.state != LocalState::Running {
            return;
        }
        self.notes.names.settled = true;
        let before = self.table.named(&self.me.name).map(|e| e.record.turn.saturating_add(1)).max();
        self.publish_turn(now, before.unwrap_or(0).max(self.notes.names.earlier));
    }

    fn publish_turn(&mut self, now: Instant, turn: u32) {
        let Version { generation, incarnation } = self.me.version;
        let Some(incarnation) = incarnation.checked_add(1) else { return };
        if turn == self.me.turn || self.broken(Bug::TurnNotTaken) {
            return;
        }
        let mut me = (*self.me).clone();
        me.turn = turn;
        self.me = me.into();
        self.publish(now, Version { generation, incarnation });
    }

    /// Our own record of another life came back. It may come after our turn is taken: whom we met
    /// first may have put our present record in its place already.
    pub(super) fn remember_turn(&mut self, now: Instant, r: &Record) {
        if r.name != self.me.name || r.version.generation == self.me.version.generation {
            return;
        }
        self.notes.names.earlier = self.notes.names.earlier.max(r.turn);
        let late = self.notes.names.settled && !self.broken(Bug::LateTurnLost);
        if late && r.turn > self.me.turn {
            self.publish_turn(now, r.turn);
        }
    }

    /// What is believed of a member changed: does it concern its name?
    pub(super) fn name_changed(&mut self, now: Instant, claim: &Claim) {
        if claim.state().is_live() {
            if claim.record.name == self.me.name {
                self.timers.set_if_idle(Timer::NameRival, now + DOUBT);
            }
        } else if self.waiting_for(claim.id()).next().is_some() {
            self.timers.set(Timer::NameFree, now);
        }
    }

    /// A live member has had our name for longer: is it really there?
    pub(super) fn on_rival_timer(&mut self, now: Instant) {
        let live = |e: &&super::table::Entry| e.is_live() && e.record.is_senior_to(&self.me);
        let seniors = self.table.named(&self.me.name).filter(live);
        let first = seniors.min_by_key(|e| (e.record.turn, e.record.id)).map(|e| e.record.id);
        self.notes.names.senior = first;
        if let Some(id) = first
            && self.state == LocalState::Running
        {
            if self.broken(Bug::HearsayTakesNames) {
                self.holder_answered(now, id);
            }
            self.start_probe(now, id, Kind::Verify);
            self.timers.set(Timer::NameRival, now + DOUBT);
        }
    }

    /// A member answered: it lives, and keeps its name.
    pub(super) fn holder_answered(&mut self, now: Instant, id: NodeId) {
        if self.notes.names.holding {
            let waiting: Vec<StreamId> = self.waiting_for(id).collect();
            for stream in waiting {
                self.refuse_name(stream);
            }
            let waits = |c: &Conn| matches!(c.role, Role::AwaitName { .. });
            self.notes.names.holding = self.conns.values().any(waits);
        }
        if self.notes.names.senior != Some(id)
            || self.state != LocalState::Running
            || self.broken(Bug::LoserStays)
        {
            return;
        }
        let Some(holder) = self.table.get(id).map(|e| Arc::clone(&e.record)) else { return };
        if holder.name == self.me.name && holder.is_senior_to(&self.me) {
            self.stats.count(Counter::NamesLost);
            self.event(Event::NameLost { holder });
            self.begin_leave(now);
        }
    }

    // ---- joins under a taken name ----

    /// May one more join wait for news of this holder?
    pub(super) fn can_hold_join(&self, holder: NodeId) -> bool {
        let waiting = self.conns.values().filter(|c| matches!(c.role, Role::AwaitName { .. }));
        holder != self.me.id && waiting.count() < WAITING && !self.broken(Bug::HolderNotProbed)
    }

    /// A join under the name of a live member waits until that one was looked at.
    pub(super) fn hold_join(&mut self, now: Instant, id: StreamId, h: Hello, holder: NodeId) {
        let Some(c) = self.conns.get_mut(&id) else { return };
        c.role = Role::AwaitName { hello: Box::new(h), holder, held: 0 };
        self.notes.names.holding = true;
        self.stats.count(Counter::JoinsHeld);
        self.timers.set(Timer::Stream(id), now + HOLDER_WAIT);
        self.start_probe(now, holder, Kind::Verify);
    }

    fn waiting_for(&self, id: NodeId) -> impl Iterator<Item = StreamId> + '_ {
        let waits =
            move |c: &Conn| matches!(c.role, Role::AwaitName { holder, .. } if holder == id);
        self.conns.iter().filter(move |(_, c)| waits(c)).map(|(id, _)| *id)
    }

    /// Bytes came for a stream; `true`: its join waits, and they wait with it.
    pub(super) fn holds_bytes(&mut self, id: StreamId, more: usize) -> bool {
        let endless = self.broken(Bug::WaitingUncapped);
        let Some(Conn { role: Role::AwaitName { held, .. }, .. }) = self.conns.get_mut(&id) else {
            return false;
        };
        *held += more;
        if *held > WAITING_BYTES && !endless {
            self.refuse_name(id);
        }
        true
    }

    /// The holder lives, or it is not known in time whether it does. `false`: no join waits there.
    pub(super) fn refuse_name(&mut self, id: StreamId) -> bool {
        let Some(Conn { role: Role::AwaitName { holder, .. }, .. }) = self.conns.get(&id) else {
            return false;
        };
        let holder = *holder;
        let addr = self.table.get(holder).map_or(self.me.addr, |e| e.record.addr);
        self.say(id, &[Message::Reject(Reject::NameTaken { holder, addr })]);
        self.close(id);
        true
    }

    /// Holders of names are gone: who waited for that goes on.
    pub(super) fn on_name_free_timer(&mut self, now: Instant) {
        let live = |id: NodeId| self.table.get(id).is_some_and(|e| e.is_live());
        let waits = |c: &Conn| matches!(c.role, Role::AwaitName { holder, .. } if !live(holder));
        let free: Vec<StreamId> =
            self.conns.iter().filter(|(_, c)| waits(c)).map(|(id, _)| *id).collect();
        for id in free {
            let Some(c) = self.conns.get_mut(&id) else { continue };
            let role = core::mem::replace(&mut c.role, Role::AwaitHello);
            if let Role::AwaitName { hello, .. } = role {
                self.timers.set(Timer::Stream(id), now + self.cfg.tuning.stream_timeout);
                self.on_hello(now, id, *hello);
                self.on_data(now, id, &[]);
            }
        }
    }
}
