//! Drives a run: lets turmoil take a tick, looks at all views, lets due steps take effect.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use ::turmoil::{Builder, Sim};
use net_tokio::view::View;
use quorate_core::{Config, Durable, Label, Name, NodeId, Pairs, Role};
use tokio::sync::mpsc;

use super::{
    Options, Outcome, Plan, TICK, TICK_NS,
    agent::{Launch, Order, Slot, software},
    ask,
    clock::SimClock,
    fabric::{Fabric, Injection, address},
    watch::Watch,
};
use crate::{
    checks::check_of,
    keyed::{Keyed, Purpose},
    scenario::{Action, Expect, Goal, Line, Scenario, StartOptions},
    world::host::Process,
};

/// A node and where it runs now.
pub(super) struct Host {
    pub number: u32,
    pub name: Name,
    pub ip: IpAddr,
    pub moves: u8,
    pub process: Process,
    /// Counts processes.
    pub life: u64,
    /// Counts empty disks.
    pub identities: u64,
    /// The member that its disk says it is; none before its first start.
    pub id: Option<NodeId>,
    pub disk: Option<Arc<Mutex<Durable>>>,
    pub clock: SimClock,
    pub slot: Arc<Slot>,
    pub orders: Option<mpsc::UnboundedSender<Order>>,
    pub well_since: u64,
    /// What its agent showed at the last tick.
    pub view: Option<Arc<View>>,
}

/// Isolated and back in turns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flapping {
    pub every: u64,
    pub until: u64,
    pub next: u64,
    pub isolated: bool,
}

/// A run on its way.
pub(super) struct Runner<'a> {
    pub(super) scenario: &'a Scenario,
    options: &'a Options,
    pub(super) sim: Sim<'static>,
    pub(super) fabric: Fabric,
    keyed: Keyed,
    /// By number; place 0 is unused.
    pub(super) hosts: Vec<Host>,
    /// Every address that has a host of turmoil.
    addresses: Vec<IpAddr>,
    /// Ways that turmoil was told to block.
    blocked: BTreeSet<(IpAddr, IpAddr)>,
    latencies: BTreeMap<(IpAddr, IpAddr), u64>,
    pub(super) flapping: BTreeMap<u32, Flapping>,
    /// Replayed and random datagrams on their way.
    pub(super) injections: Vec<Injection>,
    pub(super) watches: Vec<Watch>,
    pub(super) now: u64,
    /// Something that watches look at changed.
    pub(super) dirty: bool,
    counts: bool,
    pub(super) outcome: Outcome,
}

impl<'a> Runner<'a> {
    pub(super) fn new(plan: &'a Plan, options: &'a Options) -> Self {
        let scenario = plan.scenario();
        let keyed = Keyed::new(scenario.cluster.seed);
        let highest = scenario.highest_node();
        let counted = |l: &Line| match l {
            Line::Expect(Expect::Sometimes(goal)) => goal.counter().is_some(),
            _ => false,
        };
        let injects =
            scenario.lines.iter().filter_map(Line::step).any(|(_, action)| {
                matches!(action, Action::Replay { .. } | Action::Garbage { .. })
            });
        Self {
            scenario,
            options,
            sim: network(scenario, &keyed),
            fabric: Fabric::new(scenario.cluster.seed, highest, injects),
            hosts: (0..=highest).map(|n| Host::new(n, &keyed)).collect(),
            keyed,
            addresses: Vec::new(),
            blocked: BTreeSet::new(),
            latencies: BTreeMap::new(),
            flapping: BTreeMap::new(),
            injections: Vec::new(),
            watches: Watch::all(scenario),
            now: 0,
            dirty: true,
            counts: scenario.lines.iter().any(counted),
            outcome: Outcome::default(),
        }
    }

    /// Runs to the end or to the first failure.
    pub(super) fn run(mut self) -> Outcome {
        self.set_up();
        let scenario = self.scenario;
        let mut steps: Vec<_> = scenario.lines.iter().filter_map(Line::step).collect();
        steps.sort_by_key(|(t, _)| *t);
        let mut steps = steps.into_iter().peekable();
        let end = scenario.end_time().as_nanos();
        loop {
            while let Some((_, action)) = steps.next_if(|(t, _)| *t <= self.now) {
                self.acts(action);
            }
            self.flaps();
            self.injects();
            self.connects_hosts();
            self.looks();
            if self.is_over() || self.now >= end || !self.ticks() {
                break;
            }
        }
        if self.outcome.failures.is_empty() && self.options.asks {
            ask::all(&mut self);
        }
        if self.outcome.failures.is_empty() {
            self.checks_goals();
        }
        self.outcome.end = self.now;
        self.outcome
    }

    fn is_over(&self) -> bool {
        self.options.stop_at_failure && !self.outcome.failures.is_empty()
    }

    /// Lets every host run for a tick. `false`: the network itself broke.
    pub(super) fn ticks(&mut self) -> bool {
        let result = self.sim.step();
        self.now += TICK_NS;
        if let Err(e) = &result {
            self.outcome.fail("turmoil", 0, self.now, e.to_string());
        }
        result.is_ok()
    }

    /// Lines that hold from the start, and the processes that are there then.
    pub(super) fn set_up(&mut self) {
        let mut later = vec![false; self.hosts.len()];
        for line in &self.scenario.lines {
            match line {
                Line::Net(s) => self.fabric.change(0, |n| n.set_base(s)),
                Line::Link(l) => self.fabric.change(0, |n| n.set_links(l)),
                Line::Clock(c) => self.set_clocks(c),
                Line::At(_, Action::Start { nodes, .. }) => {
                    for n in nodes.numbers(0) {
                        later[n as usize] = true;
                    }
                }
                _ => {}
            }
        }
        for (h, later) in later.into_iter().enumerate().skip(1) {
            if !later && h <= self.scenario.cluster.nodes as usize {
                self.start_process(h, &StartOptions::default());
            }
        }
    }

    /// Starts a process on host `h`. Without effect while one is there.
    pub(super) fn start_process(&mut self, h: usize, options: &StartOptions) {
        let n = self.hosts[h].number;
        if self.hosts[h].process == Process::Up {
            return;
        }
        if self.hosts[h].process == Process::Off {
            let life = self.hosts[h].life + 1;
            let shown = self.keyed.below(Purpose::Boot, u64::from(n), life, 1 << 50);
            self.hosts[h].clock.boot(self.now, shown);
        }
        let disk = self.disk(h, options.fresh);
        let addr = address(n, self.hosts[h].moves);
        let durable = disk.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (tx, orders) = mpsc::unbounded_channel();
        let host = &mut self.hosts[h];
        host.life += 1;
        host.id = Some(durable.id);
        host.orders = Some(tx);
        let config = config(self.scenario, self.options, host, durable);
        let launch = Launch {
            number: n,
            config,
            seed: self.keyed.bytes32(Purpose::Node, u64::from(n), host.life),
            disk,
            clock: host.clock.clone(),
            fabric: self.fabric.clone(),
            orders,
            counts: self.counts,
        };
        host.process = Process::Up;
        (host.well_since, host.view) = (self.now, None);
        self.fabric.put(n, addr, true);
        self.fabric.clear_injected(n);
        self.boots(h, addr.ip(), Some(launch));
        self.dirty = true;
    }

    /// The disk of a node: the one it had, or an empty one with a new member's id.
    fn disk(&mut self, h: usize, fresh: bool) -> Arc<Mutex<Durable>> {
        let host = &mut self.hosts[h];
        if let (Some(disk), false) = (&host.disk, fresh) {
            return Arc::clone(disk);
        }
        host.identities += 1;
        let bytes = self.keyed.bytes32(Purpose::Id, u64::from(host.number), host.identities);
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[..16]);
        let disk = Arc::new(Mutex::new(Durable::new(NodeId::from_random(id))));
        host.disk = Some(Arc::clone(&disk));
        disk
    }

    /// Boots the host at `ip`: whatever ran there is gone, what is to run starts.
    pub(super) fn boots(&mut self, h: usize, ip: IpAddr, launch: Option<Launch>) {
        if self.addresses.contains(&ip) {
            self.hosts[h].slot.load(launch);
            self.sim.bounce(ip);
            return;
        }
        let slot = Arc::new(Slot::default());
        slot.load(launch);
        (self.hosts[h].slot, self.hosts[h].ip) = (Arc::clone(&slot), ip);
        self.addresses.push(ip);
        self.sim.host(ip, move || software(Arc::clone(&slot)));
    }

    /// The process of host `h` is gone at once; its host answers, or is silent too.
    pub(super) fn stop_process(&mut self, h: usize, silent: bool) {
        let (n, ip, before) = (self.hosts[h].number, self.hosts[h].ip, self.hosts[h].process);
        if before == Process::Never {
            return;
        }
        let host = &mut self.hosts[h];
        (host.orders, host.view) = (None, None);
        self.dirty = true;
        if silent {
            self.hosts[h].process = Process::Off;
            self.fabric.put(n, address(n, self.hosts[h].moves), false);
            // First nothing gets out any more, then what runs there ends.
            self.connects_hosts();
            self.hosts[h].slot.load(None);
            self.sim.crash(ip);
        } else if before == Process::Up {
            self.hosts[h].process = Process::Ended;
            self.boots(h, ip, None);
        }
    }

    /// Tells turmoil what changed: blocked ways, and the latency of links.
    pub(super) fn connects_hosts(&mut self) {
        for &a in &self.addresses {
            for &b in self.addresses.iter().filter(|b| **b != a) {
                let blocked = self.fabric.is_blocked(a, b);
                if blocked && self.blocked.insert((a, b)) {
                    self.sim.partition_oneway(a, b);
                } else if !blocked && self.blocked.remove(&(a, b)) {
                    self.sim.repair_oneway(a, b);
                }
            }
        }
        for (i, a) in self.hosts.iter().enumerate().skip(1) {
            for b in self.hosts.iter().skip(i + 1) {
                let there = |h: &Host| self.addresses.contains(&h.ip);
                let ns = self.fabric.ask(|n| n.profile(a.number, b.number)).latency_min_ns;
                // Less than a millisecond would arrive before it was sent.
                let ms = (ns / 1_000_000).max(1);
                if there(a) && there(b) && self.latencies.insert((a.ip, b.ip), ms) != Some(ms) {
                    self.sim.set_link_latency(a.ip, b.ip, Duration::from_millis(ms));
                }
            }
        }
    }

    /// Notes that a goal was met.
    pub(super) fn meets(&mut self, goal: &str) {
        self.outcome.goals.extend(Goal::by_name(goal));
    }

    /// What the run must have met.
    fn checks_goals(&mut self) {
        for host in &self.hosts {
            host.slot.count_now();
        }
        if self.counts && !(self.ticks() && self.ticks()) {
            return;
        }
        self.collects();
        for line in &self.scenario.lines {
            let Line::Expect(Expect::Sometimes(goal)) = line else { continue };
            let met = |g: &Goal| self.outcome.goals.contains(g);
            let same = |g: &&Goal| g.counter().is_some() && g.counter() == goal.counter();
            if !met(goal) && !self.outcome.goals.iter().any(|g| same(&g)) {
                let check = check_of(&Expect::Sometimes(*goal));
                self.outcome.fail(check, 0, self.now, "the run never met it");
            }
        }
    }

    /// Takes what the hosts' software told.
    pub(super) fn collects(&mut self) {
        for h in 1..self.hosts.len() {
            let slot = Arc::clone(&self.hosts[h].slot);
            let mut told = slot.told();
            let (ended, broken) = (told.ended, told.broken.take());
            if std::mem::take(&mut told.join_refused) {
                self.meets("join-refused");
            }
            let counted = told.counted.iter().map(|c| Goal::Counted(*c));
            self.outcome.goals.extend(counted);
            drop(told);
            if ended && self.hosts[h].process == Process::Up {
                let host = &mut self.hosts[h];
                (host.process, host.orders, host.view) = (Process::Ended, None, None);
                self.dirty = true;
            }
            if let Some(why) = broken {
                let n = self.hosts[h].number;
                self.outcome.fail("S10-panic", n, self.now, format!("n{n} broke: {why}"));
            }
        }
    }
}

impl Host {
    fn new(number: u32, keyed: &Keyed) -> Self {
        let shown = keyed.below(Purpose::Boot, u64::from(number), 0, 1 << 50);
        Self {
            number,
            name: name(number),
            ip: address(number, 0).ip(),
            moves: 0,
            process: Process::Never,
            life: 0,
            identities: 0,
            id: None,
            disk: None,
            clock: SimClock::new(shown),
            slot: Arc::default(),
            orders: None,
            well_since: 0,
            view: None,
        }
    }

    /// Hands an order to the process, if there is one.
    pub(super) fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // A process that has just ended takes none.
            let _ = orders.send(order);
        }
    }
}

impl Line {
    /// A step with its time, nanoseconds.
    fn step(&self) -> Option<(u64, &Action)> {
        if let Self::At(t, action) = self { Some((t.as_nanos(), action)) } else { None }
    }
}

/// turmoil itself: nothing in it is left to the machine's clock or chance.
fn network(scenario: &Scenario, keyed: &Keyed) -> Sim<'static> {
    let end = Duration::from_nanos(scenario.end_time().as_nanos());
    let millisecond = Duration::from_millis(1);
    Builder::new()
        .epoch(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000))
        .rng_seed(keyed.bits(Purpose::Latency, 0, 0))
        .tick_duration(TICK)
        .simulation_duration(end + Duration::from_secs(3600))
        .min_message_latency(millisecond)
        .max_message_latency(millisecond)
        .udp_capacity(512)
        .tcp_capacity(1024)
        .build()
}

fn config(scenario: &Scenario, options: &Options, host: &Host, durable: Durable) -> Config {
    let cluster = &scenario.cluster;
    let role = if host.number <= cluster.servers {
        Role::Server { port: 8300, expect: cluster.expect.unwrap_or(0), bootstrap: false }
    } else {
        Role::Client
    };
    Config {
        name: host.name.clone(),
        addr: address(host.number, host.moves),
        label: Label::new("dc1").unwrap_or_else(|e| unreachable!("letters are a label: {e}")),
        keys: options.keys.clone(),
        role,
        tags: Pairs::default(),
        meta: Pairs::default(),
        durable,
        rejoin_after_leave: false,
        tuning: std::sync::Arc::new(options.tuning.clone()),
        limits: std::sync::Arc::new(options.limits.clone()),
    }
}

/// `n3`: always a valid name.
pub(super) fn name(n: u32) -> Name {
    let text = format!("n{n}");
    Name::new(text).unwrap_or_else(|e| unreachable!("a letter and digits are a name: {e}"))
}
