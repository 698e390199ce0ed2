//! `run`, `list`, `hash`.

use std::{
    fs::{self, File},
    io::BufWriter,
    path::{Path, PathBuf},
};

use sim::{
    Program, Scenario,
    aim::Aim,
    compare, generate, regress, runner,
    scenario::{self, GOALS, VOCABULARY},
    sweep::{self, Sweep},
    trace::{self, Sink},
    world::{Options, Outcome},
};

use super::{Error, Once, out::print_lines, seconds, shown, stopwatch, under::quoted};

pub(super) fn read(path: &Path) -> Result<Scenario, Error> {
    Scenario::parse(&text(path)?).map_err(|e| format!("{}: {e}", path.display()))
}

/// A scenario's text.
pub(super) fn text(path: &Path) -> Result<String, Error> {
    let at = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let bytes = fs::read(path).map_err(|e| at(&e))?;
    Ok(scenario::decode(&bytes).map_err(|e| at(&e))?.to_owned())
}

/// The scenario files that are meant: folders are searched, nothing means the project's.
pub(super) fn expand(files: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let default = [PathBuf::from(regress::SCENARIOS)];
    let files = if files.is_empty() { &default[..] } else { files };
    let mut out = Vec::new();
    for f in files {
        if f.is_dir() {
            let found = regress::files(f).map_err(|e| format!("{}: {e}", f.display()))?;
            if found.is_empty() {
                return Err(format!("{}: there is no scenario (.scn) in this folder", f.display()));
            }
            out.extend(found);
        } else {
            out.push(f.clone());
        }
    }
    Ok(out)
}

fn sink(path: Option<&Path>, events: bool) -> Result<Sink, Error> {
    match path {
        Some(p) => {
            let file = File::create(p).map_err(|e| format!("{}: {e}", p.display()))?;
            Ok(Sink::Lines(Box::new(BufWriter::new(file)), None))
        }
        None if events => Ok(Sink::Memory(Vec::new())),
        None => Ok(Sink::Hash),
    }
}

/// Runs scenarios; true if all pass.
pub(super) fn run(
    files: &[PathBuf],
    trace: Option<&Path>,
    events: bool,
    once: &Once,
) -> Result<bool, Error> {
    let files = expand(files)?;
    if trace.is_some() && files.len() != 1 {
        return Err("--trace needs exactly one scenario".into());
    }
    if let Some(out) = trace {
        super::files::spare(out, files.iter().map(PathBuf::as_path))?;
    }
    let program = once.under.program()?;
    let mut tally = Tally::of(files.len());
    for path in &files {
        tally.take(run_one(path, &program, trace, events, once))?;
    }
    if files.len() > 1 {
        println!("{} of {} scenarios pass", tally.passed, files.len());
    }
    tally.verdict()
}

/// What came of files that were asked for together: one that cannot be run says so and leaves the
/// others alone.
#[derive(Debug)]
pub(super) struct Tally {
    of: usize,
    pub(super) passed: usize,
    pub(super) failed: usize,
    not_run: usize,
}

impl Tally {
    pub(super) const fn of(files: usize) -> Self {
        Self { of: files, passed: 0, failed: 0, not_run: 0 }
    }

    /// Counts a file that passed or not. The error of a single one ends the command.
    pub(super) fn take(&mut self, result: Result<bool, Error>) -> Result<(), Error> {
        match result {
            Ok(true) => self.passed += 1,
            Ok(false) => self.failed += 1,
            Err(e) if self.of == 1 => return Err(e),
            Err(e) => {
                eprintln!("sim: {e}");
                self.not_run += 1;
            }
        }
        Ok(())
    }

    /// Did all pass? If some could not be run, that is the error.
    pub(super) fn verdict(&self) -> Result<bool, Error> {
        match self.not_run {
            0 => Ok(self.failed == 0),
            n => Err(format!("{n} of {} scenarios cannot be run", self.of)),
        }
    }
}

/// Runs a scenario; true if it passes.
fn run_one(
    path: &Path,
    program: &Program,
    trace: Option<&Path>,
    events: bool,
    once: &Once,
) -> Result<bool, Error> {
    let mut scenario = read(path)?;
    if let Some(seed) = once.seed {
        scenario.cluster.seed = seed;
    }
    let (program, sink) = (program.clone(), sink(trace, events)?);
    let options = Options { sink, program, ..Options::default() };
    let began = stopwatch();
    let outcome = runner::run(scenario, options).map_err(|e| format!("{}: {e}", path.display()))?;
    if let Some(e) = &outcome.trace_error {
        return Err(format!("writing the trace: {e}"));
    }
    print_lines(outcome.trace.iter().map(trace::render))?;
    summary(path, &outcome, began.elapsed().as_secs_f64());
    if !outcome.failures.is_empty() {
        println!("{}", failed_lines(path, trace, once));
    }
    Ok(outcome.failures.is_empty())
}

/// What brings the failure of a file back, as lines and as a picture.
pub(super) fn failed_lines(path: &Path, trace: Option<&Path>, once: &Once) -> String {
    let seed = once.seed.map_or_else(String::new, |s| format!(" --seed {s}"));
    let file = quoted(&shown(path).to_string());
    let which = format!("{file}{seed}");
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = format!("{stem}{}", seed.replace(" --", "-").replace(' ', "-"));
    let trace = trace.map(|p| p.display().to_string());
    let repeat = once.under.line(&format!("run {which}"));
    format!("  repeat: {repeat}\n{}", once.under.shown(&which, &name, trace.as_deref()))
}

fn summary(path: &Path, o: &Outcome, wall: f64) {
    let verdict = if o.failures.is_empty() { "pass" } else { "FAIL" };
    let speed = o.end as f64 / 1e9 / wall.max(1e-9);
    println!(
        "{verdict} {}  {} virtual, {} events, {:.0}x real time, hash {:016x}",
        shown(path),
        seconds(o.end),
        o.events,
        speed,
        o.hash
    );
    for f in &o.failures {
        println!(
            "  {} at {} on n{} (event {}): {}",
            f.check,
            seconds(f.t),
            f.node,
            f.cause,
            f.message
        );
    }
}

/// Prints what there is.
pub(super) fn list(
    words: bool,
    faults: bool,
    (aim, seed): (Aim, Option<u64>),
) -> Result<bool, Error> {
    if let Some(seed) = seed {
        print_lines(aim.draw(seed).to_string().lines().map(str::to_owned))?;
    } else if words {
        print_lines(VOCABULARY.iter().map(|(line, what)| format!("{line:<64} # {what}")))?;
        print_lines(GOALS.iter().map(|(name, what, _)| format!("goal {name:<20} {what}")))?;
    } else if faults {
        let kinds = generate::FAULTS.iter().chain(generate::EXTRAS);
        print_lines(kinds.map(|(name, what)| format!("{name:<12} {what}")))?;
        print_lines(compare::CASES.iter().map(|(name, lines)| {
            format!("case {name:<18} {}", lines.trim_end().replace('\n', "; "))
        }))?;
    } else {
        let mut lines = Vec::new();
        for path in expand(&[])? {
            let about = read(&path)?.about.into_iter().next().unwrap_or_default();
            let short = path.strip_prefix(regress::SCENARIOS).unwrap_or(&path);
            lines.push(format!("{:<44} {about}", short.display()));
        }
        print_lines(lines.into_iter())?;
    }
    Ok(true)
}

/// The rules that `--plant` breaks.
#[cfg(feature = "planted-bugs")]
pub(super) fn bugs() -> Result<bool, Error> {
    let of_core = quorate_core::Bug::ALL.iter().map(|(_, name, what)| (*name, *what));
    let all = of_core.chain([sim::program::TIMER_BY_WALL_CLOCK]);
    print_lines(all.map(|(name, what)| format!("{name:<26} {what}")))?;
    Ok(true)
}

/// The hashes that must be the same in every build and on every machine.
pub(super) fn hash(seeds: u64, jobs: usize) -> Result<bool, Error> {
    for path in expand(&[])? {
        let outcome = runner::run(read(&path)?, Options::default())
            .map_err(|e| format!("{}: {e}", path.display()))?;
        let short = path.strip_prefix(regress::SCENARIOS).unwrap_or(&path);
        print_lines([format!("{:016x} {}", outcome.hash, short.display())].into_iter())?;
    }
    for first in (0..seeds).step_by(10) {
        let what = Sweep { first, seeds: (seeds - first).min(10), jobs, ..Sweep::default() };
        let hash = sweep::sweep(&what, || {}).hash;
        print_lines([format!("{hash:016x} seeds from {first}")].into_iter())?;
    }
    Ok(true)
}
