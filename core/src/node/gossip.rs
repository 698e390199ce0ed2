//! Dissemination: a queue of claims, one per member, the newest wins (SWIM §4.1).
//!
//! News leaves at once to a few members, as far as the rate allows; the gossip tick carries the
//! repeats; pings and acks carry what fits beside them.

use alloc::{sync::Arc, vec::Vec};
use core::time::Duration;

use super::{Node, Outgoing, Timer};
use crate::{
    identity::NodeId, math::retransmit_limit, planted::Bug, stats::Counter, time::Instant,
    wire::Packed,
};

/// The first repeats of news come after this part of the gossip interval.
const HOT_PART: u32 = 8;
/// With more news than this, as in a mass join, each is told in two rounds only: that reaches all
/// but one in 400 (1 - exp(-6)), and digests find those, at a fraction of the cost.
const DELUGE: usize = 128;

impl Node {
    /// Queues a claim for all to hear.
    pub(super) fn spread(&mut self, now: Instant, claim: &Arc<Packed>) {
        if self.queue.push(claim, self.cfg.limits.queued_claims) {
            self.stats.count(Counter::GossipDisplaced);
        }
        self.timers.set_earlier(Timer::Gossip, now + self.next_round());
    }

    /// The pause before the next round: short until what is new has been told twice, since one
    /// round of a rumour leaves some without it.
    fn next_round(&self) -> Duration {
        let t = &self.cfg.tuning;
        let told = u32::try_from(2 * t.gossip_fanout).unwrap_or(u32::MAX);
        let hot = self.hurries() && self.queue.least_sent().is_some_and(|n| n < told);
        if hot { t.gossip_interval / HOT_PART } else { t.gossip_interval }
    }

    /// A claim came that we know: whoever sent it spreads it too.
    pub(super) fn heard_again(&mut self, claim: &Arc<Packed>) {
        if let Some(told) = self.counts_hearing() {
            self.queue.heard(claim, told, self.tellings());
        }
    }

    /// How often an item was told of which hearings count, if there is any.
    fn counts_hearing(&self) -> Option<u32> {
        let told = u32::try_from(2 * self.cfg.tuning.gossip_fanout).unwrap_or(u32::MAX);
        let counts = self.cfg.tuning.count_hearing && self.queue.len() > 0;
        (counts && self.queue.has_told(told)).then_some(told)
    }

    /// Reads what learning these claims reads, all at once: the memory of many nodes is in no
    /// cache, and reads that wait for nothing wait together. Changes nothing.
    pub(super) fn touch_claims(&self, claims: &[Arc<Packed>]) {
        self.table.touch(claims);
        if self.counts_hearing().is_some() {
            self.queue.touch(claims);
        }
    }

    /// How often an item is told, by us or in our hearing.
    fn tellings(&self) -> u32 {
        let t = &self.cfg.tuning;
        let limit = retransmit_limit(t.retransmit_mult, self.table.live_count() + 1);
        if t.count_hearing && self.queue.len() > DELUGE {
            limit.min(u32::try_from(2 * t.gossip_fanout).unwrap_or(u32::MAX))
        } else {
            limit
        }
    }

    /// Fills the rest of a datagram with queued claims.
    pub(super) fn piggyback(&mut self, to: NodeId, buf: &mut Vec<u8>) {
        let room = self.datagram_room().saturating_sub(buf.len());
        self.queue.fill(to, room, self.tellings(), buf);
        self.piggyback_rumors(buf);
    }

    /// The regular round: repeats to a few members, and to one that failed lately.
    pub(super) fn on_gossip_timer(&mut self, now: Instant) {
        self.rounds_left = self.cfg.tuning.immediate_rounds;
        if self.queue.len() == 0 {
            return;
        }
        self.gossip_round();
        let keep = self.cfg.tuning.gossip_to_dead;
        let table = &self.table;
        let lately = |id: &NodeId| table.gone_since(*id).is_some_and(|at| now.since(at) < keep);
        let dead = table.random_dead(&mut self.rng, 1, lately);
        self.gossip_to(&dead);
        self.timers.set(Timer::Gossip, now + self.next_round());
    }

    /// Does news leave before its tick?
    fn hurries(&self) -> bool {
        self.cfg.tuning.immediate_gossip && !self.broken(Bug::NewsWaits)
    }

    /// News leaves at once, at most some rounds per tick.
    pub(super) fn flush_news(&mut self) {
        let over = self.rounds_left == 0 && !self.broken(Bug::RoundsUnlimited);
        if !self.queue.fresh || !self.hurries() || over {
            return;
        }
        self.rounds_left = self.rounds_left.saturating_sub(1);
        self.gossip_round();
    }

    fn gossip_round(&mut self) {
        self.queue.fresh = false;
        let to = self.hearers(self.queue.least_sent());
        self.gossip_to(&to);
    }

    /// Whom to tell what was told so often. Of each round some follow in the ring of ids, and in
    /// every other round those after the nearest: news goes on where one of them is not there. The
    /// rest is random, and all where ids may be made up, which can be anywhere in the ring.
    pub(super) fn hearers(&mut self, told: Option<u32>) -> Vec<NodeId> {
        let t = &self.cfg.tuning;
        let (k, ring) = (t.gossip_fanout, t.ring_hearers.min(t.gossip_fanout));
        if ring == 0 || self.is_shy() || self.broken(Bug::NewsByChance) {
            return self.random_hearers(k);
        }
        let round = told.map_or(0, |n| n as usize / k);
        let followers = self.table.followers().skip(round % 2 * ring).take(ring);
        let mut to: Vec<NodeId> = followers.collect();
        let more = self.table.random_live(&mut self.rng, k - to.len(), |id| !to.contains(id));
        to.extend(more);
        to
    }

    fn gossip_to(&mut self, ids: &[NodeId]) {
        for &id in ids {
            if let Some(to) = self.table.get(id).map(|e| e.record.addr) {
                self.transmit(Outgoing::Gossip { to, id });
            }
        }
    }
}
