//! The commands. Each prints what it did, and for a failure the line that repeats it.

/// As the one of `std`, but a reader that went away (`| head`) ends the program quietly.
macro_rules! println {
    ($($what:tt)*) => {
        crate::cli::out::put(&format!("{}\n", format_args!($($what)*)))
    };
}

mod corpus;
mod files;
mod find;
mod out;
mod show;
mod trace;
mod turmoil;
mod under;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand, ValueEnum};
use sim::{aim::Aim, constants};
use under::{Once, Under};

/// Deterministic simulator for quorate clusters.
#[derive(Debug, Parser)]
#[command(name = "sim", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What a scenario runs on.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Layer {
    /// The protocol in the discrete-event world: every step of the language.
    #[default]
    World,
    /// The real agent with DNS and HTTP on turmoil's sockets: up to 20 hosts, fewer steps.
    Turmoil,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run scenario files; without any, all of the project's.
    Run {
        /// Scenario files or folders of them.
        files: Vec<PathBuf>,
        /// Write the trace here, as JSON lines.
        #[arg(long, value_name = "FILE")]
        trace: Option<PathBuf>,
        /// Print every event.
        #[arg(long, conflicts_with = "trace")]
        events: bool,
        /// What to run them on.
        #[arg(long, value_enum, default_value_t)]
        layer: Layer,
        #[command(flatten)]
        once: Once,
    },
    /// Draw scenarios and run them.
    Sweep {
        /// Where the faults go.
        #[arg(long, value_enum, default_value_t)]
        aim: Aim,
        /// How many seeds.
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
        seeds: u64,
        /// The first seed.
        #[arg(long, default_value_t = 0)]
        first: u64,
        /// Threads; 0: one per processor.
        #[arg(long, default_value_t = 0)]
        jobs: usize,
        /// Stop after so many failures.
        #[arg(long, default_value_t = 10)]
        max_failures: usize,
        /// Shrink each failure and keep it in this folder.
        #[arg(long, value_name = "FOLDER")]
        keep: Option<PathBuf>,
        #[command(flatten)]
        under: Under,
    },
    /// Make a failing scenario small.
    Shrink {
        /// A scenario file.
        #[arg(required_unless_present = "seed")]
        file: Option<PathBuf>,
        /// The scenario that a sweep draws for this seed.
        #[arg(long, conflicts_with = "file")]
        seed: Option<u64>,
        /// Where the faults of that seed go.
        #[arg(long, value_enum, default_value_t, conflicts_with = "file")]
        aim: Aim,
        /// Write the result into this folder (default: the project's regressions).
        #[arg(long, value_name = "FOLDER")]
        keep: Option<PathBuf>,
        /// Most scenarios to try.
        #[arg(long, default_value_t = 5000)]
        budget: usize,
        #[command(flatten)]
        under: Under,
    },
    /// Print a trace, or the trace of a scenario, one line per event.
    Render {
        /// Trace or scenario, told apart by what is in it; without it, the scenario that a sweep
        /// draws for `--seed`.
        #[arg(required_unless_present = "seed")]
        file: Option<PathBuf>,
        /// Where the faults of that seed go.
        #[arg(long, value_enum, default_value_t, conflicts_with = "file")]
        aim: Aim,
        /// Only the events that led to this one.
        #[arg(long, value_name = "SEQ")]
        causes_of: Option<u64>,
        /// Only events of this node.
        #[arg(long, value_name = "N", value_parser = node)]
        node: Option<u32>,
        /// Write a page for the browser in place of lines.
        #[arg(long, value_name = "FILE", conflicts_with_all = ["causes_of", "node"])]
        html: Option<PathBuf>,
        /// Write the trace here in place of lines, as JSON lines.
        #[arg(long, value_name = "FILE", conflicts_with_all = ["causes_of", "node", "html"])]
        trace: Option<PathBuf>,
        /// The scenario of a trace, for the page.
        #[arg(long, value_name = "FILE", requires = "html")]
        scenario: Option<PathBuf>,
        /// Most events in the page.
        #[arg(long, value_name = "N", requires = "html", default_value_t = sim::render::MAX_EVENTS)]
        max_events: usize,
        #[command(flatten)]
        once: Once,
    },
    /// Print the trace hash of every scenario and of drawn ones, ten by ten.
    Hash {
        /// How many seeds.
        #[arg(long, default_value_t = 100)]
        seeds: u64,
        /// Threads.
        #[arg(long, default_value_t = 1)]
        jobs: usize,
    },
    /// Run equal seeds under our constants and memberlist's, and under ours with one changed.
    #[command(after_long_help = constants::help())]
    Compare {
        /// Cluster sizes.
        #[arg(long, value_delimiter = ',', default_value = "8,32,128")]
        sizes: Vec<u32>,
        /// Cases; without any, all (`sim list --faults` names them).
        #[arg(long, value_delimiter = ',')]
        cases: Vec<String>,
        /// Of `quorate` and `memberlist`.
        #[arg(long, value_delimiter = ',', default_value = "quorate,memberlist")]
        profiles: Vec<String>,
        /// Our constants with this one changed, a profile for each value; may be repeated.
        #[arg(long, value_name = "NAME=V1,V2")]
        set: Vec<String>,
        /// Seeds per case.
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
        seeds: u64,
        /// Threads; 0: one per processor.
        #[arg(long, default_value_t = 0)]
        jobs: usize,
        /// Write the table here too, as CSV.
        #[arg(long, value_name = "FILE")]
        csv: Option<PathBuf>,
    },
    /// Run scenarios, clear and sealed, and write what was said as seeds for fuzzing.
    Corpus {
        /// One folder per fuzz target is made in this one.
        folder: PathBuf,
        /// Scenario files or folders of them; without any, all of the project's.
        files: Vec<PathBuf>,
        /// So many drawn scenarios, too.
        #[arg(long, default_value_t = 20)]
        seeds: u64,
    },
    /// List scenarios, or the words of the language, or what is drawn, or the scenario of a seed.
    List {
        /// The words of the language and the goals.
        #[arg(long, group = "what", conflicts_with = "aim")]
        words: bool,
        /// The fault kinds of sweeps and the cases of compare.
        #[arg(long, group = "what", conflicts_with = "aim")]
        faults: bool,
        /// The rules that `--plant` breaks.
        #[cfg(feature = "planted-bugs")]
        #[arg(long, group = "what", conflicts_with = "aim")]
        bugs: bool,
        /// The scenario that a sweep draws for this seed.
        #[arg(long, group = "what")]
        seed: Option<u64>,
        /// Where the faults of that seed go.
        #[arg(long, value_enum, default_value_t, requires = "seed")]
        aim: Aim,
    },
}

/// `2` or, as scenarios and traces say it, `n2`.
fn node(word: &str) -> Result<u32, std::num::ParseIntError> {
    word.strip_prefix('n').unwrap_or(word).parse()
}

/// Something a command cannot work with; the text names the place.
type Error = String;

/// Parses and runs.
pub(crate) fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run { files, trace, events, layer: Layer::World, once } => {
            show::run(&files, trace.as_deref(), events, &once)
        }
        Command::Run { trace: Some(_), layer: Layer::Turmoil, .. } => {
            Err("--trace is for the world; the turmoil layer has --events".into())
        }
        Command::Run { files, trace: None, events, layer: Layer::Turmoil, once } => {
            turmoil::run(&files, events, &once)
        }
        Command::Sweep { aim, seeds, first, jobs, max_failures, keep, under } => {
            find::sweep(aim, (first, seeds), jobs, max_failures, keep.as_deref(), &under)
        }
        Command::Shrink { file, seed, aim, keep, budget, under } => {
            find::shrink(file.as_deref(), (aim, seed), keep, budget, &under)
        }
        Command::Render { file, aim, causes_of, node, html, trace, scenario, max_events, once } => {
            let inputs = file.iter().chain(&scenario).map(PathBuf::as_path);
            let output = html.as_deref().or(trace.as_deref());
            output
                .map_or(Ok(()), |out| files::spare(out, inputs))
                .and_then(|()| trace::read(file.as_deref(), aim, &once))
                .and_then(|run| match (html, trace) {
                    (Some(out), _) => trace::page(&run, scenario.as_deref(), max_events, &out),
                    (None, Some(out)) => trace::write(&run, &out),
                    (None, None) => trace::print(&run, causes_of, node),
                })
        }
        Command::Hash { seeds, jobs } => show::hash(seeds, jobs),
        Command::Compare { sizes, cases, profiles, set, seeds, jobs, csv } => {
            find::profiles(&profiles, &set).and_then(|profiles| {
                let jobs = find::threads(jobs);
                let what = sim::compare::Comparison { sizes, cases, profiles, seeds, jobs };
                find::compare(&what, csv.as_deref())
            })
        }
        Command::Corpus { folder, files, seeds } => corpus::write(&folder, &files, seeds),
        #[cfg(feature = "planted-bugs")]
        Command::List { bugs: true, .. } => show::bugs(),
        Command::List { words, faults, seed, aim, .. } => show::list(words, faults, (aim, seed)),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("sim: {e}");
            ExitCode::from(2)
        }
    }
}

/// The path as seen from here, if it is below.
fn shown(path: &Path) -> std::path::Display<'_> {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display()
}

/// 12.345s
fn seconds(ns: u64) -> String {
    format!("{}.{:03}s", ns / 1_000_000_000, ns / 1_000_000 % 1000)
}

/// A clock for people: how fast runs go. Nothing in a run looks at it.
#[expect(clippy::disallowed_methods, reason = "measures the simulator itself, not the simulated")]
fn stopwatch() -> std::time::Instant {
    std::time::Instant::now()
}
