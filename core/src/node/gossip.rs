//! Dissemination: a queue of claims, one per member, the newest wins (SWIM §4.1).
//!
//! News leaves at once to a few members, as far as the rate allows; the gossip tick carries the
//! repeats; pings and acks carry what fits beside them.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use core::time::Duration;

use super::{Node, Outgoing, Timer};
use crate::{
    identity::NodeId,
    math::retransmit_limit,
    record::Claim,
    time::Instant,
    wire::{self, Message},
};

/// The first repeats of news come after this part of the gossip interval.
const HOT_PART: u32 = 8;

#[derive(Debug)]
struct Item {
    /// The claim as a message, encoded once.
    bytes: Vec<u8>,
    sent: u32,
    seq: u64,
}

/// Claims to spread, least sent first, newest first among those.
#[derive(Debug, Default)]
pub(super) struct Queue {
    items: BTreeMap<NodeId, Item>,
    order: BTreeSet<(u32, core::cmp::Reverse<u64>, NodeId)>,
    seq: u64,
    /// Something was queued since the last immediate round.
    fresh: bool,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn push(&mut self, claim: &Claim) {
        let id = claim.id();
        self.forget(id);
        self.seq += 1;
        let mut bytes = Vec::new();
        wire::append_message(&Message::Claim(claim.clone()), &mut bytes);
        self.items.insert(id, Item { bytes, sent: 0, seq: self.seq });
        self.order.insert((0, core::cmp::Reverse(self.seq), id));
        self.fresh = true;
    }

    /// Somebody told us what we are telling: one telling less is needed from us.
    fn heard(&mut self, id: NodeId, told: u32, limit: u32) {
        // Two rounds of our own go out in any case: a rumour that all leave to the others dies,
        // and whoever the first wave missed would wait for the next tick.
        let Some(item) = self.items.get_mut(&id).filter(|i| i.sent >= told) else { return };
        self.order.remove(&(item.sent, core::cmp::Reverse(item.seq), id));
        item.sent += 1;
        if item.sent >= limit {
            self.items.remove(&id);
        } else {
            self.order.insert((item.sent, core::cmp::Reverse(item.seq), id));
        }
    }

    /// How often the item that went out least did so.
    fn least_sent(&self) -> Option<u32> {
        self.order.first().map(|(sent, _, _)| *sent)
    }

    pub(super) fn forget(&mut self, id: NodeId) {
        if let Some(i) = self.items.remove(&id) {
            self.order.remove(&(i.sent, core::cmp::Reverse(i.seq), id));
        }
    }

    /// Appends what fits into `room` bytes; each item goes out at most `limit` times.
    fn fill(&mut self, to: NodeId, room: usize, limit: u32, out: &mut Vec<u8>) {
        /// Items looked at for one packet: a long queue must not make packets slow.
        const SCAN: usize = 64;
        let end = out.len() + room;
        let mut taken = Vec::new();
        for &(sent, seq, id) in self.order.iter().take(SCAN) {
            let Some(item) = self.items.get(&id) else { continue };
            // Nobody needs news about itself; accusations are told directly.
            if id != to && out.len() + item.bytes.len() <= end {
                out.extend_from_slice(&item.bytes);
                taken.push((sent, seq, id));
            }
        }
        for key in taken {
            self.order.remove(&key);
            let (sent, seq, id) = key;
            if sent + 1 >= limit {
                self.items.remove(&id);
            } else if let Some(item) = self.items.get_mut(&id) {
                item.sent = sent + 1;
                self.order.insert((sent + 1, seq, id));
            }
        }
    }
}

impl Node {
    /// Queues a claim for all to hear.
    pub(super) fn spread(&mut self, now: Instant, claim: &Claim) {
        self.queue.push(claim);
        self.timers.set_earlier(Timer::Gossip, now + self.next_round());
    }

    /// The pause before the next round: short until what is new has been told twice, since one
    /// round of a rumour leaves some without it.
    fn next_round(&self) -> Duration {
        let t = &self.cfg.tuning;
        let told = u32::try_from(2 * t.gossip_fanout).unwrap_or(u32::MAX);
        let hot = t.immediate_gossip && self.queue.least_sent().is_some_and(|n| n < told);
        if hot { t.gossip_interval / HOT_PART } else { t.gossip_interval }
    }

    /// A claim came that we know: whoever sent it spreads it too.
    pub(super) fn heard_again(&mut self, claim_body: &[u8]) {
        if let Some(id) = claim_body.first_chunk::<16>()
            && self.cfg.tuning.count_hearing
        {
            let limit =
                retransmit_limit(self.cfg.tuning.retransmit_mult, self.table.live().len() + 1);
            let told = u32::try_from(2 * self.cfg.tuning.gossip_fanout).unwrap_or(u32::MAX);
            self.queue.heard(NodeId::from_bytes(*id), told, limit);
        }
    }

    /// Fills the rest of a datagram with queued claims.
    pub(super) fn piggyback(&mut self, to: NodeId, buf: &mut Vec<u8>) {
        let room = self.datagram_room().saturating_sub(buf.len());
        let limit = retransmit_limit(self.cfg.tuning.retransmit_mult, self.table.live().len() + 1);
        self.queue.fill(to, room, limit, buf);
        self.piggyback_rumors(buf);
    }

    /// The regular round: repeats to a few members, and to one that failed lately.
    pub(super) fn on_gossip_timer(&mut self, now: Instant) {
        self.rounds_left = self.cfg.tuning.immediate_rounds;
        self.replies_left = super::REPLIES_PER_TICK;
        if self.queue.len() == 0 {
            return;
        }
        self.gossip_round();
        let keep = self.cfg.tuning.gossip_to_dead;
        let table = &self.table;
        let lately = |id: &NodeId| table.get(*id).is_some_and(|e| now.since(e.since) < keep);
        let dead = self.rng.pick(table.dead(), 1, lately);
        self.gossip_to(&dead);
        self.timers.set(Timer::Gossip, now + self.next_round());
    }

    /// News leaves at once, at most some rounds per tick.
    pub(super) fn flush_news(&mut self) {
        if !self.queue.fresh || !self.cfg.tuning.immediate_gossip || self.rounds_left == 0 {
            return;
        }
        self.rounds_left -= 1;
        self.gossip_round();
    }

    fn gossip_round(&mut self) {
        self.queue.fresh = false;
        let k = self.cfg.tuning.gossip_fanout;
        let to = self.table.random_live(&mut self.rng, k, |_| true);
        self.gossip_to(&to);
    }

    fn gossip_to(&mut self, ids: &[NodeId]) {
        for &id in ids {
            if let Some(to) = self.table.get(id).map(|e| e.record.addr) {
                self.transmit(Outgoing::Gossip { to, id });
            }
        }
    }
}
