//! What a page shows behind the events: the life of each node and the faults over time.
//!
//! Both are read off the trace (starts, stops, steps) and the set-up lines of the scenario, so a
//! page tells what took effect, not what was planned. Everything is capped.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::{
    scenario::{
        Action, ClockLine, Direction, DiskFault, LinkLine, LinkSettings, MAX_NODES, NodeSet,
        Scenario, StartOptions, Time,
    },
    trace::{Event, Kind},
};

/// More spans of lives are left out.
const MAX_SPANS: usize = 100_000;
/// More bands are left out.
const MAX_BANDS: usize = 2_000;
/// More pieces of a band are not told apart: it stays as a whole.
const MAX_REACHES: usize = 20_000;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
        pub(super) enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant,)+ }
    };
}

words! {
    /// What a node's process is at a time.
    Life {
        /// Runs.
        Running = "running",
        /// Stopped by a signal; its host answers.
        Paused = "paused",
        /// Frozen with its machine.
        Suspended = "suspended",
        /// The process ended, its host lives.
        Crashed = "crashed",
        /// The host is silent.
        Off = "off",
        /// Ended after a graceful leave.
        Left = "left",
        /// Could not start.
        Refused = "refused",
    }
}

words! {
    /// Kinds of faults that last.
    Fault {
        /// Settings of every link.
        Net = "net",
        /// Settings of some links.
        Link = "link",
        /// Clocks that are off.
        Clock = "clock",
        /// Groups that cannot reach each other.
        Partition = "partition",
        /// Nothing in, nothing out.
        Isolate = "isolate",
        /// Nothing passes some links.
        Cut = "cut",
        /// Isolated and back in turns.
        Flap = "flap",
        /// SIGSTOP.
        Pause = "pause",
        /// A frozen machine.
        Suspend = "suspend",
        /// Too little processor.
        Starve = "starve",
        /// No room on disk.
        Disk = "disk",
    }
}

/// A node was that for so long (nanoseconds).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Span {
    pub node: u32,
    pub from: u64,
    pub until: u64,
    pub life: Life,
}

/// Which nodes a band is about: first and last, until when, which group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Reach {
    pub first: u32,
    pub last: u32,
    pub until: u64,
    pub group: usize,
}

/// A fault that lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Band {
    pub kind: Fault,
    pub label: String,
    pub from: u64,
    pub until: u64,
    pub nodes: Vec<Reach>,
}

/// What a page shows behind the events.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    pub spans: Vec<Span>,
    pub bands: Vec<Band>,
    /// Spans and bands above the caps.
    pub left_out: u64,
}

/// Reads a trace; `highest` is the highest node that has a lane, `end` the time of its last event.
pub(super) fn read(
    scenario: Option<&Scenario>,
    events: &[&Event],
    highest: u32,
    end: u64,
) -> Lanes {
    let mut r = Reader { highest, end, ..Reader::default() };
    for line in scenario.map_or(&[][..], |s| &s.lines) {
        use crate::scenario::Line;
        match line {
            Line::Net(s) => r.net(0, s),
            Line::Link(l) => r.link(0, l),
            Line::Clock(c) => r.clock(0, c),
            Line::Server(_)
            | Line::Protocol(_)
            | Line::Keys(_)
            | Line::Cores(_)
            | Line::Queues(_)
            | Line::At(..)
            | Line::Expect(_) => {}
        }
    }
    for e in events {
        r.event(e);
    }
    r.finish()
}

/// The action of a step as its event shows it.
pub(super) fn action(e: &Event) -> Option<Action> {
    use crate::scenario::Line;
    if e.node != 0 || e.event != Kind::Step.name() {
        return None;
    }
    // What a step may ask for is there.
    let text = format!("cluster {MAX_NODES} seed 0\ncores 1\nat 0s {}\n", e.detail);
    match Scenario::parse(&text).ok()?.lines.pop() {
        Some(Line::At(_, action)) => Some(action),
        _ => None,
    }
}

#[derive(Debug, Default)]
struct Reader {
    highest: u32,
    end: u64,
    lanes: Lanes,
    lives: BTreeMap<u32, (Life, u64)>,
    /// Nodes whose leave is through.
    leaving: BTreeSet<u32>,
    settings: LinkSettings,
    reaches: usize,
    /// Which cut or link a band is, by its place.
    links: BTreeMap<usize, (NodeSet, Direction, NodeSet)>,
}

impl Reader {
    fn event(&mut self, e: &Event) {
        if let Some(action) = action(e) {
            return self.step(e.t, &action);
        }
        if e.node == 0 || e.node > self.highest {
            return;
        }
        let now = self.lives.get(&e.node).map(|l| l.0);
        let is = |kind: Kind| e.event == kind.name();
        if is(Kind::Start) {
            self.leaving.remove(&e.node);
            self.becomes(e.node, Life::Running, e.t);
        } else if is(Kind::StartRefused) {
            self.becomes(e.node, Life::Refused, e.t);
        } else if is(Kind::LeaveFinished) {
            self.leaving.insert(e.node);
        } else if is(Kind::Resume) && matches!(now, Some(Life::Paused | Life::Suspended)) {
            self.becomes(e.node, Life::Running, e.t);
        } else if is(Kind::Stop) {
            let life = match (e.detail.as_str(), self.leaving.remove(&e.node)) {
                ("silent", _) => Life::Off,
                (_, true) => Life::Left,
                _ => Life::Crashed,
            };
            self.becomes(e.node, life, e.t);
        }
    }

    fn becomes(&mut self, node: u32, life: Life, t: u64) {
        if let Some((before, from)) = self.lives.insert(node, (life, t)) {
            if before == life {
                self.lives.insert(node, (before, from));
            } else {
                self.span(Span { node, from, until: t, life: before });
            }
        }
    }

    fn span(&mut self, s: Span) {
        if self.lanes.spans.len() < MAX_SPANS {
            self.lanes.spans.push(s);
        } else {
            self.lanes.left_out += 1;
        }
    }

    fn step(&mut self, t: u64, a: &Action) {
        match a {
            Action::Partition { groups } => {
                self.end_kind(Fault::Partition, t);
                let groups = groups.iter().enumerate();
                let nodes =
                    groups.flat_map(|(g, set)| self.reaches(set, g + 1, u64::MAX)).collect();
                self.begin(Fault::Partition, a.to_string(), t, nodes);
            }
            Action::Isolate { nodes } => self.begin_on(Fault::Isolate, a, t, nodes, None),
            Action::Cut { from, direction, to } => {
                let links = (from.clone(), *direction, to.clone());
                self.begin_link(Fault::Cut, a.to_string(), t, links);
            }
            Action::Mend { nodes } => self.mend(nodes, t),
            Action::Flap { nodes, lasts, .. } => {
                self.release(Fault::Flap, nodes, t);
                self.begin_on(Fault::Flap, a, t, nodes, Some(*lasts));
            }
            Action::Heal => {
                for kind in [Fault::Partition, Fault::Isolate, Fault::Cut, Fault::Flap] {
                    self.end_kind(kind, t);
                }
            }
            Action::Pause { nodes, lasts } => self.stops(Fault::Pause, a, t, (nodes, *lasts)),
            Action::Suspend { nodes, lasts } => self.stops(Fault::Suspend, a, t, (nodes, *lasts)),
            Action::Starve { nodes, lasts, .. } => {
                self.release(Fault::Starve, nodes, t);
                self.begin_on(Fault::Starve, a, t, nodes, Some(*lasts));
            }
            Action::Saturate { lasts, .. } => {
                self.release(Fault::Starve, &NodeSet::All, t);
                self.begin_on(Fault::Starve, a, t, &NodeSet::All, Some(*lasts));
            }
            Action::Clock(c) => self.clock(t, c),
            Action::Net(s) => self.net(t, s),
            Action::Link(l) => self.link(t, l),
            Action::Poweroff { nodes } => self.power_off(nodes, t),
            Action::Restart { nodes, options: StartOptions { fresh: true, .. } }
            | Action::Disk { nodes, fault: DiskFault::Ok } => self.release(Fault::Disk, nodes, t),
            Action::Disk { nodes, fault: DiskFault::Full } => {
                self.begin_on(Fault::Disk, a, t, nodes, None);
            }
            _ => {}
        }
    }

    /// Processes that are there stop for a while; the trace tells when they go on.
    fn stops(&mut self, kind: Fault, a: &Action, t: u64, (nodes, lasts): (&NodeSet, Time)) {
        let life = if kind == Fault::Pause { Life::Paused } else { Life::Suspended };
        for n in nodes.numbers(self.highest) {
            if self.lives.get(&n).is_some_and(|l| l.0 == Life::Running) {
                self.becomes(n, life, t);
            }
        }
        self.begin_on(kind, a, t, nodes, Some(lasts));
    }

    /// Hosts without a process fall silent too; those with one show it by their stop.
    fn power_off(&mut self, nodes: &NodeSet, t: u64) {
        for n in nodes.numbers(self.highest) {
            let ended = |l: &(Life, u64)| matches!(l.0, Life::Crashed | Life::Left | Life::Refused);
            if self.lives.get(&n).is_some_and(ended) {
                self.becomes(n, Life::Off, t);
            }
        }
    }

    /// Settings add up: the band shows what is in force.
    fn net(&mut self, t: u64, s: &LinkSettings) {
        let LinkSettings { latency, loss, burst, dup, reorder, corrupt, mtu, bandwidth } = *s;
        let old = self.settings;
        self.settings = LinkSettings {
            latency: latency.or(old.latency),
            loss: loss.or(old.loss),
            burst: burst.or(old.burst),
            dup: dup.or(old.dup),
            reorder: reorder.or(old.reorder),
            corrupt: corrupt.or(old.corrupt),
            mtu: mtu.or(old.mtu),
            bandwidth: bandwidth.or(old.bandwidth),
        };
        self.end_kind(Fault::Net, t);
        self.begin(Fault::Net, format!("net{}", self.settings), t, Vec::new());
    }

    fn link(&mut self, t: u64, l: &LinkLine) {
        let links = (l.from.clone(), l.direction, l.to.clone());
        let same = |i: &usize| self.links.get(i) == Some(&links);
        let old: Vec<usize> = (0..self.lanes.bands.len()).filter(same).collect();
        for i in old {
            if self.lanes.bands[i].kind == Fault::Link {
                self.end_band(i, t);
            }
        }
        self.begin_link(Fault::Link, format!("link {l}"), t, links);
    }

    fn clock(&mut self, t: u64, c: &ClockLine) {
        if c.drift.is_none() && c.offset.is_none() {
            return;
        }
        self.release(Fault::Clock, &c.nodes, t);
        let nodes = self.reaches(&c.nodes, 0, u64::MAX);
        self.begin(Fault::Clock, format!("clock {c}"), t, nodes);
    }

    fn begin_link(
        &mut self,
        kind: Fault,
        label: String,
        t: u64,
        links: (NodeSet, Direction, NodeSet),
    ) {
        let place = self.lanes.bands.len();
        let mut nodes = self.reaches(&links.0, 0, u64::MAX);
        nodes.extend(self.reaches(&links.2, 0, u64::MAX));
        self.begin(kind, label, t, nodes);
        if self.lanes.bands.len() > place {
            self.links.insert(place, links);
        }
    }

    fn begin_on(&mut self, kind: Fault, a: &Action, t: u64, nodes: &NodeSet, d: Option<Time>) {
        let until = d.map_or(u64::MAX, |d| t.saturating_add(d.as_nanos()));
        let nodes = self.reaches(nodes, 0, until);
        self.begin(kind, a.to_string(), t, nodes);
    }

    fn reaches(&self, set: &NodeSet, group: usize, until: u64) -> Vec<Reach> {
        let reach = |first, last| Reach { first, last, until, group };
        match set {
            NodeSet::All => vec![reach(1, self.highest)],
            NodeSet::Some(spans) => spans.iter().map(|s| reach(s.first, s.last)).collect(),
        }
    }

    fn begin(&mut self, kind: Fault, label: String, t: u64, nodes: Vec<Reach>) {
        if self.lanes.bands.len() >= MAX_BANDS || self.reaches + nodes.len() > MAX_REACHES {
            self.lanes.left_out += 1;
            return;
        }
        self.reaches += nodes.len();
        let until = nodes.iter().map(|r| r.until).max().unwrap_or(u64::MAX);
        self.lanes.bands.push(Band { kind, label, from: t, until, nodes });
    }

    fn end_band(&mut self, i: usize, t: u64) {
        let band = &mut self.lanes.bands[i];
        band.until = band.until.min(t);
        for r in &mut band.nodes {
            r.until = r.until.min(t);
        }
    }

    fn end_kind(&mut self, kind: Fault, t: u64) {
        for i in 0..self.lanes.bands.len() {
            if self.lanes.bands[i].kind == kind {
                self.end_band(i, t);
            }
        }
    }

    fn mend(&mut self, nodes: &NodeSet, t: u64) {
        self.release(Fault::Isolate, nodes, t);
        self.release(Fault::Flap, nodes, t);
        // A cut ends as a whole with the first node that it names.
        let gone = self.reaches(nodes, 0, t);
        let named = |set: &NodeSet| {
            *set != NodeSet::All
                && self
                    .reaches(set, 0, t)
                    .iter()
                    .any(|a| gone.iter().any(|b| a.first <= b.last && b.first <= a.last))
        };
        let cuts: Vec<usize> =
            self.links.iter().filter(|(_, l)| named(&l.0) || named(&l.2)).map(|l| *l.0).collect();
        for i in cuts {
            if self.lanes.bands[i].kind == Fault::Cut {
                self.end_band(i, t);
            }
        }
    }

    /// The fault ends for these nodes and goes on for others.
    fn release(&mut self, kind: Fault, nodes: &NodeSet, t: u64) {
        let gone = self.reaches(nodes, 0, t);
        for band in self.lanes.bands.iter_mut().filter(|b| b.kind == kind && b.until > t) {
            for g in &gone {
                if self.reaches + band.nodes.len() > MAX_REACHES {
                    break;
                }
                let before = band.nodes.len();
                band.nodes = band.nodes.iter().flat_map(|r| without(*r, *g)).collect();
                self.reaches += band.nodes.len() - before;
            }
            band.until = band.nodes.iter().map(|r| r.until).max().unwrap_or(band.until);
        }
    }

    fn finish(mut self) -> Lanes {
        let end = self.end;
        for (node, (life, from)) in std::mem::take(&mut self.lives) {
            self.span(Span { node, from, until: end, life });
        }
        for band in &mut self.lanes.bands {
            band.until = band.until.min(end);
            for r in &mut band.nodes {
                r.until = r.until.min(end);
            }
        }
        self.lanes
    }
}

/// `r` in pieces, of which those within `gone` end when it says.
fn without(r: Reach, gone: Reach) -> Vec<Reach> {
    let (first, last) = (r.first.max(gone.first), r.last.min(gone.last));
    if first > last || r.until <= gone.until {
        return vec![r];
    }
    let mut out = vec![Reach { first, last, until: gone.until, ..r }];
    if r.first < first {
        out.push(Reach { last: first - 1, ..r });
    }
    if last < r.last {
        out.push(Reach { first: last + 1, ..r });
    }
    out
}
