//! Exchanging in bulk: a join tells everything both ways; a sync compares 256 bucket hashes,
//! then versions, then sends records: its cost follows the difference, not the cluster.
//!
//! Sync, opener on the left:
//! ```text
//! Hello(Sync), Buckets ->
//!                      <- Welcome, Mismatch, Summaries...
//! Claims..., Want, Done ->
//!                      <- Claims..., Done
//! ```

use alloc::{collections::BTreeMap, vec::Vec};

use super::{
    LocalState, Node, PROTOCOL,
    claims::Origin,
    degraded::Path,
    probe::Kind,
    streams::{Conn, Role},
    timers::Timer,
};
use crate::{
    bounded::BoundedVec,
    digest,
    identity::{NodeId, Version},
    merge::{Order, compare},
    output::{Event, JoinError, JoinId, StreamId},
    record::{Claim, State},
    stats::Counter,
    time::Instant,
    wire::{
        Ack, Forgotten, Hello, Message, Mismatch, Purpose, Reject, Summaries, Summary, Want,
        Welcome,
    },
};

/// Claims in one frame: 128 of the largest stay below the frame's limit.
const CLAIMS_PER_FRAME: usize = 128;

/// Where our own sync stands.
#[derive(Debug, Default)]
pub(super) struct SyncProgress {
    bits: [u64; 4],
    theirs: BTreeMap<NodeId, (Version, State)>,
    asked: bool,
}

/// When to compare notes again.
#[derive(Debug, Default)]
pub(super) struct SyncState {
    /// The live members changed last.
    pub(super) last_change: Instant,
    /// Exchanges in a row that changed nothing here.
    pub(super) fruitless: u32,
    last_sync: Instant,
    /// No exchange before this.
    not_before: Instant,
    open: Option<StreamId>,
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
        if let [id] = self.table.random_live(&mut self.rng, 1, |_| true)[..] {
            self.start_probe(now, id, Kind::Contact);
        }
    }

    /// A live member's digest, from a ping or ack.
    pub(super) fn compare_root(&mut self, now: Instant, with: NodeId, root: u64) {
        let quiet = self.cfg.tuning.digest_quiet;
        if quiet.is_zero() || root == self.table.digest.root() || self.state != LocalState::Running
        {
            return;
        }
        // Under loss something moves all the time, and that is when differences last.
        let moving = now < self.syncing.last_change + quiet;
        let lately = now < self.syncing.last_sync + quiet * 8;
        if moving && lately || now < self.syncing.not_before {
            self.arm_settle(now);
            return;
        }
        if self.syncing.open.is_some_and(|id| self.conns.contains_key(&id)) {
            return;
        }
        let Some(to) = self.table.get(with).map(|e| e.record.addr) else { return };
        let role = Role::Syncing(SyncProgress::default());
        self.syncing.open = self.open(now, to, role, self.cfg.tuning.stream_timeout);
        // What does not get better by talking is not talked about all the time.
        let wait = quiet * (1 << self.syncing.fruitless.min(6));
        self.syncing.fruitless += 1;
        self.syncing.last_sync = now;
        self.syncing.not_before = now + wait;
    }

    pub(super) fn on_full_sync_timer(&mut self, now: Instant) {
        self.arm_full_sync(now);
        if let [id] = self.table.random_live(&mut self.rng, 1, |_| true)[..]
            && let Some(to) = self.table.get(id).map(|e| e.record.addr)
        {
            self.open_join(now, to, None);
        }
    }

    pub(super) fn arm_full_sync(&mut self, now: Instant) {
        let every = self.cfg.tuning.full_sync_interval;
        if !every.is_zero() {
            let n = self.table.live().len() + 1;
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
        let alone = self.table.live().is_empty();
        let role = Role::Joining { id, alone, welcomed: false, learned: 0 };
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
        let mut all: Vec<Claim> = self.claim_about(self.me.id).into_iter().collect();
        all.extend(self.table.iter().map(|(_, e)| e.claim()));
        push_claims(all, out);
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
            (Role::Joining { welcomed: true, .. }, Message::Claims(all)) => {
                let live = all.iter().filter(|c| c.state().is_live()).count();
                let mut spread = true;
                if let Some(Conn { role: Role::Joining { learned, alone, .. }, .. }) =
                    self.conns.get_mut(&id)
                {
                    *learned += live;
                    spread = !*alone;
                }
                self.learn_all(now, &all, spread);
            }
            (Role::ServeJoin | Role::ServeSync | Role::Syncing(_), Message::Claims(all)) => {
                self.learn_all(now, &all, true);
            }
            (Role::Joining { welcomed: true, .. } | Role::ServeJoin, Message::Done(())) => {
                self.complete(now, id);
            }
            (Role::ServeSync, Message::Buckets(theirs)) => self.answer_buckets(id, &theirs),
            (Role::Syncing(_), Message::Mismatch(m)) => {
                if let Some(Conn { role: Role::Syncing(s), .. }) = self.conns.get_mut(&id) {
                    s.bits = m.bits;
                }
            }
            (Role::Syncing(_), Message::Summaries(s)) => self.on_summaries(now, id, s),
            (Role::Syncing(s), Message::Done(())) if s.asked => self.complete(now, id),
            (Role::ServeSync | Role::Syncing(_), Message::Forgotten(f)) => self.forget_too(&f),
            (Role::ServeSync, Message::Want(w)) => self.answer_want(id, &w),
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
                self.on_ack(now, remote, a, Path::Stream);
            }
            _ => {
                self.stats.count(Counter::DropMalformed);
                self.fail(now, id, JoinError::NotQuorate);
            }
        }
    }

    pub(super) fn on_hello(&mut self, now: Instant, id: StreamId, h: Hello) {
        if let Purpose::Probe { cookie, target } = h.purpose {
            if target == self.me.id {
                let root = self.table.digest.root();
                let ack = Ack { cookie, from: self.sender(), root };
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
        let welcome = Message::Welcome(Welcome { record: (*self.me).clone() });
        let mut say = alloc::vec![welcome];
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
        let (min, max) = h.record.protocol;
        if max < PROTOCOL.0 || min > PROTOCOL.1 {
            return Some(Reject::Incompatible { min: PROTOCOL.0, max: PROTOCOL.1 });
        }
        if h.purpose != Purpose::Join {
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
            self.take_turn(now);
        }
        match role {
            Role::Joining { id: Some(id), learned, .. } => {
                let result = result.map(|()| learned);
                self.event(Event::JoinFinished { id, addr: remote, result });
            }
            Role::Syncing(_) => {
                self.syncing.open = None;
                self.arm_settle(now);
            }
            _ => {}
        }
    }

    fn learn_all(&mut self, now: Instant, all: &[Claim], spread: bool) {
        for c in all {
            self.learn(now, c, Origin::Stream { spread });
        }
    }

    // ---- differences ----

    pub(super) fn bucket_message(&self) -> Message {
        Message::Buckets(BoundedVec::truncated(self.table.digest.buckets().to_vec()))
    }

    fn answer_buckets(&mut self, id: StreamId, theirs: &[u64]) {
        let mut bits = [0u64; 4];
        for (i, own) in self.table.digest.buckets().iter().enumerate() {
            if theirs.get(i) != Some(own) {
                bits[i / 64] |= 1 << (i % 64);
            }
        }
        let mut items: Vec<Summary> = Vec::new();
        let me = self.claim_about(self.me.id).map(|c| (self.me.id, c.version(), c.state()));
        let known = self.table.iter().map(|(id, e)| (*id, e.record.version, e.state()));
        for (id, version, state) in me.into_iter().chain(known) {
            if in_bits(&bits, id) {
                items.push(Summary { id, version, state });
            }
        }
        let mut say = alloc::vec![Message::Mismatch(Mismatch { bits })];
        let graves = self.table.tombstones().filter(|(id, ..)| in_bits(&bits, *id));
        push_forgotten(graves.collect(), &mut say);
        let mut chunks = items.chunks(1024).peekable();
        loop {
            let part = chunks.next().unwrap_or_default();
            let last = chunks.peek().is_none();
            let items = BoundedVec::truncated(part.to_vec());
            say.push(Message::Summaries(Summaries { items, last }));
            if last {
                break;
            }
        }
        self.say(id, &say);
    }

    fn on_summaries(&mut self, now: Instant, id: StreamId, s: Summaries) {
        let cap = self.cfg.limits.members;
        let Some(Conn { role: Role::Syncing(p), .. }) = self.conns.get_mut(&id) else { return };
        if p.asked || p.theirs.len() + s.items.len() > cap + 1 {
            self.fail(now, id, JoinError::NotQuorate);
            return;
        }
        p.theirs.extend(s.items.iter().map(|i| (i.id, (i.version, i.state))));
        if !s.last {
            return;
        }
        p.asked = true;
        let (bits, theirs) = (p.bits, core::mem::take(&mut p.theirs));
        let (mut wanted, mut offered, mut graves) = (Vec::new(), Vec::new(), Vec::new());
        for (&member, &rank) in &theirs {
            match self.claim_about(member) {
                None => match self.table.tombstone(member) {
                    Some(g) if compare(g, rank) != Order::Newer => {
                        graves.push((member, g.0, g.1));
                    }
                    _ => wanted.push(member),
                },
                Some(c) => match compare((c.version(), c.state()), rank) {
                    Order::Newer => wanted.push(member),
                    Order::Older => offered.push(c),
                    Order::Same => {}
                },
            }
        }
        let lacking = |id: &NodeId| in_bits(&bits, *id) && !theirs.contains_key(id);
        offered.extend(self.claim_about(self.me.id).filter(|c| lacking(&c.id())));
        offered.extend(self.table.iter().filter(|(id, _)| lacking(id)).map(|(_, e)| e.claim()));
        let mut say = Vec::new();
        push_claims(offered, &mut say);
        push_forgotten(graves, &mut say);
        for ids in wanted.chunks(2048) {
            say.push(Message::Want(Want { ids: BoundedVec::truncated(ids.to_vec()) }));
        }
        say.push(Message::Done(()));
        self.say(id, &say);
    }

    /// Members of the list that are gone and that somebody has forgotten are forgotten here, too:
    /// lists that differ in them only would be compared for ever.
    fn forget_too(&mut self, f: &Forgotten) {
        for s in &*f.items {
            let gone = self.table.get(s.id).filter(|e| !e.is_live());
            if gone.is_some_and(|e| compare(e.rank(), (s.version, s.state)) != Order::Older) {
                self.forget(s.id);
            }
        }
    }

    fn answer_want(&mut self, id: StreamId, w: &Want) {
        let mut say = Vec::new();
        push_claims(w.ids.iter().filter_map(|i| self.claim_about(*i)).collect(), &mut say);
        self.say(id, &say);
    }
}

fn in_bits(bits: &[u64; 4], id: NodeId) -> bool {
    let b = digest::bucket(id);
    bits[b / 64] >> (b % 64) & 1 == 1
}

fn push_forgotten(all: Vec<(NodeId, Version, State)>, out: &mut Vec<Message>) {
    for part in all.chunks(1024) {
        let short =
            |&(id, version, state): &(NodeId, Version, State)| Summary { id, version, state };
        let items = BoundedVec::truncated(part.iter().map(short).collect());
        out.push(Message::Forgotten(Forgotten { items }));
    }
}

fn push_claims(all: Vec<Claim>, out: &mut Vec<Message>) {
    for part in all.chunks(CLAIMS_PER_FRAME) {
        out.push(Message::Claims(BoundedVec::truncated(part.to_vec())));
    }
}
