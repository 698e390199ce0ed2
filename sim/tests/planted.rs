//! Rules of the protocol are broken on purpose, one at a time: the sweep must find each within
//! 200 seeds and the shrinker must make it small. What is found must be clean without the bug.
//! What the plain sweep does not find is in exactly one of the lists below.

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
    sweep::{Sweep, sweep},
    world::{Failure, Options},
};

/// The rules that all others rest on: the plain sweep finds each. A test of this crate holds that,
/// so none of them can go to one of the other lists.
const FOUND_BY_THE_PLAIN_SWEEP: [&str; 12] = [
    "resurrect-on-equal",
    "no-refutation",
    "refute-without-raising",
    "left-overridden",
    "suspicion-never-fires",
    TIMER_BY_WALL_CLOCK.0,
    "merge-ignores-generation",
    "incarnation-wraps",
    "nack-counts-as-ack",
    "lost-self-record",
    "tombstone-pruned-at-once",
    "stream-leaks",
];

/// Rules that matter only where this sweep is aimed at: within as many seeds of it.
const FOUND_BY_AN_AIMED_SWEEP: &[(Bug, Aim)] = &[
    (Bug::MajorityPromises, Aim::Bootstrap),
    (Bug::EraStays, Aim::Bootstrap),
    (Bug::PromiseNotOnDisk, Aim::Bootstrap),
    (Bug::ReplaysAccepted, Aim::Hostile),
    (Bug::SaltStands, Aim::Hostile),
    (Bug::KeyRemovedInUse, Aim::Hostile),
];

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
    (Bug::UnmetOweNacks, "hearsay/made-up-witnesses.scn"),
    (Bug::ObserversLetGo, "hearsay/made-up-observers.scn"),
    (Bug::UnmetAwaited, "hearsay/made-up-members.scn"),
    (Bug::NewsToAnybody, "hearsay/made-up-members.scn"),
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
    (Bug::AwaySaysNothing, "large/stands-twice.scn"),
    (Bug::AccusesItself, "start/join-in-a-chain.scn"),
    (Bug::AwayReadsFirst, "large/runs-for-a-millisecond.scn"),
    (Bug::SlowForgotten, "faults/slow-again.scn"),
    (Bug::LiarFollowed, "coordinates/liar.scn"),
    (Bug::RefusedAsSilent, "faults/crash.scn"),
    (Bug::BreakUnminded, "faults/crash.scn"),
    (Bug::MuteAsSilent, "faults/paused-five-seconds.scn"),
    (Bug::ReasonsAddUp, "regressions/within-converged-a75c4cdf.scn"),
    (Bug::NewsWaits, "start/one-more-joins-fifty.scn"),
    (Bug::NewsByChance, "large/news-goes-round.scn"),
    (Bug::NotHedged, "start/lossy-hundred.scn"),
    (Bug::LeftLowersVersion, "departures/force-leave-while-suspected.scn"),
    (Bug::NameUnchecked, "names/taken.scn"),
    (Bug::IncompatibleTaken, "updates/no-common-version.scn"),
    (Bug::FarTimesTaken, "events/forged-clock.scn"),
    (Bug::ReplyNotRepeated, "events/query.scn"),
    (Bug::ConflictNotTold, "bootstrap/different-expect.scn"),
    (Bug::FinalNotFollowed, "bootstrap/more-than-expected.scn"),
    (Bug::DigestsNotCompared, "start/join-in-a-chain.scn"),
    (Bug::PingsNotRepeated, "large/loss-40-percent.scn"),
    (Bug::DoneNotSaid, "departures/leave-alarms-nobody.scn"),
];

/// Rules that a cluster shows by chance only, or not at all (what a stranger is answered): a test
/// of `quorate-core` fails without each. The list there is `each_broken_rule_is_caught`.
const FOUND_BY_A_TEST: &[Bug] = &[
    Bug::WrongTargetAcks,
    Bug::HelpersByChance,
    Bug::RoundStands,
    Bug::TalkKept,
    Bug::WatchWaits,
    Bug::WitnessesUncounted,
    Bug::NackLate,
    Bug::AccusersUncounted,
    Bug::AccusedNotTold,
    Bug::LastLookNotTaken,
    Bug::SlowLookedAt,
    Bug::MutePinged,
    Bug::RefusalAloneCounts,
    Bug::NotMeUnminded,
    Bug::AnyCookieCounts,
    Bug::HealthUnminded,
    Bug::PauseUnguarded,
    Bug::AwaySaysAgain,
    Bug::HealthStays,
    Bug::HelpersNotAsked,
    Bug::StreamNotTried,
    Bug::LeftDoubted,
    Bug::StrangersHelped,
    Bug::UnmetHelp,
    Bug::GraceNotGiven,
    Bug::LoneAccusesAloud,
    Bug::ResetIsSilence,
    Bug::BeatUnminded,
    Bug::LooksUnlimited,
    Bug::WatchesUncapped,
    Bug::ObserversByChance,
    Bug::RoundsUnlimited,
    Bug::NewsToUnmet,
    Bug::StaleUncorrected,
    Bug::ForgottenStays,
    Bug::FailedContactedByAll,
    Bug::GoneNotTold,
    Bug::AnyWriteCounts,
    Bug::LeaveToldOnce,
    Bug::PastTold,
    Bug::OldEventsTold,
    Bug::EventsUncapped,
    Bug::StrangersQuery,
    Bug::QueriesUncapped,
    Bug::LatencyUnfiltered,
    Bug::RepeatMeasured,
    Bug::OverflowUntold,
    Bug::HearsayTakesNames,
    Bug::WaitingUncapped,
    Bug::CookiesGuessable,
    Bug::RelaysUncapped,
    Bug::CorrectionsUnlimited,
    Bug::StrangersToldMore,
    Bug::StrangersOftenTold,
    Bug::SaidTwice,
    Bug::StreamsUncapped,
    Bug::LabelUnchecked,
    Bug::ClearTaken,
    Bug::ExpectIgnored,
    Bug::BirthIgnored,
    Bug::AttemptNotAsked,
    Bug::ForgetfulPromises,
    Bug::EchoUnchecked,
    Bug::EarlierLifeCounts,
];

/// Within so many seeds.
const SEEDS: u64 = 200;
/// Steps and nodes of what is left of a failure.
const STEPS: usize = 8;
const NODES: u32 = 5;
/// Scenarios that the shrinker may try.
const BUDGET: usize = 2000;
const THREADS: usize = 2;

/// A bug that a sweep finds, by its name; the sweep, and what runs with it.
type Swept = (&'static str, Aim, Program);

fn swept() -> Vec<Swept> {
    let elsewhere = |bug: &Bug| {
        let scenario = FOUND_BY_A_SCENARIO.iter().any(|b| b.0 == *bug);
        scenario || FOUND_BY_THE_MODEL.contains(bug) || FOUND_BY_A_TEST.contains(bug)
    };
    let aimed = |bug: &Bug| FOUND_BY_AN_AIMED_SWEEP.iter().find(|b| b.0 == *bug).map(|b| b.1);
    let with = |bug| Program::tuned(Tuning { bug: Some(bug), ..Tuning::default() });
    let bugs = Bug::ALL.iter().filter(|b| !elsewhere(&b.0));
    let mut all: Vec<Swept> =
        bugs.map(|(bug, name, _)| (*name, aimed(bug).unwrap_or_default(), with(*bug))).collect();
    let clock = NodeClock::Wall;
    all.push((TIMER_BY_WALL_CLOCK.0, Aim::default(), Program { clock, ..Program::default() }));
    all
}

fn failure(scenario: Scenario, program: &Program) -> Option<Failure> {
    let options = Options { program: program.clone(), ..Options::default() };
    runner::run(scenario, options).unwrap().failures.into_iter().next()
}

/// What is wrong with how a bug is found and made small, or how it went. A failure that cannot be
/// made small enough is left for the next one, twice.
fn hunt(swept: &Swept) -> Result<String, String> {
    let (name, aim, program) = swept;
    let mut wrong = format!("{name}: not found in {SEEDS} seeds{}", aim.flag());
    let found = (0..SEEDS).filter_map(|seed| Some((seed, failure(aim.draw(seed), program)?)));
    for (seed, first) in found.take(3) {
        match made_small(swept, seed, &first) {
            Ok(told) => return Ok(told),
            Err(why) => wrong = why,
        }
    }
    Err(wrong)
}

/// The same of one seed that fails.
fn made_small((name, aim, program): &Swept, seed: u64, first: &Failure) -> Result<String, String> {
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
    let bugs = swept();
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let work = || {
        while let Some(bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = hunt(bug);
            results.lock().unwrap().push(result);
        }
    };
    std::thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(work))));
    let _ = std::panic::take_hook();
    let results = results.into_inner().unwrap();
    assert_eq!(results.len(), bugs.len());
    let wrong: Vec<_> = results.iter().filter_map(|r| r.as_ref().err().cloned()).collect();
    results.iter().flatten().for_each(|told| println!("{told}"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_sweep_that_ends_early_reports_the_same_from_any_number_of_threads() {
    let tuning = Tuning { bug: Some(Bug::ResurrectOnEqual), ..Tuning::default() };
    let reports = [1, 2, 4].map(|jobs| {
        let program = Program::tuned(tuning.clone());
        let r = sweep(&Sweep { jobs, max_failures: 2, program, ..Sweep::default() }, || ());
        let seeds: Vec<u64> = r.failed.iter().map(|f| f.seed).collect();
        (r.runs, r.hash, r.occurrences, seeds)
    });
    assert!(reports.iter().all(|r| *r == reports[0]), "{reports:?}");
    assert_eq!(reports[0].3.len(), 2);
}

#[test]
fn what_all_rests_on_is_found_by_the_plain_sweep() {
    let bugs = swept();
    for name in FOUND_BY_THE_PLAIN_SWEEP {
        let plain = |b: &Swept| b.0 == name && b.1 == Aim::Everything;
        assert!(bugs.iter().any(plain), "{name} is left to something else");
    }
}

#[test]
fn each_bug_is_in_one_list_at_most() {
    for (bug, name, _) in Bug::ALL {
        let lists = FOUND_BY_THE_MODEL.iter().filter(|b| *b == bug).count()
            + FOUND_BY_AN_AIMED_SWEEP.iter().filter(|b| b.0 == *bug).count()
            + FOUND_BY_A_SCENARIO.iter().filter(|b| b.0 == *bug).count()
            + FOUND_BY_A_TEST.iter().filter(|b| *b == bug).count();
        assert!(lists <= 1, "{name} is in {lists} lists");
    }
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

/// Who joins is told all on a stream, whose messages are taken apart, sealed or not.
#[test]
fn who_accuses_itself_on_a_stream_is_caught_by_s5() {
    let text = "cluster 2 seed 1\nat 0s join n2 via n1\nfor 10s n1 not left on n1\n";
    for sealed in [false, true] {
        let scenario = Scenario::parse(text).unwrap();
        let clean = Program { sealed, ..Program::default() };
        assert_eq!(failure(scenario.clone(), &clean), None);
        let tuning = Tuning { bug: Some(Bug::AccusesItself), ..Tuning::default() };
        let found = failure(scenario, &Program { sealed, ..Program::tuned(tuning) }).unwrap();
        assert_eq!(found.check, "S5-self-accusation", "sealed: {sealed}, {}", found.message);
    }
}

#[test]
fn tests_of_core_find_what_no_cluster_shows() {
    let core = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/src");
    let text = std::fs::read_to_string(core.join("node/tests/planted.rs")).unwrap();
    let (_, caught) = text.split_once("const CAUGHT").unwrap();
    for bug in FOUND_BY_A_TEST {
        assert!(caught.contains(&format!("Bug::{bug:?},")), "no test of core catches {bug:?}");
    }
    for (bug, name, _) in Bug::ALL.iter().filter(|b| !FOUND_BY_A_TEST.contains(&b.0)) {
        assert!(!caught.contains(&format!("Bug::{bug:?},")), "{name} is in the list of core, too");
    }
}
