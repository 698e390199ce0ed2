//! Queries: what an application asks members, and their answers, straight to whom asked.
//!
//! A query spreads as events do. Each member that it asks replies to the origin's address in the
//! member list, and repeats that until the origin confirms it: at 30% loss that brings more
//! answers home than copies through relays (Serf's `relay_factor`), and asks no work of others.
//!
//! Guarantees: nobody replies to a stranger, so a forged query makes nobody flood anybody; what
//! waits has a cap, an answer a size, and a reply at most so many repeats.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    sync::Arc,
    vec::Vec,
};
use core::{net::SocketAddr, time::Duration};

use super::{
    Node, Outgoing, Timer,
    rumors::{Met, Window},
};
use crate::{
    event::{
        ANSWER_BYTES, ASKED_QUERIES, Answer, EventId, OWN_QUERIES, QUERY_TIMEOUT_MS, Query,
        QueryFilter, QueryReceipt, QueryReply,
    },
    identity::NodeId,
    math::retransmit_limit,
    output::{CommandError, CommandOutcome, Event},
    planted::Bug,
    stats::Counter,
    time::Instant,
    wire::Message,
};

/// An unconfirmed reply is repeated this often,
const REPEAT: Duration = Duration::from_millis(200);
/// and sent so many times altogether.
const SENT_MAX: u32 = 6;
/// A query that does not say how long waits so many gossip intervals per decimal digit of the
/// number of members (Serf's).
const TIMEOUT_ROUNDS: u32 = 16;
/// More answers to one query are dropped.
const ANSWERS_MAX: usize = 4096;

/// A query of ours.
#[derive(Debug)]
struct Own {
    expected: usize,
    /// Who heard it, or answered.
    acks: BTreeSet<NodeId>,
    answers: BTreeSet<NodeId>,
}

/// A query of somebody else, or of our own as one of those asked.
#[derive(Debug)]
struct Asked {
    origin: NodeId,
    answered: bool,
    /// What is not confirmed yet.
    reply: Option<Option<Answer>>,
    sent: u32,
}

#[derive(Debug, Default)]
pub(super) struct Queries {
    own: BTreeMap<EventId, Own>,
    asked: BTreeMap<EventId, Asked>,
    seen: Window<()>,
}

impl Queries {
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.own.is_empty() && self.asked.is_empty()
    }
}

/// What [`crate::Command::Query`] says.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) name: String,
    pub(super) payload: Vec<u8>,
    pub(super) filter: QueryFilter,
    pub(super) ack: bool,
    pub(super) timeout_ms: u32,
}

impl Node {
    // ---- asking ----

    pub(super) fn ask(
        &mut self,
        now: Instant,
        q: Question,
    ) -> Result<CommandOutcome, CommandError> {
        let open = self.user.queries.own.len();
        if open >= OWN_QUERIES {
            return Err(CommandError::EventsBusy(open));
        }
        let Question { filter, ack, .. } = q;
        let (id, name, payload) = self.new_rumor(q.name, q.payload, filter.bytes())?;
        let timeout_ms = self.query_timeout(q.timeout_ms);
        let time = self.tick()?;
        let origin = self.me.id;
        let query = Query { time, id, origin, timeout_ms, ack, filter, name, payload };
        let live = self.table.live();
        let expected = live.filter(|e| query.filter.takes(&e.record)).count()
            + usize::from(query.filter.takes(&self.me));
        self.stats.count(Counter::Queries);
        let (acks, answers) = (BTreeSet::new(), BTreeSet::new());
        self.user.queries.own.insert(id, Own { expected, acks, answers });
        self.timers.set(Timer::QueryEnd(id), now + Duration::from_millis(u64::from(timeout_ms)));
        self.user.queries.seen.insert(query.key(), ());
        self.spread_rumor(now, query.key(), &Message::Query(query.clone()));
        self.be_asked(now, query);
        self.end_if_complete(id);
        Ok(CommandOutcome::Fired { id, time })
    }

    fn query_timeout(&self, wanted_ms: u32) -> u32 {
        let (min, max) = QUERY_TIMEOUT_MS;
        let rounds = retransmit_limit(TIMEOUT_ROUNDS, self.table.live_count() + 1);
        let usual = self.cfg.tuning.gossip_interval * rounds;
        let ms = if wanted_ms == 0 { usual.as_millis() } else { u128::from(wanted_ms) };
        u32::try_from(ms).unwrap_or(max).clamp(min, max)
    }

    pub(super) fn on_query_reply(&mut self, from: SocketAddr, r: QueryReply) {
        if self.known_at(r.from, from).is_none() {
            self.stats.count(Counter::StrayReply);
            return;
        }
        // Also one that comes too late: it need not be repeated.
        let receipt = QueryReceipt { id: r.id, from: self.me.id, answer: r.answer.is_some() };
        let (message, known) = (Message::QueryReceipt(receipt), Some(r.from));
        self.transmit(Outgoing::Message { to: from, message, known });
        self.take_reply(r);
    }

    fn take_reply(&mut self, r: QueryReply) {
        let Some(own) = self.user.queries.own.get_mut(&r.id) else {
            self.stats.count(Counter::StrayReply);
            return;
        };
        if own.acks.len() >= ANSWERS_MAX && !own.acks.contains(&r.from) {
            self.stats.count(Counter::QueriesDropped);
            return;
        }
        own.acks.insert(r.from);
        if let Some(answer) = r.answer
            && own.answers.insert(r.from)
        {
            let (id, from, payload) = (r.id, r.from, answer.into_inner());
            self.event(Event::QueryAnswer { id, from, payload });
            self.end_if_complete(id);
        }
    }

    fn end_if_complete(&mut self, id: EventId) {
        if self.user.queries.own.get(&id).is_some_and(|o| o.answers.len() >= o.expected) {
            self.on_query_end(id);
        }
    }

    /// All have answered, or time is up.
    pub(super) fn on_query_end(&mut self, id: EventId) {
        self.timers.stop(Timer::QueryEnd(id));
        if let Some(Own { expected, acks, answers }) = self.user.queries.own.remove(&id) {
            let (acks, answers) = (acks.len(), answers.len());
            self.event(Event::QueryDone { id, acks, answers, expected });
        }
    }

    // ---- being asked ----

    /// A query, from gossip.
    pub(super) fn on_query(&mut self, now: Instant, q: Query) {
        if !q.is_sound() {
            self.stats.count(Counter::DropMalformed);
            return;
        }
        let key = q.key();
        match self.user.queries.seen.met(&key) {
            Met::New => {}
            Met::Known => return self.heard_rumor(key),
            Met::Old => return self.stats.count(Counter::OldEvents),
        }
        // A stranger is not answered. If it only is not known yet, the query will come again.
        let member = self.table.get(q.origin).is_some_and(|e| e.is_live());
        if !member && !self.broken(Bug::StrangersQuery) {
            self.stats.count(Counter::QueriesDropped);
            return;
        }
        if !self.witness(key.0, true) {
            return;
        }
        self.user.queries.seen.insert(key, ());
        self.spread_rumor(now, key, &Message::Query(q.clone()));
        self.be_asked(now, q);
    }

    fn be_asked(&mut self, now: Instant, q: Query) {
        if !q.filter.takes(&self.me) {
            return;
        }
        let full = self.user.queries.asked.len() >= ASKED_QUERIES;
        if full && !self.broken(Bug::QueriesUncapped) {
            self.stats.count(Counter::QueriesDropped);
            return;
        }
        let (id, origin) = (q.id, q.origin);
        let ms = q.timeout_ms.clamp(QUERY_TIMEOUT_MS.0, QUERY_TIMEOUT_MS.1);
        self.timers.set(Timer::Asked(id), now + Duration::from_millis(u64::from(ms)));
        let asked = Asked { origin, answered: false, reply: None, sent: 0 };
        self.user.queries.asked.insert(id, asked);
        if q.ack {
            self.reply_to_query(now, id, None);
        }
        self.event(Event::QueryReceived { query: Arc::new(q) });
    }

    pub(super) fn answer_query(
        &mut self,
        now: Instant,
        id: EventId,
        payload: Vec<u8>,
    ) -> Result<CommandOutcome, CommandError> {
        let len = payload.len();
        let answer = Answer::new(payload).map_err(|_| CommandError::AnswerTooLarge(len))?;
        let asked = self.user.queries.asked.get_mut(&id).filter(|a| !a.answered);
        asked.ok_or(CommandError::UnknownQuery(id))?.answered = true;
        self.reply_to_query(now, id, Some(answer));
        Ok(CommandOutcome::Done)
    }

    fn reply_to_query(&mut self, now: Instant, id: EventId, answer: Option<Answer>) {
        let from = self.me.id;
        let Some(asked) = self.user.queries.asked.get_mut(&id) else { return };
        if asked.origin == from {
            self.take_reply(QueryReply { id, from, answer });
            return;
        }
        (asked.reply, asked.sent) = (Some(answer), 0);
        self.on_query_reply_timer(now, id);
    }

    /// Sends a reply that is not confirmed.
    pub(super) fn on_query_reply_timer(&mut self, now: Instant, id: EventId) {
        let (from, lazy) = (self.me.id, self.broken(Bug::ReplyNotRepeated));
        let Some(asked) = self.user.queries.asked.get_mut(&id) else { return };
        // Where nobody may be, and the address may be somebody else's, nothing is repeated.
        let unmet = self.notes.hearsay.is_unmet(&self.table, asked.origin);
        let once = unmet || lazy;
        let most = if once { 1 } else { SENT_MAX };
        let Some(answer) = asked.reply.clone().filter(|_| asked.sent < most) else { return };
        asked.sent += 1;
        let origin = self.table.get(asked.origin).filter(|e| e.is_live());
        if let Some(to) = origin.map(|e| e.record.addr) {
            let message = Message::QueryReply(QueryReply { id, from, answer });
            self.transmit(Outgoing::Message { to, message, known: None });
        }
        self.timers.set(Timer::QueryReply(id), now + REPEAT);
    }

    pub(super) fn on_query_receipt(&mut self, from: SocketAddr, r: QueryReceipt) {
        let known = self.known_at(r.from, from);
        let asked = self.user.queries.asked.get_mut(&r.id).filter(|a| known == Some(a.origin));
        match asked {
            Some(a) if a.reply.as_ref().is_some_and(|x| x.is_some() == r.answer) => {
                a.reply = None;
                self.timers.stop(Timer::QueryReply(r.id));
            }
            Some(_) => {}
            None => self.stats.count(Counter::StrayReply),
        }
    }

    /// Nobody waits for an answer any more.
    pub(super) fn on_asked_end(&mut self, id: EventId) {
        self.timers.stop(Timer::QueryReply(id));
        self.user.queries.asked.remove(&id);
    }
}

const _: () = assert!(ANSWER_BYTES + 128 < 1400, "an answer fits a datagram");
