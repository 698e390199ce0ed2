//! User events: what an application tells all members, once.
//!
//! An event spreads as a rumour beside the claims, in the room that they leave. What gossip
//! missed is found by the digest of the remembered events, which is part of the digest on every
//! ping and ack and costs no bytes, and is told on the stream of a sync. Both halves of a healed
//! partition so hear of what the other one was told.
//!
//! Guarantees: a process is told an event at most once, since the window of the remembered ones
//! never takes back what fell out of it; the Lamport clock never goes down and never wraps; what
//! was told before this process met its cluster is remembered but not told.

use alloc::{string::String, sync::Arc, vec::Vec};
use core::{net::SocketAddr, time::Duration};

use super::{
    Node, Outgoing, Timer,
    query::Queries,
    rumors::{Key, Met, Rumors, Window},
    streams::Once,
};
use crate::{
    bounded::BoundedVec,
    event::{EVENT_BYTES, EVENT_QUEUE, EventId, EventName, Payload, UserEvent},
    math::retransmit_limit,
    output::{CommandError, CommandOutcome, Event, JoinError, StreamId},
    planted::Bug,
    stats::Counter,
    time::Instant,
    wire::{self, Message},
};

/// The first repeats of news come after this part of the gossip interval, as those of claims.
const HOT_PART: u32 = 8;
/// An event so much later than the clock is forged, and moves nothing.
const MAX_AHEAD: u64 = 1 << 32;
/// What this node's first contact tells may be later: its cluster may be old.
const MAX_FIRST: u64 = 1 << 62;

/// Events, and what spreads them and queries.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct User {
    /// Lamport time of the newest event or query known.
    pub(super) clock: u64,
    /// An exchange with somebody has ended: what comes from now on is news.
    met: bool,
    pub(super) rumors: Rumors,
    /// The events, and whether they were told here.
    window: Window<(Arc<UserEvent>, bool)>,
    pub(super) queries: Queries,
    /// Immediate rounds taken in this tick.
    rounds: u32,
}

impl Node {
    /// Lamport time of the newest event or query that this node knows of.
    pub const fn event_time(&self) -> u64 {
        self.user.clock
    }

    /// The newest events that this node knows of, oldest first, and whether they were told here:
    /// those of the time before were not.
    pub fn recent_events(&self) -> impl ExactSizeIterator<Item = (&Arc<UserEvent>, bool)> {
        self.user.window.iter().map(|(_, (e, told))| (e, *told))
    }

    /// Events and queries that wait to be gossiped.
    pub fn queued_events(&self) -> usize {
        self.user.rumors.len()
    }

    /// What is compared with others: members and events.
    pub(super) fn root(&self) -> u64 {
        self.table.digest.root().wrapping_add(self.user.window.digest())
    }

    /// The next Lamport time.
    pub(super) fn tick(&mut self) -> Result<u64, CommandError> {
        if self.broken(Bug::LamportWraps) && self.user.clock >= 2 {
            self.user.clock = 0;
        }
        let time = self.user.clock.checked_add(1).ok_or(CommandError::EventClock)?;
        self.user.clock = time;
        Ok(time)
    }

    /// Checks what a command names, and makes an id for it.
    pub(super) fn new_rumor(
        &mut self,
        name: String,
        payload: Vec<u8>,
        others: usize,
    ) -> Result<(EventId, EventName, Payload), CommandError> {
        let size = name.len() + payload.len() + others;
        let name = match (name.is_empty(), EventName::new(name)) {
            (true, _) => return Err(CommandError::EventName(0)),
            (_, Err(e)) => return Err(CommandError::EventName(e.len)),
            (false, Ok(name)) => name,
        };
        if size > EVENT_BYTES {
            return Err(CommandError::EventTooLarge(size));
        }
        let queued = self.user.rumors.len();
        if queued >= EVENT_QUEUE && !self.broken(Bug::EventsUncapped) {
            return Err(CommandError::EventsBusy(queued));
        }
        Ok((EventId::from_bytes(self.rng.salt()), name, BoundedVec::truncated(payload)))
    }

    pub(super) fn fire(
        &mut self,
        now: Instant,
        name: String,
        payload: Vec<u8>,
    ) -> Result<CommandOutcome, CommandError> {
        let (id, name, payload) = self.new_rumor(name, payload, 0)?;
        let time = self.tick()?;
        self.take_event(now, UserEvent { time, id, origin: self.me.id, name, payload }, true);
        Ok(CommandOutcome::Fired { id, time })
    }

    /// An event, from gossip.
    pub(super) fn on_user_event(&mut self, now: Instant, e: UserEvent) {
        self.take_event(now, e, true);
    }

    /// What streams say of events; whatever else comes there breaks the protocol.
    pub(super) fn on_event_exchange(
        &mut self,
        now: Instant,
        id: StreamId,
        m: Message,
        exchanges: bool,
    ) {
        match m {
            Message::Events(all) if exchanges => self.on_events(now, all),
            Message::EventDigest(theirs) if exchanges => {
                if self.once(now, id, Once::EventDigest) {
                    self.on_event_digest(id, theirs);
                }
            }
            Message::EventKeys(theirs) if exchanges => {
                if self.once(now, id, Once::EventKeys) {
                    self.on_event_keys(id, &theirs);
                }
            }
            _ => {
                self.stats.count(Counter::DropMalformed);
                self.fail(now, id, JoinError::NotQuorate);
            }
        }
    }

    /// Events that were missing here, on a stream.
    fn on_events(&mut self, now: Instant, all: BoundedVec<UserEvent, 64>) {
        let news = self.user.met || self.broken(Bug::PastTold);
        for e in all.into_inner() {
            self.take_event(now, e, news);
        }
    }

    /// Remembers an event, tells it here and spreads it; unless it is known, or of a time `news`
    /// says this node has no part in.
    fn take_event(&mut self, now: Instant, e: UserEvent, news: bool) {
        if !e.is_sound() {
            self.stats.count(Counter::DropMalformed);
            return;
        }
        let key = e.key();
        match self.user.window.met(&key) {
            Met::New => {}
            Met::Known if self.broken(Bug::EventToldTwice) => {
                self.event(Event::User { event: Arc::new(e) });
                return;
            }
            Met::Known => return self.heard_rumor(key),
            Met::Old if self.broken(Bug::OldEventsTold) => {}
            Met::Old => return self.stats.count(Counter::OldEvents),
        }
        if !self.witness(key.0, news) {
            return;
        }
        self.stats.count(Counter::UserEvents);
        let event = Arc::new(e);
        self.user.window.insert(key, (Arc::clone(&event), news));
        // Digests differ until all know it: that is no difference to be talked about.
        self.syncing.change(now);
        self.arm_settle(now);
        if news {
            self.spread_rumor(now, key, &Message::UserEvent((*event).clone()));
            self.event(Event::User { event });
        }
    }

    /// Moves the clock to a time that was met, unless it is absurd.
    pub(super) fn witness(&mut self, time: u64, news: bool) -> bool {
        let most = if news { self.user.clock.saturating_add(MAX_AHEAD) } else { MAX_FIRST };
        if time > most && !self.broken(Bug::FarTimesTaken) {
            self.stats.count(Counter::ImplausibleEvents);
            return false;
        }
        self.user.clock = self.user.clock.max(time);
        true
    }

    // ---- gossip ----

    fn rumor_limits(&self) -> (u32, u32) {
        let t = &self.cfg.tuning;
        let told = u32::try_from(2 * t.gossip_fanout).unwrap_or(u32::MAX);
        (told, retransmit_limit(t.retransmit_mult, self.table.live_count() + 1))
    }

    /// Somebody tells what we are telling.
    pub(super) fn heard_rumor(&mut self, key: Key) {
        if self.cfg.tuning.count_hearing {
            let (told, limit) = self.rumor_limits();
            self.user.rumors.heard(key, told, limit);
        }
    }

    pub(super) fn spread_rumor(&mut self, now: Instant, key: Key, m: &Message) {
        let mut bytes = Vec::new();
        wire::append_message(m, &mut bytes);
        if !self.user.rumors.push(key, bytes) {
            self.stats.count(Counter::QueueOverflow);
        }
        self.timers.set_earlier(Timer::UserGossip, now + self.next_user_round());
    }

    /// Short until what is new has been told twice, as for claims.
    fn next_user_round(&self) -> Duration {
        let t = &self.cfg.tuning;
        let told = self.rumor_limits().0;
        let hot = t.immediate_gossip && self.user.rumors.least_sent().is_some_and(|n| n < told);
        if hot { t.gossip_interval / HOT_PART } else { t.gossip_interval }
    }

    /// Fills the rest of a datagram with queued events and queries.
    pub(super) fn piggyback_rumors(&mut self, buf: &mut Vec<u8>) {
        if self.user.rumors.len() > 0 {
            let room = self.datagram_room().saturating_sub(buf.len());
            let (_, limit) = self.rumor_limits();
            self.user.rumors.fill(room, limit, buf);
        }
    }

    pub(super) fn on_user_gossip_timer(&mut self, now: Instant) {
        self.user.rounds = 0;
        if self.table.live_count() == 0 {
            // Nobody to tell; who comes hears of it by the digest.
            self.user.rumors.clear();
        }
        if self.user.rumors.len() > 0 {
            self.rumor_round();
            self.timers.set(Timer::UserGossip, now + self.next_user_round());
        }
    }

    /// News leaves at once, at most some rounds per tick.
    pub(super) fn flush_rumors(&mut self) {
        let t = &self.cfg.tuning;
        if self.user.rumors.fresh && t.immediate_gossip && self.user.rounds < t.immediate_rounds {
            self.user.rounds += 1;
            self.rumor_round();
        }
    }

    fn rumor_round(&mut self) {
        self.user.rumors.fresh = false;
        for id in self.hearers(self.user.rumors.least_sent()) {
            if let Some(to) = self.table.get(id).map(|e| e.record.addr) {
                self.transmit(Outgoing::Gossip { to, id });
            }
        }
    }

    // ---- streams ----

    /// What is said of events when a stream begins: on a join all of them, on a sync their digest.
    pub(super) fn tell_events(&self, join: bool, out: &mut Vec<Message>) {
        if join {
            self.push_events(|_| true, out);
        } else if self.user.window.len() > 0 {
            out.push(Message::EventDigest(self.user.window.digest()));
        }
    }

    fn push_events(&self, want: impl Fn(&Key) -> bool, out: &mut Vec<Message>) {
        let wanted = self.user.window.iter().filter(|(key, _)| want(key));
        let all: Vec<UserEvent> = wanted.map(|(_, (e, _))| (**e).clone()).collect();
        let frame = |part: &[UserEvent]| Message::Events(BoundedVec::truncated(part.to_vec()));
        out.extend(all.chunks(64).map(frame));
    }

    /// The other side of a sync remembers other events: it is told which we do.
    fn on_event_digest(&mut self, id: StreamId, theirs: u64) {
        if theirs != self.user.window.digest() && !self.broken(Bug::EventsNotCompared) {
            let keys = self.user.window.iter().map(|(key, _)| *key).collect();
            self.say(id, &[Message::EventKeys(BoundedVec::truncated(keys))]);
        }
    }

    /// The other side of a sync remembers these: it is told what it lacks.
    fn on_event_keys(&mut self, id: StreamId, theirs: &[Key]) {
        let mut say = Vec::new();
        let theirs: alloc::collections::BTreeSet<&Key> = theirs.iter().collect();
        self.push_events(|key| !theirs.contains(key), &mut say);
        self.say(id, &say);
    }

    /// An exchange over a stream has ended well.
    pub(super) fn met_somebody(&mut self) {
        self.user.met = true;
    }

    /// What datagrams say of events and queries.
    pub(super) fn on_user_message(&mut self, now: Instant, from: SocketAddr, m: Message) {
        match m {
            Message::UserEvent(e) => self.on_user_event(now, e),
            Message::Query(q) => self.on_query(now, q),
            Message::QueryReply(r) => self.on_query_reply(from, r),
            Message::QueryReceipt(r) => self.on_query_receipt(from, r),
            // Messages of streams have no business in a datagram.
            _ => self.stats.count(Counter::DropMalformed),
        }
    }
}
