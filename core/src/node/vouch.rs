//! Versions that members told of themselves: in answer to our own pings, or on a stream.
//!
//! A claim that raises a version by too much is not believed: it may be forged. But whoever missed
//! what led a member there step by step (accusations near the limit, each refuted above it) would
//! never believe it again. So what the member itself said, with the cookie of our ping and from its
//! address, may be followed. Who forges a claim that a member has moved answers in its place, until
//! the member has heard of it. So a step that the member could not go above is followed once it was
//! said a second time, some seconds later, and the address was the same all the while. At another
//! address it is followed on a stream only, whose source is not forged, and once it has been gone
//! for as long; and no such step.

use alloc::collections::BTreeMap;
use core::{net::SocketAddr, time::Duration};

use super::{Node, Timer, probe::Kind};
use crate::{
    identity::{NodeId, Version},
    merge::{plausible, plausible_when_moved},
    planted::Bug,
    record::{Claim, Record, State},
    time::Instant,
    wire::Sender,
};

/// Longer than a member that lives and hears what is wrong about it takes to refute it.
pub(super) const GONE_FOR: Duration = Duration::from_secs(5);

/// Of members whose version here is too far behind; others need no voucher.
#[derive(Debug, Default)]
pub(super) struct Vouched(BTreeMap<NodeId, Voucher>);

/// What a member said.
#[derive(Debug)]
struct Voucher {
    version: Version,
    /// When it said so first, at the address that it has.
    since: Instant,
    /// Claims may follow it.
    holds: bool,
}

impl Vouched {
    /// What was said does not count any more: the member has moved, or is at what we know.
    pub(super) fn forget(&mut self, id: NodeId) {
        self.0.remove(&id);
    }
}

impl Node {
    /// A member answered our ping.
    pub(super) fn vouch(&mut self, now: Instant, from: SocketAddr, s: Sender) {
        let Some(e) = self.table.get(s.id) else { return };
        let known = e.record.version;
        if e.record.addr != from {
            return;
        }
        if plausible(known, s.version) {
            self.security.vouched.forget(s.id);
            return;
        }
        let since = self.security.vouched.0.get(&s.id).map_or(now, |v| v.since);
        let holds = plausible_when_moved(known, s.version) || now.since(since) >= GONE_FOR;
        self.note_voucher(s.id, Voucher { version: s.version, since, holds });
    }

    /// A member speaks for itself on a stream from the address that it says it has.
    pub(super) fn vouch_for_moved(&mut self, now: Instant, r: &Record) {
        let Some(since) = self.table.gone_since(r.id) else { return };
        let far = |e: &super::table::Entry| {
            !plausible(e.record.version, r.version)
                && plausible_when_moved(e.record.version, r.version)
        };
        if now.since(since) >= GONE_FOR
            && self.table.get(r.id).is_some_and(far)
            && !self.broken(Bug::MovedNotFollowed)
        {
            let voucher = Voucher { version: r.version, since: now, holds: true };
            self.note_voucher(r.id, voucher);
        }
    }

    fn note_voucher(&mut self, id: NodeId, voucher: Voucher) {
        // Rare, so this is the time to drop what is not needed any more.
        let table = &self.table;
        let behind = |id: &NodeId, v: &mut Voucher| {
            table.get(*id).is_some_and(|e| !plausible(e.record.version, v.version))
        };
        self.security.vouched.0.retain(behind);
        self.security.vouched.0.insert(id, voucher);
    }

    /// A member spoke to us whose version is too far ahead to be believed: it is asked, and its
    /// answer vouches for it. Else that would wait for its turn among the failed.
    pub(super) fn ask_for_voucher(&mut self, now: Instant, from: SocketAddr, s: Sender) {
        let far = |e: &super::table::Entry| {
            e.record.addr == from
                && e.record.version < s.version
                && !self.believable(s.id, e.record.version, s.version)
        };
        if self.table.get(s.id).is_some_and(far) && !self.is_probed(s.id) && self.may_react() {
            self.start_probe(now, s.id, Kind::Contact);
        }
    }

    /// A member that is held for gone is said to live, too far ahead to be believed: it is asked.
    /// Else two that hold each other for gone wait until one contacts the other by chance.
    pub(super) fn ask_who_is_gone(&mut self, now: Instant, claim: &Claim) {
        let id = claim.id();
        let gone = self.table.get(id).is_some_and(|e| !e.is_live());
        let alive = claim.state() == State::Alive && !self.broken(Bug::GoneNotAsked);
        if gone
            && alive
            && !self.is_probed(id)
            && self.may_react()
            && let Some(cookie) = self.start_probe(now, id, Kind::Contact)
        {
            // Whoever forges such claims gets one packet for each out of us.
            self.timers.stop(Timer::ProbeRepeat(cookie));
        }
    }

    /// Can a claim of `incoming` follow what is known of a member?
    pub(super) fn believable(&self, id: NodeId, known: Version, incoming: Version) -> bool {
        let vouched = self.security.vouched.0.get(&id);
        plausible(known, incoming)
            || vouched.is_some_and(|v| v.holds && plausible(v.version, incoming))
            || self.broken(Bug::ImplausibleJumps)
    }
}
