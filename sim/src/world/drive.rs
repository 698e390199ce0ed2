//! The driver of each node: hands in what came, drains what goes out, keeps its deadline.
//!
//! Guarantee: an input is handed in only while the process has the processor, on its own clock;
//! after each input all outputs are drained and the invariants checked. What came while it was
//! away is handed in before deadlines fire, as the real driver does.

use std::{net::SocketAddr, sync::Arc};

use quorate_core::{
    Command, CommandOutcome, Config, Counter, Durable, Instant, Label, Node, Pairs, Persist,
    PersistToken, QueryFilter, StreamEvent, StreamId, Tuning,
};
use siphasher::sip::SipHasher13;

use super::{
    LoadError, World,
    events::is_running,
    host::{Input, Joining, OnStream, Order, Process},
    queue::Plan,
};
use crate::{
    disk::{AtCrash, Found},
    invariants,
    keyed::Purpose,
    scenario::{Line, StartOptions},
    trace::Kind,
};

/// A write to disk takes between these.
const WRITE_NS: (u64, u64) = (200_000, 5_000_000);
/// A round of joins in which nobody answered is followed by another one after this.
const JOIN_RETRY_NS: u64 = 2_000_000_000;
/// Within a round the next address is contacted so long after the one before.
const JOIN_NEXT_NS: u64 = 1_000_000;
/// A process ends so long after its leave is through.
const EXIT_NS: u64 = 50_000_000;
/// In a large cluster each node's list is compared this often.
const LISTING_NS: u64 = 20_000_000_000;
/// In a large cluster one in so many datagrams and streams is taken apart: it is run for its speed.
const LOOKED_AT: u64 = 64;

impl World {
    /// Starts a process on host `h`. Without effect while one is there.
    pub(super) fn start_process(
        &mut self,
        h: usize,
        options: &StartOptions,
    ) -> Result<(), LoadError> {
        let number = self.hosts[h].number;
        if self.hosts[h].is_up() {
            return Ok(());
        }
        if self.hosts[h].process == Process::Off {
            let life = u64::from(self.hosts[h].life) + 1;
            let shown = self.keyed.below(Purpose::Boot, u64::from(number), life, 1 << 50);
            self.hosts[h].clock.boot(self.now, shown);
        }
        if options.fresh {
            self.hosts[h].disk.wipe();
        }
        let durable = match self.hosts[h].disk.load() {
            Found::State(d) => d,
            Found::Empty => Durable::new(self.new_identity(number).1),
            Found::Unreadable => {
                self.hosts[h].process = Process::Ended;
                self.say(h, Kind::StartRefused, || "the disk is unreadable".into());
                return Ok(());
            }
        };
        self.starts_with_keys(h, options);
        let identity = self.identity_of(durable.id).unwrap_or(0);
        let config = self.config(h, durable);
        let host = &mut self.hosts[h];
        host.forget_process();
        host.identity = identity;
        host.is_server = config.role.is_server();
        let seed = self.keyed.bytes32(Purpose::Node, u64::from(number), u64::from(host.life));
        let now = host.clock_shows(self.now);
        self.recorded(|r| r.starts(h, &config, seed, now));
        let host = &mut self.hosts[h];
        let node = Node::new(config, seed, now)
            .map_err(|e| LoadError::Config { node: number, reason: e.to_string() })?;
        host.process = Process::Up;
        (host.well_since, host.started_at) = (self.now, self.now);
        let version = node.local().record.version;
        host.node = Some(Box::new(node));
        host.revision = u64::MAX;
        let name = host.name.clone();
        let seq = self.note(h, Kind::Start, None, (0, version.generation), || {
            (String::new(), format!("{name} generation {}", version.generation))
        });
        self.cause = seq;
        self.checker.starts(h as u32, identity);
        self.drain(h);
        Ok(())
    }

    fn config(&self, h: usize, durable: Durable) -> Config {
        let host = &self.hosts[h];
        Config {
            name: host.name.clone(),
            addr: host.addr,
            label: label(),
            keys: host.keys.clone(),
            role: self.role(host.number),
            tags: Pairs::default(),
            meta: Pairs::default(),
            durable,
            rejoin_after_leave: false,
            tuning: self.tuning(h),
            limits: Arc::clone(&self.limits),
        }
    }

    /// The program's constants, and the versions that the scenario says.
    pub(super) fn tuning(&self, h: usize) -> Arc<Tuning> {
        let tuning = &self.tuning;
        let told = self.scenario.lines.iter().rev().find_map(|l| match l {
            Line::Protocol(p) if p.nodes.contains(self.hosts[h].number) => Some(p.range),
            _ => None,
        });
        let protocol = self.hosts[h].protocol.or(told).unwrap_or(tuning.protocol);
        if protocol == tuning.protocol {
            return Arc::clone(tuning);
        }
        Arc::new(Tuning { protocol, ..(**tuning).clone() })
    }

    /// The process on `h` ends; its host stays, or falls silent.
    pub(super) fn stop_process(&mut self, h: usize, silent: bool) {
        if self.hosts[h].is_up() {
            self.say(h, Kind::Stop, || if silent { "silent" } else { "ended" }.into());
            self.collect_counters(h);
            self.count_life(h);
            self.has_ended(h, silent);
            self.drop_streams(h, silent);
            self.hosts[h].forget_process();
            self.hosts[h].lost_at = self.now;
            let n = u64::from(self.hosts[h].number);
            let coin = self.keyed.below(Purpose::Crash, n, u64::from(self.hosts[h].life), 3);
            self.hosts[h].disk.crash(match coin {
                0 => AtCrash::Kept,
                1 => AtCrash::Lost,
                _ => AtCrash::Torn,
            });
            self.dirty = true;
        }
        let host = &mut self.hosts[h];
        if host.process != Process::Never {
            host.process = if silent { Process::Off } else { Process::Ended };
        }
        if silent {
            host.suspended_until = 0;
        }
    }

    pub(super) fn takes(&mut self, h: usize, input: Input) {
        match input {
            Input::Datagram { from, bytes, cause } => {
                self.cause = cause;
                self.hosts[h].inbox_datagrams -= 1;
                self.takes_datagram(h, from, &bytes);
                self.packets.recycle(bytes);
            }
            Input::Stream { slot, generation, side, what, cause } => {
                self.cause = cause;
                self.takes_stream(slot, generation, side, what);
            }
            Input::Persisted { token, cause } => {
                self.cause = cause;
                self.recorded(|r| r.persisted(h, self.now, self.hosts[h].clock_shows(self.now)));
                self.with_node(h, |node, now| node.handle_persisted(now, token));
                self.checks_owed(h, token);
            }
            Input::Command { what, cause } => {
                self.cause = cause;
                self.obeys(h, &what);
            }
        }
    }

    /// All that the node asked for is on disk: what it held back for that must be out now.
    fn checks_owed(&mut self, h: usize, token: PersistToken) {
        let host = &self.hosts[h];
        if let Some((last, generation)) = host.asked
            && last == token
            && is_running(host)
        {
            let checked = self.checker.written(host.identity, generation);
            self.check(h, checked);
        }
    }

    fn with_node(&mut self, h: usize, input: impl FnOnce(&mut Node, Instant)) {
        let host = &mut self.hosts[h];
        let now = host.clock_shows(self.now);
        if let Some(node) = &mut host.node {
            node.touch();
            node.swap_scratch(&mut self.scratch);
            input(node, now);
            self.drain(h);
            if let Some(node) = &mut self.hosts[h].node {
                node.swap_scratch(&mut self.scratch);
            }
        }
    }

    /// The node handles a datagram.
    pub(super) fn takes_datagram(&mut self, h: usize, from: SocketAddr, bytes: &[u8]) {
        let sender = super::host::number_of(from);
        self.cause = self.note(h, Kind::Receive, sender, (bytes.len(), 0), Default::default);
        let shown = self.hosts[h].clock_shows(self.now);
        self.recorded(|r| r.datagram(h, self.now, shown, (from, bytes)));
        if self.ring.is_some() && self.is_small {
            return self.takes_sealed(h, from, bytes);
        }
        self.with_node(h, |node, now| node.handle_datagram(now, from, bytes));
    }

    /// As above; what is forged, damaged or a replay must change nothing (S9).
    fn takes_sealed(&mut self, h: usize, from: SocketAddr, bytes: &[u8]) {
        let hash = datagram_hash(bytes);
        // One that only starts or has left reads nothing, so it remembers nothing.
        let reads = is_running(&self.hosts[h]);
        let genuine =
            self.genuine.contains(&hash) && (!reads || self.hosts[h].delivered.insert(hash));
        let before = self.effects(h);
        self.with_node(h, |node, now| node.handle_datagram(now, from, bytes));
        let checked = invariants::sealed(genuine, before == self.effects(h));
        self.check(h, checked);
    }

    /// Changes whenever the node at `h` learns something or sends a datagram.
    pub(super) fn effects(&self, h: usize) -> (Option<u64>, u64) {
        (self.hosts[h].node.as_ref().map(|n| n.revision()), self.measures.datagrams)
    }

    /// The node handles something on a stream; `opener` is the host that connected.
    pub(super) fn stream_input(&mut self, h: usize, id: StreamId, opener: u32, what: &OnStream) {
        let from = self.hosts[opener as usize].addr;
        let port = 40_000 + (id.number() >> 1) % 20_000;
        let from = SocketAddr::new(from.ip(), u16::try_from(port).unwrap_or(u16::MAX));
        let (kind, event, len) = match what {
            OnStream::Accepted => (Kind::Accept, StreamEvent::Accepted { from }, 0),
            OnStream::Connected => (Kind::Connect, StreamEvent::Connected, 0),
            OnStream::Data(b) => (Kind::Data, StreamEvent::Data(b), b.len()),
            OnStream::Finished => (Kind::Finish, StreamEvent::Finished, 0),
            OnStream::Failed(e) => (Kind::Broken, StreamEvent::Failed(*e), 0),
        };
        self.cause = self.note(h, kind, None, (len, id.number()), || {
            let why = if let OnStream::Failed(e) = what { format!("{e:?}") } else { String::new() };
            (String::new(), why)
        });
        let shown = self.hosts[h].clock_shows(self.now);
        self.recorded(|r| r.stream(h, self.now, shown, (id, event)));
        self.with_node(h, |node, now| node.handle_stream(now, id, event));
    }

    /// The node's deadline has come, or one that is void.
    pub(super) fn timer_fires(&mut self, h: usize) {
        if self.hosts[h].timer_at != self.now {
            return;
        }
        self.hosts[h].timer_at = u64::MAX;
        if !self.hosts[h].is_up() || self.hosts[h].is_stopped(self.now) {
            return;
        }
        if !self.is_ready(h) {
            return self.wake_later(h);
        }
        if self.is_due(h) {
            self.deadlines(h);
        } else {
            self.arm(h);
        }
    }

    /// The node handles what is due.
    pub(super) fn deadlines(&mut self, h: usize) {
        let now = self.hosts[h].clock_shows(self.now);
        self.recorded(|r| r.timeout(h, self.now, now));
        self.with_node(h, |node, now| node.handle_timeout(now));
    }

    /// Plans the node's deadline, if it is another one than what is planned: that one is void then,
    /// which is found out when it comes without a look at the node.
    pub(super) fn arm(&mut self, h: usize) {
        let host = &mut self.hosts[h];
        if host.is_stopped(self.now) {
            return;
        }
        let Some(deadline) = host.node.as_ref().and_then(|n| n.poll_timeout()) else { return };
        let Some(at) = host.when_clock_shows(deadline) else { return };
        let at = at.max(self.now);
        if at != host.timer_at {
            host.timer_at = at;
            self.queue.plan(at, Plan::Timer(h as u32));
        }
    }

    /// Takes all outputs of the node, then looks at what changed.
    pub(super) fn drain(&mut self, h: usize) {
        let Some(mut node) = self.hosts[h].node.take() else { return };
        let now = self.hosts[h].clock_shows(self.now);
        let (mut datagrams, mut largest) = (0, 0);
        while let Some(persist) = node.poll_persist() {
            self.persists(h, persist);
        }
        let mut buffer = self.packets.buffer();
        while let Some(t) = node.poll_transmit(now, &mut buffer) {
            buffer.truncate(t.len);
            datagrams += 1;
            largest = largest.max(buffer.len());
            if self.is_looked_at(self.measures.datagrams) {
                let own = node.record().id;
                let checked = invariants::own_claims(&label(), self.ring.as_ref(), own, &buffer);
                self.check(h, checked);
            }
            if self.ring.is_some() && self.is_small {
                self.genuine.insert(datagram_hash(&buffer));
            }
            let datagram = std::mem::replace(&mut buffer, self.packets.buffer());
            self.send(h, t.to, datagram);
            if datagrams > self.limits.transmits + 2 * invariants::OUTPUTS_MAX {
                break;
            }
        }
        self.packets.recycle(buffer);
        while let Some(action) = node.poll_stream() {
            self.overhears(h, node.record().id, &action);
            self.stream_action(h, action);
        }
        self.events(h, &mut node);
        let checked = invariants::outputs(&self.limits, datagrams, largest);
        self.check(h, checked);
        let (held, open) = (node.open_streams(), self.hosts[h].streams.len());
        let checked = invariants::held(&self.limits, held, open, node.stats().queued_claims);
        self.check(h, checked);
        self.checks_events(h, &node);
        let revision = node.revision();
        self.hosts[h].node = Some(node);
        self.checks_memory(h);
        if revision != self.hosts[h].revision {
            self.hosts[h].revision = revision;
            self.changed(h);
        }
        self.arm(h);
    }

    /// Tells what the node tells. What it had no room to remember it cannot hold against anybody,
    /// neither those that it told of before nor those that it tells of now.
    fn events(&mut self, h: usize, node: &mut Node) {
        let dropped = node.stats().get(Counter::TombstonesDropped);
        let is_full = self.hosts[h].tombstones_dropped != dropped;
        self.hosts[h].tombstones_dropped = dropped;
        if is_full {
            self.checker.drops_tombstones(h as u32);
        }
        while let Some(event) = node.poll_event() {
            self.told(h, &event);
        }
        if is_full {
            self.checker.drops_tombstones(h as u32);
        }
    }

    /// In a large cluster one in [`LOOKED_AT`] datagrams and streams is taken apart.
    pub(super) const fn is_looked_at(&self, nth: u64) -> bool {
        self.is_small || nth.is_multiple_of(LOOKED_AT)
    }

    /// In a large cluster: is it this node's turn to have its list compared?
    pub(super) fn is_listing_due(&self, h: usize) -> bool {
        self.is_small || self.now - self.hosts[h].listed_at >= LISTING_NS
    }

    fn persists(&mut self, h: usize, p: Persist) {
        let generation = p.state.generation;
        self.hosts[h].asked = Some((p.token, generation));
        self.note(h, Kind::Persist, None, (0, generation), || {
            (String::new(), format!("generation {generation}"))
        });
        if let Some(keys) = p.keys {
            self.hosts[h].keys_asked.push((p.token, keys));
        }
        if self.hosts[h].disk.submit(p.token, p.state) {
            self.begin_write(h);
        }
    }

    pub(super) fn begin_write(&mut self, h: usize) {
        let host = &mut self.hosts[h];
        host.writes += 1;
        let (subject, n, life) = (u64::from(host.number), host.writes, host.life);
        let (min, max) = WRITE_NS;
        let takes = self.keyed.between(Purpose::Disk, subject, n, min, max);
        self.queue.plan(self.now + takes, Plan::Disk(h as u32, life));
    }

    /// A write to disk is done, if the process that asked still lives.
    pub(super) fn write_ends(&mut self, h: usize, life: u32) {
        if self.hosts[h].life != life || !self.hosts[h].is_up() {
            return;
        }
        if self.hosts[h].suspended_until > self.now {
            let at = self.hosts[h].suspended_until;
            return self.queue.plan(at, Plan::Disk(h as u32, life));
        }
        let (token, more) = self.hosts[h].disk.complete();
        if more {
            self.begin_write(h);
        }
        let Some(token) = token else { return };
        self.keys_written(h, token);
        self.cause = self.say(h, Kind::Persisted, String::new);
        let cause = self.cause;
        let input = Input::Persisted { token, cause };
        if self.is_ready(h) {
            self.takes(h, input);
        } else {
            self.waits(h, input);
        }
    }

    /// An operator tells a process what to do, as soon as it listens.
    pub(super) fn order(&mut self, h: usize, what: Order) {
        if !self.hosts[h].is_up() {
            return;
        }
        if self.is_ready(h) {
            self.obeys(h, &what);
        } else {
            let cause = self.cause;
            self.waits(h, Input::Command { what, cause });
        }
    }

    fn obeys(&mut self, h: usize, what: &Order) {
        let command = match what {
            Order::Leave => Command::Leave,
            Order::Retag(n) => match Pairs::new([("retag", n.to_string())]) {
                Ok(meta) => Command::SetMeta(meta),
                Err(_) => return,
            },
            Order::Keyring(op) => Command::Keyring(op.clone()),
            Order::ForceLeave(name) => Command::ForceLeave { name: name.clone(), prune: false },
            Order::Event(name) => {
                Command::UserEvent { name: name.to_string(), payload: b"traffic".to_vec() }
            }
            Order::Query(name) => Command::Query {
                name: name.to_string(),
                payload: Vec::new(),
                filter: QueryFilter::default(),
                ack: false,
                timeout_ms: 0,
            },
            Order::Answer(id) => Command::Answer { id: *id, payload: b"yes".to_vec() },
            Order::Join => {
                let joining = &mut self.hosts[h].joining;
                if joining.targets.is_empty() {
                    return;
                }
                let n = joining.targets[joining.tries as usize % joining.targets.len()];
                joining.tries += 1;
                Command::Join { addr: self.hosts[n as usize].addr }
            }
        };
        let now = self.hosts[h].clock_shows(self.now);
        self.recorded(|r| r.command(h, self.now, now, &command));
        let host = &mut self.hosts[h];
        let Some(node) = &mut host.node else { return };
        match (node.command(now, command), what) {
            (Ok(CommandOutcome::Joining(id)), _) => host.joining.id = Some(id),
            (Err(_), Order::Join) => self.join_ended(h, false),
            (Ok(CommandOutcome::Fired { id, time }), _) => self.fired(h, what, (time, id)),
            _ => {}
        }
        self.drain(h);
    }

    /// An address answered or did not: on to the next one, until a round met somebody.
    pub(super) fn join_ended(&mut self, h: usize, met: bool) {
        let host = &mut self.hosts[h];
        let joining = &mut host.joining;
        joining.id = None;
        joining.met |= met;
        let is_round_over = (joining.tries as usize).is_multiple_of(joining.targets.len());
        if is_round_over && joining.met {
            *joining = Joining::default();
            return;
        }
        let wait = if is_round_over { JOIN_RETRY_NS } else { JOIN_NEXT_NS };
        let life = host.life;
        self.queue.plan(self.now + wait, Plan::Join(h as u32, life));
    }

    pub(super) fn joins_again(&mut self, h: usize, life: u32) {
        if self.hosts[h].life == life {
            self.order(h, Order::Join);
        }
    }

    /// The process has left: it ends.
    pub(super) fn exit_later(&mut self, h: usize) {
        let life = self.hosts[h].life;
        self.queue.plan(self.now + EXIT_NS, Plan::Exit(h as u32, life));
    }

    pub(super) fn exits(&mut self, h: usize, life: u32) {
        if self.hosts[h].life == life && self.hosts[h].is_up() {
            self.stop_process(h, false);
        }
    }
}

/// Tells datagrams apart.
pub(super) fn datagram_hash(bytes: &[u8]) -> u64 {
    SipHasher13::new().hash(bytes)
}

/// The cluster's label: always valid.
pub(super) fn label() -> Label {
    Label::new("dc1").unwrap_or_else(|e| unreachable!("letters are a label: {e}"))
}
