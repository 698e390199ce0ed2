//! Leaving: `Left` is told to several members until some confirm it; then the process may end.

use alloc::{collections::BTreeMap, vec::Vec};
use core::{net::SocketAddr, time::Duration};

use super::{LocalState, Node, Outgoing, Timer, claims::Origin};
use crate::{
    identity::{Name, NodeId},
    output::{CommandError, Event, JoinError},
    planted::Bug,
    record::{Claim, Statement},
    stats::Counter,
    time::Instant,
    wire::{self, Cookie, LeaveAck, Message},
};

/// Confirmations that are enough.
const ENOUGH: usize = 3;
/// Members that are asked to confirm.
const ASKED: usize = 6;
/// The unconfirmed are asked again this often.
const REPEAT: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Leaving {
    unconfirmed: BTreeMap<Cookie, NodeId>,
    confirmed: usize,
    enough: usize,
}

impl Node {
    pub(super) fn begin_leave(&mut self, now: Instant) {
        self.state = LocalState::Leaving;
        self.revision += 1;
        self.storage.durable.left = true;
        self.save_peers();
        self.persist();
        self.drop_probes();
        self.timers.stop(Timer::Probe);
        self.timers.stop(Timer::Rejoin);
        self.end_watches();
        self.go_on_with_keys(now);
        for (id, addr) in core::mem::take(&mut self.pending_joins) {
            self.event(Event::JoinFinished { id, addr, result: Err(JoinError::Leaving) });
        }
        let (asked, met) = self.random_met(ASKED, |_, _| true);
        let sure = if self.is_shy() && met > 0 { met } else { asked.len() };
        let enough = sure.min(ENOUGH);
        let unconfirmed = asked.into_iter().map(|id| (self.rng.u64(), id)).collect();
        self.leaving = Some(Leaving { unconfirmed, confirmed: 0, enough });
        if enough == 0 {
            self.finish_leave(now);
            return;
        }
        if let Some(c) = self.claim_about(self.me.id) {
            self.spread(now, &c);
        }
        self.timers.set(Timer::LeaveEnd, now + self.cfg.tuning.leave_timeout);
        self.on_leave_timer(now);
    }

    pub(super) fn on_leave_timer(&mut self, now: Instant) {
        let (Some(l), Some(claim)) = (&self.leaving, self.claim_about(self.me.id)) else { return };
        let ask: Vec<(Cookie, NodeId)> = l.unconfirmed.iter().map(|(c, id)| (*c, *id)).collect();
        for (cookie, id) in ask {
            if let Some(to) = self.table.get(id).map(|e| e.record.addr) {
                let message = Message::Leave(wire::Leave { cookie, claim: (**claim).clone() });
                self.transmit(Outgoing::Message { to, message, known: None });
            }
        }
        if !self.broken(Bug::LeaveToldOnce) {
            self.timers.set(Timer::Leave, now + REPEAT);
        }
    }

    pub(super) fn on_leave_ack(&mut self, now: Instant, a: LeaveAck) {
        let Some(l) = &mut self.leaving else { return };
        if l.unconfirmed.get(&a.cookie) != Some(&a.from) {
            self.stats.count(Counter::StrayReply);
            return;
        }
        l.unconfirmed.remove(&a.cookie);
        l.confirmed += 1;
        if l.confirmed >= l.enough {
            self.finish_leave(now);
        }
    }

    pub(super) fn finish_leave(&mut self, now: Instant) {
        let Some(l) = self.leaving.take() else { return };
        // One more round: whoever confirmed tells others, and so do we, while we are here.
        self.flush_news();
        self.state = LocalState::Left;
        self.revision += 1;
        self.timers.clear();
        let open: Vec<_> = self.conns.keys().copied().collect();
        for id in open {
            self.fail(now, id, JoinError::Leaving);
        }
        self.timers.clear();
        self.event(Event::LeaveFinished { confirmed: l.confirmed });
    }

    pub(super) fn on_leave(&mut self, now: Instant, from: SocketAddr, l: wire::Leave) {
        let own = matches!(l.claim.statement, Statement::Left { by, prune: false }
            if by == l.claim.id());
        if !own || l.claim.id() == self.me.id {
            self.stats.count(Counter::DropMalformed);
            return;
        }
        self.learn_claim(now, l.claim, Origin::Packet(from));
        let message = Message::LeaveAck(LeaveAck { cookie: l.cookie, from: self.me.id });
        self.answer(from, message);
    }

    /// Says for a failed member that it has left. A live one refutes that.
    pub(super) fn force_leave(
        &mut self,
        now: Instant,
        name: Name,
        prune: bool,
    ) -> Result<(), CommandError> {
        let statement = Statement::Left { by: self.me.id, prune };
        // The dead are meant rather than a live member of the same name.
        let target = self.table.named(&name).max_by_key(|e| e.state()).map(|e| e.record.clone());
        let Some(record) = target else {
            let me = self.me.name == name;
            return Err(if me {
                CommandError::Myself(name)
            } else {
                CommandError::UnknownMember(name)
            });
        };
        let (id, to) = (record.id, record.addr);
        let claim = Claim { record, statement };
        self.learn_claim(now, claim, Origin::Own);
        if prune {
            // It may have left already: then there was nothing to learn.
            self.forget(id);
        }
        self.transmit(Outgoing::Claim { to, about: id });
        Ok(())
    }
}
