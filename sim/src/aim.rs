//! What a sweep draws: the whole vocabulary, or faults around the formation of a quorum only.

use crate::{
    generate::generate,
    hostile,
    keyed::{Draws, Purpose},
    scenario::{
        Action, Cluster, Condition, Direction, DiskFault, Expect, Line, LinkLine, LinkSettings,
        NodeSet, Rate, Scenario, ServerLine, StartOptions, Time,
    },
};

/// What a sweep is aimed at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Aim {
    /// Every fault kind, clusters of all kinds.
    #[default]
    Everything,
    /// Servers that form a bootstrap quorum, with faults in just that time.
    Bootstrap,
    /// Keys that are replaced while all runs, and packets forged by one who has them.
    Hostile,
}

/// What a sweep of a hundred seeds or more must have met: if not, it tests less than it says.
const REQUIRED: &[&str] = &[
    "suspected",
    "suspicion-refuted",
    "failed",
    "left",
    "merge",
    "rejoin",
    "refutation",
    "indirect-rescue",
    "stream-fallback",
    "overflow",
    "events-lost",
    "paused",
    "drop-checksum",
    "stale-claim",
    "user-events",
    "queries",
    "implausible-events",
];
const REQUIRED_BOOTSTRAP: &[&str] =
    &["quorum", "bootstrap-asked", "bootstrap-released", "bootstrap-conflict"];

impl Aim {
    /// The scenario of a seed.
    pub fn draw(self, seed: u64) -> Scenario {
        match self {
            Self::Everything => generate(seed),
            Self::Bootstrap => bootstrap(seed),
            Self::Hostile => hostile::hostile(seed),
        }
    }

    /// How the command line says it, with a blank before; nothing for everything.
    pub const fn flag(self) -> &'static str {
        match self {
            Self::Everything => "",
            Self::Bootstrap => " --aim bootstrap",
            Self::Hostile => " --aim hostile",
        }
    }

    /// A sweep of so many seeds meets all goals that are required. Where servers form a quorum, one
    /// in ten of a hundred seeds misses one.
    pub const fn meets_all_within(self) -> u64 {
        match self {
            Self::Everything | Self::Hostile => 100,
            Self::Bootstrap => 300,
        }
    }

    /// Goals that a sweep of [`Aim::meets_all_within`] seeds or more must meet.
    pub const fn required(self) -> &'static [&'static str] {
        match self {
            Self::Everything => REQUIRED,
            Self::Bootstrap => REQUIRED_BOOTSTRAP,
            Self::Hostile => hostile::REQUIRED,
        }
    }
}

/// The formation takes about a second after the joins; faults come until here.
const CHAOS_MS: u64 = 4_000;
/// Everything works and everybody was told of everybody from here on.
const CALM_MS: u64 = 30_000;
/// The servers are in contact, and must be in one quorum so long after.
const LIVELY: Time = Time::from_secs(5);

struct Sketch {
    draws: Draws,
    servers: u32,
    lines: Vec<(u64, Action)>,
    /// Servers that may yet be lost for good (with their disk, or for ever): a minority of any
    /// attempt. When more are lost while their attempt is under way, nobody can know its outcome.
    losses: u32,
    lost: Vec<u32>,
    /// Of those, the ones that never come back.
    dead: Vec<u32>,
    down: Vec<u32>,
}

impl Sketch {
    fn at(&mut self, ms: u64, action: Action) {
        self.lines.push((ms, action));
    }

    /// A moment of the formation; never during the first write of a disk.
    fn moment(&mut self) -> u64 {
        self.draws.between(50, CHAOS_MS)
    }

    fn server(&mut self) -> u32 {
        self.draws.between(1, u64::from(self.servers)) as u32
    }

    /// May this server be lost? It is, then. One that came back with an empty disk is another
    /// one: to lose it, too, is a second loss.
    fn lose(&mut self, n: u32) -> bool {
        if self.losses == 0 || self.lost.contains(&n) {
            return false;
        }
        self.losses -= 1;
        self.lost.push(n);
        true
    }

    fn fault(&mut self) {
        let (t, n) = (self.moment(), self.server());
        let nodes = NodeSet::one(n);
        match self.draws.below(9) {
            0 | 1 => {
                let action = if self.draws.percent(50) {
                    Action::Crash { nodes }
                } else {
                    Action::Poweroff { nodes }
                };
                self.at(t, action);
                self.ends(t, n);
            }
            2 => {
                let settings = LinkSettings {
                    loss: Some(Rate::percent(self.draws.between(5, 50) as u32)),
                    latency: Some((
                        Time::from_millis(1),
                        Time::from_millis(self.draws.between(1, 200)),
                    )),
                    dup: Some(Rate::percent(10)),
                    reorder: Some(Rate::percent(20)),
                    ..Default::default()
                };
                self.at(t, Action::Net(settings));
            }
            3 => {
                let (a, b): (Vec<u32>, Vec<u32>) =
                    (1..=self.servers).partition(|_| self.draws.percent(50));
                if !a.is_empty() && !b.is_empty() {
                    self.at(t, Action::Partition { groups: vec![NodeSet::of(a), NodeSet::of(b)] });
                }
            }
            4 => {
                let direction =
                    if self.draws.percent(50) { Direction::OneWay } else { Direction::Both };
                let to = NodeSet::one(self.server());
                self.at(t, Action::Cut { from: nodes, direction, to });
            }
            5 => self.at(t, Action::Heal),
            6 => {
                let lasts = Time::from_millis(self.draws.between(50, 3_000));
                self.at(t, Action::Pause { nodes, lasts });
            }
            7 => self.at(t, Action::Isolate { nodes }),
            _ => self.disk(t, n),
        }
    }

    /// What becomes of a server that is down.
    fn ends(&mut self, t: u64, n: u32) {
        let nodes = NodeSet::one(n);
        let join = Some(NodeSet::of((1..=self.servers).filter(|m| *m != n)));
        match self.draws.below(4) {
            0 if self.lose(n) => {
                let fresh = self.draws.percent(50);
                let options = StartOptions { fresh, join, ..Default::default() };
                if fresh {
                    self.at(t + 500, Action::Restart { nodes, options });
                } else {
                    self.dead.push(n);
                }
            }
            1 => self.down.push(n),
            _ => {
                let wait = self.draws.between(1, 2_000);
                let options = StartOptions { join, ..Default::default() };
                self.at(t + wait, Action::Restart { nodes, options });
            }
        }
    }

    fn disk(&mut self, t: u64, n: u32) {
        let nodes = NodeSet::one(n);
        let disk = |fault| Action::Disk { nodes: NodeSet::one(n), fault };
        match self.draws.below(4) {
            0 => self.at(t, disk(DiskFault::LoseUnsynced)),
            1 => {
                self.at(t, disk(DiskFault::Full));
                let wait = self.draws.between(1, 3_000);
                self.at(t + wait, disk(DiskFault::Ok));
            }
            // The last readable copy may be gone: it does not start again.
            2 if self.lose(n) => self.at(t, disk(DiskFault::Corrupt)),
            3 if self.lose(n) => {
                let (back, wait) = (self.draws.between(50, t), self.draws.between(1, 500));
                self.at(back, disk(DiskFault::Backup));
                self.at(t, Action::Crash { nodes: nodes.clone() });
                self.at(t + wait, disk(DiskFault::Restore));
                let join = Some(NodeSet::All);
                let options = StartOptions { join, ..Default::default() };
                self.at(t + wait + 1, Action::Restart { nodes, options });
            }
            _ => {}
        }
    }

    /// Everything works again, as many as were lost come anew, and all are told of all.
    fn calm_down(&mut self, spares: u32) {
        self.at(CHAOS_MS + 6_000, Action::Heal);
        self.at(CHAOS_MS + 6_000, Action::Disk { nodes: NodeSet::All, fault: DiskFault::Ok });
        let settings = LinkSettings {
            latency: Some((Time(500_000), Time::from_millis(2))),
            loss: Some(Rate(0)),
            dup: Some(Rate(0)),
            reorder: Some(Rate(0)),
            ..Default::default()
        };
        let (from, to, direction) = (NodeSet::All, NodeSet::All, Direction::OneWay);
        self.at(CHAOS_MS + 6_000, Action::Link(LinkLine { from, direction, to, settings }));
        // Who is told to join a dead host waits for it.
        let there: Vec<u32> = (1..=self.servers).filter(|n| !self.dead.contains(n)).collect();
        let down: Vec<u32> = self.down.iter().copied().filter(|n| !self.lost.contains(n)).collect();
        if !down.is_empty() {
            let join = Some(NodeSet::of(there.clone()));
            let options = StartOptions { join, ..Default::default() };
            self.at(CHAOS_MS + 7_000, Action::Restart { nodes: NodeSet::of(down), options });
        }
        for n in self.servers + 1..=self.servers + spares {
            let join = Some(NodeSet::of(there.clone()));
            let options = StartOptions { join, ..Default::default() };
            self.at(CHAOS_MS + 8_000, Action::Start { nodes: NodeSet::one(n), options });
        }
        self.at(CHAOS_MS + 12_000, Action::Join { nodes: NodeSet::All, via: NodeSet::of(there) });
        self.at(CALM_MS, Action::Heal);
    }
}

/// Servers that come together while something goes wrong. Never so many that two quorums could
/// form, which would be no mistake.
fn bootstrap(seed: u64) -> Scenario {
    let mut draws = Draws::new(seed, Purpose::Draw, 1);
    let expect: u32 = if draws.percent(80) { 3 } else { 5 };
    let losses = expect / 2;
    let servers = expect + draws.below(u64::from(expect - losses)) as u32;
    let spares = losses;
    let mut s = Sketch {
        draws,
        servers,
        lines: Vec::new(),
        losses,
        lost: vec![],
        dead: vec![],
        down: vec![],
    };
    for n in 2..=servers {
        let t = s.draws.between(0, 1_500);
        let via = NodeSet::one(s.draws.between(1, u64::from(n) - 1) as u32);
        s.at(t, Action::Join { nodes: NodeSet::one(n), via });
    }
    for _ in 0..s.draws.between(1, 8) {
        s.fault();
    }
    s.calm_down(spares);
    s.lines.sort_by_key(|l| l.0);
    let steps = s.lines.into_iter().map(|(ms, a)| Line::At(Time::from_millis(ms), a));
    let odd = s.draws.percent(10) && losses < servers;
    let told = ServerLine {
        nodes: NodeSet::of(servers + 1..=servers + spares),
        expect: expect as u8,
        bootstrap: false,
    };
    let other = odd.then(|| {
        let nodes = NodeSet::one(servers + spares + 1);
        Line::Server(ServerLine { nodes, expect: expect as u8 + 1, bootstrap: false })
    });
    let lines = std::iter::once(Line::Server(told)).chain(other).chain(steps);
    let quorum = Expect::Within(LIVELY, Condition::Quorum { voters: None });
    Scenario {
        about: Vec::new(),
        cluster: Cluster {
            nodes: servers + if odd { spares + 1 } else { 0 },
            servers,
            expect: Some(expect as u8),
            seed,
        },
        lines: lines.chain([Line::Expect(quorum)]).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_is_valid_and_the_same_each_time() {
        for seed in 0..300 {
            let s = bootstrap(seed);
            assert_eq!(s, bootstrap(seed));
            assert_eq!(Scenario::parse(&s.to_string()), Ok(s), "seed {seed}");
        }
    }
}
