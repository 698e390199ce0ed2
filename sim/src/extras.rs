//! What a sweep adds to some drawn scenarios: what members publish changes, one lies about where it
//! is, some speak an older protocol, a name is used twice, gossip tells of who never was, somebody
//! forges accusations, queues are short.
//!
//! Drawn apart and added last, so that the rest of a scenario stays as it is without.

use crate::{
    keyed::{Draws, Purpose},
    scenario::{
        Action, Expect, Forged, Goal, Lie, Line, NodeNo, NodeSet, ProtocolLine, StartOptions, Time,
    },
};

/// Kinds beside those of `generate::FAULTS`: the name, and what it is.
pub const KINDS: &[(&str, &str)] = &[
    ("retag", "members publish other metadata"),
    ("misplace", "a member says that it is far away"),
    ("protocol", "some speak the first protocol version only"),
    ("twin", "a new node uses another one's name"),
    ("rumour", "gossip tells of a node that never ran"),
    ("forge", "somebody accuses members at versions of its choice"),
    ("queues", "little room for what waits to be sent or told"),
];
/// The first so many are drawn together, the others each by itself.
const TOGETHER: usize = 5;
/// With room for so many, most clusters overflow now and then.
const SHORT: u32 = 4;

struct Extras<'a> {
    draws: Draws,
    /// Nodes at the start.
    first: u32,
    /// The highest number so far.
    nodes: u32,
    calm: Time,
    /// It alone surely runs in the calm, and its disk may be unreadable or was just emptied.
    last: Option<u32>,
    lines: &'a mut Vec<Line>,
}

/// Adds to a scenario of `nodes` nodes, `first` of them from its start; `calm`: when all works
/// again; `last`: who alone surely runs then, with a disk that may be unreadable or is empty.
pub(crate) fn add(
    seed: u64,
    (first, nodes): (u32, u32),
    calm: Time,
    last: Option<u32>,
    lines: &mut Vec<Line>,
) {
    let draws = Draws::new(seed, Purpose::Extra, 0);
    let mut s = Extras { draws, first, nodes, calm, last, lines };
    if s.draws.percent(35) {
        s.most();
    }
    // From draws of their own: without them all else is as it was.
    s.draws = Draws::new(seed, Purpose::Extra, 1);
    if s.draws.percent(20) {
        s.some(6, Extras::forgery);
    }
    if Draws::new(seed, Purpose::Extra, 2).percent(16) {
        s.lines.insert(0, Line::Queues(SHORT));
    }
}

impl Extras<'_> {
    /// All kinds that are drawn together.
    fn most(&mut self) {
        let most = &KINDS[..TOGETHER];
        let chosen: Vec<bool> = most.iter().map(|_| self.draws.percent(40)).collect();
        for ((name, _), _) in most.iter().zip(chosen).filter(|k| k.1) {
            match *name {
                "retag" => self.some(6, |s| Action::Retag { nodes: s.node() }),
                "misplace" => self.some(2, |s| Action::Misplace { nodes: s.node() }),
                "protocol" => self.older(),
                "twin" => self.twin(),
                _ => self.rumour(),
            }
        }
    }

    fn forgery(&mut self) -> Action {
        let (nodes, accused) = (self.node(), self.node());
        let version = match self.draws.below(5) {
            0 => Forged::Highest,
            1 => Forged::Generation,
            2 => Forged::Incarnation,
            3 => Forged::Last,
            _ => Forged::Same,
        };
        Action::Forge { nodes, lie: Lie::Accuse, accused, version }
    }

    fn one(&mut self) -> u32 {
        self.draws.between(1, u64::from(self.first)) as u32
    }

    fn node(&mut self) -> NodeSet {
        NodeSet::one(self.one())
    }

    /// Where the calm begins.
    fn end(&self) -> usize {
        let calm = |l: &Line| matches!(l, Line::At(t, _) if *t >= self.calm);
        self.lines.iter().position(calm).unwrap_or(self.lines.len())
    }

    /// Up to `most` steps of the chaos, each after a step that is there.
    fn some(&mut self, most: u64, mut action: impl FnMut(&mut Self) -> Action) {
        for _ in 0..self.draws.between(1, most) {
            let action = action(self);
            let step = |l: &Line| matches!(l, Line::At(..));
            let first = self.lines.iter().position(step).unwrap_or(0);
            let after = self.draws.between(first as u64, self.end() as u64 - 1) as usize;
            if let Some(Line::At(at, _)) = self.lines.get(after) {
                let at = *at;
                self.lines.insert(after + 1, Line::At(at, action));
            }
        }
    }

    /// Nobody gets a message that its version does not have.
    fn older(&mut self) {
        let old: Vec<u32> = (1..=self.first).filter(|_| self.draws.percent(50)).collect();
        if old.is_empty() {
            return;
        }
        let nodes = NodeSet::of(old);
        self.lines.insert(0, Line::Protocol(ProtocolLine { nodes, range: (1, 1) }));
        let unknown = Goal::by_name("unknown-tag");
        self.lines.extend(unknown.map(|goal| Line::Expect(Expect::Never(goal))));
    }

    /// It is gone before the calm, and whoever had the name is started again: either may have lost.
    fn twin(&mut self) {
        self.nodes += 1;
        let (new, old) = (self.nodes, self.one());
        let join = Some(NodeSet::of(1..new));
        let options = StartOptions { name: Some(NodeNo(old)), join, ..StartOptions::default() };
        let nodes = NodeSet::one(new);
        let mut options = Some(options);
        self.some(1, |_| {
            let options = options.take().unwrap_or_default();
            Action::Start { nodes: nodes.clone(), options }
        });
        let (end, at) = (self.end(), self.calm);
        self.lines.insert(end, Line::At(at, Action::Crash { nodes: NodeSet::one(new) }));
        // Behind the last step before the calm is looked at.
        let looked = |l: &Line| matches!(l, Line::Expect(Expect::Within(..)));
        let last = self.lines.iter().position(looked).unwrap_or(self.lines.len());
        let nodes = NodeSet::one(old);
        let join = Some(NodeSet::of((1..new).filter(|n| *n != old)));
        let fresh = self.last == Some(old);
        let options = StartOptions { fresh, join, ..StartOptions::default() };
        self.lines.insert(last, Line::At(at, Action::Restart { nodes, options }));
    }

    fn rumour(&mut self) {
        self.nodes += 1;
        let nodes = NodeSet::one(self.nodes);
        self.some(3, |s| Action::Rumour { nodes: nodes.clone(), on: s.node() });
    }
}

#[cfg(test)]
mod tests {
    use crate::generate::generate;

    #[test]
    fn every_kind_is_drawn() {
        let text: String = (0..200).map(|seed| generate(seed).to_string()).collect();
        let words =
            [" retag ", " misplace ", "protocol ", " as n", " rumour ", " forge ", "queues "];
        for word in words {
            assert!(text.contains(word), "{word}");
        }
        assert_eq!(words.len(), super::KINDS.len());
    }

    /// Else the sweep spends its seeds on what a release does not have.
    #[test]
    fn few_scenarios_have_short_queues() {
        let short = |seed: &u64| generate(*seed).to_string().contains("queues ");
        let count = (0..600).filter(short).count();
        assert!((60..=140).contains(&count), "{count}");
    }
}
