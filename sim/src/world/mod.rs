//! The discrete-event world: runs one scenario on nodes of [`quorate_core`] in virtual time.
//!
//! Each occurrence is one input of one node (or of the network between them); its outputs are
//! drained at once and planned as further occurrences. Guarantees: the same scenario and options
//! give the same trace hash, whoever runs it where; every message passes as bytes; the invariants
//! are checked after every input.

mod bootstrap;
mod coordinates;
mod datagram;
mod drive;
mod events;
pub(crate) mod host;
mod hostile;
mod lively;
mod processor;
mod queue;
mod steps;
mod stream;
#[cfg(test)]
mod tests;
mod user;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use quorate_core::{Counter, Limits, Name, NodeId, Record, Scratch, State, Tuning, wire::Keyring};

use crate::{
    corpus::Recorder,
    invariants::{Checker, Invariant, Seen, Violation},
    keyed::{Keyed, Purpose},
    network::Network,
    paths::Paths,
    program::Program,
    scenario::{Action, Goal, Line, Scenario},
    trace::{Event, Fact, Kind, Sink, Trace},
};
use host::{Host, Process};
pub use hostile::Injected;
use queue::{Plan, Queue};

/// How to run a scenario.
#[derive(Debug)]
pub struct Options {
    /// What every node runs.
    pub program: Program,
    /// Caps of every node.
    pub limits: Limits,
    /// What becomes of the trace.
    pub sink: Sink,
    /// Stop at the first broken invariant or expectation.
    pub stop_at_failure: bool,
    /// Listens to what nodes are given.
    pub recorder: Option<Arc<Mutex<Recorder>>>,
    /// Datagrams that arrive beside those that the nodes send.
    pub inject: Vec<Injected>,
    /// Keep all datagrams that the nodes send in [`Outcome::recorded`].
    pub record: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            program: Program::default(),
            limits: Limits::default(),
            sink: Sink::Hash,
            stop_at_failure: true,
            recorder: None,
            inject: Vec::new(),
            record: false,
        }
    }
}

/// Why a scenario cannot be run.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum LoadError {
    /// Core refused a node's configuration.
    #[error("n{node} cannot start: {reason}")]
    Config {
        /// The node.
        node: u32,
        /// What core says.
        reason: String,
    },
}

/// What was broken, where and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// An invariant's name, or the kind of the expectation.
    pub check: String,
    /// Virtual time, nanoseconds.
    pub t: u64,
    /// Where it was seen; 0: by the world.
    pub node: u32,
    /// For people.
    pub message: String,
    /// `seq` of the event that led to it, to slice the trace.
    pub cause: u64,
    /// Where in the code it panicked, if it did and that is known: file, line and column.
    pub place: Option<String>,
}

impl Failure {
    /// Is it the same failure? The same check is broken; of two panics, at the same place, or
    /// with the same words if the place is not known (numbers differ from run to run).
    pub fn is_like(&self, other: &Self) -> bool {
        let words = |f: &Self| f.message.replace(|c: char| c.is_ascii_digit(), "");
        let panicked = self.check == Invariant::S10.name();
        self.check == other.check
            && self.place == other.place
            && (!panicked || self.place.is_some() || words(self) == words(other))
    }
}

/// What a run measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measures {
    /// Failed events about members that ran and could be reached all the time.
    pub false_failures: u64,
    /// Those of them that were told by members which were not starved themselves.
    pub false_at_healthy: u64,
    /// Failed events about processes that had not ended: stopped, cut off or well.
    pub live_failures: u64,
    /// From the loss of a process to each node's failed event, nanoseconds.
    pub detections_ns: Vec<u64>,
    /// From each `within` line's base to its truth, nanoseconds, in the order of the lines.
    pub met_ns: Vec<(usize, u64)>,
    /// Datagrams sent.
    pub datagrams: u64,
    /// Bytes of them, without IP and UDP heads.
    pub datagram_bytes: u64,
    /// Bytes written to streams.
    pub stream_bytes: u64,
    /// Sum over nodes of the time their process was there, nanoseconds.
    pub node_ns: u128,
}

/// What a run led to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Hash of the trace.
    pub hash: u64,
    /// Occurrences handled.
    pub occurrences: u64,
    /// Events in the trace.
    pub events: u64,
    /// Virtual time at the end, nanoseconds.
    pub end: u64,
    /// What was broken, in order; at most [`World::FAILURES`].
    pub failures: Vec<Failure>,
    /// What was met.
    pub goals: BTreeSet<Goal>,
    /// What was measured.
    pub measures: Measures,
    /// The datagrams that were sent, if they were kept.
    pub recorded: Vec<Injected>,
    /// The kept events, if they were kept.
    pub trace: Vec<Event>,
    /// The first error of writing the trace, if there was one.
    pub trace_error: Option<String>,
}

/// A scenario on its way.
#[derive(Debug)]
pub struct World {
    scenario: Scenario,
    program: Program,
    /// Of all nodes but those that the scenario tells otherwise.
    tuning: Arc<Tuning>,
    limits: Arc<Limits>,
    stop_at_failure: bool,
    end: u64,
    now: u64,
    queue: Queue,
    keyed: Keyed,
    network: Network,
    /// By number; place 0 is unused.
    hosts: Vec<Host>,
    /// Members that ever were: id and host.
    identities: Vec<(NodeId, u32)>,
    packets: datagram::Slab,
    /// One for all nodes, which share their records by that.
    scratch: Scratch,
    /// Hash of each member's newest record.
    contents: Vec<Option<(Arc<Record>, u64)>>,
    /// Room for the list that is looked at.
    listing: Vec<(Seen, State)>,
    conns: stream::Conns,
    cores: processor::Cores,
    checker: Checker,
    trace: Trace,
    /// The event that leads to what happens now.
    cause: u64,
    watches: Vec<watch::Watch>,
    /// The last that a node told of a member in this occurrence.
    told_last: u64,
    /// Open suspicions: which node, of whom, and the event that told of it.
    suspicions: BTreeMap<(u32, u32), u64>,
    /// Some view changed since the watches were looked at.
    dirty: bool,
    polling: bool,
    failures: Vec<Failure>,
    goals: BTreeSet<Goal>,
    measures: Measures,
    occurrences: u64,
    keeps_history: bool,
    /// Lists are checked at every change; else each node's in turns.
    is_small: bool,
    paths: Paths,
    lively: lively::Lively,
    /// When the last step of the scenario was taken.
    stepped_at: u64,
    /// Opens what any node sends, if nodes seal.
    ring: Option<Keyring>,
    record: bool,
    recorded: Vec<Injected>,
    /// Hashes of the sealed datagrams that a node wrote.
    genuine: BTreeSet<u64>,
    counted: [u64; Counter::ALL.len()],
    said: user::Said,
    recorder: Option<Arc<Mutex<Recorder>>>,
}

impl World {
    /// More failures of one run are not kept.
    pub const FAILURES: usize = 16;

    /// Up to so many nodes, member lists are compared at every change.
    const SMALL: u32 = 64;

    /// Prepares a run.
    ///
    /// # Errors
    /// [`LoadError`] if the scenario asks for what is not there.
    pub fn new(scenario: Scenario, options: Options) -> Result<Self, LoadError> {
        let highest = scenario.highest_node();
        let keyed = Keyed::new(scenario.cluster.seed);
        let replays =
            |l: &Line| matches!(l, Line::At(_, Action::Replay { .. } | Action::Garbage { .. }));
        let mut world = Self {
            end: scenario.end_time().as_nanos(),
            now: 0,
            queue: Queue::default(),
            keyed,
            network: Network::default(),
            hosts: (0..=highest).map(|n| Host::new(n, name(n), options.program.clock)).collect(),
            identities: Vec::new(),
            packets: datagram::Slab::default(),
            scratch: Scratch::new((highest as usize * 16).max(1024)),
            contents: Vec::new(),
            listing: Vec::new(),
            conns: stream::Conns::default(),
            cores: processor::Cores::default(),
            checker: Checker::of(highest as usize + 1, highest > Self::SMALL),
            trace: Trace::new(options.sink),
            cause: 0,
            watches: Vec::new(),
            told_last: 0,
            suspicions: BTreeMap::new(),
            dirty: true,
            polling: false,
            failures: Vec::new(),
            goals: BTreeSet::new(),
            measures: Measures::default(),
            occurrences: 0,
            keeps_history: scenario.lines.iter().any(replays),
            is_small: highest <= Self::SMALL,
            paths: Paths::default(),
            lively: lively::Lively::default(),
            stepped_at: 0,
            ring: if options.program.sealed || scenario.is_sealed() {
                Self::all_keys()
            } else {
                None
            },
            record: options.record,
            recorded: Vec::new(),
            genuine: BTreeSet::new(),
            counted: [0; Counter::ALL.len()],
            said: user::Said::default(),
            recorder: options.recorder,
            tuning: Arc::new(options.program.tuning.clone()),
            program: options.program,
            limits: Arc::new(limits(&scenario, options.limits)),
            stop_at_failure: options.stop_at_failure,
            scenario,
        };
        world.load()?;
        world.plan_injections(options.inject);
        Ok(world)
    }

    /// Set-up lines take effect, steps and watches are planned, first processes start.
    fn load(&mut self) -> Result<(), LoadError> {
        let lines = std::mem::take(&mut self.scenario.lines);
        let mut later = vec![false; self.hosts.len()];
        for h in 1..self.hosts.len() {
            let n = self.hosts[h].number;
            let shown = self.keyed.below(Purpose::Boot, u64::from(n), 0, 1 << 50);
            self.hosts[h].clock.boot(0, shown);
        }
        for (i, line) in lines.iter().enumerate() {
            match line {
                Line::Net(s) => self.network.set_base(s),
                Line::Link(l) => self.network.set_links(l),
                Line::Clock(c) => self.set_clocks(c),
                Line::Cores(n) => self.cores.count = *n,
                Line::At(t, action) => {
                    if let Action::Start { nodes, .. } = action {
                        for n in nodes.numbers(0) {
                            later[n as usize] = true;
                        }
                    }
                    self.queue.plan(t.as_nanos(), Plan::Line(i as u32));
                }
                Line::Server(_)
                | Line::Protocol(_)
                | Line::Keys(_)
                | Line::Queues(_)
                | Line::Expect(_) => {}
            }
        }
        self.scenario.lines = lines;
        self.network_changed();
        self.plan_watches();
        for (n, later) in later.into_iter().enumerate().skip(1) {
            if !later && n <= self.scenario.cluster.nodes as usize {
                self.start_process(n, &crate::scenario::StartOptions::default())?;
            }
        }
        Ok(())
    }

    /// Runs to the end or to the first failure.
    pub fn run(mut self) -> Outcome {
        self.run_until(self.end);
        self.finish()
    }

    /// Runs up to a time (nanoseconds), at most to the end.
    pub fn run_until(&mut self, t: u64) {
        let end = t.min(self.end);
        while let Some((time, plan)) = self.queue.next(end) {
            if self.stop_at_failure && !self.failures.is_empty() {
                return;
            }
            if self.lively_due() <= time {
                self.looks_until(time);
            }
            debug_assert!(time >= self.now, "time went back");
            self.now = time;
            self.occurrences += 1;
            self.occur(plan);
        }
        self.looks_until(end);
        if self.failures.is_empty() || !self.stop_at_failure {
            self.now = self.now.max(end);
        }
    }

    fn occur(&mut self, plan: Plan) {
        (self.cause, self.told_last) = (0, 0);
        match plan {
            Plan::Datagram(slot) => self.datagram_arrives(slot),
            Plan::Timer(h) => self.timer_fires(h as usize),
            Plan::Wake(h) => self.wakes(h as usize),
            Plan::Core => self.core_is_free(),
            Plan::Busy => self.busy_turn_ends(),
            Plan::Stream(slot, generation, part) => self.stream_goes_on(slot, generation, part),
            Plan::Disk(h, life) => self.write_ends(h as usize, life),
            Plan::Line(i) => self.line_takes_effect(i as usize),
            Plan::Resume(h, life) => self.resumes(h as usize, life),
            Plan::Flap(h) => self.flaps(h as usize),
            Plan::Join(h, life) => self.joins_again(h as usize, life),
            Plan::Exit(h, life) => self.exits(h as usize, life),
            Plan::Poll => self.poll_watches(),
            Plan::Deadline(i) => self.watch_ends(i as usize),
        }
    }

    fn finish(mut self) -> Outcome {
        self.recorded(Recorder::finish);
        for h in 1..self.hosts.len() {
            self.collect_counters(h);
            self.count_life(h);
        }
        if self.failures.is_empty() {
            self.check_sometimes();
            self.check_observers();
        }
        let (hash, events) = (self.trace.hash(), self.trace.count());
        let (trace, trace_error) = match self.trace.finish() {
            Ok(events) => (events, None),
            Err(e) => (Vec::new(), Some(e.to_string())),
        };
        Outcome {
            hash,
            occurrences: self.occurrences,
            events,
            end: self.now,
            failures: self.failures,
            goals: self.goals,
            measures: self.measures,
            recorded: self.recorded,
            trace,
            trace_error,
        }
    }

    /// Tells the recorder, if somebody listens.
    fn recorded(&self, what: impl FnOnce(&mut Recorder)) {
        if let Some(r) = &self.recorder {
            what(&mut r.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Adds an event of host `h` (0: the world) to the trace.
    fn note(
        &mut self,
        h: usize,
        kind: Kind,
        to: Option<u32>,
        (bytes, mark): (usize, u64),
        text: impl FnOnce() -> (String, String),
    ) -> u64 {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let (t, cause) = (self.now, self.cause);
        self.trace.add(Fact { t, cause, node: h as u32, kind, to, bytes, mark }, text)
    }

    /// Adds an event that needs only words.
    fn say(&mut self, h: usize, kind: Kind, detail: impl FnOnce() -> String) -> u64 {
        self.note(h, kind, None, (0, 0), || (String::new(), detail()))
    }

    fn fail(&mut self, h: usize, check: String, message: String) {
        if self.cause == 0 {
            self.cause = self.told_last;
        }
        let cause = self.say(h, Kind::Violation, || format!("{check}: {message}"));
        if self.failures.len() < Self::FAILURES {
            let (t, node) = (self.now, h as u32);
            self.failures.push(Failure { check, t, node, message, cause, place: None });
        }
    }

    #[inline]
    fn check(&mut self, h: usize, result: Result<(), Violation>) {
        if let Err(v) = result {
            self.fail(h, v.invariant.name().to_owned(), v.message);
        }
    }

    /// The place of a member in the table; ids carry it in their last four bytes.
    fn identity_of(&self, id: NodeId) -> Option<u32> {
        let [.., a, b, c, d] = *id.as_bytes();
        let i = u32::from_be_bytes([a, b, c, d]);
        self.identities.get(i as usize).filter(|x| x.0 == id).map(|_| i)
    }

    /// A member that never was.
    fn new_identity(&mut self, number: u32) -> (u32, NodeId) {
        let i = self.identities.len() as u32;
        let nth = self.identities.iter().filter(|x| x.1 == number).count() as u64;
        let mut bytes = [0; 16];
        let high = self.keyed.bits(Purpose::Id, u64::from(number), nth);
        bytes[..8].copy_from_slice(&high.to_be_bytes());
        bytes[12..].copy_from_slice(&i.to_be_bytes());
        let id = NodeId::from_bytes(bytes);
        self.identities.push((id, number));
        (i, id)
    }

    fn count_life(&mut self, h: usize) {
        let host = &mut self.hosts[h];
        if host.process == Process::Up {
            self.measures.node_ns += u128::from(self.now.saturating_sub(host.started_at));
        }
    }
}

/// The caps of every node: as asked for, with room for all, and the queues of the scenario.
fn limits(scenario: &Scenario, asked: Limits) -> Limits {
    let mut limits = Limits { room: scenario.highest_node() as usize, ..asked };
    for line in &scenario.lines {
        if let Line::Queues(n) = line {
            (limits.transmits, limits.events) = (*n as usize, *n as usize);
        }
    }
    limits
}

/// `n3`: always a valid name.
fn name(n: u32) -> Name {
    let text = format!("n{n}");
    Name::new(text).unwrap_or_else(|e| unreachable!("a letter and digits are a name: {e}"))
}

/// Runs a scenario.
///
/// # Errors
/// [`LoadError`] if it asks for what is not there.
pub fn run(scenario: Scenario, options: Options) -> Result<Outcome, LoadError> {
    Ok(World::new(scenario, options)?.run())
}
