//! Hedged connections (Dean and Barroso 2013): a kernel repeats a lost SYN after 1, 3 and 7 s,
//! which is long when it holds up a join. So a connection that does not come is tried again beside
//! the first, and whichever is there first does the work.
//!
//! The first stream keeps its role, deadline and place in `syncing` until a further one takes
//! over. Invariant: timer and further streams are there only while the first is and does not
//! connect; whatever becomes of it, `end_hedges` comes along.

use alloc::vec::Vec;

use super::{
    Node, Timer,
    streams::{Conn, Role},
};
use crate::{output::StreamId, planted::Bug, time::Instant};

/// Connections beside the first one. The pause doubles with each: at 500 ms they begin at 0.5, 1.5
/// and 3.5 s.
pub(super) const MOST: usize = 3;

impl Node {
    /// A stream was opened whose work somebody waits for.
    pub(super) fn arm_hedge(&mut self, now: Instant, id: StreamId, further: usize) {
        let wait = self.cfg.tuning.connect_hedge * (1 << further.min(MOST));
        if !wait.is_zero() && further < MOST && !self.broken(Bug::NotHedged) {
            self.timers.set(Timer::Hedge(id), now + wait);
        }
    }

    /// Where half of the streams are in use, others need the rest.
    pub(super) fn is_busy(&self) -> bool {
        self.conns.len() * 2 >= self.cfg.limits.streams
    }

    /// It is still not connected: else the timer would have ended.
    pub(super) fn on_hedge_timer(&mut self, now: Instant, id: StreamId) {
        let busy = self.is_busy();
        let Some(c) = self.conns.get_mut(&id).filter(|_| !busy) else { return };
        c.hedges += 1;
        let (to, further) = (c.remote, c.hedges);
        let limit = self.cfg.tuning.stream_timeout;
        if self.open(now, to, Role::Hedging { of: id }, limit).is_some() {
            self.arm_hedge(now, id, further);
        }
    }

    fn hedges_of(&self, first: StreamId) -> impl Iterator<Item = StreamId> {
        let its = move |c: &Conn| matches!(c.role, Role::Hedging { of } if of == first);
        self.conns.iter().filter(move |(_, c)| its(c)).map(|(id, _)| *id)
    }

    /// Ends the connections that were tried beside `first`.
    pub(super) fn end_hedges(&mut self, first: StreamId) {
        self.timers.stop(Timer::Hedge(first));
        let all: Vec<StreamId> = self.hedges_of(first).collect();
        for id in all {
            self.abort(id);
        }
    }

    /// A stream that we opened is connected. False: it is not needed any more.
    pub(super) fn connected(&mut self, id: StreamId) -> bool {
        let Some(c) = self.conns.get_mut(&id) else { return false };
        c.connected = true;
        let Role::Hedging { of: first } = c.role else {
            if c.role.is_hedged() {
                self.end_hedges(id);
            }
            return true;
        };
        let Some(c) = self.conns.get_mut(&first) else { return false };
        let role = core::mem::replace(&mut c.role, Role::Hedging { of: first });
        if let Some(c) = self.conns.get_mut(&id) {
            c.role = role;
        }
        self.syncing.takes_over(first, id);
        self.end_hedges(first);
        true
    }
}
