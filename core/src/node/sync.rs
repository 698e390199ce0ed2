//! Exchanging in bulk: when, with whom, and the messages of a stream. Who joins with an empty list
//! is told everything; all others exchange differences (see `differences`).

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use core::time::Duration;

use super::{
    LocalState, Node,
    claims::Origin,
    degraded::Path,
    differences::Difference,
    probe::Kind,
    streams::{Conn, Role},
    timers::Timer,
    versions::common,
};
use crate::{
    identity::NodeId,
    output::{Event, JoinError, JoinId, StreamId},
    planted::Bug,
    record::{Claim, Statement},
    stats::Counter,
    time::Instant,
    wire::{Ack, ClaimList, Hello, Message, Packed, Purpose, Reject, Welcome},
};

/// Exchanges that change nothing are at most so far apart.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// When to compare notes again.
#[derive(Debug, Default)]
pub(super) struct SyncState {
    /// The live members changed last.
    pub(super) last_change: Instant,
    /// Exchanges in a row that changed nothing here.
    fruitless: u32,
    last_sync: Instant,
    /// No exchange before this.
    not_before: Instant,
    open: Option<StreamId>,
}

impl SyncState {
    /// Something is different here: that exchanges changed nothing before means nothing any more.
    pub(super) fn change(&mut self, now: Instant) {
        self.last_change = now;
        self.fruitless = 0;
        self.not_before = self.not_before.min(now);
    }

    /// Another stream does the work of the first.
    pub(super) fn takes_over(&mut self, first: StreamId, id: StreamId) {
        if self.open == Some(first) {
            self.open = Some(id);
        }
    }
}

impl Node {
    // ---- when ----

    pub(super) fn arm_settle(&mut self, now: Instant) {
        let quiet = self.cfg.tuning.digest_quiet;
        if !quiet.is_zero() && self.state == LocalState::Running {
            // A little apart from the others, who saw the same change.
            let spread = quiet * u32::try_from(self.rng.below(64)).unwrap_or(0) / 64;
            self.timers.set_if_idle(Timer::Settle, now + quiet + spread);
        }
    }

    /// It has been quiet: a contact brings back a digest to compare with.
    pub(super) fn on_settle_timer(&mut self, now: Instant) {
        let quiet = self.syncing.last_change + self.cfg.tuning.digest_quiet;
        if now < quiet || now < self.syncing.not_before {
            self.timers.set(Timer::Settle, quiet.max(self.syncing.not_before));
            return;
        }
        if let [id] = self.random_hearers(1)[..] {
            self.start_probe(now, id, Kind::Contact);
        }
    }

    /// A live member's digest, from a ping or ack.
    pub(super) fn compare_root(&mut self, now: Instant, with: NodeId, root: u64) {
        let quiet = self.cfg.tuning.digest_quiet;
        let same = root == self.root() || self.broken(Bug::DigestsNotCompared);
        if quiet.is_zero() || same || self.state != LocalState::Running {
            return;
        }
        // Under loss something moves all the time, and that is when differences last.
        let moving = now < self.syncing.last_change + quiet;
        // What is compared grows with the list: so does the pause, and the cost stays the same.
        let n = u64::try_from(self.table.live_count()).unwrap_or(u64::MAX);
        let pause = (quiet * 8).max(Duration::from_millis(n));
        let lately = now < self.syncing.last_sync + pause;
        if moving && lately || now < self.syncing.not_before {
            self.arm_settle(now);
            return;
        }
        if self.syncing.open.is_some_and(|id| self.conns.contains_key(&id)) {
            return;
        }
        let Some(to) = self.table.get(with).map(|e| e.record.addr) else { return };
        let role = Role::Syncing(Box::default());
        self.syncing.open = self.open(now, to, role, self.cfg.tuning.stream_timeout);
        // What does not get better by talking is not talked about all the time.
        let wait = (quiet * (1 << self.syncing.fruitless.min(8))).min(LONGEST_WAIT);
        self.syncing.fruitless += 1;
        self.syncing.last_sync = now;
        self.syncing.not_before = now + wait;
    }

    pub(super) fn on_full_sync_timer(&mut self, now: Instant) {
        self.arm_full_sync(now);
        if let [id] = self.random_hearers(1)[..]
            && let Some(to) = self.table.get(id).map(|e| e.record.addr)
        {
            self.open_join(now, to, None);
        }
    }

    pub(super) fn arm_full_sync(&mut self, now: Instant) {
        let every = self.cfg.tuning.full_sync_interval;
        if !every.is_zero() {
            let n = self.table.live_count() + 1;
            let scale = if n > 32 { (n.div_ceil(32)).next_power_of_two().ilog2() + 1 } else { 1 };
            self.timers.set(Timer::FullSync, now + every * scale);
        }
    }

    // ---- joining ----

    pub(super) fn open_join(
        &mut self,
        now: Instant,
        to: core::net::SocketAddr,
        id: Option<JoinId>,
    ) {
        let alone = self.table.live_count() == 0;
        let role = if alone || self.cfg.tuning.digest_quiet.is_zero() {
            Role::Joining { id, alone, welcomed: false, learned: 0 }
        } else {
            Role::Syncing(Difference::of_join(id))
        };
        let limit = self.cfg.tuning.stream_timeout;
        if self.open(now, to, role, limit).is_none()
            && let Some(id) = id
        {
            let result = Err(JoinError::Unavailable);
            self.event(Event::JoinFinished { id, addr: to, result });
        }
    }

    /// Everything known, then `Done`.
    pub(super) fn all_claims(&self, out: &mut Vec<Message>) {
        let me = if self.broken(Bug::AccusesItself) {
            let (record, by) = (self.me.shared(), self.me.id);
            Some(Packed::new(Claim { record, statement: Statement::Failed { by } }))
        } else {
            self.claim_about(self.me.id)
        };
        push_claims(me.iter().chain(self.table.iter()), out);
        out.push(Message::Done(()));
    }

    pub(super) fn on_stream_message(&mut self, now: Instant, id: StreamId, m: Message) {
        let Some(c) = self.conns.get(&id) else { return };
        match (&c.role, m) {
            (Role::AwaitHello, Message::Hello(h)) => self.on_hello(now, id, h),
            (Role::Joining { welcomed: false, .. } | Role::Syncing(_), Message::Welcome(w)) => {
                self.on_welcome(now, id, w);
            }
            (
                Role::Joining { .. }
                | Role::Syncing(_)
                | Role::Probing { .. }
                | Role::Relaying { .. }
                | Role::Watched { .. },
                Message::Reject(r),
            ) => self.on_reject(now, id, r),
            (
                Role::Joining { welcomed: true, .. }
                | Role::ServeJoin
                | Role::ServeSync
                | Role::Syncing(_),
                Message::Claims(all),
            ) => self.on_claims(now, id, &all),
            (Role::Joining { welcomed: true, .. } | Role::ServeJoin, Message::Done(())) => {
                self.complete(now, id);
            }
            (Role::ServeSync, Message::Buckets(theirs)) => self.answer_buckets(now, id, &theirs),
            (Role::Syncing(_), Message::Mismatch(m)) => {
                if let Some(Conn { role: Role::Syncing(d), .. }) = self.conns.get_mut(&id) {
                    d.bits = m.bits;
                }
            }
            (Role::Syncing(_), Message::Summaries(s)) => self.on_summaries(now, id, &s),
            (Role::Syncing(d), Message::Done(())) if d.asked => self.complete(now, id),
            (Role::ServeSync | Role::Syncing(_), Message::Forgotten(f)) => self.forget_too(&f),
            (Role::ServeSync, Message::Want(w)) => self.answer_want(now, id, &w),
            (Role::ServeSync, Message::Done(())) => {
                self.say(id, &[Message::Done(())]);
                self.complete(now, id);
            }
            (Role::Watched { met: None, .. }, Message::Watching(s)) => {
                self.on_watching(now, id, s);
            }
            (Role::Watching { .. }, Message::Beat(())) => self.on_beat(now, id),
            (Role::Watched { met: Some(_), .. } | Role::Watching { .. }, Message::Done(())) => {
                self.complete(now, id);
            }
            (
                Role::Probing { cookie, .. } | Role::Relaying { cookie, .. },
                Message::StreamAck(a),
            ) if a.cookie == *cookie => {
                let remote = c.remote;
                self.close(id);
                self.on_ack(now, remote, a, Path::Stream, None);
            }
            (role, m) => {
                let exchanges = role.exchanges();
                self.on_event_exchange(now, id, m, exchanges);
            }
        }
    }

    fn on_claims(&mut self, now: Instant, id: StreamId, all: &ClaimList) {
        let alone = |c: &Conn| matches!(c.role, Role::Joining { alone: true, .. });
        let spread = !self.conns.get(&id).is_some_and(alone);
        let live = self.learn_all(now, id, all, spread);
        match self.conns.get_mut(&id).map(|c| &mut c.role) {
            Some(Role::Joining { learned, .. }) => *learned += live,
            Some(Role::Syncing(d)) => d.learned += live,
            _ => {}
        }
    }

    pub(super) fn on_hello(&mut self, now: Instant, id: StreamId, h: Hello) {
        if let Purpose::Probe { cookie, target } = h.purpose {
            if target == self.me.id {
                let root = self.root();
                let ack = Ack { cookie, version: self.me.version, root };
                self.say(id, &[Message::StreamAck(ack)]);
            }
            self.close(id);
            return;
        }
        if let Some(r) = self.unwelcome(&h) {
            if let Reject::NameTaken { holder, .. } = r
                && self.can_hold_join(holder)
            {
                self.hold_join(now, id, h, holder);
                return;
            }
            self.say(id, &[Message::Reject(r)]);
            self.close(id);
            return;
        }
        if let Purpose::Watch { target } = h.purpose {
            self.on_watch_hello(now, id, h, target);
            return;
        }
        if let Purpose::Keys { target } = h.purpose {
            self.on_keys_hello(id, target);
            return;
        }
        let welcome = Message::Welcome(Welcome { record: (*self.me).clone() });
        let mut say = alloc::vec![welcome];
        self.tell_events(h.purpose == Purpose::Join, &mut say);
        let role = if h.purpose == Purpose::Join {
            self.all_claims(&mut say);
            Role::ServeJoin
        } else {
            Role::ServeSync
        };
        if let Some(c) = self.conns.get_mut(&id) {
            c.role = role;
        }
        self.say(id, &say);
        if let Some(remote) = self.conns.get(&id).map(|c| c.remote) {
            self.introduced(now, &h.record, remote, true);
        }
    }

    /// Why somebody cannot come in.
    fn unwelcome(&self, h: &Hello) -> Option<Reject> {
        if self.state != LocalState::Running {
            return Some(Reject::Unavailable);
        }
        let (min, max) = self.cfg.tuning.protocol;
        let mixed = self.broken(Bug::IncompatibleTaken);
        if common((min, max), h.record.protocol).is_none() && !mixed {
            return Some(Reject::Incompatible { min, max });
        }
        let enters = matches!(h.purpose, Purpose::Join | Purpose::Merge);
        if !enters || self.broken(Bug::NameUnchecked) {
            return None;
        }
        let taken = |id: NodeId, addr| {
            (id != h.record.id && addr != h.record.addr)
                .then_some(Reject::NameTaken { holder: id, addr })
        };
        if self.me.name == h.record.name
            && let Some(r) = taken(self.me.id, self.me.addr)
        {
            return Some(r);
        }
        let holders = self.table.named(&h.record.name).filter(|e| e.is_live());
        holders.filter_map(|e| taken(e.record.id, e.record.addr)).next()
    }

    fn on_welcome(&mut self, now: Instant, id: StreamId, w: Welcome) {
        if w.record.id == self.me.id {
            self.fail(now, id, JoinError::Myself);
            return;
        }
        let Some(c) = self.conns.get_mut(&id) else { return };
        let mut spread = true;
        if let Role::Joining { welcomed, alone, .. } = &mut c.role {
            *welcomed = true;
            spread = !*alone;
        }
        let remote = c.remote;
        self.introduced(now, &w.record, remote, spread);
    }

    pub(super) fn on_reject(&mut self, now: Instant, id: StreamId, r: Reject) {
        let name = self.me.name.clone();
        let why = match r {
            Reject::Label { name, label } => JoinError::WrongLabel { name, label },
            Reject::NameTaken { holder, addr } => JoinError::NameTaken { name, holder, addr },
            Reject::Incompatible { min, max } => JoinError::Incompatible { min, max },
            Reject::Key => JoinError::Key,
            Reject::Unavailable | Reject::Other(_) => JoinError::Unavailable,
        };
        self.fail(now, id, why);
    }

    /// A stream is over: tell whoever waits for it.
    pub(super) fn ended(&mut self, now: Instant, c: Option<Conn>, result: Result<(), JoinError>) {
        let Some(Conn { remote, role, .. }) = c else { return };
        if role.is_watch() {
            self.watch_ended(now, &role, result.is_ok());
            return;
        }
        if result.is_ok() {
            self.stats.count(Counter::Syncs);
            self.met_somebody();
            self.take_turn(now);
        }
        match role {
            Role::Joining { id: Some(id), learned, .. } => {
                let result = result.map(|()| learned);
                self.event(Event::JoinFinished { id, addr: remote, result });
            }
            Role::Syncing(d) => {
                match d.join {
                    None => self.syncing.open = None,
                    Some(None) => {}
                    Some(Some(id)) => {
                        let result = result.map(|()| d.learned);
                        self.event(Event::JoinFinished { id, addr: remote, result });
                    }
                }
                self.arm_settle(now);
            }
            Role::AskingKeys { member } => self.keys_unanswered(now, member, result.err()),
            _ => {}
        }
    }

    /// Learns a list of claims; how many of them are of live members. A list that does not
    /// decode ends the stream.
    fn learn_all(&mut self, now: Instant, id: StreamId, all: &ClaimList, spread: bool) -> usize {
        let mut live = 0;
        for body in all.bodies() {
            let Ok(c) = body.and_then(|b| self.scratch.memo.decode(b)) else {
                self.stats.count(Counter::DropMalformed);
                self.fail(now, id, JoinError::NotQuorate);
                return live;
            };
            live += usize::from(c.is_live());
            self.learn(now, &c, Origin::Stream { spread });
        }
        live
    }
}

/// Claims in as few messages as hold them.
pub(super) fn push_claims<'a>(
    all: impl IntoIterator<Item = &'a Arc<Packed>>,
    out: &mut Vec<Message>,
) {
    let all = all.into_iter().map(|p| &**p);
    out.extend(ClaimList::pack(all).into_iter().map(Message::Claims));
}
