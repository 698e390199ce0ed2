//! Many drawn scenarios on several threads. Guarantee: the report does not depend on the number
//! of threads or on which finished first.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::{
    aim::Aim,
    keyed::{Keyed, Purpose},
    pool,
    program::Program,
    runner,
    scenario::{Goal, Scenario},
    world::{Failure, LoadError, Options, Outcome},
};

/// What to sweep.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// What is drawn.
    pub aim: Aim,
    /// The first seed.
    pub first: u64,
    /// How many seeds.
    pub seeds: u64,
    /// Threads.
    pub jobs: usize,
    /// What every node runs.
    pub program: Program,
    /// End after so many failures, at least one.
    pub max_failures: usize,
}

impl Default for Sweep {
    fn default() -> Self {
        Self {
            aim: Aim::Everything,
            first: 0,
            seeds: 200,
            jobs: 1,
            program: Program::default(),
            max_failures: usize::MAX,
        }
    }
}

/// A seed that failed.
#[derive(Clone, Debug)]
pub struct Failed {
    /// The seed.
    pub seed: u64,
    /// Its scenario.
    pub scenario: Scenario,
    /// The first failure.
    pub failure: Failure,
}

/// What a sweep found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Runs done.
    pub runs: u64,
    /// By seed.
    pub failed: Vec<Failed>,
    /// Everything that any run met.
    pub goals: BTreeSet<Goal>,
    /// A hash over the traces of all runs, in the order of seeds.
    pub hash: u64,
    /// Occurrences handled.
    pub occurrences: u64,
    /// Virtual time of all runs together, nanoseconds.
    pub virtual_ns: u128,
}

impl Report {
    /// Required goals that no run met; empty for a small sweep, which may miss one by chance.
    pub fn missed(&self, aim: Aim) -> Vec<&'static str> {
        if self.runs < aim.meets_all_within() {
            return Vec::new();
        }
        let met = |name: &&&str| Goal::by_name(name).is_some_and(|g| self.goals.contains(&g));
        aim.required().iter().filter(|name| !met(name)).copied().collect()
    }
}

/// Runs all seeds; `progress` is told after each run, from any thread.
pub fn sweep(what: &Sweep, progress: impl Fn() + Sync) -> Report {
    let failed = AtomicUsize::new(0);
    let run = |n| {
        let seed = what.first.wrapping_add(n);
        let options = Options { program: what.program.clone(), ..Options::default() };
        let outcome = runner::run(what.aim.draw(seed), options);
        progress();
        (seed, outcome)
    };
    let enough = |r: &(u64, Result<Outcome, LoadError>)| {
        r.1.as_ref().map_or(true, |o| !o.failures.is_empty())
            && failed.fetch_add(1, Ordering::Relaxed) + 1 >= what.max_failures
    };
    let results = pool::each(what.seeds, what.jobs, run, enough);
    report(what.aim, what.max_failures, results.into_iter())
}

/// What is drawn asks for nothing that is not there; if it does, that is a failure, too.
fn not_loaded(e: &LoadError) -> Failure {
    let (check, message) = ("load".to_owned(), e.to_string());
    Failure { check, t: 0, node: 0, message, cause: 0, place: None }
}

/// Of seeds that came after the last failure that was asked for, nothing is told: how many were
/// begun meanwhile depends on the threads.
fn report(
    aim: Aim,
    max_failures: usize,
    results: impl Iterator<Item = (u64, Result<Outcome, LoadError>)>,
) -> Report {
    let mut report = Report::default();
    for (seed, result) in results {
        if report.failed.len() >= max_failures.max(1) {
            break;
        }
        report.runs += 1;
        let o = match result {
            Ok(o) => o,
            Err(e) => {
                let failure = not_loaded(&e);
                report.failed.push(Failed { seed, scenario: aim.draw(seed), failure });
                continue;
            }
        };
        report.hash = Keyed::new(report.hash).bits(Purpose::Draw, seed, o.hash);
        report.occurrences += o.occurrences;
        report.virtual_ns += u128::from(o.end);
        report.goals.extend(o.goals);
        if let Some(failure) = o.failures.into_iter().next() {
            report.failed.push(Failed { seed, scenario: aim.draw(seed), failure });
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_that_cannot_be_loaded_failed() {
        let e = LoadError::Config { node: 3, reason: "no address".to_owned() };
        let r = report(Aim::Everything, 1, [(7, Err(e.clone())), (8, Err(e))].into_iter());
        assert_eq!((r.runs, r.failed.len(), r.failed[0].seed), (1, 1, 7), "one is enough");
        assert_eq!(r.failed[0].failure.message, "n3 cannot start: no address");
    }
}
