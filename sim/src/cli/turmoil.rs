//! `run --layer turmoil`.

use std::path::{Path, PathBuf};

use sim::{
    Program,
    program::NodeClock,
    turmoil::{self, LoadError, Options, Outcome, Plan},
};

use super::{Error, Once, seconds, show, shown, stopwatch, under::quoted};

/// Runs scenarios on the real agent; true if all pass. A file that was named must be one that
/// this layer can do; of a folder, those that it cannot are listed with the reason.
pub(super) fn run(files: &[PathBuf], events: bool, once: &Once) -> Result<bool, Error> {
    let program = once.under.program()?;
    if program.clock != NodeClock::Monotonic {
        return Err("the turmoil layer has no wall clock to drive nodes by".into());
    }
    let paths = show::expand(files)?;
    let (mut tally, mut beyond) = (show::Tally::of(paths.len()), 0);
    for path in &paths {
        match plan(path, files.contains(path)) {
            Ok(Some(plan)) => tally.take(run_one(path, plan, &program, events, once))?,
            Ok(None) => beyond += 1,
            Err(e) => tally.take(Err(e))?,
        }
    }
    if paths.len() > 1 {
        let (passed, failed) = (tally.passed, tally.failed);
        println!("{passed} pass, {failed} fail, {beyond} are not for this layer");
    }
    tally.verdict()
}

/// What is to be done; none, and why, if this layer cannot and nobody named the file.
fn plan(path: &Path, is_named: bool) -> Result<Option<Plan>, Error> {
    match Plan::parse(&show::text(path)?) {
        Ok(plan) => Ok(Some(plan)),
        Err(e @ LoadError::Unsupported { .. }) if !is_named => {
            println!("skip {}: {e}", path.display());
            Ok(None)
        }
        Err(e) => Err(format!("{}: {e}", path.display())),
    }
}

/// Runs a scenario; true if it passes.
fn run_one(
    path: &Path,
    mut plan: Plan,
    program: &Program,
    events: bool,
    once: &Once,
) -> Result<bool, Error> {
    if let Some(seed) = once.seed {
        plan = plan.with_seed(seed);
    }
    let began = stopwatch();
    let (tuning, keys) = (program.tuning.clone(), program.keyring());
    let options = Options { tuning, keys, ..Options::default() };
    let outcome = turmoil::run(&plan, &options);
    if events {
        super::out::print_lines(outcome.events.iter().map(ToString::to_string))?;
    }
    summary(path, &outcome, began.elapsed().as_secs_f64());
    if outcome.failures.is_empty() {
        return Ok(true);
    }
    let seed = once.seed.map_or_else(String::new, |s| format!(" --seed {s}"));
    let file = quoted(&shown(path).to_string());
    let repeat = once.under.line(&format!("run {file} --layer turmoil{seed}"));
    println!("  repeat: {repeat}");
    // It has no trace of causes, so no page either.
    println!("  events: {repeat} --events");
    Ok(false)
}

fn summary(path: &Path, o: &Outcome, wall: f64) {
    let verdict = if o.failures.is_empty() { "pass" } else { "FAIL" };
    println!(
        "{verdict} {}  {} virtual, {} changes, {} answers, {:.0}x real time, hash {:016x}",
        path.display(),
        seconds(o.end),
        o.events.len(),
        o.answers,
        o.end as f64 / 1e9 / wall.max(1e-9),
        o.hash()
    );
    for f in &o.failures {
        println!("  {} at {} on n{}: {}", f.check, seconds(f.t), f.node, f.message);
    }
}
