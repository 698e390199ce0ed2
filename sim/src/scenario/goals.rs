//! What a run may be asked to have met (`sometimes`): one table for parser, runner and help.

use quorate_core::Counter;

/// Where a goal is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoalSource {
    /// The world recognises it in the events of the nodes.
    Events,
    /// A counter of some node is above zero.
    Counter(Counter),
}

/// Names one goal: an index into [`GOALS`], or a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Goal {
    /// The n-th of [`GOALS`].
    Named(usize),
    /// A counter of core, by its own name with dashes.
    Counted(Counter),
}

/// Name, what it means, where it is seen.
pub const GOALS: &[(&str, &str, GoalSource)] = &[
    ("suspicion-refuted", "a suspected member spoke up", GoalSource::Events),
    ("suspected", "somebody was accused", GoalSource::Events),
    ("failed", "somebody was declared failed", GoalSource::Events),
    ("left", "somebody left", GoalSource::Events),
    ("updated", "a member published a change", GoalSource::Events),
    ("reaped", "a member was forgotten", GoalSource::Events),
    ("paused", "a node noticed that it had been away", GoalSource::Events),
    ("name-conflict", "two live members had one name", GoalSource::Events),
    ("name-lost", "a member left because a senior one has its name", GoalSource::Events),
    ("unconfirmed", "a member that was only heard of was dropped", GoalSource::Events),
    ("degraded", "a member was reached by others or over streams only", GoalSource::Events),
    ("join-refused", "a join did not work", GoalSource::Events),
    ("quorum", "a bootstrap quorum was final on a server", GoalSource::Events),
    ("bootstrap-conflict", "two servers could not bootstrap together", GoalSource::Events),
    ("bootstrap-asked", "an attempt was asked about in a later ballot", GoalSource::Events),
    ("bootstrap-released", "a promise was released", GoalSource::Events),
    ("keyring-done", "all members did what was asked of their keyring", GoalSource::Events),
    ("keyring-refused", "some did not, or nobody was asked to", GoalSource::Events),
    ("merge", "a failed member came back in the same generation", GoalSource::Events),
    ("rejoin", "a failed or left member came back in a later generation", GoalSource::Events),
    ("refutation", "an accused node raised its version", GoalSource::Counter(Counter::Refutations)),
    (
        "indirect-rescue",
        "a probe was answered only through a helper or a stream",
        GoalSource::Counter(Counter::ProbesRescued),
    ),
    (
        "stream-fallback",
        "a probe was answered over a stream, not by a packet",
        GoalSource::Counter(Counter::ProbesByStream),
    ),
    ("overflow", "an output queue was full", GoalSource::Counter(Counter::QueueOverflow)),
];

impl Goal {
    /// The goal of that name: one of [`GOALS`] or a counter (`drop-checksum`).
    pub fn by_name(name: &str) -> Option<Self> {
        if let Some(i) = GOALS.iter().position(|g| g.0 == name) {
            return Some(Self::Named(i));
        }
        let same = |c: &&Counter| {
            let counter = c.name();
            counter.len() == name.len()
                && counter.bytes().map(|b| if b == b'_' { b'-' } else { b }).eq(name.bytes())
        };
        Counter::ALL.iter().find(same).map(|c| Self::Counted(*c))
    }

    /// Its name.
    pub fn name(self) -> String {
        match self {
            Self::Named(i) => GOALS.get(i).map_or_else(String::new, |g| g.0.to_owned()),
            Self::Counted(c) => c.name().replace('_', "-"),
        }
    }

    /// The counter that tells it, if one does.
    pub fn counter(self) -> Option<Counter> {
        match self {
            Self::Counted(c) => Some(c),
            Self::Named(i) => match GOALS.get(i)?.2 {
                GoalSource::Counter(c) => Some(c),
                GoalSource::Events => None,
            },
        }
    }
}

/// Words within so many wrong, missing or added characters are near each other.
const NEAR: usize = 3;

/// Of `known` and all counters, the few that somebody may have meant with `word`, nearest first.
pub(super) fn near(word: &str, known: impl Iterator<Item = String>) -> Vec<String> {
    // `_` is as good as `-`.
    let word: String = word.chars().take(64).collect::<String>().replace('_', "-");
    let counters = Counter::ALL.iter().map(|c| Goal::Counted(*c).name());
    let most = NEAR.min(word.chars().count() / 3);
    let steps = known.chain(counters).map(|name| (strsim::levenshtein(&word, &name), name));
    let mut near: Vec<_> = steps.filter(|x| x.0 <= most).collect();
    near.sort();
    near.into_iter().map(|x| x.1).take(3).collect()
}
