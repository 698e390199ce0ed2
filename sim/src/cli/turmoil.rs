//! `run --layer turmoil`.

use std::path::{Path, PathBuf};

use sim::{
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
    let (mut passed, mut failed, mut beyond) = (0, 0, 0);
    for path in &show::expand(files)? {
        let at = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
        let mut plan = match Plan::parse(&show::text(path)?) {
            Ok(plan) => plan,
            Err(e @ LoadError::Unsupported { .. }) if !files.contains(path) => {
                println!("skip {}: {e}", path.display());
                beyond += 1;
                continue;
            }
            Err(e) => return Err(at(&e)),
        };
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
            passed += 1;
            continue;
        }
        failed += 1;
        let seed = once.seed.map_or_else(String::new, |s| format!(" --seed {s}"));
        let file = quoted(&shown(path).to_string());
        let repeat = once.under.line(&format!("run {file} --layer turmoil{seed}"));
        println!("  repeat: {repeat}");
        // It has no trace of causes, so no page either.
        println!("  events: {repeat} --events");
    }
    if passed + failed + beyond > 1 {
        println!("{passed} pass, {failed} fail, {beyond} are not for this layer");
    }
    Ok(failed == 0)
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
