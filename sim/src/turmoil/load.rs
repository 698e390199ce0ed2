//! From a scenario file to a plan for this layer, or to the line that it cannot do.

use super::MAX_HOSTS;
use crate::{
    Scenario,
    scenario::{
        self, Action, ClockLine, Condition, Direction, Expect, GOALS, Goal, GoalSource, Held, Line,
        LinkLine, LinkSettings, ParseError,
    },
};

/// Goals that show in the views of agents; the others are events inside of them.
const SEEN_GOALS: &[&str] = &[
    "suspicion-refuted",
    "suspected",
    "failed",
    "left",
    "reaped",
    "join-refused",
    "merge",
    "rejoin",
];

/// Why a scenario file cannot be run on this layer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// It is no scenario.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// One of its lines is beyond this layer.
    #[error("line {line}, `{step}`: not on the turmoil layer: {reason}")]
    Unsupported {
        /// From 1, in the file.
        line: usize,
        /// The line, as the language prints it.
        step: String,
        /// What is missing here.
        reason: &'static str,
    },
}

/// A scenario that this layer can do in full.
#[derive(Clone, Debug)]
pub struct Plan {
    scenario: Scenario,
}

impl Plan {
    /// Reads a scenario file.
    ///
    /// # Errors
    /// [`LoadError`]: line, step and what this layer lacks for it.
    pub fn parse(text: &str) -> Result<Self, LoadError> {
        let text = scenario::without_mark(text);
        let scenario = Scenario::parse(text)?;
        let places = line_numbers(text);
        let unsupported = |i: usize, step: String, reason| {
            let line = places.get(i).copied().unwrap_or(0);
            Err(LoadError::Unsupported { line, step, reason })
        };
        let mut hosts = Hosts { nodes: scenario.cluster.nodes, moves: 0 };
        if hosts.are_too_many() {
            return unsupported(0, scenario.cluster.to_string(), TOO_MANY);
        }
        for (i, line) in scenario.lines.iter().enumerate() {
            hosts.add(line);
            let reason = if hosts.are_too_many() { Err(TOO_MANY) } else { check(line) };
            if let Err(reason) = reason {
                return unsupported(i + 1, line.to_string(), reason);
            }
        }
        Ok(Self { scenario })
    }

    /// The same with another seed.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.scenario.cluster.seed = seed;
        self
    }

    /// What is run.
    pub const fn scenario(&self) -> &Scenario {
        &self.scenario
    }
}

const ONE_PROTOCOL: &str = "its agents all speak the same";
const TOO_MANY: &str = "it has at most 20 hosts, and each new address is one more";

/// How many hosts the lines so far ask for.
struct Hosts {
    /// The highest node.
    nodes: u32,
    /// Addresses beside the first of each.
    moves: usize,
}

impl Hosts {
    fn add(&mut self, line: &Line) {
        match line {
            Line::At(_, Action::Start { nodes, .. }) => {
                self.nodes = self.nodes.max(nodes.highest().unwrap_or(0));
            }
            Line::At(_, Action::Restart { nodes, options }) if options.new_address => {
                self.moves += nodes.numbers(self.nodes).len();
            }
            _ => {}
        }
    }

    fn are_too_many(&self) -> bool {
        self.nodes as usize + self.moves > MAX_HOSTS
    }
}

/// The lines of the file that say something: the cluster first, then each line in turn.
fn line_numbers(text: &str) -> Vec<usize> {
    let says = |l: &str| !l.split('#').next().unwrap_or("").trim().is_empty();
    text.lines().enumerate().filter(|(_, l)| says(l)).map(|(i, _)| i + 1).collect()
}

fn check(line: &Line) -> Result<(), &'static str> {
    match line {
        Line::Net(s) => settings(s),
        Line::Link(l) => link(l),
        Line::Clock(c) => clock(c),
        Line::Keys(_) => Err("its agents are sealed by `--sealed` only"),
        Line::Cores(_) => Err("the processor cannot be made scarce"),
        Line::Queues(_) => Err("its agents have the queues of a release"),
        Line::Server(_) => Err("its agents are all told the same"),
        Line::Protocol(_) => Err(ONE_PROTOCOL),
        Line::At(_, a) => action(a),
        Line::Expect(e) => expect(e),
    }
}

fn settings(s: &LinkSettings) -> Result<(), &'static str> {
    if s.bandwidth.is_some() { Err("its links have no bandwidth") } else { Ok(()) }
}

fn link(l: &LinkLine) -> Result<(), &'static str> {
    let one_way = l.direction == Direction::OneWay && l.from != l.to;
    if one_way && l.settings.latency.is_some() {
        return Err("a link has one latency for both ways: use `<->`");
    }
    settings(&l.settings)
}

fn clock(c: &ClockLine) -> Result<(), &'static str> {
    if c.offset.is_some() || c.step.is_some() {
        return Err("the agents read the machine's own wall clock; only `drift` can be set");
    }
    Ok(())
}

fn action(a: &Action) -> Result<(), &'static str> {
    match a {
        Action::Net(s) => settings(s),
        Action::Link(l) => link(l),
        Action::Clock(c) => clock(c),
        Action::Pause { .. } | Action::Suspend { .. } => Err("a process cannot be stopped"),
        Action::Starve { .. } | Action::Saturate { .. } => {
            Err("the processor cannot be made scarce")
        }
        Action::Event { .. } | Action::Query { .. } | Action::ForgeEvent { .. } => {
            Err("what applications say is not looked at")
        }
        Action::Retag { .. } => Err("its agents publish what they were started with"),
        Action::Misplace { .. } => Err("its packets are not rewritten"),
        Action::Rumour { .. } => Err("nobody forges gossip here"),
        Action::Disk { .. } => Err("the disk is memory without faults"),
        Action::Key { .. } => Err("the keys of its agents do not change"),
        Action::Forge { .. } => Err("its packets cannot be forged"),
        Action::Restart { options, .. } | Action::Start { options, .. }
            if !options.keys.is_empty() =>
        {
            Err("the keys of its agents do not change")
        }
        Action::Restart { options, .. } | Action::Start { options, .. }
            if options.protocol.is_some() =>
        {
            Err(ONE_PROTOCOL)
        }
        Action::Join { .. }
        | Action::Partition { .. }
        | Action::Isolate { .. }
        | Action::Cut { .. }
        | Action::Mend { .. }
        | Action::Flap { .. }
        | Action::Heal
        | Action::Crash { .. }
        | Action::Poweroff { .. }
        | Action::Restart { .. }
        | Action::Start { .. }
        | Action::Leave { .. }
        | Action::ForceLeave { .. }
        | Action::Replay { .. }
        | Action::Garbage { .. } => Ok(()),
    }
}

fn expect(e: &Expect) -> Result<(), &'static str> {
    match e {
        Expect::Within(_, Condition::Held { held: Held::Degraded, .. })
        | Expect::For { held: Held::Degraded, .. } => {
            Err("an agent's view does not show who is degraded")
        }
        Expect::Within(_, Condition::Quorum { .. }) | Expect::NeverQuorum => {
            Err("the quorum of an agent is not looked at")
        }
        Expect::Within(_, Condition::Event { .. } | Condition::Query { .. }) => {
            Err("what applications say is not looked at")
        }
        Expect::Within(_, Condition::Rtt { .. }) => Err("coordinates are not looked at"),
        Expect::Never(_) => Err("only `never false-failed` is looked at"),
        Expect::Sometimes(Goal::Named(i)) => match GOALS.get(*i) {
            Some((name, _, GoalSource::Events)) if !SEEN_GOALS.contains(name) => {
                Err("this does not show in the view of an agent")
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_numbers_skip_what_says_nothing() {
        let text = "# about\n\ncluster 2\n  # more\nat 1s heal # why\n\nat 2s heal\n";
        assert_eq!(line_numbers(text), [3, 5, 7]);
    }

    #[test]
    fn a_byte_order_mark_is_no_line() {
        let steps = "cluster 3 seed 1\nat 0s join all via n1\nat 5s pause n2 for 1s\n";
        for (before, at) in [("# about\n", 4), ("\n# about\n", 5), ("", 3)] {
            for mark in ["", "\u{feff}"] {
                let error = Plan::parse(&format!("{mark}{before}{steps}")).unwrap_err();
                let said = error.to_string();
                assert!(said.starts_with(&format!("line {at}, `at 5s pause n2 ")), "{said}");
            }
        }
        let error = Plan::parse("\u{feff}cluster 21 # \u{1b}[2J\n").unwrap_err().to_string();
        assert!(error.starts_with("line 1, `cluster 21 seed 1`: "), "{error}");
    }

    #[test]
    fn goals_that_are_seen_exist() {
        for name in SEEN_GOALS {
            assert!(Goal::by_name(name).is_some(), "{name}");
        }
    }
}
