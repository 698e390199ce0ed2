//! What a sweep draws of those who have a key: operators who replace it while members come and
//! go, members that are made up, and packets that are forged, replayed or random, clear and sealed.

use crate::{
    keyed::{Draws, Purpose},
    scenario::{
        Action, Cluster, Condition, Expect, Forged, KeyNo, KeyVerb, Lie, Line, LinkSettings,
        NodeSet, Rate, Scenario, StartOptions, Time,
    },
};

/// Goals that a sweep must meet.
pub(crate) const REQUIRED: &[&str] =
    &["refutation", "implausible-claim", "drop-replay", "keyring-done", "keyring-refused", "merge"];

/// Between two steps of a rotation: who was cut off for one of them is back before the next.
const STEP_MS: u64 = 40_000;
/// Longer than any silence is borne: who is cut off so long has failed.
const CUT_MS: u64 = 8_000;
/// All agree so long after the last step.
const CALM: Time = Time::from_secs(60);
/// The same where members are made up. They are looked at one after the other, and by a node that
/// nobody helps (somebody made the others forget it) more slowly each time. It takes longer than
/// half a minute in one of 160 seeds, and than a minute in one of 6,000.
const CALM_WITH_CROWD: Time = Time::from_secs(90);

struct Sketch {
    draws: Draws,
    nodes: u32,
    lines: Vec<(u64, Action)>,
}

impl Sketch {
    fn node(&mut self) -> u32 {
        self.draws.between(1, u64::from(self.nodes)) as u32
    }

    fn at(&mut self, ms: u64, action: Action) {
        self.lines.push((ms, action));
    }

    /// An operator replaces the key; sometimes a member is cut off when it is installed or used.
    /// Not in both, nor when the old one is removed: whoever misses that is lost, as it should be.
    fn rotation(&mut self, begins: u64, old: u8) -> u64 {
        let new = KeyNo(old + 1);
        let on = Some(NodeSet::one(self.node()));
        let mut t = begins;
        let missed = match self.draws.below(5) {
            0 | 1 => Some(KeyVerb::Install),
            2 | 3 => Some(KeyVerb::Use),
            _ => None,
        };
        for (verb, key) in
            [(KeyVerb::Install, new), (KeyVerb::Use, new), (KeyVerb::Remove, KeyNo(old))]
        {
            if missed == Some(verb) {
                let nodes = NodeSet::one(self.node());
                self.at(t - CUT_MS + 1_000, Action::Isolate { nodes });
                self.at(t + 1_000, Action::Heal);
            }
            self.at(t, Action::Key { verb, key, on: on.clone() });
            t += STEP_MS;
        }
        t
    }

    fn mischief(&mut self, t: u64) {
        let nodes = NodeSet::one(self.node());
        let action = match self.draws.below(5) {
            0..=2 => {
                let accused = NodeSet::one(self.node());
                let mut version = match self.draws.below(5) {
                    0 => Forged::Highest,
                    1 => Forged::Generation,
                    2 => Forged::Incarnation,
                    3 => Forged::Far,
                    _ => Forged::Same,
                };
                let lie = match self.draws.below(6) {
                    0 => Lie::Leave,
                    1 => Lie::Prune,
                    2 => Lie::Move,
                    _ => Lie::Accuse,
                };
                if lie == Lie::Move && version == Forged::Same {
                    version = Forged::Incarnation;
                }
                Action::Forge { nodes, lie, accused, version }
            }
            3 => Action::Replay { nodes, window: Time::from_secs(self.draws.between(1, 30)) },
            _ => Action::Garbage { nodes, count: self.draws.between(1, 50) as u32 },
        };
        self.at(t, action);
    }
}

/// Somebody makes members up, and talks of them for some seconds; then one that is real may die.
/// From draws of its own: what else a seed has is the same with it or without. Gives the time
/// within which all must agree.
fn crowd(s: &mut Sketch, seed: u64, end: u64) -> Time {
    let mut draws = Draws::new(seed, Purpose::Draw, 3);
    if !draws.percent(30) {
        return CALM;
    }
    let (first, made_up) = (s.nodes + 1, draws.between(5, 30) as u32);
    let mut node = || draws.between(1, u64::from(s.nodes)) as u32;
    let (on, victim) = (NodeSet::one(node()), NodeSet::one(node()));
    let begins = draws.between(5_000, end - 8_000);
    for told in 0..draws.between(1, 4) {
        let nodes = NodeSet::of(first..first + made_up);
        s.lines.push((begins + 2_000 * told, Action::Rumour { nodes, on: on.clone() }));
    }
    if draws.percent(50) {
        let at = begins + draws.between(500, 7_500);
        s.lines.push((at, Action::Crash { nodes: victim }));
    }
    CALM_WITH_CROWD
}

/// The scenario of a seed.
pub(crate) fn hostile(seed: u64) -> Scenario {
    let mut draws = Draws::new(seed, Purpose::Draw, 2);
    let nodes = draws.between(3, 7) as u32;
    let sealed = draws.percent(60);
    let loss = Rate::percent(draws.below(11) as u32);
    let mut s = Sketch { draws, nodes, lines: Vec::new() };
    s.at(0, Action::Join { nodes: NodeSet::All, via: NodeSet::one(1) });
    let mut end = 20_000;
    if sealed {
        for old in 1..=s.draws.between(1, 2) as u8 {
            end = s.rotation(end + CUT_MS, old);
        }
    }
    for _ in 0..s.draws.between(1, 8) {
        let t = s.draws.between(5_000, end);
        s.mischief(t);
    }
    if s.draws.percent(30) {
        // Before anything is done with keys: who is away then is lost.
        let n = s.node();
        s.at(6_000, Action::Crash { nodes: NodeSet::one(n) });
        let join = Some(NodeSet::of((1..=nodes).filter(|m| *m != n)));
        let options = StartOptions { join, ..StartOptions::default() };
        s.at(8_000, Action::Restart { nodes: NodeSet::one(n), options });
    }
    let calm = crowd(&mut s, seed, end);
    s.at(end + 1_000, Action::Heal);
    s.lines.sort_by_key(|l| l.0);
    let net = LinkSettings {
        latency: Some((Time::from_millis(1), Time::from_millis(5))),
        loss: Some(loss),
        dup: Some(Rate::percent(2)),
        reorder: Some(Rate::percent(2)),
        ..LinkSettings::default()
    };
    let first = sealed.then(|| Line::Keys(vec![KeyNo(1)]));
    let steps = s.lines.into_iter().map(|(ms, a)| Line::At(Time::from_millis(ms), a));
    let last = Line::Expect(Expect::Within(calm, Condition::Converged));
    Scenario {
        about: Vec::new(),
        cluster: Cluster { nodes, servers: 0, expect: None, seed },
        lines: std::iter::once(Line::Net(net)).chain(first).chain(steps).chain([last]).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_is_valid_and_the_same_each_time() {
        for seed in 0..300 {
            let s = hostile(seed);
            assert_eq!(s, hostile(seed));
            assert_eq!(Scenario::parse(&s.to_string()), Ok(s), "seed {seed}");
        }
    }
}
