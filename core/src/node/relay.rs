//! A helper's part: ping for somebody else, and say so early if nothing answers (Lifeguard's
//! nack, sent within the budget that the request carries).

use core::{net::SocketAddr, time::Duration};

use super::{Node, Outgoing, Timer, streams::Role};
use crate::{
    identity::NodeId,
    output::StreamId,
    planted::Bug,
    stats::Counter,
    time::Instant,
    wire::{self, Ack, Cookie, Mark, Message, Nack, NackReason, ProbeRequest},
};

#[derive(Debug)]
pub(super) struct Relay {
    ask: Cookie,
    asker: SocketAddr,
    target: NodeId,
    addr: SocketAddr,
    stream: Option<StreamId>,
    met: NackReason,
    /// The stream was reset, and opened once more.
    again: bool,
    nacked: bool,
    /// The target has this address here, too: it is pinged again and again, and over a stream.
    trusted: bool,
}

/// Budgets outside of this are brought into it, milliseconds.
const BUDGET_MS: (u32, u32) = (50, 10_000);

impl Node {
    pub(super) fn on_probe_request(&mut self, now: Instant, from: SocketAddr, r: ProbeRequest) {
        let stranger = self.known_at(r.from.id, from).is_none();
        if stranger && !self.broken(Bug::StrangersHelped) || r.target == self.me.id {
            // No work for strangers.
            self.stats.count(Counter::RelaysDropped);
            return;
        }
        let full = self.relays.len() >= self.cfg.limits.relays;
        if full && !self.broken(Bug::RelaysUncapped) {
            self.stats.count(Counter::RelaysDropped);
            return;
        }
        self.stats.count(Counter::Relays);
        let budget = Duration::from_millis(u64::from(r.budget_ms.clamp(BUDGET_MS.0, BUDGET_MS.1)));
        let cookie = self.new_cookie();
        let role = Role::Relaying { cookie, target: r.target };
        let graded = self.cfg.tuning.graded_evidence;
        // Whoever forges a request must not have us flood an address of its choice.
        let trusted = self.table.get(r.target).is_some_and(|e| e.record.addr == r.addr);
        let stream = (graded && trusted && !self.is_busy())
            .then(|| self.open(now, r.addr, role, budget))
            .flatten();
        let relay = Relay {
            ask: r.cookie,
            asker: from,
            target: r.target,
            addr: r.addr,
            stream,
            met: NackReason::Silent,
            again: false,
            nacked: false,
            trusted,
        };
        self.relays.insert(cookie, relay);
        self.on_relay_repeat(now, cookie);
        let late = self.broken(Bug::NackLate);
        let nack = budget * if late { 100 } else { self.cfg.tuning.nack_percent } / 100;
        self.timers.set(Timer::RelayNack(cookie), now + nack);
        self.timers.set(Timer::RelayEnd(cookie), now + budget * 2);
    }

    /// Pings for the asker, again and again until the relay ends.
    pub(super) fn on_relay_repeat(&mut self, now: Instant, cookie: Cookie) {
        let Some(r) = self.relays.get(&cookie) else { return };
        let (to, target, trusted) = (r.addr, Mark::new(cookie, r.target), r.trusted);
        let (root, from) = (self.root(), self.sender());
        let message = Message::Ping(wire::Ping { cookie, from, target, root });
        self.transmit(Outgoing::Message { to, message, known: None });
        if let Some(every) = self.repeat_every().filter(|_| trusted) {
            self.timers.set(Timer::RelayRepeat(cookie), now + every);
        }
    }

    /// An ack that belongs to a relay goes on to the asker.
    pub(super) fn relay_ack(&mut self, a: Ack) -> bool {
        let Some(r) = self.on_relay_end(a.cookie) else { return false };
        let message = Message::Ack(Ack { cookie: r.ask, version: a.version, root: 0 });
        self.transmit(Outgoing::Message { to: r.asker, message, known: None });
        true
    }

    /// As with a probe of our own: a stream that is reset is opened once more.
    pub(super) fn relay_stream_again(
        &mut self,
        now: Instant,
        cookie: Cookie,
        target: NodeId,
    ) -> bool {
        let Some(to) = self.relays.get(&cookie).filter(|r| !r.again).map(|r| r.addr) else {
            return false;
        };
        let limit = self.cfg.tuning.probe_interval;
        let stream = self.open(now, to, Role::Relaying { cookie, target }, limit);
        if let Some(r) = self.relays.get_mut(&cookie) {
            (r.stream, r.again, r.met) = (stream, true, NackReason::Silent);
        }
        if let Some(every) = self.repeat_every() {
            self.timers.set(Timer::RelayRepeat(cookie), now + every);
        }
        stream.is_some()
    }

    /// What a relay's stream or ping met. Refusals are told at once.
    pub(super) fn relay_met(&mut self, cookie: Cookie, reason: NackReason) -> bool {
        let Some(r) = self.relays.get_mut(&cookie) else { return false };
        r.met = reason;
        if reason == NackReason::Mute {
            // As with our own probes: its kernel accepts, so pings are not lost.
            self.timers.stop(Timer::RelayRepeat(cookie));
        }
        if matches!(reason, NackReason::Refused | NackReason::NotMe) {
            self.send_nack(cookie);
        }
        true
    }

    pub(super) fn on_relay_nack(&mut self, cookie: Cookie) {
        if self.relays.get(&cookie).is_some_and(|r| !r.nacked) {
            self.send_nack(cookie);
        }
    }

    fn send_nack(&mut self, cookie: Cookie) {
        let from = self.me.id;
        let Some(r) = self.relays.get_mut(&cookie) else { return };
        r.nacked = true;
        let (to, reason) = (r.asker, r.met);
        let message = Message::Nack(Nack { cookie: r.ask, from, reason });
        self.transmit(Outgoing::Message { to, message, known: None });
    }

    pub(super) fn on_relay_end(&mut self, cookie: Cookie) -> Option<Relay> {
        let r = self.relays.remove(&cookie)?;
        self.timers.stop(Timer::RelayRepeat(cookie));
        self.timers.stop(Timer::RelayNack(cookie));
        self.timers.stop(Timer::RelayEnd(cookie));
        if let Some(id) = r.stream {
            self.abort(id);
        }
        Some(r)
    }
}
