//! Rules of the protocol are broken on purpose, one at a time: the sweep must find each within
//! 200 seeds and the shrinker must make it small. What is found must be clean without the bug.

use std::{
    fmt::Write as _,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use quorate_core::{Bug, Tuning};
use sim::{
    Program, Scenario,
    aim::Aim,
    program::{NodeClock, TIMER_BY_WALL_CLOCK},
    runner,
    scenario::Line,
    shrink::shrink,
    world::{Failure, Options},
};

/// Rules whose breach takes an interleaving too rare for a sweep: the exhaustive walk of
/// `quorate-core` (`bootstrap::model`) finds it.
const FOUND_BY_THE_MODEL: &[Bug] = &[Bug::BallotForgetsAccepted];

/// Rules about what a sweep does not draw (names used twice, rumours) or takes no offence at: a
/// scenario of the library fails without them.
const FOUND_BY_A_SCENARIO: &[(Bug, &str)] = &[
    (Bug::KeyUsedUnchecked, "keys/use-needs-all.scn"),
    (Bug::TurnNotTaken, "names/heal-two-holders.scn"),
    (Bug::LoserStays, "names/heal-cluster-of-two.scn"),
    (Bug::HolderNotProbed, "names/wiped-and-moved.scn"),
    (Bug::HearsayBelieved, "hearsay/never-was.scn"),
    (Bug::DroppedNotSought, "large/calm-bounds.scn"),
    (Bug::LateTurnLost, "names/newcomer-restarts.scn"),
    (Bug::FlapsNotDamped, "partitions/flapping-slowly.scn"),
    (Bug::ObituaryBelieved, "partitions/halves.scn"),
    (Bug::AloneUnminded, "partitions/comes-back.scn"),
    (Bug::DegradedUnseen, "partitions/udp-blocked.scn"),
    (Bug::OverdueUnminded, "faults/silent-hosts.scn"),
    (Bug::MovedNotFollowed, "traffic/forged-and-moved.scn"),
    (Bug::StrangerNotAsked, "traffic/forged-newcomer.scn"),
    (Bug::GoneNotAsked, "traffic/forged-apart.scn"),
    (Bug::ChallengedBelow, "traffic/forged-and-forgotten.scn"),
    (Bug::LastIncarnationStands, "traffic/forged-stranger.scn"),
    (Bug::LatenessCharged, "faults/starved-all.scn"),
    (Bug::SlowForgotten, "faults/slow-again.scn"),
    (Bug::LiarFollowed, "coordinates/liar.scn"),
];

/// Within so many seeds.
const SEEDS: u64 = 200;
/// Steps and nodes of what is left of a failure.
const STEPS: usize = 8;
const NODES: u32 = 5;
/// Scenarios that the shrinker may try.
const BUDGET: usize = 2000;
const THREADS: usize = 2;

fn planted() -> Vec<(&'static str, Program)> {
    let with = |bug| {
        let sealed = bug == Bug::ReplaysAccepted;
        Program { sealed, ..Program::tuned(Tuning { bug: Some(bug), ..Tuning::default() }) }
    };
    let elsewhere = |bug: Bug| {
        FOUND_BY_THE_MODEL.contains(&bug) || FOUND_BY_A_SCENARIO.iter().any(|b| b.0 == bug)
    };
    let swept = Bug::ALL.iter().filter(|b| !elsewhere(b.0));
    let mut all: Vec<_> = swept.map(|(bug, name, _)| (*name, with(*bug))).collect();
    let clock = NodeClock::Wall;
    all.push((TIMER_BY_WALL_CLOCK.0, Program { clock, ..Program::default() }));
    all
}

fn failure(scenario: Scenario, program: &Program) -> Option<Failure> {
    let options = Options { program: program.clone(), ..Options::default() };
    runner::run(scenario, options).unwrap().failures.into_iter().next()
}

/// What is wrong with how a bug is found and made small, or how it went.
fn hunt(name: &str, program: &Program) -> Result<String, String> {
    let seeds = |aim: Aim| (0..SEEDS).map(move |seed| (aim, seed));
    let found = seeds(Aim::Everything)
        .chain(seeds(Aim::Bootstrap))
        .chain(seeds(Aim::Hostile))
        .find_map(|(aim, seed)| Some((aim, seed, failure(aim.draw(seed), program)?)));
    let (aim, seed, first) = found.ok_or_else(|| format!("{name}: not found in {SEEDS} seeds"))?;
    if let Some(f) = failure(aim.draw(seed), &Program::default()) {
        return Err(format!("{name}: seed {seed} fails without it: {}", f.check));
    }
    let small = shrink(aim.draw(seed), program, BUDGET, |_| {});
    let small = small.ok_or_else(|| format!("{name}: seed {seed} fails only sometimes"))?;
    let steps = small.scenario.lines.iter().filter(|l| matches!(l, Line::At(..))).count();
    let nodes = small.scenario.highest_node();
    let mut told = String::new();
    let (check, runs) = (&first.check, small.runs);
    let _ = write!(
        told,
        "{name}: {check} at seed {seed}{}: {steps} steps, {nodes} nodes ({runs} runs)",
        aim.flag()
    );
    if steps > STEPS || nodes > NODES {
        return Err(format!("{told}: too large\n{}", small.scenario));
    }
    if let Some(f) = failure(small.scenario.clone(), &Program::default()) {
        return Err(format!("{told}: fails without it: {}\n{}", f.check, small.scenario));
    }
    Ok(told)
}

#[test]
fn every_planted_bug_is_found_and_made_small() {
    // A panic in a run is a failure of that run.
    std::panic::set_hook(Box::new(|_| {}));
    let bugs = planted();
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let work = || {
        while let Some((name, program)) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = hunt(name, program);
            results.lock().unwrap().push(result);
        }
    };
    std::thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(work))));
    let _ = std::panic::take_hook();
    let results = results.into_inner().unwrap();
    assert!(results.len() >= 12, "{} bugs", results.len());
    let wrong: Vec<_> = results.iter().filter_map(|r| r.as_ref().err().cloned()).collect();
    results.iter().flatten().for_each(|told| println!("{told}"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn scenarios_find_what_no_sweep_looks_for() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    for (bug, file) in FOUND_BY_A_SCENARIO {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        let scenario = Scenario::parse(&text).unwrap();
        let clean = failure(scenario.clone(), &Program::default());
        assert!(clean.is_none(), "{file} fails without {bug:?}: {clean:?}");
        let tuning = Tuning { bug: Some(*bug), ..Tuning::default() };
        let broken = failure(scenario, &Program::tuned(tuning));
        assert!(broken.is_some(), "{file} passes with {bug:?}");
    }
}
