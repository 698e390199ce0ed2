//! Members that are not known here and are said to be further ahead than is believed of a stranger.
//!
//! A claim about somebody unknown is believed up to the step that every member answers, for its
//! subject must be able to go above it. But a member can have been led further, by one claim of
//! such a step to itself, and whoever came later would never list it. So it is asked: what it says
//! itself, from the address that the claim names, twice and some seconds apart, is believed. It may
//! be somebody else who answers there. A member that lives and can be reached is spoken of by
//! others meanwhile, at its own address: then the wait begins anew.

use alloc::{collections::BTreeMap, sync::Arc};
use core::{net::SocketAddr, time::Duration};

use super::{Node, Outgoing, claims::Origin, vouch::GONE_FOR};
use crate::{
    identity::{NodeId, Version},
    merge::plausible,
    planted::Bug,
    stats::Counter,
    time::Instant,
    wire::{Cookie, Packed},
};

/// Strangers that are asked about at once.
const MOST: usize = 32;
/// Between two questions to one of them.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// One that nobody spoke of for so long makes room for another one.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct Strangers(BTreeMap<NodeId, Stranger>);

#[derive(Debug)]
struct Stranger {
    /// What is said of it.
    claim: Arc<Packed>,
    /// Of the ping that was not answered yet.
    cookie: Option<Cookie>,
    asked: Instant,
    /// When it said so itself for the first time.
    answered: Option<Instant>,
}

impl Strangers {
    /// It is known now.
    pub(super) fn forget(&mut self, id: NodeId) {
        self.0.remove(&id);
    }

    /// Is there room for one more? Whoever was not spoken of for long makes some.
    fn has_room(&mut self, now: Instant) -> bool {
        if self.0.len() >= MOST {
            self.0.retain(|_, s| now.since(s.asked) < FORGOTTEN_AFTER);
        }
        self.0.len() < MOST
    }
}

impl Node {
    /// A stranger is said to live, too far ahead to be believed: it is asked.
    pub(super) fn ask_stranger(&mut self, now: Instant, claim: &Arc<Packed>) {
        if !claim.is_live() || self.broken(Bug::StrangerNotAsked) {
            return;
        }
        let (id, to) = (claim.id(), claim.record.addr);
        let held = self.security.strangers.0.get(&id).filter(|s| s.claim.record.addr == to);
        let (asked, answered) = held.map_or((None, None), |s| (Some(s.asked), s.answered));
        let wait = answered.map_or(ASK_EVERY, |_| GONE_FOR);
        if asked.is_some_and(|at| now.since(at) < wait) {
            return;
        }
        if asked.is_none() {
            self.security.strangers.forget(id);
            if !self.security.strangers.has_room(now) {
                self.stats.count(Counter::DropFull);
                return;
            }
        }
        if !self.may_react() {
            return;
        }
        let cookie = self.new_cookie();
        let stranger =
            Stranger { claim: Arc::clone(claim), cookie: Some(cookie), asked: now, answered };
        self.security.strangers.0.insert(id, stranger);
        self.transmit(Outgoing::Ping { to, target: id, cookie });
    }

    /// Is this the answer of a stranger? Its second one is believed.
    pub(super) fn stranger_answered(
        &mut self,
        now: Instant,
        from: SocketAddr,
        cookie: Cookie,
        version: Version,
    ) -> bool {
        let mut all = self.security.strangers.0.values_mut();
        let Some(s) = all.find(|s| s.cookie == Some(cookie)) else { return false };
        let said = s.claim.version();
        if s.claim.record.addr != from {
            return false;
        }
        s.cookie = None;
        if !plausible(said, version) || !plausible(version, said) {
            s.answered = None;
            return true;
        }
        let since = *s.answered.get_or_insert(now);
        let claim = Arc::clone(&s.claim);
        if now.since(since) >= GONE_FOR {
            self.admit(now, &claim, Origin::Packet(from));
            self.met(now, claim.id());
        }
        true
    }
}
