//! Makes a failing scenario small: lines, nodes, times and rates go as long as it still fails.
//!
//! Guarantee: what comes out fails as what went in did ([`Failure::is_like`]: the same check, a
//! panic at the same place), and was run to see that. Since every step is total and every decision
//! is keyed, taking a line out leaves the rest as it was.

use crate::{
    program::Program,
    runner,
    scenario::{
        Action, Condition, Expect, Line, LinkSettings, NodeSet, Rate, Scenario, Time, Viewers,
    },
    world::{Failure, Options},
};

/// A cluster that is told to join at the start has formed by then.
const FORMED: Time = Time::from_secs(10);
/// A node is taken out under so many other seeds before it is kept.
const OTHER_SEEDS: u64 = 12;

/// What came of shrinking.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The smallest scenario found.
    pub scenario: Scenario,
    /// How it fails.
    pub failure: Failure,
    /// Scenarios run on the way.
    pub runs: usize,
    /// The budget ended it: there was more to try.
    pub cut_short: bool,
}

/// Looks for the smallest scenario that fails as the first one does, within `budget` runs.
struct Shrinker<R, F> {
    /// How a scenario fails, if it does.
    fails: R,
    best: Scenario,
    failure: Failure,
    runs: usize,
    budget: usize,
    cut_short: bool,
    progress: F,
}

/// Shrinks a failing scenario; none if it does not fail. `progress` hears the number of runs.
pub fn shrink(
    scenario: Scenario,
    program: &Program,
    budget: usize,
    progress: impl FnMut(usize),
) -> Option<Shrunk> {
    shrink_by(scenario, |s| fails(s, program), budget, progress)
}

fn shrink_by(
    scenario: Scenario,
    fails: impl Fn(Scenario) -> Option<Failure>,
    budget: usize,
    progress: impl FnMut(usize),
) -> Option<Shrunk> {
    let failure = fails(scenario.clone())?;
    let mut s =
        Shrinker { fails, best: scenario, failure, runs: 1, budget, cut_short: false, progress };
    loop {
        let before = s.best.clone();
        s.remove_chunks();
        s.remove_nodes();
        s.shrink_sets();
        s.end_plainly();
        s.round();
        if s.best == before || s.cut_short {
            let (runs, cut_short) = (s.runs, s.cut_short);
            return Some(Shrunk { scenario: s.best, failure: s.failure, runs, cut_short });
        }
    }
}

fn fails(scenario: Scenario, program: &Program) -> Option<Failure> {
    let options = Options { program: program.clone(), ..Options::default() };
    runner::run(scenario, options).ok()?.failures.into_iter().next()
}

impl<R: Fn(Scenario) -> Option<Failure>, F: FnMut(usize)> Shrinker<R, F> {
    /// Takes the candidate if it is valid and fails in the same way.
    fn accepts(&mut self, candidate: Scenario) -> bool {
        if self.cut_short || candidate == self.best || candidate.missing().is_some() {
            return false;
        }
        // Nodes that nobody tells to join never agree: that is another failure of the same name.
        // Nor do those that are torn apart before they have met.
        if is_liveness(&self.failure.check)
            && Reach::of(&candidate).is_less_than(&Reach::of(&self.best))
        {
            return false;
        }
        if self.runs >= self.budget {
            self.cut_short = true;
            return false;
        }
        self.runs += 1;
        (self.progress)(self.runs);
        match (self.fails)(candidate.clone()) {
            Some(f) if f.is_like(&self.failure) => {
                self.best = candidate;
                self.failure = f;
                true
            }
            _ => false,
        }
    }

    /// Halves, quarters, ... single lines, then pairs.
    fn remove_chunks(&mut self) {
        let mut size = self.best.lines.len().div_ceil(2);
        while size > 0 {
            let mut at = 0;
            while at < self.best.lines.len() {
                let mut candidate = self.best.clone();
                let end = (at + size).min(candidate.lines.len());
                candidate.lines.drain(at..end);
                if !self.accepts(candidate) {
                    at += size;
                }
            }
            size /= 2;
        }
        self.remove_pairs();
    }

    fn remove_pairs(&mut self) {
        let mut i = 0;
        while i < self.best.lines.len() {
            let mut j = i + 1;
            while j < self.best.lines.len() {
                let mut candidate = self.best.clone();
                candidate.lines.remove(j);
                candidate.lines.remove(i);
                if self.accepts(candidate) {
                    j = i + 1;
                } else {
                    j += 1;
                }
            }
            i += 1;
        }
    }

    /// Takes nodes out, each with all that names it; the numbers above move down.
    fn remove_nodes(&mut self) {
        let mut n = self.best.highest_node();
        while n >= 1 {
            if let Some(mut candidate) = without_node(&self.best, n) {
                // What was met by chance among many is met by few under some other seed.
                let seeds = [candidate.cluster.seed].into_iter().chain(0..OTHER_SEEDS);
                for seed in seeds {
                    candidate.cluster.seed = seed;
                    if self.accepts(candidate.clone()) {
                        break;
                    }
                }
            }
            n -= 1;
        }
        let c = self.best.cluster;
        if c.servers > 0 {
            let mut candidate = self.best.clone();
            (candidate.cluster.servers, candidate.cluster.expect) = (0, None);
            self.accepts(candidate);
        }
    }

    /// Takes single nodes out of lines that name several.
    fn shrink_sets(&mut self) {
        for i in 0..self.best.lines.len() {
            for n in (1..=self.best.highest_node()).rev() {
                let mut candidate = self.best.clone();
                let keeps = edit_sets(&mut candidate.lines[i], |set| remove_from(set, n));
                if keeps {
                    self.accepts(candidate);
                }
            }
        }
    }

    /// Where no expectation fails, those that are left only make the run last. A step does that,
    /// too, and asks for nothing that may not hold once the bug is mended.
    fn end_plainly(&mut self) {
        let is_asked = ["within", "for", "never", "sometimes"];
        if is_asked.iter().any(|w| self.failure.check.starts_with(w)) {
            return;
        }
        for i in 0..self.best.lines.len() {
            let lasts = match &self.best.lines[i] {
                Line::Expect(Expect::Within(lasts, _) | Expect::For { lasts, .. }) => *lasts,
                _ => continue,
            };
            let mut candidate = self.best.clone();
            let end = Time(candidate.base_time(i).0 + lasts.0);
            candidate.lines[i] = Line::At(end, Action::Heal);
            self.accepts(candidate);
        }
    }

    /// Simple settings, early and round times.
    fn round(&mut self) {
        for i in 0..self.best.lines.len() {
            for simpler in [drop_settings, round_rates, whole_seconds, join_plainly] {
                for word in 0..9 {
                    let mut candidate = self.best.clone();
                    if simpler(&mut candidate.lines[i], word) {
                        self.accepts(candidate);
                    }
                }
            }
        }
        for cut in [1_000_000_000, 2, 4] {
            self.pull_forward(cut);
        }
    }

    /// Moves every step from line i on towards the one before: by whole gaps, or parts of them.
    fn pull_forward(&mut self, divide: u64) {
        for i in 0..self.best.lines.len() {
            let Line::At(t, _) = self.best.lines[i] else { continue };
            let gap = t.0.saturating_sub(self.best.base_time(i).0);
            let by = gap - (gap / divide) / 1_000_000_000 * 1_000_000_000;
            if by == 0 {
                continue;
            }
            let mut candidate = self.best.clone();
            for line in &mut candidate.lines[i..] {
                if let Line::At(t, _) = line {
                    t.0 = t.0.saturating_sub(by);
                }
            }
            self.accepts(candidate);
        }
    }
}

/// Is it about what must happen rather than about what must not?
fn is_liveness(check: &str) -> bool {
    check.starts_with("within") || check.starts_with("sometimes")
}

/// What lets nodes find each other, or keeps them from it.
struct Reach {
    /// Lines that tell nodes to join at the start, and later.
    told: [usize; 2],
    /// Starts that do not.
    alone: usize,
    /// Other steps before the cluster formed.
    early: usize,
    /// Some node moves: who knows only its old address must be told.
    moves: bool,
}

impl Reach {
    fn of(s: &Scenario) -> Self {
        let mut r = Self { told: [0; 2], alone: 0, early: 0, moves: false };
        for line in &s.lines {
            let Line::At(t, action) = line else { continue };
            let early = *t < FORMED;
            match action {
                Action::Join { .. } => r.told[usize::from(!early)] += 1,
                Action::Restart { options, .. } | Action::Start { options, .. } => {
                    r.alone += usize::from(options.join.is_none());
                    r.moves |= options.new_address;
                    r.early += usize::from(early);
                }
                _ => r.early += usize::from(early),
            }
        }
        r
    }

    fn is_less_than(&self, before: &Self) -> bool {
        self.told[0] < before.told[0]
            || self.moves && self.told[1] < before.told[1]
            || self.alone > before.alone
            || self.early > before.early
    }
}

/// The scenario without node `n`; none if a line cannot do without it.
fn without_node(s: &Scenario, n: u32) -> Option<Scenario> {
    let mut out = s.clone();
    if n <= out.cluster.nodes {
        if out.cluster.nodes == 1 {
            return None;
        }
        out.cluster.nodes -= 1;
        if n <= out.cluster.servers {
            out.cluster.servers -= 1;
        }
        let servers = u8::try_from(out.cluster.servers).unwrap_or(u8::MAX);
        out.cluster.expect = out.cluster.expect.map(|e| e.min(servers)).filter(|e| *e > 0);
    }
    out.lines.retain_mut(|line| {
        if let Line::At(_, Action::Restart { options, .. } | Action::Start { options, .. }) = line
            && let Some(name) = &mut options.name
        {
            if name.0 == n {
                return false;
            }
            name.0 -= u32::from(name.0 > n);
        }
        edit_sets(line, |set| {
            if set.contains(n) && *set != NodeSet::All && !remove_from(set, n) {
                return false;
            }
            if let NodeSet::Some(_) = set {
                let moved = set.numbers(0).into_iter().map(|m| if m > n { m - 1 } else { m });
                *set = NodeSet::of(moved);
            }
            true
        })
    });
    Some(out)
}

/// Takes `n` out; false if nothing would be left or it is not there.
fn remove_from(set: &mut NodeSet, n: u32) -> bool {
    if *set == NodeSet::All || !set.contains(n) {
        return *set == NodeSet::All;
    }
    let rest: Vec<u32> = set.numbers(0).into_iter().filter(|m| *m != n).collect();
    if rest.is_empty() {
        return false;
    }
    *set = NodeSet::of(rest);
    true
}

/// Edits every set of a line; false if `edit` refused one.
fn edit_sets(line: &mut Line, mut edit: impl FnMut(&mut NodeSet) -> bool) -> bool {
    let mut sets: Vec<&mut NodeSet> = match line {
        Line::Net(_) | Line::Keys(_) | Line::Cores(_) | Line::Queues(_) => vec![],
        Line::Link(l) | Line::At(_, Action::Link(l)) => vec![&mut l.from, &mut l.to],
        Line::Clock(c) | Line::At(_, Action::Clock(c)) => vec![&mut c.nodes],
        Line::Server(s) => vec![&mut s.nodes],
        Line::Protocol(p) => vec![&mut p.nodes],
        Line::At(_, action) => action_sets(action),
        Line::Expect(Expect::Within(_, Condition::Held { nodes, viewers, .. }))
        | Line::Expect(Expect::For { nodes, viewers, .. }) => match viewers {
            Viewers::Everywhere => vec![nodes],
            Viewers::On(set) => vec![nodes, set],
        },
        Line::Expect(Expect::Within(_, Condition::Event { viewers: Viewers::On(set), .. })) => {
            vec![set]
        }
        Line::Expect(Expect::Within(_, Condition::Rtt { nodes, .. })) => vec![nodes],
        Line::Expect(Expect::Within(_, Condition::Quorum { voters })) => {
            voters.iter_mut().collect()
        }
        Line::Expect(_) => vec![],
    };
    sets.iter_mut().all(|set| edit(set))
}

fn action_sets(action: &mut Action) -> Vec<&mut NodeSet> {
    match action {
        Action::Join { nodes, via } => vec![nodes, via],
        Action::Partition { groups } => groups.iter_mut().collect(),
        Action::Cut { from, to, .. } => vec![from, to],
        Action::Link(l) => vec![&mut l.from, &mut l.to],
        Action::Clock(c) => vec![&mut c.nodes],
        Action::Heal | Action::Net(_) | Action::Saturate { .. } => vec![],
        Action::Key { on, .. } => on.iter_mut().collect(),
        Action::Forge { nodes, accused, .. } => vec![nodes, accused],
        Action::ForceLeave { nodes, on } => on.iter_mut().chain([nodes]).collect(),
        Action::Restart { nodes, options } | Action::Start { nodes, options } => {
            options.join.iter_mut().chain([nodes]).collect()
        }
        Action::Rumour { nodes, on } => vec![nodes, on],
        Action::Isolate { nodes }
        | Action::Mend { nodes }
        | Action::Flap { nodes, .. }
        | Action::Crash { nodes }
        | Action::Poweroff { nodes }
        | Action::Pause { nodes, .. }
        | Action::Suspend { nodes, .. }
        | Action::Starve { nodes, .. }
        | Action::Leave { nodes }
        | Action::Replay { nodes, .. }
        | Action::Garbage { nodes, .. }
        | Action::Event { on: nodes, .. }
        | Action::Query { on: nodes, .. }
        | Action::ForgeEvent { nodes, .. }
        | Action::Retag { nodes }
        | Action::Misplace { nodes }
        | Action::Disk { nodes, .. } => vec![nodes],
    }
}

fn settings(line: &mut Line) -> Option<&mut LinkSettings> {
    match line {
        Line::Net(s) | Line::At(_, Action::Net(s)) => Some(s),
        Line::Link(l) | Line::At(_, Action::Link(l)) => Some(&mut l.settings),
        _ => None,
    }
}

/// One setting fewer.
fn drop_settings(line: &mut Line, word: usize) -> bool {
    let Some(s) = settings(line) else { return false };
    let before = *s;
    match word {
        0 => s.latency = None,
        1 => s.loss = None,
        2 => s.burst = None,
        3 => s.dup = None,
        4 => s.reorder = None,
        5 => s.corrupt = None,
        6 => s.mtu = None,
        7 => s.bandwidth = None,
        _ => {}
    }
    *s != before && *s != LinkSettings::default()
}

/// Whole tens of percent, or all.
fn round_rates(line: &mut Line, word: usize) -> bool {
    let Some(s) = settings(line) else { return false };
    let rates = [&mut s.loss, &mut s.burst, &mut s.dup, &mut s.reorder, &mut s.corrupt];
    let Some(Some(rate)) = rates.into_iter().nth(word) else { return false };
    let rounded = Rate(rate.0.div_ceil(100_000) * 100_000);
    let changed = rounded.0 > 0 && *rate != rounded;
    *rate = rounded;
    changed
}

/// Times of steps and lengths of faults in whole seconds.
fn whole_seconds(line: &mut Line, word: usize) -> bool {
    let second = 1_000_000_000;
    let up = |t: &mut Time| {
        let rounded = t.0.div_ceil(second) * second;
        let changed = rounded != t.0;
        t.0 = rounded;
        changed
    };
    let Line::At(t, action) = line else { return false };
    match (word, action) {
        (0, _) => up(t),
        (
            1,
            Action::Pause { lasts, .. }
            | Action::Suspend { lasts, .. }
            | Action::Starve { lasts, .. }
            | Action::Saturate { lasts, .. }
            | Action::Flap { lasts, .. }
            | Action::Replay { window: lasts, .. },
        ) => up(lasts),
        _ => false,
    }
}

/// Restarts and starts without the options that do not matter.
fn join_plainly(line: &mut Line, word: usize) -> bool {
    let Line::At(_, Action::Restart { options, .. } | Action::Start { options, .. }) = line else {
        return false;
    };
    let before = options.clone();
    match word {
        0 => options.join = None,
        1 => options.name = None,
        2 => options.new_address = false,
        3 => options.fresh = false,
        _ => {}
    }
    *options != before
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_goes_with_all_that_names_it() {
        let text = "cluster 4 servers 2 seed 1\nat 1s crash n2\nat 2s join n1 n2 n4 via n3\n\
            at 3s partition n1 n2 | n3 n4\nwithin 5s n3 alive everywhere\n";
        let out = without_node(&Scenario::parse(text).unwrap(), 2).unwrap().to_string();
        let expected = "cluster 3 servers 1 seed 1\nat 2s join n1 n3 via n2\n\
            at 3s partition n1 | n2..n3\nwithin 5s n2 alive everywhere\n";
        assert_eq!(out, expected);
    }

    #[test]
    fn a_failure_becomes_a_few_lines() {
        let text = "cluster 6 servers 3 seed 5\nnet latency 1ms..5ms loss 1.234%\n\
            clock n3 drift +200ppm\nat 0s join all via n1\nat 3.217s crash n2\n\
            at 4s pause n5 for 1.5s\nat 6s restart n2\nat 9.5s isolate n4\nat 12s heal\n\
            at 14s poweroff n6\nwithin 20s n1 failed everywhere\n";
        let s = Scenario::parse(text).unwrap();
        let small = shrink(s, &Program::default(), 500, |_| {}).unwrap();
        assert_eq!(small.failure.check, "within-failed");
        let lines = small.scenario.lines.len();
        assert!(lines <= 3 && small.scenario.cluster.nodes <= 3, "{}", small.scenario);
    }

    /// Two panics are planted: whoever crashes meets the first one, whoever leaves the other.
    fn panics(s: Scenario) -> Option<Failure> {
        let has = |wanted: fn(&Action) -> bool| {
            s.lines.iter().any(|l| matches!(l, Line::At(_, a) if wanted(a)))
        };
        let outcome = runner::guarded(|| {
            let lines = s.lines.len();
            if has(|a| matches!(a, Action::Crash { .. })) {
                panic!("{lines} of {lines} lines");
            }
            if has(|a| matches!(a, Action::Leave { .. })) {
                panic!("{lines} of 9 lines");
            }
            crate::world::run(s.clone(), Options::default())
        });
        outcome.unwrap().failures.into_iter().next()
    }

    #[test]
    fn a_panic_is_not_shrunk_into_another_one() {
        let text = "cluster 3\nat 1s heal\nat 2s crash n2\nat 3s leave n3\nat 4s heal\n";
        let s = Scenario::parse(text).unwrap();
        let first = panics(s.clone()).unwrap();
        let small = shrink_by(s, panics, 500, |_| {}).unwrap();
        assert_eq!(small.failure.place, first.place);
        let left = small.scenario.to_string();
        assert!(left.contains("crash") && small.scenario.lines.len() == 1, "{left}");
    }

    fn panic(message: &str, place: Option<&str>) -> Failure {
        let (check, place) = ("S10-panic".into(), place.map(str::to_owned));
        Failure { check, t: 0, node: 0, message: message.into(), cause: 0, place }
    }

    #[test]
    fn panics_of_unknown_place_are_told_apart_by_their_words() {
        let a = panic("index 7 of 5", None);
        assert!(a.is_like(&panic("index 12 of 5", None)));
        assert!(!a.is_like(&panic("7 lines", None)));
        assert!(!a.is_like(&panic("index 7 of 5", Some("a.rs:1:1"))));
        let at = panic("index 7 of 5", Some("a.rs:1:1"));
        assert!(at.is_like(&panic("7 lines", Some("a.rs:1:1"))));
        assert!(!at.is_like(&panic("index 7 of 5", Some("a.rs:2:1"))));
        // What is no panic is known by its check alone.
        let other = |message: &str| Failure { check: "L1-join".into(), ..panic(message, None) };
        assert!(
            other("n1 misses n2").is_like(&other("three live members")) && !other("").is_like(&a)
        );
    }

    #[test]
    fn a_failure_does_not_become_one_that_nobody_sees() {
        let text = "cluster 4 seed 5\nat 0s join all via n1\nat 20s heal\n\
            for 20s n2 failed everywhere\n";
        let s = Scenario::parse(text).unwrap();
        let small = shrink(s, &Program::default(), 500, |_| {}).unwrap();
        assert_eq!(small.failure.check, "for-failed");
        // Without n1 there is nobody but n2.
        let (nodes, message) = (small.scenario.cluster.nodes, small.failure.message);
        assert!(nodes == 2 && message.contains("n2 is "), "{nodes} nodes: {message}");
    }

    #[test]
    fn an_expectation_that_only_makes_a_run_last_becomes_a_step() {
        let text = "cluster 2\nat 5s crash n2\nwithin 60s converged\n";
        let lasts = |s: Scenario| {
            let late = s.end_time() >= Time::from_secs(60);
            late.then(|| Failure { check: "L4-stays-failed".into(), ..panic("", None) })
        };
        let small = shrink_by(Scenario::parse(text).unwrap(), lasts, 500, |_| {}).unwrap().scenario;
        assert!(small.lines.iter().all(|l| matches!(l, Line::At(..))), "{small}");
    }

    #[test]
    fn a_budget_that_left_something_to_try_is_told() {
        let fails = |_| Some(panic("", Some("a.rs:1:1")));
        let small = |budget| {
            let s = Scenario::parse("cluster 2\nat 1s heal\n").unwrap();
            shrink_by(s, fails, budget, |_| {}).unwrap()
        };
        let all = small(500);
        assert!(!all.cut_short && all.scenario.lines.is_empty());
        assert!(!small(all.runs).cut_short && small(all.runs - 1).cut_short);
        assert!(small(1).cut_short);
    }

    #[test]
    fn what_does_not_fail_is_not_shrunk() {
        let s = Scenario::parse("cluster 1\nat 1s heal\n").unwrap();
        assert!(shrink(s, &Program::default(), 10, |_| {}).is_none());
    }
}
