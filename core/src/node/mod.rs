//! The node: one member's whole protocol state, and the only place that changes it.
//!
//! Rule: mutate through an input, then drain all outputs until there are none. Each input ends in
//! `finish`, which lets fresh news out.
//!
//! Code map: `claims` decides what is believed, `names` who keeps a name, `hearsay` what becomes
//! of members that nobody met; `probe`, `relay` and `suspicion` find out who answers, `cadence`
//! whom to ask when; `watch` learns from the kernel who died; `flap` and `degraded` deal with bad
//! links; `obituary` doubts what others say of the dead, `alone` knows when nobody is heard;
//! `vivaldi` measures how far others are; `gossip` spreads; `streams`, `sync` and
//! `differences` exchange in bulk; `versions` knows who understands what; `keyring` changes keys
//! on all members; `replies` bounds what strangers are told, `vouch` keeps what members said of
//! themselves; `drain` is the way out; `leave` and `upkeep` are the rest of a member's life;
//! `user` and `query` carry what applications say; `table`, `index`, `peers`, `few`, `queue` and
//! `timers` are the data.

mod alone;
mod bootstrap;
mod cadence;
mod claims;
mod degraded;
mod differences;
mod drain;
mod few;
mod flap;
mod gossip;
mod hearsay;
mod hedge;
mod index;
mod keyring;
mod leave;
mod names;
mod obituary;
mod own;
mod peers;
mod probe;
mod query;
mod queue;
mod random;
mod relay;
mod replies;
mod retag;
mod ring;
mod rumors;
mod scratch;
mod sealing;
mod strangers;
mod streams;
mod suspicion;
mod sync;
mod table;
mod timers;
mod upkeep;
mod user;
mod versions;
mod vivaldi;
mod vouch;
mod warm;
mod watch;

use alloc::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    vec::Vec,
};
use core::net::SocketAddr;

use crate::{
    config::{Config, ConfigError},
    identity::{NodeId, Version},
    output::{
        Command, CommandError, CommandOutcome, Durable, Event, JoinError, JoinId, Persist,
        PersistToken, StreamAction, StreamId,
    },
    planted::Bug,
    record::{Claim, Record, State, Statement},
    stats::{Counter, Stats},
    time::Instant,
    wire::{self, Cookie, KeyOp, Message, Packed, Sender},
};
use drain::Outgoing;
use random::Random;
pub use scratch::Scratch;
use timers::{Timer, Timers};
pub use versions::SPOKEN;

/// A member in the list.
#[derive(Clone, Debug)]
pub struct Member {
    /// What it published.
    pub record: Arc<Record>,
    /// What it is held to be.
    pub state: State,
}

/// Where this node is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalState {
    /// Waits for its generation to be on disk; sends nothing.
    Starting,
    /// Takes part.
    Running,
    /// Spreads that it leaves.
    Leaving,
    /// Has left; takes part no more.
    Left,
}

/// This node.
#[derive(Clone, Debug)]
pub struct Local {
    /// What it publishes.
    pub record: Arc<Record>,
    /// Where it is in its life.
    pub state: LocalState,
}

/// What waits for the disk.
#[derive(Debug)]
#[repr(C)]
struct Storage {
    waiting: Option<Persist>,
    durable: Durable,
    tokens: u64,
    /// This generation may be used once this token is back.
    gate: Option<(PersistToken, u64)>,
}

/// What this node says of itself at first.
fn first_record(config: &Config, durable: &Durable) -> Record {
    Record {
        id: durable.id,
        version: Version { generation: durable.generation, incarnation: 0 },
        name: config.name.clone(),
        addr: config.addr,
        role: config.role,
        protocol: config.tuning.protocol,
        tags: config.tags.clone(),
        meta: config.meta.clone(),
        turn: 0,
    }
}

/// What is kept beside the member list, of few members: those that are new, bad to reach, or that
/// have a name in common.
#[derive(Debug, Default)]
#[repr(C)]
struct Notes {
    alone: alone::Alone,
    lateness: upkeep::Lateness,
    hearsay: hearsay::Hearsay,
    degraded: degraded::Degraded,
    names: names::Names,
    flaps: flap::Flaps,
}

/// One member's whole protocol state. See the [crate] for its contract.
///
/// What nearly every input reads comes first, together: see [`Node::touch`].
#[derive(Debug)]
#[repr(C)]
pub struct Node {
    state: LocalState,
    /// Lifeguard's local health multiplier, minus one.
    awareness: u32,
    /// Immediate gossip rounds left in this tick.
    rounds_left: u32,
    /// Stronger claims that may still be sent back in this tick.
    replies_left: u32,
    me: own::Own,
    revision: u64,
    timers: Timers,
    scratch: scratch::Scratch,
    events: VecDeque<Event>,
    stream_out: VecDeque<StreamAction>,
    events_lost: u64,
    probes: few::Few<Cookie, probe::Probe>,
    conns: BTreeMap<StreamId, streams::Conn>,
    suspicions: BTreeMap<NodeId, suspicion::Suspicion>,
    replies: replies::Replies,
    notes: Notes,
    watches: watch::Watches,
    queue: queue::Queue,
    syncing: sync::SyncState,
    table: table::Table,
    user: user::User,
    envelope: wire::Envelope,
    cfg: Config,
    stats: Stats,
    vivaldi: vivaldi::Vivaldi,
    rng: Random,
    storage: Storage,
    relays: BTreeMap<Cookie, relay::Relay>,
    security: sealing::Security,
    bootstrap: bootstrap::Bootstrap,
    rejoin: upkeep::Rejoin,
    leaving: Option<leave::Leaving>,
    pending_joins: Vec<(JoinId, SocketAddr)>,
    streams_opened: u64,
    joins: u64,
}

impl Node {
    /// A node that waits for its new generation to be persisted: drain [`Node::poll_persist`],
    /// then call [`Node::handle_persisted`]. `seed` must differ between nodes and starts.
    ///
    /// # Errors
    /// [`ConfigError`]: an address nobody can reach, or numbers that cannot work.
    pub fn new(config: Config, seed: [u8; 32], now: Instant) -> Result<Self, ConfigError> {
        // Nothing is due before the generation is on disk.
        let _ = now;
        config.check()?;
        let mut durable = config.durable.clone();
        let mut rng = Random::new(seed);
        let fresh = durable.bootstrap.birth == 0 && config.role.is_server();
        if fresh {
            durable.bootstrap.birth = rng.u64().max(1);
        }
        let me = first_record(&config, &durable).into();
        let rejoin = upkeep::Rejoin::new(&durable, config.rejoin_after_leave);
        let memory = durable.bootstrap.clone();
        #[cfg(any(test, feature = "planted-bugs"))]
        let bug = config.tuning.bug;
        #[cfg(not(any(test, feature = "planted-bugs")))]
        let bug = None;
        let envelope = sealing::envelope(&config, &mut rng);
        let room = config.limits.room.min(config.limits.members);
        let table = table::Table::new(&mut rng, room, durable.id, 2 * config.tuning.ring_hearers);
        let queue = queue::Queue::new(table.spread());
        let vivaldi = vivaldi::Vivaldi::new(table.spread());
        let mut node = Self {
            table,
            bootstrap: bootstrap::Bootstrap::new(durable.id, config.role, memory, fresh, bug),
            envelope,
            rng,
            me,
            state: LocalState::Starting,
            suspicions: BTreeMap::new(),
            probes: few::Few::with_room(2),
            relays: BTreeMap::new(),
            conns: BTreeMap::new(),
            streams_opened: 0,
            joins: 0,
            pending_joins: Vec::new(),
            syncing: sync::SyncState::default(),
            watches: watch::Watches::default(),
            security: sealing::Security::default(),
            replies: replies::Replies::default(),
            notes: Notes::default(),
            leaving: None,
            rejoin,
            vivaldi,
            queue,
            user: user::User::default(),
            rounds_left: config.tuning.immediate_rounds,
            replies_left: 0,
            timers: Timers::default(),
            storage: Storage { durable, tokens: 0, waiting: None, gate: None },
            awareness: 0,
            scratch: scratch::Scratch::default(),
            stream_out: VecDeque::new(),
            events: VecDeque::new(),
            events_lost: 0,
            revision: 1,
            stats: Stats::default(),
            cfg: config,
        };
        let forgetful = node.broken(Bug::ReplaysAccepted);
        node.envelope.sealer_mut().into_iter().for_each(|s| s.forgetful = forgetful);
        node.storage.durable.left = false;
        if node.broken(Bug::LostSelfRecord) {
            node.storage.durable.generation = 0;
        }
        node.mint_generation(0);
        Ok(node)
    }

    /// A datagram that came from `from`.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        self.stats.count(Counter::DatagramsIn);
        self.stats.add(Counter::DatagramBytesIn, bytes.len() as u64);
        if matches!(self.state, LocalState::Starting | LocalState::Left) {
            return;
        }
        self.envelope.sealer_mut().into_iter().for_each(|s| s.clock(now));
        let mut room = self.envelope.lend();
        let body = match self.envelope.open(bytes, &mut room) {
            Ok(body) => body,
            Err(e) => {
                self.stats.count(match e {
                    wire::HeadError::NotOurs => Counter::DropNotOurs,
                    wire::HeadError::Label => Counter::DropLabel,
                    wire::HeadError::Checksum => Counter::DropChecksum,
                    wire::HeadError::Key => Counter::DropKey,
                    wire::HeadError::Replay => Counter::DropReplay,
                });
                self.envelope.give_back(room);
                return;
            }
        };
        self.mind_absence(now);
        self.begin_replies(now, bytes.len());
        let mut claims = core::mem::take(&mut self.scratch.claims);
        for b in wire::bodies(body) {
            if let Ok((wire::CLAIM, body)) = b {
                match self.scratch.memo.decode(body) {
                    Ok(c) => claims.push(c),
                    Err(_) => {
                        self.stats.count(Counter::DropMalformed);
                        break;
                    }
                }
                continue;
            }
            self.learn_claims(now, from, &mut claims);
            match b.and_then(|(tag, body)| Message::decode(tag, body)) {
                Ok(Some(m)) => self.on_message(now, from, m),
                Ok(None) => self.stats.count(Counter::UnknownTag),
                Err(_) => {
                    self.stats.count(Counter::DropMalformed);
                    break;
                }
            }
        }
        self.learn_claims(now, from, &mut claims);
        self.scratch.claims = claims;
        self.envelope.give_back(room);
        self.finish();
    }

    /// Claims of a datagram, in order.
    fn learn_claims(&mut self, now: Instant, from: SocketAddr, claims: &mut Vec<Arc<Packed>>) {
        if claims.is_empty() {
            return;
        }
        self.touch_claims(claims);
        for c in claims.drain(..) {
            self.learn(now, &c, claims::Origin::Packet(from));
        }
    }

    fn on_message(&mut self, now: Instant, from: SocketAddr, m: Message) {
        match m {
            Message::Ping(p) => self.on_ping(now, from, p),
            Message::Ack(a) => self.on_ack(now, from, a, degraded::Path::Packet, None),
            // As a program that does not know it would.
            Message::PlacedAck(_) if self.cfg.tuning.protocol.1 < versions::PLACED_ACKS => {
                self.stats.count(Counter::UnknownTag);
            }
            Message::PlacedAck(a) => {
                self.on_ack(now, from, a.ack, degraded::Path::Packet, Some(a.place));
            }
            Message::NotMe(n) => self.on_not_me(now, n),
            Message::ProbeRequest(r) => self.on_probe_request(now, from, r),
            Message::Nack(n) => self.on_nack(now, n),
            Message::Leave(l) => self.on_leave(now, from, l),
            Message::LeaveAck(a) => self.on_leave_ack(now, a),
            Message::BootstrapReport(r) => self.on_bootstrap_report(now, r),
            m => self.on_user_message(now, from, m),
        }
    }

    /// Time has come to [`Node::poll_timeout`]. All input that came before must be handed in
    /// first: an ack that waits in a socket is no missing ack.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.mind_lateness(now);
        while let Some(t) = self.timers.pop(now) {
            self.on_timer(now, t);
        }
        self.finish();
    }

    fn on_timer(&mut self, now: Instant, t: Timer) {
        match t {
            Timer::Probe => self.on_probe_timer(now),
            Timer::ProbeRepeat(c) => self.on_probe_repeat(now, c),
            Timer::ProbeLate(c) => self.on_probe_late(now, c),
            Timer::ProbeEnd(c) => self.on_probe_end(now, c),
            Timer::RelayRepeat(c) => self.on_relay_repeat(now, c),
            Timer::RelayNack(c) => self.on_relay_nack(c),
            Timer::RelayEnd(c) => drop(self.on_relay_end(c)),
            Timer::LastLook(id) => self.on_last_look(now, id),
            Timer::Suspicion(id) => self.on_suspicion_end(now, id),
            Timer::Gossip => self.on_gossip_timer(now),
            Timer::Settle => self.on_settle_timer(now),
            Timer::FullSync => self.on_full_sync_timer(now),
            Timer::Reconnect => self.on_reconnect_timer(now),
            Timer::Alone => self.on_alone_timer(now),
            Timer::Reap => self.on_reap_timer(now),
            Timer::SavePeers => self.save_peers(),
            Timer::Rejoin => self.on_rejoin_timer(now),
            Timer::Stream(id) => self.on_stream_timeout(now, id),
            Timer::Hedge(id) => self.on_hedge_timer(now, id),
            Timer::Watch => self.on_watch_timer(now),
            Timer::Overdue(id) => self.on_overdue(now, id),
            Timer::Beat => self.on_beat_timer(now),
            Timer::Leave => self.on_leave_timer(now),
            Timer::LeaveEnd => self.finish_leave(now),
            Timer::Bootstrap => self.on_bootstrap_timer(now),
            Timer::UserGossip => self.on_user_gossip_timer(now),
            Timer::QueryEnd(id) => self.on_query_end(id),
            Timer::QueryReply(id) => self.on_query_reply_timer(now, id),
            Timer::Asked(id) => self.on_asked_end(id),
            Timer::Keyring => self.go_on_with_keys(now),
            Timer::NameRival => self.on_rival_timer(now),
            Timer::NameFree => self.on_name_free_timer(now),
        }
    }

    /// The state of `token` and all before it is on stable storage.
    pub fn handle_persisted(&mut self, now: Instant, token: PersistToken) {
        if self.state == LocalState::Left {
            return;
        }
        let any = self.broken(Bug::AnyWriteCounts);
        if let Some((_, generation)) = self.storage.gate.take_if(|g| any || g.0 <= token) {
            let version = Version { generation, incarnation: 0 };
            if self.state == LocalState::Starting {
                self.start_running(now, version);
            } else if self.state == LocalState::Running {
                self.publish(now, version);
            }
        }
        self.bootstrap_persisted(now, token);
        self.keys_persisted(now, token);
        self.finish();
    }

    /// Carries out what an operator or application asks for.
    ///
    /// # Errors
    /// [`CommandError`]; nothing has changed then.
    pub fn command(&mut self, now: Instant, c: Command) -> Result<CommandOutcome, CommandError> {
        if matches!(self.state, LocalState::Leaving | LocalState::Left) {
            return Err(CommandError::Leaving);
        }
        let outcome = match c {
            Command::Join { addr } => CommandOutcome::Joining(self.begin_join(now, addr)?),
            Command::Leave => {
                self.begin_leave(now);
                CommandOutcome::Done
            }
            Command::ForceLeave { name, prune } => {
                self.force_leave(now, name, prune)?;
                CommandOutcome::Done
            }
            Command::UserEvent { name, payload } => self.fire(now, name, payload)?,
            Command::Query { name, payload, filter, ack, timeout_ms } => {
                self.ask(now, query::Question { name, payload, filter, ack, timeout_ms })?
            }
            Command::Answer { id, payload } => self.answer_query(now, id, payload)?,
            Command::SetTags(tags) => {
                self.cfg.tags = tags;
                self.publish_changes(now);
                CommandOutcome::Done
            }
            Command::SetMeta(meta) => {
                self.cfg.meta = meta;
                self.publish_changes(now);
                CommandOutcome::Done
            }
            Command::InstallKey(key) => self.change_own_keys(now, KeyOp::Install(key))?,
            Command::UseKey(key) => self.change_own_keys(now, KeyOp::Use(key))?,
            Command::RemoveKey(key) => self.change_own_keys(now, KeyOp::Remove(key))?,
            Command::Keyring(op) => CommandOutcome::Keyring(self.begin_keyring(now, op)?),
        };
        self.finish();
        Ok(outcome)
    }

    /// All members but this node, in no order that means anything.
    pub fn members(&self) -> impl Iterator<Item = Member> + '_ {
        self.table.iter().map(|e| Member { record: Arc::clone(&e.record), state: e.state() })
    }

    /// This node.
    pub fn local(&self) -> Local {
        Local { record: self.me.shared(), state: self.state }
    }

    /// What this node publishes.
    pub fn record(&self) -> &Record {
        &self.me
    }

    /// Rises whenever [`Node::members`] or [`Node::local`] changes.
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// Digest of members and remembered events: equal on nodes that agree.
    pub fn digest(&self) -> u64 {
        self.root()
    }

    /// Streams that are open or being opened.
    pub fn open_streams(&self) -> usize {
        self.conns.len()
    }

    /// The counters.
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    // ---- shared by the modules ----

    fn finish(&mut self) {
        if self.state != LocalState::Starting {
            self.flush_news();
            self.flush_rumors();
        }
        self.stats.awareness = self.awareness;
        self.stats.queued_claims = self.queue.len();
    }

    /// Has a test broken this rule? See [`crate::planted`].
    #[cfg(any(test, feature = "planted-bugs"))]
    fn broken(&self, bug: Bug) -> bool {
        self.cfg.tuning.bug == Some(bug)
    }

    #[cfg(not(any(test, feature = "planted-bugs")))]
    #[allow(clippy::unused_self)]
    const fn broken(&self, _: Bug) -> bool {
        false
    }

    fn sender(&self) -> Sender {
        Sender { id: self.me.id, version: self.me.version }
    }

    /// The strongest claim known about a member or this node.
    fn claim_about(&self, id: NodeId) -> Option<Arc<Packed>> {
        if id == self.me.id {
            let statement = match self.state {
                LocalState::Leaving | LocalState::Left => Statement::Left { by: id, prune: false },
                _ => Statement::Alive,
            };
            return Some(Packed::new(Claim { record: self.me.shared(), statement }));
        }
        self.table.get(id).map(Arc::clone)
    }

    /// Lifeguard: a node that may itself be slow waits longer, for everything.
    fn patient(&self, d: core::time::Duration) -> core::time::Duration {
        d * if self.broken(Bug::HealthUnminded) { 1 } else { self.awareness + 1 }
    }

    fn worse_health(&mut self) {
        let more = u32::from(!self.broken(Bug::HealthStays));
        self.awareness = (self.awareness + more).min(self.cfg.tuning.awareness_max);
    }

    fn better_health(&mut self) {
        self.awareness = self.awareness.saturating_sub(1);
    }

    fn begin_join(&mut self, now: Instant, addr: SocketAddr) -> Result<JoinId, CommandError> {
        let under_way = self.pending_joins.len() + self.joins_under_way();
        if under_way >= self.cfg.limits.joins {
            return Err(CommandError::Busy(under_way));
        }
        self.joins += 1;
        let id = JoinId(self.joins);
        if addr == self.me.addr {
            self.event(Event::JoinFinished { id, addr, result: Err(JoinError::Myself) });
        } else if self.state == LocalState::Starting {
            self.pending_joins.push((id, addr));
        } else {
            self.open_join(now, addr, Some(id));
        }
        Ok(id)
    }
}

#[cfg(test)]
mod tests;
