//! `sweep`, `shrink`, `compare`: long work, with progress.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use indicatif::{ProgressBar, ProgressStyle};
use sim::{
    Scenario,
    aim::Aim,
    compare, constants, regress, shrink,
    sweep::{self, Failed, Sweep},
};

use super::{Error, Once, Under, seconds, show, shown, stopwatch, under::REPEAT};

fn bar(length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length);
    let style = "{bar:40} {pos}/{len} {per_sec}, {eta} left  {msg}";
    bar.set_style(
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar
}

/// A panic in a run is a failure of that run: it needs no report of its own.
pub(super) fn silence_panics() {
    std::panic::set_hook(Box::new(|_| {}));
}

/// Scenarios tried to make small what a sweep keeps.
const KEEP_BUDGET: usize = 5000;

/// Threads that are meant: 0 is one per processor.
pub(super) fn threads(jobs: usize) -> usize {
    match jobs {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    }
}

/// Sweeps; true if nothing failed and every required goal was met.
pub(super) fn sweep(
    aim: Aim,
    (first, seeds): (u64, u64),
    jobs: usize,
    max_failures: usize,
    keep: Option<&Path>,
    under: &Under,
) -> Result<bool, Error> {
    let jobs = threads(jobs);
    let what = Sweep { aim, first, seeds, jobs, program: under.program()?, max_failures };
    keep.map_or(Ok(()), prepare)?;
    silence_panics();
    let progress = bar(what.seeds);
    let began = stopwatch();
    let report = sweep::sweep(&what, || progress.inc(1));
    progress.finish_and_clear();
    let wall = began.elapsed().as_secs_f64();
    println!(
        "{} seeds from {}: {} failed; {:.1} hours virtual, {} occurrences in {:.1} s \
         ({:.0} a second), hash {:016x}",
        report.runs,
        what.first,
        report.failed.len(),
        report.virtual_ns as f64 / 3.6e12,
        report.occurrences,
        wall,
        report.occurrences as f64 / wall.max(1e-9),
        report.hash
    );
    // What cannot be kept hides neither the other failures nor the missed goals.
    let mut kept = Ok(());
    for failed in &report.failed {
        print_failed(aim, failed, under);
        if let Some(folder) = keep
            && let Err(e) = shrink_one(failed.scenario.clone(), folder, KEEP_BUDGET, under)
        {
            kept = Err(e);
        }
    }
    // memberlist's rules lack some of what the goals are about.
    let missed = if what.program.unbounded { Vec::new() } else { report.missed(aim) };
    if !missed.is_empty() {
        println!("never met, so the sweep tests less than it says: {}", missed.join(", "));
    }
    kept.map(|()| report.failed.is_empty() && missed.is_empty())
}

fn prepare(folder: &Path) -> Result<(), Error> {
    regress::prepare(folder).map_err(|e| format!("{}: {e}", folder.display()))
}

fn print_failed(aim: Aim, f: &Failed, under: &Under) {
    let (check, at, node) = (&f.failure.check, seconds(f.failure.t), f.failure.node);
    println!("seed {}: {check} at {at} on n{node}: {}", f.seed, f.failure.message);
    let which = format!("--seed {}{}", f.seed, aim.flag());
    println!("  repeat: {}", under.line(&format!("shrink {which}")));
    println!("{}", under.shown(&which, &format!("seed-{}", f.seed), None));
    println!("  scenario: {REPEAT} -- list {which}");
}

/// Shrinks a file or a seed; true if it failed and was made small.
pub(super) fn shrink(
    file: Option<&Path>,
    (aim, seed): (Aim, Option<u64>),
    keep: Option<PathBuf>,
    budget: usize,
    under: &Under,
) -> Result<bool, Error> {
    let scenario = match (file, seed) {
        (Some(path), _) => show::read(path)?,
        (None, Some(seed)) => aim.draw(seed),
        (None, None) => return Err("give a scenario file or --seed".into()),
    };
    silence_panics();
    let folder = keep.unwrap_or_else(|| Path::new(regress::SCENARIOS).join("regressions"));
    prepare(&folder)?;
    shrink_one(scenario, &folder, budget, under)
}

fn shrink_one(
    scenario: Scenario,
    folder: &Path,
    budget: usize,
    under: &Under,
) -> Result<bool, Error> {
    let before = (scenario.lines.len(), scenario.highest_node());
    let progress = bar(budget as u64);
    let program = under.program()?;
    let shrunk = shrink::shrink(scenario, &program, budget, |n| progress.set_position(n as u64));
    progress.finish_and_clear();
    let Some(s) = shrunk else {
        println!("the scenario does not fail: nothing to shrink");
        return Ok(false);
    };
    let path = regress::keep(folder, &s.failure.check, &s.failure.message, &s.scenario)
        .map_err(|e| format!("{}: {e}", folder.display()))?;
    println!(
        "  {} lines on {} nodes became {} on {}, after {} runs: {}",
        before.0,
        before.1,
        s.scenario.lines.len(),
        s.scenario.highest_node(),
        s.runs,
        shown(&path)
    );
    println!("  {} at {}: {}", s.failure.check, seconds(s.failure.t), s.failure.message);
    if s.cut_short {
        println!("  the budget ({budget} runs) ended this: more runs may make it smaller");
    }
    let once = Once { seed: None, under: under.clone() };
    println!("{}", show::failed_lines(&path, None, &once));
    Ok(true)
}

/// The profiles of these names, then those of each `--set`.
pub(super) fn profiles(names: &[String], set: &[String]) -> Result<Vec<compare::Profile>, Error> {
    let mut chosen = Vec::new();
    for name in names {
        let known = compare::profiles().into_iter().find(|p| p.name == *name);
        chosen.push(known.ok_or(format!("`{name}` is no profile: quorate or memberlist"))?);
    }
    for text in set {
        chosen.extend(constants::parse(text)?);
    }
    Ok(chosen)
}

/// Compares the profiles.
pub(super) fn compare(what: &compare::Comparison, csv: Option<&Path>) -> Result<bool, Error> {
    if let Some(c) = what.cases.iter().find(|c| !compare::CASES.iter().any(|x| x.0 == *c)) {
        return Err(format!("`{c}` is not a case; `sim list --faults` names them"));
    }
    if let Some(n) = what.sizes.iter().find(|n| !(2..=2000).contains(*n)) {
        return Err(format!("{n} nodes cannot be compared: give sizes from 2 to 2000"));
    }
    let unwritten = |path: &Path, e: io::Error| format!("{}: {e}", path.display());
    if let Some(path) = csv {
        // Whether it can be written is known before the work.
        fs::File::create(path).map_err(|e| unwritten(path, e))?;
    }
    let progress = bar(compare::runs(what));
    let rows = compare::compare(what, || progress.inc(1));
    progress.finish_and_clear();
    super::out::put(&compare::table(&rows));
    if let Some(path) = csv {
        fs::write(path, compare::csv(&rows)).map_err(|e| unwritten(path, e))?;
        println!("written to {}", path.display());
    }
    Ok(true)
}
